//! What the manager of this supervisor hears of it: systemd, or another one that speaks
//! sd_notify(3). It is silent, and costs nothing, unless `NOTIFY_SOCKET` is set.
//!
//! | | |
//! |---|---|
//! | `READY=1` | once no program is starting, or pending and able to come up |
//! | `STATUS=12 running, 1 backoff: web` | on change, once a second at most |
//! | `RELOADING=1`, `MONOTONIC_USEC=` | before the config is read anew, and `READY=1` after that; not before the first `READY=1`, which would come too early |
//! | `STOPPING=1` | at the shutdown |
//! | `WATCHDOG=1` | at half of `WATCHDOG_USEC`, while the loop turns |
//!
//! A message that cannot be sent now, because the manager does not read, is kept and tried again,
//! and once more at the end: of states those that still tell something new, of lines the last one.

mod socket;
mod summary;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use procsched::text::error_text;
use procsched::{Event, EventKind, ProcessScheduler};

use crate::clock;
use crate::messages::Level;
use crate::output::Outputs;
use socket::{Sent, Socket};
use summary::Summary;

/// The least time between two lines of `STATUS=`.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// The time until a message is tried again that did not go out: the first, doubled up to the last.
/// With a watchdog it is at most half of its interval, so that `WATCHDOG=1` is not late as well.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A manager that reads nothing for this long is reported.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// The manager of this supervisor, if it has one, shared with the closures of the scheduler.
#[derive(Clone, Default)]
pub struct Upward(Option<Arc<Mutex<Manager>>>);

/// The shortest interval of `WATCHDOG=1`: a shorter one would keep the processor busy.
const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What was sent to the manager, and what has to be.
struct Manager {
    socket: Socket,
    outputs: Outputs,
    summary: Summary,
    /// True once all programs were looked at; from then on those that change are enough.
    has_begun: bool,
    /// The programs that were removed since they were looked at.
    removed: Vec<Arc<str>>,
    /// True once the first `READY=1` was due.
    is_ready: bool,
    /// True once everything is stopped, or has ended.
    has_end: bool,
    /// True once `STOPPING=1` was due.
    is_stopping: bool,
    /// True once a `READY=1` has gone out.
    has_said_ready: bool,
    states: VecDeque<State>,
    line: Line,
    watchdog: Option<Watchdog>,
    retry: Retry,
    /// True once a failure was reported.
    is_reported: bool,
}

/// A message about this supervisor as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// With CLOCK_MONOTONIC, in microseconds.
    Reloading(u64),
    Stopping,
}

/// The line of `STATUS=`.
#[derive(Debug, Default)]
struct Line {
    sent: String,
    /// When the next one may be sent.
    next: Option<Instant>,
    /// True if a program has changed since then.
    is_due: bool,
}

/// When to send `WATCHDOG=1`.
#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Instant,
}

/// When to try again what did not go out.
#[derive(Debug, Default)]
struct Retry {
    at: Option<Instant>,
    delay: Duration,
    /// When the first try failed of those that have failed since one succeeded.
    since: Option<Instant>,
}

/// A reload, from its beginning to its end.
pub struct Reloading<'a>(&'a Upward);

impl Upward {
    /// Reads the variables that a manager has set.
    pub fn from_environment(outputs: &Outputs) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(address) = variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let warn = |problem: &str| {
            let mut outputs = outputs.lock();
            outputs.say_own(Level::Warning, "warning", problem);
        };
        let socket = socket::address(&address).and_then(|address| {
            let made = Socket::to(address);
            made.map_err(|error| format!("failed to make a socket: {}", error_text(&error)))
        });
        let interval = watchdog_interval(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        if let Err(problem) = &interval {
            warn(problem);
        }
        match socket {
            Ok(socket) => {
                let interval = interval.ok().flatten();
                let manager = Manager::new(socket, outputs.clone(), interval);
                Self(Some(Arc::new(Mutex::new(manager))))
            }
            Err(problem) => {
                warn(&problem);
                Self::default()
            }
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Manager>> {
        let manager = self.0.as_ref()?;
        Some(manager.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True if there is a manager, so that changes of programs have to be noted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes an event. Most are changes of a program, which are seen without it.
    pub fn event(&self, event: &Event) {
        let Some(mut manager) = self.lock() else {
            return;
        };
        match event.kind() {
            EventKind::Removed => manager.removed.push(event.program().into()),
            EventKind::StoppingAll { .. } | EventKind::KillingAll { .. } => manager.has_end = true,
            _ => {}
        }
    }

    /// Returns when [`Upward::serve`] has to be called again, whatever else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lock()?.next_deadline()
    }

    /// Sends what is due, after a turn in which these programs have changed.
    pub fn serve(&self, scheduler: &ProcessScheduler, changed: &[Arc<str>]) {
        if let Some(mut manager) = self.lock() {
            manager.take_in(scheduler, changed);
            manager.send(clock::steady());
        }
    }

    /// Sends what still waits, after the last turn: once, as this process does not wait for it.
    pub fn finish(&self) {
        if let Some(mut manager) = self.lock() {
            manager.try_to_send(clock::steady());
        }
    }

    /// Says that a reload begins; its end is said when what this returns is dropped.
    pub fn reloading(&self) -> Option<Reloading<'_>> {
        let mut manager = self.lock()?;
        if !manager.is_ready || manager.is_stopping {
            return None;
        }
        manager.push(State::Reloading(clock::monotonic_microseconds()));
        manager.send(clock::steady());
        Some(Reloading(self))
    }
}

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        if let Some(mut manager) = self.0.lock() {
            manager.push(State::Ready);
            manager.send(clock::steady());
        }
    }
}

impl Manager {
    fn new(socket: Socket, outputs: Outputs, watchdog: Option<Duration>) -> Self {
        let watchdog = watchdog.map(|interval| Watchdog {
            interval,
            next: clock::steady(),
        });
        Self {
            socket,
            outputs,
            summary: Summary::default(),
            has_begun: false,
            removed: Vec::new(),
            is_ready: false,
            has_end: false,
            is_stopping: false,
            has_said_ready: false,
            states: VecDeque::new(),
            line: Line::default(),
            watchdog,
            retry: Retry::default(),
            is_reported: false,
        }
    }

    /// Looks at the programs that have changed.
    fn take_in(&mut self, scheduler: &ProcessScheduler, changed: &[Arc<str>]) {
        let mut look = |name: &Arc<str>| {
            let status = scheduler.program(name);
            self.summary.set(name, status.as_ref());
            self.line.is_due = true;
        };
        if !self.has_begun {
            scheduler.names().for_each(&mut look);
        }
        self.removed.drain(..).for_each(|name| look(&name));
        changed.iter().for_each(look);
        self.has_begun = true;
        // Even if all programs have ended by now: systemd counts an end before this as a failure.
        if !self.is_ready && !scheduler.is_stopping() && self.summary.is_settled() {
            self.is_ready = true;
            self.push(State::Ready);
        }
        if self.has_end && !self.is_stopping {
            self.is_stopping = true;
            self.push(State::Stopping);
        }
    }

    /// Queues a state. Those before a reload are left out if they still wait: its end says the same.
    /// The first `READY=1` is not: the manager takes a reload before it for a part of the start.
    fn push(&mut self, state: State) {
        if let State::Reloading(_) = state {
            self.states.truncate(usize::from(!self.has_said_ready));
        }
        self.states.push_back(state);
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.retry.at.is_some() {
            return self.retry.at;
        }
        let line = self.line.next.filter(|_| self.line.is_due);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        line.into_iter().chain(watchdog).min()
    }

    /// Sends what is due.
    fn send(&mut self, now: Instant) {
        if self.retry.at.is_some_and(|at| at > now) {
            return;
        }
        self.try_to_send(now);
    }

    /// Does the same, even if it is too early for another try.
    fn try_to_send(&mut self, now: Instant) {
        let Err(error) = self.send_all(now) else {
            self.retry = Retry::default();
            return;
        };
        let retry = &mut self.retry;
        let since = *retry.since.get_or_insert(now);
        let watchdog = self.watchdog.as_ref();
        let half = watchdog.map(|watchdog| (watchdog.interval / 2).max(WATCHDOG_INTERVAL_MIN));
        let delay = (retry.delay * 2).clamp(RETRY_MIN, RETRY_MAX);
        retry.delay = half.map_or(delay, |half| delay.min(half));
        retry.at = Some(now + retry.delay);
        if since + REPORT_AFTER <= now {
            self.report(&error);
        }
    }

    /// An error is one of a message that has to be tried again; so are all that follow.
    fn send_all(&mut self, now: Instant) -> io::Result<()> {
        self.send_states()?;
        self.send_line(now)?;
        self.send_watchdog(now)
    }

    fn send_states(&mut self) -> io::Result<()> {
        while let Some(state) = self.states.front() {
            let message = match state {
                State::Ready => "READY=1".to_owned(),
                State::Reloading(at) => format!("RELOADING=1\nMONOTONIC_USEC={at}"),
                State::Stopping => "STOPPING=1".to_owned(),
            };
            let is_ready = *state == State::Ready;
            self.send_one(&message)?;
            self.has_said_ready |= is_ready;
            self.states.pop_front();
        }
        Ok(())
    }

    fn send_line(&mut self, now: Instant) -> io::Result<()> {
        if !self.line.is_due || self.line.next.is_some_and(|next| next > now) {
            return Ok(());
        }
        let line = self.summary.line();
        if line != self.line.sent {
            self.send_one(&format!("STATUS={line}"))?;
            self.line.sent = line;
            self.line.next = Some(now + LINE_INTERVAL);
        }
        self.line.is_due = false;
        Ok(())
    }

    fn send_watchdog(&mut self, now: Instant) -> io::Result<()> {
        let due = self.watchdog.as_ref();
        let is_due = due.is_some_and(|watchdog| watchdog.next <= now);
        if is_due {
            self.send_one("WATCHDOG=1")?;
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| is_due) {
            watchdog.next = now + watchdog.interval;
        }
        Ok(())
    }

    /// Sends one message. An error if it has to be tried again; one that cannot be sent at all is
    /// reported, the first time, and is done.
    fn send_one(&mut self, message: &str) -> io::Result<()> {
        match self.socket.send(message) {
            Sent::Done => {}
            Sent::Later(error) => return Err(error),
            Sent::Failed(error) => self.report(&error),
        }
        Ok(())
    }

    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_reported, true) {
            let problem = format!("failed to notify NOTIFY_SOCKET: {}", error_text(error));
            let mut outputs = self.outputs.lock();
            outputs.say_own(Level::Warning, "warning", &problem);
        }
    }
}

/// Returns how often `WATCHDOG=1` is due: at half of `WATCHDOG_USEC`, if it is meant for this
/// process.
fn watchdog_interval(
    microseconds: Option<&OsStr>,
    pid: Option<&OsStr>,
    ours: u32,
) -> Result<Option<Duration>, String> {
    let Some(microseconds) = microseconds else {
        return Ok(None);
    };
    // One that was passed on by another process.
    if pid.is_some_and(|pid| *pid != *ours.to_string()) {
        return Ok(None);
    }
    let number = microseconds.to_str().and_then(|text| text.parse().ok());
    match number {
        Some(0) => Ok(None),
        Some(number) => {
            let half = Duration::from_micros(number) / 2;
            Ok(Some(half.max(WATCHDOG_INTERVAL_MIN)))
        }
        None => Err(format!(
            "invalid WATCHDOG_USEC {microseconds:?}: expected a whole number of microseconds"
        )),
    }
}

#[cfg(test)]
mod tests;
