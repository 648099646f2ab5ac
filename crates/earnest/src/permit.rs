//! `earnest permit sign`: an attester's word on one buyer, as a file the buyer bids with.

use alloy_primitives::{Address, Bytes};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::Offering;
use earnest_core::money::{CASH_MAX, Cash};
use earnest_core::permit::PurchasePermit;
use serde::{Deserialize, Serialize};

use crate::output::{cash, jurisdiction_code};
use crate::session::{Where, Who, address};

/// Purchase permits.
#[derive(Subcommand)]
pub enum Permit {
    /// Sign a permit, printed as JSON.
    Sign(Sign),
}

/// Sign a permit, printed as JSON.
#[derive(Args)]
pub struct Sign {
    /// Round, by name or number.
    #[arg(long)]
    round: String,
    /// The buyer's wallet: an address, or the name of a development key.
    #[arg(long, value_parser = address)]
    wallet: Address,
    /// The buyer's number, the same in every round.
    #[arg(long)]
    entity: u64,
    /// The regime the buyer comes under; without it, the round's first.
    #[arg(long)]
    regime: Option<String>,
    /// Least cash in this round, such as "100 cash"; without it, the plan's.
    #[arg(long, value_parser = cash)]
    min: Option<Cash>,
    /// Most cash in this round; without it, the plan's.
    #[arg(long, value_parser = cash)]
    max: Option<Cash>,
    /// Most cash over all rounds; without it, the regime's.
    #[arg(long, value_parser = cash)]
    max_total: Option<Cash>,
    /// Where the buyer lives (ISO 3166-1 alpha-2).
    #[arg(long)]
    jurisdiction: Option<String>,
    /// The buyer is an affiliate of the issuer.
    #[arg(long)]
    affiliate: bool,
    /// For how many days it is good, the regime's waiting time included.
    #[arg(long, default_value_t = 30)]
    days: u32,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
}

/// A permit with its signature, as a file.
#[derive(Serialize, Deserialize)]
pub struct SignedPermit {
    chain_id: u64,
    offering: Address,
    entity: u64,
    wallet: Address,
    /// Index of the round.
    pub round: u8,
    min_cash: u64,
    max_cash: u64,
    max_total: u64,
    first: u16,
    last: u16,
    not_before: u64,
    expiry: u64,
    jurisdiction: u16,
    lock_class: u8,
    affiliate: bool,
    cooling_off: bool,
    generation: u32,
    terms_hash: alloy_primitives::B256,
    /// 65 bytes.
    pub signature: Bytes,
}

impl SignedPermit {
    /// What was signed.
    pub fn permit(&self) -> PurchasePermit {
        PurchasePermit {
            entity: self.entity,
            wallet: self.wallet,
            round: self.round,
            min_cash: self.min_cash,
            max_cash: self.max_cash,
            max_total: self.max_total,
            first: self.first,
            last: self.last,
            not_before: self.not_before,
            expiry: self.expiry,
            jurisdiction: self.jurisdiction,
            lock_class: self.lock_class,
            affiliate: self.affiliate,
            cooling_off: self.cooling_off,
            generation: self.generation,
            terms_hash: self.terms_hash,
        }
    }
}

impl Permit {
    /// Signs.
    pub fn run(self) -> Result<()> {
        let Permit::Sign(sign) = self;
        let mut session = sign.at.open()?;
        let key = sign.who.key(&session.chain)?;
        let offering = session.record.contracts.offering;
        let generation =
            session.chain.call(offering, &Offering::generationOfCall { attester: key.address() })?;
        if generation == 0 {
            bail!("{} is not an attester of this offering", key.address());
        }
        let round = session.round(&sign.round)?;
        let plan = &session.plan.rounds[usize::from(round)];
        let name = sign.regime.as_deref().unwrap_or(&plan.regimes[0]);
        if !plan.regimes.iter().any(|regime| regime == name) {
            bail!(
                "round {} does not sell under regime {name:?}\n  hint: {}",
                plan.name,
                plan.regimes.join(", ")
            );
        }
        let (lock_class, regime) = session.plan.regime(name).context("a checked plan has its regimes")?;
        let now = session.chain.time()?;
        let not_before = now + u64::from(regime.wait_hours) * 3_600;
        let code = sign.jurisdiction.as_deref().or(regime.jurisdictions.first().map(String::as_str));
        let permit = SignedPermit {
            chain_id: session.chain.id(),
            offering,
            entity: sign.entity,
            wallet: sign.wallet,
            round,
            min_cash: sign.min.unwrap_or(plan.min_bid).units(),
            max_cash: sign.max.or(plan.max_bid).map_or(CASH_MAX, Cash::units),
            max_total: sign.max_total.or(regime.max_entity).map_or(u64::MAX, Cash::units),
            first: 0,
            last: u16::MAX,
            not_before,
            expiry: now + u64::from(sign.days) * 86_400,
            jurisdiction: code.map_or(0, jurisdiction_code),
            lock_class: u8::try_from(lock_class)?,
            affiliate: sign.affiliate,
            cooling_off: regime.cooling_off_days > 0 && !sign.affiliate,
            generation,
            terms_hash: session.record.terms_hash,
            signature: Bytes::new(),
        };
        let digest = session.record.contracts.permit_digest(session.chain.id(), &permit.permit());
        let permit = SignedPermit { signature: key.sign(digest), ..permit };
        println!("{}", serde_json::to_string_pretty(&permit)?);
        Ok(())
    }
}
