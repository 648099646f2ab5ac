//! A [`Call`] of the model, told to the contracts: the same caller, the same values, and the signatures that make
//! them true (or, for hostile stories, false).

use std::collections::HashMap;

use alloy_primitives::aliases::{U40, U88, U96};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain};
use earnest_core::bid::BidId;
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::Time;
use earnest_core::raise::Call;

use crate::bindings::{Deliver, Offering, Payout, Treasury, Vault};
use crate::chain::{Chain, ChainError, Receipt};
use crate::deploy::Deployment;
use crate::key::Key;

impl Deployment {
    /// EIP-712 domain of permits, deliveries and refunds from the offering.
    pub fn offering_domain(&self, chain_id: u64) -> Eip712Domain {
        eip712_domain! {
            name: "Earnest Offering", version: "1", chain_id: chain_id, verifying_contract: self.offering,
        }
    }

    /// EIP-712 domain of refunds from the treasury.
    pub fn treasury_domain(&self, chain_id: u64) -> Eip712Domain {
        eip712_domain! {
            name: "Earnest Treasury", version: "1", chain_id: chain_id, verifying_contract: self.treasury,
        }
    }

    /// What an attester signs for a permit.
    pub fn permit_digest(&self, chain_id: u64, permit: &PurchasePermit) -> B256 {
        sol_permit(permit).eip712_signing_hash(&self.offering_domain(chain_id))
    }

    /// What an owner signs to be refunded elsewhere, by the offering or by the treasury.
    pub fn payout_digest(domain: &Eip712Domain, id: BidId, payee: Address, expiry: Time) -> B256 {
        Payout { bid: pack(id), payee, expiry: U40::from(expiry) }.eip712_signing_hash(domain)
    }

    /// What an owner signs to have what has vested delivered, once.
    pub fn deliver_digest(&self, chain_id: u64, id: BidId, delivered: u128, expiry: Time) -> B256 {
        let deliver = Deliver { bid: pack(id), delivered: U96::from(delivered), expiry: U40::from(expiry) };
        deliver.eip712_signing_hash(&self.offering_domain(chain_id))
    }
}

/// A bid's id as the contract takes it.
pub fn pack(id: BidId) -> U88 {
    U88::from(id.pack())
}

/// A permit as the contract takes it.
pub fn sol_permit(permit: &PurchasePermit) -> Offering::PurchasePermit {
    Offering::PurchasePermit {
        entity: U256::from(permit.entity),
        wallet: permit.wallet,
        round: number(permit.round),
        minCash: U256::from(permit.min_cash),
        maxCash: U256::from(permit.max_cash),
        maxTotal: U256::from(permit.max_total),
        first: U256::from(permit.first),
        last: U256::from(permit.last),
        notBefore: U256::from(permit.not_before),
        expiry: U256::from(permit.expiry),
        jurisdiction: U256::from(permit.jurisdiction),
        lockClass: number(permit.lock_class),
        affiliate: permit.affiliate,
        coolingOff: permit.cooling_off,
        generation: U256::from(permit.generation),
        termsHash: permit.terms_hash,
    }
}

/// Keys of everyone in a story, by address.
#[derive(Default)]
pub struct Keys(HashMap<Address, Key>);

impl Keys {
    /// Remembers a key; returns its address.
    pub fn add(&mut self, key: Key) -> Address {
        let address = key.address();
        self.0.insert(address, key);
        address
    }

    /// The key of an address; everyone in a story has one.
    pub fn of(&self, address: Address) -> &Key {
        &self.0[&address]
    }

    /// A signature by an address, or by a stranger where `honest` is false.
    fn sign(&self, address: Address, digest: B256, honest: bool) -> Bytes {
        match self.0.get(&address) {
            Some(key) if honest => key.sign(digest),
            _ => Key::from_words("a stranger").sign(digest),
        }
    }
}

/// Sends one call as its caller. `delivered` is what the position of a `DeliverFor` has delivered so far, and `owner`
/// whose signature a consent needs.
pub fn tell(
    chain: &mut Chain,
    at: &Deployment,
    keys: &Keys,
    caller: Address,
    call: &Call,
    owner: Address,
    delivered: u128,
) -> Result<Receipt, ChainError> {
    let key = keys.of(caller).clone();
    let id = chain.id();
    let offering_payout = |bid, payee, consent: &earnest_core::offering::Consent| {
        let digest = Deployment::payout_digest(&at.offering_domain(id), bid, payee, consent.expiry);
        keys.sign(owner, digest, consent.by_owner)
    };
    match call {
        Call::SetAttester { attester, generation } => {
            let call = Offering::setAttesterCall { attester: *attester, generation: *generation };
            chain.send(&key, at.offering, &call)
        }
        Call::Pause { round, secs } => chain.send(
            &key,
            at.offering,
            &Offering::pauseCall { index: number(*round), secs: U256::from(*secs) },
        ),
        Call::Bid(order) => {
            let signature = match order.signed_by {
                Some(attester) => keys.of(attester).sign(at.permit_digest(id, &order.permit)),
                None => Bytes::from(vec![0x55; 65]),
            };
            let call = Offering::bidCall {
                permit: sol_permit(&order.permit),
                signature,
                cash_: U256::from(order.cash),
                tick: U256::from(order.tick),
                schedule: number(order.schedule),
            };
            chain.send(&key, at.offering, &call)
        }
        Call::Withdraw { id, payee } => {
            chain.send(&key, at.offering, &Offering::withdrawCall { id: pack(*id), payee: *payee })
        }
        Call::Lapse { id } => chain.send(&key, at.offering, &Offering::lapseCall { id: pack(*id) }),
        Call::Clear { round, steps } => chain.send(
            &key,
            at.offering,
            &Offering::clearCall { index: number(*round), steps: U256::from(*steps) },
        ),
        Call::Settle { id } => chain.send(&key, at.offering, &Offering::settleCall { id: pack(*id) }),
        Call::Refund { id } => chain.send(&key, at.offering, &Offering::refundCall { id: pack(*id) }),
        Call::RefundTo { id: bid, payee, consent } => {
            let signature = offering_payout(*bid, *payee, consent);
            let (id, expiry) = (pack(*bid), U256::from(consent.expiry));
            chain.send(&key, at.offering, &Offering::refundToCall { id, payee: *payee, expiry, signature })
        }
        Call::Sweep { round } => {
            chain.send(&key, at.offering, &Offering::sweepCall { index: number(*round) })
        }
        Call::Attest { subject } => {
            let call =
                Offering::attestCall { subject: number(*subject), evidence: B256::repeat_byte(*subject) };
            chain.send(&key, at.offering, &call)
        }
        Call::Object { subject } => {
            chain.send(&key, at.offering, &Offering::objectCall { subject: number(*subject) })
        }
        Call::Deliver { id } => chain.send(&key, at.offering, &Offering::deliverCall { id: pack(*id) }),
        Call::DeliverFor { id: bid, consent } => {
            let digest = at.deliver_digest(id, *bid, delivered, consent.expiry);
            let signature = keys.sign(owner, digest, consent.by_owner);
            let (id, expiry) = (pack(*bid), U256::from(consent.expiry));
            chain.send(&key, at.offering, &Offering::deliverForCall { id, expiry, signature })
        }
        Call::Sync => chain.send(&key, at.treasury, &Treasury::syncCall {}),
        Call::Draw { cash, to } => {
            chain.send(&key, at.treasury, &Treasury::drawCall { amount: U256::from(*cash), to: *to })
        }
        Call::PotRefund { id } => chain.send(&key, at.treasury, &Treasury::refundCall { id: pack(*id) }),
        Call::PotRefundTo { id: bid, payee, consent } => {
            let digest = Deployment::payout_digest(&at.treasury_domain(id), *bid, *payee, consent.expiry);
            let signature = keys.sign(owner, digest, consent.by_owner);
            let (id, expiry) = (pack(*bid), U256::from(consent.expiry));
            chain.send(&key, at.treasury, &Treasury::refundToCall { id, payee: *payee, expiry, signature })
        }
        Call::Release { id } => {
            let vault = chain.call(at.offering, &Offering::vaultOfCall { id: pack(*id) })?;
            chain.send(&key, vault, &Vault::releaseCall {})
        }
    }
}

fn number(small: u8) -> U256 {
    U256::from(small)
}
