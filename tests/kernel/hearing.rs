//! Compares what the host is told with what the simulated kernel knows.

use super::books;
use super::driver::{Check, Driver, Told};
use super::world::{self, Kernel, Removal};
use crate::event::{Event, EventKind};
use crate::machine::Cause;
use crate::report::{ErrorReport, return_code};
use crate::spec::StdStream;

impl Driver {
    /// Takes in what was told, and looks whether it is true.
    pub fn hear(&mut self) -> Check {
        let told = std::mem::take(&mut *self.told.lock().expect("one thread"));
        for what in told {
            match what {
                Told::Report(report) => self.hear_report(&report)?,
                Told::Event(event) => self.hear_event(&event)?,
                Told::Line(line) => world::with(|kernel| kernel.is_relayed(&line))?,
                Told::Stray(pid) => world::with(|kernel| {
                    let first = (!kernel.strays.is_empty()).then(|| kernel.strays.remove(0));
                    if first == Some(pid) {
                        Ok(())
                    } else {
                        Err(format!(
                            "stray {pid} was reported, but {first:?} was expected"
                        ))
                    }
                })?,
            }
        }
        match world::with(|kernel| kernel.violation.take()) {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn hear_event(&mut self, event: &Event) -> Check {
        world::with(|kernel| {
            kernel.say(format_args!(
                "told      {} {:?}",
                event.program(),
                event.kind()
            ))
        });
        let index = self.index_told(event.program());
        if index.is_none() && !event.program().is_empty() {
            return Err(format!("no program has the name in {event:?}"));
        }
        match (event.kind(), index) {
            (EventKind::Removed, Some(index)) => {
                self.accounts[index].removed = true;
                self.its_log_ends(index);
                return world::with(|kernel| kernel.is_removed(index));
            }
            (EventKind::StoppingAll { .. } | EventKind::KillingAll { .. }, None) => {
                self.is_ending = true;
            }
            (EventKind::Started { pid }, Some(index)) => {
                world::with(|kernel| kernel.is_told_started(index, *pid));
            }
            (EventKind::Up, Some(index)) => {
                let name = event.program();
                return world::with(|kernel| kernel.is_told_up(index))
                    .map_err(|problem| format!("{name}: {problem}"));
            }
            (EventKind::BytesDropped { stream, bytes }, Some(index)) => {
                self.accounts[index].lost[*stream as usize] += bytes;
                world::with(|kernel| kernel.counts.dropped += 1);
            }
            (EventKind::HandlerPanicked { .. }, _) => {
                world::with(|kernel| kernel.counts.panics += 1)
            }
            (EventKind::Warning { error }, _) if error.to_string().contains("report this bug") => {
                return Err(error.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes where the log of a program ends that was removed just now.
    pub(super) fn its_log_ends(&mut self, index: usize) {
        let name = self.setting.specs[index].name();
        let ends = StdStream::ALL.map(|it| books::log_of(&self.directory, name, it).len());
        self.accounts[index].log_end.get_or_insert(ends);
    }

    /// The program that a report or an event with this name is about: the first of that name whose
    /// removal was not reported.
    fn index_told(&self, name: &str) -> Option<usize> {
        let mut all = self.setting.specs.iter().zip(&self.accounts);
        all.position(|(spec, account)| spec.name() == name && !account.removed)
    }

    /// One end for each start, in order, and true in every word.
    fn hear_report(&mut self, report: &ErrorReport) -> Check {
        let name = report.process();
        let index = self.index_told(name);
        let index = index.ok_or_else(|| format!("a report of {name}, which is not there"))?;
        let account = &mut self.accounts[index];
        if report.restarts() != account.reports {
            return Err(format!(
                "{name}: a report of start {} comes after {} reports",
                report.restarts() + 1,
                account.reports
            ));
        }
        account.reports += 1;
        world::with(|kernel| {
            kernel.say(format_args!(
                "report    {name} pid {:?} code {} stopping {} bytes {}+{} {:?}",
                report.pid(),
                report.return_code(),
                report.stopping(),
                report.data_omitted(),
                report.stderr().len(),
                report.error(),
            ));
            kernel.counts.reports += 1;
            kernel.counts.asked += u64::from(report.stopping());
            match report.pid() {
                None => check_failed_start(kernel, index, report),
                Some(pid) => check_end(kernel, index, pid, report),
            }
        })
        .map_err(|problem| format!("{name}, report {}: {problem}", report.restarts() + 1))
    }
}

fn check_failed_start(kernel: &mut Kernel, index: usize, report: &ErrorReport) -> Check {
    kernel.counts.failed += 1;
    if report.cause() != Cause::StartFailed {
        kernel.check_stop_cause(index, 0, report.cause())?;
    }
    check_stopping(report)?;
    let is_code = (125..=127).contains(&report.return_code());
    if is_code && report.error().is_some() && report.stderr().is_empty() {
        Ok(())
    } else {
        Err(format!(
            "a failed start with code {} and error {:?}",
            report.return_code(),
            report.error()
        ))
    }
}

fn check_end(kernel: &mut Kernel, index: usize, pid: i32, report: &ErrorReport) -> Check {
    let is_abandoned = report
        .error()
        .is_some_and(|error| error.starts_with("abandoned"));
    if is_abandoned && kernel.launch_is_abandoned(index, pid) {
        return Ok(());
    }
    let first = kernel.programs[index]
        .runs
        .iter()
        .find(|&&run| !kernel.runs[run].reported);
    let run = *first.ok_or("nothing has run that was not reported")?;
    kernel.runs[run].reported = true;
    let truth = &kernel.runs[run];
    if truth.pid != pid {
        return Err(format!("it tells of {pid}, and {} ran", truth.pid));
    }
    check_stopping(report)?;
    check_cause(kernel, run, report.cause())?;
    kernel.check_delay(run)?;
    let truth = &kernel.runs[run];
    kernel.counts.abandoned += u64::from(is_abandoned);
    match truth.exit {
        _ if is_abandoned || truth.stolen && report.return_code() == 125 => {}
        Some(exit) if return_code(exit) == report.return_code() => {}
        other => {
            return Err(format!(
                "code {}, and it ended with {other:?}",
                report.return_code()
            ));
        }
    }
    if !is_abandoned && !truth.reaped {
        return Err("it was not reaped".to_owned());
    }
    let total = report.data_omitted() + report.stderr().len() as u64;
    let read = kernel.read_of(run);
    let least = if is_abandoned || truth.stolen {
        0
    } else {
        truth.written_at_reap
    };
    if total < least || total > read {
        return Err(format!(
            "it has {total} bytes of the run's {least} to {read}"
        ));
    }
    let kept = report.stderr().len() as u64;
    let is_tail = (total - kept..)
        .zip(report.stderr())
        .all(|(at, &byte)| byte == kernel.byte_of(truth.pipe, at));
    if !is_tail || kept != total.min(truth.report_bytes as u64) {
        return Err(format!("its {kept} bytes are not the last of {total}"));
    }
    if !is_abandoned && !truth.stolen {
        kernel.check_given(run)?;
    }
    kernel.check_rotations(run, report.log_rotated())
}

fn check_stopping(report: &ErrorReport) -> Check {
    if report.stopping() == report.cause().is_stop() {
        return Ok(());
    }
    Err(format!(
        "its cause is {}, and stopping is {}",
        report.cause(),
        report.stopping()
    ))
}

/// One that ran when it was ordered to end ended by that; others may have been faster.
fn check_cause(kernel: &mut Kernel, index: usize, cause: Cause) -> Check {
    let run = &kernel.runs[index];
    let (program, begun, was_ordered) = (run.program, run.serial, run.was_ordered);
    if cause.is_stop() {
        kernel.counts.ordered += u64::from(was_ordered);
        return kernel.check_stop_cause(program, begun, cause);
    }
    if cause == Cause::Exit && !was_ordered {
        return Ok(());
    }
    let counts = &mut kernel.counts;
    match cause {
        Cause::StartTimeout => counts.unready += 1,
        Cause::Unhealthy => counts.unhealthy += 1,
        Cause::Watchdog => counts.silent += 1,
        _ => {}
    }
    if !was_ordered && kernel.may_have_fault(index, cause) {
        return Ok(());
    }
    Err(format!("its cause is {cause}, ordered: {was_ordered}"))
}

impl Kernel {
    /// Checks the cause that was reported for the end of a run that began then.
    fn check_stop_cause(&mut self, program: usize, begun: u64, cause: Cause) -> Check {
        let ends = &self.programs[program].ends;
        let mut own = ends.iter().filter(|(at, _)| at.serial > begun);
        let is_true = match cause {
            Cause::Shutdown => self.stop_asked.is_some(),
            Cause::Requirement => {
                self.counts.required += 1;
                self.requirement_lost(program, begun).is_some()
            }
            _ => own.any(|(_, told)| *told == cause),
        };
        if is_true {
            return Ok(());
        }
        Err(format!("it says that its end was asked for by {cause}"))
    }

    /// Takes in that a program was reported as removed: nothing of it may be left.
    fn is_removed(&mut self, index: usize) -> Check {
        let name = self.programs[index].name.clone();
        if self.programs[index].removal != Removal::Asked {
            return Err(format!(
                "{name} was reported as removed, but nobody had asked for that"
            ));
        }
        self.programs[index].removal = Removal::Told;
        self.counts.removed += 1;
        self.check_is_gone(index)
            .map_err(|problem| format!("{name} was removed, and {problem}"))
    }
}
