//! Reaps in batches: there may be new deaths for ever, and other work must not wait for the last.

use std::time::Duration;

use crate::machine::Exit;
use crate::os::reap::{self, Seen};

use super::{InitEvent, Options, exit_code};

/// The number of processes that are reaped before other work.
const BATCH_MAX: u32 = 64;

/// The time between two checks for deaths that no signal announces.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What a batch leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    /// No other child is dead.
    All,
    /// There may be more.
    More,
    /// A zombie that cannot be reaped hides the others.
    Stuck,
    /// waitid(2) failed.
    Failed,
    /// The exit of the child that is to be kept; it is not reaped.
    Kept(Exit),
}

impl Reaped {
    /// Returns the time to the next batch if there is no signal.
    pub(super) fn pause(self) -> Option<Duration> {
        match self {
            Self::All | Self::Kept(_) => None,
            Self::More => Some(Duration::ZERO),
            Self::Stuck | Self::Failed => Some(CHECK_INTERVAL),
        }
    }
}

/// Reaps dead children up to `kept`, and calls `gone` with each pid that may be reused.
///
/// At the end `kept` is checked by its pid, because a zombie that cannot be reaped may hide it. If
/// it is no child any more, its exit status is unknown.
pub(super) fn reap_batch(
    kept: Option<i32>,
    options: &mut Options,
    mut gone: impl FnMut(i32),
) -> Reaped {
    for _ in 0..BATCH_MAX {
        let left = match reap::peek() {
            Ok(Some(death)) if Some(death.pid) == kept => return Reaped::Kept(death.exit),
            Ok(Some(death)) if reap::reap(death.pid).is_some() => {
                gone(death.pid);
                let (pid, code) = (death.pid, exit_code(death.exit));
                options.emit(InitEvent::Reaped { pid, code });
                continue;
            }
            Ok(Some(_)) => Reaped::Stuck,
            Ok(None) => Reaped::All,
            Err(_) => Reaped::Failed,
        };
        return match kept.map(|kept| reap::look(kept, None)) {
            Some(Seen::Dead(exit)) => Reaped::Kept(exit),
            Some(Seen::Stolen) => Reaped::Kept(Exit::Unknown),
            Some(Seen::Alive) | None => left,
        };
    }
    Reaped::More
}
