//! Pipes whose bytes go to the host: read for as long as a turn has room for their lines, and left
//! alone while the host takes nothing.

use std::collections::BTreeSet;

use super::super::core::Core;
use super::super::reaper::Reaper;
use super::{Capture, report_losses};
use crate::machine::Moment;
use crate::os::stream::{Read, Sink};
use crate::program::{Key, Route};
use crate::spec::StdStream;

impl Capture {
    /// Reads from a pipe whose bytes go to the host, piece by piece, for as long as the turn has room
    /// for them. True if there was something to read, or no room.
    pub(super) fn drain_relayed(
        &mut self,
        now: Moment,
        core: &mut Core,
        reaper: &mut Reaper,
        key: Key,
    ) -> bool {
        let number = key.number();
        let Some((id, stream)) = key.stream().filter(|(_, of)| !self.relay.is_held(*of)) else {
            self.coalescer.forget(number);
            return false;
        };
        let mut bytes = 0;
        let mut has_room = self.relay.give_left(core, key);
        loop {
            let size = self.relay.room(stream).min(self.buffer.len());
            if size == 0 || !has_room {
                self.left.push(number);
                if bytes == 0 {
                    return true;
                }
                break;
            }
            let mut relayed = self.relay.begin_read(core, key);
            let Some(Route { pipe, log, tail }) = core.program_mut(id).route(key, false) else {
                self.relay.take_in(now, core, key, relayed);
                break;
            };
            let mut sink = Sink {
                buffer: &mut self.buffer[..size],
                log,
                relayed: &mut relayed,
                tail,
            };
            let read = pipe.read(&mut sink);
            has_room = self.relay.take_in(now, core, key, relayed);
            match read {
                Read::Bytes(count) => bytes += count,
                Read::Nothing => {}
                Read::End => {
                    self.drop_ended(core, reaper, id, key);
                    self.relay.end(core, key);
                    report_losses(now, core, id, false);
                    return true;
                }
            }
            if read != Read::Bytes(size) && has_room {
                break;
            }
        }
        if let Some(Route { pipe, .. }) = core.program_mut(id).route(key, false) {
            self.coalesce(now, number, bytes, pipe);
        }
        report_losses(now, core, id, false);
        bytes > 0
    }

    /// Says whether the host takes output of this stream. While it does not, its pipes of what it is
    /// given are left alone: their programs wait, as if they wrote to the host's reader themselves.
    pub(in super::super) fn hold(&mut self, core: &mut Core, stream: StdStream, is_held: bool) {
        if !self.relay.hold(stream, is_held) {
            return;
        }
        let is_of = |number: &mut u64| {
            Key::of(*number)
                .stream()
                .is_some_and(|(_, of)| of == stream)
        };
        let (from, to) = match is_held {
            true => (&mut self.left, &mut self.held),
            false => (&mut self.held, &mut self.left),
        };
        to.extend(from.extract_if(.., is_of));
        for program in core.programs_mut().iter_mut() {
            for key in [
                Key::Stream(program.id, stream),
                Key::OldStream(program.id, stream),
            ] {
                let Some(route) = program.route(key, false) else {
                    continue;
                };
                if !route.pipe.is_relayed() {
                    continue;
                }
                let usual = self.coalescer.forget(key.number());
                usual.into_iter().for_each(|bytes| route.pipe.resize(bytes));
                // A hang-up would be reported for as long as it is not read.
                match is_held {
                    true => self.poller.remove(route.pipe.as_fd(), key.number()),
                    false => self.poller.add(route.pipe.as_fd(), key.number()),
                }
            }
        }
        if !is_held {
            // Whose turn it was comes first.
            let first: BTreeSet<u64> = self.left.iter().copied().collect();
            let others = self.relay.with_lines(stream);
            self.left
                .extend(others.filter(|number| !first.contains(number)));
        }
    }
}
