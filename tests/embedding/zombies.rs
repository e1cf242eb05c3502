//! Hosts whose orphans are reparented to a process that does not reap: what is left of a
//! program's group is then a zombie that stays.

use std::time::{Duration, Instant};

use procsched::{EventKind, Reap, Status};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse_pidfds;
use crate::process;

pub const TESTS: &[Test] = tests![
    a_stop_does_not_wait_for_zombies_that_a_parent_keeps,
    a_stop_does_not_wait_for_zombies_that_a_parent_keeps_without_pidfds,
    a_restart_does_not_wait_for_zombies_that_a_parent_keeps,
];

/// A shell that waits for what it has started, as an entrypoint script does.
const SCRIPT: &str = "sleep 1000 & wait";

/// Runs `body` in a copy of this process, whose orphans are reparented to the original. That
/// reaps none of them before the copy has ended.
fn under_a_parent_that_does_not_reap(body: impl FnOnce()) {
    // SAFETY: with this option prctl takes plain numbers.
    let status = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(status, 0);
    let copy = kit::copy(|| {
        body();
        0
    });
    assert_eq!(kit::ended(copy).code(), Some(0), "the copy failed");
    // SAFETY: the status is not asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// A host under Docker ran `sh -c 'worker & wait'`, and PID 1 was a program that did not know of
/// orphans. Everything was dead within milliseconds of the stop, but the worker was a zombie of
/// PID 1 and its group still had a member. So the stop waited for its `stop_timeout`, killed a
/// number that had been given back, and Docker was faster than both.
fn stop(reap: Reap) {
    under_a_parent_that_does_not_reap(|| {
        let dir = kit::directory();
        let killed = kit::List::new();
        let sink = killed.clone();
        let builder = kit::all(&dir).reap(reap).program(kit::once("web", SCRIPT));
        let mut scheduler = kit::built(builder.on_event(move |event| {
            if matches!(event.kind(), EventKind::Killed { .. }) {
                sink.push(());
            }
        }));
        let leader = kit::all_up(&mut scheduler)[0];
        let worker =
            process::wait_until("the worker", || process::children(leader).first().copied());
        scheduler.stop();
        let start = Instant::now();
        while kit::turn(&mut scheduler, 10_000 * MILLISECOND) == Status::Running {}
        let took = start.elapsed();
        let stat = process::stat(worker).expect("nobody has reaped it");
        assert_eq!((stat.state, stat.pgid), ('Z', leader), "no point");
        assert!(took < Duration::from_secs(5), "the stop took {took:?}");
        assert_eq!(killed.len(), 0, "a group of zombies was killed");
        assert!(!scheduler.is_abandoned());
    });
}

fn a_stop_does_not_wait_for_zombies_that_a_parent_keeps() {
    host(|| {
        stop(Reap::All);
        stop(Reap::Own);
    });
}

fn a_stop_does_not_wait_for_zombies_that_a_parent_keeps_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        stop(Reap::All);
    });
}

/// Each restart waited for a second, although what was left of the run before had died at once.
fn a_restart_does_not_wait_for_zombies_that_a_parent_keeps() {
    host(|| {
        under_a_parent_that_does_not_reap(|| {
            const RESTARTS: u64 = 10;
            let dir = kit::directory();
            let crashing = kit::churner("web", MILLISECOND, "sleep 1000 & exit 1");
            let mut scheduler = kit::built(kit::all(&dir).program(crashing));
            let start = Instant::now();
            kit::turn_until(&mut scheduler, "it has crashed ten times", |scheduler| {
                kit::status(scheduler, "web").restarts() >= RESTARTS
            });
            let took = start.elapsed();
            assert!(took < Duration::from_secs(RESTARTS - 1), "{took:?}");
            kit::end(&mut scheduler);
        });
    });
}
