//! The rules across keys of a study: each fault stands at the key it is about, with the remedy.

use std::collections::BTreeSet;

use earnest_core::money::Bps;
use earnest_core::plan::fault::{Fault, Source};
use earnest_core::plan::instant::LAST;

use super::{Closing, Design, Kind, Line, Strategic, Study, When};
use crate::amount::float;
use crate::factor::Factor;
use crate::offering::MONTH_SECS;
use crate::prior::{Prior, Shape};
use crate::world::{Copula, Z_MOST};

/// Designs, instruments of one, stresses, maps.
const MANY: usize = 16;
/// Paths times designs: each is kept with some fifty numbers until the end.
pub const ROWS_MAX: u64 = 2_000_000;
/// Base units of the most that an amount may come to with its factor at its most: a trillion of cash.
const CASH_MOST: f64 = 1e18;

pub(super) fn check(study: &Study, source: &Source<'_>) -> Vec<Fault> {
    let mut check = Check { study, source, faults: Vec::new() };
    check.question();
    check.lines();
    check.amounts();
    check.designs();
    check.world();
    check.correlations();
    check.stresses();
    check.outcomes();
    check.faults
}

struct Check<'c, 's> {
    study: &'c Study,
    source: &'c Source<'s>,
    faults: Vec<Fault>,
}

impl Check<'_, '_> {
    fn refuse(&mut self, at: &str, message: impl Into<String>, hint: impl Into<String>) {
        if self.source.is_read(at) {
            let (place, message, hint) = (self.source.place(at), message.into(), hint.into());
            self.faults.push(Fault { place, message, hint, concluded_from: Vec::new() });
        }
    }

    fn question(&mut self) {
        let question = &self.study.question;
        if question.judged > question.months {
            let message = format!("the mission is judged in month {}, after the last", question.judged);
            self.refuse("study.judged", message, format!("at most {}", question.months));
        }
        if question.paths < 2 {
            self.refuse("study.paths", "one future says nothing", "write at least 1_000");
        }
        let designs = self.study.designs.len() as u64;
        if u64::from(question.paths) * designs > ROWS_MAX {
            let message =
                format!("{} paths of {designs} designs are more than {ROWS_MAX} in all", question.paths);
            self.refuse("study.paths", message, "write fewer; 10_000 paths are usual");
        }
        if question.start + u64::from(question.months) * MONTH_SECS > LAST {
            self.refuse("study.months", "it ends after the last instant of plans, in 2106", "write fewer");
        }
        if self.study.mission.hour.units() == 0 {
            self.refuse("mission.hour", "compute that costs nothing", "write the price of an hour");
        }
        let (metric, hint) = (question.decide_by, "write \"funded\", \"mission\", \"value\" or \"control\"");
        let key = metric.meaning().key;
        if metric.meaning().more_is_better.is_none() {
            let message = format!("`{key}` is neither better nor worse for being more");
            self.refuse("study.decide_by", message, hint);
        } else if !metric.is_everywhere() {
            let message =
                format!("`{key}` is not there in every future, so its means are over different futures");
            self.refuse("study.decide_by", message, hint);
        }
    }

    fn lines(&mut self) {
        let study = self.study;
        let lines = [
            ("mission.hours", &study.mission.hours),
            ("mission.people", &study.mission.people),
            ("service.revenue", &study.service.revenue),
            ("service.capacity", &study.service.capacity),
        ];
        for (at, line) in lines {
            self.line(at, line);
        }
    }

    fn line(&mut self, at: &str, line: &Line) {
        if line.0.is_empty() {
            self.refuse(at, "no point at all", "write at least one: [[0, \"…\"]]");
        }
        if line.0.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            self.refuse(at, "months must rise from point to point", "put them in order, each once");
        }
    }

    /// What amounts come to with their factors at the most that a future or a stress gives them, at the start's prices.
    fn amounts(&mut self) {
        let study = self.study;
        let highest = |line: &Line| float(line.0.iter().map(|&(_, amount)| amount).max().unwrap_or(0));
        let months = study.question.months;
        self.bounded("lab.cash", float(study.lab.cash.units()), &[]);
        self.bounded("mission.people", highest(&study.mission.people), &[Factor::PeopleCost]);
        let research = highest(&study.mission.hours) * float(study.mission.hour.units());
        self.bounded("mission.hours", research, &[Factor::ResearchNeed]);
        self.bounded("service.revenue", highest(&study.service.revenue), &[Factor::Revenue]);
        for (index, design) in study.designs.iter().enumerate() {
            let here = |place: usize, key: &str| format!("designs[{index}].instruments[{place}].{key}");
            for (place, instrument) in design.instruments.iter().enumerate() {
                match &instrument.kind {
                    Kind::Equity(equity) => {
                        let pre_money = float(equity.pre_money.units());
                        self.bounded(&here(place, "pre_money"), pre_money, &[Factor::EquityDemand]);
                    }
                    Kind::Convertible(note) => {
                        self.bounded(&here(place, "cap"), float(note.cap.units()), &[]);
                    }
                    _ => {}
                }
            }
            let brought = self.brought(design, months);
            self.bounded(&format!("designs[{index}].name"), brought, &[]);
        }
    }

    /// The most that a design can bring in.
    fn brought(&self, design: &Design, months: u32) -> f64 {
        let equity = self.most(Factor::EquityDemand);
        let closing =
            |closing: &Closing| float(closing.seek.units()).min(float(closing.demand.units()) * equity);
        let of = |kind: &Kind| match kind {
            Kind::Grant(grant) => {
                let given: f64 = grant.amount.months(months).into_iter().map(float).sum();
                given * self.most(Factor::Donations)
            }
            Kind::Equity(equity) => closing(&equity.closing),
            Kind::Convertible(note) => closing(&note.closing),
            Kind::Capped(capped) => closing(&capped.closing),
            Kind::Strategic(strategic) => closing(&strategic.capped.closing),
            Kind::Offering(terms) => {
                let bid: f64 = terms.demand.iter().map(|cash| float(cash.units())).sum();
                bid * self.most(Factor::OfferingDemand)
            }
        };
        design.instruments.iter().map(|instrument| of(&instrument.kind)).sum()
    }

    /// Refuses an amount, in base units, that comes to more than [`CASH_MOST`].
    fn bounded(&mut self, at: &str, units: f64, factors: &[Factor]) {
        let times: f64 = factors.iter().map(|&factor| self.most(factor)).product();
        if units * times <= CASH_MOST {
            return;
        }
        let with = match factors {
            [factor] if times > 1.0 => {
                format!(", {} at its most being {times:.4}", factor.meaning().key)
            }
            _ => String::new(),
        };
        let message = format!("this can come to {:.2e} cash{with}", units * times / 1e6);
        self.refuse(at, message, "at most 1e12 cash: lower it, or what multiplies it");
    }

    /// The most that a factor is in any future or stress.
    fn most(&self, factor: Factor) -> f64 {
        let meaning = factor.meaning();
        let prior = self.study.prior(factor).at(Z_MOST).clamp(meaning.least, meaning.most);
        let held = self.study.stresses.iter().flat_map(|stress| &stress.held);
        held.filter(|(of, _)| *of == factor).map(|(_, value)| *value).fold(prior, f64::max)
    }

    fn designs(&mut self) {
        let study = self.study;
        if study.designs.len() < 2 {
            self.refuse("designs", "one design is compared with nothing", "write a second [[designs]]");
        }
        if study.designs.len() > MANY {
            self.refuse("designs", "too many designs", format!("at most {MANY}"));
        }
        let mut names = BTreeSet::new();
        for (index, design) in study.designs.iter().enumerate() {
            let here = format!("designs[{index}]");
            if !names.insert(&design.name) {
                self.refuse(
                    &format!("{here}.name"),
                    "another design has this name",
                    "give it one of its own",
                );
            }
            if design.instruments.len() > MANY {
                self.refuse(
                    &format!("{here}.instruments"),
                    "too many instruments",
                    format!("at most {MANY}"),
                );
            }
            let mut own = BTreeSet::new();
            for (place, instrument) in design.instruments.iter().enumerate() {
                let here = format!("{here}.instruments[{place}]");
                if !own.insert(&instrument.name) {
                    self.refuse(
                        &format!("{here}.name"),
                        "another instrument has this name",
                        "give it one of its own",
                    );
                }
                self.instrument(&here, &instrument.kind);
            }
        }
    }

    fn instrument(&mut self, here: &str, kind: &Kind) {
        let closing = match kind {
            Kind::Equity(equity) => Some(&equity.closing),
            Kind::Convertible(note) => Some(&note.closing),
            Kind::Capped(capped) | Kind::Strategic(Strategic { capped, .. }) => Some(&capped.closing),
            Kind::Grant(_) | Kind::Offering(_) => None,
        };
        let last = self.study.question.months.saturating_sub(1);
        if let Some(Closing { when: When::Month(month), .. }) = closing
            && *month > last
        {
            let message = format!("month {month} never comes: the study's last is {last}");
            self.refuse(&format!("{here}.month"), message, "write an earlier month, or more study.months");
        }
        match kind {
            Kind::Grant(grant) => self.line(&format!("{here}.amount"), &grant.amount),
            Kind::Equity(equity) if equity.pre_money.units() == 0 => {
                self.refuse(
                    &format!("{here}.pre_money"),
                    "a lab worth nothing has no price for a share",
                    "write its value",
                );
            }
            Kind::Convertible(note) if note.discount == Bps::ONE => {
                self.refuse(
                    &format!("{here}.discount"),
                    "at no price at all it takes the whole lab",
                    "write less than 100%",
                );
            }
            Kind::Convertible(note) if note.cap.units() == 0 => {
                self.refuse(&format!("{here}.cap"), "a cap of nothing takes the whole lab", "write a value");
            }
            Kind::Capped(capped) | Kind::Strategic(Strategic { capped, .. }) => {
                if let (When::Month(month), Some(until)) = (capped.closing.when, capped.until)
                    && until <= month
                {
                    self.refuse(
                        &format!("{here}.until"),
                        format!("it ends in month {until}, and money comes in in month {month}"),
                        "write a later month",
                    );
                }
            }
            Kind::Offering(terms) => {
                let rounds = terms.plan.rounds.len();
                if terms.demand.len() != rounds {
                    let message = format!("{} amounts, and the plan has {rounds} rounds", terms.demand.len());
                    self.refuse(&format!("{here}.demand"), message, "write one for each round, in order");
                }
                if terms.worth.units() == 0 {
                    self.refuse(&format!("{here}.worth"), "a credit that buys nothing", "write what it buys");
                }
                if terms.votes && terms.plan.votes.is_none() {
                    self.refuse(
                        &format!("{here}.with_votes"),
                        "the plan has no [votes]",
                        "add them there, or leave this out",
                    );
                }
                if terms.plan.service.deadline <= self.study.question.start {
                    self.refuse(
                        &format!("{here}.plan"),
                        "its deadline is before the study begins",
                        "move study.start, or take another plan",
                    );
                }
            }
            _ => {}
        }
    }

    fn world(&mut self) {
        for factor in Factor::ALL {
            let Some(prior) = &self.study.priors[factor.index()] else { continue };
            let meaning = factor.meaning();
            let here = format!("world.{}", meaning.key);
            self.prior(&here, prior);
            for (key, value) in [("low", prior.low), ("mid", prior.mid), ("high", prior.high)] {
                if !(meaning.least..=meaning.most).contains(&value) {
                    let hint = format!("between {} and {} ({})", meaning.least, meaning.most, meaning.unit);
                    self.refuse(&format!("{here}.{key}"), format!("{value} is out of range"), hint);
                }
            }
        }
    }

    fn prior(&mut self, here: &str, prior: &Prior) {
        let Prior { low, mid, high, shape, .. } = *prior;
        if !(low <= mid && mid <= high) {
            self.refuse(
                here,
                format!("low {low}, mid {mid}, high {high} do not rise"),
                "they are the 5%, 50% and 95% quantiles",
            );
        }
        match shape {
            Shape::Lognormal if low <= 0.0 => {
                self.refuse(
                    &format!("{here}.low"),
                    "a lognormal is above zero",
                    "write more than 0, or shape = \"normal\"",
                );
            }
            Shape::Logit if low <= 0.0 || high >= 1.0 => {
                self.refuse(
                    here,
                    "log odds lie strictly between 0 and 1",
                    "write less than 1 and more than 0, or shape = \"normal\"",
                );
            }
            Shape::Fixed if low != high => {
                self.refuse(
                    &format!("{here}.shape"),
                    "a fixed value has one low, mid and high",
                    "write them alike, or another shape",
                );
            }
            Shape::Uniform if (mid - (low + high) / 2.0).abs() > 1e-9 * (high - low).abs().max(1.0) => {
                self.refuse(
                    &format!("{here}.mid"),
                    "the middle of a uniform is half way",
                    format!("write mid = {}", (low + high) / 2.0),
                );
            }
            _ => {}
        }
    }

    fn correlations(&mut self) {
        let study = self.study;
        let mut pairs = BTreeSet::new();
        for (index, correlation) in study.correlations.iter().enumerate() {
            let here = format!("correlations[{index}]");
            let pair = (correlation.one.min(correlation.other), correlation.one.max(correlation.other));
            if pair.0 == pair.1 {
                self.refuse(
                    &format!("{here}.of"),
                    "two different factors are needed",
                    "write of = [\"offering_demand\", \"equity_demand\"]",
                );
            } else if !pairs.insert(pair) {
                self.refuse(&format!("{here}.of"), "this pair has a correlation already", "keep one");
            }
            if !(correlation.rho > -1.0 && correlation.rho < 1.0) {
                self.refuse(
                    &format!("{here}.rho"),
                    format!("{} is no correlation", correlation.rho),
                    "between -1 and 1",
                );
                return;
            }
            for side in [correlation.one, correlation.other] {
                if study.priors[side].is_none() && self.source.is_read("world") {
                    let key = Factor::ALL[side].meaning().key;
                    self.refuse(
                        &format!("{here}.of"),
                        format!("`{key}` has no prior"),
                        format!("write [world.{key}], or remove this"),
                    );
                }
            }
        }
        if Copula::new(study).is_none() {
            self.refuse(
                "correlations",
                "no futures have these correlations together",
                "bring them nearer to 0",
            );
        }
    }

    fn outcomes(&mut self) {
        let months = self.study.question.months;
        for (index, outcome) in self.study.outcomes.iter().enumerate() {
            if let Some(month) = outcome.month.filter(|&month| month > months) {
                let message = format!("the study ends after {months} months, this is after {month}");
                self.refuse(&format!("outcomes[{index}].month"), message, format!("at most {months}"));
            }
        }
    }

    fn stresses(&mut self) {
        let study = self.study;
        for (index, stress) in study.stresses.iter().enumerate() {
            for &(factor, value) in &stress.held {
                let meaning = factor.meaning();
                if !(meaning.least..=meaning.most).contains(&value) {
                    let hint = format!("between {} and {} ({})", meaning.least, meaning.most, meaning.unit);
                    self.refuse(
                        &format!("stress[{index}].hold"),
                        format!("{} = {value} is out of range", meaning.key),
                        hint,
                    );
                }
            }
        }
        for (index, (x, y)) in study.maps.iter().enumerate() {
            if x == y {
                self.refuse(&format!("maps[{index}].y"), "a map has two factors", "name another");
            }
            for (key, factor) in [("x", x), ("y", y)] {
                if study.priors[factor.index()].is_none() && self.source.is_read("world") {
                    let name = factor.meaning().key;
                    self.refuse(
                        &format!("maps[{index}].{key}"),
                        format!("`{name}` has no prior"),
                        format!("write [world.{name}]"),
                    );
                }
            }
        }
        if study.stresses.len().max(study.maps.len()) > MANY {
            self.refuse("stress", "too many", format!("at most {MANY}"));
        }
    }
}
