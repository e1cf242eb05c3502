//! Checks of programs from outside: commands that run beside them, and connections to them.
//!
//! A command for a check is known by its file, and says what it is for. A connection is known by its
//! address. It is one end of a pipe of the real kernel's: a full one while there is no answer, as that
//! is not writable; and its other end, held here, says when the library has closed it.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::fates::Deed;
use super::law::LATE_MAX;
use super::pipes::Descriptor;
use super::plans::{MILLISECOND, SECOND};
use super::process::{Action, Plan, Temper, Time};
use super::programs::Run;
use super::signs::nanos;
use super::weather::Call;
use super::{Kernel, OTHERS_DESCRIPTORS_FROM};
use crate::machine::Exit;

/// The file of each command that checks.
pub const COMMAND: &str = "check";

/// The ports at which programs are found to be ready, and to be well, in the order of their names.
pub const READY_PORT: u16 = 7_000;
pub const HEALTH_PORT: u16 = 8_000;

const PAGE: usize = 4096;

/// How long after its time the library has given up a connection, as a rule; before the next one.
const TURN: Time = 20 * MILLISECOND;

/// How long the library waits for a command that it has killed, before the next of its program.
const FORMER_MAX: Time = SECOND;

/// What a connect(2) may be refused with, which is a failure or, a few of them, says nothing.
const REFUSALS: [i32; 16] = [
    libc::ECONNREFUSED,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::ETIMEDOUT,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EPERM,
    libc::ENOENT,
    libc::EAGAIN,
    libc::EADDRNOTAVAIL,
    libc::EADDRINUSE,
    libc::EAFNOSUPPORT,
    libc::ENOBUFS,
    libc::EMFILE,
    libc::EIO,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Connected,
    /// By itself: nothing listens there.
    Itself,
    Refused(i32),
}

#[derive(Debug)]
enum Act {
    /// The serial of its process.
    Command {
        serial: u64,
        pid: i32,
    },
    Connection {
        end: End,
        answer: Option<Answer>,
    },
}

/// Our end of a connection, until the library is seen to have closed its own.
#[derive(Debug)]
struct End(RefCell<Option<OwnedFd>>);

/// One check.
#[derive(Debug)]
pub struct Check {
    program: usize,
    /// The run that it was made for.
    run: usize,
    is_health: bool,
    begun: Time,
    timeout: Time,
    act: Act,
    killed: Option<Time>,
    /// When it had a result of its own.
    over: Option<Time>,
    /// When its command was reaped.
    gone: Option<Time>,
}

impl Kernel {
    /// The program that a command checks, and for what, if it is one that does.
    pub(super) fn checked_by(&self, command: &[String]) -> Option<(usize, bool)> {
        let [file, what, name] = command else {
            return None;
        };
        let is_check = file.rsplit('/').next() == Some(COMMAND);
        is_check.then(|| (self.index_of(name), what == "health"))
    }

    /// A check begins: it may, and is due.
    fn begin_check(&mut self, program: usize, is_health: bool, act: Act) -> usize {
        let now = self.now;
        let run = *self.programs[program].runs.last().expect("a run to check");
        if let Some(problem) = self.problem_with_check(program, run, is_health) {
            let name = self.programs[program].name.clone();
            let run = format!("{:?}", self.runs[run]);
            self.violated(format!("a check of {name} begins {problem}: {run}"));
        }
        let probe = self.runs[run].truth.signs.probe(is_health);
        let timeout = probe.map_or(0, |probe| nanos(probe.timeout));
        self.acts += 1;
        self.counts.checks += 1;
        let index = self.checks.len();
        self.say(format_args!(
            "check     {index} of {run}, health: {is_health}, {act:?}"
        ));
        self.checks.push(Check {
            program,
            run,
            is_health,
            begun: now,
            timeout,
            act,
            killed: None,
            over: None,
            gone: None,
        });
        index
    }

    fn problem_with_check(&self, program: usize, run: usize, is_health: bool) -> Option<String> {
        let of = &self.runs[run];
        let truth = &of.truth;
        let Some(probe) = truth.signs.probe(is_health) else {
            return Some("although there is none".to_owned());
        };
        if self.stop_was_known {
            return Some("after a stop request".to_owned());
        }
        if truth.known.is_none() || of.seen || of.reported {
            return Some("for a run that is not there".to_owned());
        }
        if is_health && self.up_since(of).is_none() {
            return Some("of its health, before it is up".to_owned());
        }
        if !is_health && truth.up_told.is_some() {
            return Some("of its readiness, although it is up".to_owned());
        }
        let checks = self.checks.iter().enumerate();
        let mut others = checks.filter(|(_, check)| check.program == program);
        if let Some((other, _)) = others.find(|(_, check)| self.is_underway(check)) {
            return Some(format!("beside another, {other}"));
        }
        let mut others = self.checks.iter().rev();
        let latest = others.find(|check| check.run == run && check.is_health == is_health);
        let earliest = latest.and_then(|check| self.over_min(check))?;
        let due = earliest.saturating_add(nanos(probe.interval));
        (self.now.saturating_add(LATE_MAX) < due).then(|| format!("too early, {due}"))
    }

    /// The library cannot hold it for over.
    fn is_underway(&self, check: &Check) -> bool {
        if check
            .killed
            .is_some_and(|at| at.saturating_add(FORMER_MAX) <= self.now)
        {
            return false;
        }
        match &check.act {
            Act::Command { .. } if check.over.is_some() => false,
            Act::Command { serial, pid } => self
                .processes
                .get(pid)
                .is_some_and(|process| process.serial == *serial && process.lives()),
            Act::Connection { end, .. } => !end.is_closed(),
        }
    }

    fn over_min(&self, check: &Check) -> Option<Time> {
        let late = check.begun.saturating_add(check.timeout);
        let ends = check.over.into_iter().chain(check.killed);
        ends.min().or((late <= self.now).then_some(late))
    }

    /// One of its program is under way, or was not reaped.
    pub(super) fn is_checked(&self, program: usize) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| {
            check.program == program
                && match &check.act {
                    Act::Command { serial, pid } => self
                        .processes
                        .get(pid)
                        .is_some_and(|process| process.serial == *serial),
                    Act::Connection { end, .. } => !end.is_closed(),
                }
        })
    }

    /// Connections for the health of this run that have had no answer in time: failures which are
    /// counted here a little later. Returns since when, and how many there are.
    pub(super) fn uncounted_failures(&self, run: &Run) -> Option<(Time, u32)> {
        let fails = |check: &&Check| {
            let is_of_run = self.runs[check.run].serial == run.serial;
            is_of_run && check.is_health && check.over.is_none() && check.killed.is_none()
        };
        let is_over = |at: &Time| *at <= self.now.saturating_add(LATE_MAX);
        let ends = self.checks.iter().filter(fails);
        let ends = ends.map(|check| check.begun.saturating_add(check.timeout));
        let ends: Vec<Time> = ends.filter(is_over).collect();
        Some((*ends.iter().min()?, ends.len() as u32))
    }

    /// Since when the command of an earlier check has survived a SIGKILL for long: each check is a
    /// failure then, and not seen here.
    pub(super) fn survived_since(&self, program: usize) -> Option<Time> {
        let ends = self.checks.iter().filter_map(|check| {
            let end = check.killed?.saturating_add(FORMER_MAX - LATE_MAX);
            let gone = check.gone.unwrap_or(self.now);
            (check.program == program && end <= gone).then_some(end)
        });
        ends.min()
    }

    /// When the latest check of this run was over, at the latest.
    pub(super) fn checked_until(&self, run: &Run) -> Option<Time> {
        let mut checks = self.checks.iter().rev();
        let latest = checks.find(|check| self.runs[check.run].serial == run.serial);
        let open = latest.filter(|check| check.over.is_none() && check.killed.is_none());
        let open = open.map(|check| check.begun.saturating_add(check.timeout));
        open.max(run.truth.checked)
    }

    fn note_checked(&mut self, run: usize) {
        let now = self.now;
        let checked = &mut self.runs[run].truth.checked;
        *checked = (*checked).max(Some(now));
    }

    /// A command for a check could not be started.
    pub(super) fn check_not_made(&mut self, program: usize, is_health: bool, is_failure: bool) {
        let Some(&run) = self.programs[program].runs.last() else {
            return;
        };
        self.counts.checks_unmade += 1;
        self.note_checked(run);
        let now = self.now;
        if is_health && is_failure {
            self.runs[run].truth.check_failed(now, false);
        }
    }

    /// A command for a check has a process.
    pub(super) fn check_is_made(&mut self, program: usize, is_health: bool, pid: i32, serial: u64) {
        self.begin_check(program, is_health, Act::Command { serial, pid });
    }

    pub(super) fn check_of(&self, serial: u64) -> Option<usize> {
        let mut checks = self.checks.iter();
        checks
            .rposition(|check| matches!(check.act, Act::Command { serial: of, .. } if of == serial))
    }

    /// What a command for a check does.
    pub(super) fn plan_of_check(&mut self, check: usize) -> Plan {
        let is_health = self.checks[check].is_health;
        let timeout = self.checks[check].timeout;
        let rng = &mut self.rng;
        let mut plan = Plan::hold(Temper::Ignores);
        if self.moods.fair {
            plan.steps
                .push((MILLISECOND.min(timeout / 2), Action::Exit(0)));
            return plan;
        }
        let most = rng.pick(&[1, 1_000, MILLISECOND, timeout, 2 * timeout]);
        let pause = rng.below(most.max(1));
        if rng.one_in(6) {
            plan.steps
                .push((0, Action::Fork(Plan::hold(Temper::Ignores))));
        }
        if rng.one_in(24) {
            plan.steps.push((0, Action::Freeze(rng.below(3 * SECOND))));
        }
        let passes = if is_health { 4 } else { 2 };
        match rng.below(8) {
            // It hangs.
            0 => {}
            1 => plan.steps.push((pause, Action::Die(libc::SIGSEGV))),
            at if at < 8 - passes => plan.steps.push((pause, Action::Exit(1))),
            _ => plan.steps.push((pause, Action::Exit(0))),
        }
        plan
    }

    /// A command for a check has ended.
    pub(super) fn check_ends(&mut self, serial: u64, exit: Exit) {
        let Some(index) = self.check_of(serial) else {
            return;
        };
        let now = self.now;
        let check = &mut self.checks[index];
        let run = check.run;
        if check.over.is_none() {
            check.over = Some(now);
        } else {
            return;
        }
        if check.killed.is_none() {
            let limit = check.begun.saturating_add(check.timeout);
            let in_time = now.saturating_add(LATE_MAX) < limit;
            self.check_has_result(index, exit == Exit::Code(0), in_time);
        }
        self.note_checked(run);
    }

    /// What was to be a check says that it cannot be executed.
    pub(super) fn check_is_not_executed(&mut self, serial: u64) {
        let Some(index) = self.check_of(serial) else {
            return;
        };
        let now = self.now;
        let check = &mut self.checks[index];
        check.over = Some(now);
        let (run, is_health) = (check.run, check.is_health);
        if is_health {
            self.runs[run].truth.check_failed(now, false);
        }
        self.note_checked(run);
    }

    fn check_has_result(&mut self, index: usize, passed: bool, in_time: bool) {
        let Check { run, is_health, .. } = self.checks[index];
        let now = self.now;
        let (turn, runs) = (self.turn_time(), self.is_free(&self.runs[run]));
        let truth = &mut self.runs[run].truth;
        self.counts.checks_passed += u64::from(passed);
        self.counts.checks_failed += u64::from(!passed);
        match (is_health, passed) {
            (false, true) => truth.is_ready_at(now, turn, in_time && runs),
            (false, false) => {}
            (true, true) if in_time => truth.check_passed(true),
            // It may count as one that took too long.
            (true, true) => truth.check_failed(now, false),
            (true, false) => truth.check_failed(now, runs),
        }
    }

    /// The library kills the command of a check, or what was to become one.
    pub(super) fn judge_check_kill(&mut self, serial: u64) {
        let Some(index) = self.check_of(serial) else {
            return;
        };
        let now = self.now;
        let check = &self.checks[index];
        if check.killed.is_some() || check.over.is_some() {
            return;
        }
        let run = &self.runs[check.run];
        let is_late = check.begun.saturating_add(check.timeout) <= now.saturating_add(LATE_MAX);
        let goes_on = self.is_free(run) && self.handle.is_some();
        let is_ready = !check.is_health && self.up_since(run).is_some();
        if goes_on && !is_late && !is_ready {
            self.violated(format!(
                "check {index} is killed, although it has time: {check:?}"
            ));
            return;
        }
        self.counts.checks_killed += 1;
        let (run, is_health) = (check.run, check.is_health);
        self.checks[index].killed = Some(now);
        if is_health {
            self.runs[run].truth.check_failed(now, goes_on && is_late);
        }
        self.note_checked(run);
    }

    /// It lives, and nothing has ended it yet.
    fn is_free(&self, run: &Run) -> bool {
        let is_free = !run.is_signalled && !run.seen && run.exit.is_none() && !run.reported;
        is_free
            && self.stop_asked.is_none()
            && !self.may_be_stopping
            && self.may_end_since(run.program, run.serial).is_none()
    }

    /// What is left of a check that is over: nothing.
    pub(super) fn judge_check_reap(&mut self, pid: i32, serial: u64) {
        let Some(index) = self.check_of(serial) else {
            return;
        };
        self.checks[index].gone = Some(self.now);
        if let Some(&run) = self.programs[self.checks[index].program].runs.last() {
            self.note_checked(run);
        }
        let left = self.living().find(|(other, process)| {
            *other != pid && process.group == pid && !process.left && process.doomed.is_none()
        });
        if let Some((left, _)) = left {
            self.violated(format!(
                "check {index} is over, and {left} of its group is there"
            ));
        }
    }

    /// After a turn: none takes longer than it may, or outlives its run.
    pub(super) fn check_checks(&self) -> Result<(), String> {
        for (index, check) in self.checks.iter().enumerate() {
            if check.killed.is_some() || check.over.is_some() || !self.is_underway(check) {
                continue;
            }
            let run = &self.runs[check.run];
            let time = check.begun.saturating_add(check.timeout);
            let end = match run.seen && run.reaped {
                true => time.min(run.ended.saturating_add(LATE_MAX).max(check.begun)),
                false => time,
            };
            if end.saturating_add(3 * LATE_MAX) < self.now {
                return Err(format!(
                    "check {index} outlives its time: {check:?} of {run:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Connections.
impl Kernel {
    /// socket(2), for a stream.
    pub fn stream_socket(&mut self) -> Result<OwnedFd, i32> {
        if let Some(errno) = self.fault(Call::Socket) {
            self.some_connection_fails();
            return Err(errno);
        }
        let made = real_nix::unistd::pipe2(real_nix::fcntl::OFlag::O_CLOEXEC);
        let (read, write) = made.expect("a pipe");
        // SAFETY: plain numbers; the copy is new.
        let end = unsafe {
            real_libc::fcntl(read.as_raw_fd(), libc::F_SETPIPE_SZ, PAGE as i32);
            let copy = real_libc::fcntl(
                read.as_raw_fd(),
                libc::F_DUPFD_CLOEXEC,
                OTHERS_DESCRIPTORS_FROM,
            );
            assert!(copy >= 0, "a descriptor for a simulated process");
            OwnedFd::from_raw_fd(copy)
        };
        drop(read);
        if write.as_raw_fd() as u64 >= self.weather.descriptors_max {
            self.some_connection_fails();
            return Err(libc::EMFILE);
        }
        self.descriptors
            .insert(write.as_raw_fd(), Descriptor::Stream(self.checks.len()));
        self.unconnected = Some(end);
        Ok(write)
    }

    /// Whose address it would have been is not known here.
    fn some_connection_fails(&mut self) {
        let now = self.now;
        for run in &mut self.runs {
            run.truth.check_failed(now, false);
        }
    }

    /// connect(2), to this port, or to the socket of this name.
    pub fn connect(&mut self, fd: i32, to: Result<u16, String>) -> Result<(), i32> {
        let Some(&Descriptor::Stream(index)) = self.descriptors.get(&fd) else {
            panic!("{fd} is no socket");
        };
        if let Some(check) = self.checks.get(index) {
            // It was interrupted, and goes on.
            return match &check.act {
                Act::Connection { answer: None, .. } => Err(libc::EALREADY),
                Act::Connection {
                    answer: Some(Answer::Refused(errno)),
                    ..
                } => Err(*errno),
                _ => Err(libc::EISCONN),
            };
        }
        let (program, is_health) = self.addressee(&to);
        let end = self.unconnected.take().expect("a socket just made");
        let end = End(RefCell::new(Some(end)));
        let act = Act::Connection { end, answer: None };
        let index = self.begin_check(program, is_health, act);
        let passes = match (self.moods.fair, is_health) {
            (true, _) => true,
            (false, true) => !self.rng.one_in(3),
            (false, false) => self.rng.one_in(2),
        };
        let answer = match passes {
            true => Answer::Connected,
            false if self.rng.one_in(6) => Answer::Itself,
            false => Answer::Refused(self.rng.pick(&REFUSALS)),
        };
        let is_local = to.is_err();
        let is_at_once = is_local || self.moods.fair || self.rng.one_in(2);
        if !is_at_once {
            self.counts.connections_slow += 1;
            fill(fd);
            let timeout = self.checks[index].timeout;
            let most = self.rng.pick(&[1, MILLISECOND, timeout, 2 * timeout]);
            let at = self.now + self.rng.below(most.max(1));
            let end = self.now.saturating_add(timeout).saturating_add(TURN);
            self.agenda.push((end, Deed::TimeIsUp(index)));
            if !self.rng.one_in(8) {
                self.agenda
                    .push((at, Deed::Answer(index, answer == Answer::Connected)));
            }
            return Err(if self.rng.one_in(8) {
                libc::EINTR
            } else {
                libc::EINPROGRESS
            });
        }
        self.is_answered(index, answer);
        match answer {
            _ if self.rng.one_in(16) => Err(libc::EINTR),
            Answer::Refused(errno) => Err(errno),
            Answer::Connected | Answer::Itself => Ok(()),
        }
    }

    fn addressee(&self, to: &Result<u16, String>) -> (usize, bool) {
        let names = crate::kernel::setting::NAMES;
        let (name, is_health) = match to {
            Ok(port) if *port >= HEALTH_PORT => (names[usize::from(port - HEALTH_PORT)], true),
            Ok(port) => (names[usize::from(port - READY_PORT)], false),
            Err(file) => {
                let (what, name) = file.split_once('-').expect("what it is for, and a name");
                (name, what == "health")
            }
        };
        (self.index_of(name), is_health)
    }

    /// The answer to a connect(2) that was not over at once.
    pub(super) fn answer_connection(&mut self, index: usize, is_good: bool) {
        let answer = match is_good {
            true => Answer::Connected,
            false if self.rng.one_in(4) => Answer::Itself,
            false => Answer::Refused(self.rng.pick(&REFUSALS)),
        };
        let Act::Connection { end, .. } = &self.checks[index].act else {
            return;
        };
        if end.is_closed() {
            return;
        }
        end.empty();
        self.is_answered(index, answer);
    }

    fn is_answered(&mut self, index: usize, now_answer: Answer) {
        let now = self.now;
        let calls = [Call::PollOne, Call::PeerName, Call::SocketError];
        let may_fail = calls.iter().any(|&call| self.weather.may_fail(call));
        let check = &mut self.checks[index];
        let is_late = check.begun.saturating_add(check.timeout) <= now.saturating_add(LATE_MAX);
        check.over = Some(now);
        let run = check.run;
        if let Act::Connection { answer, .. } = &mut check.act {
            *answer = Some(now_answer);
        }
        let is_certain = !may_fail && !is_late;
        match now_answer {
            Answer::Connected => self.check_has_result(index, true, is_certain),
            Answer::Itself if is_certain => self.check_has_result(index, false, true),
            // Of some errors it is not known here whether they are failures.
            Answer::Itself | Answer::Refused(_) => {
                self.counts.checks_failed += 1;
                if self.checks[index].is_health {
                    self.runs[run].truth.check_failed(now, false);
                }
            }
        }
        self.note_checked(run);
    }

    /// The library is sure to have given up a connection that has no answer.
    pub(super) fn time_is_up(&mut self, index: usize) {
        let now = self.now;
        let check = &mut self.checks[index];
        if check.over.is_some() {
            return;
        }
        check.over = Some(check.begun.saturating_add(check.timeout));
        let run = check.run;
        let is_certain = self.is_free(&self.runs[run]);
        if self.checks[index].is_health {
            self.runs[run].truth.check_failed(now, is_certain);
        }
        self.note_checked(run);
    }

    fn answer_at(&self, fd: i32) -> Option<Answer> {
        let Some(&Descriptor::Stream(index)) = self.descriptors.get(&fd) else {
            return None;
        };
        match &self.checks.get(index)?.act {
            Act::Connection { answer, .. } => *answer,
            Act::Command { .. } => None,
        }
    }

    /// getsockopt(2), SO_ERROR.
    pub fn socket_error(&mut self, fd: i32) -> Result<i32, i32> {
        if let Some(errno) = self.fault(Call::SocketError) {
            return Err(errno);
        }
        Ok(match self.answer_at(fd) {
            Some(Answer::Refused(errno)) => errno,
            _ => 0,
        })
    }

    /// getpeername(2) and getsockname(2): the ports of both ends.
    pub fn ports(&mut self, fd: i32) -> Result<(u16, u16), i32> {
        if let Some(errno) = self.fault(Call::PeerName) {
            return Err(errno);
        }
        match self.answer_at(fd) {
            Some(Answer::Connected) => Ok((READY_PORT, 40_000)),
            Some(Answer::Itself) => Ok((READY_PORT, READY_PORT)),
            Some(Answer::Refused(_)) | None => Err(libc::ENOTCONN),
        }
    }
}

/// Fills a pipe, so that it is not writable.
fn fill(fd: i32) {
    let bytes = [0_u8; PAGE];
    // SAFETY: a live buffer that fits.
    let written = unsafe { real_libc::write(fd, bytes.as_ptr().cast(), PAGE) };
    assert_eq!(written, PAGE as isize, "an empty pipe");
}

impl End {
    fn is_closed(&self) -> bool {
        let mut end = self.0.borrow_mut();
        let Some(fd) = &*end else {
            return true;
        };
        let mut poll = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one live structure, and no wait.
        unsafe { real_libc::poll(&raw mut poll, 1, 0) };
        if poll.revents & libc::POLLHUP != 0 {
            *end = None;
        }
        end.is_none()
    }

    /// Makes the library's end writable.
    fn empty(&self) {
        let mut buffer = [0; PAGE];
        let end = self.0.borrow();
        let read = end
            .as_ref()
            .map(|end| real_nix::unistd::read(end, &mut buffer));
        assert_eq!(read, Some(Ok(PAGE)), "a full pipe");
    }
}
