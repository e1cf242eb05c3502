//! What a simulation has seen: one that has not met a thing has not tried it.

use crate::machine::state::Cause;
use crate::machine::{Change, Order};
use crate::model::account::was_asked;

tally! {
    steps: "steps",
    starts: "starts",
    failed: "starts that failed",
    delayed: "starts that were late",
    late_starts: "late starts that came true",
    late_failures: "late starts that failed",
    late_killed: "late starts answered after their kill",
    late_kills: "late starts that came true before their kill",
    late_given_up: "late starts given up",
    exits: "exits that nobody asked for",
    asked: "exits during a stop",
    resets: "delays that began anew",
    stops: "programs asked to stop",
    kills: "programs killed",
    abandoned: "runs given up",
    essential: "stops by an essential program",
    stopped_in_start: "stops during a start",
    coalesced: "wakes with many deaths",
    late: "steps with orders left for later",
    missed: "signals that found nobody",
    stale: "news of an earlier run",
    inherited: "numbers that another program had",
    edges: "exits within 1 ns of the reset",
    raced: "deaths in the wake of a deadline",
    by_hand: "commands for one program",
    ups: "programs told as up",
    faults: "runs ended for a fault",
    removed: "programs removed",
    cut_short: "shutdowns that ended in time",
    wishes: "wishes that came true in the end",
    ends: "stops that came true in the end",
}

impl Tally {
    pub fn count(&mut self, order: Order) {
        let Order::Notify { change, .. } = order else {
            return;
        };
        match change {
            Change::StartFailed { .. } => self.failed += 1,
            Change::Exited { cause, .. } => match cause {
                cause if was_asked(cause) => self.asked += 1,
                Cause::Exit => self.exits += 1,
                _ => self.faults += 1,
            },
            Change::Up => self.ups += 1,
            Change::Removed => self.removed += 1,
            Change::Stopping { .. } => self.stops += 1,
            Change::Killed => self.kills += 1,
            Change::Abandoned { .. } => self.abandoned += 1,
            Change::Started | Change::Impossible { .. } => {}
        }
    }
}
