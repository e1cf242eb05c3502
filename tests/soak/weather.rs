//! What befalls the supervisor and its programs, by one seed: signals from outside, a disk that
//! is full, a directory that is gone, moments in which the supervisor itself stands still.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::common::{Scene, process};
use crate::model::rng::Rng;
use crate::soak::cast;
use crate::soak::disk::Disk;
use crate::soak::ledger::Ledger;

/// What a program may get out of the blue. Real-time ones twice, as they are queued.
const SIGNALS: [i32; 18] = [
    libc::SIGTERM,
    libc::SIGKILL,
    libc::SIGKILL,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGSEGV,
    libc::SIGABRT,
    libc::SIGALRM,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGCONT,
    40,
    40,
];

/// What the supervisor may get: all of these must not end it.
const TO_SUPERVISOR: [i32; 5] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGHUP,
    libc::SIGCHLD,
    libc::SIGCONT,
];

/// Between two of a kind, at most; in the mean half of it.
const SIGNAL_EVERY: Duration = Duration::from_millis(1200);
const FREEZE_EVERY: Duration = Duration::from_secs(14);
const EPISODE_EVERY: Duration = Duration::from_secs(40);
const ROTATE_EVERY: Duration = Duration::from_secs(2);
const FREEZE_MAX: Duration = Duration::from_millis(1200);
const EPISODE_MAX: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Episode {
    None,
    Full,
    Away,
}

pub struct Weather {
    rng: Rng,
    pid: i32,
    mark: String,
    ledger: Ledger,
    pub disk: Disk,
    episode: Episode,
    episode_turns_at: Instant,
    signal_at: Instant,
    freeze_at: Instant,
    rotate_at: Instant,
    /// Programs that were stopped, to be continued.
    stopped: Vec<i32>,
    pub counts: Counts,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub signals: u64,
    pub freezes: u64,
    pub full: u64,
    pub away: u64,
}

impl Weather {
    pub fn new(seed: u64, pid: i32, scene: &Scene, ledger: &Ledger, disk: Disk) -> Self {
        let now = Instant::now();
        Self {
            rng: Rng::new(seed),
            pid,
            mark: scene.mark().to_owned(),
            ledger: ledger.clone(),
            disk,
            episode: Episode::None,
            episode_turns_at: now + EPISODE_MAX,
            signal_at: now + Duration::from_secs(1),
            freeze_at: now + FREEZE_EVERY / 2,
            rotate_at: now,
            stopped: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Does what is due.
    pub fn blow(&mut self) {
        let now = Instant::now();
        if now >= self.signal_at {
            self.signal_at = now + self.some(SIGNAL_EVERY);
            self.send();
        }
        if now >= self.rotate_at {
            self.rotate_at = now + ROTATE_EVERY;
            self.disk
                .rotate(|name| cast::ACCOUNTED.contains(&cast::mode_of(name)));
            self.thaw();
        }
        if now >= self.freeze_at {
            self.freeze_at = now + self.some(FREEZE_EVERY);
            self.freeze();
        }
        if now >= self.episode_turns_at {
            self.turn_episode(now);
        }
    }

    /// Fair weather again, for the end.
    pub fn clear(&mut self) {
        if self.episode != Episode::None {
            self.turn_episode(Instant::now());
        }
        self.thaw();
    }

    fn some(&mut self, most: Duration) -> Duration {
        Duration::from_micros(1000 + self.rng.below(most.as_micros() as u64))
    }

    fn send(&mut self) {
        if self.rng.one_in(10) {
            let signal = self.rng.pick(&TO_SUPERVISOR);
            return process::signal(self.pid, signal);
        }
        let live: Vec<i32> = self.ledger.books().live.values().copied().collect();
        if live.is_empty() {
            return;
        }
        let (pid, signal) = (self.rng.pick(&live), self.rng.pick(&SIGNALS));
        if self.send_to(pid, signal) {
            self.counts.signals += 1;
            if matches!(signal, libc::SIGSTOP | libc::SIGTSTP) {
                self.stopped.push(pid);
            }
        }
    }

    /// Programs go on that were stopped, by us or by themselves.
    fn thaw(&mut self) {
        let mut pids = std::mem::take(&mut self.stopped);
        for (name, pid) in &self.ledger.books().live {
            if cast::mode_of(name) == "frozen" {
                pids.push(*pid);
            }
        }
        for pid in pids {
            self.send_to(pid, libc::SIGCONT);
        }
    }

    /// A number may be somebody else's by now: the process is held by a descriptor first, then
    /// asked whose it is, then signalled through that descriptor.
    fn send_to(&self, pid: i32, signal: i32) -> bool {
        // SAFETY: plain numbers; the descriptor is new and nobody else's.
        let held = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            if fd < 0 {
                return false;
            }
            OwnedFd::from_raw_fd(fd as i32)
        };
        let is_child = process::stat(pid).is_some_and(|stat| stat.ppid == self.pid);
        if !is_child || !is_marked(pid, &self.mark) {
            return false;
        }
        // SAFETY: an open descriptor, a number, no information, no flags.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, held.as_raw_fd(), signal, 0, 0) };
        sent == 0
    }

    /// Meanwhile deaths and bytes come together.
    fn freeze(&mut self) {
        let length = self.some(FREEZE_MAX);
        process::signal(self.pid, libc::SIGSTOP);
        std::thread::sleep(length);
        process::signal(self.pid, libc::SIGCONT);
        self.counts.freezes += 1;
    }

    fn turn_episode(&mut self, now: Instant) {
        let (next, length) = match self.episode {
            Episode::Full => {
                self.disk.make_room();
                (Episode::None, self.some(EPISODE_EVERY))
            }
            Episode::Away => {
                self.disk.bring_back();
                (Episode::None, self.some(EPISODE_EVERY))
            }
            Episode::None if self.disk.is_small() && self.rng.one_in(2) => {
                self.disk.fill();
                self.counts.full += 1;
                (Episode::Full, self.some(EPISODE_MAX))
            }
            Episode::None => {
                let replace = self.rng.one_in(2);
                self.disk.take_away(replace);
                self.counts.away += 1;
                (Episode::Away, self.some(EPISODE_MAX))
            }
        };
        self.episode = next;
        self.episode_turns_at = now + length;
    }
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes())
}
