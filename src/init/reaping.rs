//! Reaping in bites: deaths may be without end, and nothing else shall wait for the last one.

use crate::machine::Exit;
use crate::os::reap;

use super::{InitEvent, Options, exit_code};

/// How many are reaped before something else has its turn.
const BITE_MAX: u32 = 64;

/// What a bite has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nobody is dead.
    Nobody,
    /// There may be more.
    More,
    /// This is how the one ended that is to be kept; it is not reaped.
    Kept(Exit),
}

/// Reaps who is dead, and says which numbers were given back. Where it comes to `kept`, it
/// stops.
pub(super) fn bite(kept: Option<i32>, options: &mut Options, mut gone: impl FnMut(i32)) -> Left {
    for _ in 0..BITE_MAX {
        let Ok(Some(death)) = reap::peek() else {
            return Left::Nobody;
        };
        if Some(death.pid) == kept {
            return Left::Kept(death.exit);
        }
        if reap::reap(death.pid).is_none() {
            // It hides the others, and the next bite fares no better.
            return Left::Nobody;
        }
        gone(death.pid);
        let (pid, code) = (death.pid, exit_code(death.exit));
        options.tell(InitEvent::Reaped { pid, code });
    }
    Left::More
}
