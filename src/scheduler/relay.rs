//! Output that goes to the host: what programs with `inherit` write, on its way into whole lines.
//!
//! The start of a line waits for its end, for a short time and up to a length, then it is given as it
//! is, and what follows as its continuation. What a run leaves is given at its end, before its exit
//! is reported.

use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::time::Duration;

use crate::callbacks::{LINE_BYTES_MAX, Lines};
use crate::machine::{Moment, ProgramId};
use crate::os::clock;
use crate::os::emergency_heap::EmergencyHeap;
use crate::spec::StdStream;

use super::core::Core;

/// How long the start of a line waits for its end.
const WAIT_MAX: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Relay {
    /// Of the streams that have been inherited, for as long as their programs are known.
    parts: BTreeMap<(ProgramId, StdStream), Part>,
}

/// The start of a line.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    since: Moment,
    /// True if what was before it in its line was given already.
    is_continued: bool,
}

impl Relay {
    /// Returns when the start of a line has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let waiting = self.parts.values().filter(|part| !part.bytes.is_empty());
        waiting.map(|part| part.since.after(WAIT_MAX)).min()
    }

    /// Takes in what was read of a stream. Where memory is refused for it, it is counted as lost.
    pub(super) fn push(
        &mut self,
        now: Moment,
        core: &mut Core,
        (id, stream): (ProgramId, StdStream),
        bytes: &[u8],
    ) {
        let part = self.parts.entry((id, stream)).or_default();
        let lines = bytes.iter().rposition(|&byte| byte == b'\n');
        let (lines, mut rest) = bytes.split_at(lines.map_or(0, |at| at + 1));
        if !lines.is_empty() {
            part.add(core, id, stream, lines);
            part.give(core, id, stream, false);
        }
        while part.bytes.len() + rest.len() > LINE_BYTES_MAX {
            let (begin, end) = rest.split_at(LINE_BYTES_MAX - part.bytes.len());
            part.add(core, id, stream, begin);
            part.give(core, id, stream, true);
            rest = end;
        }
        if part.bytes.is_empty() {
            part.since = now;
        }
        part.add(core, id, stream, rest);
    }

    /// Gives the starts of lines that have waited long enough.
    pub(super) fn give_late(&mut self, now: Moment, core: &mut Core) {
        for (&(id, stream), part) in &mut self.parts {
            if !part.bytes.is_empty() && part.since.after(WAIT_MAX) <= now {
                part.give(core, id, stream, true);
            }
        }
    }

    /// Gives the start of a line that is not ended any more.
    pub(super) fn end(&mut self, core: &mut Core, id: ProgramId, stream: StdStream) {
        if let Some(part) = self.parts.get_mut(&(id, stream)) {
            part.give(core, id, stream, false);
        }
    }

    /// Forgets a program.
    pub(super) fn forget(&mut self, id: ProgramId) {
        self.parts.retain(|(known, _), _| *known != id);
    }
}

impl Part {
    fn add(&mut self, core: &mut Core, id: ProgramId, stream: StdStream, bytes: &[u8]) {
        let reserved = EmergencyHeap::optional(|| self.bytes.try_reserve_exact(bytes.len()));
        match reserved {
            Ok(()) => self.bytes.extend_from_slice(bytes),
            Err(_) => core.lost_output(id, stream, bytes.len()),
        }
    }

    /// Gives what is there, and says whether the line goes on.
    fn give(&mut self, core: &mut Core, id: ProgramId, stream: StdStream, goes_on: bool) {
        let is_continued = replace(&mut self.is_continued, goes_on);
        if self.bytes.is_empty() {
            return;
        }
        let program = &core.programs()[id];
        let is_stamped = program.stderr.log.options().timestamps;
        let lines = Lines {
            program: program.name().clone(),
            at: is_stamped.then(clock::wall),
            stream,
            bytes: take(&mut self.bytes),
            is_continued,
        };
        core.outbox_mut().lines(id, lines);
    }
}
