//! Output that goes to the host: what programs with `inherit` write, on its way into whole lines.
//!
//! A turn gives so much and no more, so that the host can stop it in time. Lines that it has no room
//! for come first in the next. The start of a line waits for its end, for a short time and up to a
//! length, then it is given as it is, and what follows as its continuation. What a run leaves is given
//! at its end, before its exit is reported.

use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::time::Duration;

use crate::callbacks::{LINE_BYTES_MAX, Lines, Notice, cut, first_line_length};
use crate::machine::{Moment, ProgramId};
use crate::os::clock;
use crate::os::emergency_heap::EmergencyHeap;
use crate::program::Key;
use crate::spec::StdStream;

use super::core::Core;

/// How long the start of a line waits for its end.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// The most lines that a turn gives of one stream, and their bytes. A host that puts something before
/// each line can so leave room for a turn: see
/// [`hold_output`](crate::ProcessScheduler::hold_output).
const TURN_LINES_MAX: usize = 2400;
const TURN_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Relay {
    /// What was read of pipes and not given yet, by the numbers of their keys.
    parts: BTreeMap<u64, Part>,
    /// What stdout and stderr of the host still take in this turn.
    rooms: [Room; 2],
    /// Whether the host takes nothing of them.
    is_held: [bool; 2],
}

/// What was read of a pipe and not given yet.
#[derive(Default)]
struct Part {
    /// Lines that there was no room for, and behind them the start of one.
    bytes: Vec<u8>,
    /// The length of the whole lines.
    ended: usize,
    /// When the start of a line behind them was read, if there is one.
    since: Option<Moment>,
    /// True if what was before it in its line was given already.
    is_continued: bool,
}

#[derive(Default)]
struct Room {
    lines: usize,
    bytes: usize,
}

impl Relay {
    /// Begins a turn.
    pub(super) fn renew(&mut self) {
        self.rooms.fill_with(|| Room {
            lines: TURN_LINES_MAX,
            bytes: TURN_BYTES_MAX,
        });
    }

    /// Returns how much may be read of a pipe of this stream.
    pub(super) fn room(&self, stream: StdStream) -> usize {
        let room = &self.rooms[stream as usize];
        if room.lines == 0 { 0 } else { room.bytes }
    }

    /// True while the host takes nothing of this stream.
    pub(super) fn is_held(&self, stream: StdStream) -> bool {
        self.is_held[stream as usize]
    }

    /// Says whether the host takes what is of this stream. True if that is new.
    pub(super) fn hold(&mut self, stream: StdStream, is_held: bool) -> bool {
        replace(&mut self.is_held[stream as usize], is_held) != is_held
    }

    /// Returns when the start of a line has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let waiting = self.parts.iter().filter_map(|(&number, part)| {
            let (_, stream) = Key::of(number).stream()?;
            part.since.filter(|_| !self.is_held(stream))
        });
        waiting.map(|since| since.after(WAIT_MAX)).min()
    }

    /// Returns the bytes to which is added what is read of a pipe, before [`Relay::take_in`].
    pub(super) fn begin_read(&mut self, core: &mut Core, key: Key) -> Vec<u8> {
        let mut bytes = core.outbox_mut().take_buffer();
        let Some(part) = self.parts.get_mut(&key.number()) else {
            return bytes;
        };
        match EmergencyHeap::optional(|| bytes.try_reserve(part.bytes.len())) {
            Ok(()) => bytes.append(&mut part.bytes),
            Err(_) => bytes = take(&mut part.bytes),
        }
        bytes
    }

    /// Takes in these bytes with what was read, and gives the lines that there is room for. False if
    /// some are left.
    pub(super) fn take_in(
        &mut self,
        now: Moment,
        core: &mut Core,
        key: Key,
        bytes: Vec<u8>,
    ) -> bool {
        let Some((id, stream)) = key.stream() else {
            return true;
        };
        if bytes.is_empty() && !self.parts.contains_key(&key.number()) {
            core.outbox_mut().keep_buffer(bytes);
            return true;
        }
        let part = self.parts.entry(key.number()).or_default();
        part.learn(now, bytes);
        let mut to = Target {
            core,
            id,
            stream,
            room: &mut self.rooms[stream as usize],
        };
        let is_all = part.give_lines(&mut to);
        if is_all && part.give_long(&mut to) {
            part.since = part.since.map(|_| now);
        }
        part.free_memory(core);
        if part.is_over() {
            self.parts.remove(&key.number());
        }
        is_all
    }

    /// Gives what an earlier turn had no room for, as far as this one has room. False if some of it
    /// is left.
    pub(super) fn give_left(&mut self, core: &mut Core, key: Key) -> bool {
        let (Some((id, stream)), Some(part)) = (key.stream(), self.parts.get_mut(&key.number()))
        else {
            return true;
        };
        let mut to = Target {
            core,
            id,
            stream,
            room: &mut self.rooms[stream as usize],
        };
        if !part.give_lines(&mut to) || !to.room.fits(part.too_long()) {
            return false;
        }
        part.give_long(&mut to);
        true
    }

    /// Returns the pipes of this stream of which there are whole lines, by the numbers of their keys.
    pub(super) fn with_lines(&self, stream: StdStream) -> impl Iterator<Item = u64> {
        let parts = self.parts.iter().filter(|(_, part)| part.ended > 0);
        parts
            .map(|(&number, _)| number)
            .filter(move |&number| Key::of(number).stream().is_some_and(|(_, of)| of == stream))
    }

    /// Gives the starts of lines that have waited long enough, if there is room for them.
    pub(super) fn give_late(&mut self, now: Moment, core: &mut Core) {
        for (&number, part) in &mut self.parts {
            let Some((id, stream)) = Key::of(number).stream() else {
                continue;
            };
            let room = &mut self.rooms[stream as usize];
            let has_room = !self.is_held[stream as usize] && room.fits(part.bytes.len());
            let is_late = part.since.is_some_and(|since| since.after(WAIT_MAX) <= now);
            if has_room && is_late && part.ended == 0 {
                let mut to = Target {
                    core,
                    id,
                    stream,
                    room,
                };
                part.give(&mut to, part.bytes.len(), 1, true);
            }
        }
    }

    /// Gives all that is left of a pipe: the start of a line is not ended any more.
    pub(super) fn end(&mut self, core: &mut Core, key: Key) {
        if let Some((id, stream)) = key.stream()
            && let Some(mut part) = self.parts.remove(&key.number())
        {
            let mut to = Target {
                core,
                id,
                stream,
                room: &mut self.rooms[stream as usize],
            };
            let lines = part.bytes[..part.ended].iter();
            let lines = lines.filter(|&&byte| byte == b'\n').count() + 1;
            part.give(&mut to, part.bytes.len(), lines, false);
        }
    }

    /// Takes over that a pipe has another key from now on.
    pub(super) fn renumber(&mut self, before: Key, key: Key) {
        if let Some(part) = self.parts.remove(&before.number()) {
            self.parts.insert(key.number(), part);
        }
    }
}

/// Whose lines are given, and how many more.
struct Target<'a> {
    core: &'a mut Core,
    id: ProgramId,
    stream: StdStream,
    room: &'a mut Room,
}

impl Room {
    /// True if this many more bytes may be given: what is given at last may be longer than the room
    /// by a line.
    fn fits(&self, bytes: usize) -> bool {
        bytes == 0 || (self.lines.min(self.bytes) > 0 && bytes <= self.bytes + LINE_BYTES_MAX)
    }
}

impl Part {
    /// True if nothing is to be known of it.
    fn is_over(&self) -> bool {
        self.bytes.is_empty() && !self.is_continued
    }

    /// Learns which lines have come with what was read.
    fn learn(&mut self, now: Moment, bytes: Vec<u8>) {
        self.bytes = bytes;
        let new = &self.bytes[self.ended..];
        if let Some(at) = new.iter().rposition(|&byte| byte == b'\n') {
            self.ended += at + 1;
            self.since = None;
        }
        if self.bytes.len() > self.ended {
            self.since.get_or_insert(now);
        }
    }

    /// Leaves memory that it has no need of to what is read next.
    fn free_memory(&mut self, core: &mut Core) {
        let mut exact = Vec::new();
        if self.bytes.capacity() > self.bytes.len() + LINE_BYTES_MAX
            && EmergencyHeap::optional(|| exact.try_reserve_exact(self.bytes.len())).is_ok()
        {
            exact.extend_from_slice(&self.bytes);
            core.outbox_mut()
                .keep_buffer(replace(&mut self.bytes, exact));
        }
    }

    /// Gives the whole lines, as many as there is room for. False if some are left.
    fn give_lines(&mut self, to: &mut Target<'_>) -> bool {
        let (mut end, mut lines) = (0, 0);
        while end < self.ended && lines < to.room.lines && end < to.room.bytes {
            let next = end + first_line_length(&self.bytes[end..self.ended]);
            // A long line waits for a turn of its own.
            let is_first = end == 0 && to.room.bytes == TURN_BYTES_MAX;
            if !(is_first || to.room.fits(next)) {
                break;
            }
            end = next;
            lines += 1;
        }
        self.give(to, end, lines, false);
        self.ended == 0
    }

    /// Returns how much more of the start of a line there is than may wait.
    fn too_long(&self) -> usize {
        (self.bytes.len() - self.ended).saturating_sub(LINE_BYTES_MAX)
    }

    /// Gives what is too long of the start of a line. True if there was something.
    fn give_long(&mut self, to: &mut Target<'_>) -> bool {
        let (mut end, mut parts) = (0, 0);
        while self.bytes.len() - end > LINE_BYTES_MAX {
            end += cut(&self.bytes[end..], LINE_BYTES_MAX);
            parts += 1;
        }
        self.give(to, end, parts, true);
        end > 0
    }

    /// Gives this many bytes, which are as many lines or parts of one, and says whether the last of
    /// them goes on. Where memory is refused for what is behind them, that is counted as lost.
    fn give(&mut self, to: &mut Target<'_>, length: usize, lines: usize, goes_on: bool) {
        if length == 0 {
            return;
        }
        let is_continued = replace(&mut self.is_continued, goes_on);
        let mut rest = Vec::new();
        if length < self.bytes.len() {
            let behind = &self.bytes[length..];
            match EmergencyHeap::optional(|| rest.try_reserve_exact(behind.len())) {
                Ok(()) => rest.extend_from_slice(behind),
                Err(_) => to.core.lost_output(to.id, to.stream, behind.len()),
            }
        }
        self.ended = self.ended.saturating_sub(length).min(rest.len());
        self.since = self.since.filter(|_| rest.len() > self.ended);
        let mut bytes = replace(&mut self.bytes, rest);
        bytes.truncate(length);
        to.room.lines = to.room.lines.saturating_sub(lines);
        to.room.bytes = to.room.bytes.saturating_sub(length);
        let program = to.core.program_mut(to.id);
        let is_stamped = program.stderr.log.options().timestamps;
        let lines = Lines {
            program: program.name().clone(),
            at: is_stamped.then(clock::wall),
            stream: to.stream,
            bytes,
            is_continued,
        };
        match &mut program.exit_record {
            Some(record) => record.lines.push(lines),
            None => to.core.outbox_mut().notice(Notice::Lines(lines)),
        }
    }
}
