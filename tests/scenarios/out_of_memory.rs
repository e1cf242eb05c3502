//! The system has no more memory for the supervisor. It uses the memory reserved at startup, drops
//! and counts what it can do without, and recovers when there is memory again; or it does not
//! start.

use std::process::Command;

use nix::sys::resource::Resource;
use serde_json::json;

use crate::common::init::init;
use crate::common::levers::Gate;
use crate::common::scene::{probe, spawn};
use crate::common::{Pattern, Report, Scene, Supervisor, namespace, process, wait_for};
use crate::orphans::is_blind;

/// Limits its private writable memory from now on; it keeps what it has.
fn set_data_limit(supervisor: &Supervisor, bytes: &str) {
    let pid = namespace::outer(supervisor.pid()).expect("it runs");
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("--data={bytes}:")]);
    let status = spawn(&mut command).and_then(|mut child| child.wait());
    assert!(status.expect("prlimit runs").success());
}

/// Waits for this many reports, one by one: each has a deadline of its own, because on a busy machine
/// all of them together take minutes.
#[track_caller]
fn wait_one_by_one(supervisor: &Supervisor, count: usize) {
    for next in 1..=count {
        supervisor.wait(&format!("report {next} of {count}"), || {
            supervisor.report_count() >= next
        });
    }
}

/// Returns how many reports it has reported as dropped, as the reader was slow or memory short.
fn dropped(supervisor: &Supervisor) -> usize {
    let lines = supervisor.messages_with(&["dropped ", " reports "]);
    let is_stdout = |line: &&String| !line.contains("error_handler");
    let count = |line: &String| line.split(' ').find_map(|word| word.parse::<usize>().ok());
    lines.iter().filter(is_stdout).filter_map(count).sum()
}

/// The last of so many bytes, and all others counted.
fn is_accounted(report: &Report, bytes: usize) {
    let data = report.data();
    let omitted = usize::try_from(report.count("data_omitted")).expect("a count");
    assert_eq!(data.len() + omitted, bytes, "{report:?}");
    let last = (omitted..bytes).map(|at| Pattern::Lines.byte(at as u64));
    assert!(data.into_iter().eq(last), "{report:?}");
}

/// With a limit below what it has, every request is refused, and freeing memory does not help. It
/// used to abort, and to abandon its programs.
#[test]
fn where_every_request_is_refused_only_last_words_are_left_out_and_they_are_counted() {
    const COUNT: usize = 60;
    const BYTES: usize = 100_000;
    let mut scene = Scene::new();
    let mut gates = [Gate::new(&scene, "gate"), Gate::new(&scene, "later")];
    let name = |index: usize| format!("p{index}");
    for index in 0..COUNT {
        let script = format!("gate gate ; spew {BYTES} lines ; exit 1");
        scene.add_with(&name(index), &script, json!({"restart": "never"}));
    }
    let later = format!("gate later ; spew {BYTES} lines ; exit 1");
    scene.add_with("later", &later, json!({"restart": "never"}));
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    supervisor.wait_started("steady", 1);

    // A limit of 0 is none (for Valgrind's sake).
    set_data_limit(&supervisor, "4096");
    gates[0].open();
    wait_one_by_one(&supervisor, COUNT);
    let reports = supervisor.wait_reports(COUNT);
    assert_eq!(reports.len(), COUNT, "one each");
    reports
        .iter()
        .for_each(|report| is_accounted(report, BYTES));
    let shortened = reports.iter().filter(|report| report.data().len() < 65_536);
    assert!(shortened.count() > 0, "memory was not short: no point");
    for index in 0..COUNT {
        let log = scene.log(&name(index));
        let whole = (0..BYTES as u64).map(|at| Pattern::Lines.byte(at));
        assert!(log.into_iter().eq(whole), "the log of {index}");
    }
    assert_eq!(supervisor.messages_with(&["memory is short"]).len(), 1);

    set_data_limit(&supervisor, "unlimited");
    gates[1].open();
    let report = supervisor.wait_report("later", 1);
    is_accounted(&report, BYTES);
    assert_eq!(report.data().len(), 65_536, "there is memory again");
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(supervisor.reports().len(), COUNT + 2);
}

/// Tails that together are more than it may have, over many runs, with a command for each
/// report.
#[test]
fn where_tails_do_not_fit_every_run_is_reported_and_every_byte_is_accounted_for() {
    const COUNT: usize = 40;
    const BYTES: usize = 524_288;
    let mut scene = Scene::new();
    scene.setting.limit(Resource::RLIMIT_AS, 16 << 20, 16 << 20);
    scene.set("error_handler", probe("append handled x\\n"));
    for index in 0..COUNT {
        let script = format!("count runs{index} ; spew {BYTES} lines ; sleep 300 ; exit 1");
        let keys = json!({
            "report_bytes": BYTES,
            "backoff": {"initial": "10ms", "max": "10ms"},
        });
        scene.add_with(&format!("p{index}"), &script, keys);
    }
    let mut supervisor = scene.start();
    wait_one_by_one(&supervisor, 4 * COUNT);
    let reports = supervisor.wait_reports(4 * COUNT);
    let ended = reports.iter().filter(|report| report.code() == 1);
    ended.clone().for_each(|report| is_accounted(report, BYTES));
    assert!(ended.clone().count() > COUNT);
    let shortened = ended.filter(|report| report.count("data_omitted") > 0);
    assert!(shortened.count() > 0, "memory was not short: no point");
    scene.wait_lines("handled", 1);
    assert_eq!(supervisor.stop(), 0);
    let starts: usize = (0..COUNT)
        .map(|index| supervisor.started(&format!("p{index}")).len())
        .sum();
    let failed = supervisor.messages_with(&[" failed  ", " error: "]).len();
    assert_eq!(
        supervisor.report_count() + dropped(&supervisor),
        starts + failed
    );
}

/// Reports that wait for a slow command used to take small allocations from the emergency heap,
/// until nothing was left for what cannot be dropped.
#[test]
fn reports_that_wait_for_a_slow_command_take_nothing_of_the_emergency_heap() {
    const COUNT: usize = 150;
    const BYTES: usize = 4_000;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.set("error_handler", probe("sleep 2000"));
    let name = |index: usize| format!("p{index}");
    for index in 0..COUNT {
        let script = format!("spew {BYTES} lines ; gate gate ; exit 1");
        scene.add_with(&name(index), &script, json!({"restart": "never"}));
    }
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    let is_there = |index| scene.log(&name(index)).len() == BYTES;
    wait_for("what all wrote", || (0..COUNT).all(is_there));
    set_data_limit(&supervisor, "4096");
    gate.open();
    supervisor.wait("all to be told, or counted", || {
        supervisor.report_count() + dropped(&supervisor) >= COUNT
    });
    set_data_limit(&supervisor, "unlimited");
    assert_eq!(supervisor.stop(), 0);
    let reports = supervisor.reports();
    assert_eq!(reports.len() + dropped(&supervisor), COUNT + 1);
    let of_crowd = reports.iter().filter(|report| report.code() == 1);
    of_crowd.for_each(|report| is_accounted(report, BYTES));
}

/// A turn collects many programs in lists that double, and each of them must fit into the emergency
/// heap.
#[test]
fn a_crowd_that_dies_at_once_and_a_stop_of_another_go_on_without_memory() {
    const COUNT: usize = 600;
    let mut scene = Scene::new();
    let name = |index: usize| format!("p{index}");
    for index in 0..COUNT {
        scene.add_with(&name(index), "hold", json!({"restart": "never"}));
    }
    let mut supervisor = scene.start();
    let started = || supervisor.messages_with(&[" started "]).len();
    supervisor.wait("all to be started", || started() > COUNT);
    set_data_limit(&supervisor, "4096");
    let pids: Vec<i32> = (0..COUNT / 2)
        .map(|index| supervisor.started(&name(index))[0])
        .collect();
    supervisor.signal(libc::SIGSTOP);
    for pid in pids {
        process::signal(pid, libc::SIGKILL);
    }
    supervisor.signal(libc::SIGCONT);
    supervisor.wait("half of them to be told, or counted", || {
        supervisor.report_count() + dropped(&supervisor) >= COUNT / 2
    });
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
    assert_eq!(supervisor.report_count() + dropped(&supervisor), COUNT);
}

/// The C library allocates to read a directory: without memory, a process that had left its group
/// was not found, and survived the supervisor.
#[test]
fn what_left_its_group_is_found_without_memory() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add_with(
        "p",
        "escape { pid stray ; hold } ; gate gate ; exit 1",
        json!({"restart": "never"}),
    );
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    let stray = scene.wait_pid("stray");
    set_data_limit(&supervisor, "4096");
    gate.open();
    supervisor.wait_report("p", 1);
    assert_eq!(supervisor.stop(), 0);
    assert!(!process::alive(stray), "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["failed to look"]), [""; 0]);
}

/// It does not start, and says what to do, if the emergency heap cannot be reserved, and if a later
/// allocation of the start fails.
#[test]
fn too_little_memory_at_the_start_is_an_error_with_nothing_started() {
    for (kib, is_init, code) in [(260, false, 1), (300, false, 1), (260, true, 125)] {
        let mut scene = Scene::new();
        scene.set("control", json!(false));
        scene.add("p", "touch up ; hold");
        scene
            .setting
            .limit(Resource::RLIMIT_DATA, kib << 10, kib << 10);
        let mut supervisor = match is_init {
            false => scene.start(),
            true => scene.launch(init(&scene, &[], "touch up ; hold")),
        };
        assert_eq!(supervisor.wait_exit(), code, "{kib} KiB");
        let messages = supervisor.messages();
        let [message] = &messages[..] else {
            panic!("{messages:?}");
        };
        let starts = ["cannot reserve 256 KiB of memory: ", "failed to "];
        let is_either = |text: &str| starts.iter().any(|start| text.starts_with(start));
        let text = message.strip_prefix("procsched-min: ");
        assert!(text.is_some_and(is_either), "{message}");
        assert!(message.contains("raise RLIMIT_AS or "), "{message}");
        assert!(!scene.path("up").exists());
        wait_for("nothing to be left", || {
            process::marked(scene.mark()).is_empty()
        });
    }
}

/// A config is read only if there is memory for it: what runs must not end for it.
#[test]
fn without_memory_a_reload_is_refused_and_later_it_is_not() {
    let mut scene = Scene::new();
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("stays", 1);
    set_data_limit(&supervisor, "4096");
    scene.add("new", "hold");
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&[
        "procsched.json: error: failed to reserve ",
        // "Cannot allocate memory" or "Out of memory", as the C library calls it.
        " KiB of memory: ",
    ]);
    supervisor.wait_message(&["config not reloaded: 1 error"]);
    assert_eq!(supervisor.started("new"), [0; 0]);
    set_data_limit(&supervisor, "unlimited");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_started("new", 1);
    assert_eq!(supervisor.started("stays"), [pid]);
    supervisor.end();
}
