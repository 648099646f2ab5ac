//! `earnest position`: what a bid became, how it vests, and its delivery.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::Offering;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_report::text;

use crate::output::{Done, bid_id};
use crate::session::{Where, Who};

/// Positions.
#[derive(Subcommand)]
pub enum Position {
    /// A position with its vesting.
    Show(Show),
    /// Owner: mint what has vested, to the wallet or, while locked, to the position's vault.
    Deliver(Deliver),
}

#[derive(Args)]
pub struct Show {
    /// round/entity, or round/window/entity in a rising round.
    #[arg(value_parser = bid_id)]
    id: BidId,
    #[command(flatten)]
    at: Where,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Deliver {
    /// round/entity, or round/window/entity in a rising round.
    #[arg(value_parser = bid_id)]
    id: BidId,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The transaction as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Position {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Position::Show(show) => {
                let mut session = show.at.open()?;
                let now = session.chain.time()?;
                let raise = session.read()?;
                let bid = raise.offering.bid(show.id);
                if bid.is_empty() {
                    bail!("there is no bid {}", crate::offering::show(show.id));
                }
                if show.json {
                    let position = raise.offering.positions.get(&show.id).copied().unwrap_or_default();
                    let json = serde_json::json!({
                        "wallet": bid.wallet,
                        "cash": earnest_core::money::Cash::from_units(bid.cash),
                        "settled": bid.settled,
                        "refunded": bid.refunded,
                        "credits": earnest_core::money::Credits::from_units(position.credits),
                        "delivered": earnest_core::money::Credits::from_units(position.delivered),
                        "paid": earnest_core::money::Cash::from_units(position.paid),
                    });
                    println!("{}", serde_json::to_string_pretty(&json)?);
                } else {
                    println!("{}", text::position(&session.plan, &raise, show.id, now));
                }
                Ok(())
            }
            Position::Deliver(deliver) => {
                let mut session = deliver.at.open()?;
                let key = deliver.who.key(&session.chain)?;
                let offering = session.record.contracts.offering;
                let receipt =
                    session.chain.send(&key, offering, &Offering::deliverCall { id: pack(deliver.id) })?;
                Done::of(&receipt).print(deliver.json)
            }
        }
    }
}
