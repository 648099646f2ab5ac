//! Channels as wallets and contracts see them: a channel's id, what payers and authorizers sign, and the bytes of a
//! deposit. All of it is x402's `batch-settlement`, version 1 of its EIP-712 domain.

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue, eip712_domain};
use earnest_core::channel::{ChannelConfig, Row};

use crate::bindings::{Channels, Credit, VaultDeposit, signed};
use crate::chain::{Chain, ChainError};

/// EIP-712 domain of a settlement contract.
pub fn domain(chain_id: u64, settlement: Address) -> Eip712Domain {
    eip712_domain! {
        name: "x402 Batch Settlement", version: "1", chain_id: chain_id, verifying_contract: settlement,
    }
}

/// A channel as the contract takes it.
pub fn sol_config(config: &ChannelConfig) -> Channels::ChannelConfig {
    Channels::ChannelConfig {
        payer: config.payer,
        payerAuthorizer: config.payer_authorizer,
        receiver: config.receiver,
        receiverAuthorizer: config.receiver_authorizer,
        token: config.token,
        withdrawDelay: U40::from(config.withdraw_delay),
        salt: config.salt,
    }
}

/// Its id.
pub fn channel_id(domain: &Eip712Domain, config: &ChannelConfig) -> B256 {
    sol_config(config).eip712_signing_hash(domain)
}

/// What the payer's side signs: so much may be claimed in all.
pub fn voucher_digest(domain: &Eip712Domain, channel: B256, ceiling: u128) -> B256 {
    signed::Voucher { channelId: channel, maxClaimableAmount: ceiling }.eip712_signing_hash(domain)
}

/// What the receiver's authorizer signs to give back.
pub fn refund_digest(domain: &Eip712Domain, channel: B256, nonce: u64, amount: u128) -> B256 {
    signed::Refund { channelId: channel, nonce: U256::from(nonce), amount }.eip712_signing_hash(domain)
}

/// What it signs for a whole claim.
pub fn batch_digest(domain: &Eip712Domain, rows: &[Row]) -> B256 {
    let entries = rows.iter().map(|row| signed::ClaimEntry {
        channelId: channel_id(domain, &row.channel),
        maxClaimableAmount: row.ceiling,
        totalClaimed: row.claimed,
    });
    signed::ClaimBatch { claims: entries.collect() }.eip712_signing_hash(domain)
}

/// A row of a claim with its voucher's signature.
pub fn sol_row(row: &Row, signature: Bytes) -> Channels::VoucherClaim {
    Channels::VoucherClaim {
        voucher: Channels::Voucher { channel: sol_config(&row.channel), maxClaimableAmount: row.ceiling },
        signature,
        totalClaimed: row.claimed,
    }
}

/// A deposit by ERC-3009: so much from the channel's payer, by way of the collector, between two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the type says it")]
pub struct Deposit {
    pub channel: ChannelConfig,
    pub amount: u128,
    /// Sets apart deposits into one channel.
    pub salt: U256,
    pub valid_after: u64,
    pub valid_before: u64,
}

impl Deposit {
    /// The authorization's nonce, which names the channel: it pays into no other.
    pub fn nonce(&self, domain: &Eip712Domain) -> B256 {
        keccak256((channel_id(domain, &self.channel), self.salt).abi_encode())
    }

    /// What the payer signs, or the owner of the vault that pays, under the coin's own domain.
    pub fn digest(&self, domain: &Eip712Domain, coin: B256, collector: Address) -> B256 {
        let authorization = signed::ReceiveWithAuthorization {
            from: self.channel.payer,
            to: collector,
            value: U256::from(self.amount),
            validAfter: U256::from(self.valid_after),
            validBefore: U256::from(self.valid_before),
            nonce: self.nonce(domain),
        };
        keccak256([&[0x19, 0x01], coin.as_slice(), authorization.eip712_hash_struct().as_slice()].concat())
    }

    /// What a vault takes in place of a signature.
    pub fn vault_proof(&self, owner_signature: Bytes) -> Bytes {
        let proof = VaultDeposit {
            channel: sol_config(&self.channel),
            salt: self.salt,
            value: U256::from(self.amount),
            validAfter: U256::from(self.valid_after),
            validBefore: U256::from(self.valid_before),
            ownerSignature: owner_signature,
        };
        proof.abi_encode().into()
    }

    /// The call that makes the deposit; anyone may send it.
    pub fn call(&self, collector: Address, signature: Bytes) -> Channels::depositCall {
        let (after, before) = (U256::from(self.valid_after), U256::from(self.valid_before));
        Channels::depositCall {
            config: sol_config(&self.channel),
            amount: self.amount,
            collector,
            collectorData: (after, before, self.salt, signature).abi_encode_params().into(),
        }
    }
}

/// A coin's own EIP-712 domain, as it says.
pub fn coin_domain(chain: &mut Chain, coin: Address) -> Result<B256, ChainError> {
    chain.call(coin, &Credit::DOMAIN_SEPARATORCall {})
}
