//! What `/proc` tells of every process in the system: state and group, a line for each.

use std::collections::BTreeSet;

use super::numbers::numbers_of;

/// The numbers of all groups in the system with a member that is more than a zombie, by one
/// look into `/proc`; `None` where that cannot be read. Zombies of somebody else's children
/// keep a group's number for as long as their parent likes, but nothing of a program is left
/// in them.
pub(crate) fn living_groups() -> Option<BTreeSet<i32>> {
    let mut groups = BTreeSet::new();
    let look = |pid| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((state, group)) = state_and_group(&stat)
            && !matches!(state, b'Z' | b'X' | b'x')
        {
            groups.insert(group);
        }
    };
    numbers_of(c"/proc", look).ok()?;
    // We are in one ourselves: a /proc without any is the /proc of nobody.
    (!groups.is_empty()).then_some(groups)
}

/// State and process group from a line of `/proc/PID/stat` (proc_pid_stat(5)).
fn state_and_group(stat: &[u8]) -> Option<(u8, i32)> {
    let mut fields = stat_fields(stat)?;
    let state = fields.next()?.bytes().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group))
}

/// The fields of `/proc/PID/stat` from the state on. The command before it may have anything in
/// its name, so everything counts from the last parenthesis.
pub(super) fn stat_fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    Some(rest.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_state_and_group_whatever_the_command_is_called() {
        assert_eq!(state_and_group(b"7 (sh) S 1 42 42 0 -1"), Some((b'S', 42)));
        assert_eq!(
            state_and_group(b"7 (a) Z 9 (x) R 1 43 42 0"),
            Some((b'R', 43))
        );
        assert_eq!(state_and_group(b""), None);
        assert_eq!(state_and_group(b"7 (sh)"), None);
    }
}
