//! The host's closures, and the one place where they are called.
//!
//! News is queued while the turn works and told at its end, when the state that a closure may
//! ask about is the one it is told of. A closure that panics is caught here; the panic is told
//! as an event, and supervision goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Arc;

use crate::event::{Event, EventKind};
use crate::os::clock;
use crate::report::ErrorReport;

type OnReport = Box<dyn FnMut(&str, &ErrorReport) + Send>;
type OnEvent = Box<dyn FnMut(&Event) + Send>;
type OnStray = Box<dyn FnMut(i32, ExitStatus) + Send>;
type OnSignal = Box<dyn FnMut(i32) + Send>;

/// Something to be told.
#[derive(Debug)]
pub(crate) enum News {
    Event(Event),
    Report(ErrorReport),
    Stray(i32, ExitStatus),
    Signal(i32),
}

/// What the host wants to be told.
pub(crate) struct Callbacks {
    pub(crate) on_report: OnReport,
    pub(crate) on_event: Option<OnEvent>,
    pub(crate) on_stray: Option<OnStray>,
    pub(crate) on_signal: Option<OnSignal>,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            on_report: Box::new(print_report),
            on_event: None,
            on_stray: None,
            on_signal: None,
        }
    }
}

impl Callbacks {
    /// Tells one thing, and survives whatever the closure does.
    pub(crate) fn tell(&mut self, news: &News) {
        let told = catch_unwind(AssertUnwindSafe(|| self.call(news)));
        let Err(panic) = told else { return };
        let program: Arc<str> = match news {
            News::Event(event) => event.program.clone(),
            News::Report(report) => report.process.clone(),
            News::Stray(..) | News::Signal(_) => Arc::from(""),
        };
        let kind = EventKind::HandlerPanicked {
            message: message_of(panic.as_ref()),
        };
        let event = News::Event(Event {
            program,
            at: clock::wall(),
            kind,
        });
        // If the event handler itself panics, there is nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| self.call(&event)));
    }

    fn call(&mut self, news: &News) {
        match news {
            News::Event(event) => {
                if let Some(on_event) = &mut self.on_event {
                    on_event(event);
                }
            }
            News::Report(report) => (self.on_report)(report.process(), report),
            News::Stray(pid, status) => {
                if let Some(on_stray) = &mut self.on_stray {
                    on_stray(*pid, *status);
                }
            }
            News::Signal(signal) => {
                if let Some(on_signal) = &mut self.on_signal {
                    on_signal(*signal);
                }
            }
        }
    }
}

/// The default: the report on stdout, a line each. A closed stdout is not worth a panic.
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
