//! The command line: what each command prints where, and its exit code.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use crate::common::second_run::binary;
use crate::common::{Need, Scene, missing, process, second_run, tools};

/// What a command that ends by itself said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the binary in the scene's directory with this on stdin.
fn run_with(scene: &Scene, arguments: &[&str], input: &str) -> Said {
    run_at(scene, scene.directory(), arguments, input)
}

/// The same in another directory.
fn run_at(scene: &Scene, directory: &Path, arguments: &[&str], input: &str) -> Said {
    let mut words = vec![binary().to_owned()];
    words.extend(arguments.iter().map(PathBuf::from));
    let mut command = scene.marked(&words);
    command
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, _namespace) = scene.spawn(command).expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It need not be read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        process::marked(scene.mark()),
        [0; 0],
        "{arguments:?} left somebody behind"
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

pub fn run(scene: &Scene, arguments: &[&str]) -> Said {
    run_with(scene, arguments, "")
}

pub fn run_in(scene: &Scene, directory: &Path, arguments: &[&str]) -> Said {
    run_at(scene, directory, arguments, "")
}

/// The names in the scene's directory.
pub fn listing(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.directory()).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn version_and_help_go_to_stdout() {
    let scene = Scene::new();
    for arguments in [["version"], ["-V"]] {
        let said = run(&scene, &arguments);
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            said.out.contains("procsched-min") && said.out.contains(version),
            "{}",
            said.out
        );
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

/// `help run` was wrong usage, and `run --help` printed everything.
#[test]
fn each_command_has_its_own_help() {
    let scene = Scene::new();
    for command in [
        "run", "check", "status", "start", "stop", "restart", "signal", "logs", "events", "wait",
        "reload", "reopen", "shutdown", "demo", "init", "version",
    ] {
        let said = ["--help", "-h"].map(|option| run(&scene, &[command, option]));
        let asked = run(&scene, &["help", command]);
        assert_eq!((asked.code, &*asked.err), (Some(0), ""), "{command}");
        let usage = format!("Usage: procsched-min {command}");
        assert!(asked.out.starts_with(&usage), "{}", asked.out);
        assert!(said.iter().all(|said| said.out == asked.out), "{command}");
        assert!(asked.out.contains("\nExample:\n"), "{command}");
    }
    assert!(listing(&scene).is_empty());
}

/// Whoever typed what another supervisor understands was told "unknown command", and no more.
#[test]
fn commands_of_others_are_answered_with_what_there_is() {
    let scene = Scene::new();
    let cases: [(&[&str], &str); 5] = [
        (&["ps"], "\"status\""),
        (&["up", "web"], "\"start NAME\""),
        (&["tail", "web"], "\"logs NAME\""),
        (&["down"], "\"shutdown\""),
        (&["reread"], "\"reload\""),
    ];
    for (arguments, told) in cases {
        let said = run(&scene, arguments);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}");
        let expected = format!("procsched-min: unknown command {:?}: ", arguments[0]);
        assert!(said.err.starts_with(&expected), "{}", said.err);
        assert!(said.err.contains(told), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1);
    }
    for option in ["-v", "-c", "-d", "-n"] {
        let said = run(&scene, &[option]);
        assert_eq!(said.code, Some(2));
        assert!(!said.err.contains("did you mean"), "{}", said.err);
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
        assert_eq!(
            (said.code, &*said.out),
            (Some(2), ""),
            "{arguments:?}: {}",
            said.err
        );
        let named = arguments.iter().any(|argument| said.err.contains(argument));
        assert!(named, "{arguments:?}: {}", said.err);
    }
    assert!(listing(&scene).is_empty());
}

#[test]
fn check_warns_of_what_cannot_be_executed_and_starts_nothing() {
    let mut scene = Scene::new();
    scene.write("plain", "");
    scene.set("error_handler", json!(["./no-handler"]));
    scene.copy_probe("probe");
    scene.add_raw("fine", json!(["./probe", "touch started"]));
    scene.add_raw("missing", json!(["no-such-command-anywhere"]));
    scene.add_raw("plain", json!(["./plain"]));
    scene.add_raw(
        "own",
        json!({"command": ["true"], "env": {"PATH": "/nowhere"}}),
    );
    scene.write("procsched.json", scene.config());
    let before = listing(&scene);
    let said = run(&scene, &["check"]);
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
    let lines: Vec<&str> = said.err.lines().collect();
    let about = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    let all = lines
        .iter()
        .all(|line| line.contains("procsched.json") && line.contains("warning"));
    assert!(all, "{}", said.err);
    for word in [
        "programs.missing",
        "programs.plain",
        "programs.own",
        "error_handler",
    ] {
        assert_eq!(about(word), 1, "{word}: {}", said.err);
    }
    assert_eq!(
        (lines.len(), about("programs.fine")),
        (4, 0),
        "{}",
        said.err
    );
    assert_eq!(listing(&scene), before, "no log directory, no program");
}

/// `check` tells what `run` then does not get over, and neither starts or creates anything.
#[track_caller]
fn assert_check_foretells_a_refusal(scene: &Scene, key: &str) {
    scene.write("procsched.json", scene.config());
    let before = listing(scene);
    let said = run(scene, &["check"]);
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
    let line = format!("procsched.json: warning: {key}: nothing would be started: failed to use ");
    assert!(said.err.starts_with(&line), "{}", said.err);
    assert_eq!(listing(scene), before, "{}", said.err);
    let said = run(scene, &["run"]);
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
    assert_eq!(listing(scene), before, "{}", said.err);
}

/// A typing error in `err_dir`: `check` said ok, as it looked only at directories that existed, and
/// `run` refused to start anything, again and again under systemd.
#[test]
fn check_tells_of_a_directory_that_cannot_be_used_or_created() {
    for place in ["file", "file/below/it", "dangling", "/proc/no/such/place"] {
        let mut scene = Scene::new();
        scene.write("file", "");
        symlink("nowhere", scene.path("dangling")).expect("a symlink");
        scene.set("err_dir", json!(place));
        scene.add("p", "touch started ; hold");
        assert_check_foretells_a_refusal(&scene, "err_dir");
    }
    for place in ["file", "nowhere"] {
        let mut scene = Scene::new();
        scene.write("file", "");
        let logs = json!(scene.path("logs"));
        scene.set("base_dir", json!(place)).set("err_dir", logs);
        scene.add("p", "touch started ; hold");
        assert_check_foretells_a_refusal(&scene, "base_dir");
    }
}

#[test]
fn check_tells_of_a_log_directory_that_may_not_be_created() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.mkdir("closed");
    scene.chmod("", 0o755);
    scene.set("err_dir", json!("closed/new/logs"));
    scene.add("p", "touch started ; hold");
    scene.setting.user(65_534);
    assert_check_foretells_a_refusal(&scene, "err_dir");
    let said = run(&scene, &["check"]).err;
    assert!(said.contains("closed\": Permission denied"), "{said}");
    let note = "procsched.json: note: control: no orders could be given: there is neither";
    assert!(said.lines().any(|line| line.starts_with(note)), "{said}");
}

/// The container was to end with its main program, which was restarted for ever instead.
#[test]
fn check_warns_of_an_essential_program_that_never_ends_for_good() {
    let mut scene = Scene::new();
    scene.copy_probe("probe");
    for restart in ["always", "on-failure", "never"] {
        let program = json!({"command": ["./probe"], "restart": restart, "essential": true});
        scene.add_raw(restart, program);
    }
    let by_default = json!({"command": ["./probe"], "essential": true});
    scene.add_raw("default", by_default);
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let lines: Vec<&str> = said.err.lines().collect();
    let expected = [
        "procsched.json: warning: programs.always.essential: no effect: with \
         \"restart\": \"always\" the program never ends for good; use \"on-failure\", \"never\" or \"max_restarts\"",
        "procsched.json: warning: programs.default.essential: the same as programs.always.essential",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn check_warns_of_a_start_timeout_that_nothing_can_exceed() {
    let mut scene = Scene::new();
    scene.copy_probe("probe");
    let keys = [
        ("idle", json!({"start_timeout": 5})),
        ("ready", json!({"start_timeout": 5, "ready": "notify"})),
        ("once", json!({"start_timeout": 5, "oneshot": true})),
        ("none", json!({"start_timeout": 0})),
    ];
    for (name, mut keys) in keys {
        keys["command"] = json!(["./probe"]);
        scene.add_raw(name, keys);
    }
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check"]);
    let expected = "procsched.json: warning: programs.idle.start_timeout: no effect: the program is \
                    up as soon as it is executed; give it \"ready\"\n";
    assert_eq!((said.code, said.err.as_str()), (Some(1), expected));
}

/// What is printed is a config; what is missing in it is counted by the exit code.
#[test]
fn import_prints_a_config_that_is_understood() {
    let scene = Scene::new();
    scene.write("Procfile", "web: sleep 5\nworker: sleep 6\n");
    let said = run(&scene, &["import", "Procfile"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    scene.write("procsched.jsonc", &said.out);
    let checked = run(&scene, &["check", "procsched.jsonc"]);
    let words = checked.out + &checked.err;
    assert!(!words.contains("error"), "{words}");
    scene.write(
        "s.conf",
        "[program:a]\ncommand=sleep 5\n[eventlistener:b]\ncommand=c\n",
    );
    let said = run(&scene, &["import", "s.conf"]);
    let expected = "procsched-min: 1 setting has no equal: see the comments\n";
    assert_eq!((said.code, said.err.as_str()), (Some(1), expected));
    assert!(said.out.contains("  // s.conf:3: "), "{}", said.out);
    let said = run(&scene, &["import", "missing"]);
    let expected = "procsched-min: failed to read \"missing\": No such file or directory\n";
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert_eq!(said.err, expected);
}

/// 150,000 commands that were not found took 70 MB, as the same `PATH` stood in each line.
#[test]
fn a_check_does_not_repeat_for_each_program_what_is_long() {
    const PROGRAMS: usize = 300;
    let mut scene = Scene::new();
    let path = format!("/bin{}", ":/no/such/place".repeat(5_000));
    scene.set("defaults", json!({"env": {"PATH": path}, "cwd": "."}));
    for number in 0..PROGRAMS {
        scene.add_raw(&format!("p{number}"), json!([format!("no-{number}")]));
    }
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err.lines().count(), PROGRAMS, "each is told");
    let of_its_own = |line: &str, number: usize| {
        line.contains(&format!("programs.p{number}.")) && line.contains(&format!("\"no-{number}\""))
    };
    let mut lines = said.err.lines().enumerate();
    assert!(lines.all(|(number, line)| of_its_own(line, number)));
    let most = 2_048 + 128 * PROGRAMS;
    assert!(said.err.len() < most, "{} bytes", said.err.len());
}

#[test]
fn check_of_a_good_config_is_code_0_and_starts_nothing() {
    let mut scene = Scene::new();
    scene
        .set("$schema", json!("x"))
        .set("x-note", json!({"any": "thing"}));
    scene.mkdir("bin");
    scene.copy_probe("bin/tool");
    let path = json!({"PATH": scene.path("bin")});
    scene
        .add_raw("fine", json!(["bin/tool", "touch started"]))
        .add_raw("tool", json!({"command": ["tool"], "env": path}));
    scene.write("procsched.json", scene.config());
    let before = listing(&scene);
    for arguments in [&["check"][..], &["check", "procsched.json"]] {
        let said = run(&scene, arguments);
        assert_eq!(
            (said.code, &*said.err),
            (Some(0), ""),
            "{arguments:?}: {}",
            said.err
        );
    }
    let said = run_with(&scene, &["check", "-"], &scene.config());
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    assert_eq!(listing(&scene), before);
}

#[test]
fn the_config_can_come_from_stdin_and_is_relative_to_the_current_directory() {
    let mut scene = Scene::new();
    scene.add_with(
        "p",
        "append ran x ; say words\\n",
        json!({"restart": "never"}),
    );
    let said = run_with(&scene, &["run", "-"], &scene.config());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        (&*scene.read("ran"), &*scene.read("logs/p.stderr.log")),
        ("x", "words\n")
    );
    assert_eq!(said.out.lines().count(), 1);
    assert_eq!(run_with(&scene, &["run", "-"], "{").code, Some(2));
}

/// `cat config.json | procsched-min run /dev/stdin` ran programs in `/dev`, and made its logs there.
#[test]
fn a_config_from_a_pipe_with_a_name_is_relative_to_the_current_directory() {
    let mut scene = Scene::new();
    scene.mkdir("etc");
    let script = "append ran x ; say words\\n";
    scene.add_with("p", script, json!({"restart": "never"}));
    let config = scene.config();
    let fifo = scene.path("etc/fifo");
    let path = CString::new(fifo.as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: `path` is a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    // It waits for a reader, and so is not waited for itself.
    let written = config.clone();
    std::thread::spawn(move || std::fs::write(fifo, written));
    let said = run(&scene, &["run", "etc/fifo"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(scene.read("ran"), "x", "where it was started");
    assert_eq!(scene.read("logs/p.stderr.log"), "words\n");
    assert!(!scene.path("etc/logs").exists());
    if second_run::is_pid1() {
        return tools::skip("an empty root has no /dev/stdin");
    }
    let said = run_with(&scene, &["run", "/dev/stdin"], &config);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(scene.read("ran"), "xx");
    let said = run_with(&scene, &["check", "/dev/stdin"], &config);
    assert_eq!(said.out, "/dev/stdin: ok, 1 program\n", "{}", said.err);
}

/// As long as a file may be: what is read of stdin is not cut off before.
#[test]
fn a_config_of_megabytes_can_come_from_stdin() {
    let mut scene = Scene::new();
    scene.add("p", "exit 0");
    let blanks = " ".repeat(3 * 1024 * 1024);
    let said = run_with(
        &scene,
        &["check", "-"],
        &format!("{blanks}{}", scene.config()),
    );
    assert_eq!((said.code, &*said.err), (Some(0), ""));
}

#[test]
fn the_config_has_a_default_name_and_relative_paths_begin_at_its_directory() {
    let mut scene = Scene::new();
    scene.mkdir("etc");
    scene.mkdir("etc/base");
    scene.set("base_dir", json!("base"));
    scene.add_with(
        "p",
        "append ran x ; say words\\n",
        json!({"restart": "never"}),
    );
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
fn a_base_directory_that_is_missing_is_code_1_and_starts_nothing() {
    let mut scene = Scene::new();
    let logs = json!(scene.path("logs"));
    scene.set("base_dir", json!("nowhere")).set("err_dir", logs);
    scene.add("p", "touch started");
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    assert!(
        supervisor.messages().join("\n").contains("nowhere"),
        "{}",
        supervisor.said()
    );
    assert_eq!(supervisor.report_count(), 0);
}

/// What a chain of programs takes to stop was longer than the orchestrator waits, which nothing said.
#[test]
fn check_warns_of_programs_that_are_killed_before_their_time() {
    let mut scene = Scene::new();
    scene.copy_probe("probe");
    let program = |timeout: u32, requires: &[&str]| json!({"command": ["./probe"], "stop_timeout": timeout, "requires": requires});
    scene.add_raw("web", program(8, &["api"]));
    scene.add_raw("api", program(2, &["db"]));
    scene.add_raw("db", program(20, &[]));
    scene.add_raw("cache", program(25, &[]));
    for (timeout, is_enough) in [(29, false), (30, true)] {
        scene.set("shutdown_timeout", json!(timeout));
        scene.write("procsched.json", scene.config());
        let said = run(&scene, &["check"]);
        if is_enough {
            assert_eq!((said.code, &*said.err), (Some(0), ""));
            continue;
        }
        assert_eq!(said.code, Some(1), "{}", said.err);
        let expected = "procsched.json: warning: shutdown_timeout: programs may be killed before \
                        their stop_timeout: web → api → db take 30s in all, which is longer than \
                        29s\n";
        assert_eq!(said.err, expected);
    }
}

/// Whoever read a config had to know by heart in which order its programs start, and when the last
/// restart is.
#[test]
fn check_explains_what_a_config_comes_to() {
    let mut scene = Scene::new();
    scene.copy_probe("probe");
    scene.set("shutdown_timeout", json!("1m"));
    let keys = json!({"command": ["./probe"], "oneshot": true, "requires": ["db"]});
    scene.add_raw("migrate", keys);
    let keys = json!({"command": ["./probe"], "after": ["migrate"], "max_restarts": 10});
    scene.add_raw("web", keys);
    scene.add_raw("db", json!(["./probe"]));
    scene.write("procsched.json", scene.config());
    let before = listing(&scene);
    let said = run(&scene, &["check", "--explain"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{}", said.out);
    let expected = "\
procsched.json: ok, 3 programs

Start order (a program starts when all that it waits for is up):
  1  db
  2  migrate
  3  web

Up (the others: as soon as they are executed):
  migrate  when it has succeeded

Restarts, with the delay before each (the last one repeats):
  migrate  oneshot
  web      always: 1 2 4 … 60 s, gives up after 10, anew after 30s
  db       always: 1 2 4 … 60 s, anew after 30s

Stop: 30s at most until SIGKILL has gone to all (the longest chain):
  web 10s → migrate 10s → db 10s
  shutdown_timeout: 1m; SIGKILL to what is left after 59s

Each program inherits, if it runs from where this is run:
  environment  ";
    let (start, rest) = said.out.split_at(expected.len().min(said.out.len()));
    assert_eq!(start, expected);
    assert!(rest.contains("\n  limits       nofile "), "{rest}");
    assert_eq!(listing(&scene), before, "nothing is created");
    // Where the socket cannot be made, nothing would be started.
    scene.set("control", json!("missing/its.sock"));
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check"]);
    let directory = scene.path("missing");
    let expected = format!(
        "procsched.json: warning: control: nothing would be started: failed to use the directory \
         {:?}: No such file or directory\n",
        directory.display().to_string()
    );
    assert_eq!((said.code, said.err), (Some(1), expected));
    scene.unset("control");
    // With a warning, too.
    scene.add_raw("no", json!(["./no"]));
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check", "--explain"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("programs.no.command"), "{}", said.err);
    assert!(said.out.starts_with("Start order "), "{}", said.out);
    scene.set("nonsense", json!(1));
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check", "--explain"]);
    assert_eq!((said.code, &*said.out), (Some(2), ""), "{}", said.err);
}

#[test]
fn ten_thousand_programs_are_explained() {
    let mut scene = Scene::new();
    scene.copy_probe("probe");
    for index in 0..10_000_usize {
        let after: Vec<String> = index
            .checked_sub(100)
            .map(|i| format!("p{i}"))
            .into_iter()
            .collect();
        scene.add_raw(
            &format!("p{index}"),
            json!({"command": ["./probe"], "after": after}),
        );
    }
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check", "--explain"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    assert!(
        said.out.contains("\n  100  p9900, p9901, "),
        "a hundred ranks"
    );
    assert!(
        said.out.contains("\nStop: 16m40s at most"),
        "a thousand seconds"
    );
}
