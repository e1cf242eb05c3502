//! What a program writes, on its whole way: a pipe, the log, the tail of its run, the report, its
//! line of JSON. The bytes decide what is written in which pieces, who reads when, how runs end
//! and what happens to the log meanwhile. In the end every byte is in the log or counted as lost,
//! and every report has the last ones of its run.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::choices::Rng;
use super::log_model::{Logs, NAME};
use super::reports;
use crate::machine::Moment;
use crate::os::stream::{READ_BYTES_MAX, Read, Sink, Stream};
use crate::os::tail::Tail;

/// Things that happen in one life.
const STEPS_MAX: usize = 200;

/// Bytes of one write: more than a pipe holds, and few turns' worth where a turn reads little.
const PIECE_BYTES_MAX: usize = 70_000;
const PIECE_READS_MAX: usize = 4;

/// One run's pipe: our end, the program's unless it has closed it, and what is in between.
struct Pipe {
    stream: Stream,
    writer: Option<OwnedFd>,
    pending: Vec<u8>,
}

impl Pipe {
    fn new() -> Self {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let (reader, writer) = nix::unistd::pipe2(flags).expect("a pipe");
        Self {
            stream: Stream::new(reader, false),
            writer: Some(writer),
            pending: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(writer) = &self.writer else {
            return;
        };
        match nix::unistd::write(writer, bytes) {
            Ok(count) => self.pending.extend(&bytes[..count]),
            Err(errno) => assert_eq!(errno, Errno::EAGAIN),
        }
    }

    /// What one read of so many bytes shall find.
    fn expected(&self, size: usize) -> Read {
        match self.pending.len().min(size) {
            0 if self.writer.is_none() => Read::End,
            0 => Read::Nothing,
            count => Read::Bytes(count),
        }
    }
}

struct Life {
    choices: Rng,
    now: Duration,
    logs: Logs,
    buffer: Vec<u8>,
    live: Pipe,
    old: Option<Pipe>,
    report_bytes: u32,
    /// What the product keeps of the run, what there is to be kept, and where it began.
    tail: Tail,
    run: Vec<u8>,
    log_offset: u64,
}

pub fn check(bytes: &[u8]) {
    let mut choices = Rng::new(bytes);
    let size = choices.pick(&[READ_BYTES_MAX, 1, 2, 3, 7, 64, 1_000, 4_096]);
    let report_bytes = match choices.below(8) {
        0 => choices.pick(&[0, 1, 2, 3, 64 * 1_024, 512 * 1_024]),
        1 => choices.below(70_000) as u32,
        _ => choices.below(256) as u32,
    };
    let mut logs = Logs::new();
    let log_offset = logs.open();
    let mut life = Life {
        choices,
        now: Duration::ZERO,
        logs,
        buffer: vec![0; size],
        live: Pipe::new(),
        old: None,
        report_bytes,
        tail: Tail::new(report_bytes),
        run: Vec::new(),
        log_offset,
    };
    for _ in 0..STEPS_MAX {
        if life.choices.is_over() {
            break;
        }
        life.step();
    }
    life.end_run();
    life.close_old();
    life.logs.check_at_the_end();
}

impl Life {
    fn step(&mut self) {
        match self.choices.below(16) {
            0..=4 => self.write_live(),
            5..=7 => self.read_live(),
            8 => self.write_old(),
            9 => self.read_old(),
            10 | 11 => {
                self.end_run();
                self.start_run();
            }
            12 => self.live.writer = None,
            13 => {
                let size = self.choices.pick(&[1, 4_096, 16_384, 65_536, 1 << 20]);
                // As a program may do; not below what is in use.
                let _ = fcntl(self.live.stream.as_fd(), FcntlArg::F_SETPIPE_SZ(size));
                assert!(self.live.stream.capacity() >= 4_096.max(self.live.pending.len()));
            }
            14 => self.logs.trouble(&mut self.choices),
            _ => self.now += Duration::from_secs(self.choices.below(20)),
        }
    }

    /// Some bytes, as they are or over and over again.
    fn piece(&mut self) -> Vec<u8> {
        let count = self.choices.below(64) as usize;
        let bytes = self.choices.take(count).to_vec();
        if bytes.is_empty() || !self.choices.one_in(8) {
            return bytes;
        }
        let longest = PIECE_BYTES_MAX.min(PIECE_READS_MAX * self.buffer.len());
        let length = self.choices.index(longest + 1);
        bytes.into_iter().cycle().take(length).collect()
    }

    fn write_live(&mut self) {
        let piece = self.piece();
        self.live.write(&piece);
    }

    fn write_old(&mut self) {
        let piece = self.piece();
        if let Some(old) = &mut self.old {
            old.write(&piece);
        }
    }

    /// One read, as a turn makes of a living program's pipe.
    fn read_live(&mut self) {
        let expected = self.live.expected(self.buffer.len());
        let mut sink = Sink {
            relayed: &mut Vec::new(),
            buffer: &mut self.buffer,
            log: &mut self.logs.log,
            tail: Some(&mut self.tail),
        };
        assert_eq!(self.live.stream.read(&mut sink), expected);
        if let Read::Bytes(count) = expected {
            let bytes: Vec<u8> = self.live.pending.drain(..count).collect();
            self.run.extend(&bytes);
            self.logs.wrote(&bytes);
        }
        self.tell_losses(false);
    }

    /// Who holds the pipe of an earlier run is heard, and in nobody's report.
    fn read_old(&mut self) {
        let Some(old) = &mut self.old else {
            return;
        };
        let expected = old.expected(self.buffer.len());
        let mut sink = Sink {
            relayed: &mut Vec::new(),
            buffer: &mut self.buffer,
            log: &mut self.logs.log,
            tail: None,
        };
        assert_eq!(old.stream.read(&mut sink), expected);
        if let Read::Bytes(count) = expected {
            let bytes: Vec<u8> = old.pending.drain(..count).collect();
            self.logs.wrote(&bytes);
        }
        self.tell_losses(false);
    }

    /// What is in the pipe when the leader is reaped is the run's, and goes out with its report.
    fn end_run(&mut self) {
        let expected = match self.live.writer {
            None => Read::End,
            Some(_) => Read::Nothing,
        };
        let mut sink = Sink {
            relayed: &mut Vec::new(),
            buffer: &mut self.buffer,
            log: &mut self.logs.log,
            tail: Some(&mut self.tail),
        };
        assert_eq!(self.live.stream.read_pending(&mut sink), expected);
        let bytes = std::mem::take(&mut self.live.pending);
        self.run.extend(&bytes);
        for piece in pieces_of_pending(bytes.len(), self.buffer.len()) {
            self.logs.wrote(&bytes[piece]);
        }
        self.tell_losses(true);
        let tail = std::mem::replace(&mut self.tail, Tail::new(self.report_bytes));
        let run = std::mem::take(&mut self.run);
        let (kept, omitted) = tail.into_words();
        let first = run.len().saturating_sub(self.report_bytes as usize);
        assert!(*kept == run[first..], "the report has not the last bytes");
        assert_eq!(omitted, first as u64);
        let log = self.logs.path();
        reports::check(
            &mut self.choices,
            NAME,
            kept,
            omitted,
            (log, self.log_offset),
        );
    }

    /// The next run has a pipe of its own; whoever still writes to the last one may go on.
    fn start_run(&mut self) {
        let live = std::mem::replace(&mut self.live, Pipe::new());
        self.close_old();
        self.old = live.writer.is_some().then_some(live);
        self.log_offset = self.logs.open();
    }

    fn close_old(&mut self) {
        let Some(old) = self.old.take() else {
            return;
        };
        let mut sink = Sink {
            relayed: &mut Vec::new(),
            buffer: &mut self.buffer,
            log: &mut self.logs.log,
            tail: None,
        };
        old.stream.read_pending(&mut sink);
        for piece in pieces_of_pending(old.pending.len(), self.buffer.len()) {
            self.logs.wrote(&old.pending[piece]);
        }
        self.tell_losses(true);
    }

    fn tell_losses(&mut self, finally: bool) {
        let now = Moment::from_origin(self.now);
        self.logs.tell_losses(now, finally);
    }
}

/// How what is pending is cut where it is read at once: it matters where a note stands.
fn pieces_of_pending(length: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..length)
        .step_by(size)
        .map(move |from| from..length.min(from + size))
}
