//! What can be wrong with a description before anything is looked at.

use std::collections::BTreeSet;

use super::Builder;
use crate::error::{Error, Result};
use crate::spec::{SIGNAL_MAX, directory_problem};

impl Builder {
    pub(super) fn check_directories(&self) -> Result<()> {
        let directories = [("base", &self.base_dir), ("log", &self.err_dir)];
        for (which, directory) in directories {
            // An empty one is where we are.
            let is_empty = directory.as_os_str().is_empty();
            if let (false, Some(problem)) = (is_empty, directory_problem(directory)) {
                let what = format!("failed to use the {which} directory {directory:?}");
                return Err(Error::because(what, problem));
            }
        }
        Ok(())
    }

    pub(super) fn check_programs(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for spec in &self.programs {
            spec.check()?;
            if !names.insert(&spec.name) {
                return Err(Error::new(format!(
                    "two programs are named {:?}",
                    spec.name
                )));
            }
        }
        Ok(())
    }

    pub(super) fn check_signals(&self) -> Result<()> {
        let fatal = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        let fixed = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD];
        for &signal in self.stop_signals.iter().chain(&self.other_signals) {
            let valid = (1..=SIGNAL_MAX).contains(&signal);
            if !valid || fatal.contains(&signal) || fixed.contains(&signal) {
                return Err(Error::new(format!(
                    "signal {signal} cannot be handled by a scheduler"
                )));
            }
        }
        Ok(())
    }
}
