//! What happens to processes: birth, steps, signals, death, and who gets whom.

use std::os::fd::{FromRawFd, OwnedFd};

use super::messages::{Given, Sender, Word};
use super::process::{Action, Parent, Plan, Process, Temper, Time, Whose, WriteEnd};
use super::{Call, Kernel, NUMBERS_FROM, OTHERS_DESCRIPTORS_FROM, OUR_GROUP};
use crate::machine::Exit;
use crate::os::spawn::{Failure, Step};
use crate::spec::StdStream;

/// Messages in a flood.
const FLOOD: u32 = 20;

/// What happens by itself, beside what processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Another thread of the host asks for a stop, or for one without grace.
    Stop,
    Kill,
    /// Somebody sends us this signal.
    Signal(i32),
    /// A process of somebody else is born, with the next number.
    Stranger,
    /// The host starts a child of its own.
    HostChild,
    /// Somebody in the host reaps a child of ours.
    Theft,
    /// The disk has room for so many bytes from now on.
    Disk(Option<u64>),
    /// A process stops, or goes on.
    Halt,
    Resume,
    /// A connection is made, or refused.
    Answer(usize, bool),
    /// A connection has had the time that it may take.
    TimeIsUp(usize),
}

pub fn killed_by(signal: i32) -> Exit {
    Exit::Signal {
        signal,
        core_dumped: false,
    }
}

impl Kernel {
    pub fn next_event(&self) -> Option<Time> {
        let processes = self.processes.values().filter_map(Process::next_event);
        processes.chain(self.agenda.iter().map(|(at, _)| *at)).min()
    }

    /// All that is due happens, in order. Returns what the host does.
    pub(super) fn happen(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for _ in 0..1000 {
            let due = |at: &Time| *at <= self.now;
            let process = self
                .processes
                .iter()
                .filter_map(|(&pid, process)| Some((process.next_event().filter(due)?, pid)));
            let process = process.min();
            let deed = self
                .agenda
                .iter()
                .enumerate()
                .filter(|(_, (at, _))| due(at));
            let deed = deed
                .min_by_key(|(index, (at, _))| (*at, *index))
                .map(|(index, (at, _))| (*at, index));
            match (process, deed) {
                (None, None) => return deeds,
                (Some((at, pid)), deed) if deed.is_none_or(|(other, _)| at <= other) => {
                    self.act(pid)
                }
                (_, Some((_, index))) => {
                    let (_, deed) = self.agenda.remove(index);
                    self.say(format_args!("happens   {deed:?}"));
                    if matches!(deed, Deed::Stop | Deed::Kill) {
                        deeds.push(deed);
                    } else {
                        self.befall(deed);
                    }
                }
                (Some(_), None) => {
                    unreachable!("the guard takes every process when there is no deed")
                }
            }
        }
        deeds
    }

    fn befall(&mut self, deed: Deed) {
        match deed {
            Deed::Stop | Deed::Kill => {}
            Deed::Signal(signal) => self.signal_us(signal, 0),
            Deed::Stranger => self.bear_other(Parent::Init, Whose::Stranger),
            Deed::HostChild => self.bear_other(Parent::Us, Whose::Host),
            Deed::Theft => self.steal(),
            Deed::Disk(room) => self.disk = room,
            Deed::Answer(check, is_good) => self.answer_connection(check, is_good),
            Deed::TimeIsUp(check) => self.time_is_up(check),
            Deed::Halt | Deed::Resume => {
                let living: Vec<i32> = self.living().map(|(pid, _)| pid).collect();
                if !living.is_empty() {
                    let pid = self.rng.pick(&living);
                    self.hit(
                        pid,
                        if deed == Deed::Halt {
                            libc::SIGSTOP
                        } else {
                            libc::SIGCONT
                        },
                    );
                }
            }
        }
    }

    pub fn living(&self) -> impl Iterator<Item = (i32, &Process)> {
        let all = self.processes.iter().map(|(&pid, process)| (pid, process));
        all.filter(|(_, process)| process.lives())
    }

    /// A number is free when no process has it, as its own, its group's or its session's; the one
    /// that was given back last is given out first.
    fn free_number(&self) -> Option<i32> {
        let is_taken = |number: i32| {
            self.processes
                .iter()
                .any(|(&pid, process)| [pid, process.group, process.session].contains(&number))
        };
        let numbers = (NUMBERS_FROM..)
            .zip(&self.used)
            .filter(|(number, _)| !is_taken(*number));
        numbers
            .max_by_key(|(_, used)| **used)
            .map(|(number, _)| number)
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn bear_other(&mut self, parent: Parent, whose: Whose) {
        let Some(pid) = self.free_number() else {
            return;
        };
        let plan = self.moods.plan_of_others(&mut self.rng);
        let mut process = Process::new(self.next_serial(), parent, pid, whose);
        process.follow(self.now, plan);
        self.say(format_args!("born      {pid}: {whose:?}"));
        self.processes.insert(pid, process);
    }

    /// The library starts something.
    pub(super) fn spawn(
        &mut self,
        name: Option<&str>,
        command: &[String],
        stdio: [i32; 3],
        given: &Given,
    ) -> Result<(i32, u64), Failure> {
        let check = self.checked_by(command);
        let name = name.filter(|_| check.is_none());
        let index = name.map(|name| self.index_of(name));
        if let Some(index) = index {
            self.judge_start(index, command);
            self.judge_given(index, given);
        }
        let errno = self.fault(Call::Process);
        let Some(pid) = self.free_number().filter(|_| errno.is_none()) else {
            self.start_failed(index);
            if let Some((program, is_health)) = check {
                self.check_not_made(program, is_health, false);
            }
            return Err(Failure {
                step: Step::Process,
                errno: errno.unwrap_or(libc::EAGAIN),
                which: 0,
            });
        };
        let missing = index
            .filter(|&index| self.programs[index].is_missing)
            .map(|_| libc::ENOENT);
        let errno = missing.or_else(|| self.fault(Call::Exec));
        let is_late = !self.calm && self.weather.is_late(&mut self.rng);
        self.acts += 1;
        let serial = self.next_serial();
        let mut process = Process::new(serial, Parent::Us, pid, Whose::New(index));
        if let Some(index) = index {
            self.judge_stdio(index, stdio);
            (process.stdout, process.stderr) = (self.holds(stdio[1]), self.holds(stdio[2]));
            process.ready = given.passed.map(|passed| self.hold(passed.from));
            if let Some(ready) = &process.ready {
                self.pipes[ready.pipe].tells_ready = true;
            }
            process.socket = self.socket_named(given.socket.as_deref());
            let mut known = self.runs.iter();
            let known = known.any(|run| run.pid == pid && run.program != index);
            self.counts.inherited += u64::from(known);
        }
        match check {
            Some((program, is_health)) if errno.is_some() && !is_late => {
                self.check_not_made(program, is_health, true);
            }
            Some((program, is_health)) => self.check_is_made(program, is_health, pid, serial),
            None => {}
        }
        self.launch(pid, process, errno, is_late);
        Ok((pid, serial))
    }

    /// The same for a stream, which may be the null device.
    fn holds(&mut self, fd: i32) -> Option<WriteEnd> {
        self.pipe_behind(fd).map(|_| self.hold(fd))
    }

    /// A descriptor for a simulated process: numbered high, out of the library's way.
    fn hold(&mut self, fd: i32) -> WriteEnd {
        let pipe = self.pipe_written_by(fd);
        // SAFETY: plain numbers; the copy is nobody's yet. Whoever writes to a full pipe waits in
        // this world and not in the real one.
        let fd = unsafe {
            let copy = real_libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, OTHERS_DESCRIPTORS_FROM);
            assert!(copy >= 0, "a descriptor for a simulated process");
            real_libc::fcntl(copy, libc::F_SETFL, libc::O_WRONLY | libc::O_NONBLOCK);
            OwnedFd::from_raw_fd(copy)
        };
        WriteEnd { fd, pipe }
    }

    /// The next step of this process.
    fn act(&mut self, pid: i32) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if let Some(until) = process.frozen_until {
            debug_assert!(until <= now);
            process.frozen_until = None;
            if let Some(signal) = process.doomed {
                self.end(pid, killed_by(signal));
            }
            return;
        }
        let Some((_, action)) = process.steps.pop_front() else {
            process.at = None;
            return;
        };
        process.at = process
            .steps
            .front()
            .map(|(pause, _)| now.saturating_add(*pause));
        self.say(format_args!("acts      {pid}: {action:?}"));
        match action {
            Action::Write(stream, bytes) => self.write(pid, stream, bytes),
            Action::Fork(plan) => self.fork(pid, plan),
            Action::Lead => self.lead(pid),
            Action::Execute(errno) => self.try_to_execute(pid, errno),
            Action::Setsid => self.leave(pid, true),
            Action::Setpgid => self.leave(pid, false),
            Action::Close(StdStream::Stdout) => self.process_mut(pid).stdout = None,
            Action::Close(StdStream::Stderr) => self.process_mut(pid).stderr = None,
            Action::Stop => self.process_mut(pid).stopped = true,
            Action::Freeze(time) => {
                self.process_mut(pid).frozen_until = Some(now.saturating_add(time))
            }
            Action::Forget => self.process_mut(pid).named = None,
            Action::Say(word, sender) => self.send_word(pid, word, sender),
            Action::Flood(word, sender) => {
                (0..FLOOD).for_each(|_| self.send_word(pid, word, sender));
            }
            Action::Live(pause) => {
                self.send_word(pid, Word::Alive, Sender::Us);
                let process = self.process_mut(pid);
                process.steps.push_back((pause, action));
                process.at = process.at.or(Some(now.saturating_add(pause)));
            }
            Action::Tell(is_newline) => self.write_word(pid, is_newline),
            Action::CloseReady => self.process_mut(pid).ready = None,
            Action::Exit(code) => self.end(pid, Exit::Code(code)),
            Action::Die(signal) => {
                let core_dumped = signal == libc::SIGSEGV;
                self.end(
                    pid,
                    Exit::Signal {
                        signal,
                        core_dumped,
                    },
                );
            }
        }
    }

    pub(super) fn process_mut(&mut self, pid: i32) -> &mut Process {
        self.processes.get_mut(&pid).expect("a process that acts")
    }

    /// A new session, or a new group; who leads one already cannot.
    fn leave(&mut self, pid: i32, session: bool) {
        let process = self.process_mut(pid);
        if process.group != pid {
            process.group = pid;
            process.left = true;
            if session {
                process.session = pid;
            }
            self.counts.escapes += 1;
        }
    }

    fn fork(&mut self, parent: i32, plan: Plan) {
        let Some(pid) = self.free_number() else {
            return;
        };
        let serial = self.next_serial();
        let from = &self.processes[&parent];
        let mut child = Process::new(serial, Parent::Process(parent), pid, from.whose);
        (child.group, child.session, child.named) = (from.group, from.session, from.named);
        child.left = from.left;
        let copied = |end: &Option<WriteEnd>| {
            end.as_ref().map(|end| WriteEnd {
                fd: copy(&end.fd),
                pipe: end.pipe,
            })
        };
        (child.stderr, child.ready) = (copied(&from.stderr), copied(&from.ready));
        child.stdout = copied(&from.stdout);
        child.socket = from.socket;
        child.follow(self.now, plan);
        self.say(format_args!(
            "forked    {pid}: of {parent}, group {}",
            child.group
        ));
        self.processes.insert(pid, child);
    }

    /// kill(2).
    pub fn kill(&mut self, pid: i32, signal: i32) -> Result<(), i32> {
        let targets: Vec<i32> = if pid > 0 {
            self.processes.get(&pid).map(|_| pid).into_iter().collect()
        } else {
            self.members(-pid)
        };
        // Between this question and the signal by number that follows it, nothing can exclude
        // that the number goes to another: see the head of `src/os/group.rs`.
        self.at_once = pid > 0 && signal == 0 && targets.is_empty();
        self.send(targets, signal)
    }

    pub(super) fn members(&self, group: i32) -> Vec<i32> {
        let members = self
            .processes
            .iter()
            .filter(|(_, process)| process.group == group);
        members.map(|(&pid, _)| pid).collect()
    }

    pub(super) fn send(&mut self, targets: Vec<i32>, signal: i32) -> Result<(), i32> {
        if targets.is_empty() {
            return Err(libc::ESRCH);
        }
        if signal != 0 {
            self.acts += 1;
            self.say(format_args!("signal    {signal} to {targets:?}"));
            for &pid in &targets {
                self.judge_signal(pid, signal);
                if signal == libc::SIGKILL {
                    self.launch_is_killed(self.processes[&pid].serial);
                    self.judge_check_kill(self.processes[&pid].serial);
                }
            }
            for &pid in &targets {
                self.hit(pid, signal);
            }
        }
        Ok(())
    }

    /// A signal reaches a process.
    pub fn hit(&mut self, pid: i32, signal: i32) {
        let now = self.now;
        let Some(process) = self
            .processes
            .get_mut(&pid)
            .filter(|process| process.lives())
        else {
            return;
        };
        match signal {
            libc::SIGKILL if process.frozen_until.is_some() => {
                process.doomed = Some(signal);
                self.was_doomed = true;
            }
            libc::SIGKILL => self.end(pid, killed_by(signal)),
            libc::SIGSTOP => process.stopped = true,
            libc::SIGCONT => {
                process.stopped = false;
                for signal in std::mem::take(&mut process.held) {
                    self.hit(pid, signal);
                }
            }
            _ if process.stopped => process.held.push(signal),
            _ => match process.temper {
                Temper::Ignores => {}
                Temper::Dies if process.frozen_until.is_some() => process.doomed = Some(signal),
                Temper::Dies => self.end(pid, killed_by(signal)),
                Temper::Leaves(pause, code) => {
                    let steps = vec![(pause, Action::Exit(code))];
                    let reaps = process.reaps;
                    process.unwritten = 0;
                    process.follow(
                        now,
                        Plan {
                            steps,
                            temper: Temper::Ignores,
                            reaps,
                        },
                    );
                }
            },
        }
    }

    /// A process ends: its children find another parent first, then it is a zombie, and then its
    /// parent is told.
    pub fn end(&mut self, pid: i32, exit: Exit) {
        self.say(format_args!("ends      {pid}: {exit:?}"));
        let now = self.now;
        let process = self.process_mut(pid);
        (process.ended, process.ended_at) = (Some(exit), now);
        (process.stdout, process.stderr, process.ready) = (None, None, None);
        for pidfd in std::mem::take(&mut process.pidfds) {
            nudge(&pidfd);
        }
        let (parent, whose, serial) = (process.parent, process.whose, process.serial);
        if let Whose::Run(run) = whose
            && self.runs[run].serial == serial
        {
            self.runs[run].exit = Some(exit);
            self.runs[run].ended = self.now;
        }
        if matches!(whose, Whose::New(_)) {
            self.launch_ends(serial, exit);
        }
        self.check_ends(serial, exit);
        self.find_parents_for_children_of(pid);
        match parent {
            Parent::Us => self.signal_us(libc::SIGCHLD, pid),
            Parent::Init => self.remove(pid),
            Parent::Process(parent) if self.processes[&parent].reaps => self.remove(pid),
            Parent::Process(_) => {}
        }
    }

    fn find_parents_for_children_of(&mut self, pid: i32) {
        let is_child = |process: &Process| process.parent == Parent::Process(pid);
        let children = self
            .processes
            .iter()
            .filter(|(_, process)| is_child(process));
        let children: Vec<i32> = children.map(|(&pid, _)| pid).collect();
        for child in children {
            let adopted = self.next_serial();
            let heir = if self.subreaper {
                Parent::Us
            } else {
                Parent::Init
            };
            let now = self.now;
            let process = self.process_mut(child);
            (process.parent, process.adopted, process.adopted_at) = (heir, adopted, now);
            let is_dead = !process.lives();
            match heir {
                Parent::Us if is_dead => self.signal_us(libc::SIGCHLD, child),
                Parent::Init if is_dead => self.remove(child),
                _ => {}
            }
        }
    }

    /// Its number is free if nobody else has it.
    pub(super) fn remove(&mut self, pid: i32) {
        let Some(process) = self.processes.remove(&pid) else {
            return;
        };
        let numbers = [process.session, process.group, pid];
        for number in numbers.into_iter().filter(|&number| number != OUR_GROUP) {
            self.uses += 1;
            self.used[(number - NUMBERS_FROM) as usize] = self.uses;
        }
    }

    /// Somebody in the host takes the status of one of ours, but of no command: those have no
    /// descriptor that would tell them from the next child of their number.
    fn steal(&mut self) {
        let zombies = self.processes.iter().filter(|(_, process)| {
            process.parent == Parent::Us
                && !process.lives()
                && !matches!(process.whose, Whose::Inherited | Whose::Command)
        });
        let zombies: Vec<i32> = zombies.map(|(&pid, _)| pid).collect();
        if zombies.is_empty() {
            return;
        }
        let pid = self.rng.pick(&zombies);
        self.say(format_args!("stolen    {pid}"));
        self.counts.thefts += 1;
        if let Whose::Run(run) = self.processes[&pid].whose
            && self.runs[run].pid == pid
        {
            self.runs[run].stolen = true;
            self.run_is_seen(run);
        }
        self.gone_for_good(pid);
    }
}

fn copy(fd: &OwnedFd) -> OwnedFd {
    use std::os::fd::AsRawFd;
    // SAFETY: plain numbers; the copy is nobody's yet.
    unsafe {
        let copy = real_libc::fcntl(
            fd.as_raw_fd(),
            libc::F_DUPFD_CLOEXEC,
            OTHERS_DESCRIPTORS_FROM,
        );
        assert!(copy >= 0, "a descriptor for a simulated process");
        OwnedFd::from_raw_fd(copy)
    }
}

/// Makes the other copies of an eventfd(2) readable.
fn nudge(fd: &OwnedFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: eight bytes of a live number.
    unsafe { real_libc::write(fd.as_raw_fd(), (&raw const ONE).cast(), 8) };
}

static ONE: u64 = 1;
