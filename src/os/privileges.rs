//! What a child of this process may not set, as far as that shows before it is tried.

use nix::unistd::{Gid, Uid, getresgid, getresuid};

use super::limits;
use crate::error::Error;
use crate::spec::attributes::Attribute;
use crate::spec::{Attributes, Resource};

/// A capability: its number (capabilities(7)), and its name.
type Capability = (u32, &'static str);

const KILL: Capability = (5, "CAP_KILL");
const SETGID: Capability = (6, "CAP_SETGID");
const SETUID: Capability = (7, "CAP_SETUID");
const SYS_NICE: Capability = (23, "CAP_SYS_NICE");
const SYS_RESOURCE: Capability = (24, "CAP_SYS_RESOURCE");

/// Returns what this process may not set, each with its key and the reason.
pub(crate) fn missing_for(attributes: &Attributes) -> Vec<(&'static str, Error)> {
    let effective = effective();
    let mut found = Vec::new();
    let mut add = |key, attribute: Attribute, capability: Capability, so: &str| {
        if !has(effective, capability) {
            let what = attributes.explain(attribute.number());
            let reason = format!("{so}{}", only_with(capability));
            found.push((key, Error::because(what, reason)));
        }
    };
    let is_uid = attributes.uid().is_none_or(has_uid);
    let is_gid = attributes.gid().is_none_or(has_gid);
    let key = match attributes.groups {
        Some(_) => "groups",
        None => "user",
    };
    if attributes.groups().is_some() && !(is_uid && is_gid) {
        add(key, Attribute::Groups, SETGID, "");
    } else if !is_gid {
        add("group", Attribute::Group, SETGID, "");
    }
    if !is_uid {
        add("user", Attribute::User, SETUID, "");
    }
    let is_lower = |nice: i32| nice < own_nice() && !is_within_limit(nice);
    if attributes.nice.is_some_and(is_lower) {
        add("nice", Attribute::Nice, SYS_NICE, "");
    }
    let score = limits::number("/proc/self/oom_score_adj".as_ref());
    if attributes.oom_score_adj < score && attributes.oom_score_adj.is_some() {
        // How low it was cannot be asked for.
        let so = "unless ours was as low before, ";
        add("oom_score_adj", Attribute::OomScoreAdj, SYS_RESOURCE, so);
    }
    for &(resource, [_, hard]) in &attributes.limits {
        if let Ok([_, ours]) = limits::of_this_process(resource)
            && ours < hard
        {
            let so = format!("the hard limit is {ours} here, and to raise it, ");
            let key = resource.key_of_limits();
            add(key, Attribute::Limit(resource), SYS_RESOURCE, &so);
        }
    }
    found
}

/// Returns why this process may not signal a program with this uid, if it could start one.
pub(crate) fn unreachable(uid: u32) -> Option<Error> {
    let effective = effective();
    let is_ours = [Uid::current(), Uid::effective()].contains(&Uid::from_raw(uid));
    let is_unreachable = !is_ours && has(effective, SETUID) && !has(effective, KILL);
    is_unreachable.then(|| {
        let what = format!("failed to signal processes of uid {uid}");
        Error::because(what, only_with(KILL))
    })
}

fn has(capabilities: u64, (number, _): Capability) -> bool {
    capabilities >> number & 1 == 1
}

fn only_with((_, name): Capability) -> String {
    format!("only root, or a process with {name}, may do that")
}

/// Returns the effective capabilities. Without `/proc` root is believed to have all.
fn effective() -> u64 {
    let of_root = || match Uid::effective().is_root() {
        true => u64::MAX,
        false => 0,
    };
    let status = limits::text("/proc/self/status".as_ref()).unwrap_or_default();
    let mut values = status
        .lines()
        .filter_map(|line| line.strip_prefix("CapEff:"));
    let value = values.next().map(str::trim);
    let value = value.and_then(|value| u64::from_str_radix(value, 16).ok());
    value.unwrap_or_else(of_root)
}

fn has_uid(uid: u32) -> bool {
    let uid = Uid::from_raw(uid);
    getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [uid; 3])
}

fn has_gid(gid: u32) -> bool {
    let gid = Gid::from_raw(gid);
    getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [gid; 3])
}

/// True if RLIMIT_NICE allows this nice value: it stands for 20 less its number.
fn is_within_limit(nice: i32) -> bool {
    let limit = limits::of_this_process(Resource::Nice);
    limit.is_ok_and(|[soft, _]| soft >= u64::from((20 - nice).unsigned_abs()))
}

fn own_nice() -> i32 {
    let (which, this_process) = (libc::PRIO_PROCESS, 0);
    // SAFETY: plain numbers; the call only asks.
    unsafe { libc::getpriority(which, this_process) }
}
