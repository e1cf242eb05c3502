//! Which pairs of programs are tried.

use std::time::Duration;

use crate::machine::{Backoff, Policy, Restart};

use super::state::Setting;

/// A program that ends for good, essential or not, or never does.
const ENDS: [(Restart, bool); 5] = [
    (Restart::Always, false),
    (Restart::OnFailure, false),
    (Restart::OnFailure, true),
    (Restart::Never, false),
    (Restart::Never, true),
];

/// Seconds of grace, and of the first delay, which is doubled once.
const TIMES: [(u64, u64); 4] = [(0, 0), (0, 1), (2, 0), (2, 1)];

/// A policy by its places in the two lists.
fn policy(ends: usize, times: usize) -> Policy {
    let (restart, essential) = ENDS[ends];
    let (stop_timeout, delay) = TIMES[times];
    let delay = Duration::from_secs(delay);
    Policy {
        restart,
        essential,
        backoff: Backoff {
            initial: delay,
            max: 2 * delay,
            reset_after: 3 * delay,
        },
        stop_signal: 15,
        stop_timeout: Duration::from_secs(stop_timeout),
    }
}

/// Every pair of policies; or, of these, those that have their ends or their times in common.
/// Worlds in which starts are late are two to four times as large, so that they are so for each
/// policy, but not for each pair.
pub fn settings(all: bool) -> Vec<Setting> {
    let places =
        || (0..ENDS.len()).flat_map(|ends| (0..TIMES.len()).map(move |times| (ends, times)));
    let mut settings = Vec::new();
    for one in places() {
        for other in places().filter(|&other| other >= one) {
            if !all && one.0 != other.0 && one.1 != other.1 {
                continue;
            }
            for by_number in [false, true] {
                settings.push(Setting {
                    policies: [policy(one.0, one.1), policy(other.0, other.1)],
                    by_number,
                    late: one == other && (all || by_number),
                });
            }
        }
    }
    settings
}
