//! Reaping in bites: deaths may be without end, and nothing else shall wait for the last one.

use std::time::Duration;

use crate::machine::Exit;
use crate::os::reap::{self, Seen};

use super::{InitEvent, Options, exit_code};

/// How many are reaped before something else has its turn.
const BITE_MAX: u32 = 64;

/// How often is looked for deaths of which nobody is told.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a bite has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nobody is dead.
    Nobody,
    /// There may be more.
    More,
    /// Somebody is dead and cannot be reaped, and hides the others.
    Stuck,
    /// The system does not say who is dead.
    Blind,
    /// This is how the one ended that is to be kept; it is not reaped.
    Kept(Exit),
}

impl Left {
    /// How long nothing has to be looked for, unless there is a signal.
    pub(super) fn rest(self) -> Option<Duration> {
        match self {
            Self::Nobody | Self::Kept(_) => None,
            Self::More => Some(Duration::ZERO),
            Self::Stuck | Self::Blind => Some(LOOK_INTERVAL),
        }
    }
}

/// Reaps who is dead, and says which numbers were given back. Where it comes to `kept`, it
/// stops.
pub(super) fn bite(kept: Option<i32>, options: &mut Options, mut gone: impl FnMut(i32)) -> Left {
    for _ in 0..BITE_MAX {
        let death = match reap::peek() {
            Ok(Some(death)) => death,
            Ok(None) => return Left::Nobody,
            Err(_) => return Left::Blind,
        };
        if Some(death.pid) == kept {
            return Left::Kept(death.exit);
        }
        if reap::reap(death.pid).is_none() {
            return Left::Stuck;
        }
        gone(death.pid);
        let (pid, code) = (death.pid, exit_code(death.exit));
        options.tell(InitEvent::Reaped { pid, code });
    }
    Left::More
}

/// Whoever else is not found: the one that is to be kept is asked for by its number, too. If it is
/// no child of ours any more, nobody will ever be told of its end.
pub(super) fn ask(kept: i32, left: Left) -> Left {
    if matches!(left, Left::More | Left::Kept(_)) {
        return left;
    }
    match reap::look(kept, None) {
        Seen::Dead(exit) => Left::Kept(exit),
        Seen::Stolen => Left::Kept(Exit::Unknown),
        Seen::Alive => left,
    }
}
