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
    /// What its number is.
    pub about: &'static str,
}

/// One line for each factor: its name and its [`Meaning`].
macro_rules! factors {
    ($($name:ident: $key:literal, $unit:literal, $neutral:literal, $least:literal, $most:literal; $about:literal)*) => {
        /// One thing that nobody knows.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Factor {
            $(#[doc = $about] $name,)*
        }

        const MEANINGS: &[Meaning] = &[$(
            Meaning { key: $key, unit: $unit, neutral: $neutral, least: $least, most: $most, about: $about },
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
    OfferingDemand: "offering_demand", "×", 1.0, 0.0, 1e3; "times the cash that bidders of an offering bring"
    EquityDemand: "equity_demand", "×", 1.0, 0.0, 1e3; "times the cash and the valuation that investors bring"
    Donations: "donations", "×", 1.0, 0.0, 1e3; "times what donors give"
    ComputePrice: "compute_price", "a year", 0.0, -0.99, 9.0; "yearly change of the price of compute"
    ComputeVolatility: "compute_volatility", "log, a year", 0.0, 0.0, 3.0; "volatility of the price of compute"
    PeopleCost: "people_cost", "×", 1.0, 0.0, 1e3; "times what people cost"
    ResearchNeed: "research_need", "×", 1.0, 0.0, 1e3; "times the compute that the mission takes"
    Delay: "delay", "months", 0.0, -600.0, 600.0; "by how much the service is late"
    NeverLive: "never_live", "probability", 0.0, 0.0, 1.0; "probability that there is never a service"
    Revenue: "revenue", "×", 1.0, 0.0, 1e4; "times what customers buy"
    ServicePrice: "service_price", "a year", 0.0, -0.99, 9.0; "yearly change of the market's price of the service"
    ServiceVolatility: "service_volatility", "log, a year", 0.0, 0.0, 3.0; "volatility of the price of the service"
    Elasticity: "elasticity", "", 1.0, 0.0, 5.0; "how much more is sold when the price falls"
    CryptoPrice: "crypto_price", "a year", 0.0, -0.99, 99.0; "yearly change of the crypto coin of a treasury"
    CryptoVolatility: "crypto_volatility", "log, a year", 0.0, 0.0, 3.0; "volatility of that coin"
    Injunction: "injunction", "a year", 0.0, 0.0, 100.0; "injunctions while an offering is undelivered"
    Penalty: "penalty", "part", 0.0, 0.0, 1.0; "penalty with an injunction, of what was raised"
    Run: "run", "a year", 0.0, 0.0, 100.0; "redemption runs while an offering stands"
    RunShare: "run_share", "part", 0.5, 0.0, 1.0; "part of the holders who run"
    DonorLeaves: "donor_leaves", "a year", 0.0, 0.0, 100.0; "lead donors who leave"
    CashBreak: "cash_break", "a year", 0.0, 0.0, 100.0; "breaks of the cash coin"
    CashLoss: "cash_loss", "part", 0.0, 0.0, 1.0; "part of it lost in a break"
    SpendRate: "spend_rate", "a month", 0.1, 0.0, 1.0; "part of their credits that holders spend"
    ExitMultiple: "exit_multiple", "× revenue of a year", 0.0, 0.0, 1e3; "value of the lab at the end, in revenue"
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
