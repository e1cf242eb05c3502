//! What the operator asks of one program, and what that allows to happen to others: what may be
//! signalled, what may start, and what has to stop first.

use super::law::LATE_MAX;
use super::process::{Time, Whose};
use super::programs::{Program, Removal, Run, Wish};
use super::signs::Signs;
use super::{Call, Kernel};
use crate::machine::Cause;
use crate::spec::ChildSpec;

/// As in `src/machine/child`, written once more: what is given up is waited for no longer. The turn that
/// kills began before the kill.
pub(super) const ABANDON_AFTER: Time = 5_000_000_000 - LATE_MAX;

/// As many programs may wait for each other in a row as there are names.
const LINKS_MAX: usize = 6;

/// An order for one program that exists and takes orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Kill,
    Remove,
}

impl Kernel {
    /// A program is there from now on. Those that it names are there, too.
    pub fn add_program(&mut self, spec: &ChildSpec) -> usize {
        let index = self.programs.len();
        self.programs.push(Program::new(spec));
        self.link(index, spec);
        index
    }

    /// The programs of the beginning, which may name each other in any order.
    pub fn add_programs(&mut self, specs: &[ChildSpec]) {
        let programs = specs.iter().map(Program::new);
        self.programs.extend(programs);
        for (index, spec) in specs.iter().enumerate() {
            self.link(index, spec);
        }
    }

    pub(super) fn link(&mut self, index: usize, spec: &ChildSpec) {
        let find = |names: &[String]| names.iter().map(|name| self.index_of(name)).collect();
        let (requires, after) = (find(&spec.requires), find(&spec.after));
        let program = &mut self.programs[index];
        (program.requires, program.after) = (requires, after);
        let linked = [program.requires.clone(), program.after.clone()].concat();
        if linked.iter().any(|&other| self.programs[other].is_touched) {
            self.programs[index].is_touched = true;
        }
    }

    /// A program that was being removed has another definition.
    pub fn was_replaced(&mut self, index: usize, spec: &ChildSpec) {
        let now = self.next_serial();
        for program in &mut self.programs {
            program.gone_before.retain(|&other| other != index);
        }
        let program = &mut self.programs[index];
        program.former.push(program.policy);
        let links = [&program.requires[..], &program.after].concat();
        program.former_links.extend(links);
        program.policy = spec.policy();
        program.command.clone_from(&spec.command);
        program.outputs = spec.outputs;
        program.has_marks |= spec.log.marks;
        program.relinked = now;
        program.report_bytes = spec.report_bytes;
        program.signs = Signs::of(spec);
        program.wish = Wish::Up;
        program.by_hand = false;
        program.removal = Removal::No;
        program.is_touched = true;
        self.link(index, spec);
    }

    /// The operator gives an order, which will be accepted.
    pub fn is_ordered(&mut self, index: usize, verb: Verb) {
        let now = self.stamp();
        self.ordered = now.serial;
        self.counts.orders += 1;
        self.say(format_args!("order     {verb:?} {index}"));
        let must_say_so = verb != Verb::Start && self.runs_for_all_we_know(index);
        if let Some(&run) = self.programs[index].runs.last() {
            self.runs[run].was_ordered |= must_say_so;
        }
        let required: Vec<usize> = self.all_required(index).into_iter().collect();
        for other in self.with_dependents(index).into_iter().chain(required) {
            self.programs[other].is_touched = true;
        }
        let changes_nothing = verb == Verb::Start && self.goes_on(index);
        if verb != Verb::Start {
            self.order_ends_launch(index);
        }
        // A restart of what has ended is a start.
        let is_over = self.latest_run(index).is_none_or(|run| run.reaped);
        let is_start = verb == Verb::Restart && is_over && !self.is_being_launched(index);
        let runs_on = verb == Verb::Start && self.runs_without_what_it_requires(index);
        let program = &mut self.programs[index];
        program.by_hand = match verb {
            Verb::Start | Verb::Restart => false,
            Verb::Stop | Verb::Kill => true,
            Verb::Remove => program.by_hand,
        };
        match verb {
            Verb::Start => {}
            Verb::Restart if is_start => {}
            Verb::Stop | Verb::Restart | Verb::Kill => program.ends.push((now, Cause::Operator)),
            Verb::Remove => program.ends.push((now, Cause::Reload)),
        }
        match verb {
            Verb::Start if changes_nothing => program.wish = Wish::Up,
            Verb::Start if runs_on => self.may_be_wanted_with_what_it_requires(index),
            Verb::Start | Verb::Restart => self.is_wanted_with_what_it_requires(index),
            Verb::Kill => (program.wish, program.killed) = (Wish::Down, Some(now.serial)),
            Verb::Stop => program.wish = Wish::Down,
            Verb::Remove => (program.wish, program.removal) = (Wish::Down, Removal::Asked),
        }
    }

    /// An order was refused, as a stop arrived during the call. `was_ordered` is of the latest run,
    /// before the order.
    pub fn is_refused(&mut self, index: usize, verb: Verb, was_ordered: bool) {
        if let Some(&run) = self.programs[index].runs.last() {
            self.runs[run].was_ordered = was_ordered;
        }
        let program = &mut self.programs[index];
        if verb == Verb::Remove {
            program.removal = Removal::No;
        }
        program.killed = program.killed.filter(|_| verb != Verb::Kill);
    }

    /// True if the latest run of a program was ordered to end.
    pub fn was_ordered(&self, index: usize) -> bool {
        let run = self.programs[index].runs.last();
        run.is_some_and(|&run| self.runs[run].was_ordered)
    }

    /// It was given a requirement while it ran, and goes on without it.
    fn runs_without_what_it_requires(&self, index: usize) -> bool {
        let program = &self.programs[index];
        let begun = self.latest_run(index).map_or(0, |run| run.serial);
        program.relinked > begun && self.runs_for_all_we_know(index)
    }

    /// What it requires may be started, or not, as it is up.
    fn may_be_wanted_with_what_it_requires(&mut self, index: usize) {
        for other in self.all_required(index) {
            let wish = &mut self.programs[other].wish;
            if *wish == Wish::Down {
                *wish = Wish::Either;
            }
        }
        self.programs[index].wish = Wish::Up;
    }

    /// What is up already needs nothing more.
    fn is_wanted_with_what_it_requires(&mut self, index: usize) {
        for other in self.all_required(index) {
            let wish = &mut self.programs[other].wish;
            if *wish == Wish::Down {
                *wish = Wish::Either;
            }
        }
        let mut wanted = vec![index];
        while let Some(index) = wanted.pop() {
            self.programs[index].wish = Wish::Up;
            self.programs[index].by_hand = false;
            let required = self.programs[index].requires.clone();
            wanted.extend(required.into_iter().filter(|&other| !self.is_up(other)));
        }
    }

    /// What a program requires, and what that requires.
    pub(super) fn all_required(&self, index: usize) -> Vec<usize> {
        let mut all = self.programs[index].requires.clone();
        let mut at = 0;
        while let Some(&next) = all.get(at) {
            for &other in &self.programs[next].requires {
                if !all.contains(&other) {
                    all.push(other);
                }
            }
            at += 1;
        }
        all
    }

    fn with_dependents(&self, index: usize) -> Vec<usize> {
        let mut all = vec![index];
        let mut at = 0;
        while let Some(&next) = all.get(at) {
            for (other, program) in self.programs.iter().enumerate() {
                let depends = program.requires.contains(&next) || program.after.contains(&next);
                if depends && !all.contains(&other) {
                    all.push(other);
                }
            }
            at += 1;
        }
        all
    }

    /// The programs that depend on this one and are there.
    pub fn dependents(&self, index: usize) -> Vec<usize> {
        let is_dependent = |&other: &usize| {
            let program = &self.programs[other];
            program.removal != Removal::Told
                && (program.requires.contains(&index) || program.after.contains(&index))
        };
        (0..self.programs.len()).filter(is_dependent).collect()
    }

    /// Its latest run was executed, and the library knows that, and of no end.
    pub fn runs_for_all_we_know(&self, index: usize) -> bool {
        let is_known = |run: &Run| {
            !run.seen && !run.reported && !run.is_misjudged && !self.is_launching(run.serial)
        };
        !self.is_being_launched(index) && self.latest_run(index).is_some_and(is_known)
    }

    /// It runs or is being launched, and nothing ends that: neither an order nor a program that it
    /// requires and that is down. A start of it changes nothing, not even for a oneshot that it
    /// requires and that was stopped since.
    fn goes_on(&self, index: usize) -> bool {
        let program = &self.programs[index];
        let since = self.latest_run(index).map_or(0, |run| run.serial);
        let is_ended = program.ends.iter().any(|(at, _)| at.serial > since);
        let runs = self.runs_for_all_we_know(index) && !is_ended;
        let may_end_it = |other: &usize| !self.programs[*other].is_oneshot() && !self.is_up(*other);
        program.wish == Wish::Up
            && (runs || self.is_launch_wanted(index))
            && !self.all_required(index).iter().any(may_end_it)
    }

    /// After an order that ends a program: nothing has to stop before it, so that it was asked to
    /// end at once.
    pub fn check_is_signalled(&self, index: usize) -> Result<(), String> {
        let program = &self.programs[index];
        let Some(run) = self.latest_run(index) else {
            return Ok(());
        };
        let is_killed = program.killed.is_some_and(|at| at > run.serial);
        let mut programs = self.programs.iter();
        let is_awaited = programs.any(|program| program.former_links.contains(&index));
        let waits = !is_killed && (is_awaited || !self.dependents(index).is_empty());
        if run.exit.is_none() && run.was_ordered && !run.is_signalled && !waits {
            return Err(format!("{run:?} was not asked to end by an order"));
        }
        Ok(())
    }

    /// Since when a run of this program that began then may be ended, as it, or what it requires,
    /// was asked to.
    pub(super) fn may_end_since(&self, index: usize, begun: u64) -> Option<Time> {
        self.may_end_since_within(index, begun, LINKS_MAX)
    }

    fn may_end_since_within(&self, index: usize, begun: u64, depth: usize) -> Option<Time> {
        let program = &self.programs[index];
        let own = program.ends.iter().map(|(at, _)| *at);
        let own = own.filter(|at| at.serial > begun).map(|at| at.time);
        own.chain(self.requirement_lost_within(index, begun, depth))
            .min()
    }

    /// Since when it may not run, as what it requires is to be down, or has ended for good.
    pub fn requirement_lost(&self, index: usize, begun: u64) -> Option<Time> {
        self.requirement_lost_within(index, begun, LINKS_MAX)
    }

    /// Links of now and of before may form a circle.
    fn requirement_lost_within(&self, index: usize, begun: u64, depth: usize) -> Option<Time> {
        let depth = depth.checked_sub(1)?;
        let program = &self.programs[index];
        let required = program.requires.iter().chain(&program.former_links);
        let lost = required.filter_map(|&other| self.takes_down_since(other, begun, depth));
        // Of a start that failed it is not known here when it was.
        let mut known = program.lost.clone();
        known.retain(|(serial, _)| *serial == begun || begun == 0);
        let known = known.iter();
        lost.chain(known.map(|(_, time)| *time)).min()
    }

    fn takes_down_since(&self, index: usize, begun: u64, depth: usize) -> Option<Time> {
        let program = &self.programs[index];
        if program.is_always_oneshot() {
            return None;
        }
        let never = self.never_comes_since(index);
        let ended = program.runs.iter().map(|&run| &self.runs[run]);
        // What is known later than it was may have let others start.
        let ended = ended.filter(|run| run.stolen || run.seen && run.seen_at > begun);
        let ended = ended.map(|run| run.ended);
        let failed = program.failed_at.filter(|at| at.serial > begun);
        let failed = failed.map(|at| at.time);
        // It does not come back without what it requires, a oneshot too.
        let is_short = program.requires.iter().any(|&other| !self.is_up(other));
        let is_over = is_short || program.may_end_for_good();
        // What is being ended for a fault is as good as over.
        let faulty = self.latest_run(index).and_then(|run| run.truth.ended);
        let ends = ended.chain(failed).chain(faulty).filter(|_| is_over);
        let killed = program.runs.iter().filter_map(|&run| self.runs[run].killed);
        let given_up = killed.filter(|at| at + ABANDON_AFTER <= self.now);
        let stopped = self.may_end_since_within(index, begun, depth);
        ends.chain(given_up).chain(stopped).chain(never).min()
    }

    /// Since when it may not come up, as what it requires has ended for good, or was stopped.
    fn never_comes_since(&self, index: usize) -> Option<Time> {
        let program = &self.programs[index];
        // A start that lacked a pipe or a log is not seen here. What requires a program that never
        // ran, and runs, was given that requirement while it ran.
        if program.runs.is_empty() && program.may_end_for_good() {
            return Some(0);
        }
        let mut required = self.all_required(index);
        required.retain(|&other| {
            let program = &self.programs[other];
            !self.is_up(other) && (program.may_end_for_good() || !program.ends.is_empty())
        });
        let ended = required.iter().filter_map(|&other| {
            let failed = self.programs[other].failed_at.map(|at| at.time);
            let run = self.latest_run(other).filter(|run| run.exit.is_some());
            let stopped = self.programs[other].ends.last().map(|(at, _)| at.time);
            let run = run.map(|run| run.ended);
            run.into_iter().chain(failed).chain(stopped).max()
        });
        ended.filter(|_| !self.is_up(index)).min()
    }

    /// It was given up, as far as can be told from here.
    pub(super) fn may_be_given_up(&self, run: &Run) -> bool {
        let is_over = |at: Time| at.saturating_add(ABANDON_AFTER) <= self.now;
        run.killed
            .is_some_and(|at| is_over(at) || self.is_out_of_time())
    }

    /// The first signal that ends a run: what depends on it is to have ended.
    pub(super) fn problem_with_order(&self, run: usize) -> Option<String> {
        let Run {
            program, serial, ..
        } = self.runs[run];
        let is_killed = self.programs[program].killed.is_some_and(|at| at > serial);
        let is_fault = self.fault_since(&self.runs[run]).is_some();
        if self.runs[run].is_signalled || is_killed || self.kill_asked || is_fault {
            return None;
        }
        let is_shutdown_alone = self.may_end_since(program, serial).is_none();
        // What requires a oneshot goes on when that is run once more.
        let is_oneshot = self.programs[program].may_be_oneshot();
        let stops_before = |&other: &usize| {
            let requires = self.programs[other].requires.contains(&program);
            is_shutdown_alone || requires && !is_oneshot
        };
        // What was given other links since it began stops by those that it had.
        let is_settled = |&other: &usize| {
            let run = || self.latest_run(other).map(|run| run.serial);
            let begun = self.serial_launched(other).or_else(run);
            self.programs[other].relinked < begun.unwrap_or(u64::MAX)
        };
        let dependents = self.dependents(program).into_iter().filter(stops_before);
        let dependents = dependents.filter(is_settled);
        for other in dependents {
            if let Some(pid) = self.is_there(other) {
                let name = &self.programs[other].name;
                return Some(format!("before {pid} of {name}, which depends on it"));
            }
        }
        None
    }

    /// A process of this program that has to end before what it depends on.
    pub(super) fn is_there(&self, index: usize) -> Option<i32> {
        let is_of_it = |whose: Whose| match whose {
            Whose::Run(run) => {
                self.runs[run].program == index && !self.may_be_given_up(&self.runs[run])
            }
            Whose::New(of) => of == Some(index),
            Whose::Command | Whose::Host | Whose::Inherited | Whose::Stranger => false,
        };
        let mut living = self.living();
        let found = living.find(|(_, process)| {
            let is_known = match process.whose {
                Whose::New(_) => {
                    self.is_launching(process.serial)
                        && !self.launch_may_be_given_up(process.serial)
                }
                _ => !process.left,
            };
            is_of_it(process.whose) && is_known
        });
        found.map(|(pid, _)| pid)
    }

    /// Why this program may not start now.
    pub(super) fn problem_with_start(&self, index: usize) -> Option<String> {
        let program = &self.programs[index];
        let name_of = |other: usize| &self.programs[other].name;
        if program.removal != Removal::No {
            return Some("although it was removed".to_owned());
        }
        if program.wish == Wish::Down {
            return Some("although it was stopped".to_owned());
        }
        let mut required = program.requires.iter();
        if let Some(&other) = required.find(|&&other| !self.is_up(other)) {
            return Some(format!("without {}, which it requires", name_of(other)));
        }
        let mut after = program.after.iter();
        let late = after.find(|&&other| self.is_certainly_coming(other));
        let late = late.filter(|_| program.starts == 0 && !program.is_touched);
        late.map(|&other| format!("before {}, which it is to start after", name_of(other)))
    }

    /// For all that the library can know.
    pub fn is_up(&self, index: usize) -> bool {
        let program = &self.programs[index];
        let Some(run) = self.latest_run(index) else {
            return false;
        };
        let is_ordered = program.ends.iter().any(|(at, _)| at.serial > run.serial);
        if !program.is_oneshot() {
            let is_ready = self.up_since(run).is_some();
            let runs = is_ready && self.runs_for_all_we_know(index);
            return program.wish != Wish::Down && !is_ordered && runs;
        }
        let is_success = run.exit.is_some_and(|exit| program.policy.is_success(exit));
        let is_known = run.seen && !run.stolen && !self.is_being_launched(index);
        let is_latest = program.tried < run.serial;
        is_success && is_known && is_latest && !is_ordered && program.wish != Wish::Down
    }

    /// It was never tried, or is in its first try, and nothing is in its way.
    fn is_certainly_coming(&self, index: usize) -> bool {
        let program = &self.programs[index];
        let is_free = program.requires.is_empty() && program.after.is_empty();
        if program.is_touched || !is_free {
            return false;
        }
        let waits = |run: &Run| {
            let is_unready = program.is_oneshot() || self.up_since(run).is_none();
            is_unready && run.exit.is_none() && !run.is_signalled
        };
        let is_running = self.latest_run(index).is_some_and(waits);
        match program.starts {
            // One that lacks a descriptor is not seen here.
            0 => {
                let may_fail = |&call: &Call| self.weather.may_fail(call);
                let calls = [
                    Call::Pipe,
                    Call::Open,
                    Call::Socket,
                    Call::SetOption,
                    Call::Bind,
                ];
                let may_fail = calls.iter().any(may_fail) || may_fail(&Call::SocketName);
                !may_fail && self.weather.descriptors_max >= 1024
            }
            1 => self.is_launch_going_on(index) || is_running,
            _ => false,
        }
    }
}
