//! `earnest treasury`: the pots, the tap, and a backer's way out past the deadline.

use alloy_primitives::{Address, U256};
use anyhow::Result;
use clap::{Args, Subcommand};
use earnest_chain::bindings::Treasury as Contract;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::money::Cash;

use crate::output::{Done, bid_id, cash};
use crate::session::{Where, Who, address};

/// Pots, tap and refunds past the deadline.
#[derive(Subcommand)]
pub enum Treasury {
    /// Pots, what the tap has released and paid.
    Show(Show),
    /// Issuer: take from the tap.
    Draw(Draw),
    /// Past the deadline without a live service: pay a position its share; anyone may.
    Refund(Refund),
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    at: Where,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Draw {
    /// Such as "1000 cash".
    #[arg(value_parser = cash)]
    cash: Cash,
    /// Who gets it; without it, the issuer.
    #[arg(long, value_parser = address)]
    to: Option<Address>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The transaction as JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Refund {
    /// round/entity, or round/window/entity in a rising round.
    #[arg(value_parser = bid_id)]
    id: BidId,
    /// Another payee than the wallet, as its owner.
    #[arg(long, value_parser = address)]
    to: Option<Address>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The transaction as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Treasury {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Treasury::Show(show) => show.run(),
            Treasury::Draw(draw) => {
                let mut session = draw.at.open()?;
                let key = draw.who.key(&session.chain)?;
                let to = draw.to.unwrap_or_else(|| key.address());
                let call = Contract::drawCall { amount: U256::from(draw.cash.units()), to };
                let receipt = session.chain.send(&key, session.record.contracts.treasury, &call)?;
                Done::of(&receipt).print(draw.json)
            }
            Treasury::Refund(refund) => {
                let mut session = refund.at.open()?;
                let key = refund.who.key(&session.chain)?;
                let treasury = session.record.contracts.treasury;
                let receipt = match refund.to {
                    None => {
                        session.chain.send(&key, treasury, &Contract::refundCall { id: pack(refund.id) })?
                    }
                    Some(payee) => {
                        let (id, expiry) = (pack(refund.id), U256::MAX);
                        let call =
                            Contract::refundToCall { id, payee, expiry, signature: Default::default() };
                        session.chain.send(&key, treasury, &call)?
                    }
                };
                Done::of(&receipt).print(refund.json)
            }
        }
    }
}

impl Show {
    fn run(self) -> Result<()> {
        let mut session = self.at.open()?;
        let now = session.chain.time()?;
        let raise = session.read()?;
        let (treasury, offering) = (&raise.treasury, &raise.offering);
        let show = Cash::from_units;
        let released = show(treasury.released(offering, now));
        let available =
            show(treasury.released(offering, now).saturating_sub(treasury.tap_paid).min(treasury.held()));
        if self.json {
            let pots: Vec<_> = session.plan.rounds.iter().zip(&treasury.pots).collect();
            let pots: Vec<_> = pots
                .iter()
                .map(|(round, pot)| serde_json::json!({ "round": round.name, "cash": show(pot.cash), "refunded": show(pot.refunded) }))
                .collect();
            let json = serde_json::json!({
                "pots": pots,
                "circulating": show(treasury.circulating),
                "released": released,
                "tap_paid": show(treasury.tap_paid),
                "available": available,
                "refunds_paid": show(treasury.refunds_paid),
                "refunding": treasury.refunding(offering, now),
            });
            println!("{}", serde_json::to_string_pretty(&json)?);
            return Ok(());
        }
        for (round, pot) in session.plan.rounds.iter().zip(&treasury.pots) {
            println!("pot {:20} {}", round.name, show(pot.cash));
        }
        println!("circulating pot         {}", show(treasury.circulating));
        println!("released by the tap     {released}, of it paid {}", show(treasury.tap_paid));
        println!("the issuer can draw     {available}");
        if treasury.refunding(offering, now) {
            println!("the deadline has passed without a live service: positions take their shares");
        }
        Ok(())
    }
}
