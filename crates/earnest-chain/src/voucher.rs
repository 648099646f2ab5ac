//! What is signed about a channel, to the byte as x402 `batch-settlement` has it: the channel's id, vouchers and the
//! deposit's authorization; and, under the gateway's own domain, orders and receipts.

use alloy_primitives::{Address, B256, Bytes, U256, aliases::U40, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue, sol};
use serde::{Deserialize, Serialize};

use crate::bindings::{Channels, Revenue};
use crate::key::{Key, signer_of};

/// The identity of a channel, in JSON as x402 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// Whose coins they are, and where they return to: a wallet or a vault.
    pub payer: Address,
    /// Key that signs vouchers and orders.
    pub payer_authorizer: Address,
    /// Whom claimed coins go to.
    pub receiver: Address,
    /// Who claims and refunds.
    pub receiver_authorizer: Address,
    /// The coin.
    pub token: Address,
    /// Between the start of a withdrawal and its end, in seconds.
    pub withdraw_delay: u64,
    /// Sets apart channels that are alike.
    pub salt: B256,
}

mod typed {
    use super::sol;

    sol! {
        #[derive(Debug)]
        struct ChannelConfig {
            address payer;
            address payerAuthorizer;
            address receiver;
            address receiverAuthorizer;
            address token;
            uint40 withdrawDelay;
            bytes32 salt;
        }

        struct Voucher {
            bytes32 channelId;
            uint128 maxClaimableAmount;
        }

        struct ReceiveWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }

        struct Order {
            bytes32 channelId;
            bytes32 body;
            uint64 time;
        }

        struct Receipt {
            bytes32 body;
        }

        struct DepositProof {
            ChannelConfig channel;
            uint256 salt;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes ownerSignature;
        }
    }
}

/// Where signatures about channels count: the chain and its settlement contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The contract.
    pub at: Address,
}

/// Where orders and receipts count: the chain and the offering's Revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct House {
    /// EIP-155 id.
    pub chain_id: u64,
    /// Revenue.
    pub revenue: Address,
    /// Hash of its EIP-712 domain, which every receipt's digest has in it.
    separator: B256,
}

fn domain(name: &'static str, version: &'static str, chain_id: u64, at: Address) -> Eip712Domain {
    Eip712Domain::new(Some(name.into()), Some(version.into()), Some(U256::from(chain_id)), Some(at), None)
}

impl Settlement {
    fn domain(self) -> Eip712Domain {
        domain("x402 Batch Settlement", "1", self.chain_id, self.at)
    }

    /// The id of a channel; none where its delay does not fit the contract's 40 bits.
    pub fn channel_id(self, channel: &Channel) -> Option<B256> {
        Some(channel.typed()?.eip712_signing_hash(&self.domain()))
    }

    /// What a voucher signs.
    pub fn voucher(self, channel_id: B256, ceiling: u128) -> B256 {
        typed::Voucher { channelId: channel_id, maxClaimableAmount: ceiling }
            .eip712_signing_hash(&self.domain())
    }
}

impl Channel {
    /// As the settlement contract takes it. A delay of more than 40 bits is cut, and is of another channel.
    pub fn config(&self) -> Channels::ChannelConfig {
        Channels::ChannelConfig {
            payer: self.payer,
            payerAuthorizer: self.payer_authorizer,
            receiver: self.receiver,
            receiverAuthorizer: self.receiver_authorizer,
            token: self.token,
            withdrawDelay: U40::from(self.withdraw_delay & ((1 << 40) - 1)),
            salt: self.salt,
        }
    }

    /// The same as Revenue takes it, to pass it on.
    pub fn passed_on(&self) -> Revenue::ChannelConfig {
        let Channels::ChannelConfig {
            payer,
            payerAuthorizer,
            receiver,
            receiverAuthorizer,
            token,
            withdrawDelay,
            salt,
        } = self.config();
        Revenue::ChannelConfig {
            payer,
            payerAuthorizer,
            receiver,
            receiverAuthorizer,
            token,
            withdrawDelay,
            salt,
        }
    }

    fn typed(&self) -> Option<typed::ChannelConfig> {
        let fits = self.withdraw_delay < 1 << 40;
        fits.then(|| typed::ChannelConfig {
            payer: self.payer,
            payerAuthorizer: self.payer_authorizer,
            receiver: self.receiver,
            receiverAuthorizer: self.receiver_authorizer,
            token: self.token,
            withdrawDelay: U40::from(self.withdraw_delay),
            salt: self.salt,
        })
    }
}

impl House {
    /// Of an offering.
    pub fn new(chain_id: u64, revenue: Address) -> Self {
        let separator = domain("Earnest Gateway", "1", chain_id, revenue).separator();
        House { chain_id, revenue, separator }
    }

    fn digest(self, statement: &impl SolStruct) -> B256 {
        keccak256(
            [&[0x19, 0x01], self.separator.as_slice(), statement.eip712_hash_struct().as_slice()].concat(),
        )
    }

    /// What an order signs: the bytes of its JSON, and when it was given (milliseconds since 1970).
    pub fn order(self, channel_id: B256, body: &[u8], time: u64) -> B256 {
        self.digest(&typed::Order { channelId: channel_id, body: keccak256(body), time })
    }

    /// What a receipt signs: the bytes of its JSON.
    pub fn receipt(self, body: &[u8]) -> B256 {
        self.digest(&typed::Receipt { body: keccak256(body) })
    }
}

/// A deposit as the coin's owner authorizes it (ERC-3009), for the x402 collector to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Amount in base units.
    pub value: u128,
    /// Not before this second.
    pub valid_after: u64,
    /// Before this second.
    pub valid_before: u64,
    /// Sets it apart from the channel's other deposits.
    pub salt: U256,
}

/// The coin's own EIP-712 domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinDomain {
    /// Its name.
    pub name: String,
    /// Its version, such as `1` or `2`.
    pub version: String,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The coin.
    pub at: Address,
}

impl Deposit {
    /// What the coin's owner signs.
    pub fn digest(&self, coin: &CoinDomain, payer: Address, collector: Address, channel_id: B256) -> B256 {
        let domain = Eip712Domain::new(
            Some(coin.name.clone().into()),
            Some(coin.version.clone().into()),
            Some(U256::from(coin.chain_id)),
            Some(coin.at),
            None,
        );
        typed::ReceiveWithAuthorization {
            from: payer,
            to: collector,
            value: U256::from(self.value),
            validAfter: U256::from(self.valid_after),
            validBefore: U256::from(self.valid_before),
            nonce: keccak256((channel_id, self.salt).abi_encode()),
        }
        .eip712_signing_hash(&domain)
    }

    /// What the collector is given.
    pub fn collector_data(&self, signature: &Bytes) -> Bytes {
        let (after, before) = (U256::from(self.valid_after), U256::from(self.valid_before));
        (after, before, self.salt, signature.clone()).abi_encode_params().into()
    }

    /// What a vault takes for a signature: everything the digest is made of, and its owner's own signature.
    pub fn vault_signature(&self, channel: &Channel, owner_signature: &Bytes) -> Option<Bytes> {
        let proof = typed::DepositProof {
            channel: channel.typed()?,
            salt: self.salt,
            value: U256::from(self.value),
            validAfter: U256::from(self.valid_after),
            validBefore: U256::from(self.valid_before),
            ownerSignature: owner_signature.clone(),
        };
        Some(proof.abi_encode().into())
    }
}

/// Whether the settlement contract takes a plain key's signature over a digest: 65 bytes, low s, 27 or 28 at the end.
pub fn signed_by(who: Address, digest: B256, signature: &[u8]) -> bool {
    is_canonical(signature) && !who.is_zero() && signer_of(digest, signature) == Some(who)
}

/// A wallet's signature in the form that the contract takes, if it is good: some wallets write 0 and 1 for 27 and 28.
pub fn taken(who: Address, digest: B256, signature: &[u8]) -> Option<Bytes> {
    let mut taken = signature.to_vec();
    if let Some(last @ (0 | 1)) = taken.get_mut(64) {
        *last += 27;
    }
    signed_by(who, digest, &taken).then(|| taken.into())
}

/// What a signature's last byte should have been, where all else of it is good.
pub fn mended(who: Address, digest: B256, signature: &[u8]) -> Option<Bytes> {
    let head = signature.get(..64)?;
    let found = [27, 28].map(|last| [head, &[last]].concat());
    found.into_iter().find(|signature| signed_by(who, digest, signature)).map(Bytes::from)
}

/// Each signature has one form that is taken: with the other half of all s, as with other last bytes, it would have more.
fn is_canonical(signature: &[u8]) -> bool {
    signature.len() == 65 && low_s(signature) && matches!(signature[64], 27 | 28)
}

/// The other half of all signatures is refused by the contract, as by every careful one.
fn low_s(signature: &[u8]) -> bool {
    const HALF: U256 =
        U256::from_limbs([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, u64::MAX, u64::MAX >> 1]);
    U256::from_be_slice(&signature[32..64]) <= HALF
}

/// A receipt as it is handed out: its JSON as text, so that the bytes that were signed stay what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// The statement.
    pub receipt: String,
    /// 65 bytes.
    pub signature: Bytes,
}

impl SignedReceipt {
    /// Signs one.
    pub fn sign(house: House, key: &Key, receipt: String) -> Self {
        let signature = key.sign(house.receipt(receipt.as_bytes()));
        SignedReceipt { receipt, signature }
    }

    /// Whose it is.
    pub fn signer(&self, house: House) -> Option<Address> {
        is_canonical(&self.signature)
            .then(|| signer_of(house.receipt(self.receipt.as_bytes()), &self.signature))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signature_with_a_high_s_is_refused() {
        let key = Key::from_words("a holder");
        let digest = keccak256("anything");
        let signature = key.sign(digest);
        assert!(signed_by(key.address(), digest, &signature));
        // secp256k1's order less s signs the same, with the other parity.
        let order: U256 =
            "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
        let mut other = signature.to_vec();
        let s = order - U256::from_be_slice(&signature[32..64]);
        other[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        other[64] = if signature[64] == 27 { 28 } else { 27 };
        assert_eq!(signer_of(digest, &other), Some(key.address()), "it would be good otherwise");
        assert!(!signed_by(key.address(), digest, &other));
        assert!(!signed_by(key.address(), digest, &signature[..64]));
        assert!(!signed_by(Address::ZERO, digest, &[0; 65]));
    }

    #[test]
    fn only_wallets_last_bytes_are_brought_into_form_and_old_ones_are_mended() {
        let key = Key::from_words("a holder");
        let digest = keccak256("anything");
        let good = key.sign(digest);
        for last in 0..=u8::MAX {
            let given = [&good[..64], &[last]].concat();
            let expected =
                (last == good[64] || u16::from(last) + 27 == u16::from(good[64])).then(|| good.clone());
            assert_eq!(taken(key.address(), digest, &given), expected, "last byte {last}");
            assert_eq!(mended(key.address(), digest, &given), Some(good.clone()), "last byte {last}");
        }
        assert_eq!(mended(Key::from_words("another").address(), digest, &good), None);
        assert_eq!(mended(key.address(), digest, &good[..60]), None);
        assert_eq!(taken(key.address(), digest, &[]), None);
    }

    #[test]
    fn half_of_the_order_is_what_it_is() {
        let order: U256 =
            "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
        let mut signature = [0u8; 65];
        signature[32..64].copy_from_slice(&(order / U256::from(2)).to_be_bytes::<32>());
        assert!(low_s(&signature));
        signature[32..64].copy_from_slice(&(order / U256::from(2) + U256::from(1)).to_be_bytes::<32>());
        assert!(!low_s(&signature));
    }
}
