//! Tracers: a program may be dead and yet not to be waited for, because whoever traces it has
//! its end first; and one that halts on its way out dies when everybody has given it up.

use std::fs;
use std::path::Path;

use procsched::{Reap, Status};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse_pidfds;
use super::theft::{IDLE_TIME, assert_idle};
use crate::process;

pub const TESTS: &[Test] = tests![
    m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence,
    m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence_without_pidfds,
    m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence_where_all_are_reaped,
    who_dies_after_the_end_makes_the_descriptor_readable_no_more,
];

/// Starts one that traces this process until it is killed. When `release` is there it takes the
/// end of the traced one, and so hands it on to the parent.
pub fn trace(pid: i32, options: libc::c_int, release: &Path) -> i32 {
    let tracer = kit::copy(|| {
        // SAFETY: plain numbers; PTRACE_SEIZE takes no address and its options as a number.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, options) } == -1 {
            return 1;
        }
        while !release.exists() {
            std::thread::sleep(MILLISECOND);
        }
        // SAFETY: the status is not asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        loop {
            // SAFETY: sleeps until a signal comes.
            unsafe { libc::pause() };
        }
    });
    process::wait_for("a process to be traced", || {
        assert!(process::alive(tracer), "{pid} cannot be traced");
        process::status_number(pid, "TracerPid") == u64::try_from(tracer).ok()
    });
    tracer
}

/// A host ran its program under gdb, and the program crashed: the process was dead, and its
/// pidfd said so, but the kernel had the end for gdb alone, so that a wait found a living
/// child. The scheduler asked again and again, a hundred thousand times a second, until somebody
/// typed `quit`.
fn a_tracer_withholds_a_death(reap: Reap) {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let program = |name| kit::churner(name, MILLISECOND, "exec sleep 1000");
    let builder = kit::own(&dir)
        .reap(reap)
        .programs(["web", "other"].map(program));
    let builder = builder.safety_sweep(false).error_handler(handler);
    let mut scheduler = kit::built(builder);
    let pids = kit::all_up(&mut scheduler);
    let release = dir.path().join("release");
    let tracer = trace(pids[0], 0, &release);
    process::signal(pids[0], libc::SIGKILL);
    process::wait_for("it is dead, if only for its tracer", || {
        process::stat(pids[0]).is_some_and(|stat| stat.state == 'Z')
    });
    assert_idle(&mut scheduler);
    process::signal(pids[1], libc::SIGKILL);
    kit::turn_until(&mut scheduler, "other deaths are told", |scheduler| {
        kit::pid(scheduler, "other").is_some_and(|pid| pid != pids[1])
    });
    assert_idle(&mut scheduler);
    assert_eq!(kit::pid(&scheduler, "web"), Some(pids[0]));
    fs::write(&release, "").expect("a file");
    for (last, told) in [(pids[0], 2), (0, 3)] {
        let dead = if last == 0 {
            // Its successor is watched as any other.
            let pid = kit::pid(&scheduler, "web").expect("a pid");
            process::signal(pid, libc::SIGKILL);
            pid
        } else {
            last
        };
        kit::turn_until(&mut scheduler, "its death is told", |scheduler| {
            kit::pid(scheduler, "web").is_some_and(|pid| pid != dead)
        });
        assert_eq!(kit::code(&scheduler, "web"), Some(-libc::SIGKILL));
        assert_eq!(reports.len(), told, "each run once");
    }
    kit::end(&mut scheduler);
    drop(scheduler);
    process::signal(tracer, libc::SIGKILL);
    assert_eq!(kit::ended(tracer).code(), None, "it could not trace");
}

fn m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence() {
    host(|| a_tracer_withholds_a_death(Reap::Own));
}

fn m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        a_tracer_withholds_a_death(Reap::Own);
    });
}

fn m48_a_death_that_a_tracer_withholds_is_waited_for_in_silence_where_all_are_reaped() {
    host(|| a_tracer_withholds_a_death(Reap::All));
}

/// A program would not die, was abandoned, and the scheduler came to its end. Hours later the
/// disk answered and the process died: its pidfd was readable from then on, and a host that had
/// the descriptor in its reactor still turned for nothing for the rest of its life.
fn who_dies_after_the_end_makes_the_descriptor_readable_no_more() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir).program(kit::sleeper("web"));
        let mut scheduler = kit::built(builder);
        let pid = kit::all_up(&mut scheduler)[0];
        let never = dir.path().join("never");
        // It halts at its exit for as long as it is traced.
        let tracer = trace(pid, libc::PTRACE_O_TRACEEXIT, &never);
        kit::end(&mut scheduler);
        assert!(scheduler.is_abandoned());
        process::signal(tracer, libc::SIGKILL);
        for dead in [tracer, pid] {
            assert_eq!(kit::ended(dead).code(), None, "killed, and the host's");
        }
        // Of these deaths SIGCHLD has told, and one turn takes note of it.
        assert_eq!(kit::turn(&mut scheduler, IDLE_TIME), Status::Stopped);
        assert!(!kit::readable(&scheduler, IDLE_TIME));
        assert_eq!(scheduler.next_deadline(), None);
    });
}
