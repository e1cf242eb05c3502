//! The tests' own tools: what a test leaves behind must fail it, or it would hide a defect.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::second_run::{self, ON_THE_HOST};
use crate::common::{Scene, Supervisor, alive, process, tools};

/// Whether dropping this supervisor fails the test.
fn drop_fails(supervisor: Supervisor) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(supervisor))).is_err()
}

#[test]
fn a_supervisor_that_still_runs_fails_the_test_and_is_ended() {
    let mut scene = Scene::new();
    scene.add("p", "ignore TERM ; pid up ; hold");
    let supervisor = scene.start();
    let pids = [supervisor.pid(), scene.wait_pid("up")];
    assert!(drop_fails(supervisor), "it was left running");
    assert!(pids.iter().all(|&pid| !alive(pid)), "{pids:?}");
}

#[test]
fn a_process_that_outlives_its_supervisor_fails_the_test_unless_it_is_spared() {
    for spared in [false, true] {
        let mut scene = Scene::new();
        scene.add("p", "escape { pid orphan ; hold } ; hold");
        let mut supervisor = scene.start();
        let orphan = scene.wait_pid("orphan");
        supervisor.signal(libc::SIGKILL);
        assert_eq!(supervisor.wait_exit(), 128 + libc::SIGKILL);
        assert!(alive(orphan), "no point");
        if spared {
            supervisor.spare_all();
        }
        assert_eq!(drop_fails(supervisor), !spared);
        assert!(!alive(orphan), "it is ended in any case");
    }
}

/// A scenario that was renamed would run as PID 1 again, and nobody would know why it fails.
#[test]
fn every_scenario_that_keeps_to_the_host_exists() {
    for (name, _) in ON_THE_HOST {
        let (module, function) = name.split_once("::").expect("module::function");
        let file = format!("{}/tests/scenarios/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(file).expect("the module is there");
        let is_whole = function == "*";
        let has_it = is_whole || source.contains(&format!("fn {function}()"));
        assert!(has_it, "no {name}");
    }
}

/// The first run has no such root, and nothing to show here.
#[test]
fn as_pid_1_a_supervisor_is_alone_with_what_it_needs() {
    if !second_run::is_pid1() {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; hold");
    let supervisor = scene.start();
    let dump = scene.wait_dump("dump");
    assert_eq!((&dump["ppid"], supervisor.inner_pid()), (&json!(1), 1));
    let pid = supervisor.wait_started("p", 1);
    assert_eq!(dump["pid"], pid);
    assert_eq!(process::children(supervisor.pid()), [pid]);
    let mut found = Vec::new();
    let root = PathBuf::from(format!("/proc/{}/root", supervisor.pid()));
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let inner = Path::new("/").join(path.strip_prefix(&root).expect("it is in the root"));
            match path.is_dir() && inner != scene.directory() {
                true => left.push(path),
                false => found.push(inner),
            }
        }
    }
    found.sort();
    let null = Path::new("/dev/null");
    let mut expected = [
        second_run::binary(),
        tools::probe_path(),
        null,
        scene.directory(),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert!(
        std::fs::create_dir(root.join("new")).is_err(),
        "it is read-only"
    );
    supervisor.end();
}
