//! A scheduler goes: what it leaves behind, and what the next one finds.

use procsched::{Builder, Reap};

use super::host::{Test, host};
use super::kit;
use crate::process;

pub const TESTS: &[Test] = tests![
    m148_a_hundred_lives_leave_no_trace,
    m151_a_drop_kills_nobody_and_waits_for_nobody,
    m151_a_drop_kills_whole_groups_if_asked_to,
    m151_a_drop_after_the_end_signals_nobody,
    a_handle_that_outlives_its_scheduler_harms_nobody,
];

const LIVES: usize = 100;

fn a_hundred_lives(build: impl Fn() -> Builder) {
    // The threads of a host keep their masks, too.
    let (rest, resting) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        begin.send(()).expect("a host");
        resting.recv().is_ok()
    });
    // A thread that is still being made has every signal blocked.
    begun.recv().expect("a thread");
    kit::block(&[libc::SIGUSR2]);
    let look = || (kit::actions(), kit::descriptors(), kit::masks());
    let before = look();
    for life in 0..LIVES {
        let mut scheduler = build()
            .build()
            .unwrap_or_else(|error| panic!("life {life}: {error}"));
        scheduler
            .start()
            .unwrap_or_else(|error| panic!("life {life}: {error}"));
        assert_eq!(scheduler.programs()[0].last_return_code(), Some(5));
    }
    assert_eq!(look(), before);
    // One that was never started, and one that could not be built.
    drop(kit::built(build()));
    build()
        .program(kit::once("../bad", "true"))
        .build()
        .expect_err("a bad name");
    build()
        .err_dir("/dev/null")
        .build()
        .expect_err("no directory");
    assert_eq!(look(), before);
    drop(rest);
    other.join().expect("no panic");
}

fn m148_a_hundred_lives_leave_no_trace() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            a_hundred_lives(|| {
                let builder = kit::own(&dir)
                    .reap(reap)
                    .program(kit::once("web", "exit 5"));
                builder.stop_on_signals([libc::SIGTERM, libc::SIGINT, libc::SIGUSR2])
            });
        }
    });
}

/// It speaks when it is asked to, and says what became of it.
const SPEAKER: &str = "trap '' PIPE; until test -e speak; do sleep 0.01; done
    echo words >&2 || echo gone > heard; exec sleep 1000";

fn m151_a_drop_kills_nobody_and_waits_for_nobody() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let builder = kit::own(&dir).reap(reap).program(kit::once("web", SPEAKER));
            let mut scheduler = kit::built(builder);
            let pid = kit::all_up(&mut scheduler)[0];
            drop(scheduler);
            assert!(process::alive(pid));
            // It finds its pipe closed: writing would be the end of it, but for its trap.
            std::fs::write(dir.path().join("speak"), "").expect("a file");
            kit::wait_for_file(&dir.path().join("heard"));
            assert!(process::alive(pid), "it goes on without us");
            process::signal(pid, libc::SIGKILL);
            assert_eq!(kit::ended(pid).code(), None, "its status is the host's");
        }
    });
}

fn m151_a_drop_kills_whole_groups_if_asked_to() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let script = "trap '' TERM; sleep 1000 & echo $! > member; wait";
            let builder = kit::own(&dir).reap(reap).program(kit::once("web", script));
            let builder = builder.program(kit::sleeper("other")).kill_on_drop();
            let mut scheduler = kit::built(builder);
            let pids = kit::all_up(&mut scheduler);
            let member = process::wait_until("a member", || {
                let text = std::fs::read_to_string(dir.path().join("member")).ok()?;
                text.trim().parse::<i32>().ok()
            });
            drop(scheduler);
            for pid in pids {
                assert_eq!(kit::ended(pid).code(), None, "killed, and left to the host");
            }
            process::wait_for("its member is dead", || !process::alive(member));
        }
    });
}

/// One that has stopped has nobody to kill: the numbers may be others' by now.
fn m151_a_drop_after_the_end_signals_nobody() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir)
            .program(kit::once("web", "exit 0"))
            .kill_on_drop();
        let mut scheduler = kit::built(builder);
        scheduler.start().expect("a clean end");
        super::refusals::refuse(&[libc::SYS_kill, libc::SYS_pidfd_send_signal], libc::EPERM);
        // A signal to anybody would be an error here, and shows as one under a tracer; what
        // can be seen from inside is that the children of the host live on.
        let child = kit::copy(|| {
            // SAFETY: sleeps until a signal comes.
            unsafe { libc::pause() };
            0
        });
        drop(scheduler);
        assert!(process::alive(child));
        // SAFETY: the copy's own end, by a call that is not refused.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, child, child, libc::SIGKILL) };
        assert_eq!(sent, 0);
        kit::ended(child);
    });
}

/// More than a pipe has room for.
const ASKS: usize = 70_000;

/// A host in C, which leaves SIGPIPE at its default as most do, asked a scheduler to stop that
/// was gone already, and was gone itself: the wish went into a pipe that nobody read any more.
fn a_handle_that_outlives_its_scheduler_harms_nobody() {
    host(|| {
        kit::handle(libc::SIGPIPE, libc::SIG_DFL, 0);
        for is_started in [false, true] {
            let dir = kit::directory();
            let builder = kit::own(&dir).program(kit::once("web", "exit 0"));
            let mut scheduler = kit::built(builder);
            let handle = scheduler.handle();
            if is_started {
                scheduler.start().expect("a clean end");
            }
            drop(scheduler);
            for _ in 0..ASKS {
                handle.stop();
            }
            handle.kill();
            assert!(handle.is_stopping());
            assert_eq!(handle.is_stopped(), is_started);
        }
    });
}
