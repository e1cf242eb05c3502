//! Every error of the file as a whole, with its place and its words; those of a program are
//! in `programs`.

use std::path::Path;

use super::cases;
use crate::config::{Config, KeyType, Scope, keys};
use crate::spec::HOME;

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

pub(super) fn check(text: &str, expected: &[&str]) {
    assert_eq!(lines_of(text.as_bytes()), expected, "{text}");
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
    assert_eq!(Vec::from_iter(&errors), [error]);
    assert_eq!((error.line(), error.column()), (7, 18));
    assert_eq!(error.path(), "programs.web.restart");
    assert_eq!(
        error.message(),
        r#"unknown value "on-fail" (did you mean "on-failure"?)"#
    );
}

#[test]
fn what_is_no_json() {
    let empty = r#"the file is empty: begin with {"programs": {"name": ["command"]}}"#;
    let notes = "a comment is // to the end of the line, or between /* and */";
    for (text, expected) in [
        ("", format!("1:1: {empty}")),
        ("\u{feff}", format!("1:1: {empty}")),
        (" \r\n\t\n", format!("1:1: {empty}")),
        ("{", "1:1: cannot be read as JSON: EOF while parsing an object".into()),
        ("{\r\n", "2:1: cannot be read as JSON: EOF while parsing an object".into()),
        ("{\"é", "1:3: cannot be read as JSON: EOF while parsing a string".into()),
        ("{} x", "1:4: cannot be read as JSON: trailing characters".into()),
        ("{}\n{}", "2:1: cannot be read as JSON: trailing characters".into()),
        ("{\"é\" 1}", "1:6: cannot be read as JSON: expected `:`".into()),
        ("\u{feff}[\r\n 1 2]", "2:4: cannot be read as JSON: expected `,` or `]`".into()),
        ("{\"a\": tru}", "1:10: cannot be read as JSON: expected ident".into()),
        ("{\"a\": tru\n}", "1:10: cannot be read as JSON: expected ident".into()),
        ("\u{2028}", "1:1: cannot be read as JSON: expected value".into()),
        ("{ / x\n}", format!("1:3: cannot be read as JSON: key must be a string; {notes}")),
        ("// é\n /* \"*/ // x", format!("1:1: {empty}")),
        ("{ // é /*\n \"é\": /* // */ }", "2:16: cannot be read as JSON: expected value".into()),
        ("{\"é\": \"//\", /* é */ /x/}", format!("1:21: cannot be read as JSON: key must be a string; {notes}")),
        ("{\"é\": \"\\\"\" /* é\n }", "1:12: this comment has no end: add */".into()),
        ("{} /*/", "1:4: this comment has no end: add */".into()),
        // A comma stands behind a value, and only once.
        ("[,]", "1:2: cannot be read as JSON: expected value".into()),
        ("[1,,]", "1:4: cannot be read as JSON: expected value".into()),
        ("[1,/**/,/**/]", "1:8: cannot be read as JSON: expected value".into()),
        ("{,}", "1:2: cannot be read as JSON: key must be a string".into()),
        ("{\"a\":,}", "1:6: cannot be read as JSON: expected value".into()),
        ("{\"a\",}", "1:6: cannot be read as JSON: expected `:`".into()),
        ("{},", "1:3: cannot be read as JSON: trailing characters".into()),
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
    #[rustfmt::skip]
    let table = [
        (&b"\xff\xfe{\0}\0"[..], "1:1: not UTF-8: there is a byte 0xff here; save it as UTF-8"),
        (
            b"\xef\xbb\xbf{\n\"\xc3\xa9\xc3\"}",
            "2:3: not UTF-8: there is a byte 0xc3 here; save it as UTF-8",
        ),
        (b"{\"a\": \xc3", "1:7: not UTF-8: there is a byte 0xc3 here; save it as UTF-8"),
    ];
    for (bytes, expected) in table {
        assert_eq!(lines_of(bytes), [expected]);
    }
}

/// A file that is too long is loaded in the tests of `Config`.
#[test]
fn what_is_too_deep() {
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
    let table = r#"
        null => 1:1: expected an object with "programs", got null
        {} => 1:1: the key "programs" is missing: give {"name": ["program", "argument"]}
        {"$schema": ""} => 1:1: the key "programs" is missing: give {"name": ["program", "argument"]}
        {"programs": {}} => 1:14: programs: there is no program: give at least {"name": ["program", "argument"]}
        {"programs": {"x-web": ["a"]}} => 1:14: programs: there is no program: give at least {"name": ["program", "argument"]}
        {"programs": ["a"]} => 1:14: programs: expected an object with a key for each program, got an array
        {"programs": null} => 1:14: programs: expected an object with a key for each program, got null"#;
    for (text, expected) in cases(table) {
        check(text, &[expected]);
    }
    check(
        r#" {"program": {}}"#,
        &[
            r#"1:2: the key "programs" is missing: give {"name": ["program", "argument"]}"#,
            r#"1:3: program: unknown key (did you mean "programs"?)"#,
        ],
    );
}

#[test]
fn the_keys_of_the_file() {
    let table = r#"
        "base_dir": 5 => base_dir: expected a string in quotes, got 5
        "base_dir": null => base_dir: expected a string, got null
        "base_dir": "" => base_dir: the directory is an empty string
        "err_dir": "" => err_dir: the directory is an empty string
        "err_dir": "a\u0000" => err_dir: a path cannot have a NUL byte in it
        "base_dir": "~/app" => base_dir: HOME
        "err_dir": "~/" => err_dir: HOME
        "error_handler": ["~/x", "~/y"] => error_handler[0]: HOME
        "err_dir": [ ] => err_dir: expected a string, got an array
        "control": true => control: expected the path of a socket, or false, got true
        "control": "" => control: the path is an empty string
        "control": "~/x" => control: HOME
        "control_group": [ ] => control_group: expected the name of a group, or its number, got an array
        "control_group": -1 => control_group: expected the name of a group, or its number, got -1
        "control_group": 4294967295 => control_group: invalid group 4294967295: expected a smaller number
        "control_group": "no such" => control_group: no group "no such" in /etc/group: use its number
        "shutdown_timeout": null => shutdown_timeout: expected a number of seconds, or "500ms", "8s", "1m30s", "1h", got null
        "shutdown_timeout": "soon" => shutdown_timeout: invalid duration "soon": expected a number of seconds, or "500ms", "8s", "1m30s", "1h"
        "shutdown_timeout": 0.099 => shutdown_timeout: invalid shutdown_timeout 99ms: expected 100ms or more
        "shutdown_timeout": 0 => shutdown_timeout: invalid shutdown_timeout 0s: expected 100ms or more
        "defaults": [ ] => defaults: expected an object, got an array
        "error_handler": "a b" => error_handler: expected an array such as ["program", "argument"], got "a b"
        "error_handler": [] => error_handler: the command is empty: give at least the program
        "error_handler": [""] => error_handler[0]: the program to run is an empty string
        "error_handler": {} => error_handler: the key "command" is missing: give ["program", "argument"]
        "error_handler": {"when": "failure"} => error_handler: the key "command" is missing: give ["program", "argument"]"#;
    for (keys, expected) in cases(table) {
        let text = format!("{{\"programs\": {{\"w\": [\"a\"]}},\n{keys}}}");
        let column = keys.find(": ").expect("a value") + 3 + usize::from(expected.contains("[0]"));
        let expected = expected.replace("HOME", HOME);
        check(&text, &[&format!("2:{column}: {expected}")]);
    }
}

#[test]
fn the_keys_of_an_error_handler() {
    let table = r#"
        "when": "fail" => 2:21: error_handler.when: unknown value "fail" (did you mean "failure"?)
        "when": "x" => 2:21: error_handler.when: unknown value "x": use "always" or "failure"
        "when": true => 2:21: error_handler.when: expected "always" or "failure", got true
        "only": 1 => 2:13: error_handler.only: unknown key: use command, when"#;
    for (keys, expected) in cases(table) {
        let handler = format!("{{{keys}, \"command\": [\"a\"]}}");
        let text = format!(
            "{{\"programs\": {{\"w\": [\"a\"]}}, \"error_handler\":\n           {handler}}}"
        );
        check(&text, &[expected]);
    }
}

/// The end of an error that lists the keys of an object, as the table of keys has them: the parser
/// knows these and no others, in this order.
fn known_keys(object: &str, is_there: impl Fn(Scope) -> bool) -> String {
    let all = keys().into_iter();
    let all = all.filter(|key| key.place().0 == object && is_there(key.scope()));
    let names: Vec<&str> = all.map(|key| key.place().1).collect();
    assert!(!names.is_empty(), "{object} has no keys");
    format!("use {}", names.join(", "))
}

#[test]
fn the_table_of_keys_has_what_the_parser_knows_in_each_object() {
    for key in keys() {
        let is_object = match key.key_type() {
            KeyType::Object(_) => true,
            KeyType::OneOf(types) => types.iter().any(|one| matches!(one, KeyType::Object(_))),
            _ => false,
        };
        if !is_object {
            assert!(
                keys().iter().all(|other| other.place().0 != key.name()),
                "{key:?}"
            );
            continue;
        }
        let object = r#"{"???": 1}"#;
        let file = match key.scope() {
            Scope::File => format!(
                r#"{{"{}": {object}, "programs": {{"w": ["a"]}}}}"#,
                key.name()
            ),
            _ => format!(
                r#"{{"programs": {{"w": {{"command": ["a"], "{}": {object}}}}}}}"#,
                key.name()
            ),
        };
        let known = known_keys(key.name(), |_| true);
        let said = lines_of(file.as_bytes()).join("\n");
        assert!(
            said.contains(&format!("unknown key: {known}")),
            "{known}\n{said}"
        );
    }
}

#[test]
fn unknown_keys() {
    let table = r#"
        {"programs": {"w": ["a"]}, "restart": "never"} => 1:28: restart: unknown key: FILE_KEYS
        {"programs": {"w": ["a"]}, "defaults": {"command": ["a"]}} => 1:41: defaults.command: unknown key: DEFAULTS_KEYS
        {"programs": {"w": {"command": ["a"], "zz": 1}}} => 1:39: programs.w.zz: unknown key: PROGRAM_KEYS
        {"programs": {"w": {"command": ["a"], "Restart": 1}}} => 1:39: programs.w.Restart: unknown key (did you mean "restart"?)
        {"programs": {"w": {"command": ["a"], "backoff": {"maximum": 1}}}} => 1:51: programs.w.backoff.maximum: unknown key (did you mean "max"?)
        {"programs": {"w": ["a"]}, "a.b\u0000\n": 1} => 1:28: "a.b\0\n": unknown key: FILE_KEYS
        {"programs": {"w": ["a"]}, "": 1} => 1:28: "": unknown key: FILE_KEYS"#;
    let of_file = known_keys("", |scope| scope == Scope::File);
    let of_program = known_keys("", |scope| scope != Scope::File);
    let of_defaults = known_keys("", |scope| scope == Scope::Program);
    for (text, expected) in cases(table) {
        let expected = expected.replace("FILE_KEYS", &of_file);
        let expected = expected.replace("PROGRAM_KEYS", &of_program);
        check(text, &[&expected.replace("DEFAULTS_KEYS", &of_defaults)]);
    }
    let long = "k".repeat(5_000);
    let text = format!(r#"{{"programs": {{"w": ["a"]}}, "{long}": 1}}"#);
    let cut = &long[..64];
    let known = known_keys("", |scope| scope == Scope::File);
    check(&text, &[&format!("1:28: {cut}…: unknown key: {known}")]);
}

#[test]
fn duplicate_keys() {
    let table = r#"
        {"programs": {"w": ["a"]}, "base_dir": "a", "base_dir": "a"} => 1:45: base_dir: duplicate key: already defined at 1:28
        {"programs": {"w": ["a"]}, "programs": {"w": ["a"]}} => 1:28: programs: duplicate key: already defined at 1:2
        {"programs": {"w": {"command": ["a"], "env": {"A": "1", "A": "1"}}}} => 1:57: programs.w.env.A: duplicate key: already defined at 1:47
        {"programs": {"w": {"command": ["a"], "backoff": {"max": 1, "max": 1}}}} => 1:61: programs.w.backoff.max: duplicate key: already defined at 1:51"#;
    for (text, expected) in cases(table) {
        check(text, &[expected]);
    }
    check(
        "{\"programs\": {\"w\": [\"a\"],\n\"\\u0077\": [\"b\"]}}",
        &["2:1: programs.w: duplicate key: already defined at 1:15"],
    );
    // Each is checked by itself, too.
    check(
        r#"{"programs": {"w": [], "w": [5], "w": ["a"]}}"#,
        &[
            "1:20: programs.w: the command is empty: give at least the program",
            "1:24: programs.w: duplicate key: already defined at 1:15",
            "1:30: programs.w[0]: expected a string in quotes, got 5",
            "1:34: programs.w: duplicate key: already defined at 1:15",
        ],
    );
}

#[test]
fn all_errors_are_listed_in_the_order_of_the_file() {
    let text = r#"{
  "programs": {
    "web": { "restart": "sometimes", "cwd": 1, "cwd": "", "zz": 5 },
    "b/d": [],
    "ok": { "command": ["a", "\u0000", null], "backoff": { "initial": "-1s" } }
  },
  "err_dir": {}, "defaults": { "stop_timeout": "never" },
  "base": "."
}"#;
    let known = known_keys("", |scope| scope != Scope::File);
    let duration = r#"expected a number of seconds, or "500ms", "8s", "1m30s", "1h""#;
    check(
        text,
        &[
            r#"3:12: programs.web: the key "command" is missing: give an array such as ["program", "argument"]"#,
            r#"3:25: programs.web.restart: unknown value "sometimes": use "always", "on-failure" or "never""#,
            "3:45: programs.web.cwd: expected a string in quotes, got 1",
            "3:48: programs.web.cwd: duplicate key: already defined at 3:38",
            "3:55: programs.web.cwd: the directory is an empty string",
            &format!("3:59: programs.web.zz: unknown key: {known}"),
            r#"4:5: programs."b/d": a name cannot have '/' in it: use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit"#,
            r#"4:12: programs."b/d": the command is empty: give at least the program"#,
            "5:30: programs.ok.command[1]: an argument cannot have a NUL byte in it",
            "5:40: programs.ok.command[2]: expected a string, got null",
            &format!(r#"5:71: programs.ok.backoff.initial: invalid duration "-1s": {duration}"#),
            "7:14: err_dir: expected a string, got an object",
            &format!(r#"7:48: defaults.stop_timeout: invalid duration "never": {duration}"#),
            r#"8:3: base: unknown key (did you mean "base_dir"?)"#,
        ],
    );
}
