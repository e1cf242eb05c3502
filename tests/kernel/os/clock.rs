//! The clock of the simulated system. It moves with each call, and a wait lets it jump.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::kernel::world;
use crate::machine::Moment;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: now() }
    }

    pub(crate) fn now(self) -> Moment {
        Moment::from_origin(Duration::from_nanos(now() - self.origin))
    }

    pub(crate) fn instant(self, moment: Moment) -> Instant {
        let since = moment.since(Moment::default());
        let at = Duration::from_nanos(self.origin).checked_add(since);
        at.and_then(|at| base().checked_add(at)).unwrap_or(base())
    }

    pub(crate) fn until(self, deadline: Moment) -> Duration {
        deadline.since(self.now())
    }
}

pub(crate) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(now())
}

/// What an instant of the library's is in the time of the simulated system.
pub(crate) fn time_of(instant: Instant) -> u64 {
    let since = instant.saturating_duration_since(base());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn now() -> u64 {
    world::called(|kernel| kernel.now)
}

/// Instants cannot be made up, but for those that lie some time after a real one.
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}
