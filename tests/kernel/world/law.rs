//! What may never be done, judged by what is really so, at the moment in which it is done.

use std::time::Duration;

use super::fates::Deed;
use super::plans::{Moods, SECOND};
use super::process::{Action, Parent, Plan, Process, Time, Whose};
use super::programs::{Program, Run, is_for_good};
use super::{Call, Kernel};
use crate::machine::Exit;

/// Numbers that a fair system has besides.
const NUMBERS_MORE: usize = 8;

/// How long turns may take that are due.
pub const LATE_MAX: Time = 100_000_000;

tally! {
    turns: "turns",
    starts: "starts",
    faults: "calls that failed",
    coalesced: "signals that stood for several",
    escapes: "processes that left their group",
    thefts: "statuses that were stolen",
    blind_looks: "looks for orphans that failed too often",
    broken_pipes: "writes into a closed pipe",
    waits_for_room: "writes into a full pipe",
    short_writes: "writes to a full disk",
    stop_signals: "stops by a signal",
    signals: "signals to processes of ours",
    inherited: "numbers that another program had",
    orphans: "signals to who had left its group",
    dropped: "losses of bytes told",
    failed: "starts that failed",
    late: "starts that were late",
    late_executed: "late starts that came true",
    late_failed: "late starts that failed",
    late_killed: "late starts that were killed",
    late_over_time: "late starts that were killed for that alone",
    late_abandoned: "late starts given up",
    reports: "reports",
    asked: "reports of who was asked",
    abandoned: "runs given up",
    panics: "handlers that panicked",
    jumps: "waits",
    honest: "turns in which nothing was to be done",
    wishes: "wishes that came true in the end",
    ends: "stops that came true in the end",
    orders: "orders for one program",
    refused: "orders that were refused",
    added: "programs that were added",
    replaced: "programs that were added while they were removed",
    not_added: "programs that could not be added",
    removed: "programs that were removed",
    removed_given_up: "programs that were removed and given up",
    ordered: "reports of runs that an order ended",
    reloads: "changes of all definitions",
    reloads_without_restarts: "changes of all definitions without restarts",
    reloads_refused: "changes of all definitions that were refused",
    required: "reports of runs that ended with what they require",
    done: "oneshots that were up in the end",
    held: "programs that were held in the end",
    own_ends: "schedulers that ended by themselves",
    told_up: "runs that were ready",
    words: "messages of runs",
    words_vain: "messages that are to be ignored",
    words_late: "messages to a run that was over",
    words_lost: "messages that found a full queue",
    newlines: "newlines that said that a run is ready",
    checks: "checks that began",
    checks_unmade: "checks that could not be made",
    checks_passed: "checks that passed",
    checks_failed: "checks that failed",
    checks_killed: "checks that were killed",
    connections_slow: "connections that took their time",
    unready: "reports of runs that were not ready in time",
    unhealthy: "reports of runs that were unhealthy",
    silent: "reports of runs that gave no sign of life",
    relayed: "lines that the host was given",
    continued: "lines that the host was given in parts",
    held_back: "times in which the host took no lines",
    rotations: "rotations of logs",
    stopped_alone: "first processes that were asked to stop alone",
}

pub type Counts = Tally;

impl Kernel {
    /// Whether a stop is known is looked at before each start.
    pub fn is_asked_whether_to_start(&mut self) {
        self.stop_was_known = self.stop_asked.is_some();
        self.was_asked_whether = true;
    }

    pub(super) fn was_asked(&mut self, deed: Deed) {
        self.stop_asked.get_or_insert(self.now);
        self.kill_asked |= deed == Deed::Kill;
    }

    pub(super) fn was_delivered(&mut self, signal: i32, handled: bool) {
        self.interrupted |= handled;
        if handled && self.stop_signals.contains(&signal) {
            self.counts.stop_signals += 1;
            self.kill_asked |= self.stop_asked.is_some();
            self.stop_asked.get_or_insert(self.now);
        }
    }

    /// The system is as it should be from now on, and so is everybody who comes.
    pub fn become_fair(&mut self) {
        self.weather.clear_up();
        // Members of what runs may have all numbers, and keep them.
        self.used.resize(self.used.len() + NUMBERS_MORE, 0);
        self.moods.fair = true;
        self.disk = None;
        let is_due = |deed| matches!(deed, Deed::Answer(..) | Deed::TimeIsUp(_));
        self.agenda.retain(|&(_, deed)| is_due(deed));
        self.stuck = false;
        let living: Vec<i32> = self.living().map(|(pid, _)| pid).collect();
        for pid in living {
            self.hit(pid, libc::SIGCONT);
            self.hurry(pid);
            self.end_oneshot(pid);
            self.speak_from_now_on(pid);
        }
    }

    /// What is to end by itself does.
    fn end_oneshot(&mut self, pid: i32) {
        let process = &self.processes[&pid];
        let Whose::Run(run) = process.whose else {
            return;
        };
        let run = &self.runs[run];
        if run.pid == pid && process.lives() && self.programs[run.program].is_oneshot() {
            let mut plan = Plan::hold(process.temper);
            plan.steps.push((SECOND, Action::Exit(0)));
            let now = self.now;
            let process = self.process_mut(pid);
            process.unwritten = 0;
            process.follow(now, plan);
        }
    }

    /// Those that the library leaves alone end, so that there are numbers for the others.
    pub fn send_others_home(&mut self) {
        let is_other = |process: &Process| match process.whose {
            Whose::Stranger | Whose::Host => true,
            Whose::Run(run) => {
                let index = self.runs[run].program;
                let is_nobodys = process.named.is_none() || self.is_overlooked(process, index);
                process.left && (!self.subreaper || is_nobodys)
            }
            Whose::New(_) | Whose::Command | Whose::Inherited => false,
        };
        let others = self
            .processes
            .iter()
            .filter(|(_, process)| is_other(process));
        let others: Vec<i32> = others.map(|(&pid, _)| pid).collect();
        for pid in others {
            if self.process(pid).is_some_and(Process::lives) {
                self.end(pid, Exit::Code(0));
            }
            // Whoever keeps his children to himself waits for them, too.
            if self.host_waits
                && self
                    .process(pid)
                    .is_some_and(|process| process.whose == Whose::Host)
            {
                self.remove(pid);
            }
        }
    }

    /// How many pipes the library may have open, as somebody can still write to them: the latest
    /// two of each stream of a program.
    pub fn held_pipes(&self) -> usize {
        let held = |pipe: usize| self.living().any(|(_, process)| process.holds(pipe));
        let count =
            |pipes: &mut dyn Iterator<Item = usize>| pipes.filter(|&it| held(it)).count().min(2);
        let of = |program: &Program| {
            let runs = || program.runs.iter().map(|&run| &self.runs[run]);
            count(&mut runs().map(|run| run.pipe)) + count(&mut runs().filter_map(|run| run.stdout))
        };
        self.programs.iter().map(of).sum()
    }

    pub fn read_of(&self, run: usize) -> u64 {
        self.pipe_of(run).read
    }

    /// What was in a pipe at the reap was read, whatever came later.
    pub fn check_pipes(&self) -> Result<(), String> {
        for (index, run) in self.runs.iter().enumerate() {
            let read = self.read_of(index);
            if run.reaped && !run.is_misjudged && read < run.written_at_reap {
                return Err(format!("{run:?}: only {read} bytes of it were ever read"));
            }
            let read = run.stdout.map_or(0, |pipe| self.read_of_pipe(pipe));
            if run.reaped && !run.is_misjudged && read < run.stdout_at_reap {
                return Err(format!(
                    "{run:?}: only {read} bytes of its stdout were ever read"
                ));
            }
        }
        Ok(())
    }

    fn program_of(&self, process: &Process) -> Option<usize> {
        match process.whose {
            Whose::Run(run) => Some(self.runs[run].program),
            _ => None,
        }
    }

    fn leader_lives(&self, run: usize) -> bool {
        self.runs[run].exit.is_none()
    }

    fn any_leader_lives(&self) -> bool {
        self.runs.iter().any(|run| run.exit.is_none())
    }

    /// A program starts: none of its earlier processes may live.
    pub(super) fn judge_start(&mut self, index: usize, command: &[String]) {
        self.counts.starts += 1;
        let name = self.programs[index].name.clone();
        // Who has been asked to stop by a handle does not ask for signals any more.
        if self.stop_was_known || !std::mem::take(&mut self.was_asked_whether) {
            self.violated(format!("{name} starts after a stop request"));
        }
        let latest = self.programs[index].runs.last().map(|&run| &self.runs[run]);
        if latest.is_some_and(|run| !run.reaped && !run.stolen) {
            self.violated(format!("{name} starts before its last run was reaped"));
        }
        if let Some(problem) = self.problem_with_start(index) {
            self.violated(format!("{name} starts {problem}"));
        }
        if let Some(problem) = self.problem_with_definition(index, command) {
            self.violated(format!("{name} starts {problem}"));
        }
        let tried = self.next_serial();
        let program = &mut self.programs[index];
        program.starts += 1;
        program.tried = tried;
        let was_asked = self
            .latest_run(index)
            .is_some_and(|run| run.first_asked.is_some() && self.fault_since(run).is_none());
        let mut wrong = Vec::new();
        if self.is_being_launched(index) {
            wrong.push("an earlier start, which is not over".to_owned());
        }
        for (pid, process) in self.living() {
            if self.program_of(process) != Some(index) {
                continue;
            }
            let is_at_home = self.subreaper && process.parent == Parent::Us;
            let is_named = is_at_home && process.named == Some(index);
            let is_known = is_named && !self.is_overlooked(process, index);
            // See `OrphanSweep::hold`.
            let latest = self.latest_run(index);
            let holds = latest.is_some_and(|run| run.pipes().any(|pipe| process.holds(pipe)));
            let is_passed_over = self.programs[index].restarts_at_once() && !was_asked && !holds;
            if !process.left {
                wrong.push(format!("{pid}, a member of an earlier run's group"));
            } else if is_known && !is_passed_over {
                wrong.push(format!("{pid}, which had left its group and come home"));
            }
        }
        self.programs[index].former.clear();
        self.programs[index].gone_before.clear();
        for what in wrong {
            self.violated(format!("{name} starts beside {what}"));
        }
    }

    /// A start of this program has failed; it may be one that ends everything by that.
    pub(super) fn start_failed(&mut self, index: Option<usize>) {
        let now = self.stamp();
        if let Some(index) = index {
            self.programs[index].failed_at = Some(now);
        }
        let ends_all = |index: &usize| self.programs[*index].ends_all_by_a_failed_start();
        if let Some(index) = index.filter(ends_all) {
            // A start that was taken back is no end.
            if self
                .may_end_since(index, self.programs[index].tried)
                .is_some()
            {
                self.may_be_stopping = true;
            } else {
                self.stop_asked.get_or_insert(self.now);
            }
        }
    }

    /// No pipe was made, or no log opened, for somebody's start, which may be tried once more.
    pub(super) fn pipe_failed(&mut self) {
        self.may_be_stopping |= self
            .programs
            .iter()
            .any(Program::ends_all_by_a_failed_start);
    }

    /// An essential program that has ended for good stops the others, when its end is seen. One that
    /// may have been asked to end may have been no reason.
    pub fn note_essential_ends(&mut self) {
        let ends = |run: &&Run| {
            let program = &self.programs[run.program];
            // Of an end that was stolen nobody knows that it was a good one.
            let exit = run
                .exit
                .map(|exit| if run.stolen { Exit::Unknown } else { exit });
            let is_for_good = |policy: &_| exit.is_some_and(|exit| is_for_good(policy, exit));
            let is_done = |exit| program.is_oneshot() && program.policy.is_success(exit);
            let is_done = exit.is_some_and(is_done);
            program.policy.essential && run.seen && is_for_good(&program.policy) && !is_done
        };
        let may_be_asked = |run: &&Run| self.may_end_since(run.program, run.serial).is_some();
        let ended = self.runs.iter().filter(ends);
        let (asked, unasked): (Vec<&Run>, Vec<&Run>) = ended.partition(may_be_asked);
        let (may_be_stopping, first) = (!asked.is_empty(), unasked.first().map(|run| run.ended));
        self.may_be_stopping |= may_be_stopping;
        if let Some(ended) = first {
            self.stop_asked.get_or_insert(ended);
        }
    }

    /// The library signals this process.
    pub(super) fn judge_signal(&mut self, pid: i32, signal: i32) {
        self.note_essential_ends();
        let process = &self.processes[&pid];
        if !process.lives() {
            return;
        }
        let stopping = self.stop_asked.is_some();
        let launch = match process.whose {
            Whose::New(_) => Some(process.serial),
            Whose::Run(run) if !process.left => Some(self.runs[run].serial),
            _ => None,
        };
        if let Some(serial) = launch.filter(|&serial| self.is_launching(serial)) {
            self.counts.signals += 1;
            if let Some(problem) = self.problem_with_launch(serial, signal) {
                self.violated(format!("signal {signal} hits {pid}, {problem}"));
            }
            return;
        }
        let problem = match process.whose {
            Whose::New(_) if self.subreaper && stopping => None,
            Whose::New(_) => Some("whose start is known to have failed"),
            Whose::Stranger => Some("a stranger"),
            Whose::Inherited => Some("a child that was there before"),
            Whose::Host if !(self.subreaper && (stopping || !self.any_leader_lives())) => {
                Some("a child of the host")
            }
            Whose::Host | Whose::Command => None,
            Whose::Run(run) if process.left => self.problem_with_escapee(process, run, signal),
            Whose::Run(run) => self.problem_with_member(run, signal),
        };
        let member_of = match process.whose {
            Whose::Run(run) if !process.left => Some(run),
            _ => None,
        };
        self.counts.orphans += u64::from(process.left);
        self.counts.signals += 1;
        let problem =
            problem.or(member_of.and_then(|run| self.problem_with_scope(pid, run, signal)));
        let delay = member_of.and_then(|run| self.problem_with_delay(run, signal));
        if let Some(problem) = problem.or(delay) {
            self.violated(format!("signal {signal} hits {pid}, {problem}"));
        }
        if let Some(run) = member_of {
            self.judge_order(pid, run, signal);
        }
    }

    fn problem_with_escapee(
        &self,
        process: &Process,
        run: usize,
        signal: i32,
    ) -> Option<&'static str> {
        if !self.subreaper {
            return Some("which has left its group and is nobody's to signal");
        }
        if self.stop_asked.is_some() || self.may_be_stopping || !self.any_leader_lives() {
            return None;
        }
        let program = self.runs[run].program;
        let latest = *self.programs[program].runs.last().unwrap_or(&run);
        if process.named.is_none() {
            return Some("which is nobody's, although nothing ends");
        }
        // It is asked, and killed, with its program; dead or not, that was asked.
        let problem = self.problem_with_member(latest, signal);
        problem.or_else(|| self.problem_with_early_kill(latest, signal))
    }

    /// What left the group of a run that was asked to end, also to start again, has its time.
    fn problem_with_early_kill(&self, run: usize, signal: i32) -> Option<&'static str> {
        let run = &self.runs[run];
        // What ends for a fault leaves no more time than what ends by itself.
        if self.fault_since(run).is_some() {
            return None;
        }
        let program = &self.programs[run.program];
        let is_killed = program.killed.is_some_and(|at| at > run.serial);
        // Its time begins with the turn that asks it, which may have to see to others first.
        let asked = self.may_end_since(run.program, run.serial);
        let asked = run.first_asked?.min(asked.unwrap_or(Time::MAX));
        let end = asked.saturating_add(program.stop_timeout_min());
        let is_early = signal == libc::SIGKILL && !is_killed && self.now < end;
        is_early.then_some("which has the time that its program was given to end")
    }

    fn problem_with_member(&self, run: usize, signal: i32) -> Option<&'static str> {
        if !self.leader_lives(run) {
            return None;
        }
        let Run {
            program: index,
            serial,
            ..
        } = self.runs[run];
        let program = &self.programs[index];
        let asked = self.may_end_since(index, serial);
        let fault = self.fault_since(&self.runs[run]);
        let Some(asked) = asked.into_iter().chain(self.stop_asked).chain(fault).min() else {
            if self.may_be_stopping {
                return None;
            }
            return Some("of a run that nobody asked to end");
        };
        let in_time = self.may_be_stopping
            || self.kills_for_time()
            || self.now >= asked.saturating_add(program.stop_timeout_min());
        let is_killed = self.kill_asked || program.killed.is_some_and(|at| at > serial);
        let early = signal == libc::SIGKILL && !is_killed && !program.kills_at_once() && !in_time;
        early.then_some("which has time left to end by itself")
    }
}

impl Kernel {
    /// A shutdown may have come to the moment at which it kills everything: one second before its end,
    /// or at half of its time.
    fn kills_for_time(&self) -> bool {
        let Some(timeout) = self.shutdown_timeout else {
            return false;
        };
        let kill_in = timeout
            .saturating_sub(Duration::from_secs(1))
            .max(timeout / 2);
        let kill_in = kill_in.as_nanos() as Time;
        let is_due = |asked: Time| asked.saturating_add(kill_in) <= self.now;
        self.may_be_stopping || self.stop_asked.is_some_and(is_due)
    }

    /// A shutdown may have come to the moment at which it abandons what is left.
    pub fn is_out_of_time(&self) -> bool {
        let Some(timeout) = self.shutdown_timeout else {
            return false;
        };
        let rest = timeout.min(Duration::from_secs(2)) / 2;
        let end_in = (timeout - rest * 3 / 10).as_nanos() as Time;
        let is_due = |asked: Time| asked.saturating_add(end_in) <= self.now;
        self.may_be_stopping || self.stop_asked.is_some_and(is_due)
    }

    /// What depends on a program ends before it is asked to.
    fn judge_order(&mut self, pid: i32, run: usize, signal: i32) {
        let now = self.now;
        if signal == libc::SIGKILL {
            self.runs[run].killed.get_or_insert(now);
        }
        if signal == libc::SIGCONT || !self.leader_lives(run) {
            return;
        }
        let is_for_time = signal == libc::SIGKILL && self.kills_for_time();
        if let Some(problem) = self.problem_with_order(run).filter(|_| !is_for_time) {
            self.violated(format!("signal {signal} hits {pid} {problem}"));
        }
        if self.fault_since(&self.runs[run]).is_some() {
            let turn = self.turn_time();
            self.runs[run].truth.ended.get_or_insert(turn);
        }
        self.runs[run].is_signalled = true;
    }

    /// Who is asked to end has its time, and not much more.
    fn problem_with_delay(&mut self, run: usize, signal: i32) -> Option<&'static str> {
        let program = &self.programs[self.runs[run].program];
        let time = program.stop_timeout_max().saturating_add(LATE_MAX);
        if signal == libc::SIGCONT {
            return None;
        }
        if signal != libc::SIGKILL {
            let run = &mut self.runs[run];
            run.asked.get_or_insert(self.now);
            run.first_asked.get_or_insert(self.now);
            return None;
        }
        let asked = &mut self.runs[run].asked;
        let is_late = asked
            .take()
            .is_some_and(|at| at.saturating_add(time) < self.now);
        is_late.then_some("whose time to end by itself was over long before")
    }
}
