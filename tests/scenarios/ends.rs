//! How it ends, for whoever waits for that: a container's killer, an orchestrator that reads
//! the code, a person who reads the reports.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::command_line::run;
use crate::common::levers::Hold;
use crate::common::scene::spawn;
use crate::common::{Need, Scene, missing, process, tools};

/// Ten seconds for a program to end, and ten until the container's own killer comes: whoever
/// was late took the last reports with it. With a grace that is shorter than the killer's patience
/// all of it is out, in good order, before.
#[test]
fn m121_with_a_shorter_grace_all_is_said_before_the_outer_killer_comes() {
    // Docker's: ten seconds after its SIGTERM.
    const KILLER: Duration = Duration::from_secs(10);
    let mut scene = Scene::new();
    scene.set("defaults", json!({"stop_timeout": "2s"}));
    let stubborn = "ignore TERM ; say up%p\\n ; append up x\\n ; hold";
    for index in 0..5 {
        scene.add(&format!("stubborn{index}"), stubborn);
    }
    scene.add(
        "talker",
        "trap TERM ; append up x\\n ; await TERM ; spew 100000 lines ; exit 4",
    );
    let mut supervisor = scene.start();
    scene.wait_lines("up", 6);
    let start = Instant::now();
    supervisor.signal(libc::SIGTERM);
    while supervisor.is_running() && start.elapsed() < KILLER {
        std::thread::sleep(Duration::from_millis(2));
    }
    if supervisor.is_running() {
        supervisor.signal(libc::SIGKILL);
    }
    assert_eq!(
        supervisor.wait_exit(),
        0,
        "it ended by itself; {}",
        supervisor.said()
    );
    let reports = supervisor.reports();
    assert_eq!(reports.len(), 6, "one for each program: {reports:?}");
    for report in &reports {
        let code = if report.name() == "talker" { 4 } else { -9 };
        assert_eq!(
            (report.code(), report.stopping()),
            (code, true),
            "{report:?}"
        );
    }
    assert_eq!(scene.log("talker").len(), 100_000);
    supervisor.wait_message(&["stopped code=0"]);
}

/// A stop that was asked for was told as a crash, by those who die of SIGTERM and by those who
/// say 143. Here each has its report, which says that it was asked; nothing comes back, and the
/// supervisor's own code is that of a stop, whatever an essential program's is.
#[test]
fn m122_an_end_that_was_asked_for_is_no_crash() {
    let mut scene = Scene::new();
    for (name, end) in [
        ("dies", "sig TERM"),
        ("says", "exit 143"),
        ("fails", "exit 1"),
    ] {
        let script = format!("trap TERM ; append up x\\n ; await TERM ; {end}");
        let script = if name == "dies" {
            "append up x\\n ; hold"
        } else {
            &*script
        };
        scene.add_with(
            name,
            script,
            json!({"essential": true, "restart": "on-failure"}),
        );
    }
    let mut supervisor = scene.start();
    scene.wait_lines("up", 3);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let reports = supervisor.reports();
    assert_eq!(reports.len(), 3, "{reports:?}");
    for report in &reports {
        let (code, signal) = match report.name() {
            "dies" => (-15, Some("SIGTERM")),
            "says" => (143, None),
            _ => (1, None),
        };
        assert_eq!(
            (report.code(), report.signal()),
            (code, signal),
            "{report:?}"
        );
        assert!(report.stopping(), "{report:?}");
        assert_eq!(
            (report.retry_in(), report.error()),
            (None, ""),
            "{report:?}"
        );
    }
    for wrong in ["warning", "restart", "waiting"] {
        assert_eq!(supervisor.messages_with(&[wrong]), [""; 0]);
    }
    // The same ends, which nobody asked for.
    let mut scene = Scene::new();
    for (name, end) in [("dies", "sig TERM"), ("says", "exit 143")] {
        scene.add_with(name, end, json!({"restart": "never"}));
    }
    let reports = scene.start().ends_with(1);
    assert!(
        reports.iter().all(|report| !report.stopping()),
        "{reports:?}"
    );
}

/// Whether this machine writes core dumps, its kernel says to whoever asks.
fn dumps_core(scene: &Scene) -> bool {
    let words = [tools::probe_path().to_owned(), "core on ; sig QUIT".into()];
    let mut command = scene.marked(&words);
    let child = spawn(command.current_dir(scene.directory()));
    let status = child.expect("the probe can be started").wait();
    let status = status.expect("the probe can be waited for");
    std::os::unix::process::ExitStatusExt::core_dumped(&status)
}

/// A dump that takes its time was cut short by SIGKILL. How long it may take is `stop_timeout`:
/// until then a program on its way out is left in peace, and the report says what the kernel says.
#[test]
fn m124_who_takes_its_time_to_die_of_a_core_dump_has_it() {
    if missing(&[Need::Attach]) {
        return;
    }
    let scene_of_another = Scene::new();
    let dumps = dumps_core(&scene_of_another);
    let mut scene = Scene::new();
    let keys = json!({"stop_signal": "QUIT", "stop_timeout": "1h"});
    scene.add_with("p", "core on ; pid up ; hold", keys);
    let mut supervisor = scene.start();
    let pid = scene.wait_pid("up");
    // On its way out, and not to be waited for: as while the kernel writes for minutes.
    let hold = Hold::on(&scene, pid);
    supervisor.signal(libc::SIGTERM);
    supervisor.wait_message(&["p", "stopping pid="]);
    hold.wait_dying();
    std::thread::sleep(Duration::from_millis(500));
    assert!(supervisor.is_running() && process::stat(pid).is_some());
    assert_eq!(supervisor.messages_with(&["p", "killed"]), [""; 0]);
    hold.release();
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
    let report = supervisor.reports().remove(0);
    assert_eq!((report.code(), report.signal()), (-3, Some("SIGQUIT")));
    assert_eq!(report.flag("core_dumped"), dumps, "{report:?}");
}

/// What `run` ends with, in every way in which it ends.
#[test]
fn m125_the_exit_code_is_that_of_the_table() {
    let code = |config: &str| {
        let scene = Scene::new();
        scene.write("c.json", config);
        let said = run(&scene, &["run", "c.json"]);
        said.code
            .unwrap_or_else(|| panic!("a code; it said {}", said.err))
    };
    let probe = tools::probe_path().display();
    let ends = |keys: &str| {
        let program = format!(r#"{{"command": ["{probe}", "exit 7"], "restart": "never"{keys}}}"#);
        format!(r#"{{"err_dir": "logs", "programs": {{"p": {program}}}}}"#)
    };
    let fine = ends("").replace("exit 7", "exit 0");
    assert_eq!(code(&fine), 0, "every program ended for good");
    assert_eq!(code(&ends("")), 1, "one of them failed");
    let is_success = ends(r#", "success_codes": [7]"#);
    assert_eq!(code(&is_success), 0, "with a code that is a success");
    assert_eq!(
        code(&ends(r#", "essential": true"#)),
        7,
        "an essential one's code"
    );
    assert_eq!(
        code(&ends(r#", "restart": "sometimes""#)),
        2,
        "a config error"
    );
    assert_eq!(code("{"), 2, "no config at all");
    let nowhere = ends("").replace("\"logs\"", "\"/dev/null/logs\"");
    assert_eq!(code(&nowhere), 1, "no place for the logs");
    let scene = Scene::new();
    assert_eq!(run(&scene, &["run", "a", "b"]).code, Some(2), "usage");
    // As asked, whether by one signal, by the second, or after the last deadline.
    for (script, timeout, code) in [
        ("hold", "1h", 0),
        ("ignore TERM ; touch up ; hold", "100ms", 0),
    ] {
        let mut scene = Scene::new();
        scene.add_with("p", script, json!({"stop_timeout": timeout}));
        let mut supervisor = scene.start();
        supervisor.wait_started("p", 1);
        assert_eq!(supervisor.stop(), code, "{script}");
    }
}
