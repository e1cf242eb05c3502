//! Processes that left the group of a program, whose parent is dead: a stop, a restart and a removal
//! end them with their program.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use procsched::{Backoff, ChildSpec, EventKind, ProcessScheduler, ProgramState, Restart};

use super::host::{Test, host};
use super::kit::{self, List, MILLISECOND, turn_until};
use super::orders::{leased, until};
use super::tracers::trace;
use crate::process;

pub const TESTS: &[Test] = tests![
    what_ends_while_it_waits_for_others_was_asked_to_stop,
    what_left_the_group_is_asked_with_its_program,
    what_left_the_group_is_killed_at_the_deadline_of_its_program,
    a_restart_gives_what_left_the_group_the_time_of_a_stop,
    a_restart_kills_what_left_the_group_at_the_deadline,
    what_a_program_left_that_has_ended_is_asked_with_its_removal,
    what_left_the_group_and_cannot_die_is_abandoned,
    what_leaves_the_group_after_a_start_that_was_cancelled_goes_on,
];

const LONG: Duration = Duration::from_secs(600);

/// A program that starts a process in another session, which loses its parent, writes its pid to a
/// file and does this; then the program does that.
fn leaving(escaped: &str, main: &str) -> ChildSpec {
    let script = format!(
        "(setsid sh -c '{escaped}' < /dev/null &)
         while ! test -s escaped; do sleep 0.01; done
         {main}"
    );
    kit::shell("web", &script)
}

/// Starts a program, with a list of the signals that its escaped processes are sent.
fn started(dir: &Path, builder: procsched::Builder) -> (ProcessScheduler, i32, List<i32>) {
    let signals = List::new();
    let sink = signals.clone();
    let builder = builder.keep_running().subreaper().on_event(move |event| {
        if let EventKind::OrphanSignalled { signal, .. } = event.kind() {
            sink.push(*signal);
        }
    });
    let mut scheduler = kit::built(builder);
    let file = dir.join("escaped");
    let pid = || fs::read_to_string(&file).ok()?.trim().parse().ok();
    turn_until(&mut scheduler, "a process has left", |_| pid().is_some());
    (scheduler, pid().expect("it was seen"), signals)
}

/// The program waits with its own end until the escaped process was asked.
fn what_left_the_group_is_asked_with_its_program() {
    host(|| {
        for order in ["stop", "remove"] {
            let dir = kit::directory();
            let web = leaving(
                r#"trap "echo > asked; exit" TERM; echo $$ > escaped; while :; do sleep 0.02; done"#,
                "trap 'while ! test -s asked; do sleep 0.01; done; exit 0' TERM
                 while :; do sleep 0.02; done",
            );
            let builder = kit::all(&dir).program(web.stop_timeout(LONG));
            let (mut scheduler, pid, signals) = started(dir.path(), builder);
            match order {
                "stop" => scheduler.stop_program("web"),
                _ => scheduler.remove("web"),
            }
            .expect(order);
            turn_until(&mut scheduler, "it is over", |scheduler| {
                let web = scheduler.program("web");
                web.is_none_or(|web| web.state() == ProgramState::Stopped)
            });
            assert_eq!(signals.items(), [libc::SIGTERM], "{order}");
            assert!(!process::alive(pid), "{order}: {pid} lives");
            kit::end(&mut scheduler);
        }
    });
}

fn what_left_the_group_is_killed_at_the_deadline_of_its_program() {
    host(|| {
        let timeout = 400 * MILLISECOND;
        let dir = kit::directory();
        let escaped = r#"trap "" TERM; echo $$ > escaped; exec sleep 1000"#;
        let web = leaving(escaped, "exec sleep 1000").stop_timeout(timeout);
        let builder = kit::all(&dir).program(web);
        let (mut scheduler, pid, signals) = started(dir.path(), builder);
        let asked = Instant::now();
        scheduler.stop_program("web").expect("it runs");
        turn_until(&mut scheduler, "it is stopped", |scheduler| {
            let web = kit::status(scheduler, "web");
            assert!(web.state() == ProgramState::Stopped || web.state() == ProgramState::Stopping);
            web.state() == ProgramState::Stopped
        });
        assert!(asked.elapsed() >= timeout, "{:?}", asked.elapsed());
        assert_eq!(signals.items(), [libc::SIGTERM, libc::SIGKILL]);
        assert!(!process::alive(pid), "{pid} lives");
        kit::end(&mut scheduler);
    });
}

/// Restarts the program by an order, or by a new definition, and waits for its next run.
fn restart(scheduler: &mut ProcessScheduler, order: &str, web: ChildSpec) {
    let first = kit::pid(scheduler, "web").expect("it runs");
    match order {
        "restart" => scheduler.restart_program("web").expect("it runs"),
        _ => drop(scheduler.apply(vec![web.env("A", "1")]).expect("a set")),
    }
    turn_until(scheduler, "it runs again", |scheduler| {
        kit::pid(scheduler, "web").is_some_and(|pid| pid != first)
    });
}

/// It was killed as soon as the group of its program was gone, in the middle of its last write.
/// Without a delay, and with its pipe closed, it was not waited for at all.
fn a_restart_gives_what_left_the_group_the_time_of_a_stop() {
    host(|| {
        for (order, delay) in [("restart", 0), ("restart", 1), ("apply", 1)] {
            let dir = kit::directory();
            let escaped = r#"trap "sleep 0.3; echo > done; exit" TERM; exec 2> /dev/null
                             echo $$ > escaped; while :; do sleep 0.02; done"#;
            let main = "exec sleep 1000";
            let web = leaving(escaped, main).stop_timeout(LONG);
            let web = web.backoff(Backoff {
                initial: Duration::from_secs(delay),
                ..Backoff::default()
            });
            let builder = kit::all(&dir).program(web.clone());
            let (mut scheduler, pid, signals) = started(dir.path(), builder);
            restart(&mut scheduler, order, web);
            assert_eq!(signals.items(), [libc::SIGTERM], "{order} {delay}");
            assert!(!process::alive(pid), "{order} {delay}: {pid} lives");
            assert!(dir.path().join("done").exists(), "{order} {delay}");
            kit::end(&mut scheduler);
        }
    });
}

fn a_restart_kills_what_left_the_group_at_the_deadline() {
    host(|| {
        for order in ["restart", "apply"] {
            let timeout = 400 * MILLISECOND;
            let dir = kit::directory();
            let escaped = r#"trap "" TERM; echo $$ > escaped; exec sleep 1000"#;
            let web = leaving(escaped, "exec sleep 1000").stop_timeout(timeout);
            let builder = kit::all(&dir).program(web.clone());
            let (mut scheduler, pid, signals) = started(dir.path(), builder);
            let asked = Instant::now();
            restart(&mut scheduler, order, web);
            assert!(asked.elapsed() >= timeout, "{:?}", asked.elapsed());
            let sent = signals.items();
            assert_eq!(sent, [libc::SIGTERM, libc::SIGKILL], "{order}");
            assert!(!process::alive(pid), "{order}: {pid} lives");
            kit::end(&mut scheduler);
        }
    });
}

/// A removal by new definitions forgot it, and it lived on.
fn what_a_program_left_that_has_ended_is_asked_with_its_removal() {
    host(|| {
        for order in ["remove", "apply"] {
            let dir = kit::directory();
            let web = leaving("echo $$ > escaped; exec sleep 1000", "exit 0");
            let web = web.restart(Restart::Never).stop_timeout(LONG);
            let builder = kit::all(&dir).program(web);
            let (mut scheduler, pid, signals) = started(dir.path(), builder);
            until(&mut scheduler, "web", ProgramState::Exited);
            assert!(process::alive(pid), "{order}: it may go on");
            match order {
                "remove" => scheduler.remove("web").expect(order),
                _ => drop(scheduler.apply(Vec::new()).expect(order)),
            }
            turn_until(&mut scheduler, "it is removed", |scheduler| {
                scheduler.program("web").is_none()
            });
            assert_eq!(signals.items(), [libc::SIGTERM], "{order}");
            assert!(!process::alive(pid), "{order}: {pid} lives");
            kit::end(&mut scheduler);
        }
    });
}

/// It kept a program stopping for ever.
fn what_left_the_group_and_cannot_die_is_abandoned() {
    host(|| {
        let dir = kit::directory();
        let web = leaving("echo $$ > escaped; exec sleep 1000", "exec sleep 1000");
        let builder = kit::all(&dir).program(web);
        let (mut scheduler, pid, _) = started(dir.path(), builder);
        // It halts at its exit for as long as it is traced.
        let tracer = trace(pid, libc::PTRACE_O_TRACEEXIT, &dir.path().join("never"));
        scheduler.stop_program("web").expect("it runs");
        until(&mut scheduler, "web", ProgramState::Abandoned);
        scheduler.start_program("web").expect("it is down");
        kit::turn(&mut scheduler, MILLISECOND);
        let web = kit::status(&scheduler, "web");
        assert_eq!(web.state(), ProgramState::Pending, "never two runs");
        fs::remove_file(dir.path().join("escaped")).expect("the file");
        process::signal(tracer, libc::SIGKILL);
        until(&mut scheduler, "web", ProgramState::Running);
        assert!(!process::alive(pid), "{pid} lives");
        kit::end(&mut scheduler);
    });
}

/// A stop in the middle of a start asked what the next run let go, and killed it.
fn what_leaves_the_group_after_a_start_that_was_cancelled_goes_on() {
    host(|| {
        let dir = kit::directory();
        let (lease, shell) = leased(&dir, "/bin/sh");
        let script = "(setsid sh -c 'echo $$ > escaped; exec sleep 1000' < /dev/null &)
                      while ! test -s escaped; do sleep 0.01; done
                      while :; do sleep 0.02; done";
        let web = ChildSpec::new("web", [&*shell, "-c", script]).cwd(dir.path());
        let signals = List::new();
        let sink = signals.clone();
        // Each of its deaths is a reason to look.
        let tick = kit::churner("tick", 20 * MILLISECOND, "exit 0");
        let builder = kit::all(&dir)
            .program(web.stop_timeout(MILLISECOND))
            .program(tick);
        let builder = builder.keep_running().subreaper().on_event(move |event| {
            if let EventKind::OrphanSignalled { signal, .. } = event.kind() {
                sink.push(*signal);
            }
        });
        let mut scheduler = kit::built(builder);
        kit::all_spawned(&mut scheduler);
        scheduler.stop_program("web").expect("it is late");
        until(&mut scheduler, "web", ProgramState::Stopped);
        drop(lease);
        scheduler.start_program("web").expect("it is stopped");
        let file = dir.path().join("escaped");
        let pid = || fs::read_to_string(&file).ok()?.trim().parse().ok();
        turn_until(&mut scheduler, "a process has left", |_| pid().is_some());
        let pid = pid().expect("it was seen");
        turn_until(&mut scheduler, "it has lost its parent", |_| {
            process::stat(pid).is_some_and(|stat| stat.ppid == std::process::id() as i32)
        });
        let restarts = |scheduler: &ProcessScheduler| kit::status(scheduler, "tick").restarts();
        let before = restarts(&scheduler);
        turn_until(&mut scheduler, "there were reasons to look", |scheduler| {
            restarts(scheduler) >= before + 10
        });
        assert_eq!(signals.items(), [0; 0], "nothing was to end");
        assert!(process::alive(pid), "{pid} is dead");
        kit::end(&mut scheduler);
    });
}

/// A program that waits for what requires it before it is asked to stop, and ends by itself
/// meanwhile, has been stopped: what it left is asked to end, and has its time.
fn what_ends_while_it_waits_for_others_was_asked_to_stop() {
    host(|| {
        for (order, delay) in [("restart", 0), ("restart", 1), ("stop", 1)] {
            let dir = kit::directory();
            let escaped = r#"trap "sleep 0.3; echo > done; exit" TERM; exec 2> /dev/null
                             echo $$ > escaped; while :; do sleep 0.02; done"#;
            let web = leaving(escaped, "while ! test -s go; do sleep 0.01; done");
            let web = web.stop_timeout(LONG).backoff(Backoff {
                initial: Duration::from_secs(delay),
                ..Backoff::default()
            });
            let api = kit::shell("api", "trap '' TERM; while :; do sleep 0.02; done");
            let api = api.requires(["web"]).stop_timeout(Duration::from_secs(2));
            let builder = kit::all(&dir).program(web).program(api);
            let (mut scheduler, pid, signals) = started(dir.path(), builder);
            turn_until(&mut scheduler, "api runs", |scheduler| {
                kit::pid(scheduler, "api").is_some()
            });
            let first = kit::pid(&scheduler, "web").expect("it runs");
            match order {
                "restart" => scheduler.restart_program("web").expect("it runs"),
                _ => scheduler.stop_program("web").expect("it runs"),
            }
            fs::write(dir.path().join("go"), "x").expect("a file");
            turn_until(
                &mut scheduler,
                "web has ended, and runs again",
                |scheduler| {
                    let state = scheduler.program("web").map(|web| web.state());
                    match order {
                        "restart" => kit::pid(scheduler, "web").is_some_and(|pid| pid != first),
                        _ => state == Some(ProgramState::Stopped),
                    }
                },
            );
            assert_eq!(signals.items(), [libc::SIGTERM], "{order} {delay}");
            assert!(dir.path().join("done").exists(), "{order} {delay}");
            assert!(!process::alive(pid));
            kit::end(&mut scheduler);
        }
    });
}
