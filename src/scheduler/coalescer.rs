//! Read coalescing: which pipes rest, and for how long.
//!
//! A program that writes small pieces in quick succession would cost a wake-up, a read and a write
//! for each of them, and pay for the wake-ups itself. So its pipe rests: it is not polled, but read
//! after a pause that is too short to be noticed and too short to fill the pipe. A read that finds
//! nothing ends the rest. A program that writes large pieces, or slowly, has nothing to gain and
//! never rests.
//!
//! Only pipes rest: everything else is polled meanwhile, and a hang-up still counts.

use std::time::Duration;

use crate::machine::Moment;
use crate::os::stream::READ_BYTES_MAX;

/// How many pipes are tracked. Of more than these, each turn finds several ready, which is as good
/// as a rest.
const PIPES_MAX: usize = 64;

/// The largest small piece, in bytes: a few lines.
const SMALL_BYTES_MAX: usize = 512;

/// The longest gap in a quick succession: half a pause, which else saves nothing.
const GAP_MAX: Duration = Duration::from_micros(250);

/// The longest pause, which is the first. It delays what is logged.
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// A shorter pause is not worth the sleep.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// After this many small pieces in quick succession more usually follow.
const STREAK_MIN: i16 = 4;

/// How many more are needed after a rest that even short pauses made too long.
const STREAK_PENALTY: i16 = 1000;

/// The pipes that were recently written to in small pieces.
#[derive(Debug, Default)]
pub(super) struct ReadCoalescer {
    rates: Vec<PipeRate>,
}

/// What follows from a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    /// The pipe rests from now on.
    Rest,
    /// It is polled again from now on.
    Poll,
}

#[derive(Debug)]
struct PipeRate {
    key: u64,
    read_at: Moment,
    /// Small pieces in quick succession so far; below zero after a rest that was too long.
    streak: i16,
    pause: Duration,
    /// When the pipe is read next; `None` while it is polled.
    read_due: Option<Moment>,
}

impl ReadCoalescer {
    /// Takes in a read of `bytes`. `capacity` returns the size of the pipe.
    pub(super) fn on_read(
        &mut self,
        now: Moment,
        key: u64,
        bytes: usize,
        capacity: impl FnOnce() -> usize,
    ) -> Verdict {
        match self.rates.iter_mut().find(|rate| rate.key == key) {
            Some(rate) if rate.read_due.is_some() => rate.on_rest_read(now, bytes, capacity),
            Some(rate) => rate.on_polled_read(now, bytes),
            None => {
                if bytes <= SMALL_BYTES_MAX {
                    self.track(now, key);
                }
                Verdict::Same
            }
        }
    }

    /// Forgets a pipe that is gone, or has another key now, or cannot rest.
    pub(super) fn forget(&mut self, key: u64) {
        self.rates.retain(|rate| rate.key != key);
    }

    /// Returns when the next pipe is to be read.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.rates.iter().filter_map(|rate| rate.read_due).min()
    }

    /// Adds the pipes to be read, except those already in the list. When one is due, those that
    /// will be soon are read with it: from then on they share a wake-up.
    pub(super) fn add_due(&self, now: Moment, keys: &mut Vec<u64>) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let soon = now.after(PAUSE_MIN);
        for rate in &self.rates {
            if rate.read_due.is_some_and(|at| at <= soon) && !keys.contains(&rate.key) {
                keys.push(rate.key);
            }
        }
    }

    /// Tracks another pipe, in place of one that has fallen silent.
    fn track(&mut self, now: Moment, key: u64) {
        let rate = PipeRate {
            key,
            read_at: now,
            streak: 1,
            pause: PAUSE_MAX,
            read_due: None,
        };
        let is_silent =
            |old: &&mut PipeRate| old.read_due.is_none() && now.since(old.read_at) > GAP_MAX;
        if let Some(silent) = self.rates.iter_mut().find(is_silent) {
            *silent = rate;
        } else if self.rates.len() < PIPES_MAX {
            self.rates.push(rate);
        }
    }
}

impl PipeRate {
    fn on_polled_read(&mut self, now: Moment, bytes: usize) -> Verdict {
        let is_small = bytes <= SMALL_BYTES_MAX;
        if !is_small || now.since(self.read_at) > GAP_MAX {
            self.streak = self.streak.min(0);
        }
        self.streak += i16::from(is_small);
        self.read_at = now;
        if self.streak < STREAK_MIN {
            return Verdict::Same;
        }
        self.pause = PAUSE_MAX;
        self.read_due = Some(now.after(PAUSE_MAX));
        Verdict::Rest
    }

    /// Fits the pause to the pipe, so that its writer does not wait for room.
    fn on_rest_read(
        &mut self,
        now: Moment,
        bytes: usize,
        capacity: impl FnOnce() -> usize,
    ) -> Verdict {
        let room = capacity().min(READ_BYTES_MAX);
        if bytes >= room / 4 * 3 {
            self.pause /= 2;
        } else if bytes < room / 4 {
            self.pause = PAUSE_MAX.min(self.pause * 2);
        }
        let is_too_fast = self.pause < PAUSE_MIN;
        if bytes > 0 && !is_too_fast {
            self.read_due = Some(now.after(self.pause));
            return Verdict::Same;
        }
        self.streak = if is_too_fast { -STREAK_PENALTY } else { 0 };
        self.read_due = None;
        Verdict::Poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: usize = 64 * 1024;

    /// Time passes by hand.
    #[derive(Default)]
    struct World {
        coalescer: ReadCoalescer,
        now: Moment,
    }

    impl World {
        fn after(&mut self, micros: u64, key: u64, bytes: usize) -> Verdict {
            self.now = self.now.after(Duration::from_micros(micros));
            self.coalescer.on_read(self.now, key, bytes, || PIPE)
        }

        fn due(&self) -> Vec<u64> {
            let mut keys = Vec::new();
            self.coalescer.add_due(self.now, &mut keys);
            keys
        }

        /// Returns the time until the next read, in microseconds.
        fn pause(&self) -> Option<u128> {
            let next = self.coalescer.next_deadline();
            next.map(|at| at.since(self.now).as_micros())
        }

        fn begin_rest(&mut self, key: u64) {
            for _ in 1..STREAK_MIN {
                assert_eq!(self.after(10, key, 64), Verdict::Same);
            }
            assert_eq!(self.after(10, key, 64), Verdict::Rest);
        }
    }

    #[test]
    fn small_pieces_in_quick_succession_bring_a_rest_and_silence_ends_it() {
        let mut world = World::default();
        world.begin_rest(1);
        assert_eq!(world.pause(), Some(500));
        assert!(world.due().is_empty());
        assert_eq!(world.after(500, 2, 100_000), Verdict::Same, "another pipe");
        assert_eq!(world.due(), [1]);
        assert_eq!(world.after(0, 1, 5_000), Verdict::Same);
        assert!(world.due().is_empty());
        assert_eq!(world.pause(), Some(500));
        assert_eq!(world.after(500, 1, 0), Verdict::Poll);
        assert_eq!(world.pause(), None);
        assert_eq!(world.after(1, 1, 64), Verdict::Same, "it begins anew");
    }

    #[test]
    fn slow_and_large_writers_never_rest() {
        let mut world = World::default();
        for _ in 0..1000 {
            assert_eq!(world.after(300, 1, 64), Verdict::Same);
            assert_eq!(world.after(10, 2, 4096), Verdict::Same);
        }
        for _ in 0..1000 {
            assert_eq!(world.after(10, 3, 64), Verdict::Same);
            assert_eq!(world.after(10, 3, 64), Verdict::Same);
            assert_eq!(world.after(10, 3, 4096), Verdict::Same, "mixed");
        }
        assert_eq!(world.pause(), None);
    }

    #[test]
    fn a_pause_soon_fills_less_than_the_pipe() {
        for rate in [1, 10, 40, 80, 160, 500] {
            let mut world = World::default();
            world.begin_rest(1);
            let mut micros = 500;
            for turn in 0..50 {
                let bytes = PIPE.min(micros as usize * rate);
                assert!(turn < 3 || bytes < PIPE, "{rate} bytes a microsecond");
                assert_eq!(world.after(micros, 1, bytes), Verdict::Same);
                micros = u64::try_from(world.pause().expect("a rest")).expect("short");
            }
        }
    }

    #[test]
    fn rests_that_are_too_long_for_a_pipe_end_and_do_not_come_back_soon() {
        let mut world = World::default();
        world.begin_rest(1);
        let reads = (0..10).take_while(|_| world.after(1000, 1, PIPE) != Verdict::Poll);
        assert!(reads.count() < 5, "it rests although its writer waits");
        let pieces = (0..2000).take_while(|_| world.after(10, 1, 64) != Verdict::Rest);
        assert!((1000..2000).contains(&pieces.count()));
    }

    #[test]
    fn few_pipes_are_tracked_and_share_their_wake_ups() {
        let mut world = World::default();
        for key in 0..1000 {
            for _ in 0..STREAK_MIN {
                world.after(0, key, 64);
            }
            world.now = world.now.after(Duration::from_nanos(500));
        }
        assert_eq!(world.coalescer.rates.len(), PIPES_MAX);
        assert_eq!(world.pause(), Some(0));
        let due = world.due();
        assert_eq!(due.len(), PIPES_MAX);
        for key in due {
            world.coalescer.forget(key);
        }
        assert_eq!(world.pause(), None);
        world.begin_rest(2000);
    }
}
