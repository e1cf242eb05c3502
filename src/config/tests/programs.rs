//! Every error of a program, with its place and its words.

use super::refused::check;
use super::{cases, parse};

/// Checks the errors of files whose only program has the keys of a case in line 2, next to its
/// command.
pub(super) fn check_keys(table: &str) {
    for (keys, expected) in cases(table) {
        let text = format!("{{\"programs\": {{\"web\": {{\"command\": [\"a\"],\n{keys}}}}}}}");
        check(&text, &[expected]);
    }
}

/// What is said of the values of a key, each at its beginning.
pub(super) fn check_values(key: &str, table: &str) {
    for (value, expected) in cases(table) {
        let keys = format!("\"{key}\": {value}");
        let column = keys.len() - value.len() + 1;
        check_keys(&format!(
            "{keys} => 2:{column}: programs.web.{key}: {expected}"
        ));
    }
}

#[test]
fn names_of_programs() {
    let long = "n".repeat(65);
    let cut = &long[..64];
    let table = r#"
        "" => "": the name is empty
        "../a" => "../a": a name cannot have '/' in it
        "a b" => "a b": a name cannot have ' ' in it
        "ä" => "ä": a name cannot have 'ä' in it
        "a\u0000" => "a\0": a name cannot have '\0' in it
        ".a" => ".a": a name cannot begin with '.'
        "-a" => -a: a name cannot begin with '-'"#;
    let too_long = format!("\"{long}\" => {cut}…: the name has 65 bytes");
    let rule = "use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit";
    for (name, problem) in cases(table).chain(cases(&too_long)) {
        let text = format!(r#"{{"programs": {{{name}: ["a"]}}}}"#);
        check(&text, &[&format!("1:15: programs.{problem}: {rule}")]);
    }
    for name in ["a", "0", "A.b_c@d-e", cut] {
        let text = format!(r#"{{"programs": {{"{name}": ["a"]}}}}"#);
        assert!(parse(&text).is_ok(), "{name}");
    }
}

#[test]
fn commands() {
    let table = r#"
        null => 1:20: programs.w: expected an array such as ["program", "argument"], or an object, got null
        false => 1:20: programs.w: expected an array such as ["program", "argument"], or an object, got false
        "a b" => 1:20: programs.w: expected an array such as ["program", "argument"], or an object, got "a b"
        {} => 1:20: programs.w: the key "command" is missing: give an array such as ["program", "argument"]
        {"x-command": ["a"]} => 1:20: programs.w: the key "command" is missing: give an array such as ["program", "argument"]
        [] => 1:20: programs.w: the command is empty: give at least the program
        ["", "a"] => 1:21: programs.w[0]: the program to run is an empty string
        ["a", "b\u0000"] => 1:26: programs.w[1]: an argument cannot have a NUL byte in it
        ["a", 80] => 1:26: programs.w[1]: expected a string in quotes, got 80
        ["a", ["b"]] => 1:26: programs.w[1]: expected a string, got an array
        {"command": "a b"} => 1:32: programs.w.command: expected an array such as ["program", "argument"], got "a b"
        {"command": {"a": 1}} => 1:32: programs.w.command: expected an array such as ["program", "argument"], got an object
        {"command": []} => 1:32: programs.w.command: the command is empty: give at least the program"#;
    for (program, expected) in cases(table) {
        check(
            &format!(r#"{{"programs": {{"w": {program}}}}}"#),
            &[expected],
        );
    }
    let empty = parse(r#"{"programs": {"w": ["a", ""]}}"#);
    assert!(empty.is_ok(), "an argument may be empty");
}

#[test]
fn plain_values() {
    check_values(
        "cwd",
        r#"
        "" => the directory is an empty string
        true => expected a string in quotes, got true
        "a\u0000" => a path cannot have a NUL byte in it"#,
    );
    check_values(
        "essential",
        r#"
        "yes" => expected true or false, got "yes"
        1 => expected true or false, got 1
        null => expected true or false, got null"#,
    );
    check_values(
        "restart",
        r#"
        null => expected "always", "on-failure" or "never", got null
        true => expected "always", "on-failure" or "never", got true
        "no" => unknown value "no": use "always", "on-failure" or "never"
        "Always\n" => unknown value "Always\n" (did you mean "always"?)"#,
    );
    check_values(
        "stdout",
        r#"
        null => expected "log", "stderr", "inherit" or "null", got null
        false => expected "log", "stderr", "inherit" or "null", got false
        "logs" => unknown value "logs" (did you mean "log"?)
        "/var/log/web.log" => unknown value "/var/log/web.log": use "log", "stderr", "inherit" or "null""#,
    );
    check_values(
        "stderr",
        r#"
        "stdout" => unknown value "stdout": use "log", "inherit" or "null"
        [] => expected "log", "inherit" or "null", got an array"#,
    );
    check_values(
        "report_bytes",
        r#"
        524289 => 524289 bytes are more than a report can carry: use at most 524288
        "4k" => expected a whole number from 0 to 524288, got "4k"
        -1 => expected a whole number from 0 to 524288, got -1
        1.0 => expected a whole number from 0 to 524288, got 1.0
        null => expected a whole number from 0 to 524288, got null
        99999999999999999999 => expected a whole number from 0 to 524288, got 99999999999999999999"#,
    );
}

#[test]
fn durations() {
    let table = r#"
        null => expected a number of seconds, or "500ms", "8s", "1m30s", "1h", got null
        [5] => expected a number of seconds, or "500ms", "8s", "1m30s", "1h", got an array
        "8 s" => invalid duration "8 s": expected a number of seconds, or "500ms", "8s", "1m30s", "1h"
        -0.5 => invalid duration -0.5: expected 0 or more
        1e300 => invalid duration 1e300: expected at most 18446744073709551615 seconds
        "1e3s" => invalid duration "1e3s": expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#;
    check_values("stop_timeout", table);
    for key in ["initial", "max", "reset_after"] {
        for (value, expected) in cases(table) {
            let start = format!("\"backoff\": {{\"{key}\": ");
            let place = format!("2:{}: programs.web.backoff.{key}", start.len() + 1);
            check_keys(&format!("{start}{value}}} => {place}: {expected}"));
        }
    }
}

#[test]
fn jitter() {
    let table = r#"
        null => expected a number from 0 to 1, got null
        "0.5" => expected a number from 0 to 1, got "0.5"
        -0.1 => expected a number from 0 to 1, got -0.1
        1.001 => expected a number from 0 to 1, got 1.001
        50 => expected a number from 0 to 1, got 50
        1e300 => expected a number from 0 to 1, got 1e300"#;
    for (value, expected) in cases(table) {
        let start = "\"backoff\": {\"jitter\": ";
        let place = format!("2:{}: programs.web.backoff.jitter", start.len() + 1);
        check_keys(&format!("{start}{value}}} => {place}: {expected}"));
    }
}

#[test]
fn signals() {
    check_values(
        "stop_signal",
        r#"
        null => expected a signal such as "TERM", or its number, got null
        1.5 => expected a signal such as "TERM", or its number, got 1.5
        9999999999 => expected a signal such as "TERM", or its number, got 9999999999
        0 => invalid signal 0: expected 1 to 64
        -9 => invalid signal -9: expected 1 to 64
        65 => invalid signal 65: expected 1 to 64
        "SIGTREM" => unknown signal "SIGTREM" (did you mean "TERM"?)
        "RTMIN+31" => unknown signal "RTMIN+31" (did you mean "RTMIN+1"?)
        "15" => unknown signal "15": write 15 without the quotes
        "65" => invalid signal 65: expected 1 to 64
        "SIG" => unknown signal "SIG": use a name such as "TERM", or a number from 1 to 64
        "" => unknown signal "": use a name such as "TERM", or a number from 1 to 64"#,
    );
    // Not STOP, which would be refused.
    let no_other =
        r#""STP" => unknown signal "STP": use a name such as "TERM", or a number from 1 to 64"#;
    check_values("stop_signal", no_other);
}

#[test]
fn variables() {
    check_keys(
        r#"
        "env": ["A=1"] => 2:8: programs.web.env: expected an object of strings, got an array
        "env": {"A": null} => 2:14: programs.web.env.A: expected a string, a number or a boolean, got null
        "env": {"A": ["b"]} => 2:14: programs.web.env.A: expected a string, a number or a boolean, got an array
        "env": {"": "1"} => 2:9: programs.web.env."": a variable needs a name
        "env": {"A=B": "1"} => 2:9: programs.web.env."A=B": the name "A=B" cannot have "=" in it
        "env": {"A\u0000": "1"} => 2:9: programs.web.env."A\0": a variable cannot have a NUL byte in it
        "env": {"A": "\u0000"} => 2:14: programs.web.env.A: a variable cannot have a NUL byte in it"#,
    );
}

#[test]
fn the_order_of_delays() {
    check_keys(
        r#"
        "backoff": {"max": 1, "initial": "1001ms"} => 2:20: programs.web.backoff.max: max (1s) is below initial (1.001s): raise max or lower initial
        "backoff": {"initial": "2m"} => 2:24: programs.web.backoff.initial: max (60s) is below initial (120s): raise max or lower initial; max is the built-in one
        "backoff": {"max": 0} => 2:20: programs.web.backoff.max: max (0ns) is below initial (1s): raise max or lower initial; initial is the built-in one
        "backoff": "1s" => 2:12: programs.web.backoff: expected an object such as {"initial": "1s", "max": "60s"}, got "1s""#,
    );
    // What could not be read says nothing about the order.
    check_keys(
        r#"
        "backoff": {"initial": 90, "max": "5min"} => 2:35: programs.web.backoff.max: invalid duration "5min": expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#,
    );
}

/// An error of the defaults is reported once, at its place, however many programs inherit it.
#[test]
fn the_order_of_delays_with_defaults() {
    let table = r#"
        {"initial": 9, "max": 5} + {} => 1:51: defaults.backoff.max: max (5s) is below initial (9s): raise max or lower initial
        {"initial": 90} + {} => 1:41: defaults.backoff.initial: max (60s) is below initial (90s): raise max or lower initial; max is the built-in one
        {"initial": 9, "max": 10} + {"max": 5} => 3:14: programs.b.backoff.max: max (5s) is below initial (9s): raise max or lower initial; initial is that of "defaults"
        {"max": 10} + {"initial": 12} => 3:18: programs.b.backoff.initial: max (10s) is below initial (12s): raise max or lower initial; max is that of "defaults""#;
    for (backoffs, expected) in cases(table) {
        let (defaults, own) = backoffs.split_once(" + ").expect("both");
        let text = format!(
            "{{\"defaults\": {{\"backoff\":    {defaults}}},\n\"programs\": {{\"a\": [\"a\"], \"c\": [\"a\"], \"b\": {{\"command\": [\"a\"], \"backoff\":\n     {own}}}}}}}"
        );
        check(&text, &[expected]);
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

#[test]
fn exit_codes() {
    let table = r#"
        78 => expected an array such as [78, "TERM"], got 78
        null => expected an array such as [78, "TERM"], got null"#;
    let elements = r#"
        0 => invalid exit code 0: expected 1 to 255, or -1 to -64 for a signal
        256 => invalid exit code 256: expected 1 to 255, or -1 to -64 for a signal
        -65 => invalid exit code -65: expected 1 to 255, or -1 to -64 for a signal
        1.5 => expected an exit code from 1 to 255, or a signal such as "TERM", got 1.5
        "15" => invalid exit code "15": write 15 without the quotes
        "TREM" => unknown signal "TREM" (did you mean "TERM"?)"#;
    for key in ["success_codes", "permanent_failure_codes"] {
        check_values(key, table);
        for (value, expected) in cases(elements) {
            let start = format!("\"{key}\": [1, ");
            let place = format!("2:{}: programs.web.{key}[1]", start.len() + 1);
            check_keys(&format!("{start}{value}] => {place}: {expected}"));
        }
    }
    let table = r#"
        -1 => expected a whole number up to 4294967295, got -1
        5000000000 => expected a whole number up to 4294967295, got 5000000000"#;
    check_values("max_restarts", table.trim_start());
}

#[test]
fn readiness() {
    check_values(
        "ready",
        r#"
        null => expected "notify", an object such as {"fd": 3}, or false, got null
        3 => expected "notify", an object such as {"fd": 3}, or false, got 3
        "fd" => unknown value "fd": use "notify", an object such as {"fd": 3}, or false
        "notfy" => unknown value "notfy" (did you mean "notify"?)
        {} => it does not say by what: give "fd", "delay", "connect" or "command"
        {"interval": 1} => it does not say by what: give "fd", "delay", "connect" or "command"
        {"fd": 3, "delay": 1} => it has both "fd" and "delay": give one of them
        {"delay": 1, "connect": "127.0.0.1:80"} => it has both "delay" and "connect": give one of them
        {"command": ["a"], "connect": "127.0.0.1:80"} => it has both "command" and "connect": give one of them
        {"fd": 3, "interval": 1} => "interval" goes with "connect" or "command", not with "fd"
        {"timeout": 1, "delay": 1} => "timeout" goes with "connect" or "command", not with "delay""#,
    );
    check_values(
        "watchdog",
        "\"1us\" => invalid duration \"1us\": expected a number of seconds, or \"500ms\", \"8s\", \"1m30s\", \"1h\"\n0.0001 => invalid watchdog 100us: expected 1ms or more, or 0 for none",
    );
    check_values(
        "start_timeout",
        "-1 => invalid duration -1: expected 0 or more",
    );
    check_keys(
        r#"
        "ready": {"fd": 2} => 2:17: programs.web.ready.fd: invalid descriptor 2: expected 3 to 63
        "ready": {"fd": 64} => 2:17: programs.web.ready.fd: invalid descriptor 64: expected 3 to 63
        "ready": {"fd": "3"} => 2:17: programs.web.ready.fd: expected a whole number from 3 to 63, got "3"
        "ready": {"delay": "x"} => 2:20: programs.web.ready.delay: invalid duration "x": expected a number of seconds, or "500ms", "8s", "1m30s", "1h"
        "ready": {"connect": "localhost:80"} => 2:22: programs.web.ready.connect: invalid address "localhost:80": host names are not looked up: write "127.0.0.1:80" or "[::1]:80"
        "ready": {"command": []} => 2:22: programs.web.ready.command: the command is empty: give at least the program
        "oneshot": true, "ready": "notify" => 2:27: programs.web.ready: a oneshot is up once it has succeeded: leave out "ready" or "oneshot"
        "oneshot": true, "watchdog": 9 => 2:30: programs.web.watchdog: a oneshot is up once it has succeeded: leave out "watchdog" or "oneshot"
        "ready": {"delay": 5}, "start_timeout": 5 => 2:10: programs.web.ready: a delay of 5s is not over before start_timeout (5s): raise start_timeout, or leave it out"#,
    );
    check(
        r#"{"programs": {"web": {"command": ["a"], "ready": {"port": 3}}}}"#,
        &[
            r#"1:50: programs.web.ready: it does not say by what: give "fd", "delay", "connect" or "command""#,
            "1:51: programs.web.ready.port: unknown key: use fd, delay, connect, command, interval, timeout",
        ],
    );
    let in_defaults = r#"{"defaults": {"ready": {"fd": 3}},
        "programs": {"a": ["a"], "b": {"command": ["b"], "oneshot": true}}}"#;
    let expected = r#"1:24: defaults.ready: a oneshot is up once it has succeeded: leave out "ready" or "oneshot""#;
    check(in_defaults, &[expected]);
}

/// The error is at the key of the program, or else of the defaults.
#[test]
fn values_that_cannot_be_together() {
    check_keys(
        r#"
        "oneshot": true, "restart": "always" => 2:29: programs.web.restart: a oneshot runs until it succeeds: use "never" or "on-failure"
        "success_codes": [3], "permanent_failure_codes": [4, 3] => 2:50: programs.web.permanent_failure_codes: 3 is in success_codes, too: it can be in one of them"#,
    );
    let text = r#"{"defaults": {"restart": "always"},
        "programs": {"a": {"command": ["a"], "oneshot": true}, "b": ["b"], "c": {"command": ["c"], "oneshot": true}}}"#;
    let expected =
        r#"1:26: defaults.restart: a oneshot runs until it succeeds: use "never" or "on-failure""#;
    check(text, &[expected]);
}

#[test]
fn links() {
    let programs = |a: &str, rest: &str| {
        format!("{{\"programs\": {{\"a\": {{\"command\": [\"a\"],\n{a}}}{rest}}}}}")
    };
    let table = r#"
        "after": "db" => 2:10: programs.a.after: expected an array of names such as ["db"], got "db"
        "requires": ["db", 5] => 2:20: programs.a.requires[1]: expected a string in quotes, got 5
        "after": ["cahce"] => 2:11: programs.a.after[0]: no program "cahce" (did you mean "cache"?)
        "requires": ["db", ""] => 2:20: programs.a.requires[1]: no program ""
        "requires": ["db", "a"] => 2:20: programs.a.requires[1]: "a" cannot wait for itself"#;
    for (keys, expected) in cases(table) {
        check(
            &programs(keys, r#", "db": ["b"], "cache": ["b"]"#),
            &[expected],
        );
    }
    let in_defaults = r#"{"programs": {"w": ["a"]}, "defaults": {"after": []}}"#;
    assert!(
        parse(in_defaults)
            .unwrap_err()
            .to_string()
            .contains("defaults.after: unknown key")
    );
}

/// Each is named with its way, at the list that begins it; a way that is long is cut.
#[test]
fn cycles() {
    let file = |links: &[(&str, &str, &str)]| {
        let program = |(name, key, other): &(&str, &str, &str)| {
            format!("\n\"{name}\": {{\"command\": [\"x\"], \"{key}\": [\"{other}\"]}}")
        };
        let programs: Vec<String> = links.iter().map(program).collect();
        format!("{{\"programs\": {{{}}}}}", programs.join(","))
    };
    let two = file(&[
        ("a", "after", "b"),
        ("b", "requires", "c"),
        ("c", "after", "a"),
        ("d", "requires", "e"),
        ("e", "requires", "d"),
        ("f", "requires", "e"),
    ]);
    check(
        &two,
        &[
            "2:34: programs.a.after: a cycle: a → b → c → a",
            "5:37: programs.d.requires: a cycle: d → e → d",
        ],
    );
    let names: Vec<String> = (0..1_000).map(|index| format!("p{index}")).collect();
    let next = |index: usize| &*names[(index + 1) % names.len()];
    let links = names.iter().enumerate();
    let links: Vec<_> = links
        .map(|(index, name)| (&**name, "after", next(index)))
        .collect();
    let way = "p0 → p1 → p2 → p3 → p4 → p5 → p6 → p7 → 992 more → p0";
    check(
        &file(&links),
        &[&format!("2:35: programs.p0.after: a cycle: {way}")],
    );
}
