//! The study file, `study.toml` with `schema = 1`: the lab, what nobody knows, and the designs that are compared. These
//! types hold what was agreed before the first number was drawn.

mod check;
mod read;

use std::sync::Arc;

use earnest_core::money::{Bps, Cash};
use earnest_core::plan::{Plan, Time};
use serde::Serialize;

use crate::factor::{FACTORS, Factor};
use crate::outcome::Metric;
use crate::prior::{Grade, Prior};

pub use check::ROWS_MAX;
pub use read::MONTHS_MAX;

/// A whole study, read and valid by itself. Made by [`Study::read`].
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// What is asked.
    pub question: Question,
    /// The lab before any of the designs.
    pub lab: Lab,
    /// What it wants to buy and whom it pays, whoever funds it.
    pub mission: Mission,
    /// What it will sell.
    pub service: Service,
    /// By the factor's number; `None`: stands still at its neutral value.
    pub priors: [Option<Prior>; FACTORS],
    /// Which of them move together.
    pub correlations: Vec<Correlation>,
    /// In order.
    pub designs: Vec<Design>,
    /// Futures to look at by themselves.
    pub stresses: Vec<Stress>,
    /// Pairs of factors over whose range the winner is shown.
    pub maps: Vec<(Factor, Factor)>,
    /// What happened, where the study is a hindcast.
    pub outcomes: Vec<Observed>,
}

/// `[study]`
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Name.
    pub name: String,
    /// Said by every page: "hypothetical: …".
    pub note: Option<String>,
    /// Month 0.
    pub start: Time,
    /// Months that are lived through.
    pub months: u32,
    /// Futures.
    pub paths: u32,
    /// Of the random numbers.
    pub seed: u64,
    /// The mission is judged at the end of this month.
    pub judged: u32,
    /// The number by which designs are ranked.
    pub decide_by: Metric,
}

/// `[lab]`
#[derive(Clone, Debug, PartialEq)]
pub struct Lab {
    /// In the bank at the start.
    pub cash: Cash,
    /// Of the shares, the nonprofit's.
    pub nonprofit: Bps,
}

/// `[mission]`
#[derive(Clone, Debug, PartialEq)]
pub struct Mission {
    /// Hours of compute for research, by month.
    pub hours: Line,
    /// Cash for people and rooms, by month.
    pub people: Line,
    /// Cash for an hour of compute at the start.
    pub hour: Cash,
    /// The mission counts as funded where this part of the hours was bought.
    pub enough: Bps,
    /// Months of people's pay that are kept before compute is bought; with less in hand, fewer people are paid.
    pub reserve: u32,
    /// Of the people, those without whom the lab closes.
    pub core: Bps,
    /// How much more than a month's hours may be bought to make up for earlier months.
    pub catch_up: Bps,
}

/// `[service]`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Month in which it is planned to be live.
    pub live: u32,
    /// Part of the hours planned until then without which it cannot be.
    pub needs: Bps,
    /// Sales at the start's prices, by month after live.
    pub revenue: Line,
    /// Of the start's prices, what serving takes in compute.
    pub serving: Bps,
    /// Hours of compute that can be served with, by month after live.
    pub capacity: Line,
}

/// Amounts by month, straight lines between points, flat after the last. In base units of cash, or in whole hours.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Line(pub Vec<(u32, u64)>);

/// `[[correlations]]`: of the two factors' normal quantiles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// The one.
    pub one: usize,
    /// The other.
    pub other: usize,
    /// Between −1 and 1.
    pub rho: f64,
}

/// `[[designs]]`: one way to fund the lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Name.
    pub name: String,
    /// In a sentence.
    pub about: Option<String>,
    /// In order.
    pub instruments: Vec<Instrument>,
}

/// `[[designs.instruments]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// Name, unique in its design.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What an instrument is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `grant`: given by the month.
    Grant(Grant),
    /// `equity`: a priced round.
    Equity(Equity),
    /// `convertible`: a note that converts at the next priced round.
    Convertible(Convertible),
    /// `capped`: a share of profit up to a multiple of what was put in, or up to a date.
    Capped(Capped),
    /// `strategic`: capped, partly paid in compute, recouped from revenue.
    Strategic(Strategic),
    /// `offering`: service credits by a plan file.
    Offering(Box<OfferingTerms>),
}

/// Keys of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By month of the study.
    pub amount: Line,
    /// Of it, what the lead donor gives.
    pub lead: Bps,
}

/// When an investment closes, and what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// In this month of the study, or so many after the service is live.
    pub when: When,
    /// Most that is taken.
    pub seek: Cash,
    /// What investors bring in the middle case.
    pub demand: Cash,
    /// With less than this it does not close.
    pub least: Cash,
}

/// A month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Of the study.
    Month(u32),
    /// After the service is live.
    AfterLive(u32),
}

/// Keys of a priced round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equity {
    /// When and how much.
    pub closing: Closing,
    /// Value of the lab before it, in the middle case; moves with `equity_demand`.
    pub pre_money: Cash,
    /// Preference over common, in basis points of what was put in.
    pub preference_bps: u32,
    /// Shares in what is left after the preference too.
    pub participating: bool,
}

/// Keys of a convertible note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convertible {
    /// When and how much.
    pub closing: Closing,
    /// Converts at most at this value of the lab.
    pub cap: Cash,
    /// Converts at this much less than the round's price.
    pub discount: Bps,
    /// A year, simple.
    pub interest: Bps,
}

/// Keys of a capped return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capped {
    /// When and how much.
    pub closing: Closing,
    /// Most that is ever paid, in basis points of what was put in.
    pub multiple_bps: u32,
    /// Of each year's profit until then, and of what the lab is worth at the end.
    pub share: Bps,
    /// From this month on nothing is paid any more.
    pub until: Option<u32>,
    /// Of the lab's votes.
    pub votes: Bps,
}

/// Keys of a strategic investment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategic {
    /// Its capped return.
    pub capped: Capped,
    /// Of it, what is paid in compute.
    pub in_kind: Bps,
    /// Of revenue, until it has been paid back once.
    pub recoup: Bps,
}

/// Keys of an offering.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferingTerms {
    /// The plan, as it would be deployed.
    pub plan: Arc<Plan>,
    /// Cash that would be bid in each round at its lowest price, in the middle case.
    pub demand: Vec<Cash>,
    /// Cash bid at price p falls as `p^−elasticity`.
    pub elasticity: f64,
    /// Times the study's rate of injunctions.
    pub exposure: f64,
    /// Of the treasury, what is held in a crypto coin.
    pub crypto: Bps,
    /// Service that a credit buys at the start's prices.
    pub worth: Cash,
    /// How far the price list follows the market's price down.
    pub follows: Bps,
    /// Of what holders spend, what they would have bought for cash.
    pub replaces: Bps,
    /// The deployment has the plan's votes.
    pub votes: bool,
    /// Credits vest from the end of the raise, before there is a service to spend them on.
    pub at_close: bool,
}

/// `[[stress]]`: factors held at a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Stress {
    /// Name.
    pub name: String,
    /// Factor and value.
    pub held: Vec<(Factor, f64)>,
}

/// `[[outcomes]]`: what happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Name.
    pub name: String,
    /// The design that was really taken, or comes nearest.
    pub design: usize,
    /// What is compared.
    pub metric: Metric,
    /// After so many months; the study's where none are said.
    pub month: Option<u32>,
    /// As it was.
    pub value: f64,
    /// As another account has it.
    pub disputed: Option<f64>,
    /// Where it comes from.
    pub source: String,
    /// How good that is.
    pub grade: Grade,
}

impl Line {
    /// The amount in a month, rounded down.
    pub fn at(&self, month: u32) -> u64 {
        let after = self.0.partition_point(|&(at, _)| at <= month);
        match (after.checked_sub(1).map(|before| self.0[before]), self.0.get(after)) {
            (None, _) => 0,
            (Some((_, amount)), None) => amount,
            (Some((from, low)), Some(&(to, high))) => {
                let (done, span) = (u128::from(month - from), u128::from(to - from));
                let sum = u128::from(low) * (span - done) + u128::from(high) * done;
                u64::try_from(sum / span).expect("between the two")
            }
        }
    }

    /// The amounts of the first months.
    pub fn months(&self, months: u32) -> Vec<u64> {
        (0..months).map(|month| self.at(month)).collect()
    }
}

impl Study {
    /// The prior of a factor, or its neutral value.
    pub fn prior(&self, factor: Factor) -> Prior {
        self.priors[factor.index()].clone().unwrap_or_else(|| Prior::fixed(factor.meaning().neutral))
    }

    /// The factors that vary.
    pub fn varied(&self) -> Vec<Factor> {
        let varies = |factor: &Factor| {
            self.priors[factor.index()].as_ref().is_some_and(|prior| prior.low < prior.high)
        };
        Factor::ALL.into_iter().filter(varies).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_runs_straight_between_its_points_and_on_after_them() {
        let line = Line(vec![(2, 100), (6, 300)]);
        assert_eq!([0, 1, 2, 3, 5, 6, 99].map(|month| line.at(month)), [0, 0, 100, 150, 250, 300, 300]);
    }
}
