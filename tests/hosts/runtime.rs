use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use procsched::{ChildSpec, ProcessScheduler, Reap, Status};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (sender, mut deaths) = mpsc::unbounded_channel();
    let scheduler = ProcessScheduler::builder(".")
        .program(ChildSpec::new("web", ["./web", "--port", "8000"]))
        .program(ChildSpec::new("worker", ["./worker"]))
        .err_dir("logs")
        .error_handler(move |name, report| {
            if report.is_failure() {
                let _ = sender.send((name.to_owned(), report.return_code()));
            }
        })
        .reap(Reap::Own) // The children of `tokio::process` are not the scheduler's.
        .stop_on_signals([libc::SIGINT, libc::SIGTERM])
        .build()?;
    let supervision = tokio::spawn(supervise(scheduler));
    // The channel is closed when the scheduler is dropped.
    while let Some((name, code)) = deaths.recv().await {
        eprintln!("{name} died, code {code}");
    }
    supervision.await?
}

/// Takes a turn whenever the descriptor is readable, or the deadline has come.
async fn supervise(mut scheduler: ProcessScheduler) -> Result<()> {
    let descriptor = scheduler.as_fd().try_clone_to_owned()?;
    // SAFETY: it owns its descriptor, and nothing replaces that.
    let descriptor = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? };
    loop {
        tokio::select! {
            // Forgets the readiness before the turn, so that what comes meanwhile is not lost.
            ready = descriptor.readable() => ready?.clear_ready(),
            () = reached(scheduler.next_deadline()) => {}
        }
        if scheduler.step(Some(Duration::ZERO))? == Status::Stopped {
            return Ok(());
        }
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
