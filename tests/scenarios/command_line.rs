//! The command line and the config: exit codes, and everything that is wrong at once.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;

use crate::common::scene::{BINARY, spawn};
use crate::common::{Scene, Supervisor, process};

/// What a command that ends by itself said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the binary in the scene's directory with this on stdin.
fn run_with(scene: &Scene, arguments: &[&str], input: &str) -> Said {
    let mut words = vec![PathBuf::from(BINARY)];
    words.extend(arguments.iter().map(PathBuf::from));
    let mut command = scene.marked(&words);
    command.current_dir(scene.directory());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command).expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It need not be read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(process::marked(scene.mark()), [0; 0], "{arguments:?} left somebody behind");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn run(scene: &Scene, arguments: &[&str]) -> Said {
    run_with(scene, arguments, "")
}

/// The names in the scene's directory.
fn listing(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.directory()).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A scene with this config and nothing else in it.
fn scene_with(config: &str) -> Scene {
    let scene = Scene::new();
    scene.write("procsched.json", config);
    scene
}

/// Both `check` and `run` refuse this config with these words; nothing is started or written.
#[track_caller]
fn assert_refused(config: &str, words: &[&str]) -> String {
    let scene = scene_with(config);
    let mut said = String::new();
    for command in ["check", "run"] {
        let refused = run(&scene, &[command]);
        assert_eq!(refused.code, Some(2), "{command} {config:?}: {}", refused.err);
        assert_eq!(refused.out, "", "{command} {config:?}");
        for word in words {
            assert!(refused.err.contains(word), "{command} {config:?}: no {word:?} in {}", refused.err);
        }
        let stray = |char: char| char.is_control() && char != '\n';
        assert!(!refused.err.contains(stray), "{:?}", refused.err);
        assert_eq!(listing(&scene), ["procsched.json"], "{config:?}");
        said = refused.err;
    }
    said
}

#[test]
fn version_and_help_go_to_stdout() {
    let scene = Scene::new();
    for arguments in [["version"], ["-V"]] {
        let said = run(&scene, &arguments);
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(said.out.contains("procsched-min") && said.out.contains(version), "{}", said.out);
        assert_eq!(said.out.lines().count(), 1);
    }
    for arguments in [["help"], ["-h"]] {
        let said = run(&scene, &arguments);
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
        for word in ["run", "check", "demo", "version", "procsched.json", "stdin"] {
            assert!(said.out.contains(word), "no {word} in the help");
        }
    }
}

#[test]
fn wrong_usage_is_code_2_on_stderr() {
    let scene = Scene::new();
    let cases: [&[&str]; 6] = [
        &["frobnicate"],
        &["run", "a.json", "b.json"],
        &["--frobnicate"],
        &["demo", "extra"],
        &["run", "no-such-file.json"],
        &["check", "no-such-file.json"],
    ];
    for arguments in cases {
        let said = run(&scene, arguments);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}: {}", said.err);
        let named = arguments.iter().any(|argument| said.err.contains(argument));
        assert!(named, "{arguments:?}: {}", said.err);
    }
    assert!(listing(&scene).is_empty());
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
    let said = assert_refused(config, &["err_dirs", "bad name", "KILLALL", "A=B", "essential"]);
    let place = |line: &str| -> (u32, u32) {
        let mut parts = line.strip_prefix("procsched.json:").expect("the file").splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number");
        (number(), number())
    };
    let places: Vec<(u32, u32)> = said.lines().map(place).collect();
    assert!(places.is_sorted(), "{said}");
    for line in 2..=10 {
        if line != 4 {
            assert!(places.iter().any(|place| place.0 == line), "nothing about line {line}: {said}");
        }
    }
    assert!(said.lines().count() >= 12, "{said}");
    assert!(said.lines().all(|line| line.contains(": error: ")), "{said}");
}

#[test]
fn m86_a_name_is_always_a_safe_file_name() {
    let long = "x".repeat(65);
    let bad = [
        "", ".", "..", "a/b", "/a", "../x", "a\\u0000b", "a\\nb", "-rf", ".hidden", "_a", "@a", "a b",
        "\\u001b[31m", "ü", "a:b", "a*", &long,
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
    let program = |body: &str| format!("{{\"programs\": {{\"ok\": [\"touch\", \"ran\"], \"p\": {body}}}}}");
    let bodies = [
        (r#"["tr\u0000ue"]"#, "programs.p"),
        (r#"["true", "a\u0000b"]"#, "programs.p"),
        (r#"{"command": ["true"], "env": {"A\u0000": "x"}}"#, "programs.p.env"),
        (r#"{"command": ["true"], "env": {"A": "x\u0000"}}"#, "programs.p.env"),
        (r#"{"command": ["true"], "env": {"": "x"}}"#, "programs.p.env"),
        (r#"{"command": ["true"], "cwd": "a\u0000"}"#, "programs.p.cwd"),
        (r#"{"command": ["true"], "stop_timeout": -1}"#, "programs.p.stop_timeout"),
        (r#"{"command": ["true"], "stop_timeout": 1e400}"#, "1e400"),
        (r#"{"command": ["true"], "report_bytes": -1}"#, "programs.p.report_bytes"),
        (r#"{"command": ["true"], "report_bytes": 99999999999}"#, "programs.p.report_bytes"),
        (r#"{"command": ["true"], "stop_signal": 65}"#, "programs.p.stop_signal"),
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

#[test]
fn m153_what_is_no_json_has_a_place_too() {
    let cases = [
        ("", "1:1"),
        ("   \n", "error"),
        ("{", "1:"),
        ("[]", "1:1"),
        ("{\"programs\": {\"a\": [\"true\"]}", "1:"),
        ("{\"programs\": {\"a\": [\"tr\nue\"]}}", "1:"),
        ("{\n  \"programs\": {\n    \"a\": [\"true\",]\n  }\n}", "3:"),
        ("{\"programs\": {\"a\": [\"\u{1b}[31m\"}}}", "1:"),
        ("{\"programs\": {}}", "programs"),
    ];
    for (config, word) in cases {
        assert_refused(config, &["procsched.json:", word]);
    }
    let scene = scene_with("{\r\n\t\"programs\": {\r\n\"a\": [\"true\"]}\r\n}\r\n");
    assert_eq!(run(&scene, &["check"]).code, Some(0), "CRLF is white space");
}

#[test]
fn check_warns_of_what_cannot_be_executed_and_starts_nothing() {
    let mut scene = Scene::new();
    scene.write("plain", "");
    scene.set("error_handler", json!(["./no-handler"]));
    scene.add("fine", "touch started");
    scene.add_raw("missing", json!(["no-such-command-anywhere"]));
    scene.add_raw("plain", json!(["./plain"]));
    scene.add_raw("own", json!({"command": ["true"], "env": {"PATH": "/nowhere"}}));
    scene.write("procsched.json", scene.config());
    let before = listing(&scene);
    let said = run(&scene, &["check"]);
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
    let lines: Vec<&str> = said.err.lines().collect();
    let about = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    let all = lines.iter().all(|line| line.contains("procsched.json") && line.contains("warning"));
    assert!(all, "{}", said.err);
    for word in ["programs.missing", "programs.plain", "programs.own", "error_handler"] {
        assert_eq!(about(word), 1, "{word}: {}", said.err);
    }
    assert_eq!((lines.len(), about("programs.fine")), (4, 0), "{}", said.err);
    assert_eq!(listing(&scene), before, "no log directory, no program");
}

#[test]
fn check_of_a_good_config_is_code_0_and_starts_nothing() {
    let mut scene = Scene::new();
    scene.set("$schema", json!("x")).set("x-note", json!({"any": "thing"}));
    scene.add("fine", "touch started").add_raw("true", json!(["true"]));
    scene.write("procsched.json", scene.config());
    let before = listing(&scene);
    for arguments in [&["check"][..], &["check", "procsched.json"]] {
        let said = run(&scene, arguments);
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}: {}", said.err);
    }
    let said = run_with(&scene, &["check", "-"], &scene.config());
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    assert_eq!(listing(&scene), before);
}

#[test]
fn the_config_can_come_from_stdin_and_is_relative_to_the_current_directory() {
    let mut scene = Scene::new();
    scene.add_with("p", "append ran x ; say words\\n", json!({"restart": "never"}));
    let said = run_with(&scene, &["run", "-"], &scene.config());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!((&*scene.read("ran"), &*scene.read("logs/p.stderr.log")), ("x", "words\n"));
    assert_eq!(said.out.lines().count(), 1);
    assert_eq!(run_with(&scene, &["run", "-"], "{").code, Some(2));
}

#[test]
fn the_config_has_a_default_name_and_relative_paths_begin_at_its_directory() {
    let mut scene = Scene::new();
    scene.mkdir("etc");
    scene.mkdir("etc/base");
    scene.set("base_dir", json!("base"));
    scene.add_with("p", "append ran x ; say words\\n", json!({"restart": "never"}));
    scene.write("etc/procsched.json", scene.config());
    let said = run(&scene, &["run", "etc/procsched.json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(scene.read("etc/base/ran"), "x");
    assert_eq!(scene.read("etc/base/logs/p.stderr.log"), "words\n");
    scene.mkdir("base");
    scene.write("procsched.json", scene.config());
    assert_eq!(run(&scene, &["run"]).code, Some(0));
    assert_eq!(scene.read("base/ran"), "x");
}

#[test]
fn a_base_directory_that_is_missing_is_code_1_or_2_and_starts_nothing() {
    let mut scene = Scene::new();
    let logs = json!(scene.path("logs"));
    scene.set("base_dir", json!("nowhere")).set("err_dir", logs);
    scene.add("p", "touch started");
    let mut supervisor: Supervisor = scene.start();
    let code = supervisor.wait_exit();
    assert!([1, 2].contains(&code), "{}", supervisor.said());
    assert!(supervisor.messages().join("\n").contains("nowhere"), "{}", supervisor.said());
    assert_eq!(supervisor.report_count(), 0);
}
