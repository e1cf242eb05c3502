//! Durations: a number of seconds, or a string of numbers with units.
//!
//! A value is exact to the nanosecond. Of a fraction the first nine digits count; a number with an
//! exponent is as exact as an `f64`. A duration beyond `u64::MAX` seconds is an error.

use std::time::Duration;

use serde_json::Value;

use crate::text::{quoted, shortened};

/// The units in their order, each with its milliseconds.
const UNITS: [(&str, u128); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What a duration looks like.
pub(super) const EXPECTED: &str = r#"a number of seconds, or "500ms", "8s", "1m30s", "1h""#;

/// Reads a JSON number, as written: a number of seconds.
pub(super) fn from_number(number: &str) -> Result<Duration, String> {
    let invalid = |expected| format!("invalid duration {}: {expected}", shortened(number));
    let digits = number.strip_prefix('-').unwrap_or(number);
    let mantissa = digits.split(['e', 'E']).next().unwrap_or(digits);
    if digits != number && mantissa.contains(|digit| ('1'..='9').contains(&digit)) {
        return Err(invalid("expected 0 or more".to_owned()));
    }
    let length = if mantissa == digits {
        nanos(digits, 1_000).and_then(duration)
    } else {
        float(digits).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    };
    length.ok_or_else(|| invalid(expected_at_most()))
}

/// Returns a JSON number as a float. `serde_json` reads them as well as the standard library does,
/// which has a table of ten kilobytes for it.
pub(super) fn float(number: &str) -> Option<f64> {
    serde_json::from_str::<Value>(number).ok()?.as_f64()
}

/// Reads a string such as `"1m30s"`: each unit at most once, larger ones first.
pub(super) fn from_text(text: &str) -> Result<Duration, String> {
    let invalid = |expected| format!("invalid duration {}: {expected}", quoted(text));
    let (mut rest, mut units, mut sum) = (text, UNITS.iter(), Some(0_u128));
    loop {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let (number, behind) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let (name, behind) = behind.split_at(behind.find(is_number).unwrap_or(behind.len()));
        let unit = units.find(|(unit, _)| *unit == name);
        let Some((_, millis)) = unit.filter(|_| is_decimal(number)) else {
            return Err(invalid(format!("expected {EXPECTED}")));
        };
        let part = nanos(number, *millis);
        sum = sum.and_then(|sum| sum.checked_add(part?));
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    let length = sum.and_then(duration);
    length.ok_or_else(|| invalid(expected_at_most()))
}

/// What is wrong with a text that is no duration.
pub(super) fn invalid(text: &str) -> String {
    format!("invalid duration {}: expected {EXPECTED}", quoted(text))
}

fn expected_at_most() -> String {
    format!("expected at most {} seconds", u64::MAX)
}

/// True for digits, and digits with a fraction.
fn is_decimal(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction)
}

/// Converts a decimal number of units into nanoseconds, unless they overflow.
fn nanos(number: &str, millis_per_unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u128 = whole.parse().ok()?;
    let billionths: u128 = format!("{fraction:0<9.9}").parse().ok()?;
    let billionths = whole
        .checked_mul(NANOS_PER_SECOND)?
        .checked_add(billionths)?;
    Some(billionths.checked_mul(millis_per_unit)? / 1_000)
}

fn duration(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32))
}
