//! Deaths: each is noticed, once, with the right status, whatever the order of events.

use std::collections::BTreeSet;

use serde_json::json;

use crate::common::levers::{FORKS, Gate, Tracer};
use crate::common::{
    Need, Report, Scene, Supervisor, missing, process, signal, tools, wait_for, wait_until,
};

/// `count` programs that wait at `gate`, and then end with code 1, 2, 3 …
fn add_crowd(scene: &mut Scene, count: usize) {
    for index in 1..=count {
        let script = format!("gate gate ; exit {index}");
        scene.add_with(&format!("p{index}"), &script, json!({"restart": "never"}));
    }
}

fn wait_crowd(supervisor: &Supervisor, count: usize) {
    for index in 1..=count {
        supervisor.wait_started(&format!("p{index}"), 1);
    }
}

#[track_caller]
fn assert_crowd(reports: &[Report], count: usize) {
    let names: BTreeSet<&str> = reports.iter().map(Report::name).collect();
    assert_eq!(
        (reports.len(), names.len()),
        (count, count),
        "one report each"
    );
    for report in reports {
        let index: i64 = report.name()[1..].parse().expect("p and a number");
        assert_eq!(
            (report.code(), report.signal()),
            (index, None),
            "{report:?}"
        );
    }
}

#[test]
fn m37_many_deaths_in_one_wakeup_are_all_seen() {
    const COUNT: usize = 200;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    add_crowd(&mut scene, COUNT);
    scene.add("steady", "hold");
    let supervisor = scene.start();
    wait_crowd(&supervisor, COUNT);
    supervisor.signal(libc::SIGSTOP);
    gate.open();
    wait_for("all to be dead", || {
        process::zombies(supervisor.pid()).len() == COUNT
    });
    supervisor.signal(libc::SIGCONT);
    assert_crowd(&supervisor.wait_reports(COUNT), COUNT);
    wait_for("no zombie", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    assert_eq!(supervisor.end().len(), COUNT + 1);
}

#[test]
fn m38_interrupted_waits_lose_no_death() {
    if missing(&[Need::Strace]) {
        return;
    }
    const COUNT: usize = 60;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    add_crowd(&mut scene, COUNT);
    let supervisor = scene.start();
    wait_crowd(&supervisor, COUNT);
    let inject = ["-e", "inject=wait4,waitid:error=EINTR:when=2+2"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &inject);
    gate.open();
    assert_crowd(&supervisor.wait_reports(COUNT), COUNT);
    // The last one is dead, so there is nobody to wait for: no error, a clean end.
    let reports = supervisor.ends_with(1);
    assert_eq!(reports.len(), COUNT);
    assert!(
        tracer.injected() > COUNT / 2,
        "{} injections",
        tracer.injected()
    );
}

/// Name, code, restarts, stderr.
type Outline = (String, i64, u64, Vec<u8>);

fn brief((name, code, restarts, data): &Outline) -> (&str, i64, u64, usize) {
    (name, *code, *restarts, data.len())
}

/// What is the same in each run of the scenario below.
fn outline(supervisor: Supervisor) -> Vec<Outline> {
    // The run that stays, too: a start that the end cancels is noted in the log.
    supervisor.wait_started("crasher", 7);
    supervisor.wait_started("killed", 4);
    let mut outline: Vec<_> = supervisor
        .end()
        .iter()
        .filter(|report| !report.stopping())
        .map(|report| {
            (
                report.name().to_owned(),
                report.code(),
                report.count("restarts"),
                report.data(),
            )
        })
        .collect();
    outline.sort();
    outline
}

#[test]
fn m33_interrupted_calls_change_nothing() {
    if missing(&[Need::Strace]) {
        return;
    }
    let run = |interrupt: bool| {
        let mut scene = Scene::new();
        let mut gate = Gate::new(&scene, "gate");
        let quick = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
        // Each ends so many times, and then stays.
        let limited = |runs: u32, end: &str| {
            let block = |run| format!("once {end}.{run} {{ spew 70000 lines ; sig {end} }} ; ");
            format!(
                "gate gate ; {} hold",
                (0..runs).map(block).collect::<String>()
            )
        };
        scene.add_with("crasher", &limited(6, "KILL"), quick.clone());
        scene.add_with("killed", &limited(3, "SEGV"), quick);
        let supervisor = scene.start();
        supervisor.wait_started("crasher", 1);
        supervisor.wait_started("killed", 1);
        let calls = "poll,ppoll,epoll_ctl,epoll_wait,epoll_pwait,wait4,waitid,read,write,openat,\
                     fcntl,flock,pidfd_open";
        let inject = format!("inject={calls}:error=EINTR:when=3+5");
        let tracer = interrupt.then(|| Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]));
        gate.open();
        let outline = outline(supervisor);
        let injected = tracer.map_or(0, |tracer| tracer.injected());
        let logs: Vec<usize> = ["crasher", "killed"]
            .map(|name| scene.log(name).len())
            .to_vec();
        (outline, logs, injected)
    };
    let (plain, plain_logs, _) = run(false);
    let (interrupted, logs, injected) = run(true);
    assert!(injected > 20, "{injected} injections");
    assert_eq!(
        plain.len(),
        9,
        "{:?}",
        plain.iter().map(|run| &run.0).collect::<Vec<_>>()
    );
    for (plain, interrupted) in plain.iter().zip(&interrupted) {
        assert!(
            plain == interrupted,
            "{:?} {:?}",
            brief(plain),
            brief(interrupted)
        );
    }
    assert_eq!(plain.len(), interrupted.len());
    assert_eq!(plain_logs, [6 * 70_000, 3 * 70_000]);
    assert_eq!(logs, plain_logs);
}

#[test]
fn m42_a_child_that_is_dead_before_it_is_known_is_seen() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let quick = json!({"backoff": {"initial": 0, "max": 0}});
    scene.add_with("p", "gate gate ; exit 5", quick);
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let inject = format!("inject={FORKS}:delay_exit=20000");
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
    gate.open();
    let deaths = tools::whole(100, 5000);
    (1..=50).for_each(|part| _ = supervisor.wait_reports(deaths * part / 50));
    drop(gate);
    tracer.detach();
    for (index, report) in supervisor.end().iter().enumerate() {
        assert_eq!(report.count("restarts"), index as u64);
        assert!(report.code() == 5 || report.stopping(), "{report:?}");
    }
}

#[test]
fn m44_every_code_and_every_signal_is_told_as_it_is() {
    let mut scene = Scene::new();
    for code in 0..=255 {
        scene.add_with(
            &format!("c{code}"),
            &format!("exit {code}"),
            json!({"restart": "never"}),
        );
    }
    let signals = fatal_signals();
    for signal in &signals {
        let script = format!("sig {signal}");
        scene.add_with(&format!("s{signal}"), &script, json!({"restart": "never"}));
    }
    let reports = scene.start().ends_with(1);
    assert_eq!(reports.len(), 256 + signals.len());
    for report in &reports {
        let (kind, number) = report.name().split_at(1);
        let number: i64 = number.parse().expect("a number");
        match kind {
            "c" => assert_eq!(
                (report.code(), report.signal()),
                (number, None),
                "{report:?}"
            ),
            _ => {
                assert_eq!(report.code(), -number, "{report:?}");
                assert!(report.signal().is_some(), "{report:?}");
            }
        }
        assert!(!report.flag("core_dumped"), "{report:?}");
        assert_eq!(report.error(), "", "{report:?}");
    }
    let name = |signal: i32| {
        let named = |report: &&Report| report.name() == format!("s{signal}");
        let report = reports.iter().find(named).expect("a report of each");
        report.signal().expect("a name").to_owned()
    };
    let table = [
        (1, "SIGHUP"),
        (6, "SIGABRT"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
        (34, "SIGRTMIN"),
        (35, "SIGRTMIN+1"),
        (37, "SIGRTMIN+3"),
        (64, "SIGRTMIN+30"),
    ];
    for (signal, expected) in table {
        assert_eq!(name(signal), expected);
    }
}

/// All signals whose default is death.
fn fatal_signals() -> Vec<i32> {
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    (1..=64)
        .filter(|signal| !harmless.contains(signal))
        .collect()
}

#[test]
fn m45_exit_143_is_no_death_by_sigterm() {
    let mut scene = Scene::new();
    scene.add_with("exit", "exit 143", json!({"restart": "never"}));
    scene.add_with("kill", "sig TERM", json!({"restart": "never"}));
    let reports = scene.start().ends_with(1);
    let of = |name: &str| {
        let report = reports
            .iter()
            .find(|report| report.name() == name)
            .expect("a report");
        (report.code(), report.signal().map(str::to_owned))
    };
    assert_eq!(of("exit"), (143, None));
    assert_eq!(of("kill"), (-15, Some("SIGTERM".to_owned())));
}

#[test]
fn m46_a_core_dump_is_told_and_does_not_bend_the_signal() {
    // Whether this machine writes one, the kernel says to whoever asks: so the test asks too.
    let scene = Scene::new();
    let words = [tools::probe_path().to_owned(), "core on ; abort".into()];
    let mut child =
        crate::common::scene::spawn(scene.marked(&words).current_dir(scene.directory()))
            .expect("the probe can be started");
    let status = child.wait().expect("the probe can be waited for");
    let dumps = std::os::unix::process::ExitStatusExt::core_dumped(&status);

    let mut scene = Scene::new();
    scene.add_with("with", "core on ; abort", json!({"restart": "never"}));
    scene.add_with("without", "core off ; abort", json!({"restart": "never"}));
    let reports = scene.start().ends_with(1);
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert_eq!(
            (report.code(), report.signal()),
            (-6, Some("SIGABRT")),
            "{report:?}"
        );
        assert_eq!(
            report.flag("core_dumped"),
            dumps && report.name() == "with",
            "{report:?}"
        );
    }
}

#[test]
fn m47_a_process_whose_first_thread_is_gone_is_alive() {
    let mut scene = Scene::new();
    scene.add_with("p", "dead-leader 1500 7", json!({"restart": "never"}));
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    wait_for("the first thread to end", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'Z')
    });
    supervisor.signal(libc::SIGUSR1);
    let line = supervisor.wait_message(&["p", "running", &format!("pid={pid}")]);
    assert_eq!(
        supervisor.report_count(),
        0,
        "it was taken for dead; {line}"
    );
    let report = supervisor.wait_report("p", 1);
    assert_eq!(report.code(), 7);
    assert!(report.seconds("uptime") >= 1.2, "{report:?}");
    supervisor.ends_with(1);
}

#[test]
fn m48_a_tracer_that_delays_the_wait_confuses_nobody() {
    if missing(&[Need::Strace]) {
        return;
    }
    let rounds = tools::whole(8, 50);
    let mut scene = Scene::new();
    let command = json!([
        "strace",
        "-D",
        "-o",
        "/dev/null",
        tools::probe_path(),
        "pid up ; hold"
    ]);
    let backoff = json!({"initial": "1ms", "max": "1ms"});
    scene.add_raw("p", json!({"command": command, "backoff": backoff}));
    let supervisor = scene.start();
    let mut killed = BTreeSet::new();
    for _ in 0..rounds {
        // The probe itself tells that it is up: its tracer may have failed to get that far.
        let pid = wait_until("the traced probe to be up", || {
            let pid = scene.read("up").trim().parse().ok()?;
            (!killed.contains(&pid)).then_some(pid)
        });
        signal(pid, libc::SIGKILL);
        killed.insert(pid);
    }
    let told = || -> Vec<i32> {
        let reports = supervisor.reports();
        let by_us = reports.iter().filter(|report| report.code() == -9);
        by_us.filter_map(Report::pid).collect()
    };
    supervisor.wait("a report of each", || told().len() >= rounds);
    let told = told();
    assert_eq!(told.len(), rounds, "one report each");
    assert_eq!(BTreeSet::from_iter(told), killed);
    supervisor.end();
}

/// Somebody else in a process may steal a status, and after each death that is looked for, but
/// not twice in a tenth of a second: what was put off was a wake-up for later, with a look at
/// every program. The binary has no thieves in it, and so nothing to wake up for.
#[test]
fn deaths_in_a_row_cause_no_wakeup_afterwards() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = "once first { gate gate ; exit 1 } ; once second { exit 2 } ; once third { \
                  exit 3 } ; pid up ; hold";
    let backoff = json!({"initial": 0, "max": 0});
    scene.add_with("p", script, json!({"backoff": backoff}));
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let waits = ["-e", "trace=?poll,ppoll,?epoll_wait,epoll_pwait"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &waits);
    gate.open();
    supervisor.wait_reports(3);
    scene.wait_pid("up");
    // Nothing happens, so there is no condition to wait for: silence itself is measured.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let lines = tracer.detach();
    // A look that does not wait is part of a turn.
    let is_look = |line: &String| line.contains("{tv_sec=0, tv_nsec=0}");
    let is_in_vain = |line: &&String| line.contains("(Timeout)") && !is_look(line);
    let in_vain: Vec<&String> = lines.iter().filter(is_in_vain).collect();
    assert!(lines.len() >= 3, "no point: {lines:?}");
    assert_eq!(in_vain, [""; 0], "woken for nothing: {lines:#?}");
    supervisor.end();
}
