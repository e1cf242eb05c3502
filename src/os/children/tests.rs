#[allow(dead_code)] // Tests of whole hosts use the rest of these.
#[path = "../../../tests/embedding/answers.rs"]
mod answers;
#[allow(dead_code)]
#[path = "../../../tests/embedding/refusals.rs"]
mod refusals;

use super::*;
use std::process::{Child, Command, Stdio};

use answers::{Condition, answer_if};

/// Sleeps until its stdin is closed.
fn child(variable: &str) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let child = command.env("CHILDREN_TEST", variable).spawn();
    child.expect("cat starts")
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("cat ends");
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

#[test]
fn both_ways_find_the_same_children() {
    let (first, second) = (child("1"), child("2"));
    let stranger = std::os::unix::process::parent_id();
    let listed = listed_by_kernel().expect("a /proc");
    let found = found_by_parent().ok();
    for found in [of_this_process(), listed, found] {
        let found = found.expect("a /proc");
        assert!(found.contains(&pid(&first)), "{found:?}");
        assert!(found.contains(&pid(&second)), "{found:?}");
        assert!(!found.contains(&1) && !found.contains(&(stranger as i32)));
    }
    assert!(reap::has_children());
    // SAFETY: getpgrp takes nothing and cannot fail.
    assert_eq!(group_of(pid(&first)), Some(unsafe { libc::getpgrp() }));
    assert_eq!(group_of(-1), None);
    end(first);
    end(second);
}

/// More than one read returns, with a number across its end, and without anything behind the last.
#[test]
fn a_long_list_is_read_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("children");
    let expected: Vec<i32> = (95_000..105_000).collect();
    let text: Vec<String> = expected.iter().map(i32::to_string).collect();
    for text in [text.join(" "), format!("{} ", text.join(" "))] {
        std::fs::write(&path, text).expect("a file");
        let mut found = vec![1];
        read_list(&path, &mut found).expect("a list");
        assert_eq!(found[1..], expected);
    }
    std::fs::write(&path, "").expect("a file");
    let mut found = Vec::new();
    read_list(&path, &mut found).expect("an empty list");
    assert!(found.is_empty(), "{found:?}");
    let missing = read_list(&directory.path().join("none"), &mut found);
    assert_eq!(
        missing.map_err(|error| error.kind()),
        Err(io::ErrorKind::NotFound)
    );
}

/// A child of a thread that has ended is still a child of this process.
#[test]
fn a_zombie_and_a_thread_s_child_are_children() {
    let mut zombie = std::thread::spawn(|| child("")).join().expect("no panic");
    let number = pid(&zombie);
    assert!(of_this_process().expect("a /proc").contains(&number));
    drop(zombie.stdin.take());
    while reap::look(number, None) == Seen::Alive {}
    assert!(of_this_process().expect("a /proc").contains(&number));
    assert!(found_by_parent().expect("a /proc").contains(&number));
    assert!(variable(number, "CHILDREN_TEST").is_ok_and(|value| value.is_none()));
    zombie.wait().expect("reaped");
    assert!(!of_this_process().expect("a /proc").contains(&number));
}

#[test]
fn what_a_child_carries() {
    let child = child("a=b c");
    let value = |key| variable(pid(&child), key).expect("/proc");
    assert_eq!(value("CHILDREN_TEST").as_deref(), Some(&b"a=b c"[..]));
    assert_eq!(value("CHILDREN_TES"), None);
    assert_eq!(value("CHILDREN_TEST2"), None);
    assert_eq!(variable(0, "CHILDREN_TEST").expect("/proc"), None);
    end(child);
}

/// It is read all the time while it dies. Once it has no environment, its own children are
/// reparented; before that the answer is an error, whether its memory was gone or going.
#[test]
fn a_dying_child_has_no_environment_before_it_is_a_zombie() {
    for round in 0..300 {
        let mut child = child("it");
        let number = pid(&child);
        let ask = || match variable(number, "CHILDREN_TEST") {
            Err(error) if is_not_yet(&error) => None,
            answer => Some(answer.expect("/proc")),
        };
        while ask().is_none() {}
        drop(child.stdin.take());
        while ask() != Some(None) {}
        let stat = std::fs::read(format!("/proc/{number}/stat")).expect("it is not reaped");
        let state = stat_fields(&stat).and_then(|mut fields| fields.next().map(str::to_owned));
        assert_eq!(state.as_deref(), Some("Z"), "in round {round}");
        child.wait().expect("reaped");
    }
}

#[test]
fn a_variable_is_found_whole_or_not_at_all() {
    let environ = b"A=1\0PROG=web\0EMPTY=\0NONE\0CUT=of";
    assert_eq!(value_in(environ, "A"), Some(&b"1"[..]));
    assert_eq!(value_in(environ, "PROG"), Some(&b"web"[..]));
    assert_eq!(value_in(environ, "EMPTY"), Some(&b""[..]));
    assert_eq!(value_in(environ, "PRO"), None);
    assert_eq!(value_in(environ, "NONE"), None);
    assert_eq!(value_in(environ, "CUT"), None);
    assert_eq!(value_in(b"", "A"), None);
    assert_eq!(value_in(b"A=1", "A"), None);
}

#[test]
fn a_stop_and_what_follows_are_reported_once() {
    let child = child("");
    let pid = pid(&child);
    let wait = || loop {
        if let Some(change) = change(pid) {
            return change;
        }
        std::thread::yield_now();
    };
    assert_eq!(change(pid), None);
    signal(pid, libc::SIGSTOP);
    assert_eq!(wait(), StateChange::Stopped(libc::SIGSTOP));
    assert_eq!(change(pid), None);
    signal(pid, libc::SIGCONT);
    assert_eq!(wait(), StateChange::Continued);
    assert_eq!(change(pid), None);
    end(child);
    assert_eq!(change(pid), None);
}

/// Signal 0 only asks, so that a mistake here is harmless.
#[test]
fn museum_54_nothing_but_a_single_child_is_signalled() {
    for pid in [i32::MIN, -2, -1, 0, 1] {
        assert_eq!(signal(pid, 0), Sent::Refused(Errno::EINVAL), "{pid}");
    }
    assert_eq!(signal_all(0), Sent::Refused(Errno::EPERM));
    let child = child("");
    assert_eq!(signal(pid(&child), 0), Sent::Delivered);
    end(child);
}

/// Looks in a thread whose system calls are made to fail first.
fn with<T: Send + 'static>(
    failures: impl FnOnce() + Send + 'static,
    look: fn() -> io::Result<T>,
) -> io::Result<T> {
    let found = std::thread::spawn(move || {
        failures();
        look()
    });
    found.join().expect("no panic")
}

/// The C library takes ENOENT from getdents(2) for the end of a directory. The list was empty then,
/// and there was no child left to wait for.
#[test]
fn a_list_that_breaks_off_is_not_an_empty_one() {
    let child = child("");
    for errno in [libc::ENOENT, libc::EIO, libc::ENOMEM, libc::EINVAL] {
        let fail = move || answer_if(libc::SYS_getdents64, &[], errno);
        let listed = with(fail, list);
        assert!(listed.is_err(), "{errno}: {listed:?}");
        let found = with(fail, found_by_parent);
        assert!(found.is_err(), "{errno}: {found:?}");
    }
    end(child);
}

/// A thread whose list cannot be read was taken for one that has ended, and a process whose stat
/// cannot be read for another's child.
#[test]
fn who_cannot_be_looked_at_has_not_ended() {
    let child = child("");
    let found = with(|| {}, list).expect("a /proc").expect("a list");
    assert!(found.contains(&pid(&child)), "{found:?}");
    let fail = || {
        // As a file is opened here, and a directory is not.
        for flags in [libc::O_CLOEXEC, libc::O_CLOEXEC | libc::O_LARGEFILE] {
            answer_if(libc::SYS_openat, &[Condition::is(2, flags)], libc::EMFILE);
        }
        answer_if(libc::SYS_statx, &[], libc::ENOMEM);
    };
    let listed = with(fail, list);
    assert!(listed.is_err(), "{listed:?}");
    let found = with(fail, found_by_parent);
    assert!(found.is_err(), "{found:?}");
    end(child);
}
