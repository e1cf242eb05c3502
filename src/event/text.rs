//! An event as one line of text: a verb, `key=value` pairs, and free text last. Text from elsewhere
//! is escaped, so that a terminal obeys nothing in it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{Event, EventKind, SignalSender, StopCause};
use crate::machine::Restart;
use crate::signal::{exit_label, signal_name};
use crate::text::{duration, escaped};

/// The program, if it concerns one, and what happened: `web exited pid=4711 code=3 uptime=1.2s
/// retry_in=2s last="no database"`. Without the time, and without a line feed.
///
/// ```
/// # use procsched::{ChildSpec, EventKind, ProcessScheduler, Restart, Status};
/// # fn main() -> procsched::Result<()> {
/// # let logs = tempfile::tempdir().unwrap();
/// let once = ChildSpec::new("once", ["true"]).restart(Restart::Never);
/// let mut scheduler = ProcessScheduler::builder("/")
///     .program(once)
///     .err_dir(logs.path())
///     .on_event(|event| match event.kind() {
///         EventKind::Exited { .. } => assert!(event.to_string().starts_with("once exited pid=")),
///         _ => eprintln!("{event}"),
///     })
///     .build()?;
/// while scheduler.step(None)? == Status::Running {}
/// # Ok(())
/// # }
/// ```
impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.program.is_empty() {
            write!(f, "{} ", escaped(&self.program))?;
        }
        self.kind.fmt(f)
    }
}

/// What happened: the verb is the first word.
impl Display for EventKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { pid } => write!(f, "started pid={pid}"),
            Self::StartFailed {
                error,
                stopping,
                reason,
                retry_in,
                ..
            } => {
                let error = error.to_string();
                let error = escaped(&error);
                // A policy that retries after a failed run retries after a failed start, too.
                let next = next_start(*retry_in, Restart::Never, reason.as_deref());
                match stopping {
                    true => write!(f, "cancelled {error}"),
                    false => write!(f, "failed {next} error: {error}"),
                }
            }
            Self::Exited { .. } => write_exit(f, self),
            Self::Up => f.write_str("up"),
            Self::Refused { error } => write_free(f, "refused", error),
            Self::Removed => f.write_str("removed"),
            Self::Waiting { delay } => write!(f, "backoff delay={}", duration(*delay)),
            Self::Stopping {
                pid,
                signal,
                timeout,
                cause,
            } => {
                let (signal, timeout) = (signal_name(*signal), duration(*timeout));
                write!(f, "stopping pid={pid} signal={signal} timeout={timeout}")?;
                // Why it is stopped that was not asked to be.
                if cause.is_stop() {
                    return Ok(());
                }
                write!(f, " cause={cause}")
            }
            Self::Killed { pid } => write!(f, "killed pid={pid} signal=SIGKILL"),
            // It may be dead, and held by a tracer.
            Self::Abandoned { pid, is_early } => {
                let when = match is_early {
                    true => "at the end of shutdown_timeout",
                    false => "5 s after SIGKILL",
                };
                write!(f, "abandoned pid={pid} still exists {when}")
            }
            Self::StoppingAll { cause } => write!(f, "stopping everything: {cause}"),
            Self::KillingAll { cause } => write!(f, "killing everything: {cause}"),
            Self::OrphanSignalled { pid, signal } => write_orphan(f, *pid, *signal),
            Self::BytesDropped { stream, bytes } => {
                write!(
                    f,
                    "dropped bytes={bytes} of its {stream} are not in its log"
                )
            }
            Self::HandlerPanicked { message } => {
                write!(f, "warning a handler panicked: {}", escaped(message))
            }
            Self::Warning { error } => write_free(f, "warning", error),
        }
    }
}

/// Why everything is stopped: `SIGTERM from pid 812 uid 0`.
impl Display for StopCause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal { signal, sender } => {
                let sender = sender_of(*signal, *sender, std::process::id() == 1);
                write!(f, "{}{sender}", signal_name(*signal))
            }
            Self::Host => f.write_str("as ordered"),
            Self::EssentialEnded {
                program,
                return_code,
                reason,
            } => {
                let (key, value) = exit_label(*return_code);
                write!(f, "essential program {program} ended with {key} {value}")?;
                match reason {
                    Some(reason) => write!(f, ": {reason}"),
                    None => Ok(()),
                }
            }
            Self::EssentialNotStarted { program } => {
                write!(f, "essential program {program} could not be started")
            }
            Self::AllEnded => f.write_str("every program has ended for good"),
            Self::ShutdownTimeout { timeout } => {
                let timeout = duration(*timeout);
                write!(f, "shutdown_timeout={timeout} is nearly over")
            }
        }
    }
}

fn write_free(f: &mut Formatter<'_>, verb: &str, what: &impl Display) -> fmt::Result {
    write!(f, "{verb} {}", escaped(&what.to_string()))
}

/// Says nothing of a next start after an exit during a stop, as none is expected.
fn write_exit(f: &mut Formatter<'_>, exit: &EventKind) -> fmt::Result {
    let EventKind::Exited {
        pid,
        return_code,
        core_dumped,
        uptime,
        stopping,
        retry_in,
        restart,
        reason,
        last_line,
        ..
    } = exit
    else {
        return Ok(());
    };
    let (key, value) = exit_label(*return_code);
    let uptime = duration(*uptime);
    write!(f, "exited pid={pid} {key}={value} uptime={uptime}")?;
    if *core_dumped {
        f.write_str(" core_dumped=yes")?;
    }
    if !stopping {
        let next = next_start(*retry_in, *restart, reason.as_deref());
        write!(f, " {next}")?;
    }
    match last_line {
        Some(line) => write!(f, " last={line:?}"),
        None => Ok(()),
    }
}

fn write_orphan(f: &mut Formatter<'_>, pid: i32, signal: i32) -> fmt::Result {
    let verb = match signal {
        libc::SIGKILL => "killed",
        _ => "stopping",
    };
    write!(f, "{verb} signal={} ", signal_name(signal))?;
    match pid {
        ..1 => f.write_str("sent to every process that is left"),
        pid => write!(f, "pid={pid} had left its group"),
    }
}

/// Names the sender of a signal. The kernel sends PID 1 more than a terminal's signals:
/// Ctrl-Alt-Del is a SIGINT as well.
fn sender_of(signal: i32, sender: SignalSender, is_first_process: bool) -> String {
    let is_of_terminal = [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP].contains(&signal);
    match sender {
        SignalSender::Process { pid: 0, uid, .. } => {
            format!(" from outside of this PID namespace, uid {uid}")
        }
        SignalSender::Process { pid, uid, .. } => format!(" from pid {pid} uid {uid}"),
        SignalSender::Kernel if is_of_terminal && !is_first_process => {
            " from the terminal".to_owned()
        }
        SignalSender::Kernel => " from the kernel".to_owned(),
        _ => String::new(),
    }
}

/// Returns the delay of the next start, or why there is none.
fn next_start(retry_in: Option<Duration>, restart: Restart, reason: Option<&str>) -> String {
    if let (None, Some(reason)) = (retry_in, reason) {
        return format!("not restarted: {reason}");
    }
    match (retry_in, restart) {
        (Some(delay), _) => format!("retry_in={}", duration(delay)),
        (None, Restart::OnFailure) => "not restarted: it succeeded".to_owned(),
        (None, Restart::Never | Restart::Always) => "restart=never".to_owned(),
    }
}

#[cfg(test)]
mod tests;
