//! Program output: the wait for it, and its way from pipes to logs and to the last bytes that a
//! report carries.

use std::mem::{replace, take};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::machine::{Moment, ProgramId};
use crate::os::logs::Flaws;
use crate::os::pages::Pages;
use crate::os::poller::Poller;
use crate::os::stream::{READ_BYTES_MAX, Read, Sink, Stream};
use crate::os::wake::Waker;
use crate::program::{Key, Route};
use crate::spec::StdStream;

use super::coalescer::{ReadCoalescer, Verdict};
use super::core::Core;
use super::directories::prepare_err_dir;
use super::inbox::Inbox;
use super::reaper::Reaper;
use super::relay::Relay;

mod inherited;

pub(super) struct Capture {
    poller: Poller,
    /// What this turn's wait found ready, as [`Key`]s.
    ready: Vec<u64>,
    coalescer: ReadCoalescer,
    buffer: Pages,
    /// What the file system of the logs refuses.
    log_flaws: Flaws,
    relay: Relay,
    /// The pipes that this turn had no room for, as [`Key`]s. The next turn reads them first.
    left: Vec<u64>,
    /// The same of streams of which the host takes nothing, for the turn after that.
    held: Vec<u64>,
    /// True if the directory of the logs was created if it was missing: it is left alone after that.
    has_log_directory: bool,
}

/// Our ends of the pipes of a run.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

impl Capture {
    /// Polls the waker, and has a buffer to read into.
    pub(super) fn new(waker: &Waker) -> Result<Self> {
        let mut poller = Poller::new()?;
        poller.add(waker.as_fd(), Key::Wake.number());
        let buffer = Pages::new(READ_BYTES_MAX)
            .map_err(|errno| Error::os("failed to allocate a buffer", errno as i32))?;
        Ok(Self {
            poller,
            ready: Vec::new(),
            coalescer: ReadCoalescer::default(),
            buffer,
            log_flaws: Flaws::default(),
            relay: Relay::default(),
            left: Vec::new(),
            held: Vec::new(),
            has_log_directory: false,
        })
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    pub(super) fn poller_mut(&mut self) -> &mut Poller {
        &mut self.poller
    }

    /// Returns when a pipe that rests is to be read, or the start of a line has waited long enough;
    /// at once if one was left.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        if !self.left.is_empty() {
            return Some(Moment::default());
        }
        let resting = self.coalescer.next_deadline();
        resting.into_iter().chain(self.relay.next_deadline()).min()
    }

    /// Waits until something is readable, for at most `limit`.
    pub(super) fn wait(&mut self, limit: Option<Duration>, inbox: &Inbox) {
        self.ready.clear();
        self.relay.renew();
        self.poller.wait(limit, &mut self.ready);
        if self.ready.contains(&Key::Wake.number()) && inbox.waker().clear() {
            self.poller.note_useful();
        }
    }

    /// Returns the programs whose leader's descriptor is readable.
    pub(super) fn readable_leaders(&self) -> impl Iterator<Item = ProgramId> {
        let leader = |&number: &u64| match Key::of(number) {
            Key::Leader(id) => Some(id),
            _ => None,
        };
        self.ready.iter().filter_map(leader)
    }

    /// Returns the pipes and sockets that are readable on which runs say how they are.
    pub(super) fn readable_signs(&self) -> impl Iterator<Item = Key> {
        let keys = self.ready.iter().map(|&number| Key::of(number));
        keys.filter(|key| matches!(key, Key::ReadyPipe(_) | Key::Notify(_)))
    }

    /// Returns the programs whose connection, which is tried, was made or has failed.
    pub(super) fn ready_connections(&self) -> impl Iterator<Item = ProgramId> {
        let connection = |&number: &u64| match Key::of(number) {
            Key::Connection(id) => Some(id),
            _ => None,
        };
        self.ready.iter().filter_map(connection)
    }

    /// Reads from now on what the latest run writes. A pipe of the run before becomes an old one; an
    /// old one is read once more and closed, with a warning if a process still held it.
    pub(super) fn attach(&mut self, now: Moment, core: &mut Core, id: ProgramId, ends: Ends) {
        self.attach_one(now, core, (id, StdStream::Stderr), ends.stderr);
        if ends.stdout.is_some() || core.programs()[id].output(StdStream::Stdout).is_some() {
            self.attach_one(now, core, (id, StdStream::Stdout), ends.stdout);
        }
        core.program_mut(id).close_unused_logs();
    }

    fn attach_one(
        &mut self,
        now: Moment,
        core: &mut Core,
        (id, stream): (ProgramId, StdStream),
        end: Option<OwnedFd>,
    ) {
        let (key, old_key) = (Key::Stream(id, stream), Key::OldStream(id, stream));
        // What is known of the pipes' rates was about the runs before.
        self.coalescer.forget(old_key.number());
        let usual = self.coalescer.forget(key.number());
        let program = core.program_mut(id);
        let output = program.output_or_new(stream);
        if let Some(latest) = output.pipe.take() {
            usual.into_iter().for_each(|bytes| latest.resize(bytes));
            let oldest = program.detach(old_key, &mut self.poller);
            if !(self.relay.is_held(stream) && latest.is_relayed()) {
                self.poller
                    .renumber(latest.as_fd(), key.number(), old_key.number());
            }
            program.set_old(stream, latest);
            if let Some(oldest) = oldest {
                self.close_oldest(now, core, (id, stream), &oldest);
            }
            self.relay.renumber(key, old_key);
            let left = self.left.iter_mut().chain(&mut self.held);
            left.filter(|number| **number == key.number())
                .for_each(|number| *number = old_key.number());
        }
        let is_relayed = core.programs()[id].exec.outputs().is_inherited(stream);
        let pipe = end.map(|end| Stream::new(end, is_relayed));
        if let Some(pipe) = pipe
            .as_ref()
            .filter(|_| !(is_relayed && self.relay.is_held(stream)))
        {
            self.poller.add(pipe.as_fd(), key.number());
        }
        let program = core.program_mut(id);
        if stream == StdStream::Stdout {
            program.keep_stdout(pipe.is_some());
        }
        program.output_or_new(stream).pipe = pipe;
    }

    fn close_oldest(
        &mut self,
        now: Moment,
        core: &mut Core,
        (id, stream): (ProgramId, StdStream),
        oldest: &Stream,
    ) {
        let key = Key::OldStream(id, stream);
        let mut relayed = self.relay.begin_read(core, key);
        let program = core.program_mut(id);
        let mut sink = Sink {
            buffer: &mut self.buffer,
            log: &mut program.output_or_new(stream).log,
            relayed: &mut relayed,
            tail: None,
        };
        let read = oldest.read_pending(&mut sink);
        self.end_relayed(now, core, key, relayed);
        if read != Read::End {
            let program = core.program_mut(id);
            let count = program.count_closed_pipe();
            let error = Error::new(format!(
                "closed the {stream} pipe of an earlier run, which a process outside its group \
                 still holds ({count} so far)"
            ));
            core.warn(id, error);
        }
    }

    /// Opens the log of a stream, and returns its size; 0 if the stream has none.
    pub(super) fn open_log(
        &mut self,
        core: &mut Core,
        id: ProgramId,
        stream: StdStream,
    ) -> Result<u64> {
        let program = core.program_mut(id);
        if !program.exec.outputs().is_logged(stream) {
            return Ok(0);
        }
        let log = &mut program.output_or_new(stream).log;
        if !replace(&mut self.has_log_directory, true) {
            // What is wrong with it shows when a log is opened there.
            let _ = prepare_err_dir(log.directory());
        }
        let opened = log.open(&mut self.log_flaws);
        while let Some(error) = self.log_flaws.take() {
            core.outbox_mut().warn(error);
        }
        opened
    }

    /// Creates the directory of the logs if it is missing, and checks that logs can be created there.
    pub(super) fn prepare_log_directory(&mut self, directory: &Path) -> Result<()> {
        self.has_log_directory = true;
        prepare_err_dir(directory)
    }

    /// Reads what was in the pipe when the leader was reaped: it is the run's, and is logged before
    /// the report goes out. The end of file is not waited for, as another process may hold the
    /// pipe.
    pub(super) fn drain_exited(&mut self, now: Moment, core: &mut Core) {
        while let Some(id) = core.pop_exited() {
            if core.programs().get(id).is_some() {
                self.drain_run(now, core, id);
                core.program_mut(id).end_run();
            }
        }
    }

    /// Reads what is in the pipes of the latest run. True if all have come to their end: then no
    /// process holds any.
    pub(super) fn drain_run(&mut self, now: Moment, core: &mut Core, id: ProgramId) -> bool {
        for stream in StdStream::ALL {
            let key = Key::Stream(id, stream);
            let Some(Route { pipe, .. }) = core.program_mut(id).route(key, true) else {
                continue;
            };
            let is_relayed = pipe.is_relayed();
            let mut relayed = match is_relayed {
                true => self.relay.begin_read(core, key),
                false => Vec::new(),
            };
            let program = core.program_mut(id);
            let Some(Route { pipe, log, tail }) = program.route(key, true) else {
                continue;
            };
            let read = pipe.read_pending(&mut Sink {
                buffer: &mut self.buffer,
                log,
                relayed: &mut relayed,
                tail,
            });
            if read == Read::End {
                program.detach(key, &mut self.poller);
                self.coalescer.forget(key.number());
            }
            if is_relayed {
                self.end_relayed(now, core, key, relayed);
            }
        }
        let is_over = !core.programs()[id].has_run_pipes();
        report_losses(now, core, id, true);
        let outputs = core.running_exec(id).outputs();
        is_over
            && StdStream::ALL
                .iter()
                .any(|&stream| outputs.has_pipe(stream))
    }

    /// Reads once from each pipe that was ready or has rested long enough, and no more: a flood
    /// waits its turn.
    pub(super) fn drain_ready(&mut self, now: Moment, core: &mut Core, reaper: &mut Reaper) {
        let mut ready = take(&mut self.ready);
        if !ready.is_empty() {
            // Unless something is found.
            self.poller.note_spurious();
        }
        self.coalescer.add_due(now, &mut ready);
        if !self.left.is_empty() {
            let mut first = take(&mut self.left);
            ready.retain(|number| !first.contains(number));
            first.append(&mut ready);
            ready = first;
        }
        for key in ready.iter().map(|&number| Key::of(number)) {
            let is_found = match key {
                Key::Stream(id, _) | Key::OldStream(id, _) => {
                    self.drain_one(now, core, reaper, id, key)
                }
                // A new death comes with a signal, or with the end of its pipe. Otherwise it is a
                // descriptor that the kernel has kept in its list. What runs say was read before, and
                // connections were asked: if something came of that, it was noted.
                Key::Leader(_) | Key::Wake => false,
                Key::ReadyPipe(_) | Key::Notify(_) | Key::Connection(_) => false,
            };
            if is_found {
                self.poller.note_useful();
            }
        }
        // The first of them has had all the room, and will want it again.
        if !self.left.is_empty() {
            self.left.rotate_left(1);
        }
        self.ready = ready;
    }

    /// True if there was something to read, or the end.
    fn drain_one(
        &mut self,
        now: Moment,
        core: &mut Core,
        reaper: &mut Reaper,
        id: ProgramId,
        key: Key,
    ) -> bool {
        let number = key.number();
        if core.programs().get(id).is_none() {
            self.coalescer.forget(number);
            return true;
        }
        self.look_at_log(now, core, key);
        let program = core.program_mut(id);
        let Some(Route { pipe, log, tail }) = program.route(key, false) else {
            self.coalescer.forget(number);
            return true;
        };
        if pipe.is_relayed() {
            return self.drain_relayed(now, core, reaper, key);
        }
        let read = pipe.read(&mut Sink {
            buffer: &mut self.buffer,
            log,
            relayed: &mut Vec::new(),
            tail,
        });
        match read {
            Read::Bytes(bytes) => self.coalesce(now, number, bytes, pipe),
            Read::Nothing => self.coalesce(now, number, 0, pipe),
            Read::End => self.drop_ended(core, reaper, id, key),
        }
        report_losses(now, core, id, false);
        read != Read::Nothing
    }

    /// Drops a pipe that nothing can write to any more.
    fn drop_ended(&mut self, core: &mut Core, reaper: &mut Reaper, id: ProgramId, key: Key) {
        let program = core.program_mut(id);
        program.detach(key, &mut self.poller);
        self.coalescer.forget(key.number());
        if matches!(key, Key::Stream(..)) && !program.has_run_pipes() {
            reaper.on_eof(core.programs(), id);
        }
    }

    /// Opens the log of a pipe anew, if it is time to look whether it was renamed or removed.
    fn look_at_log(&mut self, now: Moment, core: &mut Core, key: Key) {
        let (Key::Stream(id, stream) | Key::OldStream(id, stream)) = key else {
            return;
        };
        let output = core.program_mut(id).output_mut(stream);
        if output.is_some_and(|output| output.log.is_look_due(now))
            && let Err(error) = self.open_log(core, id, stream)
        {
            core.warn(id, error);
        }
    }

    /// Hands on all that was read of a pipe for the host.
    fn end_relayed(&mut self, now: Moment, core: &mut Core, key: Key, relayed: Vec<u8>) {
        self.relay.take_in(now, core, key, relayed);
        self.relay.end(core, key);
    }

    /// Hands on the starts of lines that have waited long enough.
    pub(super) fn relay_late(&mut self, now: Moment, core: &mut Core) {
        self.relay.give_late(now, core);
    }

    fn coalesce(&mut self, now: Moment, number: u64, bytes: usize, pipe: &Stream) {
        let verdict = self
            .coalescer
            .on_read(now, number, bytes, || pipe.capacity());
        match verdict {
            Verdict::Same => {}
            Verdict::Poll(usual) => {
                usual.into_iter().for_each(|size| pipe.resize(size));
                self.poller.resume(pipe.as_fd(), number);
            }
            Verdict::Widen(size) => pipe.resize(size),
            Verdict::Rest if self.poller.rest(pipe.as_fd(), number) => {}
            Verdict::Rest => _ = self.coalescer.forget(number),
        }
    }

    /// Logs what is in the pipes, and closes them.
    pub(super) fn close(&mut self, now: Moment, core: &mut Core) {
        for id in core.programs().ids() {
            self.release(now, core, id);
            core.program_mut(id).unwatch_leader(&mut self.poller);
        }
        self.left.clear();
        self.held.clear();
    }

    /// Logs what is in the pipes of a program, and closes them.
    pub(super) fn release(&mut self, now: Moment, core: &mut Core, id: ProgramId) {
        for stream in StdStream::ALL {
            for key in [Key::OldStream(id, stream), Key::Stream(id, stream)] {
                self.coalescer.forget(key.number());
                let mut relayed = self.relay.begin_read(core, key);
                let program = core.program_mut(id);
                if let Some(pipe) = program.detach(key, &mut self.poller) {
                    pipe.read_pending(&mut Sink {
                        buffer: &mut self.buffer,
                        log: &mut program.output_or_new(stream).log,
                        relayed: &mut relayed,
                        tail: None,
                    });
                }
                self.end_relayed(now, core, key, relayed);
            }
        }
        report_losses(now, core, id, true);
    }
}

/// Reports what could not be written to the logs.
pub(super) fn report_losses(now: Moment, core: &mut Core, id: ProgramId, finally: bool) {
    for stream in StdStream::ALL {
        let Some(output) = core.program_mut(id).output_mut(stream) else {
            continue;
        };
        let log = &mut output.log;
        let (warning, lost) = (log.take_warning(now), log.take_unreported(finally));
        if let Some(error) = warning {
            core.warn(id, error);
        }
        if let Some(bytes) = lost {
            core.event(id, EventKind::BytesDropped { stream, bytes });
        }
    }
}
