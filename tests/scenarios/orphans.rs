//! What left its program's group and lost its parent, at the end: asked, killed, waited for.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::{FORKS, Gate, Hold, Tracer};
use crate::common::{
    Need, Report, Scene, Supervisor, alive, missing, probe, process, second_run, tools, wait_for,
};
use crate::stop::{recorded, stop_recorders};

/// Whether the supervisor has no `/proc`, and so knows nobody that came home; says so.
#[track_caller]
pub fn is_blind() -> bool {
    let blind = second_run::is_pid1();
    if blind {
        tools::skip("the root has no /proc, and nothing else tells who left its group");
    }
    blind
}

/// Waits until this process has lost its parent and is the supervisor's child.
#[track_caller]
pub fn wait_home(supervisor: &Supervisor, pid: i32) {
    let parent = supervisor.inner_pid();
    supervisor.wait(&format!("{pid} comes home"), || {
        process::stat(pid).is_some_and(|stat| stat.ppid == parent)
    });
}

/// How often it was said that this process, which had left its group, got this signal.
pub fn told(supervisor: &Supervisor, signal: &str, pid: i32) -> usize {
    let whom = format!("pid={pid} had left its group");
    supervisor.messages_with(&[signal, &whom]).len()
}

fn names(reports: &[Report]) -> Vec<&str> {
    reports.iter().map(Report::name).collect()
}

#[test]
fn m128_what_loses_its_parent_comes_home_past_its_program() {
    let mut scene = Scene::new();
    scene.add(
        "p",
        "escape { escape { pid orphan ; hold } } ; pid up ; hold",
    );
    let supervisor = scene.start();
    let (orphan, program) = (scene.wait_pid("orphan"), scene.wait_pid("up"));
    wait_home(&supervisor, orphan);
    assert!(alive(program), "it lives, and got no orphan");
    supervisor.end();
}

#[test]
fn m116_what_left_its_group_is_stopped_with_the_rest() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "2s"});
    scene.add_with(
        "p",
        "escape { record orphan TERM CONT INT HUP } ; hold",
        keys,
    );
    let mut supervisor = scene.start();
    scene.wait_lines("orphan", 1);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2), "no grace: {took:?}");
    assert_eq!(recorded(&scene, "orphan"), [libc::SIGTERM, libc::SIGCONT]);
    assert_eq!(
        names(&supervisor.reports()),
        ["p"],
        "an orphan has no report"
    );
}

#[test]
fn m130_an_orphan_that_obeys_ends_the_shutdown_at_once() {
    let mut scene = Scene::new();
    let script = "escape { trap TERM ; pid orphan ; await TERM ; touch obeyed } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "1h"}));
    let supervisor = scene.start();
    scene.wait_pid("orphan");
    supervisor.end();
    assert!(scene.path("obeyed").exists(), "it was waited for");
}

/// The longest stop_timeout of all is theirs, whoever they belong to.
#[test]
fn m130_a_stubborn_orphan_is_killed_at_the_longest_deadline() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let orphan = |file: &str, more: &str| {
        format!("escape {{ {more} ; ignore TERM ; pid {file} ; hold }} ; hold")
    };
    scene.add_with("short", &orphan("own", ""), json!({"stop_timeout": 0}));
    scene.add_with(
        "other",
        &orphan("nobody", "anonymous"),
        json!({"stop_timeout": 0}),
    );
    scene.add_with("long", "hold", json!({"stop_timeout": "900ms"}));
    let mut supervisor = scene.start();
    let (own, nobody) = (scene.wait_pid("own"), scene.wait_pid("nobody"));
    supervisor.wait_started("long", 1);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "too early: {took:?}");
    for pid in [own, nobody] {
        let said = ["SIGTERM", "SIGKILL"].map(|signal| told(&supervisor, signal, pid));
        assert_eq!(said, [1, 1], "once each; {}", supervisor.said());
    }
    let of_program = format!("pid={own} had left");
    assert_eq!(supervisor.messages_with(&["short", &of_program]).len(), 2);
    let of_nobody = format!("pid={nobody} had left");
    assert_eq!(supervisor.messages_with(&["other", &of_nobody]), [""; 0]);
    assert_eq!(supervisor.report_count(), 3);
}

#[test]
fn m130_a_second_stop_signal_kills_orphans_too() {
    let mut scene = Scene::new();
    let script = "escape { record orphan TERM } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "1h"}));
    let mut supervisor = scene.start();
    scene.wait_lines("orphan", 1);
    stop_recorders(&scene, &mut supervisor, &["orphan"], 2);
    assert_eq!(recorded(&scene, "orphan"), [libc::SIGTERM]);
}

#[test]
fn m130_programs_that_ended_for_good_leave_nobody_behind() {
    let mut scene = Scene::new();
    let script = "escape { trap TERM ; touch orphan ; await TERM ; touch obeyed } ; \
                  wait-file orphan ; exit 0";
    let keys = json!({"restart": "never", "stop_timeout": "1h"});
    scene.add_with("p", script, keys);
    let reports = scene.start().ends_with(0);
    assert_eq!(names(&reports), ["p"]);
    assert!(scene.path("obeyed").exists(), "it was not asked");
}

/// Each of them comes home when the one before it has died.
#[test]
fn m130_a_chain_of_escapes_is_stopped_to_its_last_link() {
    let mut scene = Scene::new();
    let script = "escape { escape { escape { ignore TERM ; pid o3 ; hold } ; pid o2 ; hold } \
                  ; ignore TERM ; pid o1 ; hold } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let supervisor = scene.start();
    for file in ["o1", "o2", "o3"] {
        scene.wait_pid(file);
    }
    // The end itself looks for who is left.
    supervisor.end();
}

#[test]
fn a_stopped_orphan_gets_its_sigterm() {
    let mut scene = Scene::new();
    let script = "escape { pid orphan ; stop-self ; hold } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "1h"}));
    let supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    wait_for("it stops itself", || {
        process::stat(orphan).is_some_and(|stat| stat.state == 'T')
    });
    supervisor.end();
}

/// A group outlives its leader in the grace of a stop, and its members come home then. They were
/// asked with their group: to ask again would mean "at once" to many a program.
#[test]
fn a_member_that_outlives_its_leader_is_asked_once() {
    let mut scene = Scene::new();
    let script = "fork { record member TERM CONT } ; trap TERM ; fork { fork { record deep TERM \
                  CONT } } ; wait-file member ; wait-file deep ; touch up ; await TERM ; exit 0";
    scene.add_with("p", script, json!({"stop_timeout": "1h"}));
    let mut supervisor = scene.start();
    scene.wait_file("up");
    stop_recorders(&scene, &mut supervisor, &["member", "deep"], 3);
    for file in ["member", "deep"] {
        assert_eq!(
            recorded(&scene, file),
            [libc::SIGTERM, libc::SIGCONT],
            "{file}"
        );
    }
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
    assert_eq!(supervisor.reports()[0].code(), 0);
}

/// A server with `stop_signal: INT` went at once, and its worker, which takes INT for "finish
/// what you do" and TERM for "now", was finishing. The worker lost its parent by that, and with
/// it the look at all children took it for somebody who had left its group: it got TERM.
#[test]
fn a_member_that_outlives_its_leader_gets_no_other_signal() {
    let mut scene = Scene::new();
    let script = "fork { record member INT TERM CONT } ; wait-file member ; trap INT ; touch up \
                  ; await INT ; exit 0";
    let keys = json!({"stop_signal": "INT", "stop_timeout": "1h"});
    scene.add_with("p", script, keys);
    let mut supervisor = scene.start();
    scene.wait_file("up");
    stop_recorders(&scene, &mut supervisor, &["member"], 3);
    let got = recorded(&scene, "member");
    assert_eq!(got, [libc::SIGINT, libc::SIGCONT], "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
}

/// A program said its last word and died. The turn that came of the word found the death, too,
/// whose signal had not arrived when the turn began; so all was over, and nobody looked for who
/// had come home with that death. It lived on in a container that had ended well.
#[test]
fn m130_who_comes_home_with_the_last_death_is_seen() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let script = "escape { trap TERM ; pid orphan ; await TERM ; touch obeyed } ; trap TERM ; \
                  wait-file orphan ; touch up ; await TERM ; say bye ; sleep 100 ; exit 0";
    let keys = json!({"restart": "never", "stop_timeout": "1h"});
    scene.add_with("p", script, keys);
    let mut supervisor = scene.start();
    scene.wait_file("up");
    // Between the look at what has arrived and the look at who has died is time for a death.
    let inject = ["-e", "inject=waitid:delay_enter=500000"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &inject);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    drop(tracer);
    assert!(scene.path("obeyed").exists(), "{}", supervisor.said());
}

/// A list of children that could not be read once counted as an empty one: what had left its
/// group ran on, and the code was 0.
#[test]
fn m130_a_look_that_fails_is_tried_again_and_is_no_empty_one() {
    if missing(&[Need::Strace]) || is_blind() {
        return;
    }
    for (fails, code) in [("when=1..3", 0), ("when=1+", 1)] {
        let mut scene = Scene::new();
        let script = "escape { pid orphan ; hold } ; hold";
        scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
        let mut supervisor = scene.start();
        let orphan = scene.wait_pid("orphan");
        let inject = format!("inject=getdents64:error=EIO:{fails}");
        let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
        supervisor.spare(orphan);
        assert_eq!(supervisor.stop(), code, "{}", supervisor.said());
        assert!(tracer.injected() > 0, "nothing was injected");
        drop(tracer);
        assert_eq!(alive(orphan), code == 1, "{}", supervisor.said());
        let said = supervisor.messages_with(&["failed to look for processes that left"]);
        assert_eq!(said.len(), 1, "said once: {}", supervisor.said());
    }
}

#[test]
fn m130_an_orphan_that_cannot_die_is_named_and_left_behind() {
    if is_blind() || missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let script = "escape { ignore TERM ; pid orphan ; hold } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let mut supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    let hold = Hold::on(&scene, orphan);
    let start = Instant::now();
    supervisor.spare(orphan);
    assert_eq!(supervisor.stop(), 1, "something abandoned is code 1");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(5300),
        "given up after {took:?}"
    );
    supervisor.wait_message(&["p", "abandoned", &orphan.to_string()]);
    let reports = supervisor.reports();
    assert_eq!(names(&reports), ["p"]);
    assert_eq!(reports[0].error(), "", "the program itself has ended well");
    hold.release();
}

/// A member of a program's group that came home when its parent ended had been seen there by the
/// last look. It left the group during the stop, of which no signal tells: the group was gone, and
/// the supervisor ended beside a child that nobody had asked to.
#[test]
fn who_leaves_its_group_in_silence_during_a_stop_is_stopped_too() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let member = "ignore TERM ; pid member ; wait-file go ; setpgid ; pid left ; hold";
    let script = format!("fork {{ {member} }} ; wait-file member ; hold");
    scene.add_with("p", &script, json!({"stop_timeout": "3s"}));
    let mut supervisor = scene.start();
    let member = scene.wait_pid("member");
    supervisor.signal(libc::SIGTERM);
    wait_for("the member to come home", || {
        process::stat(member).is_some_and(|stat| stat.ppid == supervisor.pid())
    });
    // Until then it is looked for; without this the test proves less, and does not fail.
    std::thread::sleep(Duration::from_millis(500));
    scene.write("go", "");
    assert_eq!(scene.wait_pid("left"), member);
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
    assert!(!alive(member), "{}", supervisor.said());
}

/// Five seconds after the last program a command that hangs is killed; who comes home only then
/// has its own time to die, although the shutdown's deadline is long over.
#[test]
fn who_comes_home_last_of_all_is_not_abandoned_at_once() {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("escape { pid late ; hold } ; hold"));
    scene.add_with("p", "hold", json!({"stop_timeout": 0}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert!(scene.path("late").exists(), "no point");
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
}

#[test]
fn what_an_error_handler_leaves_in_the_background_is_stopped_at_the_end() {
    let mut scene = Scene::new();
    let script = "once first { fork { record member TERM } ; escape { record escaped TERM } ; \
                  wait-file member ; wait-file escaped }";
    scene.set("error_handler", probe(script));
    let keys = json!({"backoff": {"initial": "50ms", "max": "50ms"}, "stop_timeout": "1h"});
    scene.add_with("p", "once first.run { exit 1 } ; pid up ; hold", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("member", 1);
    scene.wait_lines("escaped", 1);
    scene.wait_pid("up");
    stop_recorders(&scene, &mut supervisor, &["member", "escaped"], 2);
    for file in ["member", "escaped"] {
        assert_eq!(recorded(&scene, file), [libc::SIGTERM], "{file}");
    }
    assert_eq!(names(&supervisor.reports()), ["p", "p"]);
}

/// The last thing that happens is no death: nothing but the supervisor itself can see that it
/// has come to its end.
#[test]
fn m130_a_last_start_that_fails_without_a_process_ends_it() {
    if second_run::is_pid1() {
        return tools::skip("strace wraps the supervisor from its first instruction on");
    }
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with("p", "hold", json!({"restart": "never"}));
    let inject = format!("inject={}:error=EAGAIN", FORKS);
    let command = scene.wrapped(&["strace", "-o", "/dev/null", "-e", &inject]);
    let reports = scene.launch(command).ends_with(1);
    assert_eq!(names(&reports), ["p"]);
    assert_eq!(reports[0].code(), 125);
}

#[test]
fn an_orphan_costs_no_wakeup() {
    let mut scene = Scene::new();
    scene.add("p", "escape { escape { pid orphan ; hold } } ; hold");
    let supervisor = scene.start();
    wait_home(&supervisor, scene.wait_pid("orphan"));
    let pid = supervisor.pid();
    let switches = || process::status_number(pid, "voluntary_ctxt_switches").expect("it runs");
    // Nothing happens, so there is no condition to wait for: silence itself is measured.
    std::thread::sleep(Duration::from_secs(1));
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches() - before, 0, "woken in 3 s of silence");
    supervisor.end();
}

/// What a program had left behind was about to be killed, so that it could start again, when
/// everything was stopped: it was asked to end, was taken for killed, and lived on as
/// "abandoned".
#[test]
fn what_a_start_waits_for_when_everything_is_stopped_is_killed_at_the_deadline() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = "pid leader ; escape { ignore TERM ; pid left ; hold } ; wait-file left ; \
        gate gate ; exit 1";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let mut supervisor = scene.start();
    let (leader, left) = (scene.wait_pid("leader"), scene.wait_pid("left"));
    // The death and the stop meet in one turn.
    supervisor.signal(libc::SIGSTOP);
    gate.open();
    wait_for("the program to die", || {
        process::stat(leader).is_some_and(|stat| stat.state == 'Z')
    });
    supervisor.signal(libc::SIGTERM);
    supervisor.signal(libc::SIGCONT);
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
    assert!(!alive(left), "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
}
