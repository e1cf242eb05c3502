//! The times of an answer, which are text (RFC 3339, UTC) and seconds.

use std::time::{Duration, SystemTime};

use procsched::config::parse_duration;

/// Parses a time as a supervisor writes it: `2024-01-01T12:00:00.000Z`.
pub fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let mut time = time.splitn(3, ':');
    let (hour, minute, second) = (time.next()?, time.next()?, time.next()?);
    let minutes = hour.parse::<i64>().ok()?.checked_mul(60)? + minute.parse::<i64>().ok()?;
    let days = days_since_1970(year.ok()?, month.ok()?, day.ok()?)?;
    let whole = days.checked_mul(24 * 60)?.checked_add(minutes)?;
    let start = Duration::from_secs(u64::try_from(whole.checked_mul(60)?).ok()?);
    // A duration as options have it: the digits of a float would be a table of ten kilobytes.
    let rest = parse_duration(second).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(start.checked_add(rest)?)
}

/// Counts the days from 1970-01-01 to a date of the Gregorian calendar, by the usual formula for
/// years that begin in March, so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = match month {
        ..3 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // From 0000-03-01 to 1970-01-01.
    Some(365 * year + leap_days + day_of_year - 719_468)
}

/// Returns a number of seconds of an answer; `None` if it is negative or impossible.
pub fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use procsched::utc_millis;

    #[test]
    fn times_are_parsed_as_they_are_written() {
        for seconds in [0, 951_782_400, 1_709_164_800, 1_735_689_599, 4_102_444_800] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + 250);
            assert_eq!(parse(&utc_millis(time)), Some(time));
        }
        assert_eq!(
            parse("2024-02-29T00:00:00.000Z"),
            parse("2024-02-29T00:00:00Z")
        );
    }

    #[test]
    fn other_text_has_no_time() {
        for text in [
            "",
            "now",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "T:Z",
            "9-9-9T9:9:9Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let huge = format!("2024-01-01T{}:00:00Z", i64::MAX);
        assert_eq!(parse(&huge), None);
        assert_eq!(seconds(-1.0), None);
        assert_eq!(seconds(f64::INFINITY), None);
    }
}
