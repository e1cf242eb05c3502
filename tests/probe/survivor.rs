//! A host whose handler panics, and that lives to tell: shows that panics unwind in the profile
//! and with the standard library that it was built with. Tests cannot: cargo builds them with
//! unwinding, whatever the profile says.
//!
//! It needs nothing but itself and a directory for temporary files: its one program does not
//! exist, and a failed start is reported like any other end.

use std::io::Write;
use std::sync::mpsc;

use procsched::{ChildSpec, EventKind, ProcessScheduler, Restart};

fn main() {
    let (tell, told) = mpsc::channel();
    let mut scheduler = ProcessScheduler::builder("/")
        .program(ChildSpec::new("nobody", ["/nonexistent"]).restart(Restart::Never))
        .err_dir(std::env::temp_dir())
        .error_handler(|name, _| panic!("no word about {name}"))
        .on_event(move |event| {
            if let EventKind::HandlerPanicked { message, .. } = event.kind() {
                tell.send(message.clone()).expect("a receiver that lives");
            }
        })
        .build()
        .expect("a scheduler");
    scheduler.start().expect("an end in peace");
    let message = told.try_recv().expect("a panic that was caught");
    assert_eq!(message, "no word about nobody");
    writeln!(std::io::stdout(), "survived a panic: {message}").expect("a stdout");
}
