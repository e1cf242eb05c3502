//! The parts that stand alone: durations, suggestions, the scanner.

use std::path::Path;
use std::time::Duration;

use crate::config::Control;
use crate::config::duration::{from_number, from_text};
use crate::config::errors::Place;
use crate::config::scan::{Kind, scan};
use crate::text::nearest;

const NANO: Duration = Duration::from_nanos(1);

#[test]
fn numbers_are_seconds() {
    for (number, expected) in [
        ("0", Duration::ZERO),
        ("-0", Duration::ZERO),
        ("-0.0", Duration::ZERO),
        ("5", Duration::from_secs(5)),
        ("0.25", Duration::from_millis(250)),
        ("1e3", Duration::from_secs(1000)),
        ("0e0", Duration::ZERO),
        ("0.0E5", Duration::ZERO),
        ("15E-1", Duration::from_millis(1500)),
        ("0.000000001", NANO),
        ("1e-9", NANO),
        ("4e-10", Duration::ZERO),
        ("1e-400", Duration::ZERO),
        ("1e19", Duration::from_secs(10_000_000_000_000_000_000)),
        (
            "9007199254740993",
            Duration::from_secs(9_007_199_254_740_993),
        ),
        ("18446744073709551615", Duration::from_secs(u64::MAX)),
    ] {
        assert_eq!(from_number(number), Ok(expected), "{number}");
    }
}

/// Found by the fuzzer: "9223372036854775807ms" was taken as it is, and the same time in seconds
/// went through an `f64`, which made it 193 ms longer.
#[test]
fn a_fraction_is_as_exact_as_a_whole_number() {
    let exact = from_text("9223372036854775807ms");
    assert_eq!(exact, Ok(Duration::from_millis(i64::MAX as u64)));
    assert_eq!(from_number("9223372036854775.807"), exact);
    let zeros = "0".repeat(1000);
    let longest = Duration::new(u64::MAX, 999_999_999);
    for (number, expected) in [
        ("18446744073709551615.999999999".to_owned(), longest),
        // Of a fraction nine digits count.
        (format!("18446744073709551615.{}", "9".repeat(100)), longest),
        ("4.9999999995".to_owned(), Duration::new(4, 999_999_999)),
        (
            "0.33333333333333333333".to_owned(),
            Duration::from_nanos(333_333_333),
        ),
        (format!("{zeros}1.{zeros}"), Duration::from_secs(1)),
        // With an exponent it is as exact as an f64.
        (format!("0.{zeros}1e1001"), Duration::from_secs(1)),
        ("0e999999999999999999999".to_owned(), Duration::ZERO),
        ("1e-99999999999999999999".to_owned(), Duration::ZERO),
    ] {
        assert_eq!(from_number(&number), Ok(expected), "{number}");
    }
    assert_eq!(from_text("0.5m"), Ok(Duration::from_secs(30)));
    assert_eq!(
        from_text("5124095576030430.5h"),
        Ok(Duration::from_secs(18_446_744_073_709_549_800))
    );
}

#[test]
fn strings_have_a_unit() {
    #[rustfmt::skip]
    let table = [
        ("500ms", Duration::from_millis(500)),
        ("8s", Duration::from_secs(8)),
        ("2m", Duration::from_secs(120)),
        ("1h", Duration::from_secs(3600)),
        ("0ms", Duration::ZERO),
        ("1.5s", Duration::from_millis(1500)),
        ("0.1s", Duration::from_millis(100)),
        ("0.5ms", Duration::from_micros(500)),
        ("0.25h", Duration::from_secs(900)),
        ("007m", Duration::from_secs(420)),
        ("1m30s", Duration::from_secs(90)),
        ("1h2m3s4ms", Duration::from_millis(3_723_004)),
        ("1h0.5s", Duration::from_millis(3_600_500)),
        ("0m0s", Duration::ZERO),
        ("18446744073709551615s", Duration::from_secs(u64::MAX)),
        ("18446744073709551615ms", Duration::new(18_446_744_073_709_551, 615_000_000)),
        ("5124095576030431h", Duration::from_secs(18_446_744_073_709_551_600)),
    ];
    for (text, expected) in table {
        assert_eq!(from_text(text), Ok(expected), "{text}");
    }
}

#[test]
fn no_number_of_seconds() {
    let most = "expected at most 18446744073709551615 seconds";
    for (number, expected) in [
        ("-1", "expected 0 or more"),
        ("-1e-300", "expected 0 or more"),
        ("-1e999", "expected 0 or more"),
        ("18446744073709551616", most),
        ("1e20", most),
        ("1e999", most),
    ] {
        let expected = format!("invalid duration {number}: {expected}");
        assert_eq!(from_number(number), Err(expected));
    }
}

#[test]
fn no_duration() {
    let spellings = [
        "", " ", "s", ".", "5", "8 s", " 8s", "8s ", "8S", "8sec", "1d", "-5s", "+5s", ".5s",
        "5.s", "1.2.3s", "1e3s", "infs", "nans", "0x5s", "5\u{b5}s", "\u{665}s", "5\0s", "1m30",
        "30s1m", "1s1s", "1m 30s", "1m-30s", "1ms1s",
    ];
    for text in spellings {
        let expected = format!(
            r#"invalid duration {text:?}: expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#
        );
        assert_eq!(from_text(text), Err(expected), "{text:?}");
    }
    let nines = "9".repeat(400);
    for text in [
        "5124095576030432h",
        "5124095576030431h15s1000ms",
        "18446744073709551615m",
        &format!("{nines}s"),
        &format!("{nines}.5ms"),
    ] {
        let shown = match text.get(..64) {
            None => text.to_owned(),
            Some(start) => format!("{start}…"),
        };
        let expected =
            format!("invalid duration {shown:?}: expected at most 18446744073709551615 seconds");
        assert_eq!(from_text(text), Err(expected));
    }
}

#[test]
fn the_nearest_word() {
    let keys = [
        "command",
        "cwd",
        "env",
        "restart",
        "stop_signal",
        "stop_timeout",
        "delay",
    ];
    for (given, expected) in [
        ("comand", Some("command")),
        ("Command", Some("command")),
        ("commands", Some("command")),
        ("evn", Some("env")),
        ("environment", Some("env")),
        ("restrat", Some("restart")),
        ("stop-timeout", Some("stop_timeout")),
        ("stopTimeout", Some("stop_timeout")),
        ("stopsignal", Some("stop_signal")),
        ("stop", Some("stop_signal")),
        ("autorestart", None),
        ("directory", None),
        ("en", Some("env")),
        ("e", None),
        ("", None),
        ("日本", None),
        // Of the slips each counts once, wherever in the word it is, and they are added up.
        ("dleay", Some("delay")),
        ("edlay", Some("delay")),
        ("delya", Some("delay")),
        // Two slips are too many for a short word.
        ("edlax", None),
        ("edlya", None),
    ] {
        assert_eq!(nearest(given, keys), expected, "{given:?}");
    }
    assert_eq!(nearest(&"c".repeat(1_000_000), keys), None);
    assert_eq!(
        nearest("on-fail", ["always", "on-failure"]),
        Some("on-failure")
    );
    assert_eq!(nearest("x", []), None);
    // The best, and the first of two.
    assert_eq!(nearest("cat", ["car", "cat"]), Some("cat"));
    assert_eq!(nearest("cat", ["cat", "car"]), Some("cat"));
    assert_eq!(nearest("cut", ["cat", "cot"]), Some("cat"));
    let long = |chars: usize| "restart".to_owned() + &"x".repeat(chars - "restart".len());
    assert_eq!(nearest(&long(64), ["restart"]), Some("restart"));
    assert_eq!(nearest(&long(65), ["restart"]), None);
}

fn place(line: usize, column: usize) -> Place {
    Place { line, column }
}

#[test]
fn the_tree_has_places_order_and_duplicates() {
    let text = "{\"b\": [1.0, -2e+3 ,\"é\\\"\\u00e9\" ],\r\n\t\"é\":{ } , \"b\" :null}";
    let root = scan(text).unwrap();
    assert_eq!(root.place, place(1, 1));
    let Kind::Object(entries) = root.kind else {
        panic!("{root:?}");
    };
    let keys: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.key, entry.place))
        .collect();
    assert_eq!(
        keys,
        [("b", place(1, 2)), ("é", place(2, 2)), ("b", place(2, 12))]
    );
    let Kind::Array(values) = &entries[0].value.kind else {
        panic!("{entries:?}");
    };
    let values: Vec<_> = values.iter().map(|node| (node.place, &node.kind)).collect();
    assert_eq!(
        values,
        [
            (place(1, 8), &Kind::Number("1.0")),
            (place(1, 13), &Kind::Number("-2e+3")),
            (place(1, 20), &Kind::String("é\"é".to_owned())),
        ]
    );
    assert_eq!(entries[1].value.place, place(2, 6));
    assert_eq!(entries[1].value.kind, Kind::Object(Vec::new()));
    assert_eq!(
        (entries[2].value.place, &entries[2].value.kind),
        (place(2, 17), &Kind::Null)
    );
}

/// A client looks for the socket alone: a config that is being edited still says where it is.
#[test]
fn the_socket_is_found_whatever_else_is_wrong() {
    let of = |text: &str| Control::parse(text.as_bytes(), "f", Path::new("/etc"));
    let path = |path: &str| Ok(Control::Path(path.into()));
    for (text, expected) in [
        ("{}", Ok(Control::Default)),
        (
            "{\"programs\": {\"w\": 7}, \"control\": false}",
            Ok(Control::Off),
        ),
        (
            "{\"control\": \"c\", \"unknown\": [{\"control\": 1}, \"}\"]}",
            path("/etc/c"),
        ),
        (
            "// \"\n{\"a\": {\"control\": \"x\"}, /* } */ \"control\": \"c\",}",
            path("/etc/c"),
        ),
        (
            "{\"control\": \"c\", \"defaults\": [1 2 {]}, \"base_dir\": \"/b\"}",
            path("/b/c"),
        ),
        ("{\"control\": \"/c\"} what follows", path("/c")),
    ] {
        assert_eq!(of(text), expected, "{text}");
    }
    for (text, expected) in [
        ("", "f:1:1: error: the file is empty: "),
        ("{\"a\": [", "f:1:7: error: cannot be read as JSON: "),
        ("[]", "f:1:1: error: expected an object"),
        (
            "{\"control\": true}",
            "f:1:13: error: control: expected the path",
        ),
        (
            "{\"control\": \"a\", \"control\": \"b\"}",
            "f:1:18: error: control: duplicate key",
        ),
        (
            "{\"base_dir\": 1}",
            "f:1:14: error: base_dir: expected a string",
        ),
    ] {
        let errors = of(text).expect_err(text).to_string();
        assert!(errors.starts_with(expected), "{errors}");
    }
}

#[test]
fn the_scanner_stops_where_it_cannot_go_on() {
    for (text, expected) in [
        ("", place(1, 1)),
        (" \n ", place(2, 2)),
        ("nope", place(1, 5)),
        ("\"abc", place(1, 5)),
        ("\"\\", place(1, 3)),
        ("\"\\ud800\"", place(1, 9)),
        ("[1", place(1, 3)),
        ("{\"a\" 1}", place(1, 6)),
        ("{\"a\":", place(1, 6)),
        ("{1}", place(1, 2)),
    ] {
        assert_eq!(scan(text), Err(expected), "{text:?}");
    }
    let deep = "[".repeat(1_000_000);
    assert_eq!(scan(&deep), Err(place(1, 130)));
    let deep = "{\"\":".repeat(1_000);
    assert_eq!(scan(&deep), Err(place(1, 4 * 129 + 1)));
}
