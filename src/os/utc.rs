//! Instants as text, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// The length of [`utc_millis`].
pub(crate) const UTC_BYTES: usize = 24;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Days from the first of March of the year 0 to the epoch: years that begin in March have the leap
/// day at their end.
const DAYS_TO_EPOCH: i64 = 719_468;

/// Returns an instant with milliseconds: `2024-01-01T12:00:00.000Z`. One outside of the years 0 to
/// 9999 is the nearest that is inside. Allocates nothing.
pub(crate) fn utc_millis(at: SystemTime) -> [u8; UTC_BYTES] {
    /// The first and the last second of these years.
    const SECONDS: [i64; 2] = [-62_167_219_200, 253_402_300_799];
    let (seconds, millis) = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => (
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            since.subsec_millis(),
        ),
        Err(before) => {
            let before = before.duration();
            let nanos = before.subsec_nanos();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX - 1);
            match nanos {
                0 => (-seconds, 0),
                _ => (-seconds - 1, (1_000_000_000 - nanos) / 1_000_000),
            }
        }
    };
    let seconds = seconds.clamp(SECONDS[0], SECONDS[1]);
    let (days, second) = (
        seconds.div_euclid(DAY_SECONDS),
        seconds.rem_euclid(DAY_SECONDS),
    );
    let (year, month, day) = date_of(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, digits: usize, number: i64| {
        let mut rest = number;
        for place in text[at..at + digits].iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 3, i64::from(millis));
    text
}

/// Returns year, month and day of a number of days since the epoch, by the rule that 400 years have
/// 146,097 days, 4 of them 1,461, and 5 months from March on 153.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;

    fn text(at: SystemTime) -> String {
        String::from_utf8(utc_millis(at).to_vec()).expect("ASCII")
    }

    /// The time crate says the same, of each day of 2,000 years.
    #[test]
    fn every_day_is_that_of_the_calendar() {
        for day in -400_000i64..400_000 {
            let seconds = day * DAY_SECONDS + day.rem_euclid(DAY_SECONDS);
            let millis = u64::try_from(day.rem_euclid(1000)).expect("positive");
            let whole = Duration::from_secs(seconds.unsigned_abs());
            let at = match seconds < 0 {
                true => UNIX_EPOCH - whole,
                false => UNIX_EPOCH + whole,
            } + Duration::from_millis(millis);
            let known = OffsetDateTime::from(at);
            let expected = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                known.year(),
                u8::from(known.month()),
                known.day(),
                known.hour(),
                known.minute(),
                known.second(),
                known.millisecond(),
            );
            assert_eq!(text(at), expected);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_has_a_text() {
        let far = Duration::from_secs(1 << 60);
        assert_eq!(text(UNIX_EPOCH + far), "9999-12-31T23:59:59.000Z");
        assert_eq!(
            text(UNIX_EPOCH - Duration::from_nanos(1)),
            "1969-12-31T23:59:59.999Z"
        );
    }
}
