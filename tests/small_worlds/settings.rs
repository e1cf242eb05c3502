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
        stop_timeout: Duration::from_secs(stop_timeout),
        ..Policy::default()
    }
}

/// Which pairs of policies are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Two of the same policy.
    Alike,
    /// Those that have their ends or their times in common.
    Related,
    All,
}

/// Worlds in which starts are late are two to four times as large, so that they are so for each
/// policy, but not for each pair.
pub fn settings(which: Which) -> Vec<Setting> {
    let places =
        || (0..ENDS.len()).flat_map(|ends| (0..TIMES.len()).map(move |times| (ends, times)));
    let mut settings = Vec::new();
    for one in places() {
        for other in places().filter(|&other| other >= one) {
            let is_tried = match which {
                Which::Alike => one == other,
                Which::Related => one.0 == other.0 || one.1 == other.1,
                Which::All => true,
            };
            if !is_tried {
                continue;
            }
            for by_number in [false, true] {
                settings.push(Setting {
                    policies: [policy(one.0, one.1), policy(other.0, other.1)],
                    by_number,
                    late: one == other && (which == Which::All || by_number),
                    by_hand: false,
                });
            }
        }
    }
    // Worlds with commands for one program are larger still: each way to end, or two of them.
    let last = ENDS.len() - 1;
    for ends in (0..=last).filter(|&ends| which != Which::Alike || [0, last].contains(&ends)) {
        let last = TIMES.len() - 1;
        settings.push(Setting {
            policies: [policy(ends, last), policy(0, 0)],
            by_number: true,
            late: which != Which::Alike && ends == 0,
            by_hand: true,
        });
    }
    settings
}
