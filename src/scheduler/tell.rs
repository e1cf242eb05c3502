//! News: from the machine's changes to events and reports, and from there to the host.

use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::News;
use crate::error::Error;
use crate::event::{Event, EventKind, StopCause};
use crate::machine::{Change, Exit, Moment, Policy, ProgramId, Run};
use crate::os::pages::trim_memory;
use crate::os::tail::LastWords;
use crate::os::wake::Asked;
use crate::os::{clock, reserve};
use crate::program::{Ending, FailedStart, Live};
use crate::report::{End, ErrorReport, return_code};

use super::{Item, Owner, ProcessScheduler};
use crate::error_command::Said;

/// How long after a word about memory there is no other.
const TELL_OF_MEMORY: Duration = Duration::from_secs(60);

impl ProcessScheduler {
    /// Queues what the machine wants the host to know.
    pub(super) fn note(&mut self, now: Moment, run: Run, change: Change) {
        let id = run.program;
        let pid = self.program(id).live.as_ref().map_or(0, |live| live.pid());
        if !matches!(change, Change::Impossible { .. }) {
            self.program_mut(id).changed_at = now;
        }
        match change {
            Change::Started => self.event(id, EventKind::Started { pid }),
            Change::StartFailed { retry_in } => self.note_failed_start(run, retry_in),
            Change::Exited {
                exit,
                uptime,
                asked,
                retry_in,
            } => {
                let program = &mut self.programs[id.0 as usize];
                let log = program.log_path(&self.err_dir);
                let Some(live) = &mut program.live else {
                    return;
                };
                program.last_return_code = Some(return_code(exit));
                live.leaving().retry_in = retry_in;
                program.ending = Some(Box::new(Ending {
                    at: clock::wall(),
                    pid,
                    exit,
                    uptime,
                    asked,
                    retry_in,
                    restarts: run.generation.saturating_sub(1),
                    log,
                    log_offset: live.log_offset,
                    tail: live.take_tail(),
                }));
                self.news.push_back(Item::Ending(id));
                self.say_essential_end(id, true);
            }
            Change::Stopping { signal, timeout } => {
                self.event(
                    id,
                    EventKind::Stopping {
                        pid,
                        signal,
                        timeout,
                    },
                );
            }
            // A refusal has been told instead.
            Change::Killed if !self.is_kill_sent(id) => {}
            Change::Killed => self.event(id, EventKind::Killed { pid }),
            Change::Abandoned => self.note_abandoned(now, run),
            Change::Impossible { state, fact } => {
                let error = Error::new(format!(
                    "internal error: unexpected {fact:?} in {state:?}; please report this bug"
                ));
                self.event(id, EventKind::Warning { error });
            }
        }
    }

    fn note_failed_start(&mut self, run: Run, retry_in: Option<Duration>) {
        let is_cause = self.machine.essential_ended() == Some(run.program);
        let stopping = self.machine.is_stopping() && !is_cause;
        let program = &mut self.programs[run.program.0 as usize];
        let Some(failed) = program.failed_start.take() else {
            return;
        };
        let FailedStart {
            return_code,
            error,
            log_offset,
        } = *failed;
        let (log, place) = program.log(&self.err_dir);
        log.remark(place, &format!("failed to start: {error}"));
        log.rest();
        program.last_return_code = Some(return_code);
        let report = ErrorReport {
            process: program.name().into(),
            timestamp: clock::wall(),
            stderr: LastWords::default(),
            pid: None,
            uptime: Duration::ZERO,
            restarts: run.generation.saturating_sub(1),
            retry_in,
            end: End::NotStarted {
                return_code,
                error: error.clone(),
            },
            stopping,
            log: program.log_path(&self.err_dir),
            log_offset,
            data_omitted: 0,
        };
        let failed = EventKind::StartFailed {
            error,
            stopping,
            retry_in,
        };
        self.event(run.program, failed);
        self.news.push_back(Item::News(News::Report(report)));
        self.note_waiting(run.program, retry_in);
        self.say_essential_end(run.program, false);
    }

    /// Whether a SIGKILL to the group of this program was accepted.
    fn is_kill_sent(&self, id: ProgramId) -> bool {
        self.program(id).live.as_ref().is_some_and(Live::is_killed)
    }

    /// Queues why everything stops, or is killed: what was said is not said again.
    pub(super) fn say_why(&mut self, asked: Asked, cause: StopCause) {
        if self.shutdown_said >= Some(asked) {
            return;
        }
        self.shutdown_said = Some(asked);
        self.own_event(match asked {
            Asked::Stop => EventKind::StoppingAll { cause },
            Asked::Kill => EventKind::KillingAll { cause },
        });
    }

    /// The end of this program may be why everything stops. Said before what follows from that.
    fn say_essential_end(&mut self, id: ProgramId, was_started: bool) {
        if self.machine.essential_ended() != Some(id) {
            return;
        }
        let program = self.program(id);
        let name = program.name().to_owned();
        let cause = match program.last_return_code {
            Some(return_code) if was_started => StopCause::EssentialEnded {
                program: name,
                return_code,
            },
            _ => StopCause::EssentialNotStarted { program: name },
        };
        self.say_why(Asked::Stop, cause);
    }

    /// Says that everything stops because nothing runs and nothing will.
    pub(super) fn say_if_all_ended(&mut self) {
        let is_by_itself = !self.machine.is_stopping() && !self.programs.is_empty();
        if is_by_itself && self.machine.is_settled() {
            self.say_why(Asked::Stop, StopCause::AllEnded);
        }
    }

    /// A run whose first process would not die is reported now, as it never will be otherwise.
    fn note_abandoned(&mut self, now: Moment, run: Run) {
        let machine_view = self.machine.view(run.program);
        let stopping = self.machine.is_stopping();
        let program = &mut self.programs[run.program.0 as usize];
        let (process, log) = (program.name().into(), program.log_path(&self.err_dir));
        let Some(live) = &mut program.live else {
            return;
        };
        let pid = live.pid();
        let text = format!("abandoned: process group {pid} is not gone 5 s after SIGKILL");
        let report = (!live.leader_dead).then(|| {
            let (stderr, data_omitted) = live.take_tail().into_words();
            ErrorReport {
                process,
                timestamp: clock::wall(),
                stderr,
                pid: Some(pid),
                uptime: if live.is_launching {
                    Duration::ZERO
                } else {
                    now.since(live.started_at)
                },
                restarts: machine_view.starts.saturating_sub(1),
                retry_in: None,
                end: End::Abandoned {
                    error: Error::new(text),
                },
                stopping,
                log,
                log_offset: live.log_offset,
                data_omitted,
            }
        });
        if !self.abandoned.contains(&run.program) {
            self.abandoned.push(run.program);
        }
        self.event(run.program, EventKind::Abandoned { pid });
        self.news
            .extend(report.map(|report| Item::News(News::Report(report))));
    }

    fn note_waiting(&mut self, id: ProgramId, retry_in: Option<Duration>) {
        if let Some(delay) = retry_in {
            self.event(id, EventKind::Waiting { delay });
        }
    }

    /// Queues an event of this moment.
    pub(super) fn event(&mut self, id: ProgramId, kind: EventKind) {
        let program = self.program(id).name().into();
        self.news.push_back(Item::News(News::Event(Event {
            program,
            at: clock::wall(),
            kind,
        })));
    }

    /// Queues an event of this moment that is about no program.
    pub(super) fn own_event(&mut self, kind: EventKind) {
        self.news.push_back(Item::News(News::Event(Event {
            program: Arc::from(""),
            at: clock::wall(),
            kind,
        })));
    }

    /// What the system refuses to starts is no program's fault.
    pub(super) fn warn_of_the_spawner(&mut self) {
        if let Some(error) = self.spawner.take_warning() {
            self.own_event(EventKind::Warning { error });
        }
    }

    /// Says that memory was short, a minute after it was said last at the earliest.
    pub(super) fn warn_of_memory(&mut self) {
        if !reserve::is_shortage_noted() {
            return;
        }
        let now = self.clock.now();
        let is_early = |at: Moment| now < at.after(TELL_OF_MEMORY);
        if self.memory_told.is_some_and(is_early) {
            return;
        }
        reserve::forget_shortage();
        self.memory_told = Some(now);
        let text = "memory is short: where reports lack last words, they count them; more is \
                    allowed by RLIMIT_AS, RLIMIT_DATA or the system's overcommitment";
        self.own_event(EventKind::Warning {
            error: Error::new(text),
        });
    }

    /// Calls the host's closures with all that is queued, what they cause meanwhile too.
    pub(super) fn tell_the_host(&mut self) {
        while let Some(item) = self.news.pop_front() {
            match item {
                Item::News(News::Report(report)) => self.tell_report(report),
                Item::News(news) => self.callbacks.tell(&news),
                Item::Ending(id) => self.tell_ending(id),
            }
        }
    }

    fn tell_ending(&mut self, id: ProgramId) {
        let policy = *self.machine.policy(id);
        let program = self.program_mut(id);
        let Some(ending) = program.ending.take() else {
            return;
        };
        let name: Arc<str> = program.name().into();
        let core_dumped = matches!(
            ending.exit,
            Exit::Signal {
                core_dumped: true,
                ..
            }
        );
        let event = |kind| {
            News::Event(Event {
                program: name.clone(),
                at: ending.at,
                kind,
            })
        };
        let (stderr, data_omitted) = ending.tail.into_words();
        let last_line = has_failed(ending.exit, ending.asked, &policy).then(|| stderr.last_line());
        let exited = event(EventKind::Exited {
            pid: ending.pid,
            return_code: return_code(ending.exit),
            core_dumped,
            uptime: ending.uptime,
            stopping: ending.asked,
            retry_in: ending.retry_in,
            restart: policy.restart,
            last_line: last_line.flatten(),
        });
        let waiting = ending
            .retry_in
            .map(|delay| event(EventKind::Waiting { delay }));
        let report = ErrorReport {
            process: name.clone(),
            timestamp: ending.at,
            stderr,
            pid: Some(ending.pid),
            uptime: ending.uptime,
            restarts: ending.restarts,
            retry_in: ending.retry_in,
            end: End::Exited(ending.exit),
            stopping: ending.asked,
            log: ending.log,
            log_offset: ending.log_offset,
            data_omitted,
        };
        self.callbacks.tell(&exited);
        self.tell_report(report);
        if let Some(waiting) = waiting {
            self.callbacks.tell(&waiting);
        }
    }

    fn tell_report(&mut self, report: ErrorReport) {
        #[cfg(feature = "json")]
        if let Some(command) = &mut self.error_command {
            command.push(&report);
        }
        self.callbacks.tell(&News::Report(report));
    }

    /// Gives the error command its turn.
    pub(super) fn run_error_command(&mut self) {
        let now = self.clock.now();
        let Some(command) = &mut self.error_command else {
            return;
        };
        let mut said = Vec::new();
        let say = |word| said.push(word);
        command.turn(now, &mut self.spawner, &self.null, self.limit, say);
        if command.take_relief() && self.trims_memory {
            trim_memory();
        }
        self.note_said(said);
    }

    /// Looks at the error commands that have not been executed yet.
    pub(super) fn look_at_late_commands(&mut self) {
        let Some(command) = &mut self.error_command else {
            return;
        };
        let mut said = Vec::new();
        for pid in command.look_at_late(&mut self.spawner, |word| said.push(word)) {
            self.owners.remove(&pid);
        }
        self.note_said(said);
    }

    pub(super) fn note_said(&mut self, said: Vec<Said>) {
        for word in said {
            match word {
                Said::Started(pid) => {
                    self.owners.insert(pid, Owner::ErrorCommand);
                }
                Said::Trouble(program, error) => {
                    let kind = EventKind::Warning { error };
                    self.news.push_back(Item::News(News::Event(Event {
                        program,
                        at: clock::wall(),
                        kind,
                    })));
                }
            }
        }
    }
}

/// Whether an end is one that somebody should look into. What ends by the signal that it was
/// asked with, or by SIGKILL, has not failed.
fn has_failed(exit: Exit, asked: bool, policy: &Policy) -> bool {
    let is_answer = |signal: i32| signal == policy.stop_signal || signal == libc::SIGKILL;
    match exit {
        Exit::Signal { signal, .. } if asked => !is_answer(signal),
        exit => !exit.success(),
    }
}
