//! Who is paid by the lab: while it runs, parts of revenue and of each year's profit; at the end, notes, capped returns,
//! preferences, shares, and the nonprofit last. Both are waterfalls of `earnest-core`.

use earnest_core::money::Cash;
use earnest_core::plan::Time;
use earnest_core::waterfall::{Cap, Claim, Claimant, Source, State, Take, Terms, Waterfall};

use crate::offering::MONTH_SECS;
use crate::study::{Capped, Design, Instrument, Kind, Strategic, Study};

/// What came of an instrument until the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// Put in.
    pub paid: u64,
    /// Paid out of revenue and profit.
    pub received: u64,
    /// Shares.
    pub shares: u64,
    /// On a note that never converted.
    pub owed: u64,
}

/// What each gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// By instrument.
    pub instruments: Vec<u64>,
    /// For those who held shares at the start, the nonprofit among them.
    pub common: u64,
}

/// What a design's instruments are paid while the lab runs.
#[derive(Debug)]
pub struct Payouts {
    waterfall: Waterfall,
    start: Time,
}

/// How far that has come in one future.
#[derive(Debug)]
pub struct Paid<'p> {
    of: &'p Payouts,
    state: State,
    payments: Vec<u64>,
}

impl Payouts {
    /// Of a checked study; `None`: nothing is ever paid.
    pub fn new(design: &Design, study: &Study) -> Option<Self> {
        let start = study.question.start;
        let mut claims = Vec::new();
        for (index, instrument) in design.instruments.iter().enumerate() {
            // One rank each, in the order of the study: the later take their part of what the earlier leave.
            let (owner, rank) = (claimant(index), rank(index));
            if let Kind::Strategic(Strategic { recoup, .. }) = instrument.kind
                && recoup.get() > 0
            {
                let claim = Claim::new(&format!("recoup {index}"), owner, rank, Take::Share(recoup));
                claims.push(claim.out_of(&[Source::Revenue]).cap_multiple(10_000));
            }
            if let Some(capped) = capped(instrument) {
                let claim = Claim::new(&format!("profit {index}"), owner, rank, Take::Share(capped.share));
                let claim = claim.out_of(&[Source::Profit]).cap_multiple(capped.multiple_bps);
                let ends = capped.until.map(|month| at(start, month));
                claims.push(Claim { ends, ..claim });
            }
        }
        if claims.is_empty() {
            return None;
        }
        Some(Payouts { waterfall: waterfall(claims, design.instruments.len()), start })
    }

    /// Before anything was put in.
    pub fn begin(&self) -> Paid<'_> {
        let payments = vec![0; self.waterfall.versions()[0].claims().len()];
        Paid { of: self, state: State::new(&self.waterfall), payments }
    }
}

impl Paid<'_> {
    /// An instrument puts in cash, or compute of that value.
    pub fn contribute(&mut self, month: u32, index: usize, cash: u64) {
        let Payouts { waterfall, start } = self.of;
        let done = waterfall.contribute(&mut self.state, at(*start, month), claimant(index), cash);
        done.expect("months only rise, and a study's investments are 60 bits in all");
    }

    /// Pays out of so much revenue or profit; returns what instruments got. The rest is the lab's.
    pub fn distribute(&mut self, month: u32, source: Source, cash: u64) -> u64 {
        let Payouts { waterfall, start } = self.of;
        let time = at(*start, month);
        let done = waterfall.distribute_into(&mut self.state, time, source, cash, &mut self.payments);
        done.expect("months only rise, and all that comes in is 62 bits");
        cash - self.payments.last().expect("the lab's own")
    }

    /// What an instrument got so far.
    pub fn received(&self, index: usize) -> u64 {
        self.state.paid(claimant(index))
    }
}

/// Shares out a value among a design's instruments and the `common` shares of the start, exact to the unit, when the study
/// ends.
pub fn share_out(design: &Design, holdings: &[Holding], common: u64, value: u64, months: u32) -> Shared {
    let mut claims: Vec<Claim> = Vec::new();
    let claim = |index: usize, rank: u16, take: Take| {
        Claim::new(&format!("{index}.{rank}"), claimant(index), rank, take)
    };
    let due = |index: usize, rank: u16, most: u64| {
        claim(index, rank, Take::Due).cap(Cap::Amount(Cash::from_units(most)))
    };
    let each = || holdings.iter().zip(&design.instruments).enumerate();
    claims.extend(
        each().filter(|(_, (held, _))| held.owed > 0).map(|(index, (held, _))| due(index, 0, held.owed)),
    );
    for (index, (held, instrument)) in each() {
        if let Some(capped) = capped(instrument)
            && capped.until.is_none_or(|until| months < until)
        {
            let most = u128::from(held.paid) * u128::from(capped.multiple_bps) / 10_000;
            let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_sub(held.received);
            if most > 0 {
                let share = claim(index, rank(index), Take::Share(capped.share));
                claims.push(share.cap(Cap::Amount(Cash::from_units(most))));
            }
        }
    }
    for (index, (held, instrument)) in each() {
        if let Kind::Equity(equity) = &instrument.kind
            && held.shares > 0
        {
            let preference = u128::from(held.paid) * u128::from(equity.preference_bps) / 10_000;
            if preference > 0 {
                claims.push(due(index, PREFERENCE, u64::try_from(preference).unwrap_or(u64::MAX)));
            }
        }
    }
    for (index, (held, instrument)) in each() {
        if held.shares > 0 {
            let converting = matches!(&instrument.kind, Kind::Equity(equity) if !equity.participating && equity.preference_bps > 0);
            claims.push(claim(index, COMMON, Take::Common { shares: held.shares, converting }));
        }
    }
    let mut instruments = vec![0; holdings.len()];
    if claims.is_empty() {
        return Shared { instruments, common: value };
    }
    let owners = holdings.len();
    claims.push(claim(owners, COMMON, Take::Common { shares: common, converting: false }));
    let waterfall = waterfall(claims, owners);
    let mut state = State::new(&waterfall);
    let mut payments = vec![0; waterfall.versions()[0].claims().len()];
    let done = waterfall.distribute_into(&mut state, 0, Source::Liquidation, value, &mut payments);
    done.expect("one value is 64 bits");
    for (index, got) in instruments.iter_mut().enumerate() {
        *got = state.paid(claimant(index));
    }
    Shared { instruments, common: state.paid(claimant(owners)) }
}

/// After the capped returns, of which each has a rank.
const PREFERENCE: u16 = 50;
const COMMON: u16 = 100;
const REST: u16 = 101;

/// Of a capped return.
fn rank(index: usize) -> u16 {
    1 + claimant(index).0
}

fn claimant(index: usize) -> Claimant {
    Claimant(u16::try_from(index).expect("a design has at most 16 instruments"))
}

/// With the lab's owners behind a design's instruments, who take the rest.
fn waterfall(mut claims: Vec<Claim>, instruments: usize) -> Waterfall {
    claims.push(Claim::new("rest", claimant(instruments), REST, Take::Rest));
    let claimants = (0..=instruments).map(|index| index.to_string()).collect();
    Waterfall::new(Terms::new(1, 0, claimants, claims).expect("made of a checked study"))
}

/// A capped return that ever pays anything.
fn capped(instrument: &Instrument) -> Option<&Capped> {
    match &instrument.kind {
        Kind::Capped(capped) | Kind::Strategic(Strategic { capped, .. }) => {
            Some(capped).filter(|capped| capped.share.get() > 0 && capped.multiple_bps > 0)
        }
        _ => None,
    }
}

fn at(start: Time, month: u32) -> Time {
    start + u64::from(month) * MONTH_SECS
}
