//! The wait, and the bytes: what ends a turn's sleep, and what moves from pipes to logs.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::event::EventKind;
use crate::machine::{Moment, ProgramId};
use crate::os::logs::{Read, Sink};

use super::{Key, ProcessScheduler};

/// Reads in one turn, 64 KiB each at most.
const READS_PER_TURN_MAX: usize = 64;

/// How long a wait may be that cannot watch the pipes.
const BLIND_WAIT_MAX: Duration = Duration::from_millis(10);

impl ProcessScheduler {
    /// Waits until something is readable or due. The set is derived anew each time.
    pub(super) fn wait(&mut self, limit: Option<Duration>) {
        let time = self.wait_time(limit);
        self.poll.clear();
        self.poll.add(self.wake_reader.as_fd(), Key::Wake);
        for (program, id) in self.programs.iter().zip((0..).map(ProgramId)) {
            if let Some(stream) = &program.stream {
                self.poll.add(stream.as_fd(), Key::Stream(id));
            }
            if let Some(stream) = &program.old_stream {
                self.poll.add(stream.as_fd(), Key::OldStream(id));
            }
        }
        self.ready.clear();
        match self.poll.wait(time) {
            Ok(()) => self.ready.extend(self.poll.ready_from(self.next_read)),
            Err(_) => self.wait_blindly(time),
        }
        if self.ready.iter().any(|(_, key)| *key == Key::Wake) {
            self.wake_reader.clear();
        }
    }

    /// More descriptors than the limit allows by now (it was lowered while we run), or no
    /// memory: waits for the wake pipe alone, or for nothing but the time, not for long, and
    /// then tries every pipe. A turn is never left out.
    fn wait_blindly(&mut self, time: Option<Duration>) {
        self.ready
            .extend(self.poll.keys().iter().copied().enumerate());
        let short = time.map_or(BLIND_WAIT_MAX, |time| time.min(BLIND_WAIT_MAX));
        self.poll.clear();
        self.poll.add(self.wake_reader.as_fd(), Key::Wake);
        if self.poll.wait(Some(short)).is_err() {
            self.poll.clear();
            // If even this is refused, the turn has to do without a rest.
            let _ = self.poll.wait(Some(short));
        }
    }

    /// What was in the pipe when the leader was reaped is the run's: logged first, then the
    /// report goes out. Its end of file is not waited for; a leftover may hold the pipe.
    pub(super) fn drain_the_dead(&mut self, now: Moment) {
        while let Some(id) = self.dying.pop() {
            let program = &mut self.programs[id.0 as usize];
            let tail = program.ending.as_mut().map(|ending| &mut ending.tail);
            let mut sink = Sink {
                buffer: &mut self.buffer,
                log: &mut program.log,
                tail,
            };
            if program
                .stream
                .as_ref()
                .is_some_and(|pipe| pipe.read_pending(&mut sink) == Read::End)
            {
                program.stream = None;
            }
            self.tell_losses(now, id, true);
        }
    }

    /// One read from each pipe that was ready, and no more: whoever floods waits its turn.
    pub(super) fn drain_the_living(&mut self, now: Moment) {
        let ready = std::mem::take(&mut self.ready);
        let streams = ready.iter().filter(|(_, key)| *key != Key::Wake);
        for &(index, key) in streams.take(READS_PER_TURN_MAX) {
            self.next_read = index + 1;
            let (Key::Stream(id) | Key::OldStream(id)) = key else {
                continue;
            };
            let program = &mut self.programs[id.0 as usize];
            let tail = program.live.as_mut().map(|live| &mut live.tail);
            let (slot, tail) = match key {
                Key::OldStream(_) => (&mut program.old_stream, None),
                Key::Stream(_) | Key::Wake => (&mut program.stream, tail),
            };
            let mut sink = Sink {
                buffer: &mut self.buffer,
                log: &mut program.log,
                tail,
            };
            if slot
                .as_ref()
                .is_some_and(|pipe| pipe.read(&mut sink) == Read::End)
            {
                *slot = None;
            }
            self.tell_losses(now, id, false);
        }
        self.ready = ready;
    }

    /// The end: what is in the pipes is logged, and nobody is waited for.
    pub(super) fn close_pipes(&mut self, now: Moment) {
        for id in self.ids() {
            let program = &mut self.programs[id.0 as usize];
            let mut sink = Sink {
                buffer: &mut self.buffer,
                log: &mut program.log,
                tail: None,
            };
            for pipe in [program.old_stream.take(), program.stream.take()]
                .iter()
                .flatten()
            {
                pipe.read_pending(&mut sink);
            }
            self.tell_losses(now, id, true);
        }
    }

    /// Tells the host what the log cannot take.
    pub(super) fn tell_losses(&mut self, now: Moment, id: ProgramId, finally: bool) {
        let log = &mut self.program_mut(id).log;
        let (warning, lost) = (log.take_warning(now), log.take_untold(finally));
        if let Some(error) = warning {
            self.event(id, EventKind::Warning { error });
        }
        if let Some(bytes) = lost {
            self.event(id, EventKind::BytesDropped { bytes });
        }
    }
}
