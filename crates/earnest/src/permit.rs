//! `earnest permit sign`: an attester's word on one buyer, as a file the buyer bids with.

use alloy_primitives::Address;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::Offering;
use earnest_chain::permit::{Approval, SignedPermit};
use earnest_core::money::Cash;

use crate::output::cash;
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
        let approval = Approval {
            entity: sign.entity,
            regime: sign.regime,
            min: sign.min,
            max: sign.max,
            max_total: sign.max_total,
            jurisdiction: sign.jurisdiction,
            affiliate: sign.affiliate,
            valid_secs: u64::from(sign.days) * 86_400,
        };
        let round = session.round(&sign.round)?;
        let now = session.chain.time()?;
        let attester = (&key, generation);
        let permit = SignedPermit::issue(
            &session.plan,
            &session.record,
            attester,
            sign.wallet,
            round,
            &approval,
            now,
        )?;
        println!("{}", serde_json::to_string_pretty(&permit)?);
        Ok(())
    }
}
