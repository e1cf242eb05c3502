//! The commands of the operator on a terminal: what is redrawn, coloured and escaped there, and
//! not where a script reads it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::common::operator::{control, wait_state};
use crate::common::pty::{Pty, Session};
use crate::common::scene::{self, Scene};
use crate::common::second_run::binary;
use crate::common::{Supervisor, wait_for};

/// What a program says that tries to take over the terminal: a new title, and a bell.
const EVIL: &str = "say evil\\x1b]0\\x3bowned\\x07\\n";

/// The same as a terminal may show it.
const ESCAPED: &str = "evil\\u{1b}]0;owned\\u{7}";

/// What stands before each look: the cursor in the corner of an empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// A command of the operator in the language of a terminal with colours.
fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut words = vec![binary().to_owned()];
    words.extend(arguments.iter().map(PathBuf::from));
    words.extend(["--socket".into(), scene.path("control.sock")]);
    let mut command = scene.marked(&words);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// Starts one whose stdout is a pipe, as in a script.
fn piped(scene: &Scene, arguments: &[&str]) -> Child {
    let mut command = command(scene, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    scene::spawn(&mut command).expect("it can be started")
}

/// A program that runs, and one that said something evil last and waits for its restart.
fn start() -> (Scene, Supervisor) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let late = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add("web", "hold");
    scene.add_with("evil", &format!("{EVIL} ; exit 3"), late);
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    wait_state(&supervisor, &path, "evil", "backoff");
    (scene, supervisor)
}

/// Waits for the end of a command on a terminal, and returns what it has shown.
#[track_caller]
fn shown(pty: &Pty, mut session: Session, code: i32) -> String {
    assert_eq!(session.wait_exit(), code, "{:?}", pty.screen());
    pty.last_screen()
}

#[test]
fn a_watched_status_is_redrawn_until_ctrl_c() {
    let (scene, supervisor) = start();
    let (pty, session) = Pty::start(command(&scene, &["status", "--watch=100ms"]));
    let looks = || pty.screen().matches(CLEAR).count();
    wait_for("three looks", || looks() >= 3);
    // What has changed is in the next one.
    let stop = piped(&scene, &["stop", "evil"]).wait_with_output();
    assert_eq!(stop.expect("it ends").status.code(), Some(0));
    pty.wait_screen("stopped\x1b[0m");
    pty.keys("\x03");
    let screen = shown(&pty, session, 130);
    assert!(screen.starts_with(CLEAR), "{screen:?}");
    assert!(screen.contains("\x1b[32mrunning\x1b[0m"), "{screen:?}");
    assert!(screen.contains(ESCAPED), "{screen:?}");
    assert!(
        !screen.contains("\x1b]") && !screen.contains('\x07'),
        "{screen:?}"
    );
    // On a pipe there is no screen to clear, and no colour.
    let mut watch = piped(&scene, &["status", "--watch=100ms"]);
    let mut text = [0; 512];
    let mut stdout = watch.stdout.take().expect("a pipe");
    let count = stdout.read(&mut text).expect("a look");
    watch.kill().expect("it runs");
    watch.wait().expect("it has ended");
    let text = String::from_utf8_lossy(&text[..count]);
    assert!(text.contains("web") && !text.contains('\x1b'), "{text:?}");
    supervisor.end();
}

#[test]
fn logs_are_escaped_on_a_terminal_unless_they_are_wanted_raw() {
    let (scene, supervisor) = start();
    let raw = "evil\x1b]0;owned\x07";
    wait_for("the log", || scene.log("evil").ends_with(b"\x07\n"));
    let on_terminal = |arguments: &[&str]| {
        let (pty, session) = Pty::start(command(&scene, arguments));
        shown(&pty, session, 0)
    };
    // A reset ends the colours, should there be any.
    assert_eq!(
        on_terminal(&["logs", "evil"]),
        format!("{ESCAPED}\x1b[0m\r\n")
    );
    assert_eq!(
        on_terminal(&["logs", "evil", "--color", "never"]),
        format!("{ESCAPED}\r\n")
    );
    assert_eq!(
        on_terminal(&["logs", "evil", "--raw"]),
        format!("{raw}\r\n")
    );
    for arguments in [&["logs", "evil"][..], &["logs", "evil", "--raw"]] {
        let output = piped(&scene, arguments).wait_with_output();
        let output = output.expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, format!("{raw}\n"), "{arguments:?}");
    }
    supervisor.end();
}
