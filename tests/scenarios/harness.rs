//! The tests' own tools: what a test leaves behind must fail it, or it would hide a defect.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::second_run::ON_THE_HOST;
use crate::common::{Scene, Supervisor, alive};

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
        assert!(source.contains(&format!("fn {function}()")), "no {name}");
    }
}
