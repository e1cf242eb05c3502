//! What makes two states the same one.
//!
//! Moments are told from now, and what is over is over, however long ago; counters saturate;
//! the two process numbers are alike. What is left out decides nothing: the machine and its
//! observers are the same for every state with the same key, whatever happens next.

use std::time::Duration;

use crate::machine::child::{Child, Flags};
use crate::machine::state::{Leader, State as Life};
use crate::machine::{Moment, ProgramId};
use crate::model::account::{Account, Time, nanos, time};
use crate::model::witness::Seen;

use super::state::{PROGRAMS, State, uptime_max};
use super::world::PIDS;

/// Two runs of one program are enough for one to be late, and one more to be sure.
const COUNTERS_MAX: u64 = 3;
const BYTES: usize = 100;
const UNIT: Time = 1_000_000;

/// A state without its history.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; BYTES]);

struct Writer {
    now: Time,
    key: Key,
    len: usize,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.key.0[self.len] = byte;
        self.len += 1;
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    fn option(&mut self, value: Option<usize>) {
        self.byte(value.map_or(0, |value| 1 + value as u8));
    }

    /// In milliseconds; the worlds here know no others.
    fn span(&mut self, span: Time) {
        assert_eq!(span % UNIT, 0, "a moment between two milliseconds");
        let units = u16::try_from(span / UNIT).unwrap_or(u16::MAX);
        for byte in units.to_be_bytes() {
            self.byte(byte);
        }
    }

    /// How long it is until then.
    fn until(&mut self, then: Option<Time>) {
        self.flag(then.is_some());
        let until = then.map_or(0, |then| then.saturating_sub(self.now));
        self.span(until);
    }

    fn until_moment(&mut self, then: Moment) {
        self.until(Some(time(then)));
    }

    fn duration(&mut self, duration: Duration) {
        self.span(nanos(duration));
    }

    /// The start that a run's reported length is counted from is the one that its observer saw,
    /// or else the two are different states.
    fn child(&mut self, child: &Child, account: &Account) {
        let seen = account.life.map(|life| life.since);
        let agrees = |since: Moment| seen == Some(time(since));
        let leader = |leader: Leader| leader as u8;
        self.byte(child.goal as u8);
        let (kind, until, detail) = match child.state {
            Life::Inactive => (0, None, 0),
            Life::Waiting { until } => (1, Some(until), 0),
            Life::Due => (2, None, 0),
            Life::Spawning => (3, None, 0),
            Life::Launching { until } => (9, Some(until), 0),
            Life::Starting { since } => (10, None, u8::from(agrees(since))),
            Life::Running { since } => (4, None, u8::from(agrees(since))),
            Life::Draining { since } => (11, None, u8::from(agrees(since))),
            Life::Stopping { since, leader: l } => {
                (5, None, 3 * u8::from(agrees(since)) + leader(l))
            }
            Life::Killed { since, leader: l } => (6, None, 3 * u8::from(agrees(since)) + leader(l)),
            Life::Clearing { start_at } => (7, Some(start_at), 0),
            Life::Abandoned { leader: l } => (8, None, leader(l)),
        };
        self.byte(kind);
        self.byte(detail);
        self.until_moment(until.unwrap_or_default());
        self.duration(child.delay.peek());
        // Without oneshots and limits, why it is down and the number of restarts decide nothing.
        self.byte(if is_ending(child) {
            child.cause as u8
        } else {
            0
        });
        self.flag(child.flags.has(Flags::AGAIN));
        self.byte(child.starts.min(COUNTERS_MAX) as u8);
    }

    fn account(&mut self, account: &Account) {
        let life = account.life;
        let flags = [
            account.wanted,
            account.ready,
            account.starting,
            life.is_some(),
            life.is_some_and(|life| life.leader_dead),
            life.is_some_and(|life| life.ending.is_some()),
            life.is_some_and(|life| life.was_asked()),
            life.is_some_and(|life| life.awaited.is_some()),
            life.is_some_and(|life| life.given_up),
            life.is_some_and(|life| life.executed),
            life.is_some_and(|life| life.signalled),
            life.is_some_and(|life| life.ready),
            account.hard,
            account.again,
            account.escaped.is_some(),
            account.removed,
            account.forgotten,
        ];
        for flags in flags.chunks(8) {
            let add = |byte, flag: &bool| 2 * byte + u8::from(*flag);
            self.byte(flags.iter().fold(0, add));
        }
        self.until(account.plan);
        self.until(account.deadline());
        self.duration(account.next_delay());
        self.byte(account.starts.min(COUNTERS_MAX) as u8);
        let uptime = life.map_or(0, |life| self.now.saturating_sub(life.since));
        let counts = if account.is_up() { uptime } else { 0 };
        self.span(counts.min(uptime_max(&account.policy)));
    }

    fn seen(&mut self, seen: &Seen, child: &Child) {
        self.flag(seen.run.is_some());
        self.flag(seen.run.is_some_and(|run| child.run(run.program) == run));
        self.flag(seen.has_group);
        self.flag(seen.executed);
        self.flag(seen.told_as_started);
        self.flag(seen.leader_dead);
        self.flag(seen.stopped);
        self.byte(u8::try_from(seen.reports).unwrap_or(u8::MAX));
        self.until(seen.not_before);
    }

    /// The table of processes and what is known of it, with the numbers as they are, or each
    /// with the other's.
    fn world(&mut self, state: &State, swapped: bool) {
        let name = |number: usize| if swapped { PIDS - 1 - number } else { number };
        for number in 0..PIDS {
            let process = state.world.table[name(number)];
            self.option(process.map(|process| {
                let flags = 2 * usize::from(process.new) + usize::from(process.killed);
                (name(process.group) * PROGRAMS + process.program) * 4 + flags
            }));
        }
        for held in state.held {
            self.option(held.map(|held| 2 * name(held.group) + usize::from(held.exit_told)));
        }
    }
}

fn write(state: &State, swapped: bool) -> Key {
    let mut writer = Writer {
        now: state.now,
        key: Key([0; BYTES]),
        len: 0,
    };
    let snapshot = state.machine.snapshot();
    for program in 0..PROGRAMS {
        let account = &state.ledger.accounts[program];
        let child = snapshot.children.get(ProgramId(program as u32));
        let child = child.expect("no program is removed here");
        writer.child(child, account);
        writer.account(account);
        writer.seen(&state.witness.programs[program], child);
    }
    let index = |program: ProgramId| program.0 as usize;
    for place in 0..PROGRAMS {
        writer.option(snapshot.starts.get(place).copied().map(index));
        let deadline = snapshot.deadlines.get(place).copied();
        writer
            .option(deadline.map(|(_, (program, purpose))| index(program) * 8 + purpose as usize));
        writer.until_moment(deadline.map_or(Moment::default(), |(at, _)| at));
    }
    assert!(
        snapshot.starts.len() <= PROGRAMS && snapshot.deadlines.len() <= PROGRAMS,
        "one start and one deadline a program"
    );
    writer.option(state.machine.essential_ended().map(index));
    writer.flag(state.machine.is_stopping());
    // Which deadline passes first, also among equal ones.
    let due = |account: &Account| account.deadline().map(|at| (at, account.set));
    writer.flag(state.ledger.accounts.iter().map(due).is_sorted());
    writer.option(state.ledger.essential_ended.map(index));
    writer.flag(state.ledger.stopping);
    let stop_cause = state.starting.map(|_| state.ledger.stop_cause as usize);
    writer.option(stop_cause);
    writer.flag(state.witness.stop_was_asked);
    writer.option(state.starting.map(|run| index(run.program)));
    writer.world(state, swapped);
    writer.key
}

/// The cause of what ends it matters while that is to be told.
fn is_ending(child: &Child) -> bool {
    match child.state {
        Life::Spawning | Life::Stopping { .. } => true,
        Life::Killed { leader, .. } => leader != Leader::Dead,
        _ => false,
    }
}

impl Key {
    pub fn of(state: &State) -> Self {
        let [one, other] = [false, true].map(|swapped| write(state, swapped));
        if one.0 <= other.0 { one } else { other }
    }
}
