//! Children that have not executed their program yet. Most do at once. Some are late: they are
//! slow, are stopped, or hang, before they have a session of their own or after that; then they
//! execute their program, fail, or are killed.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::fates::killed_by;
use super::law::LATE_MAX;
use super::orders::ABANDON_AFTER;
use super::plans::SECOND;
use super::process::{Action, Parent, Plan, Process, Time, Whose};
use super::programs::{Program, Run};
use super::signs::{Signs, Truth};
use super::{Kernel, OUR_GROUP};
use crate::machine::Exit;
use crate::os::spawn::{Failure, Step};
use crate::spec::Outputs;

/// As in `src/machine/child.rs`, written once more, for who takes less time is to be noticed.
const LAUNCH_MAX: Time = 90_000_000_000;

const EXEC_ERRORS: [i32; 2] = [libc::ENOENT, libc::ETXTBSY];

/// What has become of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pending,
    Executed,
    Failed(Failure),
    /// Before it executed anything.
    Killed,
}

/// The start of a command that is not known to have executed anything.
#[derive(Debug)]
pub struct Launch {
    pub pid: i32,
    pub index: Option<usize>,
    begun: Time,
    pipe: usize,
    /// That of its stdout, if it has one of its own.
    stdout: Option<usize>,
    outputs: Outputs,
    /// How often its log was rotated before.
    rotated: u64,
    truth: Truth,
    command: Vec<OsString>,
    report_bytes: usize,
    fate: Fate,
    /// The library was late to ask, or else had its answer with the start.
    is_late: bool,
    exit: Option<Exit>,
    /// Its run, if there is one.
    run: Option<usize>,
    /// When the library has first sent it a SIGKILL.
    killed: Option<Time>,
    /// When it has executed its program, as a number among all moments.
    executed: Option<u64>,
    /// An order ended it, so that it is to be killed.
    ordered: Option<Time>,
    /// It was reported as given up.
    is_abandoned: bool,
}

fn exec_failure(errno: i32) -> Failure {
    Failure {
        step: Step::Exec,
        errno,
        which: 0,
    }
}

impl Kernel {
    /// A new child, with what it has to do before its exec.
    pub(super) fn launch(
        &mut self,
        pid: i32,
        mut process: Process,
        errno: Option<i32>,
        late: bool,
    ) {
        let serial = process.serial;
        let index = match process.whose {
            Whose::New(index) => index,
            _ => None,
        };
        let fate = match errno.filter(|_| !late) {
            Some(errno) => Fate::Failed(exec_failure(errno)),
            None => Fate::Pending,
        };
        let pipe = match &process.stderr {
            Some(stderr) => stderr.pipe,
            None => self.no_pipe(),
        };
        let stdout = process.stdout.as_ref().map(|stdout| stdout.pipe);
        let rotated = index.map_or(0, |index| self.rotated(index));
        let program = index.map(|index| &self.programs[index]);
        let launch = Launch {
            pid,
            index,
            begun: self.now,
            pipe,
            stdout: stdout.filter(|&stdout| stdout != pipe),
            outputs: program.map_or_else(Outputs::default, |program| program.outputs),
            rotated,
            truth: Truth {
                signs: program.map_or_else(Signs::default, |program| program.signs.clone()),
                socket: process.socket,
                pipe: process.ready.as_ref().map(|ready| ready.pipe),
                ..Truth::default()
            },
            command: program.map_or_else(Vec::new, |program| program.command.clone()),
            report_bytes: program.map_or(0, |program| program.report_bytes),
            fate,
            is_late: false,
            exit: None,
            run: None,
            killed: None,
            executed: None,
            ordered: None,
            is_abandoned: false,
        };
        self.launches.insert(serial, launch);
        if late {
            (process.group, process.session) = (OUR_GROUP, OUR_GROUP);
            process.follow(self.now, self.plan_of_launch(errno));
        }
        self.say(format_args!(
            "launched  {pid}: {index:?} {fate:?} {:?}",
            process.steps
        ));
        self.processes.insert(pid, process);
        match fate {
            Fate::Pending if !late => self.execute(pid),
            Fate::Failed(_) => self.end(pid, Exit::Code(127)),
            _ => {}
        }
    }

    fn plan_of_launch(&mut self, errno: Option<i32>) -> Plan {
        let rng = &mut self.rng;
        let mut pause = || {
            let most = rng.pick(&[1, 1_000_000, 5_000_000, 3_000_000_000, 200_000_000_000]);
            rng.below(most)
        };
        let (mut leads, mut executes) = (pause(), pause());
        let errno = errno.or_else(|| rng.one_in(4).then(|| rng.pick(&EXEC_ERRORS)));
        if rng.one_in(4) {
            // In the moment in which it is to be killed.
            leads = 0;
            executes = LAUNCH_MAX + rng.below(100_000);
        }
        let mut steps = vec![(leads, Action::Lead), (executes, Action::Execute(errno))];
        let disturbance = match rng.below(8) {
            0 | 1 => Some(Action::Stop),
            2 => Some(Action::Freeze(rng.below(200_000_000_000))),
            3 => Some(Action::Die(rng.pick(&[libc::SIGSEGV, libc::SIGKILL]))),
            _ => None,
        };
        if let Some(disturbance) = disturbance {
            let place = rng.index(2);
            steps.insert(place, (0, disturbance));
        }
        let mut plan = Plan::hold(super::Temper::Dies);
        plan.steps = steps;
        plan
    }

    /// From now on nothing keeps a child from its exec for long.
    pub(super) fn hurry(&mut self, pid: i32) {
        let end = self.now.saturating_add(SECOND);
        let process = self.process_mut(pid);
        if matches!(process.whose, Whose::New(_)) {
            process.at = process.at.map(|at| at.min(end));
            process.frozen_until = process.frozen_until.map(|until| until.min(end));
        }
    }

    /// The session, and the group, of a new child.
    pub(super) fn lead(&mut self, pid: i32) {
        let process = self.process_mut(pid);
        (process.group, process.session) = (pid, pid);
    }

    /// It executes its program, and is a run or a command from now on; or it cannot, says so, and
    /// ends.
    pub(super) fn try_to_execute(&mut self, pid: i32, errno: Option<i32>) {
        let Some(errno) = errno else {
            return self.execute(pid);
        };
        let serial = self.processes[&pid].serial;
        self.launch_of(serial).fate = Fate::Failed(exec_failure(errno));
        self.check_is_not_executed(serial);
        let most = self.rng.pick(&[1, 100_000, 10_000_000]);
        let pause = self.rng.below(most);
        let mut plan = Plan::hold(super::Temper::Dies);
        plan.steps = vec![(pause, Action::Exit(127))];
        let now = self.now;
        self.process_mut(pid).follow(now, plan);
    }

    fn execute(&mut self, pid: i32) {
        let serial = self.processes[&pid].serial;
        let mut launch = self.launches.remove(&serial).expect("a new child");
        launch.fate = Fate::Executed;
        launch.executed = Some(self.next_serial());
        let index = launch.index;
        let (whose, plan) = match index {
            None => {
                let plan = match self.check_of(serial) {
                    Some(check) => self.plan_of_check(check),
                    None => self.moods.plan_of_command(&mut self.rng),
                };
                (Whose::Command, plan)
            }
            Some(index) => {
                self.programs[index].overlooks = false;
                let run = self.add_run(serial, index, &launch);
                launch.run = Some(run);
                (Whose::Run(run), self.plan_of_program(index))
            }
        };
        self.launches.insert(serial, launch);
        let now = self.now;
        let process = self.process_mut(pid);
        (process.whose, process.named) = (whose, index);
        process.follow(now, plan);
        let steps = self.processes[&pid].steps.clone();
        self.say(format_args!("executed  {pid}: {whose:?} {steps:?}"));
    }

    fn add_run(&mut self, serial: u64, index: usize, launch: &Launch) -> usize {
        let run = self.runs.len();
        let mut new = Run::new(index, launch.pid, serial, launch.pipe);
        new.started = self.now;
        new.report_bytes = launch.report_bytes;
        new.command.clone_from(&launch.command);
        (new.stdout, new.outputs) = (launch.stdout, launch.outputs);
        new.rotated = launch.rotated;
        new.truth = launch.truth.clone();
        self.socket_is_of(new.truth.socket, run);
        self.runs.push(new);
        self.programs[index].runs.push(run);
        run
    }

    fn launch_of(&mut self, serial: u64) -> &mut Launch {
        let launch = self.launches.get_mut(&serial);
        launch.expect("a child that the library has started")
    }

    /// A new child ends.
    pub(super) fn launch_ends(&mut self, serial: u64, exit: Exit) {
        // One that has failed, and said so, is known no more.
        let launch = self.launches.get_mut(&serial);
        if let Some(launch) = launch.filter(|launch| launch.fate == Fate::Pending) {
            launch.fate = Fate::Killed;
            launch.exit = Some(exit);
        }
    }

    /// What has become of it, asked in the start.
    pub fn ask(&mut self, serial: u64) -> Fate {
        let fate = self.launch_of(serial).fate;
        match fate {
            Fate::Pending => {
                self.counts.late += 1;
                self.launch_of(serial).is_late = true;
            }
            Fate::Failed(_) => {
                let index = self.launch_of(serial).index;
                self.start_failed(index);
                self.launches.remove(&serial);
            }
            Fate::Executed | Fate::Killed => self.launch_is_run(serial),
        }
        fate
    }

    /// The same, asked again.
    pub fn ask_late(&mut self, serial: u64) -> Fate {
        let Launch {
            fate,
            index,
            run,
            killed,
            ..
        } = *self.launch_of(serial);
        match fate {
            Fate::Pending => return fate,
            // The library does not know which it was: it is a start that failed.
            Fate::Executed | Fate::Killed if killed.is_some() => {
                self.counts.late_killed += 1;
                self.start_failed(index);
                if let Some(run) = run {
                    self.runs[run].reported = true;
                    self.runs[run].is_misjudged = true;
                }
                self.launches.remove(&serial);
            }
            Fate::Executed | Fate::Killed => {
                self.counts.late_executed += 1;
                self.launch_is_run(serial);
            }
            Fate::Failed(_) => {
                self.counts.late_failed += 1;
                self.start_failed(index);
                self.launches.remove(&serial);
            }
        }
        self.acts += 1;
        fate
    }

    /// One that died before its exec is taken for one that died after it, unless we know better.
    fn launch_is_run(&mut self, serial: u64) {
        let Some(launch) = self.launches.remove(&serial) else {
            return;
        };
        let now = self.now;
        let (Some(index), None) = (launch.index, launch.run) else {
            if let Some(run) = launch.run {
                self.runs[run].truth.known = Some(now);
            }
            return;
        };
        let run = self.add_run(serial, index, &launch);
        self.runs[run].truth.known = Some(now);
        (self.runs[run].exit, self.runs[run].ended) = (launch.exit, self.now);
        let process = self.processes.get_mut(&launch.pid);
        match process.filter(|process| process.serial == serial) {
            Some(process) => process.whose = Whose::Run(run),
            None => {
                self.runs[run].stolen = true;
                self.run_is_seen(run);
            }
        }
    }

    /// Whether it is not known yet what has become of this one, in the library.
    pub fn is_launching(&self, serial: u64) -> bool {
        self.launches
            .get(&serial)
            .is_some_and(|launch| launch.is_late)
    }

    /// An order ends the late start of a program, if there is one.
    pub(super) fn order_ends_launch(&mut self, index: usize) {
        let now = self.now;
        let launches = self.launches.values_mut();
        for launch in launches.filter(|launch| launch.index == Some(index)) {
            launch.ordered.get_or_insert(now);
        }
    }

    /// Which late starts an order has ended, and when.
    pub(super) fn launches_ordered(&self) -> BTreeMap<u64, Option<Time>> {
        let launches = self.launches.iter();
        launches
            .map(|(&serial, launch)| (serial, launch.ordered))
            .collect()
    }

    /// The same, taken back.
    pub(super) fn order_launches(&mut self, ordered: BTreeMap<u64, Option<Time>>) {
        for (serial, ordered) in ordered {
            if let Some(launch) = self.launches.get_mut(&serial) {
                launch.ordered = ordered;
            }
        }
    }

    /// The start of a program that is under way.
    pub(super) fn serial_launched(&self, index: usize) -> Option<u64> {
        let mut all = self.launches.iter();
        let (serial, _) = all.find(|(_, launch)| launch.index == Some(index))?;
        Some(*serial)
    }

    /// What a program is being started with.
    pub(super) fn command_launched(&self, index: usize) -> Option<(&Vec<OsString>, Outputs)> {
        let mut all = self.launches.values();
        let launch = all.find(|launch| launch.index == Some(index))?;
        Some((&launch.command, launch.outputs))
    }

    /// It may count as given up.
    pub(super) fn launch_may_be_given_up(&self, serial: u64) -> bool {
        let killed = self.launches.get(&serial).and_then(|launch| launch.killed);
        let is_over = |at: Time| at.saturating_add(ABANDON_AFTER) <= self.now;
        killed.is_some_and(|at| is_over(at) || self.is_out_of_time())
    }

    /// Whether something has become of it.
    pub(super) fn is_pending(&self, serial: u64) -> bool {
        let launch = self.launches.get(&serial);
        launch.is_some_and(|launch| launch.fate == Fate::Pending)
    }

    /// Whether there is an answer that the library could have asked for.
    pub fn is_launch_decided(&self) -> bool {
        let mut all = self.launches.values();
        all.any(|launch| launch.fate != Fate::Pending)
    }

    pub(super) fn is_being_launched(&self, index: usize) -> bool {
        let mut all = self.launches.values();
        all.any(|launch| launch.index == Some(index))
    }

    /// Neither an order nor the library ends its start.
    pub(super) fn is_launch_wanted(&self, index: usize) -> bool {
        let mut all = self
            .launches
            .values()
            .filter(|launch| launch.index == Some(index));
        all.any(|launch| launch.killed.is_none() && launch.ordered.is_none())
    }

    /// The library does not end its start.
    pub(super) fn is_launch_going_on(&self, index: usize) -> bool {
        let mut all = self.launches.values();
        all.any(|launch| launch.index == Some(index) && launch.killed.is_none())
    }

    /// What late starts of programs have open in the library, to say how they are.
    pub(super) fn signs_launched(&self) -> usize {
        let all = self.launches.values().filter(|launch| launch.run.is_none());
        all.map(|launch| Self::descriptors_of(&launch.truth.signs))
            .sum()
    }

    /// Late starts of programs, of which the library keeps a pipe each.
    pub fn launching(&self) -> usize {
        let all = self.launches.values();
        all.filter(|launch| launch.index.is_some()).count()
    }

    /// A late start is reported as given up.
    pub fn launch_is_abandoned(&mut self, index: usize, pid: i32) -> bool {
        let is_it = |launch: &&mut Launch| launch.index == Some(index) && launch.pid == pid;
        let Some(launch) = self.launches.values_mut().find(is_it) else {
            return false;
        };
        let is_first =
            launch.killed.is_some() && !std::mem::replace(&mut launch.is_abandoned, true);
        self.counts.late_abandoned += 1;
        is_first
    }

    /// The library forgets a late start without its answer, although it goes on.
    pub fn late_is_dropped(&mut self, serial: u64) {
        let launch = self.launch_of(serial);
        let (pid, is_killed) = (launch.pid, launch.killed.is_some());
        let lives = self.processes.get(&pid).is_some_and(Process::lives);
        if self.handle.is_some() && lives && !is_killed {
            self.violated(format!("the late start {pid} is forgotten"));
        }
    }

    /// The library has sent it a SIGKILL, dead or alive.
    pub(super) fn launch_is_killed(&mut self, serial: u64) {
        let now = self.now;
        let Some(launch) = self.launches.get_mut(&serial) else {
            return;
        };
        launch.killed.get_or_insert(now);
        // If it is given up as well, that may be the end of everything.
        let program = launch.index.map(|index| &self.programs[index]);
        self.may_be_stopping |= program.is_some_and(Program::ends_all_by_a_failed_start);
    }

    /// The library signals one of which it knows no exec.
    pub(super) fn problem_with_launch(&mut self, serial: u64, signal: i32) -> Option<&'static str> {
        let now = self.now;
        let (stop_asked, may_be_stopping) = (self.stop_asked, self.may_be_stopping);
        match signal {
            libc::SIGCONT => return None,
            libc::SIGKILL => {}
            _ => return Some("which has not executed its program, and gets nothing but SIGKILL"),
        }
        let Launch {
            index,
            begun,
            executed,
            ..
        } = *self.launch_of(serial);
        let index = index?;
        // Each order looks first.
        if executed.is_some_and(|at| at < self.ordered) {
            return Some("which had executed its program before the order");
        }
        if now >= begun.saturating_add(LAUNCH_MAX) {
            self.counts.late_over_time += 1;
            return None;
        }
        // A stop ends it at once.
        let is_asked = self.may_end_since(index, serial).is_some();
        let is_stopping = is_asked || stop_asked.is_some() || may_be_stopping;
        (!is_stopping).then_some("which has time left to execute its program")
    }

    /// At the end, whoever is still late was given up, and that was reported.
    pub fn check_late_reports(&self) -> Result<(), String> {
        let is_open = |launch: &&Launch| launch.index.is_some() && !launch.is_abandoned;
        match self.launches.values().find(is_open) {
            Some(launch) => Err(format!("{launch:?} was never reported")),
            None => Ok(()),
        }
    }

    /// What was to be killed long ago, and was not; and the zombies of starts that have failed.
    pub fn check_launches(&self) -> Result<(), String> {
        let is_left = |process: &&Process| {
            let is_new = matches!(process.whose, Whose::New(_)) && process.parent == Parent::Us;
            let is_known = self.launches.contains_key(&process.serial);
            is_new && !is_known && !process.lives() && self.now > process.ended_at + SECOND
        };
        if let Some(zombie) = self.processes.values().find(is_left) {
            return Err(format!("a start that failed stays a zombie: {zombie:?}"));
        }
        for launch in self.launches.values() {
            if launch.index.is_none() || !launch.is_late || launch.killed.is_some() {
                continue;
            }
            let stop = self.stop_asked.unwrap_or(Time::MAX);
            let order = launch.ordered.unwrap_or(Time::MAX);
            let end = (launch.begun + LAUNCH_MAX).min(stop).min(order);
            if launch.fate == Fate::Pending && self.now > end.saturating_add(LATE_MAX) {
                return Err(format!("a late start outlives its time: {launch:?}"));
            }
        }
        Ok(())
    }
}
