use std::time::Duration;

use super::*;
use crate::machine::Restart;

/// A panic between the order to start and its answer left the program "starting" for ever, and
/// no stop ended. These are the books as such a panic leaves them.
#[test]
fn a_start_that_panicked_is_a_failed_start() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let (tell, told) = std::sync::mpsc::channel();
    let mut scheduler = ProcessScheduler::builder(dir.path())
        .err_dir(".")
        // Another may live in the process meanwhile.
        .reap(Reap::Own)
        .program(ChildSpec::new("web", ["true"]).restart(Restart::Never))
        .error_handler(move |_, report| {
            tell.send((report.return_code(), report.error())).ok();
        })
        .build()
        .expect("a scheduler");
    scheduler.start_all();
    let run = scheduler.core.next_start().expect("a start that is due");
    scheduler.launcher.panicked_while_starting(run);
    for _ in 0..100 {
        if scheduler
            .step(Some(Duration::from_millis(10)))
            .expect("a turn")
            == Status::Stopped
        {
            let (code, error) = told.recv().expect("a report");
            assert_eq!(code, 125);
            assert!(error.is_some_and(|error| error.contains("panicked")));
            return;
        }
    }
    panic!("it does not end: {:?}", scheduler.programs());
}
