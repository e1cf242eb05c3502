//! The command of one check, from its start to its reap.

use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::exec::{Exec, More};
use crate::machine::{Exit, ProgramId};
use crate::os::group::Group;
use crate::os::reap;
use crate::os::spawn::{Failure, Late, Place, Spawner, Started, Step};

use super::super::core::{Core, Owner};
use super::super::launcher::Launcher;
use super::outcome_of_exit;
use super::schedule::Outcome;

/// How long the exec of a command is waited for. One that takes longer is asked again.
const START_WAIT: Duration = Duration::from_millis(2);

/// A command that runs, or was killed.
pub(super) struct Command {
    exec: Exec,
    group: Group,
    /// Set until the command has been executed.
    late: Option<Late>,
}

impl Command {
    /// Starts a command. What it leaves outside of its group belongs to the program.
    pub(super) fn start(
        exec: Exec,
        program: ProgramId,
        core: &mut Core,
        launcher: &mut Launcher,
    ) -> Result<Self, Outcome> {
        let name = core.programs()[program].name().clone();
        let (spawner, null, limit) = launcher.for_command();
        let stdio = [null.as_raw_fd(); 3];
        let place = Place::Apart {
            stdio,
            limit,
            passed: None,
        };
        let started = exec.spawn_at(&name, spawner, place, More::default(), START_WAIT);
        let (group, late) = match started.map_err(|failure| outcome_of_failure(&exec, failure))? {
            Started::Executed(pid) => (Group::new(pid), None),
            Started::Late(late) => (Group::of_new(late.pid()), Some(late)),
        };
        core.own(group.number(), Owner::Probe);
        Ok(Self { exec, group, late })
    }

    pub(super) fn pid(&self) -> i32 {
        self.group.number()
    }

    /// Kills it with its group. It is not reaped yet, so that the number is its own.
    pub(super) fn kill(&self) {
        self.group.signal(libc::SIGKILL);
    }

    /// Looks whether it has been executed, if that was late. Returns why it could not be; then it is
    /// reaped.
    pub(super) fn look_at_late(
        &mut self,
        core: &mut Core,
        spawner: &mut Spawner,
    ) -> Option<Outcome> {
        let answer = self.late.as_mut()?.poll(spawner)?;
        self.group.on_made();
        let pid = self.pid();
        if answer.is_err() {
            spawner.bury(pid);
        }
        // Only now: a child that is still on its stack would keep it for good.
        self.late = None;
        let failure = answer.err()?;
        core.disown(pid);
        Some(outcome_of_failure(&self.exec, failure))
    }

    /// Reaps it, after the rest of its group was killed while its zombie has the number. Returns what
    /// its end says.
    pub(super) fn reap(mut self, spawner: &mut Spawner, exit: Option<Exit>) -> Outcome {
        let answer = self.late.as_mut().and_then(|late| late.poll(spawner));
        if exit.is_none() {
            self.group.on_leader_reaped();
        }
        self.kill();
        reap::reap(self.pid());
        match answer {
            Some(Err(failure)) => outcome_of_failure(&self.exec, failure),
            Some(Ok(())) | None => outcome_of_exit(exit),
        }
    }
}

/// A program that cannot be executed is a fault of the config. Whatever else fails before that says
/// nothing of the program that is checked.
fn outcome_of_failure(exec: &Exec, failure: Failure) -> Outcome {
    let is_short = matches!(
        failure.errno,
        libc::ENOMEM | libc::EAGAIN | libc::EMFILE | libc::ENFILE
    );
    let error = exec.explain(failure);
    match failure.step {
        Step::Directory | Step::Exec if !is_short => Outcome::Unexecuted(error),
        _ => Outcome::Untried(error),
    }
}
