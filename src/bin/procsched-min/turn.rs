//! One turn of the loop. Here a panic of supervision is caught and reported; supervision continues.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use procsched::{ProcessScheduler, Result, Status, StdStream};

use crate::clock;
use crate::control::{DESCRIPTORS_MAX, Server};
use crate::messages::Level;
use crate::output::Outputs;
use crate::panics::guarded;
use crate::upward::Upward;

/// The pause after a turn that failed, so that it cannot spin.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// Takes one turn, which waits for at most `timeout`, for the clients of the control socket, for the
/// reader of an output that has lines queued, and until something is due for the manager.
pub fn turn(
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    mut control: Option<&mut Server>,
    upward: &Upward,
    timeout: Option<Duration>,
) -> Status {
    let due = upward.next_deadline().map(clock::until);
    let timeout = due.into_iter().chain(timeout).min();
    let mut wait = timeout;
    if control.is_some() || outputs.lock().is_pending() {
        wait_for_all(scheduler, outputs, control.as_deref_mut(), timeout);
        wait = Some(Duration::ZERO);
    }
    let step = || -> Result<Status> {
        let status = scheduler.step(wait)?;
        let changed = scheduler.take_changed();
        let mut is_watched = upward.is_on();
        if let Some(control) = control {
            control.serve(scheduler, &changed, status != Status::Running);
            is_watched |= control.is_followed();
        }
        scheduler.watch_changes(is_watched);
        upward.serve(scheduler, &changed);
        if status == Status::Stopped {
            upward.finish();
        }
        Ok(status)
    };
    let answer = guarded(step).and_then(|answer| answer.map_err(|error| error.to_string()));
    match answer {
        Ok(status) => {
            let mut outputs = outputs.lock();
            outputs.pump();
            for stream in [StdStream::Stdout, StdStream::Stderr] {
                scheduler.hold_output(stream, outputs.holds_programs(stream));
            }
            status
        }
        Err(problem) => {
            outputs.lock().say_own(Level::Error, "warning", &problem);
            clock::pause(FAILED_PAUSE);
            Status::Running
        }
    }
}

/// Waits until the scheduler, a client or an output has something to do.
fn wait_for_all(
    scheduler: &ProcessScheduler,
    outputs: &Outputs,
    control: Option<&mut Server>,
    timeout: Option<Duration>,
) {
    let deadlines = [
        scheduler.next_deadline(),
        control.as_ref().and_then(|control| control.next_deadline()),
    ];
    let times = deadlines.into_iter().flatten().map(clock::until);
    let time = times.chain(timeout).min();
    let mut descriptors = Vec::with_capacity(DESCRIPTORS_MAX + 3);
    descriptors.push(PollFd::new(scheduler.as_fd(), PollFlags::POLLIN));
    if let Some(control) = &control {
        control.wait_for(&mut descriptors);
    }
    let controls = 1..descriptors.len();
    let mut ready = [PollFlags::empty(); DESCRIPTORS_MAX];
    let outputs = outputs.lock();
    outputs.wait(&mut descriptors, time);
    for (ready, descriptor) in ready.iter_mut().zip(&descriptors[controls.clone()]) {
        *ready = descriptor.revents().unwrap_or(PollFlags::empty());
    }
    drop(descriptors);
    if let Some(control) = control {
        control.on_ready(ready.into_iter().take(controls.len()));
    }
}

/// Does something between two turns. Its panic is reported, and supervision continues.
pub fn protect(outputs: &Outputs, act: impl FnOnce()) {
    if let Err(problem) = guarded(act) {
        outputs.lock().say_own(Level::Error, "warning", &problem);
    }
}
