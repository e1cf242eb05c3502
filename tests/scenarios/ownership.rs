//! Which program a process belongs to that has left its group, and when it is dead: false claims,
//! supervisors below supervisors, tracers, and processes whose first thread has ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::levers::{Gate, Hold};
use crate::common::{Need, Scene, alive, missing, probe, process, second_run, wait_for};
use crate::orphans::{is_blind, told, wait_home};

/// The number of the user that a program becomes.
const USER: u32 = 64_326;

/// Longer than any test takes, in milliseconds.
const FOREVER: u32 = 100_000_000;

fn delay(length: Value) -> Value {
    json!({"backoff": {"initial": length, "max": length}, "stop_timeout": "2s"})
}

/// Waits until the first thread of a process has ended, and others have not.
#[track_caller]
fn wait_headless(pid: i32) {
    wait_for("the first thread to end", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'Z')
    });
    assert_eq!(process::status_number(pid, "Threads"), Some(2), "no point");
}

/// A web server of another user left a process behind that said it was of the database. The
/// database was restarted, and the supervisor killed that process, or waited for it forever.
#[test]
fn a_claim_to_be_of_another_program_is_none() {
    if is_blind() || missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    let claimant = "claim db ; close 2 ; pid claimant ; hold";
    let web = format!("become {USER} ; escape {{ escape {{ {claimant} }} }} ; hold");
    scene.add("web1", &web);
    let db = "wait-file claimant ; count runs ; exit 1";
    scene.add_with("db", db, delay(json!("20ms")));
    let supervisor = scene.start();
    let claimant = scene.wait_pid("claimant");
    wait_home(&supervisor, claimant);
    let environ = std::fs::read(process::directory(claimant).join("environ")).expect("root");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let claims = ["PROCSCHED_PROGRAM=db", "PROCSCHED_CHAIN=db:"];
    assert!(
        claims.iter().all(|claim| environ.contains(claim)),
        "no point: {environ:?}"
    );
    supervisor.wait_reports_of("db", 5);
    assert!(alive(claimant), "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
    supervisor.end();
}

/// What a program had left behind was killed before its restart, but a tracer was told of the
/// death first, and passed it on to no one else. Its restart waited for the reap, forever.
#[test]
fn a_zombie_that_cannot_be_reaped_holds_up_no_start_and_no_stop() {
    if is_blind() || missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script =
        "once first { escape { close 2 ; pid orphan ; hold } ; gate gate ; exit 3 } ; hold";
    scene.add_with("db", script, delay(json!("20ms")));
    let mut supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    let hold = Hold::zombie_of(&scene, orphan);
    gate.open();
    supervisor.wait_started("db", 2);
    assert_eq!(told(&supervisor, "SIGKILL", orphan), 1);
    let state = process::stat(orphan).map(|stat| (stat.state, stat.ppid));
    assert_eq!(state, Some(('Z', supervisor.pid())), "no point");
    let start = Instant::now();
    supervisor.spare(orphan);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "the stop took {took:?}");
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
    hold.release();
}

/// The same at the end: it was waited for five seconds more, and then "abandoned".
#[test]
fn a_zombie_that_cannot_be_reaped_is_not_waited_for_at_the_end() {
    if is_blind() || missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let script = "escape { pid orphan ; hold } ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let mut supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    let hold = Hold::zombie_of(&scene, orphan);
    supervisor.spare(orphan);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "the stop took {took:?}");
    assert_eq!(told(&supervisor, "SIGKILL", orphan), 1);
    assert_eq!(process::stat(orphan).map(|stat| stat.state), Some('Z'));
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
    hold.release();
}

/// And the program's own process: it died of its SIGKILL at once, and was "abandoned" five seconds
/// later, with exit code 1.
#[test]
fn a_program_that_is_a_withheld_zombie_is_not_waited_for_at_the_end() {
    if is_blind() || missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let script = "ignore TERM ; pid p ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let mut supervisor = scene.start();
    let pid = scene.wait_pid("p");
    let hold = Hold::zombie_of(&scene, pid);
    supervisor.spare(pid);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "the stop took {took:?}");
    assert_eq!(process::stat(pid).map(|stat| stat.state), Some('Z'));
    assert_eq!(supervisor.messages_with(&["abandoned"]), [""; 0]);
    let report = supervisor.wait_report("p", 1);
    assert!(report.error().contains("exit status unknown"), "{report:?}");
    hold.release();
}

/// A supervisor below the supervisor, in a directory of its own, whose programs are these.
fn inner(scene: &Scene, programs: &Value) -> Value {
    scene.mkdir("inner");
    let config = json!({"base_dir": scene.directory(), "err_dir": "inner", "programs": programs});
    let path = scene.write("inner/procsched.json", config.to_string());
    json!([second_run::binary(), "run", path])
}

/// Writes down the pid of each of its runs.
fn noted(file: &str) -> Value {
    probe(&format!("append {file} %p\\n ; hold"))
}

fn noted_pid(scene: &Scene, file: &str, run: usize) -> i32 {
    let lines = scene.wait_lines(file, run);
    lines[run - 1].parse().expect("a pid")
}

/// A supervisor that was killed with SIGKILL left its programs to the one above it, which had
/// never heard of their names: they belonged to no program, and each restart left one more of them.
#[test]
fn what_a_supervisor_below_leaves_behind_is_killed_before_that_starts_again() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let site = inner(&scene, &json!({"db": noted("dbs")}));
    let mut program = delay(json!("50ms"));
    program["command"] = site;
    scene.add_raw("site", program);
    let supervisor = scene.start();
    for run in 1..=3 {
        let site = supervisor.wait_started("site", run);
        let db = noted_pid(&scene, "dbs", run);
        assert!(alive(db), "{}", supervisor.said());
        process::signal(site, libc::SIGKILL);
        supervisor.wait_started("site", run + 1);
        assert!(!alive(db), "run {run}: {}", supervisor.said());
        assert_eq!(told(&supervisor, "SIGKILL", db), 1);
        assert_eq!(
            supervisor
                .messages_with(&["site", "SIGKILL", "had left"])
                .len(),
            run
        );
    }
    supervisor.end();
}

/// Two databases, one of the supervisor and one of a supervisor below it that is gone: when the
/// first was restarted, the other was killed.
#[test]
fn equal_names_on_two_levels_are_two_programs() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let site = inner(&scene, &json!({"db": noted("dbs")}));
    scene.add_raw(
        "site",
        json!({"command": site, "restart": "never", "stop_timeout": "2s"}),
    );
    scene.add_with("db", "gate gate ; exit 1", delay(json!("20ms")));
    let supervisor = scene.start();
    let (site, db) = (
        supervisor.wait_started("site", 1),
        noted_pid(&scene, "dbs", 1),
    );
    process::signal(site, libc::SIGKILL);
    supervisor.wait_report("site", 1);
    wait_home(&supervisor, db);
    gate.open();
    supervisor.wait_reports_of("db", 5);
    assert!(alive(db), "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
    supervisor.end();
    assert!(!alive(db), "it ends with everything else");
}

/// The code of a chain is that of one supervisor, not of its number or its names.
#[test]
fn a_chain_is_passed_on_and_none_is_like_another() {
    let mut scene = Scene::new();
    let keys = json!({"env": {"PROCSCHED_CHAIN": "mine", "PROCSCHED_PROGRAM": "mine"}});
    scene.add_with("p", "dump dump ; hold", keys);
    let chain = |scene: &Scene| {
        let mut command = scene.command();
        command.env("PROCSCHED_CHAIN", "above:0123456789abcdef");
        let supervisor = scene.launch(command);
        let dump = scene.wait_dump("dump");
        supervisor.end();
        std::fs::remove_file(scene.path("dump")).expect("a dump");
        assert_eq!(dump["env"]["PROCSCHED_PROGRAM"], "p");
        dump["env"]["PROCSCHED_CHAIN"]
            .as_str()
            .expect("a chain")
            .to_owned()
    };
    let chains = [chain(&scene), chain(&scene)];
    for chain in &chains {
        let own = chain
            .strip_prefix("above:0123456789abcdef/p:")
            .expect("what was above");
        assert!(
            own.len() == 16 && own.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{own}"
        );
    }
    assert_ne!(chains[0], chains[1]);
}

/// A process whose `main` had ended by pthread_exit(3) ran on in its other threads, and looked like
/// a zombie with no environment: five restarts left four of it.
#[test]
fn an_orphan_whose_first_thread_has_ended_is_killed_before_the_start() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let orphan = format!("escape {{ close 2 ; pid orphan ; dead-leader {FOREVER} 0 }}");
    let script = format!("once first {{ {orphan} ; gate gate ; exit 3 }} ; hold");
    scene.add_with("p", &script, delay(json!("20ms")));
    let supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    wait_headless(orphan);
    gate.open();
    supervisor.wait_started("p", 2);
    assert_eq!(process::stat(orphan), None, "{}", supervisor.said());
    assert_eq!(
        told(&supervisor, "SIGKILL", orphan),
        1,
        "{}",
        supervisor.said()
    );
    supervisor.end();
}

/// A group of which one such process is left has its grace, and is not taken for one of zombies.
#[test]
fn a_member_whose_first_thread_has_ended_has_its_grace() {
    let mut scene = Scene::new();
    let member = format!("ignore TERM ; pid member ; dead-leader {FOREVER} 0");
    let script = format!("trap TERM ; fork {{ {member} }} ; touch up ; await TERM ; exit 0");
    scene.add_with("p", &script, json!({"stop_timeout": "900ms"}));
    let mut supervisor = scene.start();
    scene.wait_file("up");
    wait_headless(scene.wait_pid("member"));
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "no grace: {took:?}");
}

/// A member of the group was the child of a process that had left it and reaped nothing: the group
/// was one of a zombie that was not ours to reap, and held up the restart for a second. Returns how
/// long it did.
fn restart_beside_a_strangers_zombie() -> Duration {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let parent = "fork { pid member ; hold } ; ignore TERM ; wait-file member ; setsid ; \
        close 2 ; touch parent ; hold";
    let script = format!("once first {{ fork {{ {parent} }} ; gate gate ; exit 3 }} ; hold");
    scene.add_with("p", &script, delay(json!("20ms")));
    let supervisor = scene.start();
    scene.wait_file("parent");
    let member = scene.wait_pid("member");
    let start = Instant::now();
    gate.open();
    supervisor.wait_started("p", 2);
    let took = start.elapsed();
    assert!(!alive(member));
    supervisor.end();
    took
}

#[test]
fn a_group_of_anothers_zombies_holds_up_no_start() {
    if is_blind() {
        return;
    }
    // A busy machine may be slow, but not each time.
    let quickest = (0..5).map(|_| restart_beside_a_strangers_zombie()).min();
    assert!(quickest < Some(Duration::from_millis(900)), "{quickest:?}");
}
