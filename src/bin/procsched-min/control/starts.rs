//! Which order has started a program again that another client wants to see stopped: one for the
//! program itself, or for one that requires it, however far.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use procsched::ProcessScheduler;

use super::client::Peer;
use super::verb::Verb;

/// The most orders that are kept, the latest of them: one may be for ten thousand programs.
const STARTS_MAX: usize = 64;

/// The most programs that are looked at for each of them. Each takes microseconds.
const LOOKS_MAX: usize = 64;

/// The orders that have started programs since the stop began.
#[derive(Debug, Default)]
pub struct Starts(VecDeque<(Arc<str>, Verb, Peer)>);

impl Starts {
    /// Takes in an order that was given.
    pub fn note(&mut self, program: &Arc<str>, verb: Verb, peer: Peer) {
        if self.0.len() >= STARTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((program.clone(), verb, peer));
    }

    /// Returns why a program is wanted again.
    pub fn why(&self, program: &str, scheduler: &ProcessScheduler) -> String {
        let mut latest = self.0.iter().rev();
        let found = latest.find(|(started, ..)| requires(scheduler, started, program));
        match found {
            Some((started, verb, peer)) => {
                format!("superseded: {} of {started} by {peer}", verb.word())
            }
            None => "superseded: it was started again".to_owned(),
        }
    }
}

/// True if a program requires another, as far as is looked.
fn requires(scheduler: &ProcessScheduler, program: &str, other: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![Arc::<str>::from(program)]);
    while let Some(name) = next.pop() {
        let Some(status) = scheduler.program(&name) else {
            continue;
        };
        for required in status.requires() {
            if required == other {
                return true;
            }
            if seen.len() < LOOKS_MAX && seen.insert(Arc::<str>::from(required)) {
                next.push(required.into());
            }
        }
    }
    false
}
