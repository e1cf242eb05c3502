//! From the machine's changes to events and reports.

use std::time::Duration;

use crate::callbacks::Notice;
use crate::error::Error;
use crate::event::{EventKind, StopCause};
use crate::machine::state::{Goal, Why};
use crate::machine::{Cause, Change, Exit, Moment, Policy, ProgramId, Run, Shutdown, View};
use crate::os::clock;
use crate::os::tail::LastWords;
use crate::os::wake::Asked;
use crate::program::{ExitRecord, FailedStart};
use crate::report::{End, ErrorReport};
use crate::status::LastExit;

use super::super::signs::Phase;
use super::super::snapshot::{fault_text, gave_up_text, permanent_text};
use super::Core;

impl Core {
    pub(super) fn on_change(&mut self, now: Moment, run: Run, change: Change) {
        let id = run.program;
        // One that waits for others before its own stop may end by itself.
        let ends_in_stop = matches!(change, Change::Exited { cause, .. } if cause.is_stop());
        if change == Change::Killed || ends_in_stop {
            self.note_asked(id);
        }
        let live = self.programs.live(id);
        let pid = live.map_or(0, |live| live.pid());
        let is_killed = live.is_some_and(|live| live.killed_at().is_some());
        match change {
            Change::Started => {
                self.event(id, EventKind::Started { pid });
                self.programs[id].mark(&format_args!("started pid={pid}"));
                self.watchlist.note(run, Phase::Executed);
                if self.machine.is_up(id) {
                    self.watchlist.note(run, Phase::Up);
                }
            }
            Change::Up => {
                self.event(id, EventKind::Up);
                self.watchlist.note(run, Phase::Up);
            }
            Change::Removed => {
                self.programs.forget_name(id);
                self.forgotten.push(id);
            }
            Change::StartFailed { cause, retry_in } => {
                self.watchlist.note(run, Phase::Ended(cause));
                self.on_failed_start(run, cause, retry_in);
            }
            Change::Exited {
                exit,
                uptime,
                cause,
                retry_in,
            } => {
                self.watchlist.note(run, Phase::Ended(cause));
                self.on_exit(run, exit, uptime, cause, retry_in);
            }
            Change::Stopping { signal, timeout } => {
                self.note_asked(id);
                let cause = self.machine.view(id).map(|view| view.cause);
                let kind = EventKind::Stopping {
                    pid,
                    signal,
                    timeout,
                    cause: cause.unwrap_or(Cause::Exit),
                };
                self.event(id, kind);
            }
            // If the signal was refused, that was reported instead.
            Change::Killed if !is_killed => {}
            Change::Killed => self.event(id, EventKind::Killed { pid }),
            Change::Abandoned { cause } => {
                self.watchlist.note(run, Phase::Ended(cause));
                self.on_abandoned(now, run, cause);
            }
            Change::Impossible { state, fact } => {
                let text = format!("unexpected {fact:?} in {state:?}; please report this bug");
                self.warn(id, Error::new(format!("internal error: {text}")));
            }
        }
    }

    /// What left the group of a program ends with it if that was asked to end, also to start again.
    /// A shutdown ends everything.
    fn note_asked(&mut self, id: ProgramId) {
        let is_stop = |view: View| view.goal != Goal::Up || view.cause.is_stop();
        if !self.machine.is_stopping() && self.machine.view(id).is_some_and(is_stop) {
            self.asked.push(id);
        }
    }

    /// The report waits for the last bytes in the pipe.
    fn on_exit(
        &mut self,
        run: Run,
        exit: Exit,
        uptime: Duration,
        cause: Cause,
        retry_in: Option<Duration>,
    ) {
        let id = run.program;
        let mut report = self.report(run, End::Exited(exit));
        let Some(policy) = self.machine.policy(id) else {
            return;
        };
        let program = &mut self.programs[id];
        let stdout_tail = program.take_stdout();
        let Some(live) = &mut program.live else {
            return;
        };
        report.pid = Some(live.pid());
        report.uptime = uptime;
        report.retry_in = retry_in;
        report.stopping = cause.is_stop();
        report.cause = cause;
        let has_failed = has_failed(exit, cause, policy);
        report.is_failure = has_failed && !cause.is_stop();
        report.log_offset = live.log_offset;
        program.last_exit = Some(last_exit(&report));
        program.exit_record = Some(Box::new(ExitRecord {
            has_failed,
            // One that is being ended for such a fault was up.
            was_up: live.was_up || matches!(cause, Cause::Unhealthy | Cause::Watchdog),
            fault: fault_text(cause, policy),
            reason: reason(self.machine.view(id), report.return_code()),
            report,
            restart: policy.restart,
            tail: live.take_tail(),
            stdout_tail,
            lines: Vec::new(),
        }));
        self.outbox.exit(id);
        self.report_essential_end(id, true);
    }

    fn on_failed_start(&mut self, run: Run, cause: Cause, retry_in: Option<Duration>) {
        let view = self.machine.view(run.program);
        let stopping = cause.is_stop();
        let Some(FailedStart {
            return_code,
            error,
            log_offset,
        }) = self.failed_start.take()
        else {
            return;
        };
        self.programs[run.program]
            .stderr
            .log
            .remark(&format_args!("failed to start: {error}"));
        let end = End::NotStarted {
            return_code,
            error: error.clone(),
        };
        let report = ErrorReport {
            retry_in,
            stopping,
            is_failure: !stopping,
            cause,
            log_offset,
            ..self.report(run, end)
        };
        self.programs[run.program].last_exit = Some(last_exit(&report));
        let failed = EventKind::StartFailed {
            error,
            stopping,
            cause,
            reason: reason(view, return_code),
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
    fn on_abandoned(&mut self, now: Moment, run: Run, cause: Cause) {
        let Some(live) = &mut self.programs[run.program].live else {
            return;
        };
        let (pid, log_offset) = (live.pid(), live.log_offset);
        let uptime = match live.is_launching {
            true => Duration::ZERO,
            false => now.since(live.started_at),
        };
        let tail = (!live.leader_dead).then(|| live.take_tail());
        let in_shutdown = self.machine.shutdown();
        let is_early = in_shutdown.is_some_and(|all| all.abandon_at <= now);
        let when = match is_early {
            true => "at the end of shutdown_timeout",
            false => "5 s after SIGKILL",
        };
        let text = format!("abandoned: process group {pid} is not gone {when}");
        let end = End::Abandoned {
            error: Error::new(text),
        };
        let name = self.programs[run.program].name();
        if !self.abandoned.contains(name) {
            self.abandoned.push(name.clone());
        }
        self.event(run.program, EventKind::Abandoned { pid, is_early });
        if let Some(tail) = tail {
            let (stderr, data_omitted) = tail.into_words();
            let stdout = self.programs[run.program].take_stdout();
            let report = ErrorReport {
                stderr,
                stdout: stdout.map(|tail| Box::new(tail.into_words())),
                pid: Some(pid),
                uptime,
                stopping: cause.is_stop(),
                is_failure: !cause.is_stop(),
                cause,
                log_offset,
                data_omitted,
                ..self.report(run, end)
            };
            self.programs[run.program].last_exit = Some(last_exit(&report));
            self.outbox.notice(Notice::Report(report));
        }
    }

    /// Returns a report of this moment, without what depends on how the run has ended.
    fn report(&self, run: Run, end: End) -> ErrorReport {
        let program = &self.programs[run.program];
        ErrorReport {
            process: program.name().clone(),
            timestamp: clock::wall(),
            stderr: LastWords::default(),
            stdout: None,
            pid: None,
            uptime: Duration::ZERO,
            restarts: run.generation.saturating_sub(1),
            retry_in: None,
            end,
            stopping: false,
            is_failure: false,
            cause: Cause::Exit,
            log: program.stderr.log.path(),
            log_offset: 0,
            data_omitted: 0,
            log_rotated: program.stderr.log.rotations(),
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
        let return_code = program.last_exit.as_ref().map(|last| last.return_code);
        let cause = match return_code {
            Some(return_code) if was_started => StopCause::EssentialEnded {
                program: name,
                return_code,
                reason: program.exit_record.as_ref().and_then(|record| {
                    let reasons = [record.fault.as_deref(), record.reason.as_deref()];
                    let reasons: Vec<&str> = reasons.into_iter().flatten().collect();
                    (!reasons.is_empty()).then(|| reasons.join(", "))
                }),
            },
            _ => StopCause::EssentialNotStarted { program: name },
        };
        self.report_shutdown(Asked::Stop, cause);
    }

    /// Reports that the time of the shutdown is nearly over, and what is left is killed.
    pub(super) fn report_time_over(&mut self, now: Moment) {
        let shutdown = self.machine.shutdown();
        let shutdown = shutdown.filter(|all| all.kill_at <= now && !self.machine.is_settled());
        if let Some(&Shutdown { timeout, .. }) = shutdown {
            self.report_shutdown(Asked::Kill, StopCause::ShutdownTimeout { timeout });
        }
    }

    /// Reports that everything stops because no program runs and none will.
    pub(in super::super) fn report_if_all_ended(&mut self, now: Moment) {
        if self.machine.is_stopping() || !self.is_over() {
            return;
        }
        if !std::mem::replace(&mut self.has_ended, true) {
            let timeout = self.machine.shutdown_timeout();
            self.ended = timeout.map(|timeout| Shutdown::new(now, timeout));
        }
        if !self.programs.is_empty() {
            self.report_shutdown(Asked::Stop, StopCause::AllEnded);
        }
    }
}

/// Returns what the status of a program keeps of this report.
fn last_exit(report: &ErrorReport) -> Box<LastExit> {
    Box::new(LastExit {
        return_code: report.return_code(),
        core_dumped: report.core_dumped(),
        cause: report.cause,
        at: report.timestamp,
        uptime: report.uptime,
        error: report.error(),
        last_line: None,
    })
}

/// Returns why a program is not restarted, if its policy alone does not say it.
fn reason(view: Option<View>, return_code: i32) -> Option<String> {
    let view = view.filter(|view| view.goal != Goal::Up)?;
    match view.why {
        Why::Permanent => Some(permanent_text(return_code)),
        Why::GaveUp => Some(gave_up_text(view.restarts_in_row)),
        Why::New | Why::Stopped | Why::Exited | Why::Failed => None,
    }
}

/// True if an operator should look into this end. An end by the signal that it was asked with, or by
/// SIGKILL, is not a failure.
fn has_failed(exit: Exit, cause: Cause, policy: &Policy) -> bool {
    let is_expected = |signal: i32| signal == policy.stop_signal || signal == libc::SIGKILL;
    match exit {
        Exit::Signal { signal, .. } if cause.is_stop() => !is_expected(signal),
        exit => !policy.is_success(exit) || !(cause.is_stop() || cause == Cause::Exit),
    }
}
