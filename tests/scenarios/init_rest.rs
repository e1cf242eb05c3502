//! `init`: orphans while the command runs, and what is left when it has ended.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::init::{binary_text, init, init_as_pid_1, init_of, probe_text, start_as_pid_1};
use crate::common::levers::{Hold, Tracer};
use crate::common::{Need, Scene, Supervisor, alive, missing, process, wait_for};

/// Makes a thousand orphans that end at once, says so, and stays.
const ORPHANS: &str = "i=0; while [ $i -lt 1000 ]; do (true & exit 0); i=$((i+1)); done; \
    touch done; exec sleep 1000";

#[track_caller]
fn reaps_them_all(scene: &Scene, mut supervisor: Supervisor) {
    scene.wait_file("done");
    wait_for("the last orphan's end", || {
        process::children(supervisor.pid()).len() == 1
    });
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

#[test]
fn m127_a_thousand_orphans_are_reaped() {
    let scene = Scene::new();
    let command = init_of(&scene, &[], &[], &["sh", "-c", ORPHANS]);
    reaps_them_all(&scene, scene.launch(command));
}

#[test]
fn m127_a_thousand_orphans_are_reaped_by_pid_1() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    let scene = Scene::new();
    let wrapper = crate::common::init::AS_PID_1;
    let command = init_of(&scene, &wrapper, &[], &["sh", "-c", ORPHANS]);
    reaps_them_all(&scene, start_as_pid_1(&scene, command));
}

#[test]
fn m128_it_is_a_subreaper_and_its_command_is_not() {
    let scene = Scene::new();
    let script = "fork { escape { pid orphan ; hold } } ; pid pid ; hold";
    let mut supervisor = scene.launch(init(&scene, &[], script));
    let orphan = scene.wait_pid("orphan");
    wait_for("the orphan to come home", || {
        process::stat(orphan).is_some_and(|stat| stat.ppid == supervisor.pid())
    });
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
    assert!(!alive(orphan));
}

/// Each of these gets its SIGTERM, wherever it has gone.
#[test]
fn m130_what_is_left_is_asked_to_end_and_waited_for() {
    let scene = Scene::new();
    let script = "escape { record escaped TERM } ; fork { record member TERM } ; \
        fork { setpgid ; record aside TERM } ; wait-file escaped ; wait-file member ; \
        wait-file aside ; exit 5";
    let start = Instant::now();
    let mut supervisor = scene.launch(init(&scene, &[], script));
    assert_eq!(supervisor.wait_exit(), 5);
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "they did not end by themselves"
    );
    for file in ["escaped", "member", "aside"] {
        let lines = scene.lines(file);
        assert_eq!(lines.len(), 2, "{file} is told once: {lines:?}");
        assert!(lines[1].starts_with("15 "), "{file}: {lines:?}");
    }
}

#[test]
fn what_ends_when_asked_is_not_waited_for_any_longer() {
    let scene = Scene::new();
    let script = "escape { touch escaped ; hold } ; fork { touch member ; hold } ; \
        fork { stop-self ; hold } ; wait-file escaped ; wait-file member ; exit 0";
    let mut supervisor = scene.launch(init(&scene, &["-v"], script));
    assert_eq!(supervisor.wait_exit(), 0);
    assert_eq!(
        supervisor.messages_with(&["killed"]),
        [""; 0],
        "SIGTERM was enough"
    );
}

/// Only when its parent dies of the SIGTERM is the inner one known, and it ignores its own.
#[test]
fn who_comes_home_during_the_stop_is_stopped_too() {
    let scene = Scene::new();
    let script = "escape { escape { ignore TERM ; pid inner ; hold } ; hold } ; \
        wait-file inner ; exit 0";
    let mut supervisor = scene.launch(init(&scene, &["-v"], script));
    let inner = scene.wait_pid("inner");
    assert_eq!(supervisor.wait_exit(), 0);
    assert!(!alive(inner));
    supervisor.wait_message(&["killed"]);
    supervisor.wait_message(&[&format!("reaped pid={inner} code=137")]);
}

#[test]
fn the_deadline_of_the_first_term_counts_if_it_is_earlier() {
    let scene = Scene::new();
    let script = "escape { ignore TERM ; pid deaf ; hold } ; trap TERM ; stamp ready ; \
        await TERM ; stamp asked ; sleep 9000 ; stamp ended ; exit 0";
    let mut supervisor = scene.launch(init(&scene, &[], script));
    scene.wait_lines("ready", 1);
    scene.wait_pid("deaf");
    let asked = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(10), "{took:?}");
    // 2 s after the exit would be 11 s; the machine may be slow, and so only the end counts.
    let ended: u64 = scene.lines("ended")[0].parse().expect("a moment");
    let asked: u64 = scene.lines("asked")[0].parse().expect("a moment");
    let late = Duration::from_nanos(ended - asked) + Duration::from_secs(2);
    assert!(
        took < late,
        "killed {took:?} after the SIGTERM, not 2 s after the exit: {late:?}"
    );
}

#[test]
fn what_does_not_die_is_named_and_left() {
    if missing(&[Need::Root]) {
        return;
    }
    let scene = Scene::new();
    let script = "escape { close 1 ; close 2 ; pid deaf ; hold } ; wait-file go ; exit 4";
    let mut supervisor = scene.launch(init(&scene, &[], script));
    let deaf = scene.wait_pid("deaf");
    let hold = Hold::on(&scene, deaf);
    supervisor.spare(deaf);
    scene.write("go", "");
    assert_eq!(supervisor.wait_exit(), 4);
    supervisor.wait_message(&[&format!("abandoned pid={deaf}")]);
    hold.release();
    wait_for("its end", || !alive(deaf));
}

/// A shell starts a child of its own, and becomes init.
fn with_an_inherited_child(scene: &Scene, script: &str) -> Command {
    let (binary, probe) = (binary_text(), probe_text());
    let shell = format!(
        "{probe} 'close 1 ; close 2 ; pid inherited ; hold' & {probe} 'exit 3' & exec {binary} init -v -- {probe} '{script}'"
    );
    let mut command = scene.marked(&["sh", "-c", &shell].map(PathBuf::from));
    command.current_dir(scene.directory());
    command
}

#[test]
fn inherited_children_are_reaped_and_not_signalled() {
    let scene = Scene::new();
    let script = "escape { hold } ; wait-file go ; exit 6";
    let mut supervisor = scene.launch(with_an_inherited_child(&scene, script));
    let inherited = scene.wait_pid("inherited");
    supervisor.spare(inherited);
    supervisor.wait_message(&["reaped", "code=3"]);
    scene.write("go", "");
    assert_eq!(supervisor.wait_exit(), 6);
    assert!(alive(inherited), "it was none of ours");
    supervisor.wait_message(&["reaped", "code=143"]);
    process::signal(inherited, libc::SIGKILL);
}

#[test]
fn pid_1_stops_whatever_it_inherited() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    let scene = Scene::new();
    let (binary, probe) = (binary_text(), probe_text());
    let shell = format!(
        "{probe} 'record inherited TERM' & exec {binary} init -- {probe} \
         'wait-file inherited ; exit 6'"
    );
    let words = ["unshare", "-pf", "--mount-proc", "sh", "-c", &shell].map(PathBuf::from);
    let mut command = scene.marked(&words);
    command.current_dir(scene.directory());
    let mut supervisor = scene.launch(command);
    assert_eq!(supervisor.wait_exit(), 6);
    assert_eq!(scene.lines("inherited").len(), 2, "told, then killed");
}

#[test]
fn pid_1_leaves_nobody() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    let scene = Scene::new();
    let script = "escape { record escaped TERM } ; fork { setpgid ; record aside TERM } ; \
        wait-file escaped ; wait-file aside ; exit 5";
    let mut supervisor = scene.launch(init_as_pid_1(&scene, &["-v"], script));
    assert_eq!(supervisor.wait_exit(), 5);
    for file in ["escaped", "aside"] {
        assert_eq!(scene.lines(file).len(), 2, "{file} is told once");
    }
    supervisor.wait_message(&["killed"]);
    assert_eq!(supervisor.messages_with(&["reaped", "code=137"]).len(), 2);
}

/// A crowd of them makes orphans without end, who are dead at once; all are deaf to all but SIGKILL.
const STORM: &str = "repeat 24 { fork { STEP { ignore TERM ; touch storm ; storm } } } ; \
    wait-file storm ;";

#[test]
fn a_storm_of_orphans_holds_up_no_signal() {
    let scene = Scene::new();
    let script = format!(
        "{} record signals TERM USR1 40",
        STORM.replace("STEP", "fork")
    );
    let mut supervisor = scene.launch(init(&scene, &[], &script));
    scene.wait_lines("signals", 1);
    // The last is behind SIGCHLD in the order in which the kernel hands them out.
    for (count, signal) in [(2, libc::SIGTERM), (3, libc::SIGUSR1), (4, 40)] {
        supervisor.signal(signal);
        scene.wait_lines("signals", count);
    }
    supervisor.signal(libc::SIGQUIT);
    assert_eq!(supervisor.wait_exit(), 128 + libc::SIGQUIT);
}

/// It ends by our SIGKILL only, wherever it has gone.
#[test]
fn a_storm_of_orphans_holds_up_no_deadline() {
    for step in ["fork", "escape"] {
        let scene = Scene::new();
        let script = format!("{} exit 7", STORM.replace("STEP", step));
        let mut supervisor = scene.launch(init(&scene, &[], &script));
        assert_eq!(supervisor.wait_exit(), 7);
        assert_eq!(supervisor.messages(), [""; 0], "nobody is abandoned");
    }
}

/// Doing nothing costs nothing: not one wake-up.
#[test]
fn nothing_happens_while_nothing_happens() {
    let scene = Scene::new();
    let mut supervisor = scene.launch(init(&scene, &[], "touch started ; hold"));
    scene.wait_file("started");
    let pid = supervisor.pid();
    let switches = || process::status_number(pid, "voluntary_ctxt_switches");
    wait_for("init to sleep", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'S')
    });
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "it woke up");
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

/// What is dead and cannot be reaped was found again at once, for as long as the end may take.
#[test]
fn a_zombie_that_cannot_be_reaped_is_no_spin() {
    if missing(&[Need::Attach]) {
        return;
    }
    let scene = Scene::new();
    let mut supervisor = scene.launch(init(&scene, &[], "touch up ; hold"));
    scene.wait_file("up");
    let arguments = [
        "-e",
        "trace=wait4,waitid",
        "-e",
        "inject=wait4:error=ECHILD",
    ];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &arguments);
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
    let calls = tracer.detach().len();
    assert!((2..300).contains(&calls), "{calls} calls");
}

/// A debugger was told first that what it traced was dead, and never let go. `init` had a zombie
/// that it could not reap, waited for it until the end of its time, and said that it would not die.
#[test]
fn a_zombie_that_a_tracer_withholds_is_not_waited_for() {
    if missing(&[Need::Attach]) {
        return;
    }
    let scene = Scene::new();
    let script = "escape { pid orphan ; hold } ; wait-file go ; exit 5";
    let mut supervisor = scene.launch(init(&scene, &[], script));
    let orphan = scene.wait_pid("orphan");
    let hold = Hold::zombie_of(&scene, orphan);
    supervisor.spare(orphan);
    scene.write("go", "");
    let start = Instant::now();
    assert_eq!(supervisor.wait_exit(), 5);
    let took = start.elapsed();
    assert_eq!(process::stat(orphan).map(|stat| stat.state), Some('Z'));
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
    hold.release();
}
