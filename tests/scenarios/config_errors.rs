//! Configs that are refused: everything that is wrong at once, with its place.

use serde_json::json;

use crate::command_line::{listing, run};
use crate::common::Scene;

/// A scene with this config and nothing else in it.
fn scene_with(config: &str) -> Scene {
    let scene = Scene::new();
    scene.write("procsched.json", config);
    scene
}

/// Both `check` and `run` refuse this config with these words; nothing is started or written.
#[track_caller]
pub fn assert_refused(config: &str, words: &[&str]) -> String {
    let scene = scene_with(config);
    let mut said = String::new();
    for command in ["check", "run"] {
        let refused = run(&scene, &[command]);
        assert_eq!(
            refused.code,
            Some(2),
            "{command} {config:?}: {}",
            refused.err
        );
        assert_eq!(refused.out, "", "{command} {config:?}");
        for word in words {
            assert!(
                refused.err.contains(word),
                "{command} {config:?}: no {word:?} in {}",
                refused.err
            );
        }
        let stray = |char: char| char.is_control() && char != '\n';
        assert!(!refused.err.contains(stray), "{:?}", refused.err);
        assert_eq!(listing(&scene), ["procsched.json"], "{config:?}");
        said = refused.err;
    }
    said
}

#[test]
fn an_error_has_its_place_and_a_suggestion() {
    let config = r#"{
  "base_dir": ".",
  "err_dir": "logs",
  "programs": {
    "web": {
      "command": ["true"],
      "restart": "on-fail"
    }
  }
}
"#;
    let said = assert_refused(config, &[]);
    let expected = "procsched.json:7:18: error: programs.web.restart: unknown value \"on-fail\" \
                    (did you mean \"on-failure\"?)\n";
    assert_eq!(said, expected);
}

#[test]
fn all_errors_are_shown_at_once_in_their_order() {
    let config = r#"{
  "err_dirs": "logs",
  "defaults": { "command": ["x"], "stop_timeout": "8 parsecs" },
  "programs": {
    "bad name": ["true"],
    "a": [],
    "b": { "command": ["true"], "restart": "sometimes", "stop_signal": "KILLALL" },
    "c": { "command": "true", "env": { "A=B": "c", "D": 5 } },
    "d": { "command": ["true"], "backoff": { "initial": 5, "max": 1 }, "essential": 1 },
    "d": ["true"]
  }
}
"#;
    let said = assert_refused(
        config,
        &["err_dirs", "bad name", "KILLALL", "A=B", "essential"],
    );
    let place = |line: &str| -> (u32, u32) {
        let mut parts = line
            .strip_prefix("procsched.json:")
            .expect("the file")
            .splitn(3, ':');
        let mut number = || {
            parts
                .next()
                .and_then(|part| part.parse().ok())
                .expect("a number")
        };
        (number(), number())
    };
    let places: Vec<(u32, u32)> = said.lines().map(place).collect();
    assert!(places.is_sorted(), "{said}");
    for line in 2..=10 {
        if line != 4 {
            assert!(
                places.iter().any(|place| place.0 == line),
                "nothing about line {line}: {said}"
            );
        }
    }
    assert!(said.lines().count() >= 12, "{said}");
    assert!(
        said.lines().all(|line| line.contains(": error: ")),
        "{said}"
    );
}

#[test]
fn m86_a_name_is_always_a_safe_file_name() {
    let long = "x".repeat(65);
    let bad = [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "../x",
        "a\\u0000b",
        "a\\nb",
        "-rf",
        ".hidden",
        "_a",
        "@a",
        "a b",
        "\\u001b[31m",
        "ü",
        "a:b",
        "a*",
        &long,
    ];
    for name in bad {
        let config = format!("{{\"err_dir\": \"logs\", \"programs\": {{\"{name}\": [\"true\"]}}}}");
        assert_refused(&config, &["name"]);
    }
    let longest = "y".repeat(64);
    for name in ["a", "0", "web-1.2_x@host", "a..b", &longest] {
        let mut scene = Scene::new();
        scene.add_with(name, "say words\\n", json!({"restart": "never"}));
        assert_eq!(scene.start().ends_with(0).len(), 1);
        assert_eq!(scene.log(name), b"words\n");
    }
}

#[test]
fn m8_what_can_never_work_is_refused_before_anything_runs() {
    let program =
        |body: &str| format!("{{\"programs\": {{\"ok\": [\"touch\", \"ran\"], \"p\": {body}}}}}");
    let bodies = [
        (r#"["tr\u0000ue"]"#, "programs.p"),
        (r#"["true", "a\u0000b"]"#, "programs.p"),
        (
            r#"{"command": ["true"], "env": {"A\u0000": "x"}}"#,
            "programs.p.env",
        ),
        (
            r#"{"command": ["true"], "env": {"A": "x\u0000"}}"#,
            "programs.p.env",
        ),
        (
            r#"{"command": ["true"], "env": {"": "x"}}"#,
            "programs.p.env",
        ),
        (
            r#"{"command": ["true"], "cwd": "a\u0000"}"#,
            "programs.p.cwd",
        ),
        (
            r#"{"command": ["true"], "stop_timeout": -1}"#,
            "programs.p.stop_timeout",
        ),
        (r#"{"command": ["true"], "stop_timeout": 1e400}"#, "1e400"),
        (
            r#"{"command": ["true"], "report_bytes": -1}"#,
            "programs.p.report_bytes",
        ),
        (
            r#"{"command": ["true"], "report_bytes": 99999999999}"#,
            "programs.p.report_bytes",
        ),
        (
            r#"{"command": ["true"], "stop_signal": 65}"#,
            "programs.p.stop_signal",
        ),
        (r#"{"command": [""]}"#, "programs.p.command"),
        (r#"{"command": [1]}"#, "programs.p.command"),
        (r#"{}"#, "programs.p"),
        ("null", "programs.p"),
    ];
    for (body, word) in bodies {
        let word = if word == "1e400" { "error" } else { word };
        assert_refused(&program(body), &[word]);
    }
}

/// A program with `"stop_signal": "TSTP"`, and a handler for that, was killed ten seconds later at
/// most stops: the SIGCONT behind the stop signal had cancelled it before the handler ran.
#[test]
fn a_stop_signal_that_sigcont_cancels_is_refused() {
    let names = ["STOP", "TSTP", "TTIN", "TTOU"];
    let numbers = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for (name, number) in names.into_iter().zip(numbers) {
        for value in [json!(name), json!(format!("sig{name}")), json!(number)] {
            let config = format!(
                "{{\"programs\": {{\n\"p\": {{\"command\": [\"true\"], \"stop_signal\": {value}}}}}}}"
            );
            let place = "procsched.json:2:43: error: programs.p.stop_signal: ";
            let said = assert_refused(&config, &[place, name, "SIGCONT", "cancels", "TERM"]);
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

/// `"err_dir": "~/logs"` made a directory called `~`, which is a bad thing to remove by hand.
#[test]
fn a_home_directory_that_only_a_shell_knows_is_refused() {
    let program = |body: &str| format!("\"programs\": {{\"p\": {body}}}");
    let fine = program(r#"["true"]"#);
    for (config, key) in [
        (format!(r#""err_dir": "~/logs", {fine}"#), "err_dir"),
        (format!(r#""base_dir": "~/app", {fine}"#), "base_dir"),
        (
            format!(r#""error_handler": ["~/tell"], {fine}"#),
            "error_handler[0]",
        ),
        (
            format!(r#""defaults": {{"cwd": "~/x"}}, {fine}"#),
            "defaults.cwd",
        ),
        (program(r#"["~/bin/web", "~/data"]"#), "programs.p[0]"),
        (
            program(r#"{"command": ["true"], "cwd": "~/data"}"#),
            "programs.p.cwd",
        ),
    ] {
        let said = assert_refused(
            &format!("{{{config}}}"),
            &[
                "procsched.json:1:",
                &format!(": error: {key}: \"~\""),
                "shell",
            ],
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // What a program makes of its arguments is its own matter, and so is a name like this one.
    let mut scene = Scene::new();
    scene.mkdir("~web");
    let keys = json!({"cwd": "~web", "env": {"DATA": "~/data"}, "restart": "never"});
    scene.add_with("p", "touch ~ ; exit 0", keys);
    scene.start().ends_with(0);
    assert!(scene.path("~web/~").exists());
}

#[test]
fn m153_what_is_no_json_has_a_place_too() {
    let cases = [
        ("", "1:1"),
        ("   \n", "error"),
        ("\0", "1:1"),
        ("\u{feff}", "1:1"),
        ("%", "1:1"),
        ("{\"programs\": {\"a\": [\"true", "1:"),
        ("{", "1:"),
        ("[]", "1:1"),
        ("{\"programs\": {\"a\": [\"true\"]}", "1:"),
        ("{\"programs\": {\"a\": [\"tr\nue\"]}}", "1:"),
        (
            "{\n  \"programs\": {\n    \"a\": [\"true\",,]\n  }\n}",
            "3:",
        ),
        ("{\"programs\": {\"a\": [\"\u{1b}[31m\"}}}", "1:"),
        ("{\"programs\": {}}", "programs"),
    ];
    for (config, word) in cases {
        assert_refused(config, &["procsched.json:", word]);
    }
    let config = json!({"err_dir": "logs", "programs": {"a": ["./probe"]}});
    let config = config
        .to_string()
        .replace('{', "{\r\n\t")
        .replace('}', "\r\n}");
    let scene = scene_with(&config);
    scene.copy_probe("probe");
    assert_eq!(run(&scene, &["check"]).code, Some(0), "CRLF is white space");
    scene.write("procsched.json", format!("\u{feff}{config}"));
    assert_eq!(run(&scene, &["check"]).code, Some(0), "so is a BOM");
}

/// Two programs that wrote into one file garbled it. A name is there once, and what only looks
/// like another name on another system has a log of its own.
#[test]
fn m83_no_two_programs_write_into_one_log() {
    let twice = "{\"programs\": {\n  \"a\": [\"true\"],\n  \"b\": [\"true\"],\n  \"a\": [\"ls\"]}}";
    let said = assert_refused(
        twice,
        &["procsched.json:4:3: ", "programs.a: duplicate key"],
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // Composed and not; with a dot of another kind; with a space that is none.
    for name in ["\u{e9}", "e\u{301}", "a\u{2024}b", "a\u{a0}"] {
        let config = format!("{{\"programs\": {{\"{name}\": [\"true\"]}}}}");
        assert_refused(&config, &["name"]);
    }
    let mut scene = Scene::new();
    for name in ["web", "Web", "WEB", "web.", "web-", "web_"] {
        let script = format!("say {name}\\n");
        scene.add_with(name, &script, json!({"restart": "never"}));
    }
    assert_eq!(scene.start().ends_with(0).len(), 6);
    for name in ["web", "Web", "WEB", "web.", "web-", "web_"] {
        assert_eq!(scene.log(name), format!("{name}\n").as_bytes());
    }
}
