//! An audit: from the plan and the events alone, whether everything came about by the rules; and beside it, whether the
//! contracts are the ones that the rules were written for. The report holds nothing but what anyone can work out again.

use std::io::Write;

use alloy_primitives::{Address, B256, U256};
use earnest_core::money::Cash;
use earnest_core::plan::{Plan, Time};
use earnest_core::price_list::PriceListSetup;
use earnest_core::setup::{ServiceSetup, setup};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bindings::{Credit, PriceList};
use crate::chain::Chain;
use crate::deploy::{Blueprint, Coins, GENESIS, Record, check_cash, price_list_setup};
use crate::embedded::DEV_CHAIN_ID;
use crate::history::{Head, History, PlacedLog, Recorded};
use crate::index::{Index, IndexError};

/// What events cannot show, said in every report.
pub const NOT_SHOWN: &[&str] = &[
    "that each bid carried a permit of an attester and kept to its limits: permits are in transactions, not in events",
    "that an owner asked for cash to be paid elsewhere: each such payment is listed with its transaction",
    "that what the certifier attests is so",
    "that x402's contracts, where a public chain has its own, keep to their specification: their code is not ours",
];

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `match`, or `difference`.
    pub verdict: &'static str,
    /// The first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Found>,
    /// What was audited.
    pub deployment: Record,
    /// Of the plan's file.
    pub plan_sha256: String,
    /// Whether each contract's code on the chain is what the plan gives; none: there was no chain to ask.
    pub code: Vec<Code>,
    /// Storage slots of offering and treasury that were compared with the chain.
    pub slots_compared: usize,
    /// The last block looked at.
    pub to_block: u64,
    /// Its hash.
    pub to_hash: B256,
    /// Its time.
    pub to_time: Time,
    /// Events by name.
    pub events: std::collections::BTreeMap<String, u64>,
    /// Of all events in order, as `--events` writes them.
    pub events_sha256: String,
    /// Of the storage that they add up to.
    pub state_sha256: String,
    /// Cash that went to another payee than the wallet.
    pub paid_elsewhere: Vec<Elsewhere>,
    /// Given to the treasury unasked.
    pub given: String,
    /// Burned by holders, in base units.
    pub credits_burned: String,
    /// What no audit of events can show.
    pub not_shown: &'static [&'static str],
}

/// A difference with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    pub what: String,
}

/// A contract's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Code {
    pub contract: String,
    pub address: Address,
    pub as_planned: bool,
}

/// A payment to another payee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Elsewhere {
    pub bid: String,
    pub payee: Address,
    pub cash: String,
    pub transaction: B256,
}

/// What of the contracts' state is held against what the events add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: the audit is as of an earlier block.
    Nothing,
    /// Balances and supply.
    Balances,
    /// These, and every storage slot.
    Storage,
}

/// Audits everything that an index has read. `chain`: where code and state are compared.
pub fn audit(
    index: &mut Index,
    chain: Option<&mut Chain>,
    plan: &Plan,
    plan_file: &[u8],
    state: State,
) -> Result<Report, IndexError> {
    let record = index.record().clone();
    let head = index.head();
    // Nothing read is no match.
    if head.hash.is_zero() || head.number < record.block || !index.books().is_born() {
        return Err(IndexError::NotThere(record.block));
    }
    let mut found = index.difference().map(|difference| Found {
        block: Some(difference.block),
        log: Some(difference.index),
        transaction: Some(difference.tx),
        event: (!difference.event.is_empty()).then(|| difference.event.clone()),
        what: difference.what.clone(),
    });
    let at_large = |what: String| Found { block: None, log: None, transaction: None, event: None, what };
    if found.is_none() {
        found = index.books().check(head.time).err().map(|broken| at_large(broken.to_string()));
    }
    let (mut code, mut slots_compared) = (Vec::new(), 0);
    if let Some(chain) = chain {
        if let Some(cash) = plan.cash.address {
            check_cash(chain, cash).map_err(|error| IndexError::Plan(error.to_string()))?;
        }
        code = compare_code(chain, plan, &record)?;
        if found.is_none() {
            let wrong: Vec<&str> =
                code.iter().filter(|code| !code.as_planned).map(|code| code.contract.as_str()).collect();
            if !wrong.is_empty() {
                found = Some(at_large(format!("other code than the plan gives: {}", wrong.join(", "))));
            }
        }
        if found.is_none() {
            found = compare_prices(chain, plan, &record)?.map(at_large);
        }
        if found.is_none() && state != State::Nothing {
            let (compared, wrong) = compare_state(index, chain, state == State::Storage)?;
            slots_compared = compared;
            found = wrong.map(at_large);
        }
    }
    let head = index.head();
    let (mut events, mut slots) = (Hashing::default(), Hashing::default());
    index.dump_events(&mut events)?;
    index.dump_state(&mut slots).map_err(IndexError::Write)?;
    let outside = index.books().outside();
    Ok(Report {
        verdict: if found.is_none() { "match" } else { "difference" },
        difference: found,
        plan_sha256: hex(Sha256::digest(plan_file)),
        code,
        slots_compared,
        to_block: head.number,
        to_hash: head.hash,
        to_time: head.time,
        events: index.counts()?.into_iter().collect(),
        events_sha256: hex(events.0.finalize()),
        state_sha256: hex(slots.0.finalize()),
        paid_elsewhere: index.books().elsewhere().iter().map(show_elsewhere).collect(),
        given: Cash::from_units(u64::try_from(outside.given).unwrap_or(u64::MAX)).to_string(),
        credits_burned: outside.burned.to_string(),
        not_shown: NOT_SHOWN,
        deployment: record,
    })
}

fn show_elsewhere(paid: &crate::ledger::Elsewhere) -> Elsewhere {
    let id = paid.id;
    Elsewhere {
        bid: format!("{}/{}/{}", id.round, id.window, id.entity),
        payee: paid.payee,
        cash: Cash::from_units(paid.cash).to_string(),
        transaction: paid.tx,
    }
}

/// A digest as something to write to.
#[derive(Default)]
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    alloy_primitives::hex::encode(bytes)
}

/// The deployment made once more in this process, and its code held against the chain's: same addresses, same bytes,
/// immutables included. So the setup that each constructor was given is compared, too.
fn compare_code(chain: &Chain, plan: &Plan, record: &Record) -> Result<Vec<Code>, IndexError> {
    let (offering, treasury) =
        setup(plan, &record.parties()).map_err(|error| IndexError::Plan(error.to_string()))?;
    let service = ServiceSetup::from_plan(plan, &record.parties());
    let coins = Coins::of(plan, record.contracts.is_x402());
    let blueprint = Blueprint::new(record.deployer, record.salt, &offering, &treasury, &service, &coins);
    if blueprint.contracts != record.contracts {
        return Err(IndexError::Plan(
            "the deployment's addresses are not those that follow from this plan, its deployer and our contracts\n  \
             hint: is it the plan it was deployed from, and the release of Earnest that deployed it?"
                .into(),
        ));
    }
    let rehearsed = blueprint
        .rehearse(record.deployer, record.chain_id)
        .map_err(|error| IndexError::Plan(error.to_string()))?;
    let steps = blueprint.steps.into_iter().zip(rehearsed);
    let mut expected: Vec<_> = steps.map(|(step, rehearsed)| (step.name, step.at, rehearsed.code)).collect();
    if record.contracts.is_x402() && record.chain_id == DEV_CHAIN_ID {
        let ours = GENESIS.iter().zip(["proxy", "channels", "collector"]).skip(1);
        expected.extend(ours.map(|((at, code), name)| (name.to_owned(), *at, code.clone())));
    }
    expected
        .into_iter()
        .map(|(contract, address, code)| {
            let as_planned = chain.code(address)? == code;
            Ok(Code { contract, address, as_planned })
        })
        .collect()
}

/// The first version of the prices stands in storage, where comparing code does not look. Later ones are held to it by
/// the contract.
fn compare_prices(chain: &mut Chain, plan: &Plan, record: &Record) -> Result<Option<String>, IndexError> {
    let (Some(at), Some(planned)) =
        (record.contracts.price_list, PriceListSetup::from_plan(plan, record.issuer))
    else {
        return Ok(None);
    };
    let planned = price_list_setup(&planned);
    let entries = chain.call(at, &PriceList::entriesCall { version: 1 })?;
    let tier = chain.call(at, &PriceList::tierCall {})?;
    let tier_model = chain.call(at, &PriceList::tierModelCall { version: 1 })?;
    let same = entries == planned.entries && tier == planned.tier && tier_model == planned.tierModel;
    Ok((!same).then(|| "the first version of the price list is not the plan's".into()))
}

/// What the events add up to, held against what the contracts had at the same block. A chain that moves meanwhile, and
/// no longer knows that block, is followed for a while.
fn compare_state(
    index: &mut Index,
    chain: &mut Chain,
    storage: bool,
) -> Result<(usize, Option<String>), IndexError> {
    for _ in 0..20 {
        let compared = compare_once(index, chain, storage);
        let pinned = matches!(chain, Chain::Rpc(_)) && compared.is_ok();
        let still = if pinned { chain.block_at(index.head().number)? } else { Some(chain.head()?) };
        if still == Some(index.head()) {
            return compared;
        }
        index.sync(chain)?;
        if index.difference().is_some() {
            return Ok((0, Some("a difference came in with the newest blocks: run the audit again".into())));
        }
    }
    Err(IndexError::Moved)
}

fn compare_once(
    index: &Index,
    chain: &mut Chain,
    storage: bool,
) -> Result<(usize, Option<String>), IndexError> {
    use earnest_core::raise::Holder;
    let at = &index.record().contracts;
    let (raise, block) = (index.raise(), index.head().number);
    for (what, of, holder) in
        [("the offering", at.offering, Holder::Offering), ("the treasury", at.treasury, Holder::Treasury)]
    {
        let has = chain.call_in(block, at.cash, &Credit::balanceOfCall { account: of })?;
        let ruled = U256::from(raise.cash.of(holder));
        // More is a gift from before the first block that is read.
        if has < ruled {
            return Ok((0, Some(format!("{what} holds {has} of cash, and its events add up to {ruled}"))));
        }
    }
    let supply = chain.call_in(block, at.credit, &Credit::totalSupplyCall {})?;
    let ruled = U256::from(raise.credits.minted - index.books().outside().burned);
    if supply != ruled {
        return Ok((0, Some(format!("there are {supply} credits, and their events add up to {ruled}"))));
    }
    let mut compared = 0;
    if storage {
        for (contract, slots) in index.storage() {
            for (slot, value) in slots {
                let has = chain.storage_in(block, contract, slot)?;
                if has != value {
                    let what = format!("slot {slot:#x} of {contract} is {has:#x}, and must be {value:#x}");
                    return Ok((compared, Some(what)));
                }
                compared += 1;
            }
        }
    }
    Ok((compared, None))
}

/// A chain as it was at a block, so that an audit can be repeated to the byte.
pub struct UpTo<'a, H> {
    /// The chain.
    pub chain: &'a mut H,
    /// Its last block, as far as the audit is concerned.
    pub last: u64,
}

impl<H: History> History for UpTo<'_, H> {
    fn head(&mut self) -> Result<Head, crate::chain::ChainError> {
        let head = self.chain.head()?;
        if head.number <= self.last {
            return Ok(head);
        }
        self.chain.block_at(self.last)?.ok_or(crate::chain::ChainError::Reorganised)
    }

    fn block_at(&mut self, number: u64) -> Result<Option<Head>, crate::chain::ChainError> {
        if number > self.last { Ok(None) } else { self.chain.block_at(number) }
    }

    fn logs_between(
        &mut self,
        at: &crate::deploy::Deployment,
        from: u64,
        to: u64,
    ) -> Result<Vec<PlacedLog>, crate::chain::ChainError> {
        self.chain.logs_between(at, from, to)
    }
}

/// Writes the events as a file that an audit can be made from without a chain.
pub fn write_events(index: &Index, out: &mut impl Write) -> Result<(), IndexError> {
    index.each_block(|block, logs| Recorded::write_block(out, block, logs))
}

impl Report {
    /// A few lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        match &self.difference {
            None => line("match: everything came about by the rules of the plan".into()),
            Some(found) => {
                line(format!("difference: {}", found.what));
                if let (Some(block), Some(log)) = (found.block, found.log) {
                    line(format!("  at block {block}, log {log}"));
                }
                if let Some(tx) = found.transaction {
                    line(format!("  in transaction {tx}"));
                }
                if let Some(event) = &found.event {
                    line(format!("  event {event}"));
                }
            }
        }
        let all: u64 = self.events.values().sum();
        let count = |name: &str| self.events.get(name).copied().unwrap_or(0);
        line(format!("events       {all}, up to block {} ({})", self.to_block, self.to_hash));
        line(format!(
            "recomputed   {} bids, {} clearings, {} windows, {} allocations, {} refunds, {} deliveries, {} draws",
            count("BidPlaced"),
            count("Cleared"),
            count("WindowCleared"),
            count("Settled"),
            count("Refunded") + count("PotRefunded"),
            count("Delivered"),
            count("Drawn"),
        ));
        let record = &self.deployment;
        line(format!("issuer       {}, certifier {}", record.issuer, record.certifier));
        let attesters = record.attesters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        line(format!("guardian     {}, attesters at first {attesters}", record.guardian));
        let planned = self.code.iter().filter(|code| code.as_planned).count();
        line(match self.code.len() {
            0 => "code         not compared: there was no chain to ask".into(),
            all => {
                format!("code         {planned} of {all} contracts are what the plan gives, byte for byte")
            }
        });
        if self.slots_compared > 0 {
            line(format!("storage      {} slots compared with the chain", self.slots_compared));
        }
        if !self.paid_elsewhere.is_empty() {
            line(format!("elsewhere    {} payments to others than the wallet", self.paid_elsewhere.len()));
        }
        line(format!("events hash  {}", self.events_sha256));
        line(format!("state hash   {}", self.state_sha256));
        text
    }
}
