//! What the scheduler's closures hand to the control server: the events of a turn and the ends of
//! failed runs. Nothing is kept while no client follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use procsched::text::escaped;
use procsched::{ErrorReport, Event, EventKind};

/// The most events that are kept of one turn. What is over that is counted, for each program.
const EVENTS_MAX: usize = 4096;

/// The most ends of failed runs that are kept of one turn.
const TAILS_MAX: usize = 64;

/// The most lines and bytes of a failed run's stderr that an answer has.
const TAIL_LINES_MAX: usize = 10;
const TAIL_BYTES_MAX: usize = 2048;

/// The events that came, shared with the closures of the scheduler.
#[derive(Clone, Default)]
pub struct Feed(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    /// True if a client follows events, or waits.
    is_wanted: bool,
    turn: Turn,
    log_bytes_dropped: u64,
}

/// What came since the last time.
#[derive(Default)]
pub struct Turn {
    pub events: Vec<Event>,
    /// The number of events that were not kept, by program: a client counts those that it follows.
    pub lost: BTreeMap<Arc<str>, u64>,
    /// The last lines of the stderr of runs that failed, by program.
    pub tails: Vec<(String, Vec<String>)>,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event, if it is wanted.
    pub fn event(&self, event: &Event) {
        let mut queue = self.lock();
        if let EventKind::BytesDropped { bytes, .. } = event.kind() {
            queue.log_bytes_dropped += bytes;
        }
        if !queue.is_wanted {
            return;
        }
        if queue.turn.events.len() < EVENTS_MAX {
            queue.turn.events.push(event.clone());
        } else {
            let lost = &mut queue.turn.lost;
            match lost.get_mut(event.program()) {
                Some(count) => *count += 1,
                None => _ = lost.insert(event.program().into(), 1),
            }
        }
    }

    /// Takes the end of a failed run's stderr, if it is wanted.
    pub fn report(&self, program: &str, report: &ErrorReport) {
        let mut queue = self.lock();
        let is_full = queue.turn.tails.len() >= TAILS_MAX;
        if queue.is_wanted && !is_full && report.is_failure() {
            let tail = last_lines(report.stderr());
            queue.turn.tails.push((program.to_owned(), tail));
        }
    }

    /// Takes what came.
    pub fn take(&self) -> Turn {
        std::mem::take(&mut self.lock().turn)
    }

    /// Says whether events are wanted from now on.
    pub fn want(&self, is_wanted: bool) {
        self.lock().is_wanted = is_wanted;
    }

    /// Returns the number of bytes that are missing from logs.
    pub fn log_bytes_dropped(&self) -> u64 {
        self.lock().log_bytes_dropped
    }
}

/// Returns the last lines of a run's stderr, escaped.
fn last_lines(stderr: &[u8]) -> Vec<String> {
    let start = stderr.len().saturating_sub(TAIL_BYTES_MAX);
    let text = String::from_utf8_lossy(&stderr[start..]);
    let mut lines: Vec<&str> = text.lines().collect();
    // What is cut off begins in a line.
    if start > 0 && lines.len() > 1 {
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(TAIL_LINES_MAX);
    let shown = lines[first..].iter();
    shown.map(|line| escaped(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_bounded_and_escaped() {
        assert_eq!(last_lines(b""), [""; 0]);
        assert_eq!(last_lines(b"a\nb\x1b\xff"), ["a", "b\\u{1b}\u{fffd}"]);
        let many = "x\n".repeat(100);
        assert_eq!(last_lines(many.as_bytes()).len(), TAIL_LINES_MAX);
        let long = format!("{}\nend\n", "y".repeat(TAIL_BYTES_MAX));
        assert_eq!(last_lines(long.as_bytes()), ["end"]);
        let endless = "z".repeat(10 * TAIL_BYTES_MAX);
        assert_eq!(last_lines(endless.as_bytes())[0].len(), TAIL_BYTES_MAX);
    }
}
