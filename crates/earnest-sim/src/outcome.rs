//! What one design came to in one future: a row of numbers, and what each of them is.

/// A metric's key, unit and good direction.
#[derive(Clone, Copy)]
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

/// One line for each metric: its name, then [`Meaning`], then what it is.
macro_rules! metrics {
    ($($name:ident: $key:literal, $title:literal, $unit:ident, $better:expr; $about:literal)*) => {
        /// A number that every design has in every future; not a number where the question does not arise.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Metric {
            $(#[doc = $about] $name,)*
        }

        const MEANINGS: &[Meaning] = &[$(
            Meaning { key: $key, title: $title, unit: Unit::$unit, more_is_better: $better },
        )*];

        impl Metric {
            /// All of them, in the order of a row.
            pub const ALL: [Metric; METRICS] = [$(Metric::$name,)*];
        }
    };
}

/// How many there are.
pub const METRICS: usize = MEANINGS.len();

metrics! {
    Funded: "funded", "Mission funded", Chance, Some(true); "1 where enough of the mission's hours were bought by the month it is judged, and the lab stood."
    Mission: "mission", "Part of the mission's compute bought", Part, Some(true); "Part of the hours planned by then that were bought."
    Ruin: "ruin", "People could not be paid", Chance, Some(false); "1 where the lab could not pay its people."
    Runway: "runway", "Months until then", Months, Some(true); "Months until then, or all of them."
    PeakNeed: "peak_need", "Peak unfunded need", Cash, Some(false); "Cash that, held from the start, would have bought everything when it was due."
    Raised: "raised", "Raised", Cash, None; "Cash and compute that came from backers and donors, and stayed or was returned later."
    Hours: "hours", "Compute-hours for research", Hours, Some(true); "Hours of compute bought for research."
    HoursPerCash: "hours_per_cash", "Compute-hours per unit raised", Ratio, Some(true); "Of them, for each unit of cash raised."
    Control: "control", "The nonprofit's votes", Part, Some(true); "The nonprofit's part of the votes at the end."
    Kept: "kept", "The nonprofit's part of the value", Part, Some(true); "Its part of what the lab is worth at the end and of what was paid out."
    Value: "value", "The nonprofit's value", Cash, Some(true); "That, in cash."
    Multiple: "multiple", "Backers' multiple", Ratio, None; "What backers got or hold at the end, for each unit paid."
    Loss: "loss", "Backers lost", Chance, Some(false); "1 where that is less than they paid."
    Refund: "refund", "Some cash went back to backers", Chance, None; "1 where any backer got cash back out of a treasury."
    Refunded: "refunded", "Part of an offering that went back", Part, None; "Part of what backers of offerings paid that came back in cash."
    Enjoined: "enjoined", "An offering was enjoined", Chance, None; "1 where a regulator stopped an offering."
    Owed: "owed", "Service waited for, at its most", Months, Some(false); "Service that holders waited for, at its most, in months of capacity."
    Live: "live", "Month the service went live", Months, Some(false); "Month in which the service went live; the number of months where it never did."
    Revenue: "revenue", "Sales in the last twelve months", Cash, Some(true); "Sales of the service in the last twelve months."
    Cash: "cash", "Cash at the end", Cash, None; "Cash on hand and in the treasury at the end."
    Drawn: "drawn", "Part of an offering that the lab drew", Part, None; "Part of what backers of offerings paid that the lab drew."
    Penalty: "penalty", "Penalty", Cash, Some(false); "Cash that a regulator took out of a treasury."
    Cut: "cut", "An amount was cut at a trillion", Chance, None; "1 where prices led to an amount of more than a trillion, which was cut there."
}

impl Metric {
    /// Whether every design has it in every future: only then can designs be ranked by it, or the best would be the one that
    /// leaves out its worst futures.
    pub fn is_everywhere(self) -> bool {
        use Metric::*;
        !matches!(
            self,
            HoursPerCash | Kept | Multiple | Loss | Refund | Refunded | Enjoined | Drawn | Penalty
        )
    }

    /// Its place in a row.
    pub fn index(self) -> usize {
        self as usize
    }

    /// What it is.
    pub fn meaning(self) -> Meaning {
        MEANINGS[self.index()]
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
