//! Numbers as people say them: `1.2 billion`, `37%`, `14 months`. Rounded for reading, never for reckoning; what is no
//! number is a dash.

use crate::factor::Factor;
use crate::outcome::{Metric, Unit};

/// Where there is no number.
pub(super) const NONE: &str = "–";

/// Steps of the large numbers: from where, in words, in a letter.
const STEPS: [(f64, &str, &str); 4] =
    [(1e15, " quadrillion", "Q"), (1e12, " trillion", "T"), (1e9, " billion", "B"), (1e6, " million", "M")];

/// Two or three significant digits, large numbers in words.
pub(super) fn plain(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let size = value.abs();
    // The factor lets a number that rounds up to the next step be said in it.
    let text = match STEPS.iter().find(|(step, ..)| size >= step * 0.9995) {
        Some((step, name, _)) => digits(size / step) + name,
        None => digits(size),
    };
    signed(value, text)
}

/// The same for the scale of a chart: `1.2B`.
fn short(value: f64) -> String {
    let size = value.abs();
    let steps = STEPS.iter().chain([&(1e3, "", "k")]);
    let text = match steps.into_iter().find(|(step, ..)| size >= *step) {
        Some((step, _, letter)) => digits(size / step) + letter,
        None => digits(size),
    };
    signed(value, text)
}

fn signed(value: f64, text: String) -> String {
    if value < 0.0 && !["0", "0%"].contains(&text.as_str()) { format!("−{text}") } else { text }
}

/// A number that is not negative, without a name for its size.
fn digits(size: f64) -> String {
    if size >= 9_950.0 {
        return earnest_report::figure::grouped(&format!("{:.0}", (size / 100.0).round() * 100.0));
    }
    if size >= 999.5 {
        return earnest_report::figure::grouped(&format!("{size:.0}"));
    }
    if size >= 9.95 {
        return format!("{size:.0}");
    }
    let (mut after, mut scaled) = (1, size);
    while scaled < 0.995 && after < 7 {
        (after, scaled) = (after + 1, scaled * 10.0);
    }
    trimmed(&format!("{size:.after$}"))
}

fn trimmed(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// A part of one.
pub(super) fn percent(part: f64) -> String {
    if !part.is_finite() {
        return NONE.to_owned();
    }
    let size = part.abs() * 100.0;
    let text = match size {
        0.0 => "0%".to_owned(),
        _ if size < 0.05 && part < 0.0 => "0%".to_owned(),
        _ if size < 0.05 => "under 0.1%".to_owned(),
        _ if (99.95..100.0).contains(&size) => "over 99.9%".to_owned(),
        _ if (9.95..98.95).contains(&size) || size >= 100.0 => format!("{size:.0}%"),
        _ => trimmed(&format!("{size:.1}")) + "%",
    };
    signed(part, text)
}

fn months(value: f64) -> String {
    let text = plain(value);
    if ["1", "−1"].contains(&text.as_str()) { format!("{text} month") } else { format!("{text} months") }
}

/// A value of a metric, with its unit.
pub(super) fn value(metric: Metric, value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    match metric.meaning().unit {
        Unit::Chance | Unit::Part => percent(value),
        Unit::Cash | Unit::Hours => plain(value),
        Unit::Months => months(value),
        Unit::Ratio if metric == Metric::Multiple => plain(value) + "×",
        Unit::Ratio => plain(value),
    }
}

/// From one to another.
pub(super) fn between(metric: Metric, low: f64, high: f64) -> String {
    if !(low.is_finite() && high.is_finite()) {
        return NONE.to_owned();
    }
    joined(&value(metric, low), &value(metric, high))
}

/// `3.7 to 4.9 points`: the unit once where both have it, one number where both are the same.
pub(super) fn joined(low: &str, high: &str) -> String {
    if low == high {
        return low.to_owned();
    }
    let bounded = |text: &str| text.starts_with("under") || text.starts_with("over");
    match (low.split_once(' '), high.split_once(' ')) {
        // One point, three points.
        (Some((number, one)), Some((_, other)))
            if !bounded(low)
                && !bounded(high)
                && one.trim_end_matches('s') == other.trim_end_matches('s') =>
        {
            format!("{number} to {high}")
        }
        _ => format!("{low} to {high}"),
    }
}

/// A difference of two values, with its sign; of parts in percentage points.
pub(super) fn difference(metric: Metric, by: f64) -> String {
    if !by.is_finite() {
        return NONE.to_owned();
    }
    let text = match metric.meaning().unit {
        Unit::Chance | Unit::Part => points(by),
        _ => value(metric, by),
    };
    if by > 0.0 && !text.starts_with('0') { format!("+{text}") } else { text }
}

/// Percentage points.
pub(super) fn points(by: f64) -> String {
    let text = trimmed(&format!("{:.1}", (by * 100.0).abs()));
    let unit = if text == "1" { "point" } else { "points" };
    format!("{} {unit}", signed(by, text))
}

/// The size of a difference, without a sign.
pub(super) fn distance(metric: Metric, by: f64) -> String {
    difference(metric, by.abs()).trim_start_matches('+').to_owned()
}

/// On the scale of a chart.
pub(super) fn tick(metric: Metric, value: f64) -> String {
    match metric.meaning().unit {
        Unit::Chance | Unit::Part => percent(value),
        _ => short(value),
    }
}

/// A value of a factor, with its unit.
pub(super) fn of_factor(key: &str, value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    match Factor::of(key).map_or("", |factor| factor.meaning().unit) {
        "" => plain(value),
        "×" => plain(value) + "×",
        "probability" | "part" => percent(value),
        "months" => months(value),
        unit => format!("{} {unit}", plain(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        let said = [
            (0.0, "0"),
            (0.0288, "0.029"),
            (0.26, "0.26"),
            (1.75, "1.8"),
            (9.96, "10"),
            (48.2, "48"),
            (1_234.0, "1,234"),
            (12_345.0, "12,300"),
            (999_600.0, "1 million"),
            (1.23e9, "1.2 billion"),
            (-348e6, "−348 million"),
            (999.6e6, "1 billion"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in said {
            assert_eq!(plain(value), text);
        }
    }

    #[test]
    fn a_part_is_never_said_to_be_all_or_nothing_unless_it_is() {
        let said = [
            (0.0, "0%"),
            (0.0004, "under 0.1%"),
            (0.018, "1.8%"),
            (0.4215, "42%"),
            (0.9194, "92%"),
            (0.9999, "over 99.9%"),
        ];
        for (part, text) in said {
            assert_eq!(percent(part), text);
        }
        assert_eq!(percent(-0.0001), "0%");
        assert_eq!((percent(1.0), percent(-0.02)), ("100%".to_owned(), "−2%".to_owned()));
    }

    #[test]
    fn a_unit_is_said_once() {
        assert_eq!(between(Metric::Runway, 3.0, 14.0), "3 to 14 months");
        assert_eq!(between(Metric::Raised, 9e8, 1.1e9), "900 million to 1.1 billion");
        assert_eq!(between(Metric::Funded, 0.101, 0.102), "10%");
        assert_eq!(joined("−1 point", "3 points"), "−1 to 3 points");
        assert_eq!(joined("under 0.1%", "3%"), "under 0.1% to 3%");
    }

    #[test]
    fn differences_have_a_sign_and_parts_differ_by_points() {
        assert_eq!(difference(Metric::Funded, 0.142), "+14.2 points");
        assert_eq!(difference(Metric::Funded, -0.01), "−1 point");
        assert_eq!(difference(Metric::Runway, -1.0), "−1 month");
        assert_eq!(distance(Metric::Raised, -2.5e9), "2.5 billion");
        assert_eq!(of_factor("injunction", 0.03), "0.03 a year");
        assert_eq!(of_factor("never_live", 0.25), "25%");
    }
}
