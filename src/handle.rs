//! Controls a scheduler from other threads, and stops it from signal handlers.
//!
//! A stop and a kill are flags, which only grow, so that they can be set in a signal handler. Orders
//! for one program are queued, and carried out by the next turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::os::wake::{Asked, Waker};
use crate::signal::SignalTo;

/// The number of orders that may wait for a turn.
const ORDERS_MAX: usize = 1024;

/// Controls a scheduler from anywhere. It is `Clone`, `Send` and `Sync`, and may outlive the
/// scheduler.
///
/// A call wakes the scheduler, which acts in its next turn. A repeated stop does nothing, so that
/// a host may call it in each of its turns. A handle does nothing in a forked copy of the process.
///
/// [`Handle::stop`] and [`Handle::kill`] are async-signal-safe (signal-safety(7)). The orders for
/// one program are not: they take a lock and allocate memory. At most 1,024 wait. What the scheduler
/// then refuses is [`EventKind::Refused`](crate::EventKind::Refused).
///
/// ```
/// # use procsched::{ChildSpec, ErrorKind, EventKind, ProcessScheduler, Status};
/// # use std::time::Duration;
/// # fn main() -> procsched::Result<()> {
/// # let logs = tempfile::tempdir().unwrap();
/// let (refused, seen) = std::sync::mpsc::channel();
/// let mut scheduler = ProcessScheduler::builder("/")
///     .program(ChildSpec::new("web", ["sleep", "60"]))
///     .err_dir(logs.path())
///     .on_event(move |event| {
///         if let EventKind::Refused { error, .. } = event.kind() {
///             refused.send((event.program().to_owned(), error.kind())).unwrap();
///         }
///     })
///     .build()?;
/// let handle = scheduler.handle();
/// let operator = std::thread::spawn(move || {
///     handle.restart_program("web").unwrap();
///     handle.restart_program("wbe").unwrap();
///     let answer = seen.recv_timeout(Duration::from_secs(30)).unwrap();
///     assert_eq!(answer, ("wbe".to_owned(), ErrorKind::UnknownProgram));
///     handle.stop();
/// });
/// scheduler.start()?;
/// operator.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Handle {
    waker: Arc<Waker>,
    orders: Arc<Orders>,
}

impl Handle {
    pub(crate) fn new(waker: Arc<Waker>, orders: Arc<Orders>) -> Self {
        Self { waker, orders }
    }

    /// Stops every program, as a SIGTERM to the supervisor does. Async-signal-safe
    /// (signal-safety(7)).
    pub fn stop(&self) {
        self.waker.ask(Asked::Stop);
    }

    /// Kills every program at once, after a stop too. Async-signal-safe.
    pub fn kill(&self) {
        self.waker.ask(Asked::Kill);
    }

    /// Queues what
    /// [`ProcessScheduler::start_program`](crate::ProcessScheduler::start_program) does. `Ok` says that
    /// it waits for the next turn, whatever the name: what that refuses, an unknown name too, is
    /// [`EventKind::Refused`](crate::EventKind::Refused).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`] if 1,024 orders wait; [`ErrorKind::Stopping`] after a stop;
    /// [`ErrorKind::Invalid`] in a forked copy of the process.
    pub fn start_program(&self, name: &str) -> Result<()> {
        self.order(name, Order::Start)
    }

    /// Queues what [`ProcessScheduler::stop_program`](crate::ProcessScheduler::stop_program) does, as
    /// [`Handle::start_program`].
    ///
    /// # Errors
    ///
    /// As [`Handle::start_program`].
    pub fn stop_program(&self, name: &str) -> Result<()> {
        self.order(name, Order::Stop)
    }

    /// Queues what
    /// [`ProcessScheduler::restart_program`](crate::ProcessScheduler::restart_program) does, as
    /// [`Handle::start_program`].
    ///
    /// # Errors
    ///
    /// As [`Handle::start_program`].
    pub fn restart_program(&self, name: &str) -> Result<()> {
        self.order(name, Order::Restart)
    }

    /// Queues what
    /// [`ProcessScheduler::signal_program`](crate::ProcessScheduler::signal_program) does, as
    /// [`Handle::start_program`].
    ///
    /// # Errors
    ///
    /// As [`Handle::start_program`].
    pub fn signal_program(&self, name: &str, signal: i32, to: SignalTo) -> Result<()> {
        self.order(name, Order::Signal(signal, to))
    }

    /// True after a stop, which may have begun because an essential program ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.waker.is_stopping()
    }

    /// True once the scheduler has returned [`Status::Stopped`](crate::Status::Stopped).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.waker.is_stopped()
    }

    fn order(&self, name: &str, order: Order) -> Result<()> {
        if !self.waker.is_ours() {
            let text = "the handle belongs to another process, and this is a copy of that";
            return Err(Error::new(text));
        }
        if self.is_stopping() || self.is_stopped() {
            let text = "everything is being stopped: no program takes orders any more";
            return Err(Error::of(ErrorKind::Stopping, text));
        }
        let program = name.to_owned();
        self.orders.push(NamedOrder { program, order })?;
        self.waker.wake();
        Ok(())
    }
}

/// An order for the program of this name.
#[derive(Debug)]
pub(crate) struct NamedOrder {
    pub(crate) program: String,
    pub(crate) order: Order,
}

#[derive(Debug)]
pub(crate) enum Order {
    Start,
    Stop,
    Restart,
    Signal(i32, SignalTo),
}

/// The orders that wait for a turn.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<Vec<NamedOrder>>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Vec<NamedOrder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, order: NamedOrder) -> Result<()> {
        let mut orders = self.lock();
        if orders.len() >= ORDERS_MAX {
            let text = format!("{ORDERS_MAX} orders wait for the scheduler already");
            return Err(Error::of(ErrorKind::Full, text));
        }
        orders.push(order);
        Ok(())
    }

    /// Takes all of them, in order.
    pub(crate) fn take(&self) -> Vec<NamedOrder> {
        std::mem::take(&mut *self.lock())
    }
}
