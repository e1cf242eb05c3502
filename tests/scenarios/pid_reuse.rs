//! A replacement that gets the very number of its predecessor.

use serde_json::json;

use crate::common::{Need, Scene, missing, process, second_run, wait_for};

/// In a PID namespace of its own the next process can be given a number. Each run sees to it
/// that its replacement gets the same pid, and so the same group and session number. It also
/// leaves somebody behind who holds the old pipe, writes late, and ends late. None of that may
/// touch the replacement.
#[test]
fn m49_what_is_late_for_the_old_run_does_not_touch_the_new_one_with_its_number() {
    if missing(&[Need::Root, Need::Pids, Need::Tool("unshare")]) {
        return;
    }
    const RUNS: usize = 8;
    let mut scene = Scene::new();
    let straggler = "escape { ignore TERM ; sleep 300 ; say late%n ; exit 1 }";
    let run = format!("say run%n\\n ; {straggler} ; pin-pid ; exit 3");
    let blocks: String = (0..RUNS)
        .map(|n| format!("once o{n} {{ {run} }} ; "))
        .collect();
    let script = format!("count runs ; {blocks} pid up ; hold");
    let backoff = json!({"initial": "100ms", "max": "100ms"});
    scene.add_with("p", &script, json!({"backoff": backoff}));
    let supervisor = if second_run::is_pid1() {
        scene.start()
    } else {
        let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let mut supervisor = scene.launch(scene.wrapped(&wrapper));
        supervisor.look_behind_wrapper();
        supervisor
    };
    let reports = supervisor.wait_reports(RUNS);
    let pids: Vec<_> = reports.iter().map(|report| report.pid()).collect();
    assert!(
        pids.windows(2).all(|pair| pair[0] == pair[1]),
        "no number was reused: {pids:?}"
    );
    for (index, report) in reports.iter().enumerate() {
        assert_eq!(report.code(), 3, "{report:?}");
        assert_eq!(report.count("restarts"), index as u64);
        let data = String::from_utf8_lossy(&report.data()).into_owned();
        assert_eq!(data, format!("run{}\n", index + 1), "only this run's words");
    }
    // The last one stays: with the number of all the dead, through all that comes late.
    scene.wait_pid("up");
    wait_for("the last straggler to end", || {
        supervisor.descendants().len() == 1
    });
    assert_eq!(supervisor.report_count(), RUNS);
    supervisor.wait_started("p", RUNS + 1);
    assert_eq!(supervisor.started("p").len(), RUNS + 1);
    assert!(process::alive(supervisor.pid()));
    let reports = supervisor.end();
    let last = reports.last().expect("a report");
    assert_eq!(
        (last.stopping(), last.signal(), last.pid()),
        (true, Some("SIGTERM"), pids[0])
    );
}
