//! Every error of a program, with its place and its words.

use super::parse;
use super::refused::check;

/// Checks the error of a file whose only program has `keys` in line 2, next to its command.
fn check_keys(keys: &str, expected: &str) {
    let text = format!("{{\"programs\": {{\"web\": {{\"command\": [\"a\"],\n{keys}}}}}}}");
    check(&text, &[expected]);
}

/// What is said of the values of a key, each at its beginning.
fn check_values(key: &str, cases: &[(&str, &str)]) {
    for (value, expected) in cases {
        let keys = format!("\"{key}\": {value}");
        let column = keys.len() - value.len() + 1;
        check_keys(
            &keys,
            &format!("2:{column}: programs.web.{key}: {expected}"),
        );
    }
}

#[test]
fn names_of_programs() {
    let rule = "use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit";
    let long = "n".repeat(65);
    #[rustfmt::skip]
    let table = [
        ("", r#""""#, "the name is empty".to_owned()),
        ("../a", r#""../a""#, "a name cannot have '/' in it".into()),
        ("a b", r#""a b""#, "a name cannot have ' ' in it".into()),
        ("ä", r#""ä""#, "a name cannot have 'ä' in it".into()),
        ("a\\u0000", r#""a\0""#, "a name cannot have '\\0' in it".into()),
        (".a", r#"".a""#, "a name cannot begin with '.'".into()),
        ("-a", "-a", "a name cannot begin with '-'".into()),
        (&long, &format!("{}…", &long[..64]), "the name has 65 bytes".into()),
    ];
    for (name, path, problem) in table {
        let expected = format!("1:15: programs.{path}: {problem}: {rule}");
        check(
            &format!(r#"{{"programs": {{"{name}": ["a"]}}}}"#),
            &[&expected],
        );
    }
    for name in ["a", "0", "A.b_c@d-e", &long[..64]] {
        assert!(
            parse(&format!(r#"{{"programs": {{"{name}": ["a"]}}}}"#)).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn commands() {
    let either = r#"expected an array such as ["program", "argument"], or an object, got"#;
    let array = r#"expected an array such as ["program", "argument"], got"#;
    let missing = r#"the key "command" is missing: give an array such as ["program", "argument"]"#;
    #[rustfmt::skip]
    let table = [
        ("null", format!("1:20: programs.w: {either} null")),
        ("false", format!("1:20: programs.w: {either} false")),
        (r#""a b""#, format!(r#"1:20: programs.w: {either} "a b""#)),
        ("{}", format!("1:20: programs.w: {missing}")),
        (r#"{"x-command": ["a"]}"#, format!("1:20: programs.w: {missing}")),
        ("[]", "1:20: programs.w: the command is empty: give at least the program".into()),
        (r#"["", "a"]"#, "1:21: programs.w[0]: the program to run is an empty string".into()),
        (
            r#"["a", "b\u0000"]"#,
            "1:26: programs.w[1]: an argument cannot have a NUL byte in it".into(),
        ),
        (r#"["a", 80]"#, "1:26: programs.w[1]: expected a string in quotes, got 80".into()),
        (r#"["a", ["b"]]"#, "1:26: programs.w[1]: expected a string, got an array".into()),
        (r#"{"command": "a b"}"#, format!(r#"1:32: programs.w.command: {array} "a b""#)),
        (r#"{"command": {"a": 1}}"#, format!("1:32: programs.w.command: {array} an object")),
        (
            r#"{"command": []}"#,
            "1:32: programs.w.command: the command is empty: give at least the program".into(),
        ),
    ];
    for (program, expected) in table {
        check(
            &format!(r#"{{"programs": {{"w": {program}}}}}"#),
            &[&expected],
        );
    }
    assert!(
        parse(r#"{"programs": {"w": ["a", ""]}}"#).is_ok(),
        "an argument may be empty"
    );
}

#[test]
fn plain_values() {
    check_values(
        "cwd",
        &[
            (r#""""#, "the directory is an empty string"),
            ("true", "expected a string in quotes, got true"),
            (r#""a\u0000""#, "a path cannot have a NUL byte in it"),
        ],
    );
    check_values(
        "essential",
        &[
            (r#""yes""#, r#"expected true or false, got "yes""#),
            ("1", "expected true or false, got 1"),
            ("null", "expected true or false, got null"),
        ],
    );
    let names = r#""always", "on-failure" or "never""#;
    check_values(
        "restart",
        &[
            ("null", &format!("expected {names}, got null")),
            ("true", &format!("expected {names}, got true")),
            (r#""no""#, &format!(r#"unknown value "no": use {names}"#)),
            (
                r#""Always\n""#,
                r#"unknown value "Always\n" (did you mean "always"?)"#,
            ),
        ],
    );
}

#[test]
fn numbers() {
    let seconds = r#"a number of seconds, or "500ms", "8s", "1m30s", "1h""#;
    let most = "expected at most 18446744073709551615 seconds";
    let durations = [
        ("null", &*format!("expected {seconds}, got null")),
        ("[5]", &format!("expected {seconds}, got an array")),
        (
            r#""8 s""#,
            &format!(r#"invalid duration "8 s": expected {seconds}"#),
        ),
        ("-0.5", "invalid duration -0.5: expected 0 or more"),
        ("1e300", &format!("invalid duration 1e300: {most}")),
        (
            r#""1e3s""#,
            &format!(r#"invalid duration "1e3s": expected {seconds}"#),
        ),
    ];
    check_values("stop_timeout", &durations);
    for key in ["initial", "max", "reset_after"] {
        for (value, expected) in durations {
            let start = format!("\"backoff\": {{\"{key}\": ");
            let place = format!("2:{}: programs.web.backoff.{key}", start.len() + 1);
            check_keys(
                &format!("{start}{value}}}"),
                &format!("{place}: {expected}"),
            );
        }
    }
    let bytes = "expected a whole number from 0 to 524288, got";
    check_values(
        "report_bytes",
        &[
            (
                "524289",
                "524289 bytes are more than a report can carry: use at most 524288",
            ),
            (r#""4k""#, &format!(r#"{bytes} "4k""#)),
            ("-1", &format!("{bytes} -1")),
            ("1.0", &format!("{bytes} 1.0")),
            ("null", &format!("{bytes} null")),
            (
                "99999999999999999999",
                &format!("{bytes} 99999999999999999999"),
            ),
        ],
    );
}

#[test]
fn signals() {
    let expected = r#"expected a signal such as "TERM", or its number, got"#;
    let a_name = r#"use a name such as "TERM", or a number from 1 to 64"#;
    check_values(
        "stop_signal",
        &[
            ("null", &format!("{expected} null")),
            ("1.5", &format!("{expected} 1.5")),
            ("9999999999", &format!("{expected} 9999999999")),
            ("0", "invalid signal 0: expected 1 to 64"),
            ("-9", "invalid signal -9: expected 1 to 64"),
            ("65", "invalid signal 65: expected 1 to 64"),
            (
                r#""SIGTREM""#,
                r#"unknown signal "SIGTREM" (did you mean "TERM"?)"#,
            ),
            (
                r#""RTMIN+31""#,
                r#"unknown signal "RTMIN+31" (did you mean "RTMIN+1"?)"#,
            ),
            (
                r#""15""#,
                r#"unknown signal "15": write 15 without the quotes"#,
            ),
            (r#""65""#, "invalid signal 65: expected 1 to 64"),
            // Not STOP, which would be refused.
            (r#""STP""#, &format!(r#"unknown signal "STP": {a_name}"#)),
            (r#""SIG""#, &format!(r#"unknown signal "SIG": {a_name}"#)),
            (r#""""#, &format!(r#"unknown signal "": {a_name}"#)),
        ],
    );
}

#[test]
fn variables() {
    check_values(
        "env",
        &[(r#"["A=1"]"#, "expected an object of strings, got an array")],
    );
    #[rustfmt::skip]
    let table = [
        (r#""A": 1"#, "2:14: programs.web.env.A: expected a string in quotes, got 1"),
        (r#""A": null"#, "2:14: programs.web.env.A: expected a string, got null"),
        (r#""": "1""#, r#"2:9: programs.web.env."": a variable needs a name"#),
        (r#""A=B": "1""#, r#"2:9: programs.web.env."A=B": the name "A=B" cannot have "=" in it"#),
        (
            r#""A\u0000": "1""#,
            r#"2:9: programs.web.env."A\0": a variable cannot have a NUL byte in it"#,
        ),
        (r#""A": "\u0000""#, "2:14: programs.web.env.A: a variable cannot have a NUL byte in it"),
    ];
    for (env, expected) in table {
        check_keys(&format!("\"env\": {{{env}}}"), expected);
    }
}

#[test]
fn the_order_of_delays() {
    let hint = "raise max or lower initial";
    let at = "programs.web.backoff";
    for (backoff, expected) in [
        (
            r#"{"max": 1, "initial": "1001ms"}"#,
            format!("2:20: {at}.max: max (1s) is below initial (1.001s): {hint}"),
        ),
        (
            r#"{"initial": "2m"}"#,
            format!(
                "2:24: {at}.initial: max (60s) is below initial (120s): {hint}; max is the built-in one"
            ),
        ),
        (
            r#"{"max": 0}"#,
            format!(
                "2:20: {at}.max: max (0ns) is below initial (1s): {hint}; initial is the built-in one"
            ),
        ),
        (
            r#""1s""#,
            format!(
                r#"2:12: {at}: expected an object such as {{"initial": "1s", "max": "60s"}}, got "1s""#
            ),
        ),
        // What could not be read says nothing about the order.
        (
            r#"{"initial": 90, "max": "5min"}"#,
            format!(
                r#"2:35: {at}.max: invalid duration "5min": expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#
            ),
        ),
    ] {
        check_keys(&format!("\"backoff\": {backoff}"), &expected);
    }
}

#[test]
fn the_order_of_delays_with_defaults() {
    let hint = "raise max or lower initial";
    let wrong = "is below initial";
    for (defaults, program, expected) in [
        // Reported once, at its place, however many programs inherit it.
        (
            r#"{"initial": 9, "max": 5}"#,
            "{}",
            format!("1:51: defaults.backoff.max: max (5s) {wrong} (9s): {hint}"),
        ),
        (
            r#"{"initial": 90}"#,
            "{}",
            format!(
                "1:41: defaults.backoff.initial: max (60s) {wrong} (90s): {hint}; max is the built-in one"
            ),
        ),
        (
            r#"{"initial": 9, "max": 10}"#,
            r#"{"max": 5}"#,
            format!(
                "3:14: programs.b.backoff.max: max (5s) {wrong} (9s): {hint}; initial is that of \"defaults\""
            ),
        ),
        (
            r#"{"max": 10}"#,
            r#"{"initial": 12}"#,
            format!(
                "3:18: programs.b.backoff.initial: max (10s) {wrong} (12s): {hint}; max is that of \"defaults\""
            ),
        ),
    ] {
        let text = format!(
            "{{\"defaults\": {{\"backoff\":    {defaults}}},\n\"programs\": {{\"a\": [\"a\"], \"c\": [\"a\"], \"b\": {{\"command\": [\"a\"], \"backoff\":\n     {program}}}}}}}"
        );
        check(&text, &[&expected]);
    }
}

/// A delay of the defaults that cannot be read is one error, and no reason for another.
#[test]
fn a_delay_of_the_defaults_that_cannot_be_read() {
    let text = r#"{"defaults": {"backoff": {"max": "5min"}},
        "programs": {"a": ["a"], "b": {"command": ["a"], "backoff": {"initial": 90}}}}"#;
    check(
        text,
        &[
            r#"1:34: defaults.backoff.max: invalid duration "5min": expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#,
        ],
    );
}
