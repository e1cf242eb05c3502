//! The end of a life: everything works again, and every wish must come true. Then nothing may be
//! left of what was.

use std::collections::BTreeMap;

use super::books;
use super::driver::{Check, Driver, descriptors};
use super::world::{
    self, Kernel, LATE_MAX, Parent, Process, Program, Removal, Time, Whose, Wish, rotated,
};
use crate::machine::ProgramState;
use crate::scheduler::Status;
use crate::spec::{ChildSpec, StdStream};
use crate::status::ProgramStatus;

const SECOND: Time = 1_000_000_000;
const TURNS_MAX: usize = 5_000;

impl Driver {
    pub fn end_fairly(&mut self) -> Check {
        if self.status == Status::Running {
            world::with(Kernel::become_fair);
            self.hold_output(None);
        }
        if self.status == Status::Running && world::with(|kernel| kernel.stop_asked.is_none()) {
            world::with(Kernel::send_others_home);
            self.wishes_come_true()?;
        }
        self.own_end_is_right()?;
        self.stop_comes_true()?;
        self.takes_no_orders_any_more()?;
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
        // Checks of programs take turns of their own.
        let turns_max = match self.setting.has_signs {
            true => 4 * TURNS_MAX,
            false => TURNS_MAX,
        };
        for _ in 0..turns_max {
            self.fair_turn()?;
            if world::with(|kernel| kernel.stop_asked.is_some()) || self.status == Status::Stopped {
                return Ok(());
            }
            let late = self.late();
            if late.is_empty() && !self.is_to_end() {
                self.count_wishes();
                return self.definitions_came_true();
            }
            if world::with(|kernel| std::mem::take(&mut kernel.stuck)) {
                return Err(format!(
                    "it waits for ever, although these are to run: {late:?}"
                ));
            }
        }
        Err(format!(
            "after {turns_max} turns these do not run: {:?}, among {}",
            self.late(),
            world::with(|kernel| kernel.describe())
        ))
    }

    /// The programs that are not what they are to be in the end.
    fn late(&self) -> Vec<(String, ProgramState)> {
        let programs = self.scheduler.programs();
        let find = |name: &str| programs.iter().find(|program| program.name() == name);
        let is_up = |index: &usize| {
            let state = find(self.setting.specs[*index].name()).map(ProgramStatus::state);
            match world::with(|kernel| kernel.programs[*index].is_oneshot()) {
                true => state == Some(ProgramState::Exited),
                false => state == Some(ProgramState::Running),
            }
        };
        let mut late = Vec::new();
        for index in self.there() {
            let name = self.setting.specs[index].name();
            let Some(state) = find(name).map(ProgramStatus::state) else {
                continue;
            };
            let required = world::with(|kernel| kernel.programs[index].requires.clone());
            let is_held = state == ProgramState::Pending && !required.iter().all(is_up);
            let is_right = is_held
                || world::with(|kernel| {
                    let program = &kernel.programs[index];
                    program.removal == Removal::No && is_right(program, state)
                });
            if !is_right {
                late.push((name.to_owned(), state));
            }
        }
        late
    }

    fn count_wishes(&self) {
        let programs = self.scheduler.programs();
        let number = |state| {
            let is_it = |program: &&ProgramStatus| program.state() == state;
            programs.iter().filter(is_it).count() as u64
        };
        world::with(|kernel| {
            kernel.counts.wishes += 1;
            kernel.counts.done += number(ProgramState::Exited);
            kernel.counts.held += number(ProgramState::Pending);
        });
    }

    /// Everything has ended for good, and the host does not keep the scheduler running.
    pub(super) fn is_to_end(&self) -> bool {
        let programs = self.scheduler.programs();
        let has_ended = |program: &ProgramStatus| {
            matches!(
                program.state(),
                ProgramState::Exited | ProgramState::Failed | ProgramState::Pending
            )
        };
        !self.setting.keep_running && programs.iter().all(has_ended)
    }

    /// It has ended by itself only if there was a reason.
    fn own_end_is_right(&mut self) -> Check {
        if self.status == Status::Running || world::with(|kernel| kernel.stop_asked.is_some()) {
            return Ok(());
        }
        world::with(|kernel| kernel.counts.own_ends += 1);
        let is_given_up = |program: &ProgramStatus| program.state() == ProgramState::Abandoned;
        if self.is_to_end() || self.scheduler.programs().iter().any(is_given_up) {
            return Ok(());
        }
        Err(format!(
            "it has ended by itself, and these are there: {:?}",
            self.scheduler.programs()
        ))
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
        // What depends on another ends first.
        let specs = &self.setting.specs;
        let is_linked = |spec: &ChildSpec| !(spec.requires.is_empty() && spec.after.is_empty());
        let is_linked = specs.iter().any(is_linked);
        let in_turn = if is_linked { specs.len() as u64 } else { 1 };
        // A stop that has begun goes on by the former definition.
        let former = world::with(|kernel| {
            let former = kernel.programs.iter().flat_map(|program| &program.former);
            former.map(|policy| policy.stop_timeout).max()
        });
        let grace = timeouts.chain(former).max().unwrap_or_default();
        let grace = grace.as_nanos() as u64 * in_turn;
        // Five seconds after the last program and one for its own end; a zombie in other hands
        // is waited for a second.
        let command = if self.setting.error_command { 6 } else { 0 };
        let zombies = if self.setting.subreaper { 0 } else { 1 };
        let frozen = if self.setting.subreaper { 10 } else { 5 };
        world::with(|kernel| {
            // Who cannot die is waited for, and so are those whom only then a subreaper gets, and
            // those who may be there for all that can be seen.
            // The command of a check that cannot die is waited for a second, too.
            let checks = u64::from(kernel.has_signs);
            let given_up = match (kernel.was_doomed, kernel.sight.failed_at_the_end) {
                (true, _) => frozen * in_turn,
                (false, true) => 5,
                (false, false) => 0,
            };
            let bound = grace + (command + zombies + given_up + checks) * SECOND;
            let deadline = kernel.shutdown_timeout.map(|time| time.as_nanos() as u64);
            let bound = deadline.map_or(bound, |deadline| deadline.min(bound)) + LATE_MAX;
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
        let is_out_of_time = world::with(|kernel| {
            let is_own_end = kernel.stop_asked.is_none() && kernel.shutdown_timeout.is_some();
            is_own_end || kernel.is_out_of_time()
        });
        if is_out_of_time {
            // What was left was killed, and not waited for.
            return Ok(());
        }
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
            for program in &kernel.programs {
                if program.removal == Removal::Asked {
                    return Err(format!("{} was never told to be removed", program.name));
                }
            }
            // Programs that had one name after each other have one log.
            let mut begins = BTreeMap::new();
            for (program, account) in kernel.programs.iter().zip(&self.accounts) {
                for stream in StdStream::ALL {
                    let log = books::log_of(&self.directory, &program.name, stream);
                    let begin = begins.entry((&program.name, stream)).or_insert(0);
                    let end = account
                        .log_end
                        .map_or(log.len(), |ends| ends[stream as usize]);
                    let lost = account.lost[stream as usize];
                    books::check(kernel, program, stream, &log[*begin..end], lost)?;
                    *begin = end;
                }
                kernel.counts.rotations +=
                    rotated(&self.directory, &program.name, StdStream::Stderr).count() as u64;
            }
            kernel.check_all_given()?;
            kernel.check_pipes()
        })
    }
}

/// Whether this is what is to become of a program in a fair system.
fn is_right(program: &Program, state: ProgramState) -> bool {
    let may_end = program.may_end_for_good();
    match state {
        ProgramState::Running => program.wish != Wish::Down,
        ProgramState::Stopped => program.wish != Wish::Up,
        ProgramState::Exited => may_end && program.wish != Wish::Down,
        ProgramState::Failed => may_end && program.wish != Wish::Down,
        ProgramState::Pending
        | ProgramState::Starting
        | ProgramState::Backoff
        | ProgramState::Stopping
        | ProgramState::Abandoned => false,
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
