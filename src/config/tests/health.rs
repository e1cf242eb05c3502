//! Checks: what they may try, how `health` is merged with that of the defaults, and what is refused.

use std::path::Path;
use std::time::Duration;

use super::programs::check_keys;
use super::refused::check;
use super::{parse, program, programs_of};
use crate::spec::{ChildSpec, Health, Probe, Ready};

const SECOND: Duration = Duration::from_secs(1);

/// The health check of a program with this `health` of its own, beside that of the defaults.
fn merged(defaults: &str, own: &str) -> Option<Health> {
    let own = format!(r#"{{"command": ["a"]{own}}}"#);
    let spec = program(defaults, &own);
    spec.health.map(|health| *health)
}

fn connect() -> Health {
    Health::connect("127.0.0.1:80").expect("an address")
}

#[test]
fn what_is_left_out_has_its_default() {
    let health = merged("{}", r#", "health": {"connect": "127.0.0.1:80"}"#);
    let expected = connect()
        .interval(10 * SECOND)
        .timeout(5 * SECOND)
        .retries(3);
    assert_eq!(health, Some(expected));
    let all =
        r#", "health": {"command": ["./ok", "x"], "interval": 1, "timeout": "2s", "retries": 1}"#;
    let expected = Health::command(["./ok", "x"])
        .interval(SECOND)
        .timeout(2 * SECOND);
    assert_eq!(merged("{}", all), Some(expected.retries(1)));
    assert_eq!(merged("{}", ""), None);
    let text = r#"{"programs": {"a": ["a"]}}"#;
    assert_eq!(programs_of(text), [ChildSpec::new("a", ["a"])]);
}

#[test]
fn it_merges_key_by_key_and_has_one_thing_to_try() {
    let defaults = r#"{"health": {"connect": "127.0.0.1:80", "interval": 2, "retries": 9}}"#;
    let inherited = connect().interval(2 * SECOND).retries(9);
    assert_eq!(merged(defaults, ""), Some(inherited.clone()));
    assert_eq!(
        merged(defaults, r#", "health": {}"#),
        Some(inherited.clone())
    );
    let own = r#", "health": {"retries": 2}"#;
    assert_eq!(merged(defaults, own), Some(inherited.retries(2)));
    let own = r#", "health": {"command": ["ok"], "interval": 3}"#;
    let expected = Health::command(["ok"]).interval(3 * SECOND).retries(9);
    assert_eq!(merged(defaults, own), Some(expected));
    // Times alone are for programs that have something to try.
    let defaults = r#"{"health": {"timeout": 1}}"#;
    assert_eq!(merged(defaults, ""), None);
    let own = r#", "health": {"connect": "127.0.0.1:80"}"#;
    assert_eq!(merged(defaults, own), Some(connect().timeout(SECOND)));
}

#[test]
fn what_cannot_be_checked_is_refused_at_its_place() {
    let addresses = r#"an address such as "127.0.0.1:8080", or the path of a socket"#;
    let table = [
        (r#""127.0.0.1:80""#, 11, "", r#"expected an object such as {"connect": "127.0.0.1:8080"}, or false, got "127.0.0.1:80""#.to_owned()),
        ("null", 11, "", r#"expected an object such as {"connect": "127.0.0.1:8080"}, or false, got null"#.to_owned()),
        ("{}", 11, "", r#"nothing to try: give either "connect" or "command""#.to_owned()),
        (r#"{"interval": 5}"#, 11, "", r#"nothing to try: give either "connect" or "command""#.to_owned()),
        (r#"{"connect": "[::1]:80", "command": ["a"]}"#, 11, "", r#"it has both: give either "connect" or "command""#.to_owned()),
        (r#"{"connect": 80}"#, 23, ".connect", format!("expected {addresses}, got 80")),
        (r#"{"connect": "localhost:80"}"#, 23, ".connect", r#"invalid address "localhost:80": host names are not looked up: write "127.0.0.1:80" or "[::1]:80""#.to_owned()),
        (r#"{"connect": "127.0.0.1:0"}"#, 23, ".connect", r#"invalid address "127.0.0.1:0": expected a port from 1 to 65535"#.to_owned()),
        (r#"{"connect": "127.0.0.1"}"#, 23, ".connect", r#"invalid address "127.0.0.1": the port is missing: write "127.0.0.1:8080" with the right port"#.to_owned()),
        (r#"{"command": "true"}"#, 23, ".command", r#"expected an array such as ["program", "argument"], got "true""#.to_owned()),
        (r#"{"command": []}"#, 23, ".command", "the command is empty: give at least the program".to_owned()),
        (r#"{"command": ["a"], "interval": 0}"#, 42, ".interval", r#"invalid interval 0: checks would follow each other without a pause: use "1s", for example"#.to_owned()),
        (r#"{"command": ["a"], "timeout": "0s"}"#, 41, ".timeout", r#"invalid timeout 0: every check would fail: use "5s", for example"#.to_owned()),
        (r#"{"command": ["a"], "retries": 0}"#, 41, ".retries", "invalid retries 0: expected 1 or more; 1 ends the run at the first failure".to_owned()),
        (r#"{"command": ["a"], "retries": -1}"#, 41, ".retries", "expected a whole number from 1, got -1".to_owned()),
        (r#"{"command": ["a"], "retrys": 1}"#, 30, ".retrys", r#"unknown key (did you mean "retries"?)"#.to_owned()),
    ];
    for (value, column, key, expected) in table {
        check_keys(&format!(
            "\"health\": {value} => 2:{column}: programs.web.health{key}: {expected}"
        ));
    }
}

#[test]
fn a_program_can_do_without_what_the_defaults_give() {
    let defaults =
        r#"{"ready": {"connect": "127.0.0.1:80"}, "health": {"connect": "127.0.0.1:80"}}"#;
    let own = r#"{"command": ["a"], "ready": false, "health": false, "oneshot": true}"#;
    let expected = ChildSpec::new("web", ["a"]).oneshot(true);
    assert_eq!(program(defaults, own), expected);
    // Nor does anything of it come back.
    let own = r#"{"command": ["a"], "health": false}"#;
    assert_eq!(program(defaults, own).health, None);
    assert_eq!(merged("{}", r#", "health": false"#), None);
    check_keys(
        r#"
        "health": true => 2:11: programs.web.health: expected an object such as {"connect": "127.0.0.1:8080"}, or false, got true"#,
    );
}

/// What is wrong in the defaults is reported once, however many programs inherit it.
#[test]
fn errors_of_the_defaults_are_at_their_place() {
    let file = |health: &str| {
        format!(
            "{{\"defaults\": {{\"health\":\n{health}}},\n\"programs\": {{\"a\": [\"a\"], \"b\": {{\"command\": [\"b\"], \"health\": {{\"retries\": 2}}}}}}}}"
        )
    };
    let both = r#"{"connect": "[::1]:80", "command": ["a"]}"#;
    let expected = r#"2:1: defaults.health: it has both: give either "connect" or "command""#;
    check(&file(both), &[expected]);
    let name = r#"{"connect": "db:80"}"#;
    let expected = r#"2:13: defaults.health.connect: invalid address "db:80": host names are not looked up: write the address, such as "10.0.0.1:80""#;
    check(&file(name), &[expected]);
    let long = format!("{{\"connect\": \"./{}\"}}", "s".repeat(105));
    let expected =
        "2:13: defaults.health.connect: the path has 108 bytes; a socket path can have 107";
    check(&file(&long), &[expected]);
    let nothing = r#"{"interval": 5}"#;
    let expected = r#"3:60: programs.b.health: nothing to try: give either "connect" or "command""#;
    check(&file(nothing), &[expected]);
}

#[test]
fn a_oneshot_has_no_health() {
    check_keys(
        r#"
        "oneshot": true, "health": {"command": ["a"]} => 2:28: programs.web.health: a oneshot has ended when it is up: leave out "health" or "oneshot""#,
    );
}

/// How long a path is shows when the base directory is known, which may come last in the file.
#[test]
fn the_path_of_a_socket_is_as_long_as_a_socket_may_have_it() {
    let file = |socket: &str, base_dir: &str| {
        format!(
            "{{\"programs\": {{\"a\": {{\"command\": [\"a\"], \"health\": {{\"connect\":\n\"{socket}\"}}}}}}, \"base_dir\": \"{base_dir}\"}}"
        )
    };
    let base_dir = format!("/{}", "d".repeat(99));
    assert!(parse(&file("./a.sock", "/srv")).is_ok());
    assert!(
        parse(&file("r/s.sck", &base_dir[..99])).is_ok(),
        "107 bytes"
    );
    let expected =
        "2:1: programs.a.health.connect: the path has 108 bytes; a socket path can have 107";
    check(&file("r/s.sck", &base_dir), &[expected]);
    let spec = &programs_of(&file("r/s.sck", "/srv"))[0];
    assert_eq!(spec.problem_at(Path::new("/srv")), None);
    let problem = spec
        .problem_at(Path::new(&base_dir))
        .expect("it is too long");
    assert_eq!(
        problem,
        "health: the path has 108 bytes; a socket path can have 107"
    );
    let probe = Probe::connect("r/s.sck").expect("a path");
    let spec = ChildSpec::new("a", ["a"]).ready(Ready::Probe(probe));
    assert_eq!(spec.problem_at(Path::new("/srv")), None);
    assert_eq!(
        spec.problem_at(Path::new(&base_dir)).as_deref(),
        Some("ready: the path has 108 bytes; a socket path can have 107")
    );
}
