//! A host that forks without an exec. Whatever the copy does with the scheduler that it finds
//! in its memory, the programs, logs, pipes, locks and signals of the original are unharmed.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use procsched::{ProcessScheduler, ProgramStatus, Reap, Restart, Status};
use tempfile::TempDir;

use super::host::{Test, host, host_under};
use super::kit::{self, MILLISECOND};
use super::refusals::{refuse, refuse_pidfds};
use crate::process::{self, PATIENCE};
use crate::tools::{Need, missing};

pub const TESTS: &[Test] = tests![
    a_copy_may_drop_it,
    a_copy_may_drop_it_without_pidfds,
    a_copy_may_exit,
    a_copy_may_panic,
    a_copy_that_turns_is_told_whose_it_is,
    a_copy_may_wish_for_a_stop,
    a_copy_may_get_signals,
    a_copy_may_close_everything_and_open_files_in_its_place,
    a_copy_may_have_a_scheduler_of_its_own,
    a_copy_may_outlive_the_original,
    a_copy_that_lives_on_makes_no_turn,
    a_copy_may_have_the_number_of_the_original,
    a_copy_may_have_the_number_of_the_original_before_linux_4_14,
    a_copy_with_another_number_is_told_by_that_alone,
    a_child_that_shares_memory_may_get_signals,
];

/// How long an idle scheduler is watched.
const IDLE_TIME: Duration = Duration::from_millis(300);

/// A host with a scheduler whose drop would kill, a program that speaks when asked to, and
/// one more that will die.
struct Original {
    dir: TempDir,
    scheduler: Option<ProcessScheduler>,
    pids: Vec<i32>,
}

const SPEAKER: &str = "until test -e speak; do sleep 0.01; done; echo words >&2; exec sleep 1000";

impl Original {
    fn new(reap: Reap) -> Self {
        let dir = kit::directory();
        let speaker = kit::once("speaker", SPEAKER);
        let builder = kit::own(&dir)
            .reap(reap)
            .program(speaker)
            .program(kit::sleeper("mortal"));
        let builder = builder.safety_sweep(false).kill_on_drop();
        let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGTERM]));
        let pids = kit::all_up(&mut scheduler);
        kit::turn_until(&mut scheduler, "nothing is left to do", |scheduler| {
            scheduler.next_deadline().is_none()
        });
        Self {
            dir,
            scheduler: Some(scheduler),
            pids,
        }
    }

    /// Lets a copy act, waits for its end, and gives its code.
    fn copied(&mut self, act: impl FnOnce(&mut Option<ProcessScheduler>) -> i32) -> Option<i32> {
        let scheduler = &mut self.scheduler;
        let pid = kit::copy(move || act(scheduler));
        kit::ended(pid).code()
    }

    /// Everything is as it was, and goes on: no stop, the pipe is drained into the log, which is
    /// locked, a death wakes the descriptor, a stop stops.
    fn assert_unharmed(self) {
        let mut scheduler = self.scheduler.expect("the original's own");
        // The death of the copy may have woken us; that is all.
        while kit::readable(&scheduler, Duration::ZERO) {
            kit::turn(&mut scheduler, Duration::ZERO);
        }
        assert!(!scheduler.is_stopping(), "a copy stopped the original");
        assert_eq!(kit::all_up(&mut scheduler), self.pids, "a program was lost");
        assert_locked(&self.dir);
        fs::write(self.dir.path().join("speak"), "").expect("a file");
        assert!(
            kit::readable(&scheduler, PATIENCE),
            "a program speaks, and nobody is told"
        );
        kit::turn_until(&mut scheduler, "its words are in the log", |_| {
            kit::log_of(&self.dir, "speaker") == b"words\n"
        });
        process::signal(self.pids[1], libc::SIGKILL);
        assert!(
            kit::readable(&scheduler, PATIENCE),
            "a program dies, and nobody is told"
        );
        kit::turn_until(&mut scheduler, "its death is told", |scheduler| {
            kit::code(scheduler, "mortal") == Some(-libc::SIGKILL)
        });
        kit::raise(libc::SIGTERM);
        assert!(
            kit::readable(&scheduler, PATIENCE),
            "a signal, and nobody is told"
        );
        kit::turn_until(&mut scheduler, "everything has stopped", |scheduler| {
            kit::code(scheduler, "speaker") == Some(-libc::SIGTERM)
        });
    }
}

fn assert_locked(dir: &TempDir) {
    let log = fs::File::open(dir.path().join("logs/speaker.stderr.log")).expect("a log");
    // SAFETY: a descriptor that is open.
    let locked = unsafe { libc::flock(log.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    assert_eq!(locked, -1, "the copy took the lock away");
}

fn a_copy_may(act: impl Fn(&mut Option<ProcessScheduler>) -> i32) {
    for reap in [Reap::Own, Reap::All] {
        let mut original = Original::new(reap);
        assert_eq!(original.copied(&act), Some(0), "{reap:?}");
        original.assert_unharmed();
    }
}

fn a_copy_may_drop_it() {
    host(|| {
        a_copy_may(|scheduler| {
            drop(scheduler.take());
            0
        });
    });
}

fn a_copy_may_drop_it_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        a_copy_may(|scheduler| {
            drop(scheduler.take());
            0
        });
    });
}

/// Destructors, buffers and all.
fn a_copy_may_exit() {
    host(|| {
        a_copy_may(|scheduler| {
            drop(scheduler.take());
            std::process::exit(0)
        });
    });
}

fn a_copy_may_panic() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let mut original = Original::new(reap);
            let code = original.copied(|scheduler| {
                let _unwound = scheduler.take();
                std::panic::set_hook(Box::new(|_| {}));
                panic!("in the copy");
            });
            assert_eq!(code, Some(101));
            original.assert_unharmed();
        }
    });
}

fn a_copy_that_turns_is_told_whose_it_is() {
    host(|| {
        let me = std::process::id();
        a_copy_may(move |scheduler| {
            let Some(scheduler) = scheduler else { return 1 };
            let wanted = format!("belongs to process {me}");
            for _ in 0..3 {
                match scheduler.step(Some(MILLISECOND)) {
                    Err(error) if error.to_string().contains(&wanted) => {}
                    _ => return 2,
                }
            }
            i32::from(scheduler.start().is_ok())
        });
    });
}

fn a_copy_may_wish_for_a_stop() {
    host(|| {
        a_copy_may(|scheduler| {
            let Some(scheduler) = scheduler else { return 1 };
            let handle = scheduler.handle();
            handle.stop();
            handle.kill();
            scheduler.stop();
            scheduler.kill();
            0
        });
    });
}

/// A terminal sends Ctrl-C to the copy as well, and its own children die.
fn a_copy_may_get_signals() {
    host(|| {
        a_copy_may(|_| {
            for _ in 0..100 {
                kit::raise(libc::SIGTERM);
                kit::raise(libc::SIGCHLD);
            }
            0
        });
    });
}

/// As daemons do. What they open then has the numbers of what was ours.
fn a_copy_may_close_everything_and_open_files_in_its_place() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let mut original = Original::new(reap);
            let path = original.dir.path().join("in-its-place");
            let target = path.clone();
            let code = original.copied(move |scheduler| {
                let handle = scheduler.as_ref().expect("a scheduler").handle();
                // SAFETY: nothing of this process uses a descriptor from here on, but what is
                // opened here.
                unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_int::MAX, 0) };
                let open = |_| fs::File::create(&target).expect("a file");
                let files: Vec<_> = (0..50).map(open).collect();
                for _ in 0..10 {
                    kit::raise(libc::SIGTERM);
                    kit::raise(libc::SIGCHLD);
                    handle.stop();
                }
                std::mem::forget(files);
                0
            });
            assert_eq!(code, Some(0));
            assert_eq!(
                fs::metadata(path).expect("a file").len(),
                0,
                "something was written"
            );
            original.assert_unharmed();
        }
    });
}

fn a_copy_may_have_a_scheduler_of_its_own() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            for drop_first in [false, true] {
                let mut original = Original::new(reap);
                let code = original.copied(|scheduler| {
                    if drop_first {
                        drop(scheduler.take());
                    }
                    let dir = kit::directory();
                    let builder = kit::own(&dir).reap(reap).safety_sweep(false);
                    let builder = builder.program(kit::once("web", "exit 7"));
                    let mut own = kit::built(builder.program(kit::sleeper("other")));
                    kit::turn_until(&mut own, "its own program ends", |own| {
                        kit::code(own, "web") == Some(7)
                    });
                    own.stop();
                    while kit::turn(&mut own, 10 * MILLISECOND) == Status::Running {}
                    i32::from(kit::code(&own, "other") != Some(-libc::SIGTERM))
                });
                assert_eq!(code, Some(0), "{reap:?} {drop_first}");
                original.assert_unharmed();
            }
        }
    });
}

/// It lives on when the original has gone, and holds nothing that the next one needs.
fn a_copy_may_outlive_the_original() {
    host(|| {
        let dir = kit::directory();
        let build = || kit::own(&dir).program(kit::sleeper("web")).build();
        let mut scheduler = build().expect("a scheduler");
        kit::all_up(&mut scheduler);
        let (read, write) = std::io::pipe().expect("a pipe");
        let held = write.as_raw_fd();
        let pid = kit::copy(|| {
            // SAFETY: the copy's own end, which nobody uses any more.
            unsafe { libc::close(held) };
            // Until the original closes its end.
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut &read, &mut rest).map_or(1, |_| 0)
        });
        kit::end(&mut scheduler);
        drop(scheduler);
        let mut scheduler = build().expect("the copy holds the lock of a log");
        kit::all_up(&mut scheduler);
        kit::end(&mut scheduler);
        drop(write);
        assert_eq!(kit::ended(pid).code(), Some(0));
    });
}

/// The copy shares what the kernel watches for us. What we close does not haunt us through it.
fn a_copy_that_lives_on_makes_no_turn() {
    host(|| {
        let dir = kit::directory();
        let script = "echo x >&2; test -e enough";
        let churn = |i| kit::churner(&format!("churn{i}"), MILLISECOND, script);
        let churn = |i| churn(i).restart(Restart::OnFailure);
        let builder = kit::own(&dir).programs((0..5).map(churn));
        let builder = builder.program(kit::sleeper("quiet")).safety_sweep(false);
        let mut scheduler = kit::built(builder);
        kit::all_up(&mut scheduler);
        let copies: Vec<i32> = (0..3)
            .map(|round| {
                kit::turn_until(&mut scheduler, "there were deaths", |scheduler| {
                    let programs = &scheduler.programs()[..5];
                    programs.iter().all(|p| p.restarts() >= 10 * (round + 1))
                });
                // SAFETY: sleeps until a signal comes.
                kit::copy(|| unsafe { libc::pause() })
            })
            .collect();
        fs::write(dir.path().join("enough"), "").expect("a file");
        kit::turn_until(&mut scheduler, "one is left, and quiet", |scheduler| {
            let is_done = |p: &ProgramStatus| p.last_return_code() == Some(0);
            scheduler.programs()[..5].iter().all(is_done) && scheduler.next_deadline().is_none()
        });
        let end = Instant::now() + IDLE_TIME;
        let mut turns = 0;
        while Instant::now() < end {
            kit::turn(&mut scheduler, IDLE_TIME);
            turns += 1;
        }
        assert!(turns <= 3, "{turns} turns for nothing");
        kit::end(&mut scheduler);
        for copy in copies {
            process::signal(copy, libc::SIGKILL);
            kit::ended(copy);
        }
    });
}

/// A copy with the number 1, like its original. Gives its end.
fn copy_with_number_1(act: impl FnOnce() -> i32) -> Option<i32> {
    assert_eq!(kit::me(), 1, "a namespace of our own");
    let pid = kit::copy_in_namespace(|| if kit::me() == 1 { act() } else { 100 });
    kit::ended(pid).code()
}

/// The first process of a container made a copy in a PID namespace of its own, which has the
/// number 1 as well: it was taken for the original. It took turns, and its drop unlocked the logs
/// of the original.
fn copies_with_number_1_touch_nothing() {
    type Act = fn(&mut Option<ProcessScheduler>) -> i32;
    let acts: [Act; 6] = [
        |scheduler| {
            let is_refused = |turned: procsched::Result<Status>| {
                turned.is_err_and(|error| error.to_string().contains("belongs to process 1"))
            };
            let Some(scheduler) = scheduler else { return 1 };
            let all_refused = (0..3).all(|_| is_refused(scheduler.step(Some(MILLISECOND))));
            i32::from(!all_refused || scheduler.start().is_ok())
        },
        |scheduler| {
            drop(scheduler.take());
            0
        },
        |scheduler| {
            let Some(scheduler) = scheduler else { return 1 };
            let handle = scheduler.handle();
            handle.stop();
            handle.kill();
            i32::from(handle.is_stopping() || scheduler.is_stopping())
        },
        |_| {
            kit::raise(libc::SIGTERM);
            kit::raise(libc::SIGCHLD);
            0
        },
        |scheduler| {
            let dir = kit::directory();
            let builder = kit::all(&dir).program(kit::once("web", "exit 7"));
            let mut own = kit::built(builder);
            let code = own.start().map(|()| kit::code(&own, "web"));
            // Its own mark does not make it the original.
            let is_refused = scheduler
                .as_mut()
                .is_some_and(|scheduler| scheduler.step(Some(MILLISECOND)).is_err());
            drop(scheduler.take());
            i32::from(code.ok() != Some(Some(7)) || !is_refused)
        },
        // A copy of the copy, which shares a namespace with it.
        |scheduler| {
            let pid = kit::copy(|| {
                drop(scheduler.take());
                0
            });
            kit::ended(pid).code().unwrap_or(101)
        },
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let mut original = Original::new(Reap::All);
        let scheduler = &mut original.scheduler;
        let code = copy_with_number_1(move || act(scheduler));
        assert_eq!(code, Some(0), "act {number}");
        original.assert_unharmed();
    }
}

const UNSHARE: [&str; 3] = ["unshare", "-pf", "--mount-proc"];

fn a_copy_may_have_the_number_of_the_original() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, copies_with_number_1_touch_nothing);
}

fn a_copy_may_have_the_number_of_the_original_before_linux_4_14() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || {
        refuse(&[libc::SYS_madvise], libc::EINVAL);
        copies_with_number_1_touch_nothing();
    });
}

/// Nothing but the number is left where a sandbox knows neither of the two.
fn a_copy_with_another_number_is_told_by_that_alone() {
    host(|| {
        refuse(&[libc::SYS_madvise, libc::SYS_timer_create], libc::EPERM);
        a_copy_may(|scheduler| {
            let Some(mut scheduler) = scheduler.take() else {
                return 1;
            };
            scheduler.handle().kill();
            kit::raise(libc::SIGTERM);
            i32::from(scheduler.step(Some(MILLISECOND)).is_ok())
        });
    });
}

extern "C" fn ask_in_child(handle: *mut libc::c_void) -> libc::c_int {
    kit::raise(libc::SIGTERM);
    kit::raise(libc::SIGCHLD);
    // SAFETY: the parent, which waits, has it.
    let handle = unsafe { &*handle.cast::<procsched::Handle>() };
    handle.stop();
    handle.kill();
    0
}

/// Until its exec it has the memory of the original, and with it the mark that tells a copy.
fn a_child_that_shares_memory_may_get_signals() {
    host(|| {
        let original = Original::new(Reap::All);
        let handle = original.scheduler.as_ref().map(ProcessScheduler::handle);
        let handle = handle.expect("a scheduler");
        let mut stack = vec![0_u128; 16 * 1024];
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child ends before this goes on; it has a stack of its own, which grows
        // downwards, and its argument is alive.
        let pid = unsafe {
            let top = stack.as_mut_ptr_range().end;
            let argument = (&raw const handle).cast_mut();
            libc::clone(ask_in_child, top.cast(), flags, argument.cast())
        };
        assert_eq!(kit::ended(pid).code(), Some(0));
        assert!(!handle.is_stopping(), "the child has stopped its parent");
        original.assert_unharmed();
    });
}
