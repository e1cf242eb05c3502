//! Values as a person reads them.

use std::time::Duration;

use procsched::signal_name;

/// Returns a return code with its key: `code` and `3`, or `signal` and `SIGSEGV`.
pub fn exit_label(return_code: i32) -> (&'static str, String) {
    match return_code.checked_neg() {
        Some(signal @ 1..) => ("signal", signal_name(signal)),
        _ => ("code", return_code.to_string()),
    }
}

/// Returns a duration in its largest units: `0s 350us 350ms 12.3s 2m05s 3h12m 5d04h`.
pub fn duration(length: Duration) -> String {
    let (seconds, nanos) = (length.as_secs(), length.subsec_nanos());
    match seconds {
        0 if nanos == 0 => "0s".to_owned(),
        0 if nanos < 1_000 => format!("{nanos}ns"),
        0 if nanos < 1_000_000 => format!("{}us", nanos / 1_000),
        0 => format!("{}ms", nanos / 1_000_000),
        1..60 if nanos < 100_000_000 => format!("{seconds}s"),
        1..60 => format!("{seconds}.{}s", nanos / 100_000_000),
        60..3_600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two_units(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two_units(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small:02}{small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_codes_do_not_overflow() {
        assert_eq!(exit_label(i32::MIN), ("code", "-2147483648".to_owned()));
        assert_eq!(exit_label(-1_000), ("signal", "signal 1000".to_owned()));
    }

    #[test]
    fn durations_are_short() {
        let table = [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_micros(250), "250us"),
            (Duration::from_millis(999), "999ms"),
            (Duration::from_secs(1), "1s"),
            (Duration::from_millis(12_340), "12.3s"),
            (Duration::from_millis(59_999), "59.9s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(125), "2m05s"),
            (Duration::from_secs(3_599), "59m59s"),
            (Duration::from_secs(11_520), "3h12m"),
            (Duration::from_secs(446_400), "5d04h"),
            (Duration::MAX, "213503982334601d07h"),
        ];
        for (length, text) in table {
            assert_eq!(duration(length), text);
        }
    }
}
