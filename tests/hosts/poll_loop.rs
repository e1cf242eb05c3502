use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procsched::{ChildSpec, ProcessScheduler, Reap, Status};

/// Answers each datagram with the state of the programs.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    eprintln!("listening on {}", socket.local_addr()?);
    let mut scheduler = ProcessScheduler::builder(".")
        .program(ChildSpec::new("web", ["./web", "--port", "8000"]))
        .program(ChildSpec::new("worker", ["./worker"]))
        .err_dir("logs")
        .error_handler(|name, report| {
            if report.is_failure() {
                eprintln!("{name} died, code {}", report.return_code());
            }
        })
        .reap(Reap::Own) // The host may have children of its own.
        .stop_on_signals([libc::SIGINT, libc::SIGTERM])
        .build()?;
    loop {
        let mut waited = [
            PollFd::new(scheduler.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waited, timeout(scheduler.next_deadline())) {
            Ok(_) | Err(Errno::EINTR) => {} // A signal: SIGCHLD, most likely.
            Err(errno) => return Err(errno.into()),
        }
        if scheduler.step(Some(Duration::ZERO))? == Status::Stopped {
            return Ok(());
        }
        while let Ok((_, client)) = socket.recv_from(&mut [0; 64]) {
            for program in scheduler.programs() {
                let line = format!("{} {}\n", program.name(), program.state());
                let _ = socket.send_to(line.as_bytes(), client); // It may be gone.
            }
        }
    }
}

/// Rounds up: a wait that ended before the deadline would spin.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(at) = deadline else {
        return PollTimeout::NONE;
    };
    let time = at.saturating_duration_since(Instant::now());
    PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}
