//! Whatever a name, a path or a command has in it, a terminal sees text: every output of the
//! binary, with the worst words wherever words of somebody else can stand.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::second_run::binary;
use crate::common::{Scene, probe, wait_for};

/// Escape sequences, in seven bits and in eight; line ends of all kinds; what turns the direction
/// of a text; what cannot be seen; a delete.
const WORST: &str = "e\u{1b}[31m\u{1b}]0;t\u{7}\n\r\t\u{b}\u{c}\u{8}\u{7f}\u{9b}31m\u{85}\u{90}\u{9d}\
    \u{202e}\u{2066}\u{61c}\u{200f}\u{2028}\u{2029}\u{200b}\u{feff}\u{ad}\u{fff9}\u{e0001}z";

/// The same with bytes that are no text at all, where the system allows them.
fn worst_bytes() -> OsString {
    OsString::from_vec([WORST.as_bytes(), b"\xff\xc0\x80\x9b\xed\xa0\x80"].concat())
}

/// Only what a terminal shows, in whole lines.
#[track_caller]
fn assert_harmless(what: &dyn std::fmt::Debug, said: &[u8]) {
    let text = std::str::from_utf8(said).unwrap_or_else(|error| panic!("{what:?}: {error}"));
    let is_harmful = |character: &char| match character {
        '\n' => false,
        '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    };
    let harmful: Vec<char> = text.chars().filter(is_harmful).collect();
    assert!(
        harmful.is_empty(),
        "{what:?} let {harmful:?} through: {text:?}"
    );
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "{what:?}: {text:?}"
    );
}

/// Whether the escape character itself was to be told, and was, as text.
fn tells_it(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    ["\\u{1b}", "\\\\u{1b}", "\\u001b", "\\x1B"]
        .iter()
        .any(|escape| said.contains(escape))
}

/// The binary's code and both outputs, when it has ended.
fn said(scene: &Scene, arguments: &[&OsStr], directory: &Path) -> (Option<i32>, Vec<u8>, Vec<u8>) {
    let mut words = vec![binary().to_owned()];
    words.extend(arguments.iter().map(PathBuf::from));
    let mut command = scene.marked(&words);
    command.current_dir(directory).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (child, _namespace) = scene.spawn(command).expect("the binary can be started");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), output.stdout, output.stderr)
}

/// Each command line is refused, or its command fails, in words that name what was wrong.
#[test]
fn words_of_the_command_line_are_told_escaped() {
    let scene = Scene::new();
    let worst = worst_bytes();
    let option = OsString::from_vec([b"--", worst.as_bytes()].concat());
    let short = OsString::from_vec([b"-r", worst.as_bytes()].concat());
    let rewrite = OsString::from_vec([b"TERM:", worst.as_bytes()].concat());
    let json = OsString::from_vec([worst.as_bytes(), b".json"].concat());
    let relative = OsString::from_vec([b"./", worst.as_bytes()].concat());
    let word = |text: &'static str| OsStr::new(text);
    let table: [(&[&OsStr], i32); 20] = [
        (&[&worst], 2),
        (&[&option], 2),
        (&[&json], 2),
        (&[word("run"), &option], 2),
        (&[word("run"), word("a"), &worst], 2),
        (&[word("run"), &worst], 2),
        (&[word("run"), word("--"), &option], 2),
        (&[word("check"), &worst], 2),
        (&[word("check"), &option], 2),
        (&[word("demo"), &worst], 2),
        (&[word("demo"), &option], 2),
        (&[word("help"), &worst], 2),
        (&[word("version"), &option], 2),
        (&[word("init"), &option], 2),
        (&[word("init"), &short], 2),
        (&[word("init"), word("-r"), &rewrite, word("x")], 2),
        (&[word("init"), word("-e"), &worst, word("x")], 2),
        (&[word("init"), word("-p"), &worst, word("x")], 2),
        (&[word("init"), word("--"), &worst], 127),
        (&[word("init"), word("-v"), word("--"), &relative], 127),
    ];
    for (arguments, expected) in table {
        let (code, out, err) = said(&scene, arguments, scene.directory());
        assert_harmless(&arguments, &err);
        assert!(out.is_empty(), "{arguments:?}: {out:?}");
        assert!(tells_it(&err), "{arguments:?} says nothing of it: {err:?}");
        assert_eq!(code, Some(expected), "{arguments:?}");
        let lines = err.iter().filter(|byte| **byte == b'\n').count();
        let is_whole = lines == 1 || arguments[0] == "init";
        assert!(is_whole, "{arguments:?}: {lines} lines");
    }
}

/// Configs in which everything is wrong that can be, under a name of the worst kind.
#[test]
fn errors_of_a_config_are_told_escaped() {
    let scene = Scene::new();
    let key = |value: Value| json!({WORST: value.clone(), "programs": {WORST: value}}).to_string();
    let in_program = |name: &str, value: Value| {
        json!({"programs": {"web": {"command": ["true"], name: value}}}).to_string()
    };
    let configs: Vec<Vec<u8>> = vec![
        key(json!(["true"])).into_bytes(),
        key(json!(WORST)).into_bytes(),
        key(json!({WORST: WORST, "env": {WORST: 1, "": WORST, "A=": WORST}})).into_bytes(),
        in_program("restart", json!(WORST)).into_bytes(),
        in_program("restart", json!("always\u{202e}")).into_bytes(),
        in_program("stop_signal", json!(WORST)).into_bytes(),
        in_program("stop_timeout", json!(WORST)).into_bytes(),
        in_program("cwd", json!(format!("{WORST}\0"))).into_bytes(),
        in_program(
            "env",
            json!({format!("{WORST}="): WORST, WORST: format!("{WORST}\0")}),
        )
        .into_bytes(),
        in_program("command", json!([WORST, format!("\0{WORST}")])).into_bytes(),
        in_program("report_bytes", json!(WORST)).into_bytes(),
        in_program("backoff", json!({WORST: WORST, "max": WORST})).into_bytes(),
        json!({"base_dir": format!("{WORST}\0"), "err_dir": [WORST], "programs": WORST})
            .to_string()
            .into_bytes(),
        json!({"error_handler": [format!("{WORST}\0")], "defaults": {WORST: WORST}})
            .to_string()
            .into_bytes(),
        WORST.as_bytes().to_vec(),
        format!("{{\"{WORST}\": 1}}").into_bytes(),
        worst_bytes().into_vec(),
        Vec::new(),
    ];
    let path = scene.path(worst_bytes());
    for config in configs {
        fs::write(&path, &config).expect("a config");
        for command in ["run", "check"] {
            let arguments = [OsStr::new(command), path.as_os_str()];
            let (code, out, err) = said(&scene, &arguments, scene.directory());
            let what = String::from_utf8_lossy(&config);
            assert_harmless(&what, &err);
            assert_eq!((code, out.len()), (Some(2), 0), "{what}");
            assert!(tells_it(&err), "{what} says nothing of it: {err:?}");
            let text = String::from_utf8(err).expect("text");
            let is_error = |line: &str| line.contains(": error: ");
            assert!(
                text.lines().all(is_error),
                "{what}: a line of its own: {text}"
            );
        }
    }
}

/// A config that is right, of which everything goes wrong, in a directory of the worst kind.
fn troubled(scene: &Scene, directory: &Path) -> PathBuf {
    let logs = directory.join(format!("logs{WORST}"));
    fs::create_dir_all(&logs).expect("a log directory");
    symlink(WORST, logs.join("link.stderr.log")).expect("a symlink");
    let script = directory.join("script");
    fs::write(&script, b"#!/e\x1b[31m\xc2\x9b\xe2\x80\xae\xff\n").expect("a script");
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
    let missing = format!("./{WORST}");
    let config = json!({
        "err_dir": format!("logs{WORST}"),
        "error_handler": [missing],
        "defaults": {"restart": "never"},
        "programs": {
            "missing": [missing, WORST],
            "path": {"command": [WORST], "env": {"PATH": WORST}},
            "script": ["./script"],
            "cwd": {"command": probe("exit 0"), "cwd": WORST},
            "link": probe("exit 0"),
            "talks": probe("say \\x1b[31m\\xe2\\x80\\xae\\n ; exit 3"),
            "holds": probe("hold"),
        },
    });
    let path = directory.join(worst_bytes());
    fs::write(&path, config.to_string()).expect("a config");
    assert!(path.starts_with(scene.directory()));
    path
}

#[test]
fn warnings_of_a_check_are_told_escaped() {
    let scene = Scene::new();
    let directory = scene.path(worst_bytes());
    fs::create_dir(&directory).expect("a directory");
    let path = troubled(&scene, &directory);
    fs::remove_dir_all(directory.join(format!("logs{WORST}"))).expect("a directory");
    fs::write(directory.join(format!("logs{WORST}")), "").expect("a file");
    let arguments = [OsStr::new("check"), path.as_os_str()];
    let (code, out, err) = said(&scene, &arguments, scene.directory());
    assert_harmless(&"check", &err);
    assert_eq!((code, out.len()), (Some(1), 0));
    let text = String::from_utf8(err).expect("text");
    assert!(
        text.lines().all(|line| line.contains(": warning: ")),
        "{text}"
    );
    for key in [
        "err_dir",
        "error_handler",
        "missing.command",
        "path.command",
        "script.command",
        "cwd.command",
    ] {
        assert!(text.contains(key), "no {key} in {text}");
    }
    fs::write(&path, r#"{"programs": {"fine": ["true"]}}"#).expect("a config");
    let (_, out, err) = said(&scene, &arguments, scene.directory());
    assert_harmless(&"check of a fine one", &[out, err].concat());
}

/// Failed starts, a refused log, a handler that is missing, a status line, a report of all that:
/// the lines of a run for people, and those for programs.
#[test]
fn messages_and_reports_of_a_run_are_told_escaped() {
    let scene = Scene::new();
    let directory = scene.path(worst_bytes());
    fs::create_dir(&directory).expect("a directory");
    let path = troubled(&scene, &directory);
    let outputs = ["out", "err"].map(|name| scene.path(name));
    let mut command = scene.marked(&[binary().to_owned(), "run".into(), path]);
    let [out, err] = outputs
        .each_ref()
        .map(|path| File::create(path).expect("a file"));
    command.stdout(out).stderr(err);
    let mut supervisor = scene.launch_as_is(command);
    let lines = |name: &str, word: &str| {
        scene
            .lines(name)
            .iter()
            .filter(|l| l.contains(word))
            .count()
    };
    wait_for("six ends", || scene.lines("out").len() >= 6);
    wait_for("a program that holds", || {
        lines("err", "holds started") == 1 || lines("err", "holds   started") == 1
    });
    supervisor.signal(libc::SIGUSR1);
    wait_for("a status line", || lines("err", "running") == 1);
    // Another one has no luck with these logs.
    let arguments = [OsStr::new("run"), directory.as_os_str()];
    let config = directory.join(worst_bytes());
    let arguments = [arguments[0], OsStr::new("--no-control"), config.as_os_str()];
    let (code, out, second) = said(&scene, &arguments, Path::new("/"));
    assert_harmless(&"a second run", &second);
    assert_eq!((code, out.len()), (Some(1), 0));
    assert!(tells_it(&second), "{second:?}");
    assert_eq!(supervisor.stop(), 0);
    let [out, err] = outputs.map(|path| fs::read(path).expect("an output"));
    assert_harmless(&"messages", &err);
    assert_harmless(&"reports", &out);
    assert!(tells_it(&err) && tells_it(&out));
    let err = String::from_utf8(err).expect("text");
    let is_ours = |line: &str| line.starts_with("20") && line.get(23..25) == Some("Z ");
    assert!(
        err.lines().all(is_ours),
        "a line that is not its own: {err}"
    );
    for word in [
        "config=",
        "missing",
        "interpreter",
        "not found in PATH",
        "symbolic link",
        r#"last="\u{1b}[31m\u{202e}""#,
    ] {
        assert!(err.contains(word), "no {word:?} in {err}");
    }
    assert_reports(&out, &directory.join(format!("logs{WORST}")));
}

/// Each line is a report, and says exactly what the path is called, escaped or not.
fn assert_reports(out: &[u8], logs: &Path) {
    let lines: Vec<&[u8]> = out
        .strip_suffix(b"\n")
        .expect("a line")
        .split(|b| *b == b'\n')
        .collect();
    assert_eq!(lines.len(), 7);
    let reports = lines
        .iter()
        .map(|line| serde_json::from_slice(line).expect("JSON"));
    let reports: Vec<Value> = reports.collect();
    let of = |name: &str| {
        reports
            .iter()
            .find(|report| report["process"] == name)
            .expect("a report")
    };
    let log = logs.join("talks.stderr.log");
    assert_eq!(of("talks")["log"], *log.to_string_lossy());
    assert_eq!(of("talks")["return_code"], 3);
    for (name, code) in [
        ("missing", 127),
        ("path", 127),
        ("script", 127),
        ("cwd", 125),
    ] {
        assert_eq!(of(name)["return_code"], code);
        assert!(
            of(name)["error"]
                .as_str()
                .is_some_and(|error| error.contains("\\u{")),
            "{name}"
        );
    }
    assert_eq!(
        fs::read(log).expect("a log"),
        "\x1b[31m\u{202e}\n".as_bytes(),
        "raw, as promised"
    );
}

/// The demo tells paths, and what its programs wrote.
#[test]
fn what_the_demo_tells_is_escaped() {
    let scene = Scene::new();
    let directory = scene.path(worst_bytes());
    for exists in [false, true] {
        if exists {
            fs::create_dir(&directory).expect("a directory");
        }
        let outputs = ["out", "err"].map(|name| scene.path(name));
        let mut command = scene.marked(&[binary().to_owned(), "demo".into()]);
        let [out, err] = outputs
            .each_ref()
            .map(|path| File::create(path).expect("a file"));
        command.env("TMPDIR", &directory).stdout(out).stderr(err);
        let mut supervisor = scene.launch_as_is(command);
        if exists {
            wait_for("its begin", || scene.read("err").contains("started"));
            supervisor.signal(libc::SIGTERM);
        }
        let code = supervisor.wait_exit();
        assert_eq!(code == 0, exists, "{code}: {}", scene.read("err"));
        let said = outputs
            .map(|path| fs::read(path).expect("an output"))
            .concat();
        assert_harmless(&"demo", &said);
        assert!(tells_it(&said), "{:?}", String::from_utf8_lossy(&said));
    }
}
