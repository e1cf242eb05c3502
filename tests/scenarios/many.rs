//! Hundreds of programs: more than are all looked at in every turn, and than are started or
//! reaped in one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::Gate;
use crate::common::{Report, Scene, Supervisor, namespace, process, signal, tools, wait_for};
use crate::orphans::is_blind;

/// So many children that they are not all looked at in every turn.
const MANY: usize = 160;

fn wait_crowd(supervisor: &Supervisor, count: usize) {
    for index in 1..=count {
        supervisor.wait_started(&format!("p{index}"), 1);
    }
}

/// One SIGCHLD stands for all of them, and no pipe comes to its end: who left the group holds
/// it. Only a look at every child can find them, and that has to come even if nothing else
/// happens any more.
#[test]
fn deaths_that_share_a_signal_and_leave_their_pipes_open_are_all_found() {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    for index in 1..=MANY {
        let code = index % 90 + 1;
        let script = format!("escape {{ hold }} ; gate gate ; exit {code}");
        scene.add_with(&format!("p{index}"), &script, json!({"restart": "never"}));
    }
    scene.add("steady", "hold");
    let supervisor = scene.start();
    wait_crowd(&supervisor, MANY);
    supervisor.signal(libc::SIGSTOP);
    gate.open();
    wait_for("all to be dead", || {
        process::zombies(supervisor.pid()).len() == MANY
    });
    supervisor.signal(libc::SIGCONT);
    let reports = supervisor.wait_reports(MANY);
    let names: BTreeSet<&str> = reports.iter().map(Report::name).collect();
    assert_eq!(
        (reports.len(), names.len()),
        (MANY, MANY),
        "one report each"
    );
    for report in &reports {
        let index: i64 = report.name()[1..].parse().expect("p and a number");
        assert_eq!(report.code(), index % 90 + 1, "{report:?}");
    }
    wait_for("no zombie", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    supervisor.end();
}

/// Sends a SIGCHLD with this number in it, as anybody of our user may.
fn forge_sigchld(target: i32, about: i32) {
    /// Where si_pid stands, counted in integers (sigaction(2)).
    const SI_PID: usize = 4;
    let mut info = [0_i32; 32];
    (info[0], info[2], info[SI_PID]) = (libc::SIGCHLD, libc::SI_QUEUE, about);
    // SAFETY: rt_sigqueueinfo takes two integers and a pointer to 128 bytes that are alive.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_rt_sigqueueinfo,
            target,
            libc::SIGCHLD,
            info.as_ptr(),
        )
    };
    assert_eq!(sent, 0, "a signal with information");
}

/// What a SIGCHLD says is not believed: neither of a program that lives, nor of a stranger, nor
/// of a number that nobody has.
#[test]
fn a_forged_sigchld_ends_nothing() {
    let mut scene = Scene::new();
    for index in 1..=MANY {
        scene.add_with(&format!("p{index}"), "hold", json!({"restart": "never"}));
    }
    let supervisor = scene.start();
    wait_crowd(&supervisor, MANY);
    let victim = supervisor.wait_started("p7", 1);
    for about in [victim, supervisor.pid(), 1, 0, -1, i32::MAX, i32::MIN] {
        forge_sigchld(supervisor.pid(), about);
    }
    // It is heard before this death, and by the report all of it is over.
    signal(supervisor.wait_started("p9", 1), libc::SIGKILL);
    let reports = supervisor.wait_reports(1);
    assert_eq!((reports.len(), reports[0].name()), (1, "p9"));
    assert!(process::alive(victim));
    assert_eq!(supervisor.end().len(), MANY);
}

/// Where the first line is that speaks of a stop, and what was started after it.
fn started_after_the_stop(said: &[String]) -> Vec<&String> {
    let is_stop = |line: &String| line.contains(" stopping");
    let first = said.iter().position(is_stop).unwrap_or(said.len());
    let is_start = |line: &&String| line.contains(" started ");
    said[first..].iter().filter(is_start).collect()
}

/// A stop that came while hundreds of programs were being started waited for the last of them.
#[test]
fn a_stop_in_the_middle_of_many_starts_is_obeyed_between_two_of_them() {
    const COUNT: usize = 600;
    let mut scene = Scene::new();
    for index in 0..COUNT {
        scene.add(&format!("p{index}"), "hold");
    }
    // Each start takes long enough for the stop to come in their middle.
    scene.set("defaults", json!({"stop_timeout": "60s"}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p3", 1);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let said = supervisor.messages();
    let is_start = |line: &&String| line.contains(" started ") && !line.contains("programs=");
    let starts = said.iter().filter(is_start).count();
    assert!(
        (4..COUNT).contains(&starts),
        "{starts} starts: not in their middle"
    );
    assert_eq!(started_after_the_stop(&said), [""; 0]);
    let mut reports = supervisor.reports();
    // One that had not executed its program yet was cancelled.
    reports.retain(|report| report.pid().is_some());
    assert_eq!(reports.len(), starts, "each has ended");
}

/// Hundreds of programs that live, and as many that end as soon as they are started: the stop
/// comes to the living before it comes to the end of the storm.
#[test]
fn a_stop_in_a_storm_of_crashes_reaches_those_that_live() {
    const EACH: usize = 150;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let storm = json!({"backoff": {"initial": 0, "max": 0}, "report_bytes": 0});
    for index in 0..EACH {
        scene.add_with(
            &format!("crasher{index}"),
            "gate gate ; exit 1",
            storm.clone(),
        );
        scene.add_with(
            &format!("steady{index}"),
            "trap TERM ; append up x\\n ; await TERM ; append heard x\\n",
            json!({"stop_timeout": "60s"}),
        );
    }
    let mut supervisor = scene.start();
    scene.wait_lines("up", EACH);
    supervisor.wait_started(&format!("crasher{}", EACH - 1), 1);
    gate.open();
    wait_for("the storm", || supervisor.report_count() > 2 * EACH);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    scene.wait_lines("heard", EACH);
    assert_eq!(started_after_the_stop(&supervisor.messages()), [""; 0]);
    let killed = supervisor.messages_with(&["steady", " killed"]);
    assert_eq!(killed, [""; 0], "nobody came to the deadline");
}

/// Where there are many, what left a group is looked for some time after the death, for all
/// deaths together: the start waits for it.
#[test]
fn what_left_a_group_is_gone_before_its_program_starts_again_among_many() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    for index in 1..=MANY {
        scene.add(&format!("p{index}"), "hold");
    }
    let backoff = json!({"backoff": {"initial": "1ms", "max": "1ms"}});
    for name in ["a", "b", "c"] {
        let script = format!(
            "once first.{name} {{ escape {{ close 2 ; pid left.{name} ; hold }} ; wait-file \
             left.{name} ; gate gate ; exit 1 }} ; hold"
        );
        scene.add_with(name, &script, backoff.clone());
    }
    let supervisor = scene.start();
    wait_crowd(&supervisor, MANY);
    let left = ["a", "b", "c"].map(|name| scene.wait_pid(&format!("left.{name}")));
    gate.open();
    for (name, left) in ["a", "b", "c"].into_iter().zip(left) {
        supervisor.wait_started(name, 2);
        assert!(!process::alive(left), "{name} has started beside {left}");
    }
    supervisor.end();
}

/// The time that a process has spent on a processor, in nanoseconds: whatever else runs here
/// takes none of it.
fn processor_time(pid: i32) -> u64 {
    let pid = namespace::outer(pid).expect("it runs");
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it runs");
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).expect("a number")
}

/// What it takes to see, report and forget so many deaths that come at once, for each of them.
fn time_of_a_death(count: usize) -> u64 {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    for index in 1..=count {
        scene.add_with(
            &format!("p{index}"),
            "gate gate ; exit 1",
            json!({"restart": "never"}),
        );
    }
    scene.add("steady", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("steady", 1);
    supervisor.signal(libc::SIGSTOP);
    gate.open();
    wait_for("all to be dead", || {
        process::zombies(supervisor.pid()).len() == count
    });
    let before = processor_time(supervisor.pid());
    supervisor.signal(libc::SIGCONT);
    supervisor.wait("a report of each", || supervisor.report_count() == count);
    let spent = processor_time(supervisor.pid()) - before;
    supervisor.end();
    spent / count as u64
}

/// Whoever looks through all programs for each pid that has died, or tries the one thousandth
/// before the first, takes eight times as long for a death among eight times as many.
#[test]
fn m109_a_death_among_many_costs_what_it_costs_among_few() {
    let (few, many) = (tools::whole(150, 400), tools::whole(1200, 3200));
    // The first of all also pays for what is read and laid out once.
    let among_few = time_of_a_death(few);
    let among_many = time_of_a_death(many);
    assert!(
        among_many < 3 * among_few,
        "{among_few} ns among {few}, {among_many} ns among {many}"
    );
}
