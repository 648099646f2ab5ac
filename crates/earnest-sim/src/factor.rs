//! What the future may differ in: each factor has a prior in the study, of which every path draws one value. A factor
//! that a study leaves out stands still at its neutral value.

/// One thing that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Factor {
    /// Times the cash that bidders of an offering bring.
    OfferingDemand,
    /// Times what investors bring, and times the valuation at which they come.
    EquityDemand,
    /// Times what donors give.
    Donations,
    /// A year's change of the price of compute.
    ComputePrice,
    /// A year's log volatility of it.
    ComputeVolatility,
    /// Times what people cost.
    PeopleCost,
    /// Times the hours of compute that the mission takes.
    ResearchNeed,
    /// Months by which the service is late.
    Delay,
    /// Probability that there is never a service.
    NeverLive,
    /// Times what customers buy.
    Revenue,
    /// A year's change of the market's price of the service.
    ServicePrice,
    /// A year's log volatility of it.
    ServiceVolatility,
    /// Volume sold moves with the price to minus this power.
    Elasticity,
    /// A year's change of the crypto coin that a treasury may hold.
    CryptoPrice,
    /// A year's log volatility of it.
    CryptoVolatility,
    /// Injunctions a year, while an offering has undelivered positions.
    Injunction,
    /// Penalty with it, as a part of what was raised.
    Penalty,
    /// Redemption runs a year, while an offering stands.
    Run,
    /// Part of the holders who run.
    RunShare,
    /// Lead donors who leave, a year.
    DonorLeaves,
    /// Breaks of the cash coin, a year.
    CashBreak,
    /// Part of it lost then.
    CashLoss,
    /// Part of their credits that holders spend in a month.
    SpendRate,
    /// Value of the lab at the end, in its revenue of a year.
    ExitMultiple,
}

/// How many there are.
pub const FACTORS: usize = 24;

/// A factor's key, unit, neutral value and range.
pub struct Meaning {
    /// In a study: `[world.offering_demand]`.
    pub key: &'static str,
    /// As a report shows it.
    pub unit: &'static str,
    /// Where a study says nothing.
    pub neutral: f64,
    /// Least that makes sense.
    pub least: f64,
    /// Most.
    pub most: f64,
}

impl Factor {
    /// All of them, in the order of their numbers.
    pub const ALL: [Factor; FACTORS] = {
        use Factor::*;
        [
            OfferingDemand,
            EquityDemand,
            Donations,
            ComputePrice,
            ComputeVolatility,
            PeopleCost,
            ResearchNeed,
            Delay,
            NeverLive,
            Revenue,
            ServicePrice,
            ServiceVolatility,
            Elasticity,
            CryptoPrice,
            CryptoVolatility,
            Injunction,
            Penalty,
            Run,
            RunShare,
            DonorLeaves,
            CashBreak,
            CashLoss,
            SpendRate,
            ExitMultiple,
        ]
    };

    /// Of that key in a study.
    pub fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|factor| factor.meaning().key == key)
    }

    /// What it is called and where it may lie.
    pub fn meaning(self) -> Meaning {
        use Factor::*;
        let (key, unit, neutral, least, most) = match self {
            OfferingDemand => ("offering_demand", "×", 1.0, 0.0, 1e3),
            EquityDemand => ("equity_demand", "×", 1.0, 0.0, 1e3),
            Donations => ("donations", "×", 1.0, 0.0, 1e3),
            ComputePrice => ("compute_price", "a year", 0.0, -0.99, 9.0),
            ComputeVolatility => ("compute_volatility", "log, a year", 0.0, 0.0, 3.0),
            PeopleCost => ("people_cost", "×", 1.0, 0.0, 1e3),
            ResearchNeed => ("research_need", "×", 1.0, 0.0, 1e3),
            Delay => ("delay", "months", 0.0, -600.0, 600.0),
            NeverLive => ("never_live", "probability", 0.0, 0.0, 1.0),
            Revenue => ("revenue", "×", 1.0, 0.0, 1e4),
            ServicePrice => ("service_price", "a year", 0.0, -0.99, 9.0),
            ServiceVolatility => ("service_volatility", "log, a year", 0.0, 0.0, 3.0),
            Elasticity => ("elasticity", "", 1.0, 0.0, 5.0),
            CryptoPrice => ("crypto_price", "a year", 0.0, -0.99, 99.0),
            CryptoVolatility => ("crypto_volatility", "log, a year", 0.0, 0.0, 3.0),
            Injunction => ("injunction", "a year", 0.0, 0.0, 100.0),
            Penalty => ("penalty", "part", 0.0, 0.0, 1.0),
            Run => ("run", "a year", 0.0, 0.0, 100.0),
            RunShare => ("run_share", "part", 0.5, 0.0, 1.0),
            DonorLeaves => ("donor_leaves", "a year", 0.0, 0.0, 100.0),
            CashBreak => ("cash_break", "a year", 0.0, 0.0, 100.0),
            CashLoss => ("cash_loss", "part", 0.0, 0.0, 1.0),
            SpendRate => ("spend_rate", "a month", 0.1, 0.0, 1.0),
            ExitMultiple => ("exit_multiple", "× revenue of a year", 0.0, 0.0, 1e3),
        };
        Meaning { key, unit, neutral, least, most }
    }

    /// Its number.
    pub fn index(self) -> usize {
        self as usize
    }
}
