//! What the library can see of who came home. A look that fails is made again; only where so many
//! have failed in a row that the next may as well does nobody have to wait for it any more, and
//! then for those alone whom none of these looks has found.

use super::process::Process;
use super::{Call, Kernel};

/// Written once more, for who gives up sooner is to be noticed: see
/// `src/scheduler/orphans.rs`.
const FAILED_LOOKS_MAX: u64 = 20;

/// The looks of the library at its children, of which there is one a turn at most.
#[derive(Debug, Default)]
pub struct Sight {
    turn: u64,
    /// The turn of the latest look.
    looked_in: u64,
    /// It has failed.
    has_failed: bool,
    /// One has failed when a stop was known.
    pub failed_at_the_end: bool,
    /// How many have failed in a row before a good one.
    row: u64,
}

impl Kernel {
    pub fn begin_turn(&mut self) {
        self.sight.turn += 1;
    }

    /// The list of our children, for a look at all of them; `None` without `/proc`.
    pub fn list_children(&mut self) -> Result<Option<Vec<i32>>, i32> {
        let sight = &mut self.sight;
        if sight.looked_in != sight.turn {
            sight.looked_in = sight.turn;
            if !std::mem::take(&mut sight.has_failed) {
                sight.row = 0;
            }
        }
        match self.fault(Call::List) {
            Some(0) => Ok(None),
            Some(errno) => {
                self.look_failed();
                Err(errno)
            }
            None => Ok(Some(self.our_children())),
        }
    }

    /// What the environment of this process names, asked in the course of a look.
    pub fn ask_environ(&mut self, pid: i32) -> Result<Option<String>, i32> {
        let Some(errno) = self.fault(Call::Environ) else {
            return Ok(self.name_in_environ(pid));
        };
        let is_given_up = self.look_failed();
        if let Some(process) = self.processes.get_mut(&pid) {
            // From now on it is taken for nobody's.
            process.overlooked |= is_given_up;
        }
        Err(errno)
    }

    /// Whether nobody has to wait for the next one. Who runs will be searched for anew.
    fn look_failed(&mut self) -> bool {
        self.sight.failed_at_the_end |= self.stop_asked.is_some();
        if !std::mem::replace(&mut self.sight.has_failed, true) {
            self.sight.row += 1;
        }
        let is_given_up = self.sight.row >= FAILED_LOOKS_MAX;
        if is_given_up {
            self.counts.blind_looks += 1;
            for index in 0..self.programs.len() {
                let latest = self.programs[index].runs.last();
                let runs = latest.is_some_and(|&run| self.runs[run].exit.is_none());
                self.programs[index].overlooks |= !runs;
            }
        }
        is_given_up
    }

    /// Whether the library may start this program although the process came home to it.
    pub(super) fn is_overlooked(&self, process: &Process, index: usize) -> bool {
        self.weather.no_proc || process.overlooked || self.programs[index].overlooks
    }
}
