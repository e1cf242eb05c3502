//! What one program consists of while it is supervised: its command, its log, the run at
//! hand, and the pipes of at most two runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::machine::{Exit, Moment, ProgramId, Run};
use crate::os::group::Group;
use crate::os::logs::Log;
use crate::os::stream::{Read, Sink, Stream};
use crate::os::watch::Watch;
use crate::tail::Tail;

/// After how long a group is looked for again, first and at most. In between it doubles.
const PROBE_DELAY_MIN: Duration = Duration::from_millis(1);
const PROBE_DELAY_MAX: Duration = Duration::from_millis(100);

/// How long after an accepted SIGKILL a group that still answers is looked at more closely, and
/// how often: its members may be dead already, and zombies of somebody else.
pub(crate) const ZOMBIES_ONLY_AFTER: Duration = Duration::from_secs(1);

/// How long after an accepted SIGKILL it is worth a word that something is still there.
const DELAY_SAID_AFTER: Duration = Duration::from_secs(5);

/// What a descriptor is that a turn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Wake,
    /// The latest run's pipe.
    Stream(ProgramId),
    /// The pipe of the run before that.
    OldStream(ProgramId),
    /// The pidfd of a leader.
    Leader(ProgramId),
}

impl Key {
    /// The number that it goes by where numbers are wanted.
    pub(crate) fn number(self) -> u64 {
        let (kind, id) = match self {
            Self::Wake => (0, 0),
            Self::Stream(id) => (1, id.0),
            Self::OldStream(id) => (2, id.0),
            Self::Leader(id) => (3, id.0),
        };
        kind << 32 | u64::from(id)
    }

    pub(crate) fn of(number: u64) -> Self {
        let id = ProgramId(number as u32);
        match number >> 32 {
            1 => Self::Stream(id),
            2 => Self::OldStream(id),
            3 => Self::Leader(id),
            _ => Self::Wake,
        }
    }
}

/// One program, with all that the kernel has given us for it.
pub(crate) struct Program {
    pub(crate) id: ProgramId,
    pub(crate) name: Arc<str>,
    pub(crate) command: Vec<OsString>,
    pub(crate) launch: Launch,
    pub(crate) report_bytes: usize,
    pub(crate) log: Log,
    /// The run whose group is not known to be gone.
    pub(crate) live: Option<Live>,
    /// The end of the latest run, until it is told.
    pub(crate) ending: Option<Ending>,
    /// Why the latest start failed, until it is told.
    pub(crate) failed_start: Option<FailedStart>,
    /// The latest run's pipe, until its end.
    pub(crate) stream: Option<Stream>,
    /// The pipe of the run before that, held open by what left its group.
    pub(crate) old_stream: Option<Stream>,
    /// How many pipes of earlier runs were closed although somebody still held them.
    pub(crate) pipes_closed: u64,
    /// When the state that the host sees changed last.
    pub(crate) changed_at: Moment,
    pub(crate) last_start: Option<SystemTime>,
    pub(crate) last_return_code: Option<i32>,
}

/// A run that may have processes.
pub(crate) struct Live {
    pub(crate) run: Run,
    pub(crate) group: Group,
    /// A descriptor tells of its leader's death.
    pub(crate) is_watched: bool,
    /// Told to the machine already; the zombie may still be there.
    pub(crate) leader_dead: bool,
    pub(crate) log_offset: u64,
    pub(crate) started_at: Moment,
    /// Its first process has ended, and it is started again after this delay.
    pub(crate) retry_in: Option<Duration>,
    /// Its group is gone, but not what left it.
    pub(crate) awaits_search: bool,
    /// The last bytes that it wrote. It outlives the pipe, whose end may be seen before the
    /// death; at the death it goes to the report, and what comes later belongs to no run.
    pub(crate) tail: Tail,
    /// When its SIGKILL was accepted.
    pub(crate) killed_at: Option<Moment>,
    /// A signal was refused, and that was said.
    pub(crate) refusal_said: bool,
    /// What is left of it holds up the next start, and that was said.
    pub(crate) delay_said: bool,
    pub(crate) probe: Probe,
}

/// When to look again whether a group without a leader is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) at: Moment,
    delay: Duration,
}

/// A run that has ended; its report waits for its last words.
pub(crate) struct Ending {
    pub(crate) at: SystemTime,
    pub(crate) pid: i32,
    pub(crate) exit: Exit,
    pub(crate) uptime: Duration,
    pub(crate) asked: bool,
    pub(crate) retry_in: Option<Duration>,
    pub(crate) restarts: u64,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_offset: u64,
    /// Complete when its pipe has been drained.
    pub(crate) tail: Tail,
}

impl Program {
    /// Gives a pipe to the latest run. The pipe of the run before becomes the old one; an old
    /// one is read once more and closed, which is an error to be told if somebody still held
    /// it.
    pub(crate) fn attach(
        &mut self,
        stream: Stream,
        watch: &mut Watch,
        buffer: &mut [u8],
    ) -> Result<()> {
        let (latest_key, oldest_key) = (Key::Stream(self.id), Key::OldStream(self.id));
        let latest = self.stream.take();
        let oldest = if latest.is_some() {
            self.detach(oldest_key, watch)
        } else {
            None
        };
        if let Some(latest) = latest {
            watch.renumber(latest.as_fd(), latest_key.number(), oldest_key.number());
            self.old_stream = Some(latest);
        }
        watch.add(stream.as_fd(), latest_key.number());
        self.stream = Some(stream);
        let Some(oldest) = oldest else { return Ok(()) };
        let mut sink = Sink {
            buffer,
            log: &mut self.log,
            tail: None,
        };
        if oldest.read_pending(&mut sink) == Read::End {
            return Ok(());
        }
        self.pipes_closed += 1;
        Err(Error::new(format!(
            "closed the stderr pipe of an earlier run, which a process outside its group still \
             holds ({} so far)",
            self.pipes_closed
        )))
    }

    /// Takes a pipe away, which is waited for no more.
    pub(crate) fn detach(&mut self, key: Key, watch: &mut Watch) -> Option<Stream> {
        let stream = match key {
            Key::Stream(_) => self.stream.take(),
            Key::OldStream(_) => self.old_stream.take(),
            Key::Wake | Key::Leader(_) => None,
        };
        if let Some(stream) = &stream {
            watch.remove(stream.as_fd(), key.number());
        }
        stream
    }

    /// Waits for the leader's death; false if the system has no descriptor for that.
    pub(crate) fn watch_leader(&mut self, watch: &mut Watch) -> bool {
        let Some(live) = &mut self.live else {
            return false;
        };
        live.group.pin();
        if let Some(pidfd) = live.group.pidfd() {
            watch.add(pidfd, Key::Leader(self.id).number());
            live.is_watched = true;
        }
        live.is_watched
    }

    /// The leader's descriptor, readable for ever when it is dead, is waited for no more.
    pub(crate) fn unwatch_leader(&mut self, watch: &mut Watch) {
        let live = self.live.as_mut().filter(|live| live.is_watched);
        if let Some(live) = live
            && let Some(pidfd) = live.group.pidfd()
        {
            watch.remove(pidfd, Key::Leader(self.id).number());
            live.is_watched = false;
        }
    }

    /// Whether it starts again without a delay as soon as nothing is left of the run.
    pub(crate) fn is_restarted_at_once(&self) -> bool {
        let live = self.live.as_ref();
        live.is_some_and(|live| live.retry_in == Some(Duration::ZERO))
    }

    /// The live run, if it is this one.
    pub(crate) fn live_run(&mut self, run: Run) -> Option<&mut Live> {
        self.live.as_mut().filter(|live| live.run == run)
    }
}

impl Live {
    pub(crate) fn new(run: Run, pid: i32, log_offset: u64, now: Moment, tail: Tail) -> Self {
        Self {
            tail,
            run,
            group: Group::new(pid),
            is_watched: false,
            leader_dead: false,
            retry_in: None,
            awaits_search: false,
            log_offset,
            started_at: now,
            killed_at: None,
            refusal_said: false,
            delay_said: false,
            probe: Probe {
                at: now,
                delay: PROBE_DELAY_MIN,
            },
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.group.number()
    }

    /// The last words, for the report; nothing is kept any more.
    pub(crate) fn take_tail(&mut self) -> Tail {
        std::mem::replace(&mut self.tail, Tail::new(0))
    }

    /// That something survives SIGKILL, if it has for a while and was not said yet.
    pub(crate) fn take_delay(&mut self, now: Moment) -> Option<Error> {
        let at = self.killed_at?;
        if self.delay_said || now.since(at) < DELAY_SAID_AFTER {
            return None;
        }
        self.delay_said = true;
        let group = self.group.number();
        Some(Error::new(format!(
            "waits for process group {group}, of which something has survived SIGKILL"
        )))
    }

    /// Whether nothing of the program is left in the group; if not, when to look again is set.
    pub(crate) fn is_gone(&mut self, now: Moment) -> bool {
        if self.group.is_gone() {
            return true;
        }
        if now >= self.probe.at {
            self.probe.at = now.after(self.probe.delay);
            self.probe.delay = (self.probe.delay * 2).min(PROBE_DELAY_MAX);
        }
        false
    }

    /// Whether its group answers although it should be dead: perhaps there are only zombies.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        let overdue = |at: Moment| now.since(at) >= ZOMBIES_ONLY_AFTER;
        self.group.is_leader_reaped() && self.killed_at.is_some_and(overdue)
    }
}

/// A failed start, to be reported.
pub(crate) struct FailedStart {
    pub(crate) return_code: i32,
    pub(crate) error: Error,
    pub(crate) log_offset: u64,
}
