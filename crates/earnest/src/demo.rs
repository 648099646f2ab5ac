//! `earnest demo`: a whole raise on the embedded chain, from the first permit to the last delivery, with a crowd from a
//! seed. The same story runs through the model, and at every stage both are compared and every invariant is checked.

use std::path::PathBuf;
use std::time::Instant;

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Coins, Deployment, approve_cash, deploy, mint_cash};
use earnest_chain::embedded::Embedded;
use earnest_chain::key::Key;
use earnest_chain::layout::{self, Slots};
use earnest_chain::permit::jurisdiction_code;
use earnest_chain::story::{Keys, tell};
use earnest_core::bid::BidId;
use earnest_core::invariants::{self, Outside};
use earnest_core::money::{CASH_MAX, Cash, Credits, Price};
use earnest_core::offering::{DAY, LIVE, Order, Sale, Status};
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::{Call, Holder, Raise};
use earnest_core::setup::{Parties, ServiceSetup, setup};
use earnest_report::{page, summary::Summary, text};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::crowd::{Crowd, What, most_overall};
use crate::output::grouped;
use crate::plan_file;
use crate::spend::{Buyer, Spent, Story};

/// The plan that `demo` runs when none is named, in the binary so that it works from anywhere.
const OPENAI: &str = include_str!("../../../examples/plans/openai-2018.toml");

/// Run a plan from the first bid to the last delivery, with a crowd of made-up backers.
#[derive(Args)]
pub struct Demo {
    /// The plan; without it, a hypothetical OpenAI of January 2018.
    plan: Option<PathBuf>,
    /// Which crowd.
    #[arg(long, default_value_t = 2018)]
    seed: u64,
    /// How many backers.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    backers: u32,
    /// Cash bid, as multiples of the most that the rounds can take; several, with commas, are compared in one table.
    #[arg(long, value_delimiter = ',', default_value = "1.5", value_parser = multiple)]
    demand: Vec<u64>,
    /// Where the page for the board goes (not with --json, nor with several demands).
    #[arg(long, default_value = "earnest.html")]
    html: PathBuf,
    /// One JSON object on stdout instead of words, or a list of them with several demands.
    #[arg(long)]
    json: bool,
}

/// A multiple such as `1.5`, in percent.
fn multiple(text: &str) -> Result<u64, String> {
    // Cash has six decimals, so four of them are dropped here; more than two is refused.
    let units = Cash::parse(text).ok_or("a multiple such as 0.1, 1 or 2.5 is expected")?.units();
    let percent = units / 10_000;
    let fits = units % 10_000 == 0 && (1..=10_000).contains(&percent);
    if fits { Ok(percent) } else { Err("a multiple from 0.01 to 100, in hundredths, is expected".into()) }
}

/// What a run came to. Amounts are decimal strings.
#[derive(Serialize)]
pub struct Outcome {
    plan: String,
    terms_hash: String,
    seed: u64,
    backers: usize,
    demand: String,
    bids: u64,
    bids_refused: u64,
    soft_cap_missed: bool,
    raised_cash: Cash,
    refunded_cash: Cash,
    credits_sold: Credits,
    credits_delivered: Credits,
    rounds: Vec<RoundOutcome>,
    tap_paid: Cash,
    tap_months: Option<String>,
    days_of_capacity: Option<u64>,
    requests_served: u64,
    requests_streamed: u64,
    credits_charged: Credits,
    credits_claimed: Credits,
    credits_burned: Credits,
    provider_pay: Credits,
    /// Of claims and statement, rounded up.
    gas_per_request: u64,
    /// What answered: the built-in echo says of itself that it is one.
    model: Option<String>,
    transactions: u64,
    gas_used: u64,
    elapsed_secs: f64,
    invariants_checked: u64,
    invariants_broken: u64,
}

#[derive(Serialize)]
struct RoundOutcome {
    name: String,
    kind: &'static str,
    raised_cash: Cash,
    credits_sold: Credits,
    average_price: Price,
    #[serde(skip_serializing_if = "Option::is_none")]
    clearing_price: Option<Price>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marginal_tick: Option<u16>,
    bids_filled: u64,
    bids_pro_rata: u64,
    bids_lost: u64,
    bids_withdrawn: u64,
}

impl Demo {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        let (name, plan) = match &self.plan {
            Some(path) => (path.display().to_string(), plan_file::read(path)?),
            None => ("openai-2018.toml".to_string(), plan_file::parse("openai-2018.toml", OPENAI)?),
        };
        let mut outcomes = Vec::new();
        for &demand in &self.demand {
            let mut run = Run::begin(&name, &plan, self.seed, self.backers as usize, demand)?;
            let outcome = run.play()?;
            if self.demand.len() == 1 && !self.json {
                let now = run.now();
                let summary = Summary::of(&plan, &run.raise, now);
                println!("{}", text::status(&summary, &plan, &run.raise, now, 100));
                run.show_a_position();
                std::fs::write(&self.html, page::html(&summary, &plan, &run.raise, now))
                    .with_context(|| format!("cannot write {}", self.html.display()))?;
            }
            outcomes.push(outcome);
        }
        if self.json {
            match outcomes.as_slice() {
                [one] => println!("{}", serde_json::to_string_pretty(one)?),
                many => println!("{}", serde_json::to_string_pretty(many)?),
            }
        } else if outcomes.len() > 1 {
            print!("{}", compare(&outcomes));
        } else {
            print!("{}", in_words(&plan, &outcomes[0]));
            eprintln!("the page for the board: {}", self.html.display());
        }
        let broken: u64 = outcomes.iter().map(|outcome| outcome.invariants_broken).sum();
        if broken > 0 {
            bail!("{broken} invariants were broken");
        }
        Ok(())
    }
}

/// One run of a plan.
struct Run<'a> {
    name: &'a str,
    plan: &'a Plan,
    seed: u64,
    demand: u64,
    crowd: Crowd,
    parties: Parties,
    keys: Keys,
    chain: Chain,
    at: Deployment,
    raise: Raise,
    started: Instant,
    bids: u64,
    refused: u64,
    refunded: u64,
    gas: u64,
    withdrawn: Vec<u64>,
    checked: u64,
    broken: u64,
    spent: Spent,
}

/// Wallets, and vaults, that buy service.
const WALLETS: usize = 16;
const VAULTS: usize = 8;
/// What each of them deposits at most: a credit.
const DEPOSIT: u128 = 1_000_000_000_000_000_000;

impl<'a> Run<'a> {
    /// Deploys the plan and gives everyone cash.
    fn begin(name: &'a str, plan: &'a Plan, seed: u64, backers: usize, demand: u64) -> Result<Self> {
        let started = Instant::now();
        let mut keys = Keys::default();
        let mut role = |role: &str| keys.add(Key::from_words(&format!("earnest demo {role}")));
        let parties = Parties {
            issuer: role("issuer"),
            certifier: role("certifier"),
            guardian: role("guardian"),
            attesters: vec![role("attester")],
            gateway: role("gateway"),
        };
        role("anyone");
        let deployer = Key::from_words("earnest demo deployer");
        let opens = plan.rounds.iter().map(|round| round.open).min().context("a plan has rounds")?;
        let mut chain = Chain::Embedded(Embedded::new(opens - DAY));
        let (offering, treasury) = setup(plan, &parties)?;
        let coins = Coins {
            cash: None,
            cash_name: (plan.cash.name.clone(), plan.cash.symbol.clone()),
            credit_name: (plan.credits.name.clone(), plan.credits.symbol.clone()),
            x402: true,
        };
        let service = ServiceSetup::from_plan(plan, &parties);
        let at = deploy(&mut chain, &deployer, &offering, &treasury, &service, &coins)?;
        let raise = Raise::new(offering, treasury);
        let crowd = Crowd::gather(plan, seed, backers, demand);
        let withdrawn = vec![0; plan.rounds.len()];
        let (bids, refused, refunded, gas, checked, broken) = (0, 0, 0, 0, 0, 0);
        let mut run = Run {
            name,
            plan,
            seed,
            demand,
            crowd,
            parties,
            keys,
            chain,
            at,
            raise,
            started,
            bids,
            refused,
            refunded,
            gas,
            withdrawn,
            checked,
            broken,
            spent: Spent::default(),
        };
        run.fund(&deployer)?;
        Ok(run)
    }

    fn fund(&mut self, deployer: &Key) -> Result<()> {
        let mut needs = vec![0u64; self.crowd.backers.len()];
        let mut last = std::collections::HashMap::new();
        for deed in &self.crowd.deeds {
            if let What::Bid { cash, .. } = deed.what {
                last.insert((deed.backer, deed.round), cash);
            }
        }
        for ((backer, _), cash) in last {
            needs[backer] += cash;
        }
        let bar = bar("backers get cash", needs.len());
        for (backer, units) in self.crowd.backers.iter().zip(needs) {
            let wallet = self.keys.add(backer.key.clone());
            mint_cash(&mut self.chain, deployer, self.at.cash, wallet, units)?;
            self.raise.cash.mint(Holder::Account(wallet), units.into());
            approve_cash(&mut self.chain, &backer.key, self.at.cash, self.at.offering)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn now(&self) -> Time {
        self.chain.time().expect("the embedded chain has a clock")
    }

    fn wait_until(&mut self, time: Time) -> Result<()> {
        Ok(self.chain.advance_to(time)?)
    }

    /// Through the model and through the contracts. A refusal must be the same on both sides.
    fn act(&mut self, caller: Address, call: &Call) -> Result<Result<(), String>> {
        let model = self.raise.apply(self.now(), caller, call).map_err(|refused| refused.name());
        let chain = tell(&mut self.chain, &self.at, &self.keys, caller, call, caller, 0);
        let chain = match chain {
            Ok(receipt) => {
                self.gas += receipt.gas_used;
                Ok(())
            }
            Err(error) => Err(error.name().unwrap_or_else(|| error.to_string())),
        };
        if model != chain {
            bail!("model and contract differ on {call:?}: {model:?} and {chain:?}");
        }
        Ok(model)
    }

    /// What has to go through.
    fn must(&mut self, caller: Address, call: &Call) -> Result<()> {
        self.act(caller, call)?.map_err(|name| anyhow::anyhow!("{call:?} was refused: {name}"))
    }

    fn anyone(&self) -> Address {
        Key::from_words("earnest demo anyone").address()
    }

    /// Checks every invariant on the model, and that the contracts' storage is the model's, slot by slot.
    fn stage(&mut self, name: &str) {
        self.checked += invariants::NAMES.len() as u64;
        let outside = Outside { burned: self.spent.burned, given: 0 };
        if let Err(broken) = invariants::check_beside(&self.raise, outside, self.now()) {
            self.broken += 1;
            eprintln!("{name}: {broken}");
        }
        let Chain::Embedded(chain) = &self.chain else { return };
        let has = |at| chain.slots(at).collect::<Slots>();
        let offering = has(self.at.offering) == layout::offering(&self.raise.offering, &self.at);
        let treasury = has(self.at.treasury) == layout::treasury(&self.raise.treasury);
        let coins = self.coins_agree();
        self.checked += 3;
        for (what, agrees) in [("offering", offering), ("treasury", treasury), ("coins", coins)] {
            if !agrees {
                self.broken += 1;
                eprintln!("{name}: the contracts' {what} differs from the model's");
            }
        }
    }

    /// LOCK-1 and SUPPLY-1 on the chain itself: balances of both coins, vaults included.
    fn coins_agree(&self) -> bool {
        let Chain::Embedded(chain) = &self.chain else { return true };
        let vaults = self.raise.credits.balances.keys().filter_map(|holder| match holder {
            Holder::Vault(id) => Some(*id),
            _ => None,
        });
        let vaults: std::collections::HashMap<BidId, Address> =
            vaults.map(|id| (id, self.at.vault_of(&self.raise.offering, id))).collect();
        let place = |holder| match holder {
            Holder::Account(at) => at,
            Holder::Vault(id) => vaults[&id],
            Holder::Offering => self.at.offering,
            Holder::Treasury => self.at.treasury,
        };
        let mut credits = self.raise.credits.clone();
        credits.minted -= self.spent.burned;
        [(self.at.cash, &self.raise.cash), (self.at.credit, &credits)].iter().all(|&(at, coin)| {
            layout::coin(coin, 0, place).iter().all(|(&slot, &value)| chain.storage(at, slot) == value)
        })
    }

    /// The whole story.
    fn play(&mut self) -> Result<Outcome> {
        self.stage("before the first bid");
        self.bid_and_clear()?;
        self.settle_and_refund()?;
        let live = self.go_live()?;
        if live {
            self.deliver_and_draw()?;
        } else {
            self.everything_back()?;
        }
        self.stage("at the end");
        Ok(self.outcome())
    }

    fn permit(&self, backer: usize, round: usize) -> PurchasePermit {
        let who = &self.crowd.backers[backer];
        let (regime, plan) = (&self.plan.regimes[who.regime], &self.plan.rounds[round]);
        PurchasePermit {
            entity: who.entity,
            wallet: who.wallet(),
            round: u8::try_from(round).expect("at most 8"),
            min_cash: plan.min_bid.units(),
            max_cash: plan.max_bid.map_or(CASH_MAX, Cash::units),
            max_total: most_overall(regime),
            first: 0,
            last: u16::MAX,
            not_before: plan.open,
            expiry: plan.close + u64::from(self.plan.offering.pause_limit_secs),
            jurisdiction: regime.jurisdictions.first().map_or(0, |code| jurisdiction_code(code)),
            lock_class: u8::try_from(who.regime).expect("at most 16"),
            affiliate: who.affiliate,
            cooling_off: regime.cooling_off_days > 0 && !who.affiliate,
            generation: 1,
            terms_hash: self.raise.offering.setup.terms_hash,
        }
    }

    fn bid_id(&self, backer: usize, round: usize) -> Option<BidId> {
        let entity = self.crowd.backers[backer].entity;
        let round = u8::try_from(round).expect("at most 8");
        if !self.raise.offering.setup.rounds[usize::from(round)].is_rising() {
            return Some(BidId { round, window: 0, entity });
        }
        let windows = 0..self.raise.offering.setup.rounds[usize::from(round)].ticks();
        windows.map(|window| BidId { round, window, entity }).find(|id| self.raise.offering.bid(*id).cash > 0)
    }

    fn bid_and_clear(&mut self) -> Result<()> {
        let deeds = std::mem::take(&mut self.crowd.deeds);
        // Clearings happen between deeds, each as soon as it may.
        let mut clearings: Vec<(Time, usize)> = Vec::new();
        for (index, round) in self.plan.rounds.iter().enumerate() {
            clearings.push((self.plan.clearing(round), index));
        }
        clearings.sort_unstable();
        let mut clearings = clearings.into_iter().peekable();
        let bar = bar("bids", deeds.len());
        for deed in deeds {
            while let Some(&(time, round)) = clearings.peek().filter(|(time, _)| *time <= deed.at) {
                self.clear(time, round)?;
                clearings.next();
            }
            self.wait_until(deed.at)?;
            let wallet = self.crowd.backers[deed.backer].wallet();
            let call = match deed.what {
                What::Bid { cash, tick, schedule } => {
                    let permit = self.permit(deed.backer, deed.round);
                    let signed_by = Some(self.parties.attesters[0]);
                    Call::Bid(Order { permit, signed_by, cash, tick, schedule })
                }
                What::Withdraw => match self.bid_id(deed.backer, deed.round) {
                    Some(id) => Call::Withdraw { id, payee: wallet },
                    None => continue,
                },
            };
            match self.act(wallet, &call)? {
                Ok(()) if matches!(call, Call::Bid(_)) => self.bids += 1,
                Ok(()) => self.withdrawn[deed.round] += 1,
                Err(_) => self.refused += 1,
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        for (time, round) in clearings {
            self.clear(time, round)?;
        }
        Ok(())
    }

    fn clear(&mut self, time: Time, index: usize) -> Result<()> {
        self.stage(&format!("bids of {} are in", self.plan.rounds[index].name));
        self.wait_until(time)?;
        let round = u8::try_from(index).expect("at most 8");
        // In pieces, as anyone would within a block's gas.
        while self.raise.offering.rounds[index].status != Status::Cleared {
            self.must(self.anyone(), &Call::Clear { round, steps: 400 })?;
        }
        self.stage(&format!("{} is cleared", self.plan.rounds[index].name));
        Ok(())
    }

    fn standing(&self) -> Vec<(BidId, Address)> {
        let bids = self.raise.offering.bids.iter();
        bids.filter(|(id, bid)| id.window != BidId::TOTAL && bid.cash > 0)
            .map(|(&id, bid)| (id, bid.wallet))
            .collect()
    }

    fn settle_and_refund(&mut self) -> Result<()> {
        let (anyone, standing) = (self.anyone(), self.standing());
        if self.raise.offering.total_proceeds < self.raise.offering.setup.soft_cap {
            return Ok(());
        }
        let bar = bar("settling and refunds", standing.len());
        for (id, _) in standing {
            self.must(anyone, &Call::Settle { id })?;
            let (share, _) = self.raise.offering.outcome(id);
            if share.back > 0 {
                self.must(anyone, &Call::Refund { id })?;
                self.refunded += share.back;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.stage("all settled and refunded");
        for index in 0..self.plan.rounds.len() {
            let round = &self.raise.offering.rounds[index];
            if round.proceeds + round.dust > round.swept {
                self.must(anyone, &Call::Sweep { round: u8::try_from(index).expect("at most 8") })?;
            }
        }
        self.stage("the treasury has the cash");
        Ok(())
    }

    /// Attests the service, an eighth of the way to the last day on which that is possible. Not so where the soft cap was missed.
    fn go_live(&mut self) -> Result<bool> {
        let setup = &self.raise.offering.setup;
        if self.raise.offering.total_proceeds < setup.soft_cap {
            return Ok(false);
        }
        let last = setup.deadline - setup.notice_secs;
        let notice = setup.notice_secs;
        let now = self.now();
        self.wait_until(now + last.saturating_sub(now) / 8)?;
        self.must(self.parties.certifier, &Call::Attest { subject: LIVE })?;
        self.wait_until(self.now() + notice)?;
        self.stage("the service is live");
        Ok(true)
    }

    fn deliver_and_draw(&mut self) -> Result<()> {
        let live_at = self.now();
        let positions: Vec<BidId> =
            self.raise.offering.positions.iter().filter(|(_, p)| p.credits > 0).map(|(&id, _)| id).collect();
        let longest = self.raise.offering.setup.schedules.iter().map(|s| u64::from(s.length_secs())).max();
        let longest = longest.unwrap_or(0);
        let unlocks = positions.iter().map(|&id| self.raise.offering.unlock_at(id)).max().unwrap_or(0);
        // After a sixteenth, while some are still locked; half-way, three quarters, and once everything has vested.
        let milestones = self.plan.treasury.milestones.len();
        for (step, part) in [1u64, 8, 12, 16].into_iter().enumerate() {
            self.wait_until(live_at + longest * part / 16)?;
            if step < 2 {
                for subject in
                    (1..=milestones).skip(step * milestones.div_ceil(2)).take(milestones.div_ceil(2))
                {
                    let subject = u8::try_from(subject).expect("at most 8");
                    self.must(self.parties.certifier, &Call::Attest { subject })?;
                }
            }
            let bar = bar("delivery", positions.len());
            for &id in &positions {
                let owner = self.raise.offering.bid(id).wallet;
                // Where nothing more has vested since the last time, the refusal says so.
                self.act(owner, &Call::Deliver { id })?.ok();
                bar.inc(1);
            }
            bar.finish_and_clear();
            self.draw()?;
            self.stage("delivered and drawn");
            if step == 0 {
                self.spend()?;
                self.stage("service is bought");
            }
        }
        self.wait_until(unlocks)?;
        let anyone = self.anyone();
        let vaults = self.raise.credits.balances.iter().filter(|(_, credits)| **credits > 0);
        let vaults: Vec<BidId> = vaults
            .filter_map(|(holder, _)| match holder {
                Holder::Vault(id) => Some(*id),
                _ => None,
            })
            .collect();
        let bar = bar("locks are over", vaults.len());
        for id in vaults {
            self.must(anyone, &Call::Release { id })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Holders buy service with what was delivered to them, some of it locked. What moves is worked out from the gateway's
    /// journal; the chain is held against it afterwards.
    fn spend(&mut self) -> Result<()> {
        if self.plan.price_list.is_none() {
            return Ok(());
        }
        let (mut wallets, mut vaults) = (0, 0);
        let mut buyers = Vec::new();
        for (&payer, &balance) in &self.raise.credits.balances {
            let (owner, at, count, most) = match payer {
                Holder::Account(at) => (at, at, &mut wallets, WALLETS),
                Holder::Vault(id) => {
                    let owner = self.raise.offering.bid(id).wallet;
                    (owner, self.at.vault_of(&self.raise.offering, id), &mut vaults, VAULTS)
                }
                _ => continue,
            };
            let deposit = balance.min(DEPOSIT);
            if *count == most || deposit < DEPOSIT / 100 {
                continue;
            }
            let Some(backer) = self.crowd.backers.iter().find(|backer| backer.wallet() == owner) else {
                continue;
            };
            *count += 1;
            buyers.push(Buyer { owner: backer.key.clone(), payer, at, deposit });
        }
        if buyers.is_empty() {
            return Ok(());
        }
        let story = Story {
            plan: self.plan.clone(),
            at: self.at.clone(),
            chain_id: self.chain.id(),
            buyers,
            gateway: Key::from_words("earnest demo gateway"),
            provider: Key::from_words("earnest demo provider"),
        };
        self.spent = story.play(&mut self.chain)?;
        let (channels, revenue) = (Holder::Account(self.at.channels), Holder::Account(self.at.revenue));
        let credits = &mut self.raise.credits;
        for &(payer, deposit, claimed) in &self.spent.channels {
            credits.transfer(payer, channels, deposit);
            credits.transfer(channels, revenue, claimed);
        }
        for (&provider, &pay) in &self.spent.providers {
            credits.transfer(revenue, Holder::Account(provider), pay);
        }
        *credits.balances.entry(revenue).or_default() -= self.spent.burned;
        Ok(())
    }

    /// The issuer takes what the tap has released.
    fn draw(&mut self) -> Result<()> {
        let (treasury, offering) = (&self.raise.treasury, &self.raise.offering);
        let cash = (treasury.released(offering, self.now()) - treasury.tap_paid).min(treasury.held());
        if cash > 0 {
            let issuer = self.parties.issuer;
            self.must(issuer, &Call::Draw { cash, to: issuer })?;
        }
        Ok(())
    }

    /// The soft cap was missed: past its date everyone takes everything back.
    fn everything_back(&mut self) -> Result<()> {
        self.wait_until(self.raise.offering.setup.soft_cap_date)?;
        let (anyone, standing) = (self.anyone(), self.standing());
        let bar = bar("everything goes back", standing.len());
        for (id, _) in standing {
            self.refunded += self.raise.offering.bid(id).cash;
            self.must(anyone, &Call::Refund { id })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        let offering = &self.raise.offering;
        let failed = offering.failed(self.now());
        let sold: u128 = if failed { 0 } else { offering.rounds.iter().map(|round| round.sold).sum() };
        let raised = if failed { 0 } else { offering.total_proceeds };
        let capacity = self.plan.service.capacity_per_day.map(Credits::units).filter(|&units| units > 0);
        let per_month = self.raise.treasury.setup.tap_per_sec.saturating_mul(30 * DAY);
        let tenths = if per_month > 0 { u128::from(raised) * 10 / u128::from(per_month) } else { 0 };
        Outcome {
            plan: self.name.to_string(),
            terms_hash: offering.setup.terms_hash.to_string(),
            seed: self.seed,
            backers: self.crowd.backers.len(),
            demand: percent(self.demand),
            bids: self.bids,
            bids_refused: self.refused,
            soft_cap_missed: failed,
            raised_cash: Cash::from_units(raised),
            refunded_cash: Cash::from_units(self.refunded),
            credits_sold: Credits::from_units(sold),
            credits_delivered: Credits::from_units(offering.rounds.iter().map(|round| round.delivered).sum()),
            rounds: (0..self.plan.rounds.len()).map(|index| self.round_outcome(index)).collect(),
            tap_paid: Cash::from_units(self.raise.treasury.tap_paid),
            tap_months: (per_month > 0).then(|| format!("{}.{}", tenths / 10, tenths % 10)),
            days_of_capacity: capacity.map(|units| u64::try_from(sold.div_ceil(units)).unwrap_or(u64::MAX)),
            requests_served: self.spent.served,
            requests_streamed: self.spent.streamed,
            credits_charged: Credits::from_units(self.spent.charged),
            credits_claimed: Credits::from_units(self.spent.claimed),
            credits_burned: Credits::from_units(self.spent.burned),
            provider_pay: Credits::from_units(self.spent.paid),
            gas_per_request: self.spent.gas.div_ceil(self.spent.served.max(1)),
            model: (self.spent.served > 0).then(|| format!("{} (echo)", self.spent.model)),
            transactions: match &self.chain {
                Chain::Embedded(chain) => chain.transactions(),
                Chain::Node(_) | Chain::Rpc(_) => 0,
            },
            gas_used: self.gas,
            elapsed_secs: (self.started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
            invariants_checked: self.checked,
            invariants_broken: self.broken,
        }
    }

    fn round_outcome(&self, index: usize) -> RoundOutcome {
        let offering = &self.raise.offering;
        let (round, setup, plan) =
            (&offering.rounds[index], &offering.setup.rounds[index], &self.plan.rounds[index]);
        let (mut filled, mut pro_rata, mut lost) = (0, 0, 0);
        for (id, bid) in &offering.bids {
            if usize::from(id.round) != index || id.window == BidId::TOTAL || !bid.settled {
                continue;
            }
            let position = offering.positions.get(id);
            match position {
                None => lost += 1,
                Some(_) if bid.refunded => pro_rata += 1,
                Some(_) => filled += 1,
            }
        }
        let marginal = (round.marginal).then(|| round.whole_from - 1);
        let clearing_price = match setup.sale {
            Sale::Auction { prices, .. } if round.status == Status::Cleared => Some(match marginal {
                Some(tick) => Price::from_units(prices.at(tick)),
                None => {
                    let above = offering
                        .bucket(u8::try_from(index).expect("at most 8"), earnest_core::offering::ABOVE);
                    Price::average(Cash::from_units(above.weight), Credits::from_units(above.sold))
                }
            }),
            _ => None,
        };
        RoundOutcome {
            name: plan.name.clone(),
            kind: plan.kind.word(),
            raised_cash: Cash::from_units(round.proceeds),
            credits_sold: Credits::from_units(round.sold),
            average_price: Price::average(Cash::from_units(round.proceeds), Credits::from_units(round.sold)),
            clearing_price,
            marginal_tick: marginal,
            bids_filled: filled,
            bids_pro_rata: pro_rata,
            bids_lost: lost,
            bids_withdrawn: self.withdrawn[index],
        }
    }

    /// The largest position, as its owner would look at it.
    fn show_a_position(&self) {
        let largest = self.raise.offering.positions.iter().max_by_key(|(_, position)| position.credits);
        if let Some((&id, _)) = largest {
            println!("{}", text::position(self.plan, &self.raise, id, self.now()));
        }
    }
}

fn percent(percent: u64) -> String {
    Cash::from_units(percent * 10_000).to_string()
}

fn in_words(plan: &Plan, outcome: &Outcome) -> String {
    format!(
        "{} backers bid {} times; {} {} raised, {} back to them; {} credits delivered.\n\
         {}{} transactions in {} s, {} checks of invariants, {} broken.\n",
        grouped(&outcome.backers.to_string()),
        grouped(&outcome.bids.to_string()),
        grouped(&outcome.raised_cash.to_string()),
        plan.cash.symbol,
        grouped(&outcome.refunded_cash.to_string()),
        grouped(&outcome.credits_delivered.to_string()),
        bought(outcome),
        grouped(&outcome.transactions.to_string()),
        outcome.elapsed_secs,
        outcome.invariants_checked,
        outcome.invariants_broken,
    )
}

/// What holders bought, at what price.
fn bought(outcome: &Outcome) -> String {
    let Some(model) = &outcome.model else { return String::new() };
    format!(
        "{} requests to {model}, {} of them streams, cost {} credits: {} to the provider, {} burned; {} gas a request.\n",
        grouped(&outcome.requests_served.to_string()),
        grouped(&outcome.requests_streamed.to_string()),
        outcome.credits_charged,
        outcome.provider_pay,
        outcome.credits_burned,
        outcome.gas_per_request,
    )
}

/// A treasurer's first question: what if demand is a tenth, or four times?
fn compare(outcomes: &[Outcome]) -> String {
    let mut table = format!(
        "{:>7} {:>20} {:>20} {:>12} {:>14} {:>11}   prices\n",
        "demand", "raised", "refunded", "credits sold", "days to serve", "tap months"
    );
    for outcome in outcomes {
        let price = |round: &RoundOutcome| format!("{} {:.6}", round.name, Short(round.average_price));
        let prices = match outcome.soft_cap_missed {
            true => "the soft cap was missed".to_string(),
            false => outcome.rounds.iter().map(price).collect::<Vec<_>>().join(", "),
        };
        table += &format!(
            "{:>7} {:>20} {:>20} {:>12} {:>14} {:>11}   {}\n",
            outcome.demand,
            grouped(&whole(outcome.raised_cash)),
            grouped(&whole(outcome.refunded_cash)),
            millions(outcome.credits_sold),
            outcome.days_of_capacity.map_or("-".into(), |days| grouped(&days.to_string())),
            outcome.tap_months.as_deref().unwrap_or("-"),
            prices,
        );
    }
    table
}

/// A price cut to so many decimals, for a table.
struct Short(Price);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        let end =
            text.find('.').map_or(text.len(), |dot| (dot + 1 + f.precision().unwrap_or(6)).min(text.len()));
        f.write_str(&text[..end])
    }
}

fn whole(cash: Cash) -> String {
    (cash.units() / 1_000_000).to_string()
}

fn millions(credits: Credits) -> String {
    let tenths = credits.units() / 10u128.pow(23);
    format!("{}.{} M", grouped(&(tenths / 10).to_string()), tenths % 10)
}

fn bar(what: &'static str, length: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:22} {wide_bar} {pos}/{len} {eta}").expect("a valid template");
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}
