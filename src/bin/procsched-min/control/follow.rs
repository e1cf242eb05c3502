//! A client that follows events, after a listing of the programs if it wants one. Each event that
//! it follows is a line, or is counted in the next line that says how many were dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

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

    /// True if it follows this program. What concerns no program is for all.
    fn is_concerned(&self, program: &str) -> bool {
        program.is_empty() || self.programs.is_empty() || is_among(&self.programs, program)
    }

    /// Queues the line of an event, or counts it.
    pub fn event(&mut self, client: &mut Client, program: &str, line: &[u8]) {
        if !self.is_concerned(program) {
            return;
        }
        self.report_dropped(client);
        if self.dropped > 0 || !client.queue_if_fits(line) {
            self.dropped += 1;
        }
    }

    /// Counts events that were lost before they had a line, by program.
    pub fn lose(&mut self, lost: &BTreeMap<Arc<str>, u64>) {
        let lost = lost.iter();
        let lost = lost.filter(|(program, _)| self.is_concerned(program));
        self.dropped += lost.map(|(_, count)| count).sum::<u64>();
    }

    /// True if what was dropped can be reported: no event may come that does so.
    pub fn has_work(&self, client: &Client) -> bool {
        self.dropped > 0 && client.has_room()
    }

    /// Reports what was dropped, when there is room again.
    pub fn report_dropped(&mut self, client: &mut Client) {
        if self.dropped > 0 && client.has_room() {
            let count = std::mem::take(&mut self.dropped);
            client.queue(|out| write_dropped(out, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, ErrorKind};
    use std::os::unix::net::UnixStream;

    use serde_json::Value;

    use super::*;

    /// A reader that takes what is there.
    struct Reader {
        stream: BufReader<UnixStream>,
        /// The beginning of a line whose end has not come.
        line: String,
        events: u64,
        dropped: u64,
    }

    impl Reader {
        fn read(&mut self) {
            loop {
                match self.stream.read_line(&mut self.line) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    read => assert_ne!(read.expect("a line"), 0),
                }
                let value: Value = serde_json::from_str(&self.line).expect("JSON");
                self.line.clear();
                match value["event"]["count"].as_u64() {
                    Some(count) => self.dropped += count,
                    None => self.events += 1,
                }
            }
        }
    }

    #[test]
    fn each_event_is_delivered_or_counted() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        for stream in [&ours, &theirs] {
            stream.set_nonblocking(true).expect("non-blocking");
        }
        let mut reader = Reader {
            stream: BufReader::new(ours),
            line: String::new(),
            events: 0,
            dropped: 0,
        };
        let mut client = Client::new(theirs).expect("a peer");
        let mut follow = Follow::new(vec!["web*".to_owned()]);
        let line = format!("{{\"event\":{{\"text\":{:?}}}}}\n", "x".repeat(100));
        let lost = [("web", 5), ("db", 70), ("", 2)];
        let lost = lost
            .map(|(program, count)| (Arc::from(program), count))
            .into();
        let mut sent = 0;
        for round in 0..20_000 {
            follow.event(&mut client, "web@1", line.as_bytes());
            follow.event(&mut client, "db", line.as_bytes());
            sent += 1;
            if round % 5_000 == 4_000 {
                follow.lose(&lost);
                sent += 7;
                reader.read();
            }
            client.flush();
        }
        // Then nothing happens any more, and the reader takes the rest.
        for _ in 0..1_000 {
            reader.read();
            follow.report_dropped(&mut client);
            client.flush();
        }
        assert!(reader.dropped > 1_000, "{}", reader.dropped);
        assert_eq!(reader.events + reader.dropped, sent);
        assert!(!follow.has_work(&client));
    }
}
