//! What one program consists of while it is supervised: its command, its log, the run at
//! hand, and the pipes of at most two runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::machine::{Exit, Moment, ProgramId, Run};
use crate::os::group::Group;
use crate::os::logs::{Log, LogPlace};
use crate::os::stream::{Read, Sink, Stream};
use crate::os::tail::Tail;
use crate::os::watch::Watch;

/// After how long a group is looked for again, first and at most. In between it doubles.
const PROBE_DELAY_MIN: Duration = Duration::from_millis(1);
const PROBE_DELAY_MAX: Duration = Duration::from_millis(100);

/// From which delay between two probes on a group is suspected to consist of zombies of another
/// process's children: 7 ms after its leader was reaped. What is killed with its leader takes less
/// than that to be dead and reaped, as a rule, so that an ordinary restart costs no look at `/proc`.
const SUSPECT_DELAY_MIN: Duration = Duration::from_millis(16);

/// How long after an accepted SIGKILL a group that still answers counts as one of zombies where
/// `/proc` does not tell.
const ZOMBIES_ASSUMED_AFTER: Duration = Duration::from_secs(1);

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
///
/// There may be ten thousand, most of them silent: what is needed seldom is allocated when it
/// is, and what can be put together from the rest is.
pub(crate) struct Program {
    pub(crate) id: ProgramId,
    pub(crate) launch: Launch,
    pub(crate) report_bytes: u32,
    pub(crate) log: Log,
    /// The run whose group is not known to be gone.
    pub(crate) live: Option<Live>,
    /// The end of the latest run, until it is told.
    pub(crate) ending: Option<Box<Ending>>,
    /// Why the latest start failed, until it is told.
    pub(crate) failed_start: Option<Box<FailedStart>>,
    /// The latest run's pipe, until its end.
    pub(crate) stream: Option<Stream>,
    /// The pipe of the run before that, held open by what left its group.
    pub(crate) old_stream: Option<Stream>,
    /// How many pipes of earlier runs were closed although somebody still held them.
    pub(crate) pipes_closed: u32,
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
    /// Its process has not executed the program yet.
    pub(crate) is_launching: bool,
    pub(crate) log_offset: u64,
    pub(crate) started_at: Moment,
    /// The last bytes that it wrote. It outlives the pipe, whose end may be seen before the
    /// death; at the death it goes to the report, and what comes later belongs to no run.
    pub(crate) tail: Tail,
    /// What there is to know once it is on its way out.
    leaving: Option<Box<Leaving>>,
}

/// A run whose first process has ended, or that was signalled.
pub(crate) struct Leaving {
    /// Its first process has ended, and it is started again after this delay.
    pub(crate) retry_in: Option<Duration>,
    /// Its group is gone, but not what left it.
    pub(crate) awaits_search: bool,
    /// When its SIGKILL was accepted.
    pub(crate) killed_at: Option<Moment>,
    /// A signal was refused, and that was said; and the same of a SIGKILL.
    pub(crate) refusal_said: bool,
    pub(crate) kill_refusal_said: bool,
    /// What is left of it holds up the next start, and that was said.
    pub(crate) delay_said: bool,
    pub(crate) probe: Probe,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            retry_in: None,
            awaits_search: false,
            killed_at: None,
            refusal_said: false,
            kill_refusal_said: false,
            delay_said: false,
            probe: Probe {
                at: Moment::default(),
                delay: PROBE_DELAY_MIN,
            },
        }
    }
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
    /// A program that has never run.
    pub(crate) fn new(id: ProgramId, launch: Launch, report_bytes: usize) -> Self {
        Self {
            id,
            launch,
            report_bytes: u32::try_from(report_bytes).unwrap_or(u32::MAX),
            log: Log::default(),
            live: None,
            ending: None,
            failed_start: None,
            stream: None,
            old_stream: None,
            pipes_closed: 0,
            changed_at: Moment::default(),
            last_start: None,
            last_return_code: None,
        }
    }

    /// Gives a pipe to the latest run. The pipe of the run before becomes the old one; an old
    /// one is read once more and closed, which is an error to be told if somebody still held
    /// it.
    pub(crate) fn attach(
        &mut self,
        stream: Stream,
        watch: &mut Watch,
        buffer: &mut [u8],
        err_dir: &Path,
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
            place: LogPlace {
                directory: err_dir,
                name: self.launch.name(),
            },
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

    pub(crate) fn name(&self) -> &str {
        self.launch.name()
    }

    /// Its log, and where that is.
    pub(crate) fn log<'a>(&'a mut self, err_dir: &'a Path) -> (&'a mut Log, LogPlace<'a>) {
        let name = self.launch.name();
        let place = LogPlace {
            directory: err_dir,
            name,
        };
        (&mut self.log, place)
    }

    /// The path of its log, if it has one.
    pub(crate) fn log_path(&mut self, err_dir: &Path) -> Option<PathBuf> {
        let (log, place) = self.log(err_dir);
        log.path(place)
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
        let leaving = self.live.as_ref().and_then(|live| live.leaving.as_ref());
        leaving.is_some_and(|leaving| leaving.retry_in == Some(Duration::ZERO))
    }

    /// Returns whether what is left of its run may be nothing but zombies.
    pub(crate) fn is_suspect(&self) -> bool {
        self.live.as_ref().is_some_and(Live::is_suspect)
    }

    /// The live run, if it is this one.
    pub(crate) fn live_run(&mut self, run: Run) -> Option<&mut Live> {
        self.live.as_mut().filter(|live| live.run == run)
    }
}

impl Live {
    pub(crate) fn new(run: Run, group: Group, log_offset: u64, now: Moment, tail: Tail) -> Self {
        Self {
            tail,
            run,
            group,
            is_watched: false,
            leader_dead: false,
            is_launching: false,
            log_offset,
            started_at: now,
            leaving: None,
        }
    }

    /// What is known of its end.
    pub(crate) fn leaving(&mut self) -> &mut Leaving {
        self.leaving.get_or_insert_default()
    }

    /// Whether its group was sent a SIGKILL that was accepted.
    pub(crate) fn is_killed(&self) -> bool {
        let leaving = self.leaving.as_ref();
        leaving.is_some_and(|leaving| leaving.killed_at.is_some())
    }

    /// Whether its group is gone, but not what left it.
    pub(crate) fn awaits_search(&self) -> bool {
        let leaving = self.leaving.as_ref();
        leaving.is_some_and(|leaving| leaving.awaits_search)
    }

    /// When to look again whether its group is gone.
    pub(crate) fn next_probe(&self) -> Moment {
        let leaving = self.leaving.as_ref();
        leaving.map_or(Moment::default(), |leaving| leaving.probe.at)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.group.number()
    }

    /// When its SIGKILL was accepted, if it was sent.
    pub(crate) fn killed_at(&self) -> Option<Moment> {
        self.leaving.as_ref()?.killed_at
    }

    /// The last words, for the report; nothing is kept any more.
    pub(crate) fn take_tail(&mut self) -> Tail {
        std::mem::replace(&mut self.tail, Tail::new(0))
    }

    /// That something is there after SIGKILL, if it has been for a while and was not said yet.
    pub(crate) fn take_delay(&mut self, now: Moment) -> Option<Error> {
        let leaving = self.leaving.as_mut()?;
        let at = leaving.killed_at?;
        if leaving.delay_said || now.since(at) < DELAY_SAID_AFTER {
            return None;
        }
        leaving.delay_said = true;
        let group = self.group.number();
        Some(Error::new(format!(
            "waits for process group {group}, of which something is there after SIGKILL"
        )))
    }

    /// Whether nothing of the program is left in the group; if not, when to look again is set.
    pub(crate) fn is_gone(&mut self, now: Moment) -> bool {
        let is_gone = self.group.is_gone();
        if !is_gone {
            self.put_off_probe(now);
        }
        is_gone
    }

    /// Sets when to look again, if this was the time to look.
    pub(crate) fn put_off_probe(&mut self, now: Moment) {
        let probe = &mut self.leaving().probe;
        if now >= probe.at {
            probe.at = now.after(probe.delay);
            probe.delay = (probe.delay * 2).min(PROBE_DELAY_MAX);
        }
    }

    /// Returns whether its group has answered for so long without a leader that there may be only
    /// zombies in it.
    fn is_suspect(&self) -> bool {
        self.group.is_leader_reaped() && !self.awaits_search() && self.has_answered_long()
    }

    /// Returns whether it was asked for several times and is still there.
    pub(crate) fn has_answered_long(&self) -> bool {
        let leaving = self.leaving.as_deref();
        leaving.is_some_and(|leaving| leaving.probe.delay >= SUSPECT_DELAY_MIN)
    }

    /// Takes note of a SIGKILL that was accepted, and has its group asked for from soon on.
    pub(crate) fn was_killed(&mut self, now: Moment) {
        let leaving = self.leaving();
        if leaving.killed_at.is_none() {
            leaving.killed_at = Some(now);
            leaving.probe.at = leaving.probe.at.max(now.after(PROBE_DELAY_MIN));
        }
    }

    /// Returns whether its group answers long after its SIGKILL.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        let overdue = |at: Moment| now.since(at) >= ZOMBIES_ASSUMED_AFTER;
        self.group.is_leader_reaped() && self.killed_at().is_some_and(overdue)
    }
}

/// A failed start, to be reported.
pub(crate) struct FailedStart {
    pub(crate) return_code: i32,
    pub(crate) error: Error,
    pub(crate) log_offset: u64,
}
