//! From the machine's changes to events and reports.

use std::time::Duration;

use crate::callbacks::Notice;
use crate::error::Error;
use crate::event::{EventKind, StopCause};
use crate::machine::{Change, Exit, Moment, Policy, ProgramId, Run};
use crate::os::clock;
use crate::os::tail::LastWords;
use crate::os::wake::Asked;
use crate::program::{ExitRecord, FailedStart};
use crate::report::{End, ErrorReport};

use super::Core;

impl Core {
    pub(super) fn on_change(&mut self, now: Moment, run: Run, change: Change) {
        let id = run.program;
        let program = &mut self.programs[id];
        let live = program.live.as_ref();
        let pid = live.map_or(0, |live| live.pid());
        let is_killed = live.is_some_and(|live| live.killed_at().is_some());
        if !matches!(change, Change::Impossible { .. }) {
            program.changed_at = now;
        }
        match change {
            Change::Started => self.event(id, EventKind::Started { pid }),
            Change::StartFailed { retry_in } => self.on_failed_start(run, retry_in),
            Change::Exited {
                exit,
                uptime,
                asked,
                retry_in,
            } => self.on_exit(run, exit, uptime, asked, retry_in),
            Change::Stopping { signal, timeout } => {
                let kind = EventKind::Stopping {
                    pid,
                    signal,
                    timeout,
                };
                self.event(id, kind);
            }
            // If the signal was refused, that was reported instead.
            Change::Killed if !is_killed => {}
            Change::Killed => self.event(id, EventKind::Killed { pid }),
            Change::Abandoned => self.on_abandoned(now, run),
            Change::Impossible { state, fact } => {
                let text = format!("unexpected {fact:?} in {state:?}; please report this bug");
                self.warn(id, Error::new(format!("internal error: {text}")));
            }
        }
    }

    /// The report waits for the last bytes in the pipe.
    fn on_exit(
        &mut self,
        run: Run,
        exit: Exit,
        uptime: Duration,
        asked: bool,
        retry_in: Option<Duration>,
    ) {
        let id = run.program;
        let policy = self.machine.policy(id);
        let mut report = self.report(run, End::Exited(exit));
        let program = &mut self.programs[id];
        let Some(live) = &mut program.live else {
            return;
        };
        report.pid = Some(live.pid());
        report.uptime = uptime;
        report.retry_in = retry_in;
        report.stopping = asked;
        report.log_offset = live.log_offset;
        program.last_return_code = Some(report.return_code());
        program.exit_record = Some(Box::new(ExitRecord {
            report,
            has_failed: has_failed(exit, asked, policy),
            restart: policy.restart,
            tail: live.take_tail(),
        }));
        self.outbox.exit(id);
        self.report_essential_end(id, true);
    }

    fn on_failed_start(&mut self, run: Run, retry_in: Option<Duration>) {
        let is_cause = self.machine.essential_ended() == Some(run.program);
        let stopping = self.machine.is_stopping() && !is_cause;
        let program = &mut self.programs[run.program];
        let Some(failed) = program.failed_start.take() else {
            return;
        };
        let FailedStart {
            return_code,
            error,
            log_offset,
        } = *failed;
        program.log.remark(&format!("failed to start: {error}"));
        program.last_return_code = Some(return_code);
        let end = End::NotStarted {
            return_code,
            error: error.clone(),
        };
        let report = ErrorReport {
            retry_in,
            stopping,
            log_offset,
            ..self.report(run, end)
        };
        let failed = EventKind::StartFailed {
            error,
            stopping,
            retry_in,
        };
        self.event(run.program, failed);
        self.outbox.notice(Notice::Report(report));
        if let Some(delay) = retry_in {
            self.event(run.program, EventKind::Waiting { delay });
        }
        self.report_essential_end(run.program, false);
    }

    /// A run whose leader does not die is reported now: it never will be otherwise.
    fn on_abandoned(&mut self, now: Moment, run: Run) {
        let Some(live) = &mut self.programs[run.program].live else {
            return;
        };
        let (pid, log_offset) = (live.pid(), live.log_offset);
        let uptime = match live.is_launching {
            true => Duration::ZERO,
            false => now.since(live.started_at),
        };
        let tail = (!live.leader_dead).then(|| live.take_tail());
        let text = format!("abandoned: process group {pid} is not gone 5 s after SIGKILL");
        let end = End::Abandoned {
            error: Error::new(text),
        };
        if !self.abandoned.contains(&run.program) {
            self.abandoned.push(run.program);
        }
        self.event(run.program, EventKind::Abandoned { pid });
        if let Some(tail) = tail {
            let (stderr, data_omitted) = tail.into_words();
            self.outbox.notice(Notice::Report(ErrorReport {
                stderr,
                pid: Some(pid),
                uptime,
                stopping: self.machine.is_stopping(),
                log_offset,
                data_omitted,
                ..self.report(run, end)
            }));
        }
    }

    /// Returns a report of this moment, without what depends on how the run has ended.
    fn report(&self, run: Run, end: End) -> ErrorReport {
        let program = &self.programs[run.program];
        ErrorReport {
            process: program.name().clone(),
            timestamp: clock::wall(),
            stderr: LastWords::default(),
            pid: None,
            uptime: Duration::ZERO,
            restarts: run.generation.saturating_sub(1),
            retry_in: None,
            end,
            stopping: false,
            log: program.log.path(),
            log_offset: 0,
            data_omitted: 0,
        }
    }

    /// Reports why everything stops, or is killed, once.
    pub(super) fn report_shutdown(&mut self, asked: Asked, cause: StopCause) {
        if self.shutdown_reported >= Some(asked) {
            return;
        }
        self.shutdown_reported = Some(asked);
        self.outbox.own_event(match asked {
            Asked::Stop => EventKind::StoppingAll { cause },
            Asked::Kill => EventKind::KillingAll { cause },
        });
    }

    /// The end of this program may be why everything stops. Reported before what follows from it.
    fn report_essential_end(&mut self, id: ProgramId, was_started: bool) {
        if self.machine.essential_ended() != Some(id) {
            return;
        }
        let program = &self.programs[id];
        let name = program.name().to_string();
        let cause = match program.last_return_code {
            Some(return_code) if was_started => StopCause::EssentialEnded {
                program: name,
                return_code,
            },
            _ => StopCause::EssentialNotStarted { program: name },
        };
        self.report_shutdown(Asked::Stop, cause);
    }

    /// Reports that everything stops because no program runs and none will.
    pub(in super::super) fn report_if_all_ended(&mut self) {
        let is_by_itself = !self.machine.is_stopping() && !self.programs.is_empty();
        if is_by_itself && self.machine.is_settled() {
            self.report_shutdown(Asked::Stop, StopCause::AllEnded);
        }
    }
}

/// True if an operator should look into this end. An end by the signal that it was asked with, or by
/// SIGKILL, is not a failure.
fn has_failed(exit: Exit, asked: bool, policy: &Policy) -> bool {
    let is_expected = |signal: i32| signal == policy.stop_signal || signal == libc::SIGKILL;
    match exit {
        Exit::Signal { signal, .. } if asked => !is_expected(signal),
        exit => !exit.success(),
    }
}
