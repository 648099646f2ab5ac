//! The books: facts in, one after the other, and a raise out. Every fact is what some call of the rules must have said,
//! so the call is made again on the model, and whatever the model says otherwise is a difference. The first one stops
//! the books: what comes after a lie adds up to nothing.
//!
//! What events cannot show, and the books therefore take at its word: that a bid's permit was signed and within its
//! limits, and that an owner signed for another payee.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{Address, B256};
use earnest_core::bid::BidId;
use earnest_core::clearing::mul_div;
use earnest_core::invariants::{self, Outside};
use earnest_core::offering::{Offering, OfferingSetup, Order, Sale, Status};
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::Time;
use earnest_core::raise::{Holder, Raise};
use earnest_core::treasury::TreasurySetup;

use crate::deploy::Deployment;
use crate::fact::{BadLog, Coin, Event, Fact};
use crate::history::Head;

/// The first event that is not what the rules give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Height of its block.
    pub block: u64,
    /// Its place in the block.
    pub index: u64,
    /// Time of its block.
    pub time: Time,
    /// Its transaction.
    pub tx: B256,
    /// The event, with its values.
    pub event: String,
    /// What the rules say.
    pub what: String,
}

/// Cash that went to another payee than a bid's wallet. That the owner was asked is in the transaction, not in the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whose it was.
    pub id: BidId,
    /// Who got it.
    pub payee: Address,
    /// How much.
    pub cash: u64,
    /// The transaction.
    pub tx: B256,
}

/// The books of one deployment.
#[derive(Clone, Debug)]
pub struct Ledger {
    at: Deployment,
    raise: Raise,
    vaults: BTreeMap<Address, BidId>,
    outside: Outside,
    elsewhere: Vec<Elsewhere>,
    /// The constructor has spoken.
    born: bool,
    /// What this transaction must still say.
    due: VecDeque<Fact>,
    /// Windows that this transaction has cleared, before it says how far it came.
    windows: Vec<Event>,
    /// The last event of the transaction that is being read.
    last: Option<Event>,
    /// The event that is wrong, where it is not the one that shows it.
    blamed: Option<Event>,
    difference: Option<Difference>,
    facts: u64,
}

type Said = Result<(), String>;

fn refused(error: impl std::fmt::Display) -> String {
    format!("the rules refuse it: {error}")
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, said: &T, ruled: &T) -> Said {
    if said == ruled { Ok(()) } else { Err(format!("{what} must be {ruled:?}, and the event says {said:?}")) }
}

impl Ledger {
    /// Empty books.
    pub fn new(at: Deployment, offering: OfferingSetup, treasury: TreasurySetup) -> Self {
        Ledger {
            born: offering.attesters.is_empty(),
            raise: Raise::new(offering, treasury),
            at,
            vaults: BTreeMap::new(),
            outside: Outside::default(),
            elsewhere: Vec::new(),
            due: VecDeque::new(),
            windows: Vec::new(),
            last: None,
            blamed: None,
            difference: None,
            facts: 0,
        }
    }

    /// What everything adds up to; with a difference, as of before it.
    pub fn raise(&self) -> &Raise {
        &self.raise
    }

    /// What people did with the coins beside the rules.
    pub fn outside(&self) -> Outside {
        self.outside
    }

    /// Cash that went to another payee than a bid's wallet.
    pub fn elsewhere(&self) -> &[Elsewhere] {
        &self.elsewhere
    }

    /// The first difference.
    pub fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    /// Whether the deployment itself was seen.
    pub fn is_born(&self) -> bool {
        self.born && self.facts > 0 || self.difference.is_some()
    }

    /// Facts taken in without a difference.
    pub fn facts(&self) -> u64 {
        self.facts
    }

    /// Takes one event in, in the chain's order.
    pub fn take(&mut self, event: &Event) {
        if self.last.as_ref().is_some_and(|last| (last.block, last.tx) != (event.block, event.tx)) {
            self.close();
        }
        if self.difference.is_some() {
            return;
        }
        if let Fact::WindowCleared { .. } = event.fact
            && self.due.is_empty()
            && self.windows.last().is_none_or(|last| last.fact.round() == event.fact.round())
        {
            self.windows.push(event.clone());
            self.facts += 1;
            self.last = Some(event.clone());
            return;
        }
        match self.fact(event.time, &event.fact) {
            Ok(()) => {
                self.note_payee(event);
                self.facts += 1;
                self.last = Some(event.clone());
            }
            Err(what) => {
                // Of a piece of clearing the first wrong window is to be named, not its end.
                let blamed = self.blamed.take();
                self.differ(blamed.as_ref().unwrap_or(event), what);
            }
        }
    }

    /// A log that no honest contract gives.
    pub fn unreadable(&mut self, block: &Head, index: u64, tx: B256, bad: &BadLog) {
        self.close();
        let Head { number: block, time, .. } = *block;
        let (event, what) = (String::new(), bad.to_string());
        self.difference.get_or_insert(Difference { block, index, time, tx, event, what });
    }

    /// The block is over, and with it every transaction.
    pub fn close(&mut self) {
        let Some(last) = self.last.take() else { return };
        let windows = std::mem::take(&mut self.windows);
        let missing = self.due.pop_front().map(|due| format!("after it {due:?} is missing"));
        let missing = missing.or_else(|| {
            (!windows.is_empty()).then(|| "after it the end of this piece of clearing is missing".into())
        });
        self.due.clear();
        if let Some(what) = missing {
            self.facts -= 1;
            self.differ(&last, what);
        }
    }

    /// Whether all invariants hold on what the events add up to.
    pub fn check(&self, now: Time) -> Result<(), invariants::Broken> {
        invariants::check_beside(&self.raise, self.outside, now)
    }

    fn note_payee(&mut self, event: &Event) {
        if let Fact::BidWithdrawn { id, cash, payee }
        | Fact::Refunded { id, cash, payee }
        | Fact::PotRefunded { id, cash, payee } = event.fact
            && payee != self.raise.offering.bid(id).wallet
        {
            let cash = u64::try_from(cash).expect("as the rules gave it");
            self.elsewhere.push(Elsewhere { id, payee, cash, tx: event.tx });
        }
    }

    fn differ(&mut self, event: &Event, what: String) {
        let Event { block, index, time, tx, ref fact } = *event;
        self.difference = Some(Difference { block, index, time, tx, event: format!("{fact:?}"), what });
    }

    fn fact(&mut self, now: Time, fact: &Fact) -> Said {
        if let Some(last) = self.windows.last() {
            let ends = matches!(fact, Fact::ClearingAdvanced { .. } | Fact::Cleared { .. });
            if !ends || fact.round() != last.fact.round() {
                return Err("a piece of clearing must say how far it came first".into());
            }
        }
        if self.due.front() == Some(fact) {
            self.due.pop_front();
            let Fact::Transfer { coin, from, to, amount } = *fact else { return Ok(()) };
            self.transfer(coin, from, to, amount)?;
            // Only a sweep is followed by what the pots say to it; anything else sent there is a gift.
            if coin == Coin::Cash && to == self.at.treasury && self.due.is_empty() {
                self.outside.given += amount;
            }
            return Ok(());
        }
        if let Fact::Transfer { coin, from, to, amount } = *fact {
            return self.unasked_transfer(now, coin, from, to, amount);
        }
        if let Some(due) = self.due.front() {
            return Err(format!("{due:?} must come first"));
        }
        if !self.born {
            let attesters = self.raise.offering.setup.attesters.iter();
            self.due.extend(attesters.map(|&attester| Fact::AttesterChanged { attester, generation: 1 }));
            self.born = true;
            return if self.due.pop_front().as_ref() == Some(fact) {
                Ok(())
            } else {
                Err("the deployment must name the plan's attesters first".into())
            };
        }
        self.act(now, fact)
    }

    /// Makes the call again that must have said this.
    fn act(&mut self, now: Time, fact: &Fact) -> Said {
        self.check_names(fact)?;
        let Deployment { offering: escrow, treasury: pots, .. } = self.at;
        let Raise { offering, treasury, .. } = &mut self.raise;
        match *fact {
            Fact::AttesterChanged { attester, generation } => {
                let issuer = offering.setup.issuer;
                offering.set_attester(issuer, attester, generation).map_err(refused)
            }
            Fact::BidPlaced { .. } => self.bid_placed(now, fact),
            Fact::BidWithdrawn { id, cash, payee } => {
                let ruled = offering.withdraw(now, offering.bid(id).wallet, id).map_err(refused)?;
                self.due.push_back(cash_transfer(escrow, payee, ruled));
                equal("cash", &cash, &ruled.into())
            }
            Fact::CoolingOffLapsed { id } => offering.lapse(now, id).map_err(refused),
            Fact::Paused { round, until } => {
                let secs = until.checked_sub(now).ok_or("a pause cannot end in the past")?;
                offering.pause(now, offering.setup.guardian, round, secs).map_err(refused)
            }
            Fact::WindowCleared { .. } => Err("it must come first".into()),
            Fact::ClearingAdvanced { round, cursor } => self.clearing(now, round, Some(cursor)),
            Fact::Cleared { round, sold, proceeds } => {
                self.clearing(now, round, None)?;
                let cleared = &self.raise.offering.rounds[usize::from(round)];
                equal("credits sold", &sold, &cleared.sold)?;
                equal("proceeds", &proceeds, &cleared.proceeds.into())
            }
            Fact::Settled { id, credits, paid, refund } => {
                offering.settle(now, id).map_err(refused)?;
                let (share, _) = offering.outcome(id);
                equal("credits", &credits, &share.credits)?;
                equal("cash paid", &paid, &share.paid.into())?;
                equal("refund", &refund, &share.back.into())
            }
            Fact::Refunded { id, cash, payee } => {
                let bid = offering.bid(id);
                if !bid.settled && !offering.failed(now) {
                    return Err("Settled must come first".into());
                }
                let ruled = offering.refund(now, bid.wallet, id, None).map_err(refused)?;
                self.due.push_back(cash_transfer(escrow, payee, ruled));
                equal("cash", &cash, &ruled.into())
            }
            Fact::Swept { round, cash } => {
                let ruled = offering.sweep(round).map_err(refused)?;
                let circulating = treasury.circulating;
                treasury.deposit(offering, round, ruled);
                self.due.push_back(cash_transfer(escrow, pots, ruled));
                if treasury.pots[usize::from(round)].delivered != 0 {
                    let moved = (treasury.circulating - circulating).into();
                    self.due.push_back(Fact::Synced { class: round, moved });
                }
                self.due.push_back(Fact::Deposited { class: round, cash: ruled.into() });
                equal("cash", &cash, &ruled.into())
            }
            Fact::Attested { subject, effective_at, .. } => {
                offering.attest(now, offering.setup.certifier, subject).map_err(refused)?;
                equal("effectiveAt", &effective_at, &offering.attestation(subject).effective_at)
            }
            Fact::Objected { subject } => {
                offering.object(now, offering.setup.guardian, subject).map_err(refused)
            }
            Fact::Delivered { id, credits, to } => {
                let bid = offering.bid(id);
                if !bid.settled {
                    return Err("Settled must come first".into());
                }
                let (ruled, locked) = offering.deliver(now, bid.wallet, id, None).map_err(refused)?;
                let vault = self.at.vault_of(offering, id);
                if locked && self.vaults.insert(vault, id).is_none() {
                    // Credits may have been sent there before there was a vault.
                    let balances = &mut self.raise.credits.balances;
                    if let Some(before) = balances.remove(&Holder::Account(vault)) {
                        balances.insert(Holder::Vault(id), before);
                    }
                }
                let ruled_to = if locked { vault } else { bid.wallet };
                let (coin, from) = (Coin::Credits, Address::ZERO);
                self.due.push_back(Fact::Transfer { coin, from, to: ruled_to, amount: ruled });
                equal("credits", &credits, &ruled)?;
                equal("to", &to, &ruled_to)
            }
            Fact::Synced { .. } => {
                let due = sync(&mut self.raise);
                let first = due.first().ok_or("nothing was delivered since the last time")?;
                if first != fact {
                    return Err(format!("it must be {first:?}"));
                }
                self.due.extend(due.into_iter().skip(1));
                Ok(())
            }
            Fact::Drawn { cash, to } => {
                let behind = treasury.pots.iter().zip(&offering.rounds);
                if behind.into_iter().any(|(pot, round)| pot.delivered != round.delivered) {
                    return Err("Synced must come first".into());
                }
                let issuer = treasury.setup.issuer;
                let ruled = u64::try_from(cash).map_err(|_| "the tap never has that much".to_string())?;
                treasury.draw(offering, now, issuer, ruled).map_err(refused)?;
                self.due.push_back(cash_transfer(pots, to, ruled));
                Ok(())
            }
            Fact::PotRefunded { id, cash, payee } => {
                let wallet = offering.bid(id).wallet;
                let ruled = treasury.refund(offering, now, wallet, id, None).map_err(refused)?;
                self.due.push_back(cash_transfer(pots, payee, ruled));
                equal("cash", &cash, &ruled.into())
            }
            Fact::Deposited { .. } => Err("nothing was swept".into()),
            Fact::Transfer { .. } => Err("transfers are not calls".into()),
        }
    }

    /// Rounds and bids that there can be, before anything is looked up by them.
    fn check_names(&self, fact: &Fact) -> Said {
        let offering = &self.raise.offering;
        let round = match fact.bid() {
            Some(id) => {
                let known = matches!(fact, Fact::BidPlaced { .. }) || offering.bids.contains_key(&id);
                if !known || id.window == BidId::TOTAL {
                    return Err("there is no such bid".into());
                }
                id.round
            }
            None => fact.round().unwrap_or(0),
        };
        if usize::from(round) < offering.rounds.len() {
            Ok(())
        } else {
            Err(format!("there is no round {round}"))
        }
    }

    fn bid_placed(&mut self, now: Time, fact: &Fact) -> Said {
        let Fact::BidPlaced { id, bid, jurisdiction } = *fact else { return Ok(()) };
        let escrow = u64::try_from(self.raise.cash.of(Holder::Offering)).unwrap_or(u64::MAX / 2);
        let offering = &mut self.raise.offering;
        let attester = offering.generations.iter().find(|(_, (current, _))| *current != 0);
        let Some((&attester, &(generation, _))) = attester else {
            return Err("no attester's permits are good".into());
        };
        // The widest permit that puts these flags on a bid.
        let permit = PurchasePermit {
            entity: id.entity,
            wallet: bid.wallet,
            round: id.round,
            min_cash: 0,
            max_cash: u64::MAX,
            max_total: u64::MAX,
            first: 0,
            last: u16::MAX,
            not_before: 0,
            expiry: Time::MAX,
            jurisdiction,
            lock_class: bid.lock_class,
            affiliate: bid.affiliate,
            cooling_off: bid.cooling_off,
            generation,
            terms_hash: offering.setup.terms_hash,
        };
        let order = Order {
            permit,
            signed_by: Some(attester),
            cash: bid.cash,
            tick: bid.tick,
            schedule: bid.schedule,
        };
        let (ruled, added) = offering.place(now, bid.wallet, &order, u64::MAX, escrow).map_err(refused)?;
        equal("id", &id, &ruled)?;
        equal("slot", &bid, &offering.bid(id))?;
        if added != 0 {
            self.due.push_back(cash_transfer(bid.wallet, self.at.offering, added));
        }
        Ok(())
    }

    /// Clears a round as far as was said, or to its end, and compares each window on the way.
    fn clearing(&mut self, now: Time, index: u8, cursor: Option<u16>) -> Said {
        let offering = &mut self.raise.offering;
        let from = offering.rounds[usize::from(index)].cursor;
        match cursor {
            None => offering.clear(now, index, u64::MAX).map_err(refused)?,
            Some(cursor) => {
                // A piece of no steps says where it stands, too.
                offering.clear(now, index, 0).map_err(refused)?;
                let ticks = offering.setup.rounds[usize::from(index)].ticks();
                for _ in 0..=ticks {
                    let round = &offering.rounds[usize::from(index)];
                    if round.status == Status::Cleared || round.cursor == cursor {
                        break;
                    }
                    offering.clear(now, index, 1).map_err(refused)?;
                }
                let round = &offering.rounds[usize::from(index)];
                if round.status == Status::Cleared || round.cursor != cursor {
                    return Err(format!("clearing from {from} does not come to stand at {cursor}"));
                }
            }
        }
        let windows = std::mem::take(&mut self.windows);
        let ruled: Vec<Fact> = match offering.setup.rounds[usize::from(index)].sale {
            Sale::Rising { windows: count, .. } => (from..cursor.unwrap_or(count))
                .filter_map(|window| window_outcome(offering, index, window))
                .collect(),
            _ => Vec::new(),
        };
        let same = windows.iter().zip(&ruled).take_while(|(said, ruled)| said.fact == **ruled).count();
        self.blamed = windows.get(same).cloned();
        match (self.blamed.is_some(), ruled.get(same)) {
            (true, Some(ruled)) => Err(format!("it must be {ruled:?}")),
            (true, None) => Err("no bids are left in such a window".into()),
            (false, Some(ruled)) => Err(format!("{ruled:?} must come first")),
            (false, None) => Ok(()),
        }
    }

    fn holder(&self, coin: Coin, of: Address) -> Holder {
        match of {
            at if coin == Coin::Cash && at == self.at.offering => Holder::Offering,
            at if coin == Coin::Cash && at == self.at.treasury => Holder::Treasury,
            at => self.vaults.get(&at).map_or(Holder::Account(at), |&id| Holder::Vault(id)),
        }
    }

    /// A transfer that no event of the rules called for: anyone may give, nobody may take.
    fn unasked_transfer(&mut self, now: Time, coin: Coin, from: Address, to: Address, amount: u128) -> Said {
        // Anyone can have a coin say that nothing moved.
        if amount == 0 {
            return Ok(());
        }
        let holder = self.holder(coin, from);
        match (coin, holder) {
            (Coin::Cash, Holder::Offering | Holder::Treasury) => {
                return Err("cash leaves without an event that says why".into());
            }
            (Coin::Credits, _) if from.is_zero() => {
                return Err("credits are minted without a delivery".into());
            }
            (Coin::Credits, Holder::Vault(id)) => {
                let owner = self.raise.offering.bid(id).wallet;
                let until = self.raise.offering.unlock_at(id);
                let released = now >= until && to == owner;
                if released {
                    equal("what a vault releases", &amount, &self.raise.credits.of(holder))?;
                }
                if !released && to != self.at.collector {
                    return Err(format!("credits locked until {until} leave their vault (LOCK-1)"));
                }
            }
            _ => {}
        }
        self.transfer(coin, from, to, amount)?;
        if coin == Coin::Cash && to == self.at.treasury {
            self.outside.given += amount;
        }
        Ok(())
    }

    /// Of cash only what the offering and the treasury hold is kept.
    fn transfer(&mut self, coin: Coin, from: Address, to: Address, amount: u128) -> Said {
        let (giver, taker) = (self.holder(coin, from), self.holder(coin, to));
        let ours = |holder| coin == Coin::Credits || matches!(holder, Holder::Offering | Holder::Treasury);
        let books = match coin {
            Coin::Cash => &mut self.raise.cash,
            Coin::Credits => &mut self.raise.credits,
        };
        if coin == Coin::Credits && from.is_zero() {
            books.minted += amount;
        } else if ours(giver) {
            let balance = books.balances.get(&giver).copied().unwrap_or(0);
            let left =
                balance.checked_sub(amount).ok_or_else(|| format!("{giver:?} holds only {balance}"))?;
            if left == 0 && !matches!(giver, Holder::Offering | Holder::Treasury) {
                books.balances.remove(&giver);
            } else {
                books.balances.insert(giver, left);
            }
        }
        if coin == Coin::Credits && to.is_zero() {
            self.outside.burned += amount;
        } else if ours(taker) {
            let balance = books.balances.entry(taker).or_default();
            *balance = balance.checked_add(amount).ok_or("more than there can be")?;
        }
        Ok(())
    }
}

fn cash_transfer(from: Address, to: Address, cash: u64) -> Fact {
    Fact::Transfer { coin: Coin::Cash, from, to, amount: cash.into() }
}

/// Moves every class's share, and says what the contract must say of it.
fn sync(raise: &mut Raise) -> Vec<Fact> {
    let before = raise.treasury.pots.clone();
    raise.treasury.sync(&raise.offering);
    let pots = before.iter().zip(&raise.treasury.pots);
    let moved = (0u8..).zip(pots).filter(|(_, (old, new))| old.delivered != new.delivered);
    moved.map(|(class, (old, new))| Fact::Synced { class, moved: (old.cash - new.cash).into() }).collect()
}

/// What a cleared window says: credits and cash without what was withdrawn late. None if nobody bid in it.
fn window_outcome(offering: &Offering, round: u8, window: u16) -> Option<Fact> {
    let bucket = offering.bucket(round, window);
    if bucket.weight == 0 {
        return None;
    }
    let used = if bucket.whole { bucket.cash } else { bucket.used };
    let kept = u128::from(bucket.cash - bucket.withdrawn_cash);
    let kept_weight = u128::from(bucket.weight - bucket.withdrawn_weight);
    let sold = mul_div(bucket.sold, kept_weight, bucket.weight.into());
    let used = (kept * u128::from(used)).div_ceil(u128::from(bucket.cash));
    Some(Fact::WindowCleared { round, window, sold, used })
}
