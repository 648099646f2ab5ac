//! What the future may differ in: each factor has a prior in the study, of which every path draws one value. A factor
//! that a study leaves out stands still at its neutral value.

/// A factor's key, unit, neutral value and range.
#[derive(Clone, Copy)]
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

/// One line for each factor: its name, then [`Meaning`], then what it is.
macro_rules! factors {
    ($($name:ident: $key:literal, $unit:literal, $neutral:literal, $least:literal, $most:literal; $about:literal)*) => {
        /// One thing that nobody knows.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Factor {
            $(#[doc = $about] $name,)*
        }

        const MEANINGS: &[Meaning] = &[$(
            Meaning { key: $key, unit: $unit, neutral: $neutral, least: $least, most: $most },
        )*];

        impl Factor {
            /// All of them, in the order of their numbers.
            pub const ALL: [Factor; FACTORS] = [$(Factor::$name,)*];
        }
    };
}

/// How many there are.
pub const FACTORS: usize = MEANINGS.len();

factors! {
    OfferingDemand: "offering_demand", "×", 1.0, 0.0, 1e3; "Times the cash that bidders of an offering bring."
    EquityDemand: "equity_demand", "×", 1.0, 0.0, 1e3; "Times what investors bring, and times the valuation at which they come."
    Donations: "donations", "×", 1.0, 0.0, 1e3; "Times what donors give."
    ComputePrice: "compute_price", "a year", 0.0, -0.99, 9.0; "A year's change of the price of compute."
    ComputeVolatility: "compute_volatility", "log, a year", 0.0, 0.0, 3.0; "A year's log volatility of it."
    PeopleCost: "people_cost", "×", 1.0, 0.0, 1e3; "Times what people cost."
    ResearchNeed: "research_need", "×", 1.0, 0.0, 1e3; "Times the hours of compute that the mission takes."
    Delay: "delay", "months", 0.0, -600.0, 600.0; "Months by which the service is late."
    NeverLive: "never_live", "probability", 0.0, 0.0, 1.0; "Probability that there is never a service."
    Revenue: "revenue", "×", 1.0, 0.0, 1e4; "Times what customers buy."
    ServicePrice: "service_price", "a year", 0.0, -0.99, 9.0; "A year's change of the market's price of the service."
    ServiceVolatility: "service_volatility", "log, a year", 0.0, 0.0, 3.0; "A year's log volatility of it."
    Elasticity: "elasticity", "", 1.0, 0.0, 5.0; "Volume sold moves with the price to minus this power."
    CryptoPrice: "crypto_price", "a year", 0.0, -0.99, 99.0; "A year's change of the crypto coin that a treasury may hold."
    CryptoVolatility: "crypto_volatility", "log, a year", 0.0, 0.0, 3.0; "A year's log volatility of it."
    Injunction: "injunction", "a year", 0.0, 0.0, 100.0; "Injunctions a year, while an offering has undelivered positions."
    Penalty: "penalty", "part", 0.0, 0.0, 1.0; "Penalty with it, as a part of what was raised."
    Run: "run", "a year", 0.0, 0.0, 100.0; "Redemption runs a year, while an offering stands."
    RunShare: "run_share", "part", 0.5, 0.0, 1.0; "Part of the holders who run."
    DonorLeaves: "donor_leaves", "a year", 0.0, 0.0, 100.0; "Lead donors who leave, a year."
    CashBreak: "cash_break", "a year", 0.0, 0.0, 100.0; "Breaks of the cash coin, a year."
    CashLoss: "cash_loss", "part", 0.0, 0.0, 1.0; "Part of it lost then."
    SpendRate: "spend_rate", "a month", 0.1, 0.0, 1.0; "Part of their credits that holders spend in a month."
    ExitMultiple: "exit_multiple", "× revenue of a year", 0.0, 0.0, 1e3; "Value of the lab at the end, in its revenue of a year."
}

impl Factor {
    /// Of that key in a study.
    pub fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|factor| factor.meaning().key == key)
    }

    /// What it is called and where it may lie.
    pub fn meaning(self) -> Meaning {
        MEANINGS[self.index()]
    }

    /// Its number.
    pub fn index(self) -> usize {
        self as usize
    }
}
