//! Readiness: the way from what a program says of itself, or does not, to the machine.
//!
//! A run has what it needs from its start on: a pipe for `{"fd": n}`, a socket for `"notify"` and for
//! a watchdog. When it has executed its program they are polled, and a delay begins. What has arrived
//! when its leader is found dead still counts, as it was said before; then everything is closed, so
//! that nothing late reaches the next run. Whether what it says changes anything is the machine's
//! matter: readiness after a stop does not.
//!
//! A flood on a socket or a pipe waits its turn, as the flood on stderr does. What is not a message of
//! the run is dropped: any process can send it. That it came from another user is a warning, once a
//! run, as it may be the run's own word.

mod message;

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::machine::state::State;
use crate::machine::timers::Timers;
use crate::machine::{Input, Moment, ProgramId, Run};
use crate::os::notify::{MESSAGE_BYTES_MAX, NotifySocket, Received};
use crate::os::poller::Poller;
use crate::os::ready_pipe::{Found, ReadyPipe};
use crate::os::spawn::Passed;
use crate::program::{Key, Sparse};
use crate::spec::Ready;

use self::message::Message;
use super::capture::Capture;
use super::core::Core;
use super::fd_budget::FdBudget;
use super::signs::{Phase, Signs};

/// Messages that a turn takes from one socket.
const MESSAGES_PER_TURN_MAX: usize = 32;

/// Messages that are taken from a socket before its run has ended, or is ended: more than its queue
/// has, by net.unix.max_dgram_qlen, which is 10, or 512 with systemd.
const LAST_MESSAGES_MAX: usize = 1024;

/// Looks into the pipe of such a run: one for each page, and one for the end.
const LAST_LOOKS_MAX: usize = 17;

/// How long after the end of its pipe, without a newline, a program has to live before that is worth a
/// message. One that exits closes its descriptors before it is dead.
const END_REPORTED_AFTER: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Readiness {
    /// The runs that say something of themselves, from their start to the death of their leader.
    runs: Sparse<Watched>,
    /// When a delay is over, or the end of a pipe is reported: each run has one of both at most.
    timers: Timers<ProgramId>,
    /// Made for the first run with a socket.
    buffer: Option<Box<[u8; MESSAGE_BYTES_MAX]>>,
}

struct Watched {
    run: Run,
    delay: Option<Duration>,
    /// When its delay is over, once it has begun.
    delay_end: Option<Moment>,
    pipe: Option<ReadyPipe>,
    /// The number that its end of the pipe has there.
    number: i32,
    socket: Option<NotifySocket>,
    /// True if a message says that it is ready, and nothing else does.
    says_ready: bool,
    /// True if pipe and socket are in the poller.
    is_polled: bool,
    /// True if the pipe has come to its end without a newline.
    is_pipe_over: bool,
    /// True if a message of another user was reported.
    is_stranger_reported: bool,
    status: Option<Box<str>>,
}

/// What a process is given at its start.
#[derive(Default)]
pub(super) struct Given {
    /// The program's end of its pipe, and the number that it gets there.
    pipe: Option<(OwnedFd, i32)>,
}

impl Given {
    /// Returns the descriptor that goes along with the standard streams.
    pub(super) fn passed(&self) -> Option<Passed> {
        let (end, number) = self.pipe.as_ref()?;
        Some(Passed {
            from: end.as_raw_fd(),
            to: *number,
        })
    }
}

/// Why a run cannot get what it needs: what failed, and the errno.
pub(super) type Lack = (&'static str, i32);

impl Readiness {
    /// Makes what a run needs to say of itself what its definition asks for. It has this uid, if not
    /// ours.
    pub(super) fn prepare(
        &mut self,
        run: Run,
        signs: Option<&Arc<Signs>>,
        uid: Option<u32>,
        budget: &FdBudget,
        poller: &mut Poller,
    ) -> Result<Given, Lack> {
        // That of the run before, if both end and start are of this turn.
        self.forget(run.program, poller);
        let mut given = Given::default();
        let Some(signs) = signs.filter(|signs| signs.come_from_it()) else {
            return Ok(given);
        };
        let mut watched = Watched {
            run,
            delay: None,
            delay_end: None,
            pipe: None,
            number: 0,
            socket: None,
            says_ready: signs.ready == Some(Ready::Notify),
            is_polled: false,
            is_pipe_over: false,
            is_stranger_reported: false,
            status: None,
        };
        match signs.ready {
            Some(Ready::Fd(number)) => {
                let what = "failed to make a pipe for its readiness";
                let (pipe, write) = ReadyPipe::new().map_err(|errno| (what, errno as i32))?;
                budget.check(&write).map_err(|errno| (what, errno as i32))?;
                (watched.pipe, watched.number) = (Some(pipe), number);
                given.pipe = Some((write, number));
            }
            Some(Ready::Delay(delay)) => watched.delay = Some(delay),
            Some(Ready::Notify | Ready::Probe(_)) | None => {}
        }
        if signs.have_socket() {
            let what = "failed to make its notification socket";
            let socket = NotifySocket::new(uid).map_err(|errno| (what, errno as i32))?;
            let is_enough = budget.check(&socket.as_fd());
            is_enough.map_err(|errno| (what, errno as i32))?;
            watched.socket = Some(socket);
            self.buffer
                .get_or_insert_with(|| Box::new([0; MESSAGE_BYTES_MAX]));
        }
        self.runs.insert(run.program, watched);
        Ok(given)
    }

    /// Returns the variable that leads the run which starts to its socket.
    pub(super) fn variable(&self, run: Run) -> Option<&CStr> {
        let watched = self.runs.get(&run.program)?;
        let socket = watched.socket.as_ref().filter(|_| watched.run == run)?;
        Some(socket.variable())
    }

    /// Returns when a delay is over, or something is reported.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Returns what the run of a program says of itself.
    pub(super) fn status_text(&self, id: ProgramId) -> Option<&str> {
        self.runs.get(&id)?.status.as_deref()
    }

    /// Takes in what has happened to runs.
    pub(super) fn on_phases(&mut self, core: &Core, poller: &mut Poller, phases: &[(Run, Phase)]) {
        for (run, phase) in phases {
            match phase {
                Phase::Executed => self.executed(core, *run, poller),
                Phase::Ended(_) => {
                    let watched = self.runs.get(&run.program);
                    if watched.is_some_and(|watched| watched.run == *run) {
                        self.forget(run.program, poller);
                    }
                }
                // What a run says it was given at its start.
                Phase::Up | Phase::Redefined => {}
            }
        }
    }

    fn executed(&mut self, core: &Core, run: Run, poller: &mut Poller) {
        let watched = self.runs.get_mut(&run.program);
        let Some(watched) = watched.filter(|watched| watched.run == run) else {
            return;
        };
        if let Some(pipe) = &watched.pipe {
            poller.add(pipe.as_fd(), Key::ReadyPipe(run.program).number());
        }
        if let Some(socket) = &watched.socket {
            poller.add(socket.as_fd(), Key::Notify(run.program).number());
        }
        watched.is_polled = true;
        let view = core.machine().view(run.program);
        if let (Some(delay), Some(State::Starting { since })) =
            (watched.delay, view.map(|view| view.state))
        {
            let end = since.after(delay);
            watched.delay_end = Some(end);
            self.timers.arm(run.program, end);
        }
    }

    /// Hands on what runs have said since the last turn, and the delays that are over.
    pub(super) fn turn(&mut self, now: Moment, core: &mut Core, capture: &mut Capture) {
        if self.runs.is_empty() {
            return;
        }
        let ready: Vec<Key> = capture.readable_signs().collect();
        for key in ready {
            let poller = capture.poller_mut();
            let is_found = match key {
                Key::ReadyPipe(id) => self.look(now, core, poller, id),
                Key::Notify(id) => self.receive(now, core, id, MESSAGES_PER_TURN_MAX),
                _ => false,
            };
            if is_found {
                capture.poller_mut().note_useful();
            }
        }
        // A wait does not report all that is readable, and after a stall much is due.
        let due: Vec<ProgramId> = core.machine().due_for_a_sign(now).collect();
        for id in due {
            self.read_last(now, core, capture.poller_mut(), id);
        }
        while let Some(id) = self.timers.pop_due(now) {
            self.on_time(now, core, id);
        }
    }

    /// Hands on what a run has said by now: before its leader died, whose death the machine does not
    /// know, or before it is ended because it said nothing. When its leader died is not known either: a
    /// delay that is over by now was over before.
    pub(super) fn read_last(
        &mut self,
        now: Moment,
        core: &mut Core,
        poller: &mut Poller,
        id: ProgramId,
    ) {
        if self.runs.is_empty() {
            return;
        }
        self.receive(now, core, id, LAST_MESSAGES_MAX);
        if let Some(watched) = self.runs.get_mut(&id)
            && watched.delay_end.take_if(|end| *end <= now).is_some()
        {
            self.timers.disarm(id);
            core.apply(now, Input::Ready { run: watched.run });
        }
        for _ in 0..LAST_LOOKS_MAX {
            let pipe = self.runs.get(&id).and_then(|watched| watched.pipe.as_ref());
            match pipe.map(ReadyPipe::look) {
                Some(Found::Newline) => self.is_ready(now, core, poller, id),
                Some(Found::Others) => {}
                Some(Found::Nothing | Found::End) | None => return,
            }
        }
    }

    /// True if there was something to read, or the end.
    fn look(&mut self, now: Moment, core: &mut Core, poller: &mut Poller, id: ProgramId) -> bool {
        let Some(watched) = self.runs.get_mut(&id) else {
            return false;
        };
        match watched.pipe.as_ref().map(ReadyPipe::look) {
            Some(Found::Newline) => self.is_ready(now, core, poller, id),
            Some(Found::End) => {
                watched.close_pipe(poller);
                watched.is_pipe_over = true;
                self.timers.arm(id, now.after(END_REPORTED_AFTER));
            }
            Some(Found::Others) => {}
            Some(Found::Nothing) | None => return false,
        }
        true
    }

    fn is_ready(&mut self, now: Moment, core: &mut Core, poller: &mut Poller, id: ProgramId) {
        if let Some(watched) = self.runs.get_mut(&id) {
            watched.close_pipe(poller);
            core.apply(now, Input::Ready { run: watched.run });
        }
    }

    /// Takes up to `limit` messages. True if there was one.
    fn receive(&mut self, now: Moment, core: &mut Core, id: ProgramId, limit: usize) -> bool {
        let Some(buffer) = self.buffer.as_deref_mut() else {
            return false;
        };
        let Some(watched) = self.runs.get_mut(&id) else {
            return false;
        };
        let (run, Some(socket)) = (watched.run, &watched.socket) else {
            return false;
        };
        for taken in 0..limit {
            let message = match socket.receive(buffer) {
                Received::Message(length) => Message::parse(&buffer[..length]),
                Received::Stranger(uid) => {
                    if !std::mem::replace(&mut watched.is_stranger_reported, true) {
                        core.warn(id, stranger(uid, socket));
                    }
                    continue;
                }
                Received::Ignored => continue,
                Received::Nothing => return taken > 0,
            };
            if let Some(status) = message.status {
                watched.status = (!status.is_empty()).then(|| status.into());
            }
            // What has a socket for its watchdog alone is ready by something else.
            if message.is_ready && watched.says_ready {
                core.apply(now, Input::Ready { run });
            }
            if message.is_alive {
                core.apply(now, Input::Alive { run });
            }
            if message.is_hung {
                core.apply(now, Input::Hung { run });
            }
        }
        true
    }

    /// A delay is over, or a program lives on that closed its pipe without a newline.
    fn on_time(&mut self, now: Moment, core: &mut Core, id: ProgramId) {
        let Some(watched) = self.runs.get(&id) else {
            return;
        };
        if !watched.is_pipe_over {
            return core.apply(now, Input::Ready { run: watched.run });
        }
        let view = core.machine().view(id);
        if view.is_some_and(|view| matches!(view.state, State::Starting { .. })) {
            let text = format!(
                "closed descriptor {} without a newline: it cannot become ready; write one before \
                 closing it",
                watched.number
            );
            core.warn(id, Error::new(text));
        }
    }

    /// Closes what the run of a program was given.
    fn forget(&mut self, id: ProgramId, poller: &mut Poller) {
        if let Some(mut watched) = self.runs.remove(&id) {
            watched.close_pipe(poller);
            watched.close_socket(poller);
            self.timers.disarm(id);
        }
    }
}

impl Watched {
    fn close_pipe(&mut self, poller: &mut Poller) {
        if let Some(pipe) = self.pipe.take().filter(|_| self.is_polled) {
            poller.remove(pipe.as_fd(), Key::ReadyPipe(self.run.program).number());
        }
    }

    fn close_socket(&mut self, poller: &mut Poller) {
        if let Some(socket) = self.socket.take().filter(|_| self.is_polled) {
            poller.remove(socket.as_fd(), Key::Notify(self.run.program).number());
        }
    }
}

/// Says that a message of this user was dropped, and which would count.
fn stranger(uid: u32, socket: &NotifySocket) -> Error {
    let uids: Vec<String> = socket.uids().iter().map(u32::to_string).collect();
    let known = match uids.len() {
        1 => format!("uid {}", uids[0]),
        _ => format!("uids {}", uids.join(" and ")),
    };
    Error::new(format!(
        "dropped a message of uid {uid} on its notification socket: those of {known} count; send it \
         as such, or use {{\"fd\": 3}} or a check as ready"
    ))
}
