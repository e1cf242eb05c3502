use procsched::{ChildSpec, ProcessScheduler};

fn main() -> Result<(), procsched::Error> {
    let mut scheduler = ProcessScheduler::builder(".")
        .program(ChildSpec::new("web", ["./web", "--port", "8000"]))
        .program(ChildSpec::new("worker", ["./worker"]))
        .err_dir("logs")
        .error_handler(|name, report| {
            // An end that was asked for, or a success, is no failure.
            if report.is_failure() {
                let last_words = report.text().unwrap_or_default();
                eprintln!("{name} died, code {}: {last_words}", report.return_code());
            }
        })
        .stop_on_signals([libc::SIGINT, libc::SIGTERM])
        .build()?;
    scheduler.start() // Returns once everything has stopped.
}
