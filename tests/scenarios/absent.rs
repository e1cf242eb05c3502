//! Bugs of features that this supervisor does not have. Who asks for one is told that there is
//! none: a key or a command that is taken in silence is worse than one that is missing.

use serde_json::json;

use crate::common::levers::Tracer;
use crate::common::{Need, Scene, missing, process};
use crate::config_errors::assert_refused;

/// Each of these keys, in a program and at the top of the config, is unknown; and so said.
fn assert_no_such_keys(keys: &[&str]) {
    for key in keys {
        let inside = format!(r#"{{"programs": {{"p": {{"command": ["true"], "{key}": 1}}}}}}"#);
        let path = format!("programs.p.{key}");
        assert_refused(&inside, &[&path, "unknown"]);
        let top = format!(r#"{{"{key}": 1, "programs": {{"p": ["true"]}}}}"#);
        assert_refused(&top, &[key, "unknown"]);
    }
}

/// A delay that is asked for by another's name, and not there, is not taken in silence.
#[test]
fn m107_random_delays_have_one_key() {
    assert_no_such_keys(&["jitter", "randomized_delay", "restart_delay"]);
}

/// Sockets for commands were open to everybody for a moment, or held up by who did not read.
/// With `control: false` there is none: no key, and no such system call in a whole life.
#[test]
fn m155_m156_without_control_there_is_no_socket() {
    assert_no_such_keys(&["socket", "listen", "http", "port"]);
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    let backoff = json!({"backoff": {"initial": "50ms", "max": "50ms"}});
    scene.add_with("p", "wait-file go ; say words\\n ; exit 1", backoff);
    scene.add("steady", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("steady", 1);
    let calls = "trace=socket,socketpair,bind,listen,accept,accept4,wait4,waitid";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", calls]);
    scene.write("go", "");
    supervisor.wait_reports(5);
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["steady", "running"]);
    let kinds = process::descriptor_kinds(supervisor.pid());
    let sockets = kinds.iter().filter(|kind| kind.starts_with("socket"));
    assert_eq!(sockets.count(), 0, "{kinds:?}");
    supervisor.end();
    let lines = tracer.detach();
    let of = |calls: &[&str]| -> Vec<&String> {
        let is_one = |line: &&String| calls.iter().any(|call| line.starts_with(call));
        lines.iter().filter(is_one).collect()
    };
    assert!(of(&["wait"]).len() > 5, "no point: {lines:?}");
    let others = of(&["socket", "bind", "listen", "accept"]);
    assert_eq!(others, [""; 0]);
}
