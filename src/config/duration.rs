//! Durations: a number of seconds, or a string with a unit.
//!
//! Whole numbers are exact up to `u64::MAX` seconds; fractions are rounded to a nanosecond.
//! What is longer than that is an error, not the longest duration: nobody means it.

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
    let product = match number.parse::<u64>() {
        Ok(whole) => exact(whole, unit),
        Err(_) => {
            // What is out of range has no value, but a sign.
            let value = fractional(number);
            if value < 0.0 || (value.is_nan() && number.starts_with('-')) {
                return Err("is negative: use 0 or more".to_owned());
            }
            Duration::try_from_secs_f64(value * unit.as_secs_f64()).ok()
        }
    };
    product.ok_or_else(|| format!("is too long: use at most {} seconds", u64::MAX))
}

/// By JSON's parser, which is there anyway and is a small part of the standard library's. It
/// takes no zeroes at the begin, and is exact to far less than a nanosecond.
fn fractional(number: &str) -> f64 {
    let digits = number.trim_start_matches('0');
    let is_whole = digits.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let zero = if is_whole { "" } else { "0" };
    serde_json::from_str(&format!("{zero}{digits}")).unwrap_or(f64::NAN)
}

fn exact(count: u64, unit: Duration) -> Option<Duration> {
    let nanos = u128::from(count).checked_mul(unit.as_nanos())?;
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let below = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, below))
}
