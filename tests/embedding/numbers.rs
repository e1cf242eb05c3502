//! Process numbers that are given out again: what was a program's may be a child of the host by
//! now, and the other way round.

use std::fs;

use procsched::Reap;

use super::host::{Test, host_under};
use super::kit;
use super::refusals::refuse_pidfds;
use super::theft::assert_idle;
use crate::process;
use crate::tools::{Need, missing};

pub const TESTS: &[Test] = tests![
    m49_a_number_may_go_from_a_program_to_the_host,
    m49_a_number_may_go_from_a_program_to_the_host_without_pidfds,
    m49_a_run_may_have_the_number_of_the_one_before,
    m41_m49_a_stolen_number_may_go_to_the_host,
    m49_a_stranger_with_a_stolen_number_is_left_alone,
    m49_a_stranger_with_a_stolen_number_is_left_alone_without_pidfds,
    m49_a_stranger_with_a_stolen_number_is_left_alone_where_all_are_reaped,
];

const UNSHARE: [&str; 3] = ["unshare", "-pf", "--mount-proc"];

/// The next process of this namespace gets this number, if it is free.
fn next_number(pid: i32) {
    let last = (pid - 1).to_string();
    fs::write("/proc/sys/kernel/ns_last_pid", last).expect("a namespace of our own");
}

/// The program dies; its number goes to a child of the host, whose status the host gets, and
/// which nobody signals. Then it goes to the program once more.
fn one_number_for_all() {
    let dir = kit::directory();
    let web = kit::churner("web", kit::MILLISECOND * 100, "exec sleep 1000");
    let builder = kit::own(&dir).program(web).safety_sweep(false);
    let mut scheduler = kit::built(builder);
    for round in 0..10 {
        let pid = kit::all_up(&mut scheduler)[0];
        process::signal(pid, libc::SIGKILL);
        kit::turn_until(&mut scheduler, "its death is told", |scheduler| {
            kit::status(scheduler, "web").next_start().is_some()
        });
        next_number(pid);
        let (hold, held) = (
            dir.path().join(format!("end{round}")),
            dir.path().to_owned(),
        );
        let child = kit::copy(|| {
            let end = held.join(format!("end{round}"));
            while !end.exists() {
                std::thread::sleep(kit::MILLISECOND);
            }
            42
        });
        assert_eq!(child, pid, "the number was not given out again");
        let next = kit::all_up(&mut scheduler)[0];
        assert_ne!(next, pid);
        fs::write(&hold, "").expect("a file");
        process::wait_for("a zombie of the host", || {
            process::stat(child).is_some_and(|stat| stat.state == 'Z')
        });
        // Turns with a zombie that has the number of an earlier run.
        for _ in 0..5 {
            kit::turn(&mut scheduler, kit::MILLISECOND);
        }
        assert_eq!(kit::ended(child).code(), Some(42), "round {round}");
        assert_eq!(kit::all_up(&mut scheduler)[0], next);
    }
    kit::end(&mut scheduler);
}

fn m49_a_number_may_go_from_a_program_to_the_host() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, one_number_for_all);
}

fn m49_a_number_may_go_from_a_program_to_the_host_without_pidfds() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || {
        refuse_pidfds(libc::ENOSYS);
        one_number_for_all();
    });
}

/// A run is replaced by another with the same number, again and again: what is late for the
/// old one does not touch the new one.
fn m49_a_run_may_have_the_number_of_the_one_before() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || {
        let dir = kit::directory();
        let (reports, handler) = kit::reports();
        let web = kit::churner("web", kit::MILLISECOND * 50, "exec sleep 1000");
        let builder = kit::own(&dir)
            .program(web)
            .error_handler(handler)
            .safety_sweep(false);
        let mut scheduler = kit::built(builder);
        let pid = kit::all_up(&mut scheduler)[0];
        for round in 1..=10 {
            process::signal(pid, libc::SIGKILL);
            kit::turn_until(&mut scheduler, "its death is told", |scheduler| {
                kit::status(scheduler, "web").next_start().is_some()
            });
            next_number(pid);
            assert_eq!(kit::all_up(&mut scheduler)[0], pid, "round {round}");
            for _ in 0..5 {
                kit::turn(&mut scheduler, kit::MILLISECOND);
            }
            assert_eq!(kit::all_up(&mut scheduler)[0], pid, "round {round}");
            assert_eq!(reports.len(), round);
        }
        kit::end(&mut scheduler);
    });
}

/// A library of the host reaped a program of ours, and the next child of the host got its
/// number, all before our next look. Asked by number, the kernel told of a living child: the run
/// went on for ever, while its pidfd, readable since the death, made turn after turn; and when
/// that child died, the host's wait for it found nothing.
fn m41_m49_a_stolen_number_may_go_to_the_host() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || {
        let dir = kit::directory();
        let (reports, handler) = kit::reports();
        let web = kit::churner("web", kit::MILLISECOND * 50, "exec sleep 1000");
        let builder = kit::own(&dir).program(web).error_handler(handler);
        let mut scheduler = kit::built(builder.safety_sweep(false));
        let pid = kit::all_up(&mut scheduler)[0];
        process::signal(pid, libc::SIGKILL);
        kit::ended(pid);
        next_number(pid);
        let end = dir.path().join("end");
        let child = kit::copy(|| {
            own_group();
            while !end.exists() {
                std::thread::sleep(kit::MILLISECOND);
            }
            42
        });
        assert_eq!(child, pid, "the number was not given out again");
        kit::turn_until(&mut scheduler, "it was started again", |scheduler| {
            kit::status(scheduler, "web").restarts() == 1
                && kit::pid(scheduler, "web").is_some_and(|new| new != pid)
        });
        let report = reports.items()[0].clone();
        assert_eq!((report.return_code(), report.pid()), (125, Some(pid)));
        assert_idle(&mut scheduler);
        assert!(process::alive(child), "it is none of ours");
        fs::write(&end, "").expect("a file");
        process::wait_for("a zombie of the host", || {
            process::stat(child).is_some_and(|stat| stat.state == 'Z')
        });
        assert_idle(&mut scheduler);
        assert_eq!(kit::ended(child).code(), Some(42));
        kit::end(&mut scheduler);
        assert_eq!(reports.len(), 2);
    });
}

/// So that a signal to the group of this number would hit it.
fn own_group() {
    // SAFETY: plain numbers, and about this process alone.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
}

/// Somebody in the host reaped a program of ours, and its number went to a server that had
/// nothing to do with us, in a group of its own. Whoever finds that a run was stolen from him
/// still has the rest of its group to kill, and had only a number for that: it was the server
/// that died.
fn a_stranger_gets_the_number(reap: Reap) {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let web = kit::churner("web", kit::MILLISECOND * 50, "exec sleep 1000");
    let builder = kit::own(&dir).reap(reap).program(web);
    let builder = builder.error_handler(handler).safety_sweep(false);
    let mut scheduler = kit::built(builder);
    let pid = kit::all_up(&mut scheduler)[0];
    process::signal(pid, libc::SIGKILL);
    kit::ended(pid);
    let up = dir.path().join("up");
    let hold = || loop {
        // SAFETY: sleeps until a signal comes.
        unsafe { libc::pause() };
    };
    // Another than the host is its parent, so that no wait of ours finds it.
    let parent = kit::copy(|| {
        next_number(pid);
        kit::copy(|| {
            own_group();
            fs::write(&up, "").expect("a file");
            hold()
        });
        hold()
    });
    kit::wait_for_file(&up);
    let is_there = || {
        let stat = process::stat(pid).filter(|_| process::alive(pid));
        stat.is_some_and(|stat| (stat.ppid, stat.pgid) == (parent, pid))
    };
    assert!(is_there(), "the number was not given out again");
    kit::turn_until(&mut scheduler, "it was started again", |scheduler| {
        kit::status(scheduler, "web").restarts() == 1
            && kit::pid(scheduler, "web").is_some_and(|new| new != pid)
    });
    assert!(is_there(), "a stranger was killed");
    assert_eq!(reports.items()[0].return_code(), 125);
    kit::end(&mut scheduler);
    drop(scheduler);
    assert!(is_there(), "a stranger was killed at the end");
    for stranger in [pid, parent] {
        process::signal(stranger, libc::SIGKILL);
    }
    kit::ended(parent);
}

fn m49_a_stranger_with_a_stolen_number_is_left_alone() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || a_stranger_gets_the_number(Reap::Own));
}

fn m49_a_stranger_with_a_stolen_number_is_left_alone_without_pidfds() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || {
        refuse_pidfds(libc::ENOSYS);
        a_stranger_gets_the_number(Reap::Own);
    });
}

fn m49_a_stranger_with_a_stolen_number_is_left_alone_where_all_are_reaped() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    host_under(&UNSHARE, || a_stranger_gets_the_number(Reap::All));
}
