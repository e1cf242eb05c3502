//! Read coalescing: which pipes rest, and for how long. It delays bytes and loses none.
//!
//! A program that writes small pieces in quick succession would cost a wake-up, a read and a write
//! for each of them, and pay for the wake-ups itself. So its pipe rests: it is not polled, but read
//! after a pause that is too short to be noticed and too short to fill the pipe. A read that finds
//! something is followed by another pause; one that finds nothing ends the rest, and the pipe is
//! polled as before. A program that writes large pieces, or is slow, never rests: the first would
//! wait for room, and the second has nothing to gain.
//!
//! Where a pipe would be full before a pause is worth the sleep, it is widened for as long as that
//! goes on: a writer that finds it full has to sleep, which costs it more than wake-ups.
//!
//! Only pipes rest: everything else is polled meanwhile, and the last bytes of a program that has
//! exited are read at once.

use std::time::Duration;

use crate::machine::Moment;
use crate::os::stream::READ_BYTES_MAX;

/// How many pipes are tracked. With more of them each turn finds several ready, and that is as good
/// as a rest.
const PIPES_MAX: usize = 64;

/// The largest small piece, in bytes: a few lines.
const SMALL_BYTES_MAX: usize = 512;

/// The longest gap in a quick succession. Two or more pieces come in a pause, or it saves nothing.
const GAP_MAX: Duration = Duration::from_micros(250);

/// The first pause, and the longest. It is part of the time until a byte is in the log.
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// A shorter pause is not worth the sleep.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// Below this a wider pipe saves wake-ups.
const PAUSE_USUAL_MIN: Duration = Duration::from_micros(200);

/// After this many small pieces in quick succession more follow, as a rule.
const STREAK_MIN: u16 = 4;

/// The number that is needed instead where rests were too long again and again.
const STREAK_MAX: u16 = 1024;

/// The size, in bytes, of a pipe that was widened because it fills too fast.
const WIDE_BYTES: usize = 256 * 1024;

/// How many pipes are wide at a time: 4 MiB in all, of the 64 MiB that the system grants to all
/// pipes of a user.
const WIDE_MAX: usize = 16;

/// The pipes that were written to in small pieces lately.
#[derive(Debug, Default)]
pub(super) struct ReadCoalescer {
    rates: Vec<PipeRate>,
}

/// What follows from a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All stays as it is.
    Same,
    /// From now on the pipe rests.
    Rest,
    /// From now on it is polled again, and its size is restored if it was widened.
    Poll(Option<usize>),
    /// It goes on resting, and is to be widened to this size, if the system allows that.
    Widen(usize),
}

#[derive(Debug)]
struct PipeRate {
    /// Identifies the pipe.
    key: u64,
    read_at: Moment,
    /// Small pieces in quick succession up to now.
    streak: u16,
    /// The number of them that begins a rest.
    streak_wanted: u16,
    pause: Duration,
    /// The size of the pipe, once a read in this rest has asked for it.
    capacity: Option<usize>,
    /// Its size before it was widened.
    usual: Option<usize>,
    /// The bytes read up to now in this series of reads.
    seen: usize,
    /// When it is read again, while it rests.
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
        let known = self.rates.iter().position(|rate| rate.key == key);
        match known {
            Some(index) if self.rates[index].read_due.is_some() => {
                let may_widen = self.wide() < WIDE_MAX;
                self.rates[index].on_rest_read(now, bytes, may_widen, capacity)
            }
            Some(index) => self.rates[index].on_polled_read(now, bytes),
            None => {
                if bytes <= SMALL_BYTES_MAX {
                    self.track(now, key);
                }
                Verdict::Same
            }
        }
    }

    /// Forgets a pipe that is gone, or another program's now, or cannot rest. Returns its size before
    /// it was widened.
    pub(super) fn forget(&mut self, key: u64) -> Option<usize> {
        let known = self.rates.iter().position(|rate| rate.key == key)?;
        self.rates.swap_remove(known).usual
    }

    /// Returns when the next pipe is to be read.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.rates.iter().filter_map(|rate| rate.read_due).min()
    }

    /// Adds the pipes that are to be read, and are not in the list already.
    pub(super) fn add_due(&self, now: Moment, keys: &mut Vec<u64>) {
        let is_due = |rate: &&PipeRate| rate.read_due.is_some_and(|at| at <= now);
        for rate in self.rates.iter().filter(is_due) {
            if !keys.contains(&rate.key) {
                keys.push(rate.key);
            }
        }
    }

    fn wide(&self) -> usize {
        let is_wide = |rate: &&PipeRate| rate.usual.is_some();
        self.rates.iter().filter(is_wide).count()
    }

    /// Tracks one more, in the place of one that has fallen silent.
    fn track(&mut self, now: Moment, key: u64) {
        let rate = PipeRate {
            key,
            read_at: now,
            streak: 1,
            streak_wanted: STREAK_MIN,
            pause: PAUSE_MAX,
            capacity: None,
            usual: None,
            seen: 0,
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
    /// A read of a pipe that does not rest.
    fn on_polled_read(&mut self, now: Moment, bytes: usize) -> Verdict {
        let is_quick = now.since(self.read_at) <= GAP_MAX;
        self.read_at = now;
        if bytes > SMALL_BYTES_MAX {
            self.streak = 0;
            return Verdict::Same;
        }
        self.streak = if is_quick {
            self.streak.saturating_add(1)
        } else {
            1
        };
        if self.streak < self.streak_wanted {
            return Verdict::Same;
        }
        self.capacity = None;
        self.read_due = Some(now.after(self.pause));
        Verdict::Rest
    }

    /// A read of a pipe that rests. The next pause is as long as it takes to fill a third of the
    /// pipe at this rate, so that its writer never waits.
    fn on_rest_read(
        &mut self,
        now: Moment,
        bytes: usize,
        may_widen: bool,
        capacity: impl FnOnce() -> usize,
    ) -> Verdict {
        if bytes == 0 && self.seen == 0 {
            self.pause = PAUSE_MAX;
            return self.poll();
        }
        let capacity = *self.capacity.get_or_insert_with(capacity);
        if bytes >= READ_BYTES_MAX && capacity > READ_BYTES_MAX {
            // There is more.
            self.seen = self.seen.saturating_add(bytes);
            self.read_due = Some(now);
            return Verdict::Same;
        }
        let bytes = bytes + std::mem::take(&mut self.seen);
        let time = now.since(self.read_at).as_nanos();
        let fitting = time * (capacity as u128 / 3) / bytes as u128;
        let fitting = Duration::from_nanos(u64::try_from(fitting).unwrap_or(u64::MAX));
        // A pipe that is nearly full tells no rate: the read came late.
        let is_full = bytes >= capacity / 4 * 3;
        let longest = if is_full {
            self.pause / 2
        } else {
            self.pause * 2
        };
        let pause = fitting.min(longest).min(PAUSE_MAX);
        self.read_at = now;
        if pause < PAUSE_USUAL_MIN && may_widen && self.usual.is_none() {
            self.usual = self.capacity.take();
            self.pause = pause.max(PAUSE_MIN);
            self.read_due = Some(now.after(self.pause));
            return Verdict::Widen(WIDE_BYTES);
        }
        if pause < PAUSE_MIN {
            // It is fast, or we are slow: it does not rest again before a longer streak.
            self.pause = PAUSE_MIN * 2;
            self.streak_wanted = (self.streak_wanted * 4).min(STREAK_MAX);
            return self.poll();
        }
        if !is_full {
            self.streak_wanted = (self.streak_wanted / 2).max(STREAK_MIN);
        }
        self.pause = pause;
        self.read_due = Some(now.after(pause));
        Verdict::Same
    }

    fn poll(&mut self) -> Verdict {
        self.read_due = None;
        self.streak = 0;
        self.seen = 0;
        Verdict::Poll(self.usual.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: usize = 64 * 1024;

    /// Time passes by hand.
    struct World {
        coalescer: ReadCoalescer,
        now: Moment,
        capacity: usize,
    }

    impl World {
        fn new() -> Self {
            Self {
                coalescer: ReadCoalescer::default(),
                now: Moment::default(),
                capacity: PIPE,
            }
        }

        fn after(&mut self, micros: u64, key: u64, bytes: usize) -> Verdict {
            self.now = self.now.after(Duration::from_micros(micros));
            self.coalescer
                .on_read(self.now, key, bytes, || self.capacity)
        }

        fn due(&self) -> Vec<u64> {
            let mut keys = Vec::new();
            self.coalescer.add_due(self.now, &mut keys);
            keys
        }

        /// Until the next look, in microseconds.
        fn pause(&self) -> Option<u128> {
            let look = self.coalescer.next_deadline();
            look.map(|at| at.since(self.now).as_micros())
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
        let mut world = World::new();
        world.begin_rest(1);
        assert_eq!(world.pause(), Some(500));
        assert!(world.due().is_empty());
        assert_eq!(world.after(500, 2, 100_000), Verdict::Same, "another pipe");
        assert_eq!(world.due(), [1]);
        assert_eq!(world.after(0, 1, 5_000), Verdict::Same);
        assert!(world.due().is_empty());
        assert_eq!(world.pause(), Some(500));
        assert_eq!(world.after(500, 1, 0), Verdict::Poll(None));
        assert_eq!(world.pause(), None);
        assert_eq!(world.after(1, 1, 64), Verdict::Same, "it begins anew");
    }

    #[test]
    fn who_is_slow_or_writes_much_at_a_time_never_rests() {
        let mut world = World::new();
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
    fn a_pause_never_fills_more_than_a_third_of_the_pipe() {
        for rate in [1, 10, 40, 80, 100] {
            let mut world = World::new();
            world.begin_rest(1);
            let mut micros = 500;
            for _ in 0..50 {
                assert_eq!(
                    world.after(micros, 1, micros as usize * rate),
                    Verdict::Same
                );
                micros = u64::try_from(world.pause().expect("a rest")).expect("short");
                assert!(
                    micros as usize * rate <= PIPE / 3,
                    "{rate} bytes a microsecond"
                );
            }
            assert!(micros >= 200, "{rate} bytes a microsecond: {micros}");
        }
    }

    #[test]
    fn a_pipe_that_fills_too_fast_is_wide_until_it_falls_silent() {
        let mut world = World::new();
        world.begin_rest(1);
        assert_eq!(world.after(500, 1, PIPE), Verdict::Widen(WIDE_BYTES));
        world.capacity = WIDE_BYTES;
        assert_eq!(world.after(100, 1, PIPE), Verdict::Same);
        assert_eq!(world.pause(), Some(0), "there may be more in it");
        assert_eq!(world.after(0, 1, 1000), Verdict::Same);
        assert!(world.pause() >= Some(50), "{:?}", world.pause());
        assert_eq!(world.after(500, 1, 0), Verdict::Poll(Some(PIPE)));
    }

    #[test]
    fn rests_that_are_too_long_for_a_pipe_end_and_do_not_come_back_soon() {
        let mut world = World::new();
        let mut heard = 0;
        for _ in 0..8 {
            while world.after(10, 1, 64) != Verdict::Rest {
                heard += 1;
            }
            // It cannot be widened, and is full each time.
            let is_over = |verdict| matches!(verdict, Verdict::Poll(_));
            let looks = (0..10).take_while(|_| !is_over(world.after(1000, 1, PIPE)));
            assert!(looks.count() < 10, "it rests although its writer waits");
        }
        assert!(heard > 2000, "{heard}");
    }

    #[test]
    fn few_are_wide_and_not_many_are_watched() {
        let mut world = World::new();
        for key in 0..1000 {
            for _ in 0..STREAK_MIN {
                world.after(0, key, 64);
            }
        }
        assert_eq!(world.coalescer.rates.len(), PIPES_MAX);
        world.now = world.now.after(PAUSE_MAX);
        let due = world.due();
        assert_eq!(due.len(), PIPES_MAX);
        let widened = due
            .iter()
            .filter(|&&key| matches!(world.after(0, key, PIPE), Verdict::Widen(_)));
        assert_eq!(widened.count(), WIDE_MAX);
        for key in due {
            world.coalescer.forget(key);
        }
        assert_eq!(world.pause(), None);
        world.begin_rest(2000);
    }
}
