//! What a program does not inherit from us, set by its child, step by step:
//!
//! 1. `oom_score_adj`, `nice` and `umask`, which need the privileges that we have;
//! 2. after the standard streams, the limits but that on descriptors: a hard one above ours needs
//!    them, too;
//! 3. groups, gid and uid, in this order, as a user without privileges cannot set the others;
//! 4. after the change of the directory, which is the user's, `no_new_privileges`;
//! 5. after all other descriptors are closed, the limit on them: it may be below what is open here.
//!
//! As all of a child, this makes system calls and nothing else.

use std::ffi::c_int;

use super::super::limits::of_this_process;
use super::super::raw::{self, int};
use super::{Failure, Step};
use crate::spec::attributes::Attribute;
use crate::spec::{Attributes, Resource};

/// Of linux/prctl.h.
const PR_SET_NO_NEW_PRIVS: c_int = 38;

/// The same: capabilities that an exec keeps, and all of them.
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: c_int = 4;

/// Takes groups of 32 bits: the first that some architectures had are of 16.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const SYS_SETGROUPS: libc::c_long = libc::SYS_setgroups32;
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const SYS_SETGROUPS: libc::c_long = libc::SYS_setgroups;

/// The same of the calls for three ids.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const SYS_IDS: [[libc::c_long; 2]; 2] = [
    [libc::SYS_setresgid32, libc::SYS_getresgid32],
    [libc::SYS_setresuid32, libc::SYS_getresuid32],
];
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const SYS_IDS: [[libc::c_long; 2]; 2] = [
    [libc::SYS_setresgid, libc::SYS_getresgid],
    [libc::SYS_setresuid, libc::SYS_getresuid],
];

const GID: usize = 0;
const UID: usize = 1;

fn failed(attribute: Attribute) -> impl FnOnce(c_int) -> Failure {
    move |errno| Failure {
        which: attribute.number(),
        ..Failure::new(Step::Attribute, errno)
    }
}

/// Sets what comes first.
pub(super) fn set_first(attributes: &Attributes) -> Result<(), Failure> {
    if let Some(score) = attributes.oom_score_adj {
        set_oom_score_adj(score).map_err(failed(Attribute::OomScoreAdj))?;
    }
    if let Some(nice) = attributes.nice {
        let this_process = 0;
        // PRIO_PROCESS is 0; the type of libc's differs.
        let arguments = [0, this_process, int(nice)];
        // SAFETY: plain numbers.
        let set = unsafe { raw::call(libc::SYS_setpriority, arguments) };
        set.map_err(failed(Attribute::Nice))?;
    }
    if let Some(mask) = attributes.umask {
        // SAFETY: a plain number; the call cannot fail.
        let _ = unsafe { raw::call(libc::SYS_umask, [mask as usize]) };
    }
    Ok(())
}

/// Writes the score as the kernel reads it.
fn set_oom_score_adj(score: i32) -> Result<(), c_int> {
    let mut text = [0; 12];
    let text = decimal(score, &mut text);
    let path = c"/proc/self/oom_score_adj".as_ptr().expose_provenance();
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: openat takes a string with a NUL at its end; the text is alive, and as long as it says.
    unsafe {
        let open = [int(libc::AT_FDCWD), path, int(flags)];
        let file = raw::call(libc::SYS_openat, open)?;
        let write = [file, text.as_ptr().expose_provenance(), text.len()];
        let written = raw::call(libc::SYS_write, write);
        let _ = raw::call(libc::SYS_close, [file]);
        written.map(drop)
    }
}

/// Returns a number as text, at the end of the buffer.
fn decimal(number: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let (mut rest, mut start) = (number.unsigned_abs(), buffer.len());
    loop {
        start -= 1;
        buffer[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    &buffer[start..]
}

/// Sets the limits. Of that on descriptors only what the user may not do later.
pub(super) fn set_limits(attributes: &Attributes) -> Result<(), Failure> {
    for &(resource, limit) in &attributes.limits {
        let limit = match resource {
            Resource::Nofile => match of_this_process(resource) {
                Ok(now) if now[1] < limit[1] => [now[0], limit[1]],
                Ok(_) | Err(_) => continue,
            },
            _ => limit,
        };
        set_limit(resource, limit).map_err(failed(Attribute::Limit(resource)))?;
    }
    Ok(())
}

/// Sets the limit on descriptors.
pub(super) fn set_nofile(limit: [u64; 2]) -> Result<(), Failure> {
    let attribute = Attribute::Limit(Resource::Nofile);
    set_limit(Resource::Nofile, limit).map_err(failed(attribute))
}

/// Sets groups, gid and uid, as far as they are given. Where we have the ids already and may not set
/// groups, these stay as they are.
pub(super) fn set_identity(attributes: &Attributes) -> Result<(), Failure> {
    let (gid, uid) = (attributes.gid(), attributes.uid());
    if let Some(groups) = attributes.groups() {
        let (count, list) = (groups.len(), groups.as_ptr().expose_provenance());
        // SAFETY: the list is alive, and as long as it says.
        let set = unsafe { raw::call(SYS_SETGROUPS, [count, list]) };
        let is_ours = |of: usize, id: Option<u32>| id.is_none_or(|id| has_id(of, id));
        let is_kept = set == Err(libc::EPERM) && is_ours(GID, gid) && is_ours(UID, uid);
        if !is_kept {
            set.map_err(failed(Attribute::Groups))?;
        }
    }
    if let Some(gid) = gid {
        set_id(GID, gid).map_err(failed(Attribute::Group))?;
    }
    if let Some(uid) = uid {
        if !has_id(UID, uid) {
            clear_ambient().map_err(failed(Attribute::User))?;
        }
        set_id(UID, uid).map_err(failed(Attribute::User))?;
    }
    Ok(())
}

/// Takes from another user what a supervisor without root was given, such as CAP_SETUID: the system does
/// so only when root becomes another. Before Linux 4.3 there is nothing to take.
fn clear_ambient() -> Result<(), c_int> {
    let arguments = [int(PR_CAP_AMBIENT), int(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0];
    // SAFETY: plain numbers.
    match unsafe { raw::call(libc::SYS_prctl, arguments) } {
        Ok(_) | Err(libc::EINVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sets all three ids, and looks whether they are: a program must not run as another user because
/// something between us and the kernel says that it did what it did not.
fn set_id(of: usize, id: u32) -> Result<(), c_int> {
    let number = id as usize;
    // SAFETY: plain numbers.
    unsafe { raw::call(SYS_IDS[of][0], [number; 3]) }?;
    if has_id(of, id) {
        Ok(())
    } else {
        Err(libc::EPERM)
    }
}

/// True if the real, the effective and the saved id are this one.
fn has_id(of: usize, id: u32) -> bool {
    let mut ids = [!id; 3];
    let at = |index: usize, ids: &mut [u32; 3]| (&raw mut ids[index]).expose_provenance();
    let pointers = [at(0, &mut ids), at(1, &mut ids), at(2, &mut ids)];
    // SAFETY: three pointers to live numbers, as the call wants them.
    let asked = unsafe { raw::call(SYS_IDS[of][1], pointers) };
    // SAFETY: a live array, which the kernel may have written.
    let ids = unsafe { (&raw const ids).read_volatile() };
    asked.is_ok() && ids == [id; 3]
}

/// Gives up what executing a file could give.
pub(super) fn set_no_new_privileges(attributes: &Attributes) -> Result<(), Failure> {
    if !attributes.no_new_privileges {
        return Ok(());
    }
    let arguments = [int(PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0];
    // SAFETY: plain numbers.
    let set = unsafe { raw::call(libc::SYS_prctl, arguments) };
    set.map(drop).map_err(failed(Attribute::NoNewPrivileges))
}

/// Sets the soft and the hard limit.
pub(super) fn set_limit(resource: Resource, limit: [u64; 2]) -> Result<(), c_int> {
    let this_process = 0;
    let new = (&raw const limit).expose_provenance();
    let arguments = [this_process, resource.number(), new];
    // SAFETY: the pointer is to two live numbers, as the call wants them.
    unsafe { raw::call(libc::SYS_prlimit64, arguments) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_written_as_the_kernel_reads_it() {
        for number in [0, 1, -1, 10, 999, -1000, 1000, i32::MIN, i32::MAX] {
            let mut buffer = [0; 12];
            let text = String::from_utf8(decimal(number, &mut buffer).to_vec());
            assert_eq!(text, Ok(number.to_string()));
        }
    }
}
