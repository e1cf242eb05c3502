//! The end of a life: everything works again, and every wish must come true. Then nothing may be
//! left of what was.

use super::books;
use super::driver::{Check, Driver, descriptors};
use super::world::{self, Kernel, LATE_MAX, Parent, Process, Time, Whose};
use crate::machine::Restart;
use crate::scheduler::Status;
use crate::status::ProgramState;

const SECOND: Time = 1_000_000_000;
const TURNS_MAX: usize = 5_000;

impl Driver {
    pub fn end_fairly(&mut self) -> Check {
        if self.status == Status::Running {
            world::with(Kernel::become_fair);
        }
        if self.status == Status::Running && world::with(|kernel| kernel.stop_asked.is_none()) {
            world::with(Kernel::send_others_home);
            self.wishes_come_true()?;
        }
        self.stop_comes_true()?;
        self.nothing_is_left()?;
        self.books_are_right()
    }

    fn fair_turn(&mut self) -> Check {
        if self.setting.own_loop {
            return self.turn();
        }
        self.take_turn(None)
    }

    /// Whoever is to be restarted, always, runs.
    fn wishes_come_true(&mut self) -> Check {
        for _ in 0..TURNS_MAX {
            self.fair_turn()?;
            if world::with(|kernel| kernel.stop_asked.is_some()) || self.status == Status::Stopped {
                return Ok(());
            }
            let late = self.late();
            if late.is_empty() {
                world::with(|kernel| kernel.counts.wishes += 1);
                return Ok(());
            }
            if world::with(|kernel| std::mem::take(&mut kernel.stuck)) {
                return Err(format!(
                    "it waits for ever, although these are to run: {late:?}"
                ));
            }
        }
        Err(format!(
            "after {TURNS_MAX} turns these do not run: {:?}, among {}",
            self.late(),
            world::with(|kernel| kernel.describe())
        ))
    }

    fn late(&self) -> Vec<(String, ProgramState)> {
        let programs = self.scheduler.programs();
        let all = self.setting.specs.iter().zip(&programs);
        let late = all.filter(|(spec, program)| match program.state() {
            ProgramState::Running => false,
            ProgramState::Stopped | ProgramState::Exited | ProgramState::Failed => {
                spec.restart_policy() == Restart::Always
            }
            _ => true,
        });
        late.map(|(spec, program)| (spec.name().to_owned(), program.state()))
            .collect()
    }

    fn stop_comes_true(&mut self) -> Check {
        if world::with(|kernel| kernel.stop_asked.is_none()) && self.status == Status::Running {
            self.scheduler.stop();
            world::with(|kernel| kernel.stop_asked = Some(kernel.now));
        }
        world::with(|kernel| kernel.stuck = false);
        for _ in 0..TURNS_MAX {
            if self.status == Status::Stopped {
                return self.end_is_in_time();
            }
            self.fair_turn()?;
            if world::with(|kernel| std::mem::take(&mut kernel.stuck))
                && self.status == Status::Running
            {
                return Err("it was stopped, and waits for ever".to_owned());
            }
        }
        Err(format!(
            "after {TURNS_MAX} turns it has not stopped: {:?}",
            self.scheduler.programs()
        ))
    }

    /// Within the longest grace and what comes after it.
    fn end_is_in_time(&mut self) -> Check {
        let timeouts = self
            .setting
            .specs
            .iter()
            .map(|spec| spec.policy().stop_timeout);
        let grace = timeouts.max().unwrap_or_default().as_nanos() as u64;
        // Five seconds after the last program and one for its own end; a zombie in other hands
        // is waited for a second.
        let command = if self.setting.error_command { 6 } else { 0 };
        let zombies = if self.setting.subreaper { 0 } else { 1 };
        let frozen = if self.setting.subreaper { 10 } else { 5 };
        world::with(|kernel| {
            // Who cannot die is waited for, and so are those whom only then a subreaper gets, and
            // those who may be there for all that can be seen.
            let given_up = match (kernel.was_doomed, kernel.sight.failed_at_the_end) {
                (true, _) => frozen,
                (false, true) => 5,
                (false, false) => 0,
            };
            let bound = grace + (command + zombies + given_up) * SECOND + LATE_MAX;
            kernel.counts.ends += 1;
            let took = kernel.now - kernel.stop_asked.unwrap_or(kernel.now);
            if took > bound {
                return Err(format!("the stop took {took} ns, and may take {bound}"));
            }
            Ok(())
        })
    }

    /// No process of a group, no zombie, and with a subreaper no child at all.
    fn nothing_is_left(&mut self) -> Check {
        let is_abandoned = self.scheduler.is_abandoned();
        // Without `/proc` nothing tells who has come home, and they are left alone.
        let subreaper = self.setting.subreaper && !world::with(|kernel| kernel.weather.no_proc);
        world::with(|kernel| {
            let is_left = |pid: i32, process: &Process| match process.whose {
                Whose::Inherited | Whose::Stranger => false,
                // It cannot die, and that was said.
                _ if is_abandoned && process.lives() && process.doomed.is_some() => false,
                Whose::Run(_) if process.lives() && !process.left => true,
                Whose::Run(run) if kernel.runs[run].pid == pid && !process.lives() => {
                    process.parent == Parent::Us
                }
                // One that has failed, which may have been the last thing, is about to end.
                Whose::New(Some(_)) => kernel.is_launching(process.serial),
                // One that has just died is found by whoever waits next.
                Whose::Host if !process.lives() => false,
                // One that cannot die is waited for a second, and was named when it was killed.
                Whose::Command | Whose::New(None) if process.doomed.is_some() => false,
                Whose::New(None) if !kernel.is_launching(process.serial) => false,
                _ => subreaper && process.parent == Parent::Us,
            };
            let left = kernel.processes.iter();
            let left = left.filter(|(pid, process)| is_left(**pid, process));
            let left: Vec<_> = left
                .map(|(pid, process)| (pid, process.whose, process.ended))
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("stopped, and these are left: {left:?}"))
            }
        })
    }

    /// Every start was reported, every byte is somewhere, every descriptor was given back.
    fn books_are_right(&mut self) -> Check {
        self.hear()?;
        world::with(|kernel| {
            if let Some(run) = kernel.runs.iter().find(|run| !run.reported) {
                return Err(format!("{run:?} was never reported"));
            }
            kernel.check_late_reports()?;
            if !kernel.strays.is_empty() {
                return Err(format!(
                    "strays were reaped and not told: {:?}",
                    kernel.strays
                ));
            }
            for (index, account) in self.accounts.iter().enumerate() {
                let program = &kernel.programs[index];
                let log = books::log_of(&self.directory, &program.name);
                books::check(program, &log, account.lost)?;
            }
            kernel.check_pipes()
        })
    }
}

/// When the scheduler is gone, so is all that it had open.
pub fn all_is_given_back(driver: Driver) -> Check {
    let before = driver.descriptors_before;
    world::with(|kernel| kernel.handle = None);
    drop(driver);
    let after = descriptors();
    if after == before {
        Ok(())
    } else {
        Err(format!(
            "{after} descriptors are open after all, and {before} were before"
        ))
    }
}
