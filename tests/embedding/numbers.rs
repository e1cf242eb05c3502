//! Process numbers that are given out again: what was a program's may be a child of the host by
//! now, and the other way round.

use std::fs;

use super::host::{Test, host_under};
use super::kit;
use super::refusals::refuse_pidfds;
use crate::process;
use crate::tools::{Need, missing};

pub const TESTS: &[Test] = tests![
    m49_a_number_may_go_from_a_program_to_the_host,
    m49_a_number_may_go_from_a_program_to_the_host_without_pidfds,
    m49_a_run_may_have_the_number_of_the_one_before,
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
