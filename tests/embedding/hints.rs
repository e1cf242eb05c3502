//! A SIGCHLD names who has died, which leads to that one and is not believed.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use procsched::Reap;

use super::host::{Test, host};
use super::kit;
use super::refusals::refuse_pidfds;
use crate::process;

pub const TESTS: &[Test] = tests![
    a_lie_about_a_death_ends_nothing,
    a_lie_about_a_death_ends_nothing_where_all_are_reaped,
    a_lie_about_a_death_ends_nothing_without_pidfds,
    who_hands_on_a_signal_without_its_information_does_no_harm,
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
