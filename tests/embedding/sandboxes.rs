//! Newer system calls that a sandbox refuses, with any errno: the older call serves, and nothing
//! is lost or late.

use std::thread;
use std::time::{Duration, Instant};

use procsched::{ProcessScheduler, Ready, Reap, Restart, Status};

use super::answers::{Condition, answer_if};
use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse;
use crate::process;

pub const TESTS: &[Test] = tests![
    a_stop_is_no_longer_where_signals_by_pidfd_are_refused,
    a_crash_is_followed_by_a_start_where_signals_by_pidfd_are_refused,
    deaths_are_seen_where_waits_by_pidfd_are_refused,
    a_notification_socket_that_is_refused_is_a_failed_start,
];

/// What kernels, container runtimes and hand-written filters return. ESRCH is a lie.
const ERRNOS: [i32; 6] = [
    libc::EPERM,
    libc::ENOSYS,
    libc::EACCES,
    libc::EINVAL,
    libc::EOPNOTSUPP,
    libc::ESRCH,
];

/// How long the member that ignores SIGTERM has. The programs' own stop timeout is longer than
/// any of this may take.
const STOP_TIMEOUT: Duration = Duration::from_millis(300);
const STOP_TIME_MAX: Duration = Duration::from_secs(4);

/// A filter stays, so that each errno has a thread of its own, and each way to reap.
fn in_every_way(life: fn(Reap, i32)) {
    host(|| {
        for reap in [Reap::All, Reap::Own] {
            for errno in ERRNOS {
                let life = thread::spawn(move || life(reap, errno));
                life.join().expect("a whole life in a sandbox");
            }
        }
    });
}

fn stop(scheduler: &mut ProcessScheduler) -> Duration {
    scheduler.stop();
    let start = Instant::now();
    while kit::turn(scheduler, 10 * MILLISECOND) == Status::Running {}
    start.elapsed()
}

/// A seccomp filter answered EPERM. The check whether a group was empty used the refused call, and
/// so no group ever was: the stop took 15 s and ended with "abandoned", although the program had
/// died at once.
fn a_stop_is_no_longer_where_signals_by_pidfd_are_refused() {
    in_every_way(|reap, errno| {
        refuse(&[libc::SYS_pidfd_send_signal], errno);
        let dir = kit::directory();
        let member = "(trap '' TERM; echo up >&2; while :; do sleep .05; done) & wait";
        let builder = kit::own(&dir)
            .reap(reap)
            .program(kit::sleeper("obeys"))
            .program(kit::once("leaves", member).stop_timeout(STOP_TIMEOUT));
        let mut scheduler = kit::built(builder);
        kit::turn_until(&mut scheduler, "both are up", |scheduler| {
            kit::pid(scheduler, "obeys").is_some() && kit::log_of(&dir, "leaves") == b"up\n"
        });
        let group = kit::pid(&scheduler, "leaves").expect("a pid");
        let took = stop(&mut scheduler);
        assert!(
            took < STOP_TIME_MAX,
            "{reap:?}, errno {errno}: a stop of {took:?}"
        );
        assert!(
            took >= STOP_TIMEOUT,
            "{reap:?}, errno {errno}: the member was not waited for"
        );
        assert!(!scheduler.is_abandoned(), "{reap:?}, errno {errno}");
        let is_gone = || process::members(group).is_empty();
        process::wait_for("the member is gone", is_gone);
    });
}

/// With a pidfd for each run the same check came before a restart: a program that had crashed was
/// never started again.
fn a_crash_is_followed_by_a_start_where_signals_by_pidfd_are_refused() {
    in_every_way(|reap, errno| {
        refuse(&[libc::SYS_pidfd_send_signal], errno);
        let dir = kit::directory();
        let churner = kit::churner("web", 10 * MILLISECOND, "exit 3");
        let builder = kit::own(&dir).reap(reap).program(churner);
        let mut scheduler = kit::built(builder.safety_sweep(false));
        kit::turn_until(&mut scheduler, "it is started again", |scheduler| {
            kit::status(scheduler, "web").restarts() >= 3
        });
        let took = stop(&mut scheduler);
        assert!(took < STOP_TIME_MAX, "{reap:?}, errno {errno}: {took:?}");
    });
}

/// Where waitid(2) refused a pidfd with another errno than EINVAL, all programs counted as alive
/// for ever.
fn deaths_are_seen_where_waits_by_pidfd_are_refused() {
    in_every_way(|reap, errno| {
        let kind = i32::try_from(libc::P_PIDFD).expect("a small number");
        answer_if(libc::SYS_waitid, &[Condition::is(0, kind)], errno);
        let dir = kit::directory();
        let builder = kit::own(&dir)
            .reap(reap)
            .program(kit::churner("web", 10 * MILLISECOND, "exit 3").restart(Restart::OnFailure));
        let mut scheduler = kit::built(builder.safety_sweep(false));
        kit::turn_until(&mut scheduler, "it is started again", |scheduler| {
            kit::status(scheduler, "web").restarts() >= 3
        });
        let took = stop(&mut scheduler);
        assert!(took < STOP_TIME_MAX, "{reap:?}, errno {errno}: {took:?}");
    });
}

/// Of the program that needs it, and with the reason; the others run.
fn a_notification_socket_that_is_refused_is_a_failed_start() {
    in_every_way(|reap, errno| {
        refuse(&[libc::SYS_socket], errno);
        let dir = kit::directory();
        let needs_it = [
            kit::sleeper("ready").ready(Ready::Notify),
            kit::sleeper("watched").watchdog(Duration::from_secs(60)),
        ];
        let others = [
            kit::sleeper("by-age").ready(Ready::Delay(MILLISECOND)),
            kit::sleeper("plain"),
        ];
        let builder = kit::own(&dir)
            .reap(reap)
            .programs(needs_it)
            .programs(others);
        let mut scheduler = kit::built(builder);
        kit::turn_until(&mut scheduler, "all have been started", |scheduler| {
            let has_failed = |name| kit::status(scheduler, name).last_exit().is_some();
            let is_up = |name| kit::status(scheduler, name).is_up();
            ["ready", "watched"].into_iter().all(has_failed)
                && ["by-age", "plain"].into_iter().all(is_up)
        });
        for name in ["ready", "watched"] {
            let status = kit::status(&scheduler, name);
            let last = status.last_exit().expect("a failed start");
            assert_eq!(last.return_code(), 125, "{name}");
            let error = last.error().expect("a reason");
            let what = "failed to make its notification socket: ";
            assert!(error.starts_with(what), "{name}, errno {errno}: {error}");
        }
        kit::end(&mut scheduler);
    });
}
