//! Output that goes to the host: what programs with `inherit` write, on its way into whole lines.
//!
//! The start of a line waits for its end, for a short time and up to a length, then it is given as it
//! is, and what follows as its continuation. What a run leaves is given at its end, before its exit
//! is reported.

use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::time::Duration;

use crate::callbacks::{LINE_BYTES_MAX, Lines, Notice, cut};
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
const TURN_LINES_MAX: usize = 3072;
const TURN_BYTES_MAX: usize = 32 * 1024;

#[derive(Default)]
pub(super) struct Relay {
    /// Of the pipes whose line has begun, by the numbers of their keys.
    parts: BTreeMap<u64, Part>,
    /// What stdout and stderr of the host still take in this turn.
    rooms: [Room; 2],
    /// Whether the host takes nothing of them.
    is_held: [bool; 2],
}

/// The start of a line.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    since: Moment,
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

    /// Returns how much may be read of a pipe of this stream, even if each byte is a line.
    pub(super) fn room(&self, stream: StdStream) -> usize {
        let room = &self.rooms[stream as usize];
        room.lines.min(room.bytes)
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
        let waiting = self.parts.iter().filter(|&(&number, part)| {
            let stream = Key::of(number).stream();
            !part.bytes.is_empty() && stream.is_some_and(|(_, stream)| !self.is_held(stream))
        });
        waiting.map(|(_, part)| part.since.after(WAIT_MAX)).min()
    }

    /// Takes in what was read of a pipe. Where memory is refused for it, it is counted as lost.
    pub(super) fn push(&mut self, now: Moment, core: &mut Core, key: Key, bytes: &[u8]) {
        let Some((id, stream)) = key.stream() else {
            return;
        };
        let part = self.parts.entry(key.number()).or_default();
        let room = &mut self.rooms[stream as usize];
        let lines = bytes.iter().rposition(|&byte| byte == b'\n');
        let (lines, mut rest) = bytes.split_at(lines.map_or(0, |at| at + 1));
        if !lines.is_empty() {
            part.add(core, id, stream, lines);
            part.give(core, id, stream, room, false);
        }
        while part.bytes.len() + rest.len() > LINE_BYTES_MAX {
            let (begin, end) = rest.split_at(cut(rest, LINE_BYTES_MAX - part.bytes.len()));
            part.add(core, id, stream, begin);
            part.give(core, id, stream, room, true);
            rest = end;
        }
        if part.bytes.is_empty() {
            part.since = now;
        }
        part.add(core, id, stream, rest);
        if part.is_over() {
            self.parts.remove(&key.number());
        }
    }

    /// Gives the starts of lines that have waited long enough, if there is room for them.
    pub(super) fn give_late(&mut self, now: Moment, core: &mut Core) {
        for (&number, part) in &mut self.parts {
            let Some((id, stream)) = Key::of(number).stream() else {
                continue;
            };
            let room = &mut self.rooms[stream as usize];
            let has_room = !self.is_held[stream as usize] && room.lines.min(room.bytes) > 0;
            if has_room && !part.bytes.is_empty() && part.since.after(WAIT_MAX) <= now {
                part.give(core, id, stream, room, true);
            }
        }
    }

    /// Gives the start of a line that is not ended any more.
    pub(super) fn end(&mut self, core: &mut Core, key: Key) {
        if let Some((id, stream)) = key.stream()
            && let Some(mut part) = self.parts.remove(&key.number())
        {
            let room = &mut self.rooms[stream as usize];
            part.give(core, id, stream, room, false);
        }
    }

    /// Takes over that a pipe has another key from now on.
    pub(super) fn renumber(&mut self, before: Key, key: Key) {
        if let Some(part) = self.parts.remove(&before.number()) {
            self.parts.insert(key.number(), part);
        }
    }
}

impl Part {
    /// True if nothing is to be known of it.
    fn is_over(&self) -> bool {
        self.bytes.is_empty() && !self.is_continued
    }

    fn add(&mut self, core: &mut Core, id: ProgramId, stream: StdStream, bytes: &[u8]) {
        let reserved = EmergencyHeap::optional(|| self.bytes.try_reserve(bytes.len()));
        match reserved {
            Ok(()) => self.bytes.extend_from_slice(bytes),
            Err(_) => core.lost_output(id, stream, bytes.len()),
        }
    }

    /// Gives what is there, and says whether the line goes on.
    fn give(
        &mut self,
        core: &mut Core,
        id: ProgramId,
        stream: StdStream,
        room: &mut Room,
        goes_on: bool,
    ) {
        let is_continued = replace(&mut self.is_continued, goes_on);
        if self.bytes.is_empty() {
            return;
        }
        let ends = self.bytes.iter().filter(|&&byte| byte == b'\n').count();
        room.lines = room.lines.saturating_sub(ends + 1);
        room.bytes = room.bytes.saturating_sub(self.bytes.len());
        let program = core.program_mut(id);
        let is_stamped = program.stderr.log.options().timestamps;
        let lines = Lines {
            program: program.name().clone(),
            at: is_stamped.then(clock::wall),
            stream,
            bytes: take(&mut self.bytes),
            is_continued,
        };
        match &mut program.exit_record {
            Some(record) => record.lines.push(lines),
            None => core.outbox_mut().notice(Notice::Lines(lines)),
        }
    }
}
