//! A SIGCHLD names who has died, which leads to that one and is not believed; what stops
//! everything names who sent it, which is told.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use procsched::{EventKind, ProcessScheduler, Reap, SignalSender, StopCause};

use super::host::{Test, host};
use super::kit;
use super::refusals::refuse_pidfds;
use crate::process;

pub const TESTS: &[Test] = tests![
    a_lie_about_a_death_ends_nothing,
    a_lie_about_a_death_ends_nothing_where_all_are_reaped,
    a_lie_about_a_death_ends_nothing_without_pidfds,
    who_hands_on_a_signal_without_its_information_does_no_harm,
    why_everything_stops_is_told_once_and_with_its_sender,
];

/// Tells this process by SIGCHLD, as the kernel would, that `pid` has ended with code 1. To
/// others only the kernel can say so.
fn forge_death(pid: i32) {
    /// Where si_pid stands, counted in integers (sigaction(2)), and the status after si_uid.
    const SI_PID: usize = 4;
    let mut info = [0_i32; 32];
    (info[0], info[2]) = (libc::SIGCHLD, libc::CLD_EXITED);
    (info[SI_PID], info[SI_PID + 2]) = (pid, 1);
    let us = std::process::id();
    // SAFETY: rt_sigqueueinfo takes two integers and a pointer to 128 bytes that are alive.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, us, libc::SIGCHLD, info.as_ptr()) };
    assert_eq!(sent, 0, "a signal to ourselves");
}

/// Of a program that lives, of a child of the host's that is dead, of strangers, and of numbers
/// that no process has.
fn lies(reap: Reap) {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let builder = kit::own(&dir).reap(reap).program(kit::sleeper("web"));
    let builder = builder.program(kit::sleeper("other")).safety_sweep(false);
    let mut scheduler = kit::built(builder.error_handler(handler));
    let pids = kit::all_up(&mut scheduler);
    let script = ["-c", "exit 42"];
    // With Reap::All every child is ours to reap.
    let zombie =
        (reap == Reap::Own).then(|| Command::new("sh").args(script).spawn().expect("a child"));
    let dead = zombie.as_ref().map(|child| child.id() as i32);
    if let Some(pid) = dead {
        process::wait_for("a zombie", || {
            process::stat(pid).is_some_and(|stat| stat.state == 'Z')
        });
    }
    let strangers = [1, 0, -1, i32::MAX, i32::MIN, std::process::id() as i32];
    for about in pids.iter().chain(&dead).chain(&strangers) {
        forge_death(*about);
        kit::turn(&mut scheduler, kit::MILLISECOND);
    }
    assert_eq!(kit::all_up(&mut scheduler), pids, "they live on");
    assert_eq!(reports.len(), 0);
    // The truth is heard all the same.
    process::signal(pids[0], libc::SIGKILL);
    kit::turn_until(&mut scheduler, "a death is seen", |_| reports.len() == 1);
    assert_eq!(reports.items()[0].pid(), Some(pids[0]));
    if let Some(mut zombie) = zombie {
        assert_eq!(zombie.wait().expect("our zombie").code(), Some(42));
    }
    kit::end(&mut scheduler);
}

fn a_lie_about_a_death_ends_nothing() {
    host(|| lies(Reap::Own));
}

fn a_lie_about_a_death_ends_nothing_where_all_are_reaped() {
    host(|| lies(Reap::All));
}

fn a_lie_about_a_death_ends_nothing_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        lies(Reap::Own);
    });
}

static OURS: AtomicUsize = AtomicUsize::new(0);

/// What stands in the second register when a handler is called as one that takes a number.
const GARBAGE: usize = 8;

extern "C" fn sloppy(signal: libc::c_int) {
    type Handler = extern "C" fn(libc::c_int, usize, usize);
    // SAFETY: the handler that stood here before, which the kernel has told us of.
    let ours: Handler = unsafe { std::mem::transmute(OURS.load(Ordering::SeqCst)) };
    ours(signal, GARBAGE, GARBAGE);
}

/// A library puts its handler over ours and calls ours as one that takes nothing but a number:
/// whom the signal was about is not to be had then, and must not be asked for.
fn who_hands_on_a_signal_without_its_information_does_no_harm() {
    host(|| {
        for reap in [Reap::All, Reap::Own] {
            let dir = kit::directory();
            let builder = kit::own(&dir).reap(reap).program(kit::sleeper("web"));
            let mut scheduler = kit::built(builder);
            OURS.store(
                kit::action(libc::SIGCHLD).expect("ours").0,
                Ordering::SeqCst,
            );
            kit::handle(libc::SIGCHLD, sloppy as *const () as usize, 0);
            let pids = kit::all_up(&mut scheduler);
            process::signal(pids[0], libc::SIGKILL);
            kit::turn_until(&mut scheduler, "a death is seen", |scheduler| {
                kit::code(scheduler, "web") == Some(-libc::SIGKILL)
            });
            kit::end(&mut scheduler);
            drop(scheduler);
            kit::handle(libc::SIGCHLD, libc::SIG_DFL, 0);
        }
    });
}

/// A process that is not this one.
fn send_from_a_child(signal: i32) -> i32 {
    let us = kit::me();
    let pid = kit::copy(|| {
        // SAFETY: plain numbers, and the target is the host.
        unsafe { libc::kill(us, signal) }
    });
    kit::ended(pid);
    pid
}

fn by(signal: i32, sender: impl Fn(&SignalSender) -> bool) -> impl Fn(&StopCause) -> bool {
    move |cause| match cause {
        StopCause::Signal {
            signal: told,
            sender: who,
            ..
        } => *told == signal && sender(who),
        _ => false,
    }
}

/// A deaf program, one who asks for a stop and then for a kill, and what was told of that.
fn told_of(ask: impl Fn(&ProcessScheduler, bool)) -> [StopCause; 2] {
    let dir = kit::directory();
    let causes = kit::List::new();
    let sink = causes.clone();
    let deaf = kit::once("deaf", "trap '' TERM; echo up >&2; exec sleep 1000");
    let builder = kit::own(&dir).program(deaf);
    let builder = builder.stop_on_signals([libc::SIGTERM, libc::SIGALRM]);
    let mut scheduler = kit::built(builder.on_event(move |event| match event.kind() {
        EventKind::StoppingAll { cause, .. } => sink.push((false, cause.clone())),
        EventKind::KillingAll { cause, .. } => sink.push((true, cause.clone())),
        _ => {}
    }));
    kit::turn_until(&mut scheduler, "it is deaf", |_| {
        kit::log_of(&dir, "deaf") == b"up\n"
    });
    for is_kill in [false, true] {
        for _ in 0..3 {
            ask(&scheduler, is_kill);
            kit::turn(&mut scheduler, kit::MILLISECOND);
        }
        // What comes sooner is the same wish.
        std::thread::sleep(250 * kit::MILLISECOND);
    }
    kit::end(&mut scheduler);
    match &causes.items()[..] {
        [(false, stop), (true, kill)] => [stop.clone(), kill.clone()],
        other => panic!("told: {other:?}"),
    }
}

fn why_everything_stops_is_told_once_and_with_its_sender() {
    host(|| {
        let told = told_of(|scheduler, is_kill| match is_kill {
            true => scheduler.kill(),
            false => scheduler.stop(),
        });
        assert_eq!(told, [StopCause::Host, StopCause::Host]);
        // SAFETY: getuid cannot fail.
        let us = unsafe { libc::getuid() };
        let is_process = |of: i32| move |who: &SignalSender| matches!(who, SignalSender::Process { pid, uid, .. } if (*pid, *uid) == (of, us));
        let (first, second) = (kit::List::new(), kit::List::new());
        let told = told_of(|_, is_kill| {
            let list = if is_kill { &second } else { &first };
            list.push(send_from_a_child(libc::SIGTERM));
        });
        assert!(by(libc::SIGTERM, is_process(first.items()[0]))(&told[0]));
        assert!(by(libc::SIGTERM, is_process(second.items()[0]))(&told[1]));
        let told = told_of(|_, _| {
            // SAFETY: all zero but for one microsecond is a valid timer, which rings once; the
            // kernel sends SIGALRM then. The old one is not asked for.
            unsafe {
                let mut timer: libc::itimerval = std::mem::zeroed();
                timer.it_value.tv_usec = 1;
                libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
            }
            std::thread::sleep(2 * kit::MILLISECOND);
        });
        for cause in &told {
            let is_kernel = |who: &SignalSender| *who == SignalSender::Kernel;
            assert!(by(libc::SIGALRM, is_kernel)(cause), "{told:?}");
        }
        // A handler over ours that hands on no more than the number.
        kit::handle(libc::SIGTERM, libc::SIG_DFL, 0);
        let told = told_of(|_, _| {
            let action = kit::action(libc::SIGTERM).expect("a handler").0;
            if action != sloppy as *const () as usize {
                OURS.store(action, Ordering::SeqCst);
                kit::handle(libc::SIGTERM, sloppy as *const () as usize, 0);
            }
            kit::raise(libc::SIGTERM);
        });
        for cause in &told {
            let is_unknown = |who: &SignalSender| *who == SignalSender::Unknown;
            assert!(by(libc::SIGTERM, is_unknown)(cause), "{told:?}");
        }
    });
}
