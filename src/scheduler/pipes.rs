//! The pipes of a run that is started: our end of each, and its own.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::spec::{Outputs, Stdout};

use super::capture::Ends;

/// Our end of a pipe, and that of the run.
type Pipe = (OwnedFd, OwnedFd);

pub(super) struct Pipes {
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
}

impl Pipes {
    pub(super) fn new(stdout: Option<Pipe>, stderr: Option<Pipe>) -> Self {
        Self { stdout, stderr }
    }

    /// Returns what the run gets as its standard streams.
    pub(super) fn stdio(
        &self,
        null: &OwnedFd,
        stdin: Option<&OwnedFd>,
        outputs: Outputs,
    ) -> [c_int; 3] {
        let null = null.as_raw_fd();
        let of = |pipe: &Option<Pipe>| match pipe {
            Some((_, its)) => its.as_raw_fd(),
            None => null,
        };
        let stdout = match outputs.stdout {
            Stdout::Stderr => &self.stderr,
            _ => &self.stdout,
        };
        let stdin = stdin.map_or(null, AsRawFd::as_raw_fd);
        [stdin, of(stdout), of(&self.stderr)]
    }

    /// Closes its ends.
    pub(super) fn ends(self) -> Ends {
        Ends {
            stdout: self.stdout.map(|(ours, _)| ours),
            stderr: self.stderr.map(|(ours, _)| ours),
        }
    }
}
