//! What a program is defined as: its policy, its links, and how its runs end by themselves.

use std::fmt;
use std::time::Duration;

use crate::machine::graph::Links;
use crate::machine::{Backoff, Exit, ExitSet, Policy, ProgramId, Restart};
use crate::model::rng::Rng;

/// An exit code that some policies call permanent.
pub const PERMANENT: i32 = 78;
/// An exit code that some policies call a success.
pub const FINE: i32 = 7;

/// What a run does if it is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fate {
    /// Whatever chance says; in the fair run it stays, or succeeds as a oneshot.
    #[default]
    Any,
    /// It stays, or succeeds as a oneshot.
    Good,
    /// It ends with this code, each time.
    Ends(i32),
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Definition {
    pub policy: Policy,
    pub requires: Vec<ProgramId>,
    pub after: Vec<ProgramId>,
    pub fate: Fate,
}

/// What is unusual in it, as a trace has many of them.
impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |ids: &[ProgramId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        write!(f, "[requires {:?}", ids(&self.requires))?;
        write!(f, ", after {:?}, {:?}", ids(&self.after), self.fate)?;
        let (own, usual) = (&self.policy, Policy::default());
        let list = |policy: &Policy| {
            let text = format!("{policy:?}")
                .replace("Backoff { ", "")
                .replace(" }", "");
            let fields = text.split(", ").map(str::to_owned);
            fields.collect::<Vec<String>>()
        };
        let usual = list(&usual);
        for field in list(own) {
            if !usual.contains(&field) {
                write!(f, ", {field}")?;
            }
        }
        f.write_str("]")
    }
}

impl Definition {
    pub fn links(&self) -> Links {
        Links::new(&self.requires, &self.after)
    }

    /// True if a run with the one definition may go on with the other.
    pub fn is_live_change(&self, other: &Self) -> bool {
        self.fate == other.fate
            && self.policy.oneshot == other.policy.oneshot
            && self.policy.watchdog == other.policy.watchdog
    }
}

fn some(rng: &mut Rng, one_in: u64, values: &[u64]) -> Option<Duration> {
    rng.one_in(one_in)
        .then(|| Duration::from_millis(rng.pick(values)))
}

fn backoff(rng: &mut Rng) -> Backoff {
    let initial = rng.pick(&[0, 10, 1_000]);
    Backoff {
        initial: Duration::from_millis(initial),
        max: Duration::from_millis(initial * rng.pick(&[1, 2, 60])),
        reset_after: Duration::from_millis(rng.pick(&[0, 500, 30_000])),
    }
}

/// Returns any policy.
pub fn any_policy(rng: &mut Rng) -> Policy {
    let mut success = ExitSet::default();
    let mut permanent = ExitSet::default();
    if rng.one_in(3) {
        success.insert(Exit::Code(FINE));
    }
    if rng.one_in(3) {
        permanent.insert(Exit::Code(PERMANENT));
    }
    let oneshot = rng.one_in(4);
    let restarts = [Restart::Always, Restart::OnFailure, Restart::Never];
    Policy {
        restart: rng.pick(&restarts[usize::from(oneshot)..]),
        autostart: rng.one_in(4),
        essential: rng.one_in(20),
        backoff: backoff(rng),
        jitter: rng.pick(&[0, 0, 1, 500, 1_000]),
        max_restarts: rng.one_in(3).then(|| rng.below(4) as u32),
        success,
        permanent,
        ready: !oneshot && rng.one_in(3),
        oneshot,
        start_timeout: some(rng, 2, &[1, 2_000, 60_000]),
        watchdog: if oneshot {
            None
        } else {
            some(rng, 5, &[50, 3_000])
        },
        stop_signal: rng.pick(&[15, 15, 15, 2, 9]),
        stop_timeout: Duration::from_millis(rng.pick(&[0, 100, 5_000, 10_000])),
        stops_main: false,
    }
}

/// Returns a policy and a fate that make one end, however a live change comes about.
pub fn certain(rng: &mut Rng) -> (Policy, Fate) {
    let mut policy = any_policy(rng);
    policy.autostart = true;
    policy.essential = false;
    policy.watchdog = None;
    policy.start_timeout = None;
    policy.success = ExitSet::default();
    policy.permanent = ExitSet::default();
    policy.permanent.insert(Exit::Code(PERMANENT));
    policy.max_restarts = None;
    policy.restart = Restart::OnFailure;
    let fails = !policy.oneshot && rng.one_in(5);
    if !fails {
        return (policy, Fate::Good);
    }
    match rng.below(3) {
        0 => (policy, Fate::Ends(PERMANENT)),
        1 => {
            policy.restart = Restart::Never;
            (policy, Fate::Ends(3))
        }
        _ => {
            policy.max_restarts = Some(rng.below(3) as u32);
            policy.backoff.reset_after = Duration::from_secs(60);
            (policy, Fate::Ends(4))
        }
    }
}
