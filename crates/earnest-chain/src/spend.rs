//! A [`Call`] of what is spent, told to the contracts: the same caller, the same values, and the signatures that make
//! them true (or, for hostile stories, false).

use alloy_primitives::{Address, Bytes, U256};
use earnest_core::channel::Row;
use earnest_core::spend::{Call, Places, Spend};
use earnest_core::statement::Publication;

use crate::bindings::{Channels, Revenue, Vault};
use crate::chain::{Chain, ChainError, Receipt};
use crate::channel::{
    Deposit, batch_digest, channel_id, coin_domain, domain, refund_digest, sol_config, sol_row,
    voucher_digest,
};
use crate::deploy::Deployment;
use crate::story::Keys;

impl Deployment {
    /// Where the model finds its contracts.
    pub fn places(&self) -> Places {
        Places { channels: self.channels, revenue: self.revenue, credit: self.credit, cash: self.cash }
    }
}

/// What nobody signed.
const UNSIGNED: [u8; 65] = [0x55; 65];

/// Sends one call as its caller. `spend` knows which payers are vaults.
pub fn tell(
    chain: &mut Chain,
    at: &Deployment,
    keys: &Keys,
    caller: Address,
    call: &Call,
    spend: &Spend,
) -> Result<Receipt, ChainError> {
    let key = keys.of(caller).clone();
    let domain = domain(chain.id(), at.channels);
    let sign = |by: Option<Address>, digest| match by {
        Some(signer) => keys.of(signer).sign(digest),
        None => Bytes::from(UNSIGNED),
    };
    let sol_rows = |rows: &[Row]| {
        let rows = rows.iter().map(|row| {
            let digest = voucher_digest(&domain, channel_id(&domain, &row.channel), row.ceiling);
            sol_row(row, sign(row.signed_by, digest))
        });
        rows.collect::<Vec<_>>()
    };
    match call {
        Call::Deposit { channel, amount, authorization } => {
            let deposit = Deposit {
                channel: *channel,
                amount: *amount,
                salt: U256::from(authorization.salt),
                valid_after: authorization.valid_after,
                valid_before: authorization.valid_before,
            };
            let coin = coin_domain(chain, channel.token).unwrap_or_default();
            let signature = sign(authorization.signed_by, deposit.digest(&domain, coin, at.collector));
            let from_vault = spend.vaults.contains_key(&channel.payer);
            let signature = if from_vault { deposit.vault_proof(signature) } else { signature };
            chain.send(&key, at.channels, &deposit.call(at.collector, signature))
        }
        Call::Claim { rows } => {
            chain.send(&key, at.channels, &Channels::claimCall { voucherClaims: sol_rows(rows) })
        }
        Call::ClaimSigned { rows, signed_by } => {
            let call = Channels::claimWithSignatureCall {
                voucherClaims: sol_rows(rows),
                authorizerSignature: sign(*signed_by, batch_digest(&domain, rows)),
            };
            chain.send(&key, at.channels, &call)
        }
        Call::Settle { receiver, coin } => {
            chain.send(&key, at.channels, &Channels::settleCall { receiver: *receiver, token: *coin })
        }
        Call::InitiateWithdraw { channel, amount } => {
            let call = Channels::initiateWithdrawCall { config: sol_config(channel), amount: *amount };
            chain.send(&key, at.channels, &call)
        }
        Call::FinalizeWithdraw { channel } => {
            chain.send(&key, at.channels, &Channels::finalizeWithdrawCall { config: sol_config(channel) })
        }
        Call::Refund { channel, amount } => {
            let call = Channels::refundCall { config: sol_config(channel), amount: *amount };
            chain.send(&key, at.channels, &call)
        }
        Call::RefundSigned { channel, amount, nonce, signed_by } => {
            let digest = refund_digest(&domain, channel_id(&domain, channel), *nonce, *amount);
            let call = Channels::refundWithSignatureCall {
                config: sol_config(channel),
                amount: *amount,
                nonce: U256::from(*nonce),
                receiverAuthorizerSignature: sign(*signed_by, digest),
            };
            chain.send(&key, at.channels, &call)
        }
        // Both have the channels' names and arguments.
        Call::RevenueClaim { rows } => {
            chain.send(&key, at.revenue, &Channels::claimCall { voucherClaims: sol_rows(rows) })
        }
        Call::RevenueRefund { channel, amount } => {
            let call = Channels::refundCall { config: sol_config(channel), amount: *amount };
            chain.send(&key, at.revenue, &call)
        }
        Call::Rotate { role, holder } => {
            chain.send(&key, at.revenue, &Revenue::rotateCall { which: *role as u8, holder: *holder })
        }
        Call::Publish(Publication { coin, number, settled, pay, root }) => {
            let call = Revenue::publishCall {
                coin: *coin,
                number: *number,
                settled: *settled,
                pay: *pay,
                root: *root,
                document: *root,
            };
            chain.send(&key, at.revenue, &call)
        }
        Call::ClaimPay { coin, provider, cumulative, proof } => {
            let call = Revenue::claimPayCall {
                coin: *coin,
                provider: *provider,
                cumulative: *cumulative,
                proof: proof.clone(),
            };
            chain.send(&key, at.revenue, &call)
        }
        Call::Release { vault } => chain.send(&key, *vault, &Vault::releaseCall {}),
    }
}
