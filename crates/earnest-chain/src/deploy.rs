//! A plan's contracts on a chain. The contracts name each other in their constructors, so the addresses are worked
//! out from the deployer's nonces first and compared with what was created.

use alloy_primitives::{Address, Bytes, U256, address, hex};
use earnest_core::bid::BidId;
use earnest_core::curve::Ladder;
use earnest_core::offering::{Offering as Offering_, OfferingSetup, RoundSetup, Sale};
use earnest_core::treasury::TreasurySetup;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bindings::{Credit, DevCash, LadderData, Offering, Treasury, Vault};
use crate::chain::{Chain, ChainError};
use crate::key::Key;

/// x402 `batch-settlement`, the same address on every chain that has it.
pub const X402_SETTLEMENT: Address = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");
/// Its ERC-3009 deposit collector.
pub const X402_COLLECTOR: Address = address!("4020806089470a89826cB9fB1f4059150b550004");

/// Where a plan's contracts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The coin raised.
    pub cash: Address,
    /// The coin delivered.
    pub credit: Address,
    /// Rounds, bids, positions.
    pub offering: Address,
    /// Pots and tap.
    pub treasury: Address,
    /// Code of every vault.
    pub vault: Address,
    /// Ladders of rising rounds, by round.
    pub ladders: Vec<Option<Address>>,
}

/// Names and coins of a deployment, beside the rules.
#[derive(Clone, Debug)]
pub struct Coins {
    /// An existing coin; `None` deploys play money.
    pub cash: Option<Address>,
    /// Name and symbol of play money.
    pub cash_name: (String, String),
    /// Name and symbol of the credit.
    pub credit_name: (String, String),
    /// Receiver of the channels that vaults may fund; zero: none yet.
    pub revenue: Address,
}

/// A deployment that cannot go on.
#[derive(Debug, Error)]
pub enum DeployError {
    /// The chain refused.
    #[error("{0}: {1}")]
    Chain(&'static str, ChainError),
    /// Someone else used the deployer's key in between.
    #[error(
        "{what} was created at {created}, expected {expected}: the deployer's key was used by someone else"
    )]
    Elsewhere {
        /// Which contract.
        what: &'static str,
        /// Where it is.
        created: Address,
        /// Where it should be.
        expected: Address,
    },
}

/// Deploys everything a plan needs.
pub fn deploy(
    chain: &mut Chain,
    key: &Key,
    offering: &OfferingSetup,
    treasury: &TreasurySetup,
    coins: &Coins,
) -> Result<Deployment, DeployError> {
    let at = |what| move |error| DeployError::Chain(what, error);
    let cash = match coins.cash {
        Some(cash) => cash,
        None => {
            let (name_, symbol_) = coins.cash_name.clone();
            let constructor = DevCash::constructorCall { name_, symbol_ };
            chain.deploy(key, &DevCash::BYTECODE, &constructor).map_err(at("cash"))?
        }
    };
    let mut ladders = Vec::new();
    for round in &offering.rounds {
        ladders.push(match &round.sale {
            Sale::Rising { ladder, .. } => {
                let constructor = LadderData::constructorCall { knots: ladder_bytes(ladder) };
                Some(chain.deploy(key, &LadderData::BYTECODE, &constructor).map_err(at("ladder"))?)
            }
            _ => None,
        });
    }

    let nonce = chain.nonce(key.address()).map_err(at("nonce"))?;
    let place = |step| key.address().create(nonce + step);
    let (credit_at, vault_at, treasury_at, offering_at) = (place(0), place(1), place(2), place(3));
    let (name_, symbol_) = coins.credit_name.clone();
    let constructor = Credit::constructorCall { name_, symbol_, minter_: offering_at };
    let credit = chain.deploy(key, &Credit::BYTECODE, &constructor).map_err(at("credit"))?;
    let constructor = Vault::constructorCall {
        credit_: credit_at,
        channels_: X402_SETTLEMENT,
        collector_: X402_COLLECTOR,
        revenue_: coins.revenue,
    };
    let vault = chain.deploy(key, &Vault::BYTECODE, &constructor).map_err(at("vault"))?;
    let setup = treasury_setup(treasury, cash, offering_at, offering.rounds.len());
    let constructor = Treasury::constructorCall { setup };
    let treasury = chain.deploy(key, &Treasury::BYTECODE, &constructor).map_err(at("treasury"))?;
    let setup = offering_setup(offering, cash, credit_at, treasury_at, vault_at, &ladders);
    let constructor = Offering::constructorCall { setup };
    let created = chain.deploy(key, &Offering::BYTECODE, &constructor).map_err(at("offering"))?;
    for (what, created, expected) in [
        ("credit", credit, credit_at),
        ("vault", vault, vault_at),
        ("treasury", treasury, treasury_at),
        ("offering", created, offering_at),
    ] {
        if created != expected {
            return Err(DeployError::Elsewhere { what, created, expected });
        }
    }
    Ok(Deployment { cash, credit, offering: created, treasury, vault, ladders })
}

/// Knots as `Ladder.sol` reads them: weight 8 bytes, credits 12.
pub fn ladder_bytes(ladder: &Ladder) -> Bytes {
    let knots = ladder.knots().iter();
    knots
        .flat_map(|knot| [&knot.weight.to_be_bytes()[..], &knot.credits.to_be_bytes()[4..]].concat())
        .collect::<Vec<u8>>()
        .into()
}

fn treasury_setup(
    setup: &TreasurySetup,
    cash: Address,
    offering: Address,
    classes: usize,
) -> Treasury::TreasurySetup {
    let ceilings = setup.ceilings.iter();
    Treasury::TreasurySetup {
        cash,
        offering,
        issuer: setup.issuer,
        votes: Address::ZERO,
        deadline: time(setup.deadline),
        tapStart: time(setup.tap_start),
        tapPerSec: setup.tap_per_sec,
        ceilingAtStart: setup.ceiling_at_start,
        classes: u8::try_from(classes).expect("at most 8"),
        ceilings: ceilings.map(|&(cash, before)| Treasury::Ceiling { cash, beforeLive: before }).collect(),
    }
}

fn offering_setup(
    setup: &OfferingSetup,
    cash: Address,
    credit: Address,
    treasury: Address,
    vault: Address,
    ladders: &[Option<Address>],
) -> Offering::OfferingSetup {
    let packed = |values: Vec<u16>| {
        values.into_iter().enumerate().map(|(i, value)| U256::from(value) << (16 * i)).sum::<U256>()
    };
    Offering::OfferingSetup {
        cash,
        credit,
        treasury,
        vault,
        issuer: setup.issuer,
        certifier: setup.certifier,
        guardian: setup.guardian,
        termsHash: setup.terms_hash,
        softCap: setup.soft_cap,
        softCapDate: time(setup.soft_cap_date),
        deadline: time(setup.deadline),
        notice: u32::try_from(setup.notice_secs).expect("from 32 bits"),
        objections: setup.objections,
        milestones: setup.milestones,
        discounts: packed(setup.discounts.iter().map(|discount| discount.get()).collect()),
        locks: packed(setup.lock_days.clone()),
        schedules: setup.schedules.iter().map(earnest_core::schedule::Schedule::pack).collect(),
        attesters: setup.attesters.clone(),
        rounds: setup.rounds.iter().zip(ladders).map(|(round, ladder)| round_setup(round, *ladder)).collect(),
    }
}

fn round_setup(round: &RoundSetup, ladder: Option<Address>) -> Offering::RoundSetup {
    let mut setup = Offering::RoundSetup {
        kind: 0,
        firstCome: false,
        coolingOffDays: round.cooling_off_days,
        follows: 255,
        ticks: round.ticks(),
        schedules: round.schedules,
        open: time(round.open),
        close: time(round.close),
        pauseLimit: alloy_primitives::aliases::U24::from(round.pause_limit),
        supply: alloy_primitives::aliases::U96::from(round.supply()),
        price: 0,
        step: 0,
        windowSecs: 0,
        windowCap: 0,
        cap: 0,
        start: 0,
        withdrawableMost: round.withdrawable_most,
        ladder: ladder.unwrap_or_default(),
    };
    match &round.sale {
        Sale::Fixed { price, first_come, private, .. } => {
            (setup.kind, setup.price, setup.firstCome) = (u8::from(*private), *price, *first_come);
        }
        Sale::Auction { prices, .. } => {
            (setup.kind, setup.price, setup.step) = (2, prices.floor, prices.step)
        }
        Sale::Rising { window_secs, window_cap, cap, start, follows, .. } => {
            setup.kind = 3;
            setup.windowSecs = u32::try_from(*window_secs).expect("from 32 bits");
            (setup.windowCap, setup.cap, setup.start) = (*window_cap, *cap, *start);
            setup.follows = follows.unwrap_or(255);
        }
    }
    setup
}

fn time(time: u64) -> alloy_primitives::aliases::U40 {
    alloy_primitives::aliases::U40::from(time)
}

/// Play money for a wallet, on a deployment that brought its own.
pub fn mint_cash(
    chain: &mut Chain,
    key: &Key,
    cash: Address,
    to: Address,
    units: u64,
) -> Result<(), ChainError> {
    chain.send(key, cash, &DevCash::mintCall { to, units: U256::from(units) }).map(drop)
}

/// Lets the offering take a wallet's cash.
pub fn approve_cash(chain: &mut Chain, key: &Key, cash: Address, spender: Address) -> Result<(), ChainError> {
    let call = DevCash::approveCall { spender, value: U256::MAX };
    chain.send(key, cash, &call).map(drop)
}

impl Deployment {
    /// Where the vault of a position in a cleared round is, or will be: a CREATE2 clone of the vault's code that carries
    /// its owner and the end of its lock.
    pub fn vault_of(&self, offering: &Offering_, id: BidId) -> Address {
        let until = offering.unlock_at(id).to_be_bytes();
        let args = [offering.bid(id).wallet.as_slice(), &until[3..]].concat();
        // OpenZeppelin's clone with immutable arguments: creation code, then the 45 bytes of ERC-1167, then the arguments.
        let size = u16::try_from(45 + args.len()).expect("25 bytes of arguments").to_be_bytes();
        let init = [
            &[0x61, size[0], size[1], 0x3d, 0x81, 0x60, 0x0a, 0x3d, 0x39, 0xf3][..],
            &hex!("363d3d373d3d3d363d73")[..],
            self.vault.as_slice(),
            &hex!("5af43d82803e903d91602b57fd5bf3")[..],
            &args,
        ]
        .concat();
        self.offering.create2(U256::from(id.pack()).to_be_bytes::<32>(), alloy_primitives::keccak256(init))
    }
}
