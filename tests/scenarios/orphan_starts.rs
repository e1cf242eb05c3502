//! What left its program's group and lost its parent, before that program starts again; and who
//! came home in great numbers.

use serde_json::{Value, json};

use crate::common::levers::{Gate, Hold, Tracer};
use crate::common::{Need, Scene, Supervisor, missing, process, second_run, tools, wait_for};
use crate::orphans::{is_blind, told, wait_home};

/// A delay before each restart, always the same.
fn delay(length: Value) -> Value {
    json!({"backoff": {"initial": length, "max": length}, "stop_timeout": "2s"})
}

/// A first run that leaves these behind, each of which writes its pid to its file; and a second
/// that stays.
fn leaving(files: &[&str], orphans: &str) -> String {
    let waits: String = files
        .iter()
        .map(|file| format!("wait-file {file} ; "))
        .collect();
    format!("once first {{ {orphans} ; {waits} exit 3 }} ; pid up ; hold")
}

/// The place of the first line that has all of these in it.
#[track_caller]
fn place(supervisor: &Supervisor, parts: &[&str]) -> usize {
    let messages = supervisor.messages();
    let found = messages
        .iter()
        .position(|line| parts.iter().all(|part| line.contains(part)));
    found.unwrap_or_else(|| panic!("nothing with {parts:?}; {}", supervisor.said()))
}

#[test]
fn m116_an_orphan_is_killed_before_its_program_starts_again() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let orphan = "escape { close 2 ; ignore TERM ; pid orphan ; hold }";
    scene.add_with("p", &leaving(&["orphan"], orphan), delay(json!("50ms")));
    let supervisor = scene.start();
    let second = supervisor.wait_started("p", 2);
    let orphan = scene.wait_pid("orphan");
    assert!(
        !process::alive(orphan),
        "started beside it; {}",
        supervisor.said()
    );
    let killed = place(
        &supervisor,
        &["p", "SIGKILL", &format!("pid={orphan} had left")],
    );
    let started = place(&supervisor, &["p started", &format!("pid={second}")]);
    assert!(killed < started, "{}", supervisor.said());
    assert_eq!(
        (
            told(&supervisor, "SIGTERM", orphan),
            supervisor.report_count()
        ),
        (0, 1)
    );
    supervisor.end();
}

#[test]
fn m116_a_chain_of_escapes_is_killed_before_the_start() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let files = ["o1", "o2", "o3", "o4"];
    let chain = files.iter().rev().fold(String::new(), |inner, file| {
        format!("escape {{ {inner} ignore TERM ; pid {file} ; hold }} ; ")
    });
    scene.add_with("p", &leaving(&files, &chain), delay(json!("50ms")));
    let supervisor = scene.start();
    supervisor.wait_started("p", 2);
    for pid in files.map(|file| scene.wait_pid(file)) {
        assert!(
            !process::alive(pid),
            "started beside it; {}",
            supervisor.said()
        );
        assert_eq!(
            told(&supervisor, "SIGKILL", pid),
            1,
            "{}",
            supervisor.said()
        );
    }
    assert_eq!(supervisor.report_count(), 1);
    supervisor.end();
}

/// Who belongs to another program, or to nobody, is left in peace.
#[test]
fn a_start_kills_its_own_programs_orphans_alone() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let orphans = "escape { anonymous ; close 2 ; pid nobody ; hold }";
    let script = format!("{} ; hold", leaving(&["nobody"], orphans));
    scene.add_with("p", &script, delay(json!("50ms")));
    scene.add_with(
        "p2",
        "escape { escape { pid other ; hold } } ; hold",
        json!({}),
    );
    let crasher = "wait-file other ; count crashes ; exit 1";
    scene.add_with("crasher", crasher, delay(json!("20ms")));
    let supervisor = scene.start();
    let other = scene.wait_pid("other");
    wait_home(&supervisor, other);
    supervisor.wait_reports_of("crasher", 5);
    supervisor.wait_started("p", 2);
    let nobody = scene.wait_pid("nobody");
    assert!(
        [other, nobody].iter().all(|&pid| process::alive(pid)),
        "{}",
        supervisor.said()
    );
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
    let reports = supervisor.end();
    assert!(
        reports.iter().all(|report| report.pid() != Some(other)),
        "{reports:?}"
    );
}

/// Without a delay there is no time to spend on a look: only who still holds the pipe gives a
/// reason for it.
#[test]
fn without_a_delay_only_an_open_pipe_is_a_reason_to_look() {
    if is_blind() {
        return;
    }
    for (closes, is_killed) in [("close 2 ;", false), ("", true)] {
        let mut scene = Scene::new();
        let orphan = format!("escape {{ {closes} ignore TERM ; pid orphan ; hold }}");
        scene.add_with("p", &leaving(&["orphan"], &orphan), delay(json!(0)));
        let supervisor = scene.start();
        supervisor.wait_started("p", 2);
        scene.wait_pid("up");
        let orphan = scene.wait_pid("orphan");
        assert_eq!(!process::alive(orphan), is_killed, "{}", supervisor.said());
        supervisor.end();
    }
}

#[test]
fn nothing_is_started_beside_an_orphan_that_cannot_die() {
    if is_blind() || missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script =
        "once first { escape { close 2 ; pid orphan ; hold } ; gate gate ; exit 3 } ; hold";
    scene.add_with("p", script, delay(json!("20ms")));
    let supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    let hold = Hold::on(&scene, orphan);
    gate.open();
    hold.wait_dying();
    supervisor.wait_message(&["p", "warning", "left the program's group"]);
    assert_eq!(supervisor.started("p").len(), 1, "{}", supervisor.said());
    hold.release();
    supervisor.wait_started("p", 2);
    assert_eq!(told(&supervisor, "SIGKILL", orphan), 1);
    supervisor.end();
}

/// Who dies while it is looked at cannot be asked any more whose it was, and sends its own
/// children home behind the back of the list that it was found in. One start in sixty began
/// beside such a grandchild, where the middle process had a session of its own.
#[test]
fn m116_who_comes_home_during_the_look_is_killed_before_the_start_too() {
    if is_blind() || missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut leader = Gate::new(&scene, "leader");
    let mut middle = Gate::new(&scene, "middle");
    let orphan = "escape { ignore TERM ; pid orphan ; hold }";
    let parent = format!("escape {{ {orphan} ; pid parent ; gate middle ; exit 0 }}");
    let script = format!("once first {{ {parent} ; gate leader ; exit 3 }} ; pid up ; hold");
    scene.add_with("p", &script, delay(json!("50ms")));
    let supervisor = scene.start();
    let [orphan, parent] = ["orphan", "parent"].map(|file| scene.wait_pid(file));
    let pid = supervisor.pid();
    let list = format!("/proc/{pid}/task/{pid}/children");
    let inject = "inject=close:delay_exit=1000000:when=1";
    let tracer = Tracer::attach(
        &scene,
        pid,
        &["-P", &list, "-e", "trace=read,close", "-e", inject],
    );
    leader.open();
    wait_for("the list to be read", || {
        tracer.lines().iter().any(|line| line.starts_with("read("))
    });
    middle.open();
    let second = supervisor.wait_started("p", 2);
    assert!(
        !process::alive(orphan),
        "{second} started beside {orphan}; {}",
        supervisor.said()
    );
    let killed = [orphan, parent].map(|pid| told(&supervisor, "SIGKILL", pid));
    assert_eq!(killed, [1, 0], "no point; {}", supervisor.said());
    drop(tracer);
    supervisor.end();
}

/// How often all children were looked at while a program was restarted at least this often, and how
/// often it was started meanwhile. The trace ends later than the last of those restarts.
fn looks_and_starts(scene: &Scene, restarts: usize) -> (usize, usize) {
    let mut gate = Gate::new(scene, "gate");
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let calls = "trace=open,openat,clone,clone3,fork,vfork";
    let tracer = Tracer::attach(scene, supervisor.pid(), &["-e", calls]);
    gate.open();
    supervisor.wait_reports(restarts);
    let lines = tracer.detach();
    supervisor.end();
    let is_look = |line: &&String| line.contains("/children\"");
    let is_start = |line: &&String| line.starts_with("clone") || line.contains("fork(");
    (
        lines.iter().filter(is_look).count(),
        lines.iter().filter(is_start).count(),
    )
}

#[test]
fn a_restart_costs_one_look_and_without_a_delay_none() {
    if is_blind() || missing(&[Need::Strace]) {
        return;
    }
    const RESTARTS: usize = 100;
    for length in ["1ms", "0s"] {
        let mut scene = Scene::new();
        scene.add_with("p", "gate gate ; exit 1", delay(json!(length)));
        let (looks, starts) = looks_and_starts(&scene, RESTARTS);
        let told = format!("{looks} looks in {starts} starts after {length}");
        assert!(starts >= RESTARTS - 1, "the tracer missed some: {told}");
        if length == "0s" {
            assert_eq!(looks, 0, "{told}");
        } else {
            assert!(looks > 0 && looks <= starts + 5, "{told}");
        }
    }
}

#[test]
fn m127_m129_thousands_of_orphans_are_reaped_in_silence() {
    const GROWTH_KB_MAX: u64 = 1536;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let parents = tools::whole(50, 500);
    let crowd = format!(
        "repeat {parents} {{ fork {{ repeat 100 {{ fork {{ exit 3 }} }} }} ; append made x\\n }}"
    );
    let script = format!("gate gate ; {crowd} ; touch done ; hold");
    scene.add("p", &script).add("steady", "hold");
    let supervisor = scene.start();
    let program = supervisor.wait_started("p", 1);
    let peak = || process::status_number(supervisor.pid(), "VmHWM").expect("it runs");
    let before = peak();
    gate.open();
    (1..=50).for_each(|part| _ = scene.wait_lines("made", parents * part / 50));
    scene.wait_file("done");
    wait_for("all of them to be dead", || {
        process::children(program).len() == process::zombies(program).len()
    });
    wait_for("no zombie", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    assert_eq!(
        (
            supervisor.report_count(),
            supervisor.messages_with(&["had left"])
        ),
        (0, vec![])
    );
    let grown = peak() - before;
    assert!(grown <= GROWTH_KB_MAX, "memory grew by {grown} kB");
    let reports = supervisor.end();
    assert_eq!(reports.len(), 2, "one for each program, none for orphans");
}

/// In a PID namespace of its own, an orphan gets the very number that a program had. Its death
/// is not the program's.
#[test]
fn m129_an_orphan_with_a_programs_former_number_is_nobody_but_itself() {
    if missing(&[Need::Root, Need::Pids, Need::Tool("unshare")]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let leaves = "gate gate ; escape { close 2 ; pid orphan ; hold } ; wait-file orphan ; exit 4";
    scene.add_with(
        "former",
        "wait-file go ; pin-pid ; exit 3",
        json!({"restart": "never"}),
    );
    scene.add_with("parent", leaves, json!({"restart": "never"}));
    scene.add("steady", "hold");
    let supervisor = if second_run::is_pid1() {
        scene.start()
    } else {
        let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let mut supervisor = scene.launch(scene.wrapped(&wrapper));
        supervisor.look_behind_wrapper();
        supervisor
    };
    supervisor.wait_started("steady", 1);
    supervisor.wait_started("parent", 1);
    scene.write("go", "");
    let former = supervisor.wait_report("former", 1).pid();
    gate.open();
    supervisor.wait_report("parent", 1);
    let orphan = scene.wait_pid("orphan");
    drop(gate);
    let reports = supervisor.end();
    let codes: Vec<_> = reports
        .iter()
        .map(|report| (report.name(), report.code()))
        .collect();
    assert_eq!(codes, [("former", 3), ("parent", 4), ("steady", -15)]);
    assert_eq!(former, Some(orphan), "no point: no number was reused");
}

/// Descriptors were short for a moment, just when a program was looked for that had left its
/// group. That ended the search: the program was started beside its own escapee, and both wrote
/// to the same database. What stays in the way of a look holds up a start for two seconds.
#[test]
fn a_look_that_fails_is_tried_again_before_the_start() {
    if missing(&[Need::Strace]) || is_blind() {
        return;
    }
    for (fails, is_killed) in [("when=1..3", true), ("when=1+", false)] {
        let mut scene = Scene::new();
        let mut gate = Gate::new(&scene, "gate");
        let script = "once first { escape { pid orphan ; hold } ; gate gate ; exit 1 } ; hold";
        let backoff = json!({"initial": "50ms"});
        scene.add_with("p", script, json!({"backoff": backoff}));
        let supervisor = scene.start();
        let orphan = scene.wait_pid("orphan");
        let inject = format!("inject=getdents64:error=EIO:{fails}");
        let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
        gate.open();
        supervisor.wait_started("p", 2);
        assert!(tracer.injected() >= 3, "{}", tracer.injected());
        assert_eq!(!process::alive(orphan), is_killed, "{}", supervisor.said());
        let said = supervisor.messages_with(&["failed to look for processes that left"]);
        assert_eq!(said.len(), 1, "said once: {}", supervisor.said());
        drop(tracer);
        supervisor.end();
    }
}

/// The same for a process that could not be asked whose it is: it was nobody's from then on, and
/// nobody's business until the shutdown. Where a start has waited long enough, the next one asks
/// again.
#[test]
fn who_cannot_be_asked_whose_it_is_is_asked_again_before_the_start() {
    if missing(&[Need::Strace]) || is_blind() {
        return;
    }
    for (fails, is_killed) in [("when=1..3", true), ("when=1+", false)] {
        let mut scene = Scene::new();
        let mut gate = Gate::new(&scene, "gate");
        let script = "once first { escape { pid orphan ; hold } ; gate gate ; exit 1 } ; hold";
        let backoff = json!({"initial": "50ms", "max": "50ms"});
        scene.add_with("p", script, json!({"backoff": backoff}));
        let supervisor = scene.start();
        let orphan = scene.wait_pid("orphan");
        let path = format!("/proc/{orphan}/environ");
        let inject = format!("inject=openat:error=EMFILE:{fails}");
        let tracer = Tracer::attach(&scene, supervisor.pid(), &["-P", &path, "-e", &inject]);
        gate.open();
        let second = supervisor.wait_started("p", 2);
        assert!(tracer.injected() >= 3, "{}", tracer.injected());
        assert_eq!(!process::alive(orphan), is_killed, "{}", supervisor.said());
        drop(tracer);
        process::signal(second, libc::SIGKILL);
        supervisor.wait_started("p", 3);
        assert!(!process::alive(orphan), "{}", supervisor.said());
        assert_eq!(told(&supervisor, "SIGKILL", orphan), 1);
        let said = supervisor.messages_with(&["failed to look for processes that left"]);
        assert_eq!(said.len(), 1, "said once: {}", supervisor.said());
        supervisor.end();
    }
}
