//! What the gateway takes for a voucher is what the contract takes, byte for byte: whatever it took and the chain refused
//! would be service for nothing.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use earnest_chain::bindings::Channels;
use earnest_chain::channel::sol_config;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::voucher::{Channel, Settlement, mended, signed_by, taken};
use earnest_core::channel::ChannelConfig;
use rand::{RngExt, SeedableRng};

use crate::hostile_channels::{channel, deposit_of, paid_in};
use crate::world::*;

const CEILING: u128 = 1_000_000;

/// A channel as the gateway reads it.
fn ours(config: &ChannelConfig) -> Channel {
    Channel {
        payer: config.payer,
        payer_authorizer: config.payer_authorizer,
        receiver: config.receiver,
        receiver_authorizer: config.receiver_authorizer,
        token: config.token,
        withdraw_delay: config.withdraw_delay,
        salt: config.salt,
    }
}

struct Bench {
    world: World,
    settlement: Settlement,
    config: ChannelConfig,
}

impl Bench {
    fn new() -> Self {
        let mut world = World::new();
        let config = channel(&world);
        let deposit = paid_in(&mut world, "alice", &deposit_of(config, CEILING, 0));
        let at = world.at.channels;
        world.does("stranger", at, &deposit);
        Bench { world, settlement: Settlement { chain_id: DEV_CHAIN_ID, at }, config }
    }

    fn digest(&self, config: &ChannelConfig, ceiling: u128) -> B256 {
        let id = self.settlement.channel_id(&ours(config)).expect("its delay fits");
        self.settlement.voucher(id, ceiling)
    }

    /// Whether the contract would pay one unit on it.
    fn chain_takes(&mut self, config: &ChannelConfig, ceiling: u128, signature: &[u8]) -> bool {
        let row = Channels::VoucherClaim {
            voucher: Channels::Voucher { channel: sol_config(config), maxClaimableAmount: ceiling },
            signature: Bytes::copy_from_slice(signature),
            totalClaimed: 1,
        };
        let call = Channels::claimCall { voucherClaims: vec![row] };
        let (at, receiver) = (self.world.at.channels, config.receiver);
        self.world.chain.call(receiver, at, call.abi_encode().into()).is_ok()
    }

    fn agrees(&mut self, ceiling: u128, signature: &[u8], what: &str) -> bool {
        let config = self.config;
        let digest = self.digest(&config, ceiling);
        let chain = self.chain_takes(&config, ceiling, signature);
        assert_eq!(signed_by(config.payer_authorizer, digest, signature), chain, "{what}");
        for form in [
            taken(config.payer_authorizer, digest, signature),
            mended(config.payer_authorizer, digest, signature),
        ] {
            assert!(form.is_none_or(|form| self.chain_takes(&config, ceiling, &form)), "{what}");
        }
        chain
    }
}

#[test]
fn every_last_byte_is_judged_as_the_contract_judges_it() {
    let mut bench = Bench::new();
    let good = key("session").sign(bench.digest(&bench.config, CEILING));
    let mut good_ones = Vec::new();
    for last in 0..=u8::MAX {
        let signature = [&good[..64], &[last]].concat();
        if bench.agrees(CEILING, &signature, &format!("last byte {last}")) {
            good_ones.push(last);
        }
    }
    assert_eq!(good_ones, [good[64]]);
}

#[test]
fn vouchers_with_a_byte_changed_are_judged_as_the_contract_judges_them() {
    let mut bench = Bench::new();
    let config = bench.config;
    let good = key("session").sign(bench.digest(&config, CEILING)).to_vec();
    assert!(bench.agrees(CEILING, &good, "unchanged"));
    // Every byte of the signature, and its length.
    for place in 0..good.len() {
        for change in [1, 0x1b, 0x1c, 0x55, 0x80, 0xff, place.to_le_bytes()[0] | 1] {
            let mut signature = good.clone();
            signature[place] ^= change;
            bench.agrees(CEILING, &signature, &format!("byte {place} xor {change:#x}"));
        }
    }
    for length in 0..=good.len() + 3 {
        let mut signature = good.clone();
        signature.resize(length, 0x1b);
        assert_eq!(bench.agrees(CEILING, &signature, &format!("{length} bytes")), length == good.len());
    }
    // Every byte of the ceiling.
    for place in 0..16 {
        for change in [1, 0x40, 0xff] {
            let mut ceiling = CEILING.to_be_bytes();
            ceiling[place] ^= change;
            let ceiling = u128::from_be_bytes(ceiling);
            assert!(!bench.agrees(ceiling, &good, &format!("a ceiling of {ceiling}")));
        }
    }
    // Every byte of the channel: another channel, and its voucher is not this one.
    let changed = |place: usize, change: u8| {
        let mut config = config;
        let flip = |address: &mut Address| address.0[place % 20] ^= change;
        match place / 20 {
            0 => flip(&mut config.payer),
            1 => flip(&mut config.payer_authorizer),
            2 => flip(&mut config.receiver),
            3 => flip(&mut config.receiver_authorizer),
            4 => flip(&mut config.token),
            5 => config.withdraw_delay ^= u64::from(change) << (8 * (place % 5)),
            _ => config.salt.0[(place - 120) % 32] ^= change,
        }
        config
    };
    for place in 0..152 {
        for change in [1, 0x80] {
            let other = changed(place, change);
            let digest = bench.digest(&other, CEILING);
            assert!(!signed_by(other.payer_authorizer, digest, &good), "byte {place} of the channel");
            assert!(!bench.chain_takes(&other, CEILING, &good), "byte {place} of the channel");
        }
    }
}

#[test]
fn whatever_is_made_up_is_judged_as_the_contract_judges_it() {
    let order: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let mut bench = Bench::new();
    let good = key("session").sign(bench.digest(&bench.config, CEILING)).to_vec();
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let edges = [U256::ZERO, U256::ONE, order - U256::ONE, order, order + U256::ONE, U256::MAX, order >> 1];
    for round in 0..3_000 {
        let mut signature = good.clone();
        match round % 5 {
            0 => {
                signature[..32].copy_from_slice(&edges[dice.random_range(0..edges.len())].to_be_bytes::<32>())
            }
            1 => signature[32..64]
                .copy_from_slice(&edges[dice.random_range(0..edges.len())].to_be_bytes::<32>()),
            // The other half of all s, with either parity.
            2 => {
                let s = order - U256::from_be_slice(&good[32..64]);
                signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
            }
            3 => dice.fill(&mut signature[..]),
            _ => {
                for _ in 0..dice.random_range(1..4) {
                    let place = dice.random_range(0..65);
                    signature[place] = dice.random();
                }
            }
        }
        if dice.random_ratio(1, 2) {
            signature[64] = [0, 1, 27, 28, 29, 35, 36, 255][dice.random_range(0..8)];
        }
        bench.agrees(CEILING, &signature, &format!("round {round}: {}", Bytes::from(signature.clone())));
    }
}
