//! The user and the limits that programs run with: the values of `user`, `group`, `groups`, `umask`, `nice`,
//! `oom_score_adj`, `limits` and `stdin`.

use std::path::PathBuf;

use super::errors::Problems;
use super::item::Item;
use super::size;
use crate::spec::accounts::{User, id_problem};
use crate::spec::attributes::{
    UNLIMITED, limit_problem, nice_problem, oom_score_adj_problem, umask_problem,
};
use crate::spec::path_problem;
use crate::text::quoted;

/// What a limit looks like.
const LIMIT: &str = r#"a limit such as 65536, "64M", "1024:65536" or "unlimited""#;

/// What a umask looks like.
const UMASK: &str = r#"octal digits in quotes such as "027""#;

/// The word for `/dev/null`.
const NULL: &str = "null";

/// Reads a user: its number, or its name in `/etc/passwd`.
pub(super) fn user(item: &Item<'_>, problems: &mut Problems) -> Option<User> {
    let expected = "the name of a user, or its number";
    let found = match item.text() {
        Some(name) => problems.accounts.user_named(name),
        None => {
            let uid = item.whole(expected, problems)?;
            problems.accounts.user_numbered(uid)
        }
    };
    item.accept(found, problems)
}

/// Reads a group: its number, or its name in `/etc/group`.
pub(super) fn group(item: &Item<'_>, problems: &mut Problems) -> Option<u32> {
    let expected = "the name of a group, or its number";
    let gid = match item.text() {
        Some(name) => {
            let found = problems.accounts.group_named(name);
            item.accept(found, problems)?
        }
        None => item.whole(expected, problems)?,
    };
    item.passes(id_problem("group", gid), problems)
        .then_some(gid)
}

/// Reads groups.
pub(super) fn groups(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<u32>> {
    let elements = item.elements(r#"an array of groups such as ["adm", 50]"#, problems)?;
    let groups = elements.iter().filter_map(|item| group(item, problems));
    let groups: Vec<u32> = groups.collect();
    (groups.len() == elements.len()).then_some(groups)
}

/// Reads octal digits. A JSON number has no octal form: 27 would be another mask than it seems.
pub(super) fn umask(item: &Item<'_>, problems: &mut Problems) -> Option<u32> {
    let text = item.string_of(UMASK, problems)?;
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mask = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    let mask = mask.ok_or_else(|| format!("invalid umask {}: expected {UMASK}", quoted(text)));
    let mask = item.accept(mask, problems)?;
    item.passes(umask_problem(mask), problems).then_some(mask)
}

/// Reads a nice value.
pub(super) fn nice(item: &Item<'_>, problems: &mut Problems) -> Option<i32> {
    let nice = item.whole("a whole number from -20 to 19", problems)?;
    item.passes(nice_problem(nice), problems).then_some(nice)
}

/// Reads a score for the killer of a system without memory.
pub(super) fn oom_score_adj(item: &Item<'_>, problems: &mut Problems) -> Option<i32> {
    let score = item.whole("a whole number from -1000 to 1000", problems)?;
    item.passes(oom_score_adj_problem(score), problems)
        .then_some(score)
}

/// Reads a limit, soft and hard: one value for both, or two.
pub(super) fn limit(item: &Item<'_>, problems: &mut Problems) -> Option<[u64; 2]> {
    let limit = match item.text() {
        None => {
            let value = item.whole(LIMIT, problems)?;
            [value, value]
        }
        Some(text) => {
            let (soft, hard) = text.split_once(':').unwrap_or((text, text));
            let value = |text| match text {
                "unlimited" | "infinity" => Some(UNLIMITED),
                text => size::from_text(text),
            };
            let both = value(soft).zip(value(hard)).map(<[u64; 2]>::from);
            let both =
                both.ok_or_else(|| format!("invalid limit {}: expected {LIMIT}", quoted(text)));
            item.accept(both, problems)?
        }
    };
    item.passes(limit_problem(limit), problems).then_some(limit)
}

/// Reads what a program reads as its stdin; `None` inside for `/dev/null`.
pub(super) fn stdin(item: &Item<'_>, problems: &mut Problems) -> Option<Option<PathBuf>> {
    let text = item.string_of(r#""null", or the path of a file"#, problems)?;
    let path = PathBuf::from(text);
    let is_valid = item.passes(path_problem("path", &path), problems);
    is_valid.then(|| (text != NULL).then_some(path))
}
