//! The hosts of the guide's page on embedding, as they stand there: each is built and run.

use std::fs;
use std::path::{Path, PathBuf};

use super::blocks::file;
use crate::common::{Scene, Supervisor, tools};

/// Where their sources are, which are built as examples.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

/// Fails in its first run, and stays in its second.
const WORKER: &str = "#!/bin/sh
echo up >>worker.runs
test \"$(wc -l <worker.runs)\" -gt 1 || { echo no database >&2; exit 3; }
exec sleep 1000
";

const WEB: &str = "#!/bin/sh
echo \"$*\" >>web.runs
exec sleep 1000
";

/// Starts a host beside its programs, and waits until one of them has died and is up again.
#[track_caller]
fn start(scene: &Scene, name: &str) -> Supervisor {
    scene.write_executable("web", WEB);
    scene.write_executable("worker", WORKER);
    let path = tools::example(name);
    // The library may be newer.
    tools::build_example(&path);
    let mut command = scene.marked(&[path]);
    command.current_dir(scene.directory());
    let host = scene.launch(command);
    host.wait_message(&["worker died, code 3"]);
    scene.wait_lines("worker.runs", 2);
    assert_eq!(scene.wait_lines("web.runs", 1), ["--port 8000"]);
    assert_eq!(scene.log("worker"), b"no database\n");
    host
}

#[test]
fn the_guide_shows_the_hosts_that_are_run() {
    for name in ["blocking.rs", "poll_loop.rs", "runtime.rs"] {
        let source = fs::read_to_string(sources().join(name)).expect("a source");
        assert!(
            file(name) == source,
            "the guide's {name} is not tests/hosts/{name}: copy one to the other"
        );
    }
}

#[test]
fn a_host_that_blocks_sees_a_death_and_stops() {
    let scene = Scene::new();
    let host = start(&scene, "blocking");
    host.wait_message(&["worker died, code 3: no database"]);
    host.end();
}

#[test]
fn a_host_with_a_poll_loop_answers_sees_a_death_and_stops() {
    let scene = Scene::new();
    let host = start(&scene, "poll_loop");
    let told = host.wait_message(&["listening on "]);
    let (_, address) = told.split_once("listening on ").expect("an address");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket
        .set_read_timeout(Some(crate::common::process::PATIENCE))
        .expect("a socket");
    socket.send_to(b"?", address).expect("a datagram");
    let mut buffer = [0; 64];
    let mut answer = || {
        let length = socket.recv(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!([answer(), answer()], ["web running\n", "worker running\n"]);
    host.end();
}

#[test]
fn a_host_with_a_runtime_sees_a_death_and_stops() {
    let scene = Scene::new();
    start(&scene, "runtime").end();
}
