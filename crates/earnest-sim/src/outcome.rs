//! What one design came to in one future: a row of numbers, and what each of them is.

/// A number that every design has in every future; not a number where the question does not arise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// 1 where enough of the mission's hours were bought by the month it is judged, and the lab stood.
    Funded,
    /// Part of the hours planned by then that were bought.
    Mission,
    /// 1 where the lab could not pay its people.
    Ruin,
    /// Months until then, or all of them.
    Runway,
    /// Cash that, held from the start, would have bought everything when it was due.
    PeakNeed,
    /// Cash and compute that came from backers and donors, and stayed or was returned later.
    Raised,
    /// Hours of compute bought for research.
    Hours,
    /// Of them, for each unit of cash raised.
    HoursPerCash,
    /// The nonprofit's part of the votes at the end.
    Control,
    /// Its part of what the lab is worth at the end and of what was paid out.
    Kept,
    /// That, in cash.
    Value,
    /// What backers got or hold at the end, for each unit paid.
    Multiple,
    /// 1 where that is less than they paid.
    Loss,
    /// 1 where any backer got cash back out of a treasury.
    Refund,
    /// Part of what backers of offerings paid that came back in cash.
    Refunded,
    /// 1 where a regulator stopped an offering.
    Enjoined,
    /// Service that holders waited for, at its most, in months of capacity.
    Owed,
    /// Month in which the service went live; the number of months where it never did.
    Live,
    /// Sales of the service in the last twelve months.
    Revenue,
    /// Cash on hand and in the treasury at the end.
    Cash,
    /// Part of what backers of offerings paid that the lab drew.
    Drawn,
    /// Cash that a regulator took out of a treasury.
    Penalty,
    /// 1 where prices led to an amount of more than a trillion, which was cut there.
    Cut,
}

/// How many there are.
pub const METRICS: usize = 23;

/// A metric's key, unit and good direction.
pub struct Meaning {
    /// In a study and in tables.
    pub key: &'static str,
    /// In a report.
    pub title: &'static str,
    /// Of its values.
    pub unit: Unit,
    /// More is better for the lab's mission; `None`: neither.
    pub more_is_better: Option<bool>,
}

/// How values are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// 0 or 1; its mean is a probability.
    Chance,
    /// A part of a whole.
    Part,
    /// Of cash, whole.
    Cash,
    /// Of months.
    Months,
    /// Of compute.
    Hours,
    /// For each.
    Ratio,
}

impl Metric {
    /// All of them, in the order of a row.
    pub const ALL: [Metric; METRICS] = {
        use Metric::*;
        [
            Funded,
            Mission,
            Ruin,
            Runway,
            PeakNeed,
            Raised,
            Hours,
            HoursPerCash,
            Control,
            Kept,
            Value,
            Multiple,
            Loss,
            Refund,
            Refunded,
            Enjoined,
            Owed,
            Live,
            Revenue,
            Cash,
            Drawn,
            Penalty,
            Cut,
        ]
    };

    /// Its place in a row.
    pub fn index(self) -> usize {
        self as usize
    }

    /// What it is.
    pub fn meaning(self) -> Meaning {
        use Metric::*;
        let (key, title, unit, more_is_better) = match self {
            Funded => ("funded", "Mission funded", Unit::Chance, Some(true)),
            Mission => ("mission", "Part of the mission's compute bought", Unit::Part, Some(true)),
            Ruin => ("ruin", "People could not be paid", Unit::Chance, Some(false)),
            Runway => ("runway", "Months until then", Unit::Months, Some(true)),
            PeakNeed => ("peak_need", "Peak unfunded need", Unit::Cash, Some(false)),
            Raised => ("raised", "Raised", Unit::Cash, None),
            Hours => ("hours", "Compute-hours for research", Unit::Hours, Some(true)),
            HoursPerCash => ("hours_per_cash", "Compute-hours per unit raised", Unit::Ratio, Some(true)),
            Control => ("control", "The nonprofit's votes", Unit::Part, Some(true)),
            Kept => ("kept", "The nonprofit's part of the value", Unit::Part, Some(true)),
            Value => ("value", "The nonprofit's value", Unit::Cash, Some(true)),
            Multiple => ("multiple", "Backers' multiple", Unit::Ratio, None),
            Loss => ("loss", "Backers lost", Unit::Chance, Some(false)),
            Refund => ("refund", "Some cash went back to backers", Unit::Chance, None),
            Refunded => ("refunded", "Part of an offering that went back", Unit::Part, None),
            Enjoined => ("enjoined", "An offering was enjoined", Unit::Chance, None),
            Owed => ("owed", "Service waited for, at its most", Unit::Months, Some(false)),
            Live => ("live", "Month the service went live", Unit::Months, Some(false)),
            Revenue => ("revenue", "Sales in the last twelve months", Unit::Cash, Some(true)),
            Cash => ("cash", "Cash at the end", Unit::Cash, None),
            Drawn => ("drawn", "Part of an offering that the lab drew", Unit::Part, None),
            Penalty => ("penalty", "Penalty", Unit::Cash, Some(false)),
            Cut => ("cut", "An amount was cut at a trillion", Unit::Chance, None),
        };
        Meaning { key, title, unit, more_is_better }
    }
}

/// What became of one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stake {
    /// Put in, in base units of cash.
    pub paid: u64,
    /// Got out or held at the end, in base units of cash at the market's prices.
    pub worth: u64,
    /// Part of the shares at the end.
    pub shares: f64,
}

/// Numbers of one [`Stake`] in a row.
pub const STAKE: usize = 3;

/// Points of the course of the lab's cash in a row, evenly over the months.
pub const COURSE: usize = 25;

/// One design in one future.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By [`Metric`].
    pub metrics: [f64; METRICS],
    /// By instrument.
    pub stakes: Vec<Stake>,
    /// Cash on hand and in the treasury, at [`COURSE`] points.
    pub course: [f64; COURSE],
}

/// Numbers in a row of a design with so many instruments.
pub fn width(instruments: usize) -> usize {
    METRICS + STAKE * instruments + COURSE
}

impl Outcome {
    /// Written behind one another.
    pub fn row(&self, row: &mut Vec<f64>) {
        row.extend(self.metrics);
        for stake in &self.stakes {
            row.extend([whole(stake.paid), whole(stake.worth), stake.shares]);
        }
        row.extend(self.course);
    }
}

/// Base units of cash as whole cash, for statistics.
#[expect(clippy::cast_precision_loss, reason = "statistics are not amounts")]
pub fn whole(units: u64) -> f64 {
    units as f64 / 1e6
}
