//! Times and lengths of time in words: `2018-01-29 00:00 UTC`, `1 day 6 hours`. Gregorian calendar, UTC, no leap
//! seconds, as on the chain. Nothing is rounded.

use super::Time;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The calendar repeats every 400 years.
const DAYS_IN_400_YEARS: u64 = 400 * 365 + 97;

/// A time as `2018-01-29 00:00 UTC`, with seconds only where there are some.
pub fn utc(time: Time) -> String {
    let (year, month, day) = civil(time / DAY);
    let (hour, minute, second) = (time % DAY / HOUR, time % HOUR / MINUTE, time % MINUTE);
    let second = if second == 0 { String::new() } else { format!(":{second:02}") };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}{second} UTC")
}

/// A length of time as `183 days`, `1 day 6 hours` or `0 seconds`. Days are 24 hours and the largest unit, for
/// months and years differ in length.
pub fn duration(secs: u64) -> String {
    let parts = [(secs / DAY, "day"), (secs % DAY / HOUR, "hour"), (secs % HOUR / MINUTE, "minute")];
    let mut words: Vec<String> =
        parts.into_iter().filter(|&(count, _)| count > 0).map(|(count, unit)| counted(count, unit)).collect();
    if !secs.is_multiple_of(MINUTE) || words.is_empty() {
        words.push(counted(secs % MINUTE, "second"));
    }
    words.join(" ")
}

fn counted(count: u64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Year, month and day from days since 1970-01-01.
pub(super) fn civil(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / DAYS_IN_400_YEARS * 400;
    let mut rest = days % DAYS_IN_400_YEARS;
    while rest >= days_in_year(year) {
        rest -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_to_the_second() {
        for (time, shown) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_517_184_000, "2018-01-29 00:00 UTC"),
            (1_572_480_000, "2019-10-31 00:00 UTC"),
            (1_582_934_400, "2020-02-29 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (12_622_780_800, "2370-01-01 00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(time), shown);
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut before = civil(0);
        for days in 1..DAYS_IN_400_YEARS {
            let (year, month, day) = civil(days);
            let next = day == before.2 + 1 && (year, month) == (before.0, before.1);
            let month_starts = day == 1 && month == before.1 + 1 && year == before.0;
            let year_starts = (month, day) == (1, 1) && year == before.0 + 1;
            assert!(next || month_starts || year_starts, "{before:?} {year} {month} {day}");
            before = (year, month, day);
        }
        assert_eq!(before, (2369, 12, 31));
    }

    #[test]
    fn lengths_of_time_are_exact() {
        for (secs, shown) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (86_400, "1 day"),
            (15_811_200, "183 days"),
            (108_001, "1 day 6 hours 1 second"),
        ] {
            assert_eq!(duration(secs), shown);
        }
    }
}
