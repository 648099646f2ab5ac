//! `earnest offering`: what backers, the issuer, the certifier, the guardian and anyone may do with the rounds.

use std::path::PathBuf;

use alloy_primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::{DevCash, Offering as Contract};
use earnest_chain::permit::SignedPermit;
use earnest_chain::story::{pack, sol_permit};
use earnest_core::bid::{Bid as Slot, BidId};
use earnest_core::money::{Cash, Price};
use earnest_core::plan::RoundKind;

use crate::output::{Done, bid_id, cash, price};
use crate::session::{Session, Where, Who, address};

/// Rounds, bids and what follows from them.
#[derive(Subcommand)]
pub enum Offering {
    /// Place a bid, or raise it: cash is what the bid shall stand at in all.
    Bid(Bid),
    /// Take a bid back in its cooling-off, whole and for good.
    Withdraw(OneBid),
    /// Clear a round whose time has come; anyone may.
    Clear(Clear),
    /// Make the position of a bid; anyone may.
    Settle(OneBid),
    /// Pull what a bid gets back, to its wallet or, as its owner, to another payee.
    Refund(Refund),
    /// Move a cleared round's proceeds into the treasury; anyone may.
    Sweep(Sweep),
    /// Certifier: a milestone is reached, or the service is live.
    Attest(Attest),
    /// Guardian: no to what was attested, before it takes effect.
    Object(Subject),
    /// Guardian: no bids for a while; the round's end moves by as much.
    Pause(Pause),
    /// Issuer: add or renew an attester (generation up), or remove it (0).
    Attester(Attester),
}

#[derive(Args)]
pub struct Common {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The transaction as JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Bid {
    /// File that `earnest permit sign` printed.
    #[arg(long)]
    permit: PathBuf,
    /// Cash in all, such as "250 cash".
    #[arg(long, value_parser = cash)]
    cash: Cash,
    /// The most to pay for a credit in an auction, such as "0.75 cash per credit": rounded down to a tick.
    #[arg(long, value_parser = price)]
    limit: Option<Price>,
    /// Vesting schedule by name; without it, the round's first.
    #[arg(long)]
    schedule: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct OneBid {
    /// round/entity, or round/window/entity in a rising round.
    #[arg(value_parser = bid_id)]
    id: BidId,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Clear {
    /// Round, by name or number.
    round: String,
    /// At most so many ticks or windows in a transaction.
    #[arg(long, default_value_t = 400)]
    steps: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Refund {
    /// round/entity, or round/window/entity in a rising round.
    #[arg(value_parser = bid_id)]
    id: BidId,
    /// Another payee than the wallet that bid.
    #[arg(long, value_parser = address)]
    to: Option<Address>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Sweep {
    /// Round, by name or number.
    round: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Attest {
    /// `live`, or the name of a milestone.
    subject: String,
    /// File that shows it; its hash goes on chain.
    #[arg(long)]
    evidence: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Subject {
    /// `live`, or the name of a milestone.
    subject: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Pause {
    /// Round, by name or number.
    round: String,
    /// From now on; 0 ends a pause.
    secs: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Attester {
    /// Address, or the name of a development key.
    #[arg(value_parser = address)]
    attester: Address,
    /// Higher than ever before, or 0 to remove.
    generation: u32,
    #[command(flatten)]
    common: Common,
}

impl Offering {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Offering::Bid(bid) => bid.run(),
            Offering::Withdraw(OneBid { id, common }) => {
                let (mut session, key) = common.open()?;
                let call = Contract::withdrawCall { id: pack(id), payee: key.address() };
                common.send(&mut session, &call)
            }
            Offering::Clear(Clear { round, steps, common }) => {
                let (mut session, key) = common.open()?;
                let index = U256::from(session.round(&round)?);
                let offering = session.record.contracts.offering;
                loop {
                    let call = Contract::clearCall { index, steps: U256::from(steps) };
                    let receipt = session.chain.send(&key, offering, &call)?;
                    Done::of(&receipt).print(common.json)?;
                    if session.chain.call(offering, &Contract::getRoundCall { index })?.status == 2 {
                        return Ok(());
                    }
                }
            }
            Offering::Settle(OneBid { id, common }) => {
                let (mut session, _) = common.open()?;
                common.send(&mut session, &Contract::settleCall { id: pack(id) })
            }
            Offering::Refund(Refund { id, to, common }) => {
                let (mut session, _) = common.open()?;
                match to {
                    None => common.send(&mut session, &Contract::refundCall { id: pack(id) }),
                    Some(payee) => {
                        let (id, expiry) = (pack(id), U256::MAX);
                        let call =
                            Contract::refundToCall { id, payee, expiry, signature: Default::default() };
                        common.send(&mut session, &call)
                    }
                }
            }
            Offering::Sweep(Sweep { round, common }) => {
                let (mut session, _) = common.open()?;
                let index = U256::from(session.round(&round)?);
                common.send(&mut session, &Contract::sweepCall { index })
            }
            Offering::Attest(Attest { subject, evidence, common }) => {
                let (mut session, _) = common.open()?;
                let subject = subject_of(&session, &subject)?;
                let bytes = std::fs::read(&evidence)
                    .with_context(|| format!("cannot read the evidence in {}", evidence.display()))?;
                let evidence: B256 = keccak256(bytes);
                common.send(&mut session, &Contract::attestCall { subject, evidence })
            }
            Offering::Object(Subject { subject, common }) => {
                let (mut session, _) = common.open()?;
                let subject = subject_of(&session, &subject)?;
                common.send(&mut session, &Contract::objectCall { subject })
            }
            Offering::Pause(Pause { round, secs, common }) => {
                let (mut session, _) = common.open()?;
                let index = U256::from(session.round(&round)?);
                common.send(&mut session, &Contract::pauseCall { index, secs: U256::from(secs) })
            }
            Offering::Attester(Attester { attester, generation, common }) => {
                let (mut session, _) = common.open()?;
                common.send(&mut session, &Contract::setAttesterCall { attester, generation })
            }
        }
    }
}

impl Common {
    fn open(&self) -> Result<(Session, earnest_chain::key::Key)> {
        let session = self.at.open()?;
        let key = self.who.key(&session.chain)?;
        Ok((session, key))
    }

    fn send(&self, session: &mut Session, call: &impl alloy_sol_types::SolCall) -> Result<()> {
        let key = self.who.key(&session.chain)?;
        let receipt = session.chain.send(&key, session.record.contracts.offering, call)?;
        Done::of(&receipt).print(self.json)
    }
}

fn subject_of(session: &Session, name: &str) -> Result<U256> {
    if name == "live" {
        return Ok(U256::ZERO);
    }
    let milestones = &session.plan.treasury.milestones;
    let found = milestones.iter().position(|milestone| milestone.name == name);
    let names: Vec<&str> = milestones.iter().map(|milestone| milestone.name.as_str()).collect();
    let index = found
        .with_context(|| format!("there is no milestone {name:?}\n  hint: live, {}", names.join(", ")))?;
    Ok(U256::from(index + 1))
}

impl Bid {
    fn run(self) -> Result<()> {
        let text = std::fs::read_to_string(&self.permit)
            .with_context(|| format!("cannot read the permit in {}", self.permit.display()))?;
        let signed: SignedPermit = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a permit that earnest signed", self.permit.display()))?;
        let (mut session, key) = self.common.open()?;
        let (permit, contracts) = (signed.permit(), session.record.contracts.clone());
        let round =
            session.plan.rounds.get(usize::from(permit.round)).context("the permit is for another plan")?;
        let tick = match (&round.kind, self.limit) {
            (RoundKind::Auction(_), None) => {
                bail!("{} is an auction\n  hint: --limit \"… cash per credit\"", round.name)
            }
            (RoundKind::Auction(auction), Some(limit)) => {
                let above = limit.units().checked_sub(auction.floor_price.units()).with_context(|| {
                    format!("the limit is below the floor price of {} cash per credit", auction.floor_price)
                })?;
                (above / auction.tick.units().max(1)).min(u64::from(auction.ticks) - 1)
            }
            (_, None) => 0,
            (_, Some(_)) => bail!("{} is not an auction: it takes no --limit", round.name),
        };
        let schedule = self.schedule.as_ref().unwrap_or(&round.schedules[0]);
        let (schedule, _) = session.plan.schedule(schedule).with_context(|| {
            format!("there is no schedule {schedule:?}\n  hint: {}", round.schedules.join(", "))
        })?;
        // What is missing of the allowance is approved first; what stands already needs no more.
        let id = self.standing(&mut session, &permit)?;
        let word = session.chain.call(contracts.offering, &Contract::getBidCall { id: pack(id) })?;
        let needed = U256::from(self.cash.units().saturating_sub(Slot::unpack(word).cash));
        let call = DevCash::allowanceCall { owner: key.address(), spender: contracts.offering };
        if session.chain.call(contracts.cash, &call)? < needed {
            let call = DevCash::approveCall { spender: contracts.offering, value: needed };
            session.chain.send(&key, contracts.cash, &call)?;
            eprintln!("approved {} {}", self.cash, session.plan.cash.symbol);
        }
        let call = Contract::bidCall {
            permit: sol_permit(&permit),
            signature: signed.signature,
            cash_: U256::from(self.cash.units()),
            tick: U256::from(tick),
            schedule: U256::from(schedule),
        };
        let receipt = session.chain.send(&key, contracts.offering, &call)?;
        eprintln!("bid {} stands at {} {}", show(id), self.cash, session.plan.cash.symbol);
        Done::of(&receipt).print(self.common.json)
    }

    /// The bid this one raises, or would be: in a rising round, of the window that is open.
    fn standing(
        &self,
        session: &mut Session,
        permit: &earnest_core::permit::PurchasePermit,
    ) -> Result<BidId> {
        let index = usize::from(permit.round);
        let mut window = 0;
        if let RoundKind::Rising(rising) = &session.plan.rounds[index].kind {
            let call = Contract::getRoundCall { index: U256::from(permit.round) };
            let round = session.chain.call(session.record.contracts.offering, &call)?;
            let (open, paused): (u64, u64) = (round.open.to(), round.pausedUntil.to());
            let time = session.chain.time()?.max(paused);
            window = u16::try_from(time.saturating_sub(open) / u64::from(rising.window_secs))?;
        }
        Ok(BidId { round: permit.round, window, entity: permit.entity })
    }
}

/// As the command line writes it.
pub fn show(id: BidId) -> String {
    if id.window == 0 {
        format!("{}/{}", id.round, id.entity)
    } else {
        format!("{}/{}/{}", id.round, id.window, id.entity)
    }
}
