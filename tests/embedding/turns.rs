//! The first two ways to drive a scheduler, `start` and `step`, and what `as_fd` and
//! `next_deadline` answer when.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use procsched::{ChildSpec, EventKind, Handle, ProcessScheduler, Ready, Status};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use crate::process::{self, PATIENCE};
use crate::tools;

pub const TESTS: &[Test] = tests![
    start_blocks_until_another_thread_stops_it,
    short_turns_leave_time_for_a_socket,
    the_deadline_is_now_while_there_is_something_to_do,
    a_wish_of_a_handle_wakes_the_host,
    asking_again_costs_no_turn,
    a_kill_after_a_stop_acts_at_once,
    a_scheduler_that_has_stopped_is_silent,
    the_descriptor_stays_the_same_and_is_not_inherited,
    m107_who_died_together_comes_back_in_order_and_a_few_a_turn,
    m132_a_host_stays_in_its_own_directory,
    what_programs_say_of_themselves_wakes_the_host,
    what_was_said_in_time_counts_after_a_stall,
];

/// No turn starts more than these: deaths and signals are looked after between.
const STARTS_PER_TURN_MAX: usize = 32;

fn is_due(scheduler: &ProcessScheduler) -> bool {
    let deadline = scheduler.next_deadline();
    deadline.is_some_and(|at| at <= Instant::now())
}

fn start_blocks_until_another_thread_stops_it() {
    host(|| {
        let dir = kit::directory();
        let (tell, told) = mpsc::channel();
        let programs = (0..10).map(|i| kit::sleeper(&format!("sleeper{i}")));
        let builder = kit::own(&dir).programs(programs).on_event(move |event| {
            if matches!(event.kind(), EventKind::Started { .. }) {
                tell.send(()).ok();
            }
        });
        let mut scheduler = kit::built(builder);
        let handle = scheduler.handle();
        assert!(!handle.is_stopping() && !handle.is_stopped());
        let other = thread::spawn(move || {
            (0..10).for_each(|_| told.recv_timeout(PATIENCE).expect("a start"));
            handle.stop();
            handle
        });
        scheduler.start().expect("a clean end");
        let handle = other.join().expect("no panic");
        assert!(handle.is_stopping() && handle.is_stopped());
        for program in scheduler.programs() {
            assert_eq!(program.last_return_code(), Some(-libc::SIGTERM));
        }
    });
}

/// Turns of at most some milliseconds, between which the host looks after its socket.
fn short_turns_leave_time_for_a_socket() {
    host(|| {
        let dir = kit::directory();
        let churn = kit::churner("churn", 5 * MILLISECOND, "exit 1");
        let mut scheduler = kit::built(kit::own(&dir).program(churn));
        let (mut socket, mut theirs) = UnixStream::pair().expect("sockets");
        socket.set_nonblocking(true).expect("a socket");
        theirs.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let peer = thread::spawn(move || {
            for _ in 0..20 {
                theirs.write_all(b"?").expect("a host");
                theirs.read_exact(&mut [0]).expect("an answer");
            }
        });
        let mut answers = 0;
        kit::turn_until(
            &mut scheduler,
            "each question has its answer",
            |scheduler| {
                match socket.read(&mut [0]) {
                    Ok(1) => {
                        socket.write_all(b"!").expect("a peer");
                        answers += 1;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    Ok(_) => {}
                }
                answers == 20 && kit::status(scheduler, "churn").restarts() >= 5
            },
        );
        peer.join().expect("no panic");
        kit::end(&mut scheduler);
    });
}

/// What the documentation of `next_deadline` promises, moment by moment.
fn the_deadline_is_now_while_there_is_something_to_do() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir)
            .program(kit::sleeper("web"))
            .safety_sweep(false);
        let mut scheduler = kit::built(builder);
        assert!(is_due(&scheduler), "nothing was started yet");
        let pids = kit::all_up(&mut scheduler);
        kit::turn_until(&mut scheduler, "nothing is left to do", |scheduler| {
            scheduler.next_deadline().is_none()
        });
        assert!(!kit::readable(&scheduler.as_fd(), Duration::ZERO));
        process::signal(pids[0], libc::SIGKILL);
        assert!(
            kit::readable(&scheduler.as_fd(), PATIENCE),
            "a death is to be told"
        );
        assert!(is_due(&scheduler), "it is readable");
        kit::turn_until(&mut scheduler, "the death was told", |scheduler| {
            kit::code(scheduler, "web") == Some(-libc::SIGKILL)
        });
        kit::end(&mut scheduler);
    });
}

fn a_wish_of_a_handle_wakes_the_host() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir)
            .program(kit::sleeper("web"))
            .safety_sweep(false);
        let mut scheduler = kit::built(builder);
        kit::all_up(&mut scheduler);
        kit::turn_until(&mut scheduler, "nothing is left to do", |scheduler| {
            scheduler.next_deadline().is_none()
        });
        let handle = scheduler.handle();
        handle.stop();
        assert!(handle.is_stopping() && !handle.is_stopped());
        assert!(kit::readable(&scheduler.as_fd(), Duration::ZERO) && is_due(&scheduler));
        kit::turn(&mut scheduler, Duration::ZERO);
        let grace = scheduler.next_deadline().expect("SIGKILL is timed");
        assert!(grace <= Instant::now() + procsched::STOP_TIMEOUT_DEFAULT);
        kit::end(&mut scheduler);
        assert!(handle.is_stopped());
    });
}

/// A host whose loop called `stop` in every turn, as its own flag said so, made 753,000 turns
/// and used 6 s of CPU until a program that ignored SIGTERM was killed: each call ended the wait
/// of the next turn.
fn asking_again_costs_no_turn() {
    host(|| {
        const TIMEOUT: Duration = Duration::from_millis(500);
        type Ask = fn(&ProcessScheduler, &Handle);
        let ways: [Ask; 3] = [
            |scheduler, _| scheduler.stop(),
            |_, handle| handle.stop(),
            |_, handle| {
                handle.stop();
                assert!(handle.is_stopping());
                let _ = handle.is_stopped();
            },
        ];
        for ask in ways {
            let dir = kit::directory();
            let deaf = kit::once("deaf", "trap '' TERM; echo up >&2; exec sleep 1000");
            let builder = kit::own(&dir).program(deaf.stop_timeout(TIMEOUT));
            let mut scheduler = kit::built(builder.safety_sweep(false));
            let handle = scheduler.handle();
            kit::turn_until(&mut scheduler, "it is deaf", |_| {
                kit::log_of(&dir, "deaf") == b"up\n"
            });
            let mut turns = 0;
            while kit::turn(&mut scheduler, TIMEOUT / 4) == Status::Running {
                turns += 1;
                ask(&scheduler, &handle);
            }
            assert_eq!(kit::code(&scheduler, "deaf"), Some(-libc::SIGKILL));
            assert!(turns < 30, "{turns} turns");
            // At the end there is nothing to wake, whatever is asked for.
            ask(&scheduler, &handle);
            handle.kill();
            assert!(!kit::readable(&scheduler, Duration::ZERO));
        }
    });
}

/// That a stop was asked for, often, does not make a kill a thing that was asked for.
fn a_kill_after_a_stop_acts_at_once() {
    host(|| {
        let dir = kit::directory();
        let deaf = kit::once("deaf", "trap '' TERM; echo up >&2; exec sleep 1000");
        let mut scheduler = kit::built(kit::own(&dir).program(deaf));
        let handle = scheduler.handle();
        kit::turn_until(&mut scheduler, "it is deaf", |_| {
            kit::log_of(&dir, "deaf") == b"up\n"
        });
        for _ in 0..3 {
            handle.stop();
            kit::turn(&mut scheduler, Duration::ZERO);
        }
        assert!(!kit::readable(&scheduler, Duration::ZERO));
        let begin = Instant::now();
        handle.kill();
        assert!(kit::readable(&scheduler, Duration::ZERO), "a kill wakes");
        handle.stop();
        while kit::turn(&mut scheduler, PATIENCE) == Status::Running {}
        assert_eq!(kit::code(&scheduler, "deaf"), Some(-libc::SIGKILL));
        assert!(begin.elapsed() < procsched::STOP_TIMEOUT_DEFAULT);
    });
}

/// A host may leave the descriptor in its reactor after the end, and have children of its own.
fn a_scheduler_that_has_stopped_is_silent() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = kit::built(kit::own(&dir).program(kit::once("web", "exit 0")));
        scheduler.start().expect("a clean end");
        for _ in 0..3 {
            let status = std::process::Command::new("true").status().expect("true");
            assert!(status.success());
            assert_eq!(kit::turn(&mut scheduler, Duration::ZERO), Status::Stopped);
            assert!(
                !kit::readable(&scheduler.as_fd(), Duration::ZERO),
                "it would spin"
            );
            assert_eq!(scheduler.next_deadline(), None);
        }
    });
}

/// The same descriptor for as long as the scheduler lives, and none that a child would inherit.
fn the_descriptor_stays_the_same_and_is_not_inherited() {
    host(|| {
        use std::os::fd::AsRawFd;
        let dir = kit::directory();
        let mut scheduler = kit::built(kit::own(&dir).program(kit::sleeper("web")));
        let fd = scheduler.as_raw_fd();
        // SAFETY: only asks for the flags of a descriptor that is open.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        kit::all_up(&mut scheduler);
        kit::end(&mut scheduler);
        assert_eq!(scheduler.as_raw_fd(), fd);
    });
}

/// The names by their process numbers, which is the order of the forks: where an exec takes its
/// time, "started" is said later. Numbers that begin anew are not taken for the first.
fn in_order_of_forks(started: &[(i32, String)], first: &str) -> Vec<String> {
    let mut started = started.to_vec();
    started.sort();
    let begin = started.iter().position(|(_, name)| name == first);
    started.rotate_left(begin.expect("the first was started"));
    started.into_iter().map(|(_, name)| name).collect()
}

/// All that died together came back together, in any order, and while they did nothing else was
/// looked after. There is no random delay here; but their order is that of their deaths, and a turn
/// starts a few of them.
fn m107_who_died_together_comes_back_in_order_and_a_few_a_turn() {
    host(|| {
        const COUNT: usize = 200;
        let dir = kit::directory();
        let (exited, started) = (kit::List::new(), kit::List::new());
        let (exits, starts) = (exited.clone(), started.clone());
        let name = |index: usize| format!("web{index}");
        let churn = |index| kit::churner(&name(index), 50 * MILLISECOND, "exec sleep 1000");
        let builder = kit::own(&dir).programs((0..COUNT).map(churn));
        let mut scheduler = kit::built(builder.on_event(move |event| match event.kind() {
            EventKind::Started { pid, .. } => starts.push((*pid, event.program().to_owned())),
            EventKind::Exited { .. } => exits.push(event.program().to_owned()),
            _ => {}
        }));
        let pids = kit::all_up(&mut scheduler);
        // An exec that takes its time has its number before it is known to have succeeded.
        kit::turn_until(&mut scheduler, "every start is known", |_| {
            started.len() == COUNT
        });
        let in_order: Vec<String> = (0..COUNT).map(name).collect();
        let forks = in_order_of_forks(&started.items(), &in_order[0]);
        assert_eq!(forks, in_order, "the order of the builder");
        pids.iter()
            .for_each(|&pid| process::signal(pid, libc::SIGKILL));
        process::wait_for("all to be dead", || {
            let is_dead = |&pid: &i32| process::stat(pid).is_some_and(|stat| stat.state == 'Z');
            pids.iter().all(is_dead)
        });
        let begin = Instant::now();
        let mut known: BTreeSet<i32> = pids.iter().copied().collect();
        while started.len() < 2 * COUNT {
            kit::turn(&mut scheduler, 10 * MILLISECOND);
            // Forks, as one whose exec takes its time is said to be started in a later turn.
            let children = process::children(kit::me()).into_iter();
            let more = children.filter(|&pid| known.insert(pid)).count();
            assert!(more <= STARTS_PER_TURN_MAX, "{more} starts in a turn");
            assert!(begin.elapsed() < PATIENCE, "they do not come back");
        }
        let exited = &exited.items()[..COUNT];
        assert_eq!(
            in_order_of_forks(&started.items()[COUNT..], &exited[0]),
            exited
        );
        kit::end(&mut scheduler);
    });
}

/// The binary stays in no directory; but where a host is, is the host's affair.
fn m132_a_host_stays_in_its_own_directory() {
    host(|| {
        let (dir, own) = (kit::directory(), kit::directory());
        std::env::set_current_dir(own.path()).expect("a directory");
        let here = std::env::current_dir().expect("a directory");
        let programs = [
            kit::once("web", "pwd >&2"),
            kit::once("no", "").cwd("/no/such"),
        ];
        let mut scheduler = kit::built(kit::own(&dir).programs(programs));
        scheduler.start().expect("a clean end");
        assert_eq!(std::env::current_dir().expect("a directory"), here);
        let there = dir.path().canonicalize().expect("a directory");
        assert_eq!(
            kit::log_of(&dir, "web"),
            format!("{}\n", there.display()).as_bytes()
        );
    });
}

/// The host turns only when the descriptor is readable or the deadline has come, and none of its own
/// is early.
fn what_programs_say_of_themselves_wakes_the_host() {
    host(|| {
        let dir = kit::directory();
        let go = dir.path().join("go");
        let waits = "while ! test -e go; do sleep 0.01; done; echo >&3; exec sleep 1000";
        let programs = [
            kit::once("by-fd", waits).ready(Ready::Fd(3)),
            kit::sleeper("by-age").ready(Ready::Delay(50 * MILLISECOND)),
            kit::sleeper("next").requires(["by-fd", "by-age"]),
        ];
        let builder = kit::own(&dir).programs(programs).safety_sweep(false);
        let mut scheduler = kit::built(builder);
        let begin = Instant::now();
        while kit::pid(&scheduler, "next").is_none() {
            assert!(begin.elapsed() < PATIENCE, "{:#?}", scheduler.programs());
            let time = scheduler.poll_timeout().unwrap_or(PATIENCE).min(PATIENCE);
            if kit::readable(&scheduler, time) || is_due(&scheduler) {
                scheduler.step(Some(Duration::ZERO)).expect("a turn");
            }
            if kit::status(&scheduler, "by-age").is_up() && !go.exists() {
                assert!(!kit::status(&scheduler, "by-fd").is_up());
                fs::write(&go, "").expect("a file");
            }
        }
        kit::end(&mut scheduler);
    });
}

/// A host that takes no turn for longer than its programs have time, and finds more of them waiting
/// to be heard than one wait reports: half say that they live, and half that they are ready.
fn what_was_said_in_time_counts_after_a_stall() {
    const COUNT: usize = 90;
    const TIME: Duration = Duration::from_secs(8);
    let program = |index: usize| {
        let says = ["notify WATCHDOG=1", "say \\n 3"][index % 2];
        let script = format!("gate go ; {says} ; append sent .\\n ; hold");
        let words = [tools::probe_path().as_os_str(), script.as_ref()];
        let program = ChildSpec::new(format!("p{index}"), words);
        match index % 2 {
            0 => program.watchdog(TIME),
            _ => program.ready(Ready::Fd(3)).start_timeout(Some(TIME)),
        }
    };
    host(|| {
        let dir = kit::directory();
        let path = |name: &str| dir.path().join(name);
        mkfifo(&path("go"), Mode::S_IRWXU).expect("a FIFO");
        let (started, ended) = (kit::List::new(), kit::List::new());
        let (starts, ends) = (started.clone(), ended.clone());
        let builder = kit::own(&dir).programs((0..COUNT).map(program));
        let mut scheduler = kit::built(builder.on_event(move |event| match event.kind() {
            EventKind::Started { .. } => starts.push(()),
            EventKind::Stopping { cause, .. } => ends.push((event.program().to_owned(), *cause)),
            _ => {}
        }));
        kit::turn_until(&mut scheduler, "all were executed", |_| {
            started.len() == COUNT
        });
        assert_eq!(ended.items(), [], "before the stall");
        let go = File::options().read(true).write(true).open(path("go"));
        let _go = go.expect("a FIFO");
        process::wait_for("all to say it", || {
            fs::read(path("sent")).is_ok_and(|sent| sent.len() == 2 * COUNT)
        });
        thread::sleep(TIME);
        for _ in 0..3 {
            scheduler.step(Some(Duration::ZERO)).expect("a turn");
        }
        assert_eq!(ended.items(), []);
        kit::end(&mut scheduler);
    });
}
