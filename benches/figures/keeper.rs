//! What both sides of the table can do: start programs, replace a dead one, drain, stop.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::Place;

/// Who keeps programs running. Dropped, it ends them all.
pub trait Keeper: Sized {
    /// Sets out to start every program of the place. Some may not run yet.
    fn start(place: &Place) -> Self;

    /// Sees to it that a program that was just killed is replaced.
    fn replace(&mut self, place: &Place, dead: Pid);

    /// Returns once so many bytes of each program are in its log.
    fn drain(&mut self, place: &Place, bytes_each: u64);

    /// The processor time that it has used itself.
    fn cpu(&self) -> Duration;

    /// Stops everything by SIGTERM; returns once everything has gone.
    fn stop(self);
}

/// Sends a signal to a child of ours, or to one of its children.
pub fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("a process that was not waited for");
}
