//! Our children, as the simulated kernel knows them.

use std::io;

use super::group::{Sent, send};
use super::spawn::chain_of;
use crate::kernel::world;

/// Taken at one moment. What happens to those in it while they are looked at one by one is
/// another matter.
pub(crate) fn list() -> io::Result<Option<Vec<i32>>> {
    let listed = world::called(|kernel| kernel.list_children());
    listed.map_err(io::Error::from_raw_os_error)
}

/// Whoever is in this kernel can be asked at once.
pub(crate) fn is_not_yet(_error: &io::Error) -> bool {
    false
}

pub(crate) fn variable(pid: i32, _key: &str) -> io::Result<Option<Vec<u8>>> {
    let name = world::called(|kernel| kernel.ask_environ(pid));
    let name = name.map_err(io::Error::from_raw_os_error)?;
    Ok(name
        .and_then(|name| chain_of(&name))
        .map(String::into_bytes))
}

/// Nobody is traced here.
pub(crate) fn is_withheld_zombie(_pid: i32) -> bool {
    false
}

pub(crate) fn group_of(pid: i32) -> Option<i32> {
    world::called(|kernel| kernel.process(pid).map(|process| process.group))
}

pub(crate) fn signal(pid: i32, signal: i32) -> Sent {
    send(pid, signal)
}

pub(crate) fn signal_all(_signal: i32) -> Sent {
    Sent::Refused(nix::errno::Errno::EPERM)
}
