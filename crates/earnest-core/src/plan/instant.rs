//! Instants as a plan writes them, `2026-09-01T12:00:00Z`, to and from seconds since the Unix epoch; from 1970
//! to the last second that fits 32 bits (2106-02-07). For reading only: words are in [`super::date`].

use toml::value::{Datetime, Offset};

use super::Time;
use super::date::civil;
use super::fault::Wrong;

/// Seconds in a day.
pub const DAY_SECS: u64 = 86_400;
/// The last instant a plan may name: contracts store instants in 32 bits.
pub const LAST: Time = u32::MAX as Time;

/// Days before each month of a year that is not a leap year.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// As it could be put into a plan.
pub fn show(time: Time) -> String {
    let (year, month, day) = civil(time / DAY_SECS);
    let secs = time % DAY_SECS;
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads what [`show`] writes, or the same instant with another offset. The error says what would be right.
pub fn parse(text: &str) -> Result<Time, String> {
    let date_time = text.parse::<Datetime>().map_err(|error| error.to_string())?;
    read(&date_time).map_err(|wrong| format!("{}: {}", wrong.message, wrong.hint))
}

/// Reads a TOML date with time and offset.
pub(super) fn read(date_time: &Datetime) -> Result<Time, Wrong> {
    let (Some(date), Some(time), Some(offset)) = (date_time.date, date_time.time, date_time.offset) else {
        return Err(no_offset(date_time));
    };
    if time.nanosecond.unwrap_or(0) != 0 {
        return Err(Wrong::new("a plan's instants are whole seconds", "leave the fraction out"));
    }
    let out_of_range = || Wrong::new("out of range", "dates run from 1970-01-01 to 2106-02-07");
    if date.year < 1970 {
        return Err(out_of_range());
    }
    if time.second == Some(60) {
        return Err(Wrong::new("chains know no leap seconds", "write 59"));
    }
    let east_of_utc_secs = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let days = days_since_epoch(u64::from(date.year), usize::from(date.month), u64::from(date.day));
    let of_day =
        u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60 + u64::from(time.second.unwrap_or(0));
    (days * DAY_SECS + of_day)
        .checked_add_signed(-east_of_utc_secs)
        .filter(|&instant| instant <= LAST)
        .ok_or_else(out_of_range)
}

fn no_offset(date_time: &Datetime) -> Wrong {
    let example = match date_time.date {
        Some(date) => format!("{date}T00:00:00Z"),
        None => "2026-09-01T00:00:00Z".to_owned(),
    };
    Wrong::new("a date without time and offset does not name one instant", format!("write {example}"))
}

/// Days from 1970-01-01. The parser has already refused months and days that do not exist.
fn days_since_epoch(year: u64, month: usize, day: u64) -> u64 {
    let leap_years_to = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_years_to(year) > leap_years_to(year - 1);
    let before_year = (year - 1970) * 365 + leap_years_to(year - 1) - leap_years_to(1969);
    let before_month = DAYS_BEFORE[(month - 1) % 12] + u64::from(month > 2 && is_leap);
    before_year + before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_shown_exactly() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2018-01-29T00:00:00Z", 1_517_184_000),
            ("2026-06-30T12:34:56Z", 1_782_822_896),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(read(&text.parse().unwrap()), Ok(time), "{text}");
            assert_eq!(show(time), text);
        }
    }

    #[test]
    fn every_day_comes_back() {
        for day in 0..=LAST / DAY_SECS {
            assert_eq!(read(&show(day * DAY_SECS).parse().unwrap()), Ok(day * DAY_SECS));
        }
    }

    #[test]
    fn an_offset_is_taken_into_account() {
        let noon_in_california: Datetime = "2017-08-10T12:00:00-07:00".parse().unwrap();
        assert_eq!(show(read(&noon_in_california).unwrap()), "2017-08-10T19:00:00Z");
    }

    #[test]
    fn a_date_that_names_no_instant_or_none_in_range_is_refused() {
        for text in ["2026-09-01", "2026-09-01T00:00:00", "12:00:00", "1969-12-31T23:00:00Z"]
            .into_iter()
            .chain(["1970-01-01T00:00:00+01:00", "2106-02-08T00:00:00Z", "2026-01-01T00:00:00.5Z"])
        {
            assert!(read(&text.parse().unwrap()).is_err(), "{text}");
        }
    }
}
