//! A client that follows events, after a listing of the programs if it wants one.

use super::client::Client;
use super::pattern::is_among;
use super::status::write_dropped;

/// What a client follows.
#[derive(Debug, Default)]
pub struct Follow {
    /// Names and globs; none for every program.
    programs: Vec<String>,
    /// The number of events that did not fit, and were not reported yet.
    dropped: u64,
}

impl Follow {
    pub fn new(programs: Vec<String>) -> Self {
        let dropped = 0;
        Self { programs, dropped }
    }

    /// Queues the line of an event, or counts it. What concerns no program is for all.
    pub fn event(&mut self, client: &mut Client, program: &str, line: &[u8]) {
        if !program.is_empty() && !self.programs.is_empty() && !is_among(&self.programs, program) {
            return;
        }
        self.report_dropped(client);
        if self.dropped > 0 || !client.queue_if_fits(line) {
            self.dropped += 1;
        }
    }

    /// Counts events that were lost before they had a line.
    pub fn lose(&mut self, count: u64) {
        self.dropped += count;
    }

    /// Reports what was dropped, when there is room again.
    pub fn report_dropped(&mut self, client: &mut Client) {
        if self.dropped > 0 && client.has_room() {
            let count = std::mem::take(&mut self.dropped);
            client.queue(|out| write_dropped(out, count));
        }
    }
}
