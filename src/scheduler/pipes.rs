//! The wait, and the bytes: what ends a turn's sleep, and what moves from pipes to logs.

use std::time::Duration;

use crate::event::EventKind;
use crate::machine::{Moment, ProgramId};
use crate::os::logs::LogPlace;
use crate::os::stream::{Read, Sink};
use crate::program::Key;

use super::chatter::Verdict;
use super::{ProcessScheduler, Reap};

impl ProcessScheduler {
    /// Waits until something is readable or due.
    pub(super) fn wait(&mut self, limit: Option<Duration>) {
        let time = self.wait_time(limit);
        self.ready.clear();
        self.watch.wait(time, &mut self.ready);
        if self.ready.contains(&Key::Wake.number()) && self.waker.clear() {
            self.watch.was_worth_it();
        }
    }

    /// What was in the pipe when the leader was reaped is the run's: logged first, then the
    /// report goes out. Its end of file is not waited for; a leftover may hold the pipe.
    pub(super) fn drain_the_dead(&mut self, now: Moment) {
        while let Some(id) = self.dying.pop() {
            self.drain_last_words(now, id);
        }
    }

    fn drain_last_words(&mut self, now: Moment, id: ProgramId) {
        let program = &mut self.programs[id.0 as usize];
        let tail = program.ending.as_mut().map(|ending| &mut ending.tail);
        let mut sink = Sink {
            buffer: &mut self.buffer,
            log: &mut program.log,
            place: LogPlace {
                directory: &self.err_dir,
                name: program.launch.name(),
            },
            tail,
        };
        if program
            .stream
            .as_ref()
            .is_some_and(|pipe| pipe.read_pending(&mut sink) == Read::End)
        {
            program.detach(Key::Stream(id), &mut self.watch);
            self.chatter.forget(Key::Stream(id).number());
        }
        self.tell_losses(now, id, true);
    }

    /// One read from each pipe that was ready or has rested long enough, and no more: whoever
    /// floods waits its turn.
    pub(super) fn drain_the_living(&mut self, now: Moment) {
        let mut ready = std::mem::take(&mut self.ready);
        if !ready.is_empty() {
            // Unless something is found.
            self.watch.was_in_vain();
        }
        self.chatter.add_due(now, &mut ready);
        for key in ready.iter().map(|&number| Key::of(number)) {
            let is_found = match key {
                Key::Stream(id) | Key::OldStream(id) => self.drain_one(now, id, key),
                // A death that is news comes with a signal, or with the end of its pipe. One that
                // is not is a descriptor which the kernel has kept in its list.
                Key::Leader(_) | Key::Wake => false,
            };
            if is_found {
                self.watch.was_worth_it();
            }
        }
        self.ready = ready;
    }

    /// Whether nobody can write to the latest run's pipe any more.
    pub(super) fn is_pipe_at_its_end(&mut self, now: Moment, id: ProgramId) -> bool {
        self.drain_last_words(now, id);
        self.program(id).stream.is_none()
    }

    /// Whether there was something to read, or the end.
    fn drain_one(&mut self, now: Moment, id: ProgramId, key: Key) -> bool {
        let program = &mut self.programs[id.0 as usize];
        // Until a late start is over, this is the pipe of the run before.
        let live = program.live.as_mut();
        let live = live.filter(|live| !live.is_launching);
        let tail = live.map(|live| &mut live.tail);
        let (stream, tail) = match key {
            Key::OldStream(_) => (&program.old_stream, None),
            Key::Stream(_) | Key::Wake | Key::Leader(_) => (&program.stream, tail),
        };
        let mut sink = Sink {
            buffer: &mut self.buffer,
            log: &mut program.log,
            place: LogPlace {
                directory: &self.err_dir,
                name: program.launch.name(),
            },
            tail,
        };
        let number = key.number();
        let Some(pipe) = stream else {
            self.chatter.forget(number);
            return true;
        };
        let bytes = match pipe.read(&mut sink) {
            Read::Bytes(count) => count,
            Read::Nothing => 0,
            Read::End => {
                program.detach(key, &mut self.watch);
                self.chatter.forget(number);
                if key == Key::Stream(id) && self.reap == Reap::All {
                    self.suspect(id);
                }
                self.tell_losses(now, id, false);
                return true;
            }
        };
        match self.chatter.heard(now, number, bytes, || pipe.capacity()) {
            Verdict::Same => {}
            Verdict::Watch => self.watch.resume(pipe.as_fd(), number),
            Verdict::WatchAndShrink(size) => {
                pipe.resize(size);
                self.watch.resume(pipe.as_fd(), number);
            }
            Verdict::Widen(size) => {
                pipe.resize(size);
                self.chatter.widened(number, pipe.capacity());
            }
            Verdict::Rest if self.watch.rest(pipe.as_fd(), number) => {}
            Verdict::Rest => _ = self.chatter.forget(number),
        }
        self.tell_losses(now, id, false);
        bytes > 0
    }

    /// The end: what is in the pipes is logged, and nobody is waited for.
    pub(super) fn close_pipes(&mut self, now: Moment) {
        for id in self.ids() {
            let program = &mut self.programs[id.0 as usize];
            for key in [Key::OldStream(id), Key::Stream(id)] {
                let Some(pipe) = program.detach(key, &mut self.watch) else {
                    continue;
                };
                pipe.read_pending(&mut Sink {
                    buffer: &mut self.buffer,
                    log: &mut program.log,
                    place: LogPlace {
                        directory: &self.err_dir,
                        name: program.launch.name(),
                    },
                    tail: None,
                });
            }
            self.tell_losses(now, id, true);
        }
    }

    /// Tells the host what the log cannot take.
    pub(super) fn tell_losses(&mut self, now: Moment, id: ProgramId, finally: bool) {
        let program = &mut self.programs[id.0 as usize];
        let (log, place) = program.log(&self.err_dir);
        let (warning, lost) = (log.take_warning(now, place), log.take_untold(finally));
        log.rest();
        if let Some(error) = warning {
            self.event(id, EventKind::Warning { error });
        }
        if let Some(bytes) = lost {
            self.event(id, EventKind::BytesDropped { bytes });
        }
    }
}
