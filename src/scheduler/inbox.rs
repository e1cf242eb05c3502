//! What came from outside since the last turn: signals, and what handles asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::event::{SignalSender, StopCause};
use crate::handle::{Handle, NamedOrder, Orders};
use crate::machine::Moment;
use crate::os::signals::Signals;
use crate::os::wake::{Asked, Waker};

/// A second stop signal within this time counts as the same request: `timeout`, terminals and
/// people's fingers repeat themselves.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(200);

pub(super) enum Request {
    ShutDown(Asked, StopCause),
    /// A signal arrived that the host has asked for.
    Signal(i32, SignalSender),
}

pub(super) struct Inbox {
    signals: Signals,
    waker: Arc<Waker>,
    /// What handles have asked for.
    orders: Arc<Orders>,
    stop_signals: Vec<i32>,
    first_stop: Option<Moment>,
    /// Signals that arrived and were not handled yet.
    arrived: Vec<i32>,
}

impl Inbox {
    /// Handles SIGCHLD, the stop signals and `others` from now on. If `exclusive`, no other
    /// scheduler may live in this process.
    pub(super) fn install(
        stop_signals: Vec<i32>,
        others: &[i32],
        exclusive: bool,
        waker: Arc<Waker>,
    ) -> Result<Self> {
        Ok(Self {
            signals: Signals::install(&stop_signals, others, exclusive, waker.clone())?,
            waker,
            orders: Arc::default(),
            stop_signals,
            first_stop: None,
            arrived: Vec::new(),
        })
    }

    /// Unblocks our signals in the thread that takes this turn.
    pub(super) fn listen(&mut self) {
        self.signals.unblock_here();
    }

    /// Returns what handles ask through.
    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    pub(super) fn handle(&self) -> Handle {
        Handle::new(self.waker.clone(), self.orders.clone())
    }

    /// Takes the orders that have come through handles.
    pub(super) fn take_orders(&self) -> Vec<NamedOrder> {
        self.orders.take()
    }

    /// Takes the signals that have arrived.
    pub(super) fn collect(&mut self) {
        self.arrived.extend(self.signals.take());
    }

    /// True if SIGCHLD has arrived.
    pub(super) fn has_sigchld(&self) -> bool {
        self.arrived.contains(&libc::SIGCHLD)
    }

    /// Adds the pids that the SIGCHLDs were about, as far as they say.
    pub(super) fn take_sigchld_pids(&self, pids: &mut Vec<i32>) {
        self.signals.take_hints(pids);
    }

    /// Returns the signals whose handler another part of the process has replaced, each once.
    pub(super) fn take_replaced(&mut self) -> Vec<i32> {
        self.signals.take_replaced()
    }

    /// True if there may be a request to take.
    pub(super) fn has_requests(&self) -> bool {
        !self.arrived.is_empty() || self.waker.is_asked()
    }

    /// True if a stop has arrived, taken or not.
    pub(super) fn has_stop(&self) -> bool {
        self.waker.is_asked() || self.has_stop_signal()
    }

    /// True if a stop signal has arrived and was not taken.
    pub(super) fn has_stop_signal(&self) -> bool {
        self.signals.is_pending(&self.stop_signals)
    }

    /// Takes the next request.
    pub(super) fn next_request(&mut self, now: Moment) -> Option<Request> {
        while let Some(signal) = self.arrived.pop() {
            if self.stop_signals.contains(&signal) {
                let sender = self.signals.take_sender(signal);
                let cause = StopCause::Signal { signal, sender };
                match self.first_stop {
                    Some(first) if now.since(first) < SECOND_SIGNAL_AFTER => continue,
                    Some(_) => return Some(Request::ShutDown(Asked::Kill, cause)),
                    None => {
                        self.first_stop = Some(now);
                        return Some(Request::ShutDown(Asked::Stop, cause));
                    }
                }
            } else if signal != libc::SIGCHLD {
                let sender = self.signals.take_sender(signal);
                return Some(Request::Signal(signal, sender));
            }
        }
        Some(Request::ShutDown(self.waker.take()?, StopCause::Host))
    }
}
