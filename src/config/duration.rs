//! Durations: a number of seconds, or a string with a unit.
//!
//! What is written is taken to the nanosecond, up to `u64::MAX` seconds; the rest of a fraction
//! is rounded. What is longer than that is an error, not the longest duration: nobody means it.

use std::time::Duration;

use super::errors::{quoted, shortened};

const UNITS: [(&str, Duration); 4] = [
    ("ms", Duration::from_millis(1)),
    ("s", SECOND),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
];

const SECOND: Duration = Duration::from_secs(1);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Digits behind the point that are looked at: so many of an hour are far below a nanosecond, and
/// their product with it is below 2^128.
const FRACTION_DIGITS_MAX: i64 = 25;

/// What would be right.
pub(super) const EXPECTED: &str = r#"a number of seconds, or "500ms", "8s", "2m", "1h""#;

/// A JSON number, as written, in seconds; or what is wrong with it.
pub(super) fn from_number(number: &str) -> Result<Duration, String> {
    multiple(number, SECOND).map_err(|problem| format!("{} {problem}", shortened(number)))
}

/// A string with a unit; or what is wrong with it.
pub(super) fn from_text(text: &str) -> Result<Duration, String> {
    let unknown = || format!("{} is no duration: use {EXPECTED}", quoted(text));
    let number_ends = |character: char| !character.is_ascii_digit() && character != '.';
    let (number, unit) = text.split_at(text.find(number_ends).unwrap_or(text.len()));
    let (_, unit) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(unknown)?;
    if !is_decimal(number) {
        return Err(unknown());
    }
    multiple(number, *unit).map_err(|problem| format!("{} {problem}", quoted(text)))
}

/// Digits, and more digits behind a point: fewer spellings than `f64` knows.
fn is_decimal(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction)
}

fn multiple(number: &str, unit: Duration) -> Result<Duration, String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    if !mantissa.contains(|digit| ('1'..='9').contains(&digit)) {
        return Ok(Duration::ZERO);
    }
    if mantissa.starts_with('-') {
        return Err("is negative: use 0 or more".to_owned());
    }
    nanos(mantissa, exponent, unit.as_nanos())
        .and_then(duration)
        .ok_or_else(|| format!("is too long: use at most {} seconds", u64::MAX))
}

fn duration(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let below = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, below))
}

/// How many nanoseconds these are, if they can be counted: digits that are not all 0, with a
/// point or without, of a unit that has so many. By hand, because no `f64` is exact enough.
fn nanos(mantissa: &str, exponent: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    let mut digits = digits.map(|digit| u128::from(digit & 15));
    let far = if exponent.starts_with('-') {
        i32::MIN
    } else {
        i32::MAX
    };
    let exponent = i64::from(exponent.parse().unwrap_or(far));
    // Where the point is moved to, counted from the first digit.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let mut count: u128 = 0;
    // As one of them is not 0, this ends, at the latest by an overflow.
    for _ in 0..point {
        let digit = digits.next().unwrap_or(0);
        count = count.checked_mul(10)?.checked_add(digit * unit)?;
    }
    let (mut part, mut parts) = (0, 1);
    for place in point.min(0)..point.min(0).saturating_add(FRACTION_DIGITS_MAX) {
        let digit = if place < 0 {
            0
        } else {
            digits.next().unwrap_or(0)
        };
        (part, parts) = (part * 10 + digit, parts * 10);
    }
    count.checked_add((part * unit + parts / 2) / parts)
}
