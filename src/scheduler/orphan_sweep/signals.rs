//! Signals to orphans, and the events that name those which were signalled or abandoned.

use crate::error::Error;
use crate::event::EventKind;
use crate::machine::ProgramId;
use crate::orphans::{ALL_PROCESSES, PendingSignal};
use crate::os::children;
use crate::os::group::Sent;
use crate::scheduler::core::Core;

/// Orphans that are named at once; the others are counted.
const NAMED_MAX: usize = 32;

/// Names those that were abandoned, `is_early` if a shutdown has no more time for them.
pub(super) fn report_abandoned(
    core: &mut Core,
    abandoned: Vec<(i32, Option<ProgramId>)>,
    is_early: bool,
) {
    let more = abandoned.len().saturating_sub(NAMED_MAX);
    for (pid, program) in abandoned.into_iter().take(NAMED_MAX) {
        event(core, program, EventKind::Abandoned { pid, is_early });
    }
    if more > 0 {
        let error = Error::new(format!("abandoned {more} more processes"));
        core.outbox_mut().warn(error);
    }
}

pub(super) fn send_all(core: &mut Core, sends: Vec<PendingSignal>) {
    let mut named = 0_usize;
    for PendingSignal { pid, program, kill } in sends {
        let send = |signal| match pid {
            ALL_PROCESSES => children::signal_all(signal),
            pid => children::signal(pid, signal),
        };
        let signal = if kill { libc::SIGKILL } else { libc::SIGTERM };
        let sent = send(signal);
        if !kill {
            send(libc::SIGCONT);
        }
        let kind = match sent {
            Sent::Gone => continue,
            Sent::Delivered => EventKind::OrphanSignalled { pid, signal },
            Sent::Refused(errno) => {
                let what = format!("failed to signal process {pid}, which left its group");
                let error = Error::os(what, errno as i32);
                EventKind::Warning { error }
            }
        };
        named += 1;
        if named <= NAMED_MAX {
            event(core, program, kind);
        }
    }
    if let Some(more @ 1..) = named.checked_sub(NAMED_MAX) {
        let text = format!("signalled {more} more processes that had left their groups");
        core.outbox_mut().warn(Error::new(text));
    }
}

fn event(core: &mut Core, program: Option<ProgramId>, kind: EventKind) {
    match program {
        Some(id) => core.event(id, kind),
        None => core.outbox_mut().own_event(kind),
    }
}
