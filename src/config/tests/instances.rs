//! Programs that are written out, and files of variables.

use std::path::Path;

use super::programs::{check_keys, check_values};
use super::refused::check;
use super::{parse, programs_of, scratch};
use crate::config::{Config, ConfigErrors};
use crate::spec::{Check, ChildSpec, Health};

fn names(text: &str) -> Vec<String> {
    let programs = programs_of(text).into_iter();
    programs.map(|spec| spec.name).collect()
}

#[test]
fn each_instance_has_its_number() {
    let text = r#"{"programs": {
        "web": {
            "command": ["./web", "%i", "%%i"], "instances": 2, "cwd": "w%i",
            "env": {"PORT": "80%i", "%i": "x", "RATE": 5}, "ready": {"command": ["t%i"]},
            "health": {"connect": "127.0.0.1:80%i"}
        },
        "plain": {"command": ["date", "+%i%%"]}
    }}"#;
    let programs = programs_of(text);
    let names: Vec<&str> = programs.iter().map(ChildSpec::name).collect();
    assert_eq!(names, ["web@1", "web@2", "plain"]);
    let second = ChildSpec::new("web@2", ["./web", "2", "%i"])
        .cwd("w2")
        .env("PORT", "802")
        .env("%i", "x")
        .env("RATE", "5")
        .ready(crate::spec::Ready::Probe(crate::spec::Probe::command([
            "t2",
        ])))
        .health(Health::connect("127.0.0.1:802").unwrap())
        .env("PROCSCHED_INSTANCE", "2");
    assert_eq!(programs[1], second);
    assert_eq!(programs[2], ChildSpec::new("plain", ["date", "+%i%%"]));
    let ready = programs[0].ready_probe().map(|probe| probe.check().clone());
    assert_eq!(ready, Some(Check::Command(vec!["t1".into()])));
}

/// A name stands for all instances of it.
#[test]
fn links_to_instances_are_links_to_all_of_them() {
    let text = r#"{"programs": {
        "a": {"command": ["a"], "requires": ["web"], "after": ["db@2"]},
        "web": {"command": ["b"], "instances": 3, "after": ["db"]},
        "db": {"command": ["c"], "instances": 2}
    }}"#;
    let programs = programs_of(text);
    assert_eq!(programs[0].requires, ["web@1", "web@2", "web@3"]);
    assert_eq!(programs[0].after, ["db@2"]);
    for web in &programs[1..4] {
        assert_eq!(web.after, ["db@1", "db@2"]);
    }
    let one = r#"{"programs": {"w": {"command": ["a"], "instances": 1}}}"#;
    assert_eq!(names(one), ["w@1"]);
    check(
        r#"{"programs": {
"a": {"command": ["a"], "requires": ["b"], "instances": 2},
"b": {"command": ["b"], "requires": ["a"]}}}"#,
        &[
            "2:37: programs.a.requires: a cycle: a@1 → b → a@1",
            "2:37: programs.a.requires: a cycle: a@2 → b → a@2",
        ],
    );
}

#[test]
fn instances_that_cannot_be() {
    check_values(
        "instances",
        r#"
        0 => invalid instances 0: expected 1 to 10000
        10001 => invalid instances 10001: expected 1 to 10000
        "2" => expected a whole number from 1 to 10000, got "2"
        -1 => expected a whole number from 1 to 10000, got -1"#,
    );
    check_keys(
        r#"
        "instances": 3, "cwd": "50%" => 2:24: programs.web.cwd: a program with instances has % only as %i, its number, and as %%, which is %
        "instances": 3, "requires": ["web"] => 2:30: programs.web.requires[0]: "web" cannot wait for itself
        "instances": 3, "requires": ["web@4"] => 2:30: programs.web.requires[0]: no program "web@4" (did you mean "web@1"?)"#,
    );
    let clash = "\"web@2\" is the name of an instance and of another program: rename one of them";
    check(
        "{\"programs\": {\"web\": {\"command\": [\"a\"], \"instances\": 2},\n\"web@2\": [\"b\"]}}",
        &[&format!("2:1: programs.web@2: {clash}")],
    );
    check(
        "{\"programs\": {\"web@2\": [\"b\"],\n\"web\": {\"command\": [\"a\"], \"instances\": 2}}}",
        &[&format!("2:1: programs.web: {clash}")],
    );
    let long = "n".repeat(63);
    let text =
        format!("{{\"programs\": {{\"{long}\": {{\"command\": [\"a\"], \"instances\": 1}}}}}}");
    let errors = parse(&text).unwrap_err().to_string();
    assert!(errors.contains("the name has 65 bytes"), "{errors}");
    let in_defaults = r#"{"programs": {"w": ["a"]}, "defaults": {"instances": 2}}"#;
    let errors = parse(in_defaults).unwrap_err().to_string();
    assert!(
        errors.contains("defaults.instances: unknown key"),
        "{errors}"
    );
}

fn parse_in(directory: &Path, keys: &str, defaults: &str) -> Result<Vec<ChildSpec>, ConfigErrors> {
    let text = format!(
        r#"{{"programs": {{"web": {{"command": ["a"], {keys}}}}}, "defaults": {defaults}}}"#
    );
    Ok(Config::parse(text.as_bytes(), "f", directory)?.programs)
}

#[test]
fn later_files_win_and_env_wins_over_all() {
    let directory = scratch();
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("a file");
    };
    write("one.env", "A=1\nB=1\nC=1\n");
    write("two.env", "B=2\nC=2\nB=3\n");
    write("1.env", "N=one\n");
    let spec = |keys: &str, defaults: &str| {
        let programs = parse_in(directory.path(), keys, defaults);
        let env = programs
            .unwrap_or_else(|errors| panic!("{errors}"))
            .remove(0)
            .env;
        let text = |(key, value): &(std::ffi::OsString, std::ffi::OsString)| {
            format!("{}={}", key.display(), value.display())
        };
        env.iter().map(text).collect::<Vec<_>>().join(" ")
    };
    let both = r#""env_file": ["one.env", "-two.env", "-missing.env"], "env": {"C": 9}"#;
    assert_eq!(spec(both, "{}"), "A=1 B=3 C=9");
    assert_eq!(spec(r#""env_file": "one.env""#, "{}"), "A=1 B=1 C=1");
    let defaults = r#"{"env_file": "one.env", "env": {"A": "d"}}"#;
    assert_eq!(spec(r#""cwd": "x""#, defaults), "B=1 C=1 A=d");
    assert_eq!(spec(r#""env_file": []"#, defaults), "A=d");
    let own = r#""env_file": "two.env", "env": {"B": 0}"#;
    assert_eq!(spec(own, defaults), "C=2 A=d B=0");
    let instance = r#""instances": 1, "env_file": "%i.env""#;
    assert_eq!(spec(instance, "{}"), "N=one PROCSCHED_INSTANCE=1");
}

#[test]
fn files_that_cannot_be_used() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("directory")).expect("a directory");
    std::fs::write(at("long.env"), "#".repeat(65 * 1024)).expect("a file");
    std::fs::write(at("wrong.env"), "A=1\n\nB=$A\n").expect("a file");
    for (name, problem) in [
        ("directory", "failed to read PATH: it is not a regular file"),
        ("long.env", "failed to read PATH: it is longer than 64 KiB"),
        (
            "missing.env",
            "failed to read PATH: No such file or directory",
        ),
        (
            "wrong.env",
            "PATH, line 3: B: systemd, compose and a shell read '$' differently: put the value into \
             single quotes",
        ),
    ] {
        for (keys, place) in [
            (
                format!("\"env_file\": \"{name}\""),
                "1:53: error: programs.web.env_file",
            ),
            (
                format!("\"env_file\": [\"{name}\"]"),
                "1:54: error: programs.web.env_file[0]",
            ),
        ] {
            let errors = parse_in(directory.path(), &keys, "{}")
                .unwrap_err()
                .to_string();
            let path = format!("{:?}", at(name));
            assert_eq!(
                errors,
                format!("f:{place}: {}", problem.replace("PATH", &path))
            );
        }
    }
    // What may be missing may not be wrong.
    let keys = r#""env_file": ["-wrong.env", "-directory"]"#;
    let errors = parse_in(directory.path(), keys, "{}")
        .unwrap_err()
        .to_string();
    assert_eq!(errors.lines().count(), 2, "{errors}");
    check_values(
        "env_file",
        r#"
        7 => expected a path, or an array such as ["app.env", "-local.env"], got 7
        "-" => the path is an empty string"#,
    );
}

/// A file that is gone when the config is read anew: nothing has changed then.
#[test]
fn a_file_that_vanishes_before_a_reload_is_an_error() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("a.env"), "A=1\n").expect("a file");
    let text = r#"{"programs": {"web": {"command": ["a"], "env_file": "a.env"}}}"#;
    std::fs::write(at("procsched.json"), text).expect("a file");
    let config = Config::load(at("procsched.json")).unwrap_or_else(|errors| panic!("{errors}"));
    std::fs::write(at("a.env"), "A=2\n").expect("a file");
    let again = config.reload().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.programs[0].env, [("A".into(), "2".into())]);
    std::fs::remove_file(at("a.env")).expect("it is there");
    let errors = config.reload().unwrap_err().to_string();
    assert!(
        errors.contains("a.env\": No such file or directory"),
        "{errors}"
    );
}
