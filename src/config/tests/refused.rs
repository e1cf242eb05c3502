//! Every error with its place and its words.

use std::path::Path;

use super::parse;
use crate::config::Config;
use crate::config::syntax::FILE_BYTES_MAX;

/// The lines that are shown for a file, without its name.
fn lines_of(bytes: &[u8]) -> Vec<String> {
    let errors = Config::parse(bytes, "f", Path::new("/")).expect_err("an error");
    let shown = errors.to_string();
    let line = |line: &str| {
        line.strip_prefix("f:")
            .expect("the name")
            .replacen("error: ", "", 1)
    };
    shown.split('\n').map(line).collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(lines_of(text.as_bytes()), expected, "{text}");
}

/// Files with `$` in the place of what stands in a program next to its command.
fn check_in_program(cases: &[(&str, &str)]) {
    for (keys, expected) in cases {
        let text = format!("{{\"programs\": {{\"web\": {{\"command\": [\"a\"],\n{keys}}}}}}}");
        check(&text, &[expected]);
    }
}

#[test]
fn the_line_of_the_documentation() {
    let text = r#"{
  "base_dir": ".",
  "programs": {
    "web": {
      "command": ["true"],
      "essential": true,
      "restart": "on-fail"
    }
  }
}"#;
    let errors = Config::parse(text.as_bytes(), "procsched.json", Path::new("/")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        r#"procsched.json:7:18: error: programs.web.restart: unknown value "on-fail" (did you mean "on-failure"?)"#
    );
    assert_eq!(format!("{errors:?}"), errors.to_string());
    let error = errors.iter().next().unwrap();
    assert_eq!((error.line(), error.column()), (7, 18));
    assert_eq!(error.path(), "programs.web.restart");
    assert_eq!(
        error.message(),
        r#"unknown value "on-fail" (did you mean "on-failure"?)"#
    );
    assert_eq!(
        error.to_string(),
        format!("{}: {}", error.path(), error.message())
    );
}

#[test]
fn what_is_no_json() {
    let empty = r#"the file is empty: begin with {"programs": {"name": ["command"]}}"#;
    let notes = r#"JSON has no comments, but keys that begin with "x-" are ignored"#;
    for (text, expected) in [
        ("", format!("1:1: {empty}")),
        ("\u{feff}", format!("1:1: {empty}")),
        (" \r\n\t\n", format!("1:1: {empty}")),
        ("{", "1:1: cannot be read as JSON: EOF while parsing an object".into()),
        ("{\r\n", "2:1: cannot be read as JSON: EOF while parsing an object".into()),
        ("{\"é", "1:3: cannot be read as JSON: EOF while parsing a string".into()),
        ("{} x", "1:4: cannot be read as JSON: trailing characters".into()),
        ("{}\n{}", "2:1: cannot be read as JSON: trailing characters".into()),
        ("{\"é\": 1,}", "1:9: cannot be read as JSON: trailing comma".into()),
        ("{\"é\" 1}", "1:6: cannot be read as JSON: expected `:`".into()),
        ("\u{feff}[\r\n 1 2]", "2:4: cannot be read as JSON: expected `,` or `]`".into()),
        ("{\"a\": tru}", "1:10: cannot be read as JSON: expected ident".into()),
        ("{\"a\": tru\n}", "1:10: cannot be read as JSON: expected ident".into()),
        ("\u{2028}", "1:1: cannot be read as JSON: expected value".into()),
        ("{ // x\n}", format!("1:3: cannot be read as JSON: key must be a string; {notes}")),
        ("# x\n{}", format!("1:1: cannot be read as JSON: expected value; {notes}")),
        (
            "{\"a\": 'b'}",
            "1:7: cannot be read as JSON: expected value; strings stand in double quotes".into(),
        ),
        ("\x7fELF\x02\x01\0", "1:1: cannot be read as JSON: expected value".into()),
        (
            "[\"a\nb\"]",
            "1:4: cannot be read as JSON: control character (\\u0000-\\u001F) found while parsing a string".into(),
        ),
    ] {
        check(text, &[&expected]);
    }
}

#[test]
fn what_is_no_text() {
    for (bytes, expected) in [
        (
            &b"\xff\xfe{\0}\0"[..],
            "1:1: not UTF-8: there is a byte 0xff here; save it as UTF-8",
        ),
        (
            b"\xef\xbb\xbf{\n\"\xc3\xa9\xc3\"}",
            "2:3: not UTF-8: there is a byte 0xc3 here; save it as UTF-8",
        ),
        (
            b"{\"a\": \xc3",
            "1:7: not UTF-8: there is a byte 0xc3 here; save it as UTF-8",
        ),
    ] {
        assert_eq!(lines_of(bytes), [expected]);
    }
}

#[test]
fn what_is_too_much() {
    let too_long = " ".repeat(FILE_BYTES_MAX + 1);
    check(
        &too_long,
        &["1:1: the file is too long: at most 16 MiB are read"],
    );
    let mut long = r#"{"programs": {"w": ["a"]}}"#.to_owned();
    long.extend(std::iter::repeat_n(' ', FILE_BYTES_MAX - long.len()));
    assert!(parse(&long).is_ok());
    let deep = "[".repeat(1_000_000);
    check(
        &deep,
        &["1:128: cannot be read as JSON: recursion limit exceeded"],
    );
    // As deep as JSON may be here: read, and refused for what it is.
    let deep = "[".repeat(127) + &"]".repeat(127);
    check(
        &deep,
        &[r#"1:1: expected an object with "programs", got an array"#],
    );
}

#[test]
fn the_file_as_a_whole() {
    let missing = r#"the key "programs" is missing: give {"name": ["program", "argument"]}"#;
    let nothing = r#"there is no program: give at least {"name": ["program", "argument"]}"#;
    for (text, expected) in [
        (
            "null",
            vec![r#"1:1: expected an object with "programs", got null"#.to_owned()],
        ),
        ("{}", vec![format!("1:1: {missing}")]),
        (r#"{"$schema": ""}"#, vec![format!("1:1: {missing}")]),
        (
            r#" {"program": {}}"#,
            vec![
                format!("1:2: {missing}"),
                r#"1:3: program: unknown key (did you mean "programs"?)"#.into(),
            ],
        ),
        (
            r#"{"programs": {}}"#,
            vec![format!("1:14: programs: {nothing}")],
        ),
        (
            r#"{"programs": {"x-web": ["a"]}}"#,
            vec![format!("1:14: programs: {nothing}")],
        ),
        (
            r#"{"programs": ["a"]}"#,
            vec![
                "1:14: programs: expected an object with a key for each program, got an array"
                    .into(),
            ],
        ),
        (
            r#"{"programs": null}"#,
            vec!["1:14: programs: expected an object with a key for each program, got null".into()],
        ),
    ] {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(text, &expected);
    }
}

#[test]
fn the_keys_of_the_file() {
    let array = r#"expected an array such as ["program", "argument"], got"#;
    for (keys, expected) in [
        (
            r#""base_dir": 5"#,
            "base_dir: expected a string in quotes, got 5",
        ),
        (
            r#""base_dir": null"#,
            "base_dir: expected a string, got null",
        ),
        (
            r#""base_dir": """#,
            "base_dir: the directory is an empty string",
        ),
        (
            r#""err_dir": """#,
            "err_dir: the directory is an empty string",
        ),
        (
            r#""err_dir": "a\u0000""#,
            "err_dir: a path cannot have a NUL byte in it",
        ),
        (
            r#""err_dir": [ ]"#,
            "err_dir: expected a string, got an array",
        ),
        (
            r#""defaults": [ ]"#,
            "defaults: expected an object, got an array",
        ),
        (
            r#""error_handler": "a b""#,
            &format!(r#"error_handler: {array} "a b""#),
        ),
        (
            r#""error_handler": []"#,
            "error_handler: the command is empty: give at least the program",
        ),
        (
            r#""error_handler": [""]"#,
            "error_handler[0]: the program to run is an empty string",
        ),
    ] {
        let text = format!("{{\"programs\": {{\"w\": [\"a\"]}},\n{keys}}}");
        let shown = lines_of(text.as_bytes());
        let column = keys.find(": ").expect("a value") + 3 + usize::from(expected.contains("[0]"));
        assert_eq!(shown, [format!("2:{column}: {expected}")], "{text}");
    }
}

#[test]
fn unknown_keys() {
    let known = "cwd, env, restart, essential, backoff, stop_signal, stop_timeout, report_bytes";
    for (text, expected) in [
        (
            r#"{"programs": {"w": ["a"]}, "restart": "never"}"#,
            "1:28: restart: unknown key: use base_dir, err_dir, error_handler, defaults, programs",
        ),
        (
            r#"{"programs": {"w": ["a"]}, "defaults": {"command": ["a"]}}"#,
            &format!("1:41: defaults.command: unknown key: use {known}"),
        ),
        (
            r#"{"programs": {"w": {"command": ["a"], "zz": 1}}}"#,
            &format!("1:39: programs.w.zz: unknown key: use command, {known}"),
        ),
        (
            r#"{"programs": {"w": {"command": ["a"], "Restart": 1}}}"#,
            r#"1:39: programs.w.Restart: unknown key (did you mean "restart"?)"#,
        ),
        (
            r#"{"programs": {"w": {"command": ["a"], "backoff": {"maximum": 1}}}}"#,
            r#"1:51: programs.w.backoff.maximum: unknown key (did you mean "max"?)"#,
        ),
        (
            r#"{"programs": {"w": ["a"]}, "a.b\u0000\n": 1}"#,
            r#"1:28: "a.b\0\n": unknown key: use base_dir, err_dir, error_handler, defaults, programs"#,
        ),
        (
            r#"{"programs": {"w": ["a"]}, "": 1}"#,
            r#"1:28: "": unknown key: use base_dir, err_dir, error_handler, defaults, programs"#,
        ),
    ] {
        check(text, &[expected]);
    }
    let long = "k".repeat(5_000);
    let text = format!(r#"{{"programs": {{"w": ["a"]}}, "{long}": 1}}"#);
    let cut = &long[..64];
    let known = "use base_dir, err_dir, error_handler, defaults, programs";
    check(&text, &[&format!("1:28: {cut}…: unknown key: {known}")]);
}

#[test]
fn duplicate_keys() {
    for (text, expected) in [
        (
            "{\"programs\": {\"w\": [\"a\"]},\n \"base_dir\": \"a\", \"base_dir\": \"a\"}",
            "2:19: base_dir: duplicate key: it stands at 2:2 already",
        ),
        (
            "{\"programs\": {\"w\": [\"a\"],\n\"\\u0077\": [\"b\"]}}",
            "2:1: programs.w: duplicate key: it stands at 1:15 already",
        ),
        (
            r#"{"programs": {"w": ["a"]}, "programs": {"w": ["a"]}}"#,
            "1:28: programs: duplicate key: it stands at 1:2 already",
        ),
        (
            r#"{"programs": {"w": {"command": ["a"], "env": {"A": "1", "A": "1"}}}}"#,
            "1:57: programs.w.env.A: duplicate key: it stands at 1:47 already",
        ),
        (
            r#"{"programs": {"w": {"command": ["a"], "backoff": {"max": 1, "max": 1}}}}"#,
            "1:61: programs.w.backoff.max: duplicate key: it stands at 1:51 already",
        ),
    ] {
        check(text, &[expected]);
    }
    // Each is looked at by itself, too.
    check(
        r#"{"programs": {"w": [], "w": [5], "w": ["a"]}}"#,
        &[
            "1:20: programs.w: the command is empty: give at least the program",
            "1:24: programs.w: duplicate key: it stands at 1:15 already",
            "1:30: programs.w[0]: expected a string in quotes, got 5",
            "1:34: programs.w: duplicate key: it stands at 1:15 already",
        ],
    );
}

#[test]
fn names_of_programs() {
    let rule = "use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit";
    let long = "n".repeat(65);
    for (name, path, problem) in [
        ("", r#""""#, "the name is empty".to_owned()),
        ("../a", r#""../a""#, "a name cannot have '/' in it".into()),
        ("a b", r#""a b""#, "a name cannot have ' ' in it".into()),
        ("ä", r#""ä""#, "a name cannot have 'ä' in it".into()),
        (
            "a\\u0000",
            r#""a\0""#,
            "a name cannot have '\\0' in it".into(),
        ),
        (".a", r#"".a""#, "a name cannot begin with '.'".into()),
        ("-a", "-a", "a name cannot begin with '-'".into()),
        (
            &long,
            &format!("{}…", &long[..64]),
            "the name has 65 bytes".into(),
        ),
    ] {
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
    for (program, expected) in [
        ("null", format!("1:20: programs.w: {either} null")),
        ("false", format!("1:20: programs.w: {either} false")),
        (r#""a b""#, format!(r#"1:20: programs.w: {either} "a b""#)),
        ("{}", format!("1:20: programs.w: {missing}")),
        (
            r#"{"x-command": ["a"]}"#,
            format!("1:20: programs.w: {missing}"),
        ),
        (
            "[]",
            "1:20: programs.w: the command is empty: give at least the program".into(),
        ),
        (
            r#"["", "a"]"#,
            "1:21: programs.w[0]: the program to run is an empty string".into(),
        ),
        (
            r#"["a", "b\u0000"]"#,
            "1:26: programs.w[1]: an argument cannot have a NUL byte in it".into(),
        ),
        (
            r#"["a", 80]"#,
            "1:26: programs.w[1]: expected a string in quotes, got 80".into(),
        ),
        (
            r#"["a", ["b"]]"#,
            "1:26: programs.w[1]: expected a string, got an array".into(),
        ),
        (
            r#"{"command": "a b"}"#,
            format!(r#"1:32: programs.w.command: {array} "a b""#),
        ),
        (
            r#"{"command": {"a": 1}}"#,
            format!("1:32: programs.w.command: {array} an object"),
        ),
        (
            r#"{"command": []}"#,
            "1:32: programs.w.command: the command is empty: give at least the program".into(),
        ),
    ] {
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
fn values_of_a_program() {
    let restarts = r#"expected "always", "on-failure" or "never", got"#;
    let seconds = r#"expected a number of seconds, or "500ms", "8s", "2m", "1h", got"#;
    check_in_program(&[
        (
            r#""cwd": """#,
            "2:8: programs.web.cwd: the directory is an empty string",
        ),
        (
            r#""cwd": true"#,
            "2:8: programs.web.cwd: expected a string in quotes, got true",
        ),
        (
            r#""restart": null"#,
            &format!("2:12: programs.web.restart: {restarts} null"),
        ),
        (
            r#""restart": true"#,
            &format!("2:12: programs.web.restart: {restarts} true"),
        ),
        (
            r#""restart": "no""#,
            r#"2:12: programs.web.restart: unknown value "no": use "always", "on-failure" or "never""#,
        ),
        (
            r#""restart": "Always\n""#,
            r#"2:12: programs.web.restart: unknown value "Always\n" (did you mean "always"?)"#,
        ),
        (
            r#""essential": "yes""#,
            r#"2:14: programs.web.essential: expected true or false, got "yes""#,
        ),
        (
            r#""essential": 1"#,
            "2:14: programs.web.essential: expected true or false, got 1",
        ),
        (
            r#""stop_timeout": null"#,
            &format!("2:17: programs.web.stop_timeout: {seconds} null"),
        ),
        (
            r#""stop_timeout": "8 s""#,
            r#"2:17: programs.web.stop_timeout: "8 s" is no duration: use a number of seconds, or "500ms", "8s", "2m", "1h""#,
        ),
        (
            r#""stop_timeout": -0.5"#,
            "2:17: programs.web.stop_timeout: -0.5 is negative: use 0 or more",
        ),
        (
            r#""stop_timeout": 1e300"#,
            "2:17: programs.web.stop_timeout: 1e300 is too long: use at most 18446744073709551615 seconds",
        ),
        (
            r#""report_bytes": 524289"#,
            "2:17: programs.web.report_bytes: 524289 bytes are more than a report can carry: use at most 524288",
        ),
        (
            r#""report_bytes": "4k""#,
            r#"2:17: programs.web.report_bytes: expected a whole number from 0 to 524288, got "4k""#,
        ),
        (
            r#""report_bytes": -1"#,
            "2:17: programs.web.report_bytes: expected a whole number from 0 to 524288, got -1",
        ),
        (
            r#""report_bytes": 1.0"#,
            "2:17: programs.web.report_bytes: expected a whole number from 0 to 524288, got 1.0",
        ),
        (
            r#""report_bytes": 99999999999999999999"#,
            "2:17: programs.web.report_bytes: expected a whole number from 0 to 524288, got 99999999999999999999",
        ),
    ]);
}

#[test]
fn signals_and_variables() {
    let signal = r#"expected a signal such as "TERM", or its number, got"#;
    let at = "2:16: programs.web.stop_signal";
    check_in_program(&[
        (r#""stop_signal": null"#, &format!("{at}: {signal} null")),
        (r#""stop_signal": 1.5"#, &format!("{at}: {signal} 1.5")),
        (
            r#""stop_signal": 9999999999"#,
            &format!("{at}: {signal} 9999999999"),
        ),
        (
            r#""stop_signal": 0"#,
            &format!("{at}: 0 is no signal number: use 1 to 64"),
        ),
        (
            r#""stop_signal": -9"#,
            &format!("{at}: -9 is no signal number: use 1 to 64"),
        ),
        (
            r#""stop_signal": 65"#,
            &format!("{at}: 65 is no signal number: use 1 to 64"),
        ),
        (
            r#""stop_signal": "SIGTREM""#,
            &format!(r#"{at}: unknown signal "SIGTREM" (did you mean "TERM"?)"#),
        ),
        (
            r#""stop_signal": "15""#,
            &format!(r#"{at}: unknown signal "15": write 15 without the quotes"#),
        ),
        (
            r#""stop_signal": "SIG""#,
            &format!(
                r#"{at}: unknown signal "SIG": use a name such as "TERM", or a number from 1 to 64"#
            ),
        ),
        (
            r#""env": ["A=1"]"#,
            "2:8: programs.web.env: expected an object of strings, got an array",
        ),
        (
            r#""env": {"A": 1}"#,
            "2:14: programs.web.env.A: expected a string in quotes, got 1",
        ),
        (
            r#""env": {"A": null}"#,
            "2:14: programs.web.env.A: expected a string, got null",
        ),
        (
            r#""env": {"": "1"}"#,
            r#"2:9: programs.web.env."": a variable needs a name"#,
        ),
        (
            r#""env": {"A=B": "1"}"#,
            r#"2:9: programs.web.env."A=B": the name "A=B" cannot have "=" in it"#,
        ),
        (
            r#""env": {"A\u0000": "1"}"#,
            r#"2:9: programs.web.env."A\0": a variable cannot have a NUL byte in it"#,
        ),
        (
            r#""env": {"A": "\u0000"}"#,
            "2:14: programs.web.env.A: a variable cannot have a NUL byte in it",
        ),
    ]);
}

#[test]
fn the_order_of_delays() {
    let hint = "raise max or lower initial";
    let at = "programs.web.backoff";
    check_in_program(&[
        (
            r#""backoff": {"max": 1, "initial": "1001ms"}"#,
            &format!("2:20: {at}.max: max (1s) is below initial (1.001s): {hint}"),
        ),
        (
            r#""backoff": {"initial": "2m"}"#,
            &format!(
                "2:24: {at}.initial: max (60s) is below initial (120s): {hint}; max is the built-in one"
            ),
        ),
        (
            r#""backoff": {"max": 0}"#,
            &format!(
                "2:20: {at}.max: max (0ns) is below initial (1s): {hint}; initial is the built-in one"
            ),
        ),
        (
            r#""backoff": "1s""#,
            &format!(
                r#"2:12: {at}: expected an object such as {{"initial": "1s", "max": "60s"}}, got "1s""#
            ),
        ),
        // What could not be read says nothing about the order.
        (
            r#""backoff": {"initial": 90, "max": "5min"}"#,
            &format!(
                r#"2:35: {at}.max: "5min" is no duration: use a number of seconds, or "500ms", "8s", "2m", "1h""#
            ),
        ),
    ]);
}

#[test]
fn the_order_of_delays_with_defaults() {
    let hint = "raise max or lower initial";
    let wrong = "is below initial";
    for (defaults, program, expected) in [
        // Told once, where it stands, however many programs inherit it.
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

#[test]
fn all_errors_are_told_in_the_order_of_the_file() {
    let text = r#"{
  "programs": {
    "web": { "restart": "sometimes", "cwd": 1, "cwd": "", "nice": 5 },
    "b/d": [],
    "ok": { "command": ["a", "\u0000", null], "backoff": { "initial": "-1s" } }
  },
  "err_dir": {}, "defaults": { "stop_timeout": "never" },
  "base": "."
}"#;
    let known =
        "command, cwd, env, restart, essential, backoff, stop_signal, stop_timeout, report_bytes";
    let use_duration = r#"use a number of seconds, or "500ms", "8s", "2m", "1h""#;
    check(
        text,
        &[
            r#"3:12: programs.web: the key "command" is missing: give an array such as ["program", "argument"]"#,
            r#"3:25: programs.web.restart: unknown value "sometimes": use "always", "on-failure" or "never""#,
            "3:45: programs.web.cwd: expected a string in quotes, got 1",
            "3:48: programs.web.cwd: duplicate key: it stands at 3:38 already",
            "3:55: programs.web.cwd: the directory is an empty string",
            &format!("3:59: programs.web.nice: unknown key: use {known}"),
            r#"4:5: programs."b/d": a name cannot have '/' in it: use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit"#,
            r#"4:12: programs."b/d": the command is empty: give at least the program"#,
            "5:30: programs.ok.command[1]: an argument cannot have a NUL byte in it",
            "5:40: programs.ok.command[2]: expected a string, got null",
            &format!(r#"5:71: programs.ok.backoff.initial: "-1s" is no duration: {use_duration}"#),
            "7:14: err_dir: expected a string, got an object",
            &format!(r#"7:48: defaults.stop_timeout: "never" is no duration: {use_duration}"#),
            r#"8:3: base: unknown key (did you mean "base_dir"?)"#,
        ],
    );
}
