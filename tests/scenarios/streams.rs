//! stdout and stderr of programs: where each of them goes.

use std::fs;

use serde_json::json;

use crate::common::{Pattern, Scene, operator, process, wait_for};
use crate::stderr_pipe::spewed;

fn stdout_log(scene: &Scene, name: &str) -> Vec<u8> {
    fs::read(scene.path(format!("logs/{name}.stdout.log"))).unwrap_or_default()
}

/// What follows is what was written, byte for byte, and in the log of the stream that it was written
/// to.
#[test]
fn both_streams_are_logged_byte_for_byte_and_apart() {
    const BYTES: usize = 5 << 20;
    let mut scene = Scene::new();
    let script = format!(
        "fork {{ spew {BYTES} flat 1 ; touch done }} ; spew {BYTES} lines ; wait-file done ; exit 1"
    );
    let keys = json!({"stdout": "log", "restart": "never"});
    scene.add_with("p", &script, keys);
    let reports = scene.start().ends_with(1);
    assert!(stdout_log(&scene, "p") == spewed(Pattern::Flat, BYTES));
    let lines = spewed(Pattern::Lines, BYTES);
    assert!(scene.log("p") == lines);
    assert!(reports[0].data() == lines[BYTES - 65_536..]);
    let log = reports[0].get("log").as_str();
    assert!(
        log.is_some_and(|log| log.ends_with("/p.stderr.log")),
        "{log:?}"
    );
}

#[test]
fn stdout_that_goes_where_stderr_goes_is_in_its_order() {
    let mut scene = Scene::new();
    let script = "repeat 300 { say out\\n 1 ; say err\\n 2 } ; exit 1";
    let keys = json!({"stdout": "stderr", "restart": "never"});
    scene.add_with("p", script, keys);
    let reports = scene.start().ends_with(1);
    let expected = b"out\nerr\n".repeat(300);
    assert!(scene.log("p") == expected);
    assert!(reports[0].data() == expected);
    assert!(!scene.path("logs/p.stdout.log").exists());
}

/// A read-only root needs no directory for logs where no program has one.
#[test]
fn without_a_log_there_is_no_directory_of_logs() {
    let mut scene = Scene::new();
    let keys = json!({"stderr": "null", "restart": "never"});
    scene.add_with("p", "say lost\\n ; say lost\\n 1 ; exit 3", keys);
    scene.set("err_dir", json!("/dev/null/logs"));
    let supervisor = scene.start();
    let message = supervisor.wait_message(&["p", "exited"]);
    assert!(message.contains("code=3"), "{message}");
    assert!(!message.contains("last="), "{message}");
    let reports = supervisor.ends_with(1);
    assert_eq!(reports[0].data(), b"");
    assert_eq!(reports[0].get("log"), &json!(null));
    // One log is enough to need it.
    let both = json!({"stderr": "null", "stdout": "log", "restart": "never"});
    scene.remove("p").add_with("p", "hold", both);
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 1);
    supervisor.wait_message(&["failed to use the log directory \"/dev/null/logs\""]);
}

/// The directory is made when the first program comes that has a log.
#[test]
fn a_log_that_a_reload_brings_has_its_directory() {
    let mut scene = Scene::new();
    scene.add_with("p", "hold", json!({"stderr": "null"}));
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    assert!(!scene.path("logs").exists());
    let kinds = process::quiet_descriptor_kinds(supervisor.pid());
    let pipes = |kinds: &[String]| kinds.iter().filter(|kind| *kind == "pipe").count();
    scene.remove("p");
    let keys = json!({"stderr": "null", "stdout": "log"});
    scene.add_with("p", "say new\\n 1 ; hold", keys);
    fs::write(scene.config_path(), scene.config()).expect("a config");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["~ p", "will be restarted: command, stdout"]);
    assert_ne!(supervisor.wait_started("p", 2), pid);
    wait_for("its word", || stdout_log(&scene, "p") == b"new\n");
    let after = process::quiet_descriptor_kinds(supervisor.pid());
    assert_eq!(pipes(&after), pipes(&kinds) + 1, "{after:?}");
    // And goes with it.
    scene.remove("p");
    scene.add_with("p", "touch back ; hold", json!({"stderr": "null"}));
    fs::write(scene.config_path(), scene.config()).expect("a config");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_started("p", 3);
    scene.wait_file("back");
    wait_for("the descriptors of before", || {
        process::quiet_descriptor_kinds(supervisor.pid()) == kinds
    });
    supervisor.end();
}

/// A process that left its group holds the pipes of the run before: what it says on each goes to
/// its log.
#[test]
fn what_an_escaped_process_says_on_stdout_is_logged() {
    let mut scene = Scene::new();
    let script = "once first { anonymous ; escape { wait-file go ; say late\\n 1 ; touch said ; hold } ; \
                  say first\\n 1 ; exit 1 } ; say second\\n 1 ; hold";
    let keys = json!({
        "stdout": "log",
        "backoff": {"initial": "1ms", "max": "1ms"},
    });
    scene.add_with("p", script, keys);
    let supervisor = scene.start();
    supervisor.wait_started("p", 2);
    wait_for("both runs", || {
        stdout_log(&scene, "p") == b"first\nsecond\n"
    });
    scene.write("go", "");
    scene.wait_file("said");
    wait_for("the late word", || {
        stdout_log(&scene, "p") == b"first\nsecond\nlate\n"
    });
    supervisor.end();
}

#[test]
fn status_and_logs_know_the_log_of_stdout() {
    let mut scene = Scene::new();
    let socket = operator::control(&mut scene);
    scene.add_with("p", "say hello\\n 1 ; hold", json!({"stdout": "log"}));
    scene.add("q", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("q", 1);
    let path = scene.path("logs/p.stdout.log");
    let told = operator::status(&socket, "p");
    assert_eq!(told["stdout_log"], json!(path.to_string_lossy()));
    assert_eq!(operator::status(&socket, "q")["stdout_log"], json!(null));
    wait_for("its word", || stdout_log(&scene, "p") == b"hello\n");
    supervisor.end();
}
