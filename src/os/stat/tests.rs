use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// Starts a process in its own group that ends when its stdin does.
fn child() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).process_group(0);
    command.spawn().expect("cat starts")
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

#[test]
fn reads_the_state_whatever_the_command_is_called() {
    assert!(!is_ended(b"7 (sh) S 1 42 42 0 -1"));
    assert!(!is_ended(b"7 (a) Z 9 (x) R 1 43 42 0"));
    assert!(is_ended(b"7 (a) R 9) Z 1 43 42 0"));
    assert!(is_ended(b"7 (sh) X 1"));
    assert!(!is_ended(b""));
    assert!(!is_ended(b"7 (sh)"));
}

#[test]
fn a_process_is_alive_then_a_zombie_then_gone() {
    let mut child = child();
    let number = pid(&child);
    let groups = BTreeSet::from([number]);
    let zombies = || zombies_only(&groups, false).expect("a /proc");
    assert_eq!(life_of(number).expect("a stat"), Life::Alive);
    assert!(zombies().is_empty());
    drop(child.stdin.take());
    while life_of(number).expect("a stat") == Life::Alive {}
    assert_eq!(life_of(number).expect("a stat"), Life::Zombie);
    assert_eq!(zombies(), groups);
    let all = zombies_only(&groups, true).expect("a /proc");
    assert!(all.is_empty(), "it is reaped soon");
    child.wait().expect("ours");
    assert_eq!(life_of(number).expect("a stat"), Life::Gone);
    assert!(zombies().is_empty(), "no member is no zombie");
}

/// A group may have both; other groups are not returned.
#[test]
fn one_living_member_keeps_a_group() {
    let (mut dead, mut other) = (child(), child());
    let group = pid(&dead);
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).process_group(group);
    let mut member = command.spawn().expect("cat starts");
    for child in [&mut dead, &mut other] {
        drop(child.stdin.take());
        while life_of(pid(child)).expect("a stat") == Life::Alive {}
    }
    let both = BTreeSet::from([group, pid(&other)]);
    let zombies = zombies_only(&both, false).expect("a /proc");
    assert_eq!(zombies, BTreeSet::from([pid(&other)]));
    drop(member.stdin.take());
    while life_of(pid(&member)).expect("a stat") == Life::Alive {}
    let asked = BTreeSet::from([group]);
    assert_eq!(zombies_only(&asked, false).expect("a /proc"), asked);
    for mut child in [dead, other, member] {
        child.wait().expect("ours");
    }
}
