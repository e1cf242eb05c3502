//! The host's closures, and the one place where they are called. A panic in one is caught here and
//! reported as an event; supervision goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Arc;

use crate::event::{Event, EventKind, SignalSender};
use crate::os::clock;
use crate::report::ErrorReport;

type OnReport = Box<dyn FnMut(&str, &ErrorReport) + Send>;
type OnEvent = Box<dyn FnMut(&Event) + Send>;
type OnStray = Box<dyn FnMut(i32, ExitStatus) + Send>;
type OnSignal = Box<dyn FnMut(i32, SignalSender) + Send>;

/// What a closure is called with.
#[derive(Debug)]
pub(crate) enum Notice {
    Event(Event),
    Report(ErrorReport),
    Stray(i32, ExitStatus),
    Signal(i32, SignalSender),
}

/// The host's closures.
pub(crate) struct Callbacks {
    pub(crate) on_report: OnReport,
    pub(crate) on_event: OnEvent,
    pub(crate) on_stray: OnStray,
    pub(crate) on_signal: OnSignal,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            on_report: Box::new(print_report),
            on_event: Box::new(|_| {}),
            on_stray: Box::new(|_, _| {}),
            on_signal: Box::new(|_, _| {}),
        }
    }
}

impl Callbacks {
    /// Calls the closure that this is for, and survives its panic.
    pub(crate) fn call(&mut self, notice: &Notice) {
        let called = catch_unwind(AssertUnwindSafe(|| self.call_unprotected(notice)));
        let Err(panic) = called else { return };
        let program: Arc<str> = match notice {
            Notice::Event(event) => event.program.clone(),
            Notice::Report(report) => report.process.clone(),
            Notice::Stray(..) | Notice::Signal(..) => Arc::from(""),
        };
        let kind = EventKind::HandlerPanicked {
            message: message_of(panic.as_ref()),
        };
        let event = Notice::Event(Event {
            program,
            at: clock::wall(),
            kind,
        });
        // If the event handler itself panics, no closure is left to report it to.
        let _ = catch_unwind(AssertUnwindSafe(|| self.call_unprotected(&event)));
    }

    fn call_unprotected(&mut self, notice: &Notice) {
        match notice {
            Notice::Event(event) => (self.on_event)(event),
            Notice::Report(report) => (self.on_report)(report.process(), report),
            Notice::Stray(pid, status) => (self.on_stray)(*pid, *status),
            Notice::Signal(signal, sender) => (self.on_signal)(*signal, *sender),
        }
    }
}

/// Prints a report on stdout, on one line: the default. A closed stdout is not worth a panic.
fn print_report(_: &str, report: &ErrorReport) {
    use std::io::Write;
    #[cfg(feature = "json")]
    let line = report.to_json();
    #[cfg(not(feature = "json"))]
    let line = format!("{report:?}");
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
