//! Read coalescing: which pipes rest, and for how long.
//!
//! A program that writes small pieces in quick succession would cost a wake-up, a read and a write
//! for each of them, and pay for the wake-ups itself. So its pipe rests: it is not polled, but read
//! after a pause that is too short to be noticed and too short to fill the pipe. A read that finds
//! nothing ends the rest. Large or slow writers gain nothing from a rest and never get one.

use std::time::Duration;

use crate::machine::Moment;
use crate::os::stream::READ_BYTES_MAX;

/// How many pipes are tracked. If more are busy, a turn reads several anyway.
const PIPES_MAX: usize = 64;

/// The largest small piece, in bytes: a few lines.
const SMALL_BYTES_MAX: usize = 512;

/// The longest gap in a quick succession: with fewer than two pieces a pause saves nothing.
const GAP_MAX: Duration = Duration::from_micros(250);

/// The first pause of a rest, and the longest: each delays what is logged.
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// A shorter pause is not worth the sleep.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// After this many small pieces in quick succession more usually follow.
const STREAK_MIN: i16 = 4;

/// How many more are needed after a rest in which even a short pause filled the pipe.
const STREAK_PENALTY: i16 = 1000;

/// The pipes to which small pieces were written recently.
#[derive(Debug, Default)]
pub(super) struct ReadCoalescer {
    rates: Vec<PipeRate>,
}

/// How a pipe is treated after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Rest,
    Poll,
}

#[derive(Debug, Default)]
struct PipeRate {
    key: u64,
    read_at: Moment,
    /// Small pieces in quick succession so far; negative as a penalty.
    streak: i16,
    pause: Duration,
    /// When the pipe is read next if it rests.
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
        let Some(rate) = self.rates.iter_mut().find(|rate| rate.key == key) else {
            if bytes <= SMALL_BYTES_MAX {
                self.track(now, key);
            }
            return Verdict::Same;
        };
        match rate.read_due {
            Some(due) => rate.on_rest_read(now, due, bytes, capacity()),
            None => rate.on_polled_read(now, bytes),
        }
    }

    /// Forgets a pipe that is gone, has another key now or cannot rest.
    pub(super) fn forget(&mut self, key: u64) {
        self.rates.retain(|rate| rate.key != key);
    }

    /// Returns when the next pipe is to be read.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.rates.iter().filter_map(|rate| rate.read_due).min()
    }

    /// Adds the pipes to be read, except those already in the list. A pipe that is almost due is
    /// read as well, so that pipes come to share their wake-ups.
    pub(super) fn add_due(&self, now: Moment, keys: &mut Vec<u64>) {
        let soon = now.after(PAUSE_MIN / 2);
        for rate in &self.rates {
            if rate.read_due.is_some_and(|at| at <= soon) && !keys.contains(&rate.key) {
                keys.push(rate.key);
            }
        }
    }

    /// Tracks another pipe, if there is room once the silent ones are forgotten.
    fn track(&mut self, now: Moment, key: u64) {
        self.rates
            .retain(|rate| rate.read_due.is_some() || now.since(rate.read_at) <= GAP_MAX);
        if self.rates.len() < PIPES_MAX {
            let (read_at, streak) = (now, 1);
            self.rates.push(PipeRate {
                key,
                read_at,
                streak,
                ..PipeRate::default()
            });
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
        self.read_due = Some(now.after(self.pause));
        Verdict::Rest
    }

    /// Fits the pause to the pipe, so that its writer does not wait for room. A read that came late
    /// by half a pause shows nothing: a shorter pause would not have been kept either.
    fn on_rest_read(&mut self, now: Moment, due: Moment, bytes: usize, capacity: usize) -> Verdict {
        let eighth = capacity.min(READ_BYTES_MAX) / 8;
        if bytes < 3 * eighth {
            self.pause = PAUSE_MAX.min(self.pause * 2);
        } else if bytes >= 6 * eighth && now.since(due) <= self.pause / 2 {
            self.pause /= 2;
        }
        let is_too_fast = self.pause < PAUSE_MIN;
        if bytes > 0 && !is_too_fast {
            self.read_due = Some(now.after(self.pause));
            return Verdict::Same;
        }
        self.streak = if is_too_fast { -STREAK_PENALTY } else { 0 };
        self.read_at = now;
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
    struct World(ReadCoalescer, Moment);

    impl World {
        fn after(&mut self, micros: u64, key: u64, bytes: usize) -> Verdict {
            self.1 = self.1.after(Duration::from_micros(micros));
            self.0.on_read(self.1, key, bytes, || PIPE)
        }

        fn due(&self) -> Vec<u64> {
            let mut keys = Vec::new();
            self.0.add_due(self.1, &mut keys);
            keys
        }

        /// Returns the time until the next read, in microseconds.
        fn pause(&self) -> Option<u64> {
            (self.0.next_deadline()).map(|at| at.since(self.1).as_micros() as u64)
        }

        /// Reads small pieces until the pipe rests, and returns their number.
        fn begin_rest(&mut self, key: u64) -> usize {
            let mut pieces = 1..2000;
            let last = pieces.find(|_| self.after(10, key, 64) == Verdict::Rest);
            last.expect("a rest")
        }
    }

    #[test]
    fn small_pieces_in_quick_succession_bring_a_rest_and_silence_ends_it() {
        let mut world = World::default();
        assert_eq!(world.begin_rest(1), 4);
        assert_eq!((world.pause(), world.due()), (Some(500), vec![]));
        assert_eq!(world.after(500, 2, 100_000), Verdict::Same, "another pipe");
        assert_eq!(world.due(), [1]);
        assert_eq!(world.after(0, 1, 5_000), Verdict::Same);
        assert_eq!((world.pause(), world.due()), (Some(500), vec![]));
        assert_eq!(world.after(500, 1, 0), Verdict::Poll);
        assert_eq!(world.pause(), None);
        assert_eq!(world.begin_rest(1), 4, "it begins anew");
    }

    #[test]
    fn slow_and_large_writers_never_rest() {
        let mut world = World::default();
        for _ in 0..1000 {
            assert_eq!(world.after(300, 1, 64), Verdict::Same);
            assert_eq!(world.after(10, 2, 4096), Verdict::Same);
        }
        for at in 0..3000 {
            let mixed = if at % 3 == 2 { 4096 } else { 64 };
            assert_eq!(world.after(10, 3, mixed), Verdict::Same);
        }
        assert_eq!(world.pause(), None);
    }

    #[test]
    fn pauses_become_too_short_to_fill_the_pipe() {
        for rate in [1, 10, 40, 80, 160, 500] {
            let mut world = World::default();
            world.begin_rest(1);
            for turn in 0..50 {
                let pause = world.pause().expect("a rest");
                let bytes = PIPE.min(pause as usize * rate);
                assert!(turn < 3 || bytes < PIPE, "{rate} bytes a microsecond");
                world.after(pause, 1, bytes);
            }
        }
    }

    #[test]
    fn rests_that_are_too_long_for_a_pipe_end_and_do_not_come_back_soon() {
        let mut world = World::default();
        world.begin_rest(1);
        let mut reads = 0;
        while let Some(pause) = world.pause() {
            world.after(pause, 1, PIPE);
            reads += 1;
            assert!(reads < 5, "it rests although its writer waits");
        }
        assert!(world.begin_rest(1) > 1000);
    }

    #[test]
    fn few_pipes_are_tracked() {
        let mut world = World::default();
        for key in 0..4000 {
            world.after(0, key % 1000, 64);
        }
        assert_eq!(world.0.rates.len(), PIPES_MAX);
        (0..1000).for_each(|key| world.0.forget(key));
        assert_eq!((world.pause(), world.begin_rest(2000)), (None, 4));
    }
}
