//! A host with threads: they allocate, fork and change the environment while programs start;
//! they build, turn, stop and drop schedulers.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use procsched::Status;

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use crate::process;
use crate::tools::whole;

pub const TESTS: &[Test] = tests![
    m11_no_child_hangs_before_its_exec,
    m14_no_process_of_the_host_holds_a_pipe_of_ours,
    a_scheduler_moves_from_thread_to_thread,
    handles_stop_from_any_thread,
    m137_programs_outlive_the_thread_that_started_them,
    who_has_asked_for_a_stop_never_sees_it_taken_back,
];

const THREADS: usize = 8;

/// Threads that do something over and over until they are told to rest.
struct Busy {
    rest: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start(count: usize, act: impl Fn(usize) + Send + Sync + 'static) -> Self {
        let rest = Arc::new(AtomicBool::new(false));
        let act = Arc::new(act);
        let run = |number| {
            let (rest, act) = (rest.clone(), act.clone());
            thread::spawn(move || {
                while !rest.load(Ordering::SeqCst) {
                    act(number);
                }
            })
        };
        let threads = (0..count).map(run).collect();
        Self { rest, threads }
    }

    fn stop(self) {
        self.rest.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

fn allocate_and_fork(number: usize) {
    let blocks: Vec<Vec<u8>> = (1..50).map(|size| vec![1; size * 97]).collect();
    let name = format!("BUSY_{number}");
    // SAFETY: every other thread of this process reads the environment through std alone, which
    // has a lock for it; programs get the one that was there when they were built.
    unsafe { std::env::set_var(&name, format!("{}", blocks.len())) };
    assert!(std::env::var(&name).is_ok());
    if number == 0 {
        assert!(Command::new("true").status().expect("true").success());
    }
}

/// A lock that another thread held at the fork hung the child, and whoever waited for its exec.
fn m11_no_child_hangs_before_its_exec() {
    host(|| {
        let dir = kit::directory();
        let busy = Busy::start(THREADS, allocate_and_fork);
        let programs = (0..30).map(|i| kit::churner(&format!("true{i}"), MILLISECOND, "exit 0"));
        let (reports, handler) = kit::reports();
        let builder = kit::own(&dir).programs(programs).error_handler(handler);
        let mut scheduler = kit::built(builder.safety_sweep(false));
        let starts = whole(3000, 20_000) as u64;
        for part in 1..=100 {
            kit::turn_until(&mut scheduler, "thousands were started", |scheduler| {
                let programs = scheduler.programs();
                let restarts = programs.iter().map(procsched::ProgramStatus::restarts);
                restarts.sum::<u64>() >= starts * part / 100
            });
        }
        busy.stop();
        kit::end(&mut scheduler);
        let failed: Vec<_> = reports
            .items()
            .into_iter()
            .filter(|report| !kit::was_cancelled(report))
            .filter_map(|report| report.error())
            .collect();
        assert_eq!(failed, Vec::<String>::new());
    });
}

/// A process of the host that was forked while a pipe of ours was made held its end for ever.
fn m14_no_process_of_the_host_holds_a_pipe_of_ours() {
    host(|| {
        let dir = kit::directory();
        let sleepers = kit::List::new();
        let sink = sleepers.clone();
        let inherited = kit::descriptors();
        let busy = Busy::start(1, move |_| {
            if sink.len() < 200 {
                sink.push(fork_and_exec_a_sleeper());
            }
        });
        let churn = |i| kit::churner(&format!("churn{i}"), MILLISECOND, "echo x >&2; exit 1");
        let (warnings, handler) = kit::warnings();
        let builder = kit::own(&dir)
            .programs((0..10).map(churn))
            .on_event(handler);
        let mut scheduler = kit::built(builder);
        kit::turn_until(&mut scheduler, "hundreds died", |scheduler| {
            let programs = scheduler.programs();
            programs.iter().all(|program| program.restarts() >= 50) && sleepers.len() == 200
        });
        busy.stop();
        kit::end(&mut scheduler);
        assert_eq!(
            warnings.items(),
            [],
            "a pipe was closed although somebody held it"
        );
        for pid in sleepers.items() {
            process::wait_for("its exec", || {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|words| words == b"sleep\x001000\0")
            });
            let mut held = process::descriptors(pid);
            held.retain(|fd, target| inherited.get(fd) != Some(target));
            assert!(held.is_empty(), "{held:?}");
            process::signal(pid, libc::SIGKILL);
            kit::ended(pid);
        }
    });
}

fn fork_and_exec_a_sleeper() -> i32 {
    // SAFETY: between fork and exec the copy makes one system call, with live arguments.
    unsafe {
        match libc::fork() {
            0 => {
                let words = [c"sleep".as_ptr(), c"1000".as_ptr(), std::ptr::null()];
                libc::execvp(words[0], words.as_ptr());
                libc::_exit(127)
            }
            pid => pid,
        }
    }
}

fn a_scheduler_moves_from_thread_to_thread() {
    host(|| {
        let dir = kit::directory();
        let before = (kit::actions(), kit::descriptors());
        for _ in 0..20 {
            let program = kit::churner("web", MILLISECOND, "exec sleep 1000");
            let builder = kit::own(&dir).program(program).safety_sweep(false);
            let builder = builder.stop_on_signals([libc::SIGTERM]);
            let built = thread::spawn(move || kit::built(builder)).join();
            let mut scheduler = built.expect("a scheduler");
            let turned = thread::spawn(move || {
                let pid = kit::all_up(&mut scheduler)[0];
                process::signal(pid, libc::SIGKILL);
                kit::turn_until(&mut scheduler, "its death is seen", |scheduler| {
                    kit::status(scheduler, "web").restarts() == 1
                });
                scheduler
            });
            let mut scheduler = turned.join().expect("turns");
            kit::raise(libc::SIGTERM);
            let ended = thread::spawn(move || {
                kit::turn_until(&mut scheduler, "TERM stops it", |s| s.is_stopping());
                kit::end(&mut scheduler);
                scheduler
            });
            let scheduler = ended.join().expect("an end");
            thread::spawn(move || drop(scheduler))
                .join()
                .expect("no panic");
        }
        assert_eq!((kit::actions(), kit::descriptors()), before);
    });
}

/// A signal at the death of the parent comes at the end of the thread that has started a program:
/// a host that starts from a thread of a pool lost all its programs when the pool shrank.
fn m137_programs_outlive_the_thread_that_started_them() {
    host(|| {
        let dir = kit::directory();
        let script = "trap 'echo alive >&2' USR1; echo up >&2; while :; do sleep 0.02; done";
        let builder = kit::own(&dir).program(kit::shell("web", script));
        let mut scheduler = kit::built(builder);
        let started = thread::spawn(move || {
            let pid = kit::all_up(&mut scheduler)[0];
            kit::turn_until(&mut scheduler, "it is up", |_| {
                kit::log_of(&dir, "web") == b"up\n"
            });
            // SAFETY: no arguments, and nothing that can fail.
            let thread = unsafe { libc::gettid() };
            (scheduler, dir, pid, thread)
        });
        let (mut scheduler, dir, pid, thread) = started.join().expect("no panic");
        let task = format!("/proc/self/task/{thread}");
        kit::turn_until(&mut scheduler, "the thread is gone", |_| {
            fs::metadata(&task).is_err()
        });
        // Behind whatever signal that may have sent.
        process::signal(pid, libc::SIGUSR1);
        kit::turn_until(&mut scheduler, "it answers, or has ended", |scheduler| {
            kit::log_of(&dir, "web") == b"up\nalive\n" || kit::pid(scheduler, "web") != Some(pid)
        });
        assert_eq!(kit::pid(&scheduler, "web"), Some(pid));
        kit::end(&mut scheduler);
    });
}

/// Each thread has a scheduler of its own, and stops that of its neighbour.
fn handles_stop_from_any_thread() {
    host(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let lives: Vec<_> = (0..4)
            .map(|_| {
                let tell = tell.clone();
                thread::spawn(move || {
                    let dir = kit::directory();
                    let mut scheduler = kit::built(kit::own(&dir).program(kit::sleeper("web")));
                    kit::all_up(&mut scheduler);
                    tell.send(scheduler.handle()).expect("a listener");
                    let start = std::time::Instant::now();
                    while scheduler.step(Some(process::PATIENCE)).expect("a turn")
                        == Status::Running
                    {
                        assert!(start.elapsed() < process::PATIENCE, "a stop was lost");
                    }
                })
            })
            .collect();
        let handles: Vec<_> = told.iter().take(4).collect();
        let stop = |handle: procsched::Handle| {
            thread::spawn(move || (0..100).for_each(|_| handle.clone().stop()))
        };
        let stops: Vec<_> = handles.into_iter().map(stop).collect();
        for thread in lives.into_iter().chain(stops) {
            thread.join().expect("no panic");
        }
    });
}

/// A worker thread asked for a stop and then worked on for as long as there was none to be seen:
/// it saw its own wish, then no stop for a moment, and began another piece of work that took an
/// hour. The wish had been taken up, and was published as a fact only after the signals were
/// sent.
fn who_has_asked_for_a_stop_never_sees_it_taken_back() {
    host(|| {
        const STOPS: usize = 60;
        for stop in 0..STOPS {
            let dir = kit::directory();
            let programs = (0..20).map(|i| kit::sleeper(&format!("web{i}")));
            let mut scheduler = kit::built(kit::own(&dir).programs(programs));
            kit::all_up(&mut scheduler);
            let handle = scheduler.handle();
            let asker = thread::spawn(move || {
                match stop % 2 {
                    0 => handle.stop(),
                    _ => handle.kill(),
                }
                let mut taken_back = 0;
                while !handle.is_stopped() {
                    taken_back += usize::from(!handle.is_stopping());
                }
                (taken_back, handle.is_stopping())
            });
            let start = std::time::Instant::now();
            while kit::turn(&mut scheduler, process::PATIENCE) == Status::Running {
                assert!(start.elapsed() < process::PATIENCE, "the stop was lost");
            }
            assert_eq!(asker.join().expect("no panic"), (0, true), "stop {stop}");
        }
    });
}
