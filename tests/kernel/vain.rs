//! Waits that end for nothing: signals of which no handler of ours knows interrupt them. One that
//! took its time cost little, and is forgotten; those that end at once, again and again, would be
//! a spin, and rests come before the next.

use std::sync::Arc;

use super::world::{self, Deed, Kernel, Moods, Time, Weather};
use crate::model::rng::Rng;
use crate::os::poller::Poller;
use crate::os::signals::Signals;
use crate::os::wake::Waker;

const MICROSECOND: Time = 1_000;

/// So many signals come, one every `pace`. How many waits they end: of those that come in a rest
/// none.
fn waits_ended(signals: u64, pace: Time) -> u64 {
    let mut rng = Rng::new(pace);
    let mut weather = Weather::fair();
    weather.call_max = 0;
    let moods = Moods::any(&mut rng);
    let mut kernel = Kernel::new(rng, weather, moods, 8);
    let now = kernel.now;
    let signal = |number| (now + number * pace, Deed::Signal(libc::SIGUSR1));
    kernel.agenda = (1..=signals).map(signal).collect();
    world::boot(kernel);
    let mut watch = Poller::new().expect("an epoll instance");
    let waker = Arc::new(Waker::new().expect("a pipe"));
    // The pipe that its handler writes to is none of those that are waited for.
    let heard = Signals::install(&[libc::SIGUSR1], &[], false, waker);
    let mut waits = 0;
    while world::with(|kernel| !kernel.agenda.is_empty()) {
        let mut ready = Vec::new();
        watch.wait(None, &mut ready);
        assert!(ready.is_empty(), "nothing was to be ready");
        waits += 1;
    }
    drop(heard);
    world::halt();
    waits
}

/// A profiler's timer in the host has ended every wait after 5 ms. After a few seconds each was
/// taken for one of a spin, and signals and deaths came 10 ms late for ever.
pub fn a_wait_that_took_its_time_is_not_vain() {
    assert_eq!(waits_ended(3_000, 5_000 * MICROSECOND), 3_000);
}

/// Two seconds of signals every 500 us: a hundred waits end at once, then some hundred do after a
/// rest of 1 ms, and the others after one of 10 ms.
pub fn waits_that_end_at_once_for_nothing_are_no_spin() {
    let waits = waits_ended(4_000, 500 * MICROSECOND);
    assert!((100..1_200).contains(&waits), "{waits} waits in 2 s");
}
