//! The user and the limits that a program runs with. What is left out is inherited.
//!
//! The order in which a child sets them is that of [`Attribute`]; `attributes` of `os::spawn` does it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::accounts::{User, id_problem};
use super::{ChildSpec, Ready, Resource, path_problem};
use crate::signal::SignalTo;

/// A limit that is none.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// The highest umask: all permissions, and no more than them.
const UMASK_MAX: u32 = 0o777;

const NICE_MIN: i32 = -20;
const NICE_MAX: i32 = 19;

/// The range of `/proc/self/oom_score_adj`: from never killed to killed first.
const OOM_SCORE_ADJ_MAX: i32 = 1000;

/// The most groups that a process can have (credentials(7)).
const GROUPS_MAX: usize = 65_536;

/// What a program gets that others inherit. The same for all that inherit it from the same defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    pub(crate) user: Option<User>,
    pub(crate) group: Option<u32>,
    /// Those of the user with the group as the first. Kept: a child cannot put them together.
    user_groups: Vec<u32>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) umask: Option<u32>,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    /// The soft and the hard limits, each resource once.
    pub(crate) limits: Vec<(Resource, [u64; 2])>,
    pub(crate) no_new_privileges: bool,
    pub(crate) stdin: Option<PathBuf>,
    /// True if it inherits no variable of ours.
    pub(crate) clear_env: bool,
}

/// One thing that a child sets, and that the system may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    OomScoreAdj,
    Nice,
    Limit(Resource),
    Groups,
    Group,
    User,
    NoNewPrivileges,
}

impl Attribute {
    /// What comes before the limits.
    const OTHERS: [Self; 6] = [
        Self::OomScoreAdj,
        Self::Nice,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::NoNewPrivileges,
    ];

    /// Returns the number that stands for it.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::OomScoreAdj => 0,
            Self::Nice => 1,
            Self::Groups => 2,
            Self::Group => 3,
            Self::User => 4,
            Self::NoNewPrivileges => 5,
            Self::Limit(resource) => Self::OTHERS.len() + resource as usize,
        }
    }

    fn of_number(number: usize) -> Option<Self> {
        let others = Self::OTHERS.len();
        match number.checked_sub(others) {
            None => Self::OTHERS.get(number).copied(),
            Some(number) => Some(Self::Limit(*Resource::ALL.get(number)?)),
        }
    }
}

impl Attributes {
    /// Sets the user.
    pub(crate) fn set_user(&mut self, user: User) {
        self.user = Some(user);
        self.find_user_groups();
    }

    /// Sets the group.
    pub(crate) fn set_group(&mut self, gid: u32) {
        self.group = Some(gid);
        self.find_user_groups();
    }

    fn find_user_groups(&mut self) {
        let groups = self.user.as_ref().map(|user| user.groups_with(self.group));
        self.user_groups = groups.unwrap_or_default();
    }

    /// Returns the uid that the program gets.
    pub(crate) fn uid(&self) -> Option<u32> {
        Some(self.user.as_ref()?.uid())
    }

    /// Returns the gid that it gets.
    pub(crate) fn gid(&self) -> Option<u32> {
        self.group.or_else(|| self.user.as_ref()?.gid())
    }

    /// Returns the other groups that it gets.
    pub(crate) fn groups(&self) -> Option<&[u32]> {
        let of_user = || self.user.as_ref().map(|_| &*self.user_groups);
        self.groups.as_deref().or_else(of_user)
    }

    /// Returns a limit.
    pub(crate) fn limit(&self, resource: Resource) -> Option<[u64; 2]> {
        let mut limits = self.limits.iter();
        Some(limits.find(|(known, _)| *known == resource)?.1)
    }

    /// True if a child has to have a memory of its own to set them: see `os::spawn`.
    pub(crate) fn need_copy(&self) -> bool {
        let has_credentials = self.user.is_some() || self.group.is_some() || self.groups.is_some();
        has_credentials || self.oom_score_adj.is_some()
    }

    /// Says what failed, by the number of its [`Attribute`].
    pub(crate) fn explain(&self, number: usize) -> String {
        let value = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
        let (what, to) = match Attribute::of_number(number) {
            None => return "failed to set its attributes".to_owned(),
            Some(Attribute::OomScoreAdj) => {
                let score = self.oom_score_adj.map(i64::from);
                ("oom_score_adj".to_owned(), value(score))
            }
            Some(Attribute::Nice) => ("nice".to_owned(), value(self.nice.map(i64::from))),
            Some(Attribute::Limit(resource)) => {
                let limit = self.limit(resource).map(limit_text);
                let name = format!("RLIMIT_{}", resource.key().to_ascii_uppercase());
                (name, limit.unwrap_or_default())
            }
            Some(Attribute::Groups) => ("groups".to_owned(), groups_text(self.groups())),
            Some(Attribute::Group) => ("gid".to_owned(), value(self.gid().map(i64::from))),
            Some(Attribute::User) => ("uid".to_owned(), value(self.uid().map(i64::from))),
            Some(Attribute::NoNewPrivileges) => {
                return "failed to set no_new_privileges".to_owned();
            }
        };
        format!("failed to set {what} to {to}")
    }

    /// Returns the keys of the config in which others differ, but for `stdin`: that depends on the base
    /// directory.
    pub(crate) fn differences(&self, new: &Self) -> Vec<&'static str> {
        let all = [
            ("user", self.user != new.user),
            ("group", self.group != new.group),
            ("groups", self.groups != new.groups),
            ("umask", self.umask != new.umask),
            ("nice", self.nice != new.nice),
            ("oom_score_adj", self.oom_score_adj != new.oom_score_adj),
            (
                "no_new_privileges",
                self.no_new_privileges != new.no_new_privileges,
            ),
            ("clear_env", self.clear_env != new.clear_env),
        ];
        let all = all.into_iter().filter(|(_, differs)| *differs);
        let limits = Resource::ALL.into_iter();
        let limits = limits.filter(|&resource| self.limit(resource) != new.limit(resource));
        let limits = limits.map(Resource::key_of_limits);
        all.map(|(key, _)| key).chain(limits).collect()
    }

    /// Returns everything that is wrong with them, each with its key.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |key, problem: Option<String>| found.extend(problem.map(|text| (key, text)));
        let is_unknown = self.user.is_some() && self.gid().is_none();
        let uid = self.uid().unwrap_or_default();
        let unknown = format!("user {uid} is not in /etc/passwd: give a \"group\", too");
        add("user", is_unknown.then_some(unknown));
        add("group", self.group.and_then(|gid| id_problem("group", gid)));
        let groups = self.groups.as_deref().unwrap_or_default();
        let problem = groups.iter().find_map(|&gid| id_problem("group", gid));
        add("groups", problem.or_else(|| groups_problem(groups)));
        add("umask", self.umask.and_then(umask_problem));
        add("nice", self.nice.and_then(nice_problem));
        let score = self.oom_score_adj;
        add("oom_score_adj", score.and_then(oom_score_adj_problem));
        for &(resource, limit) in &self.limits {
            add(resource.key_of_limits(), limit_problem(limit));
        }
        let stdin = self.stdin.as_deref();
        add("stdin", stdin.and_then(|path| path_problem("path", path)));
        found
    }
}

impl ChildSpec {
    /// Returns its attributes to be changed.
    pub(crate) fn attributes_mut(&mut self) -> &mut Attributes {
        Arc::make_mut(self.attributes.get_or_insert_default())
    }

    /// Sets the user that it runs as; by default it is ours. The program gets the user's groups, unless
    /// it has [`ChildSpec::group`] and [`ChildSpec::groups`], and `HOME`, `USER`, `LOGNAME` and `SHELL`,
    /// unless it has these in [`ChildSpec::env`]. A start fails if that is not permitted. If it has the
    /// user and the group already, and may not set its other groups, these stay as they are.
    ///
    /// ```
    /// # use procsched::{ChildSpec, User};
    /// # fn main() -> procsched::Result<()> {
    /// let web = ChildSpec::new("web", ["./web"]).user(User::named("daemon")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.attributes_mut().set_user(user);
        self
    }

    /// Sets its group; by default it is that of the user, or else ours.
    ///
    /// ```
    /// # use procsched::{ChildSpec, User, group_named};
    /// # fn main() -> procsched::Result<()> {
    /// let web = ChildSpec::new("web", ["./web"]).group(group_named("root")?);
    /// let api = ChildSpec::new("api", ["./api"]).user(User::numbered(65_532)?).group(65_532);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn group(mut self, gid: u32) -> Self {
        self.attributes_mut().set_group(gid);
        self
    }

    /// Sets its other groups, all of them; by default they are those of the user, or else ours. With
    /// [`ChildSpec::group`] the user's own first group is not among them.
    ///
    /// ```
    /// # use procsched::{ChildSpec, User};
    /// # fn main() -> procsched::Result<()> {
    /// let web = ChildSpec::new("web", ["./web"]).user(User::named("daemon")?).groups([]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn groups(mut self, gids: impl IntoIterator<Item = u32>) -> Self {
        self.attributes_mut().groups = Some(gids.into_iter().collect());
        self
    }

    /// Sets the permissions that files made by it do not get, at most `0o777`; ours by default.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).umask(0o027);
    /// ```
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.attributes_mut().umask = Some(mask);
        self
    }

    /// Sets its nice value, from -20 (first) to 19; ours by default.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let report = ChildSpec::new("report", ["./report"]).nice(10);
    /// ```
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.attributes_mut().nice = Some(nice);
        self
    }

    /// Sets how soon it is killed when memory runs out, from -1000 (never) to 1000; as ours by default.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let cache = ChildSpec::new("cache", ["redis-server"]).oom_score_adj(500);
    /// ```
    #[must_use]
    pub fn oom_score_adj(mut self, score: i32) -> Self {
        self.attributes_mut().oom_score_adj = Some(score);
        self
    }

    /// Sets a limit, soft and hard, `u64::MAX` for none; those that are not set are ours.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Resource};
    /// let web = ChildSpec::new("web", ["./web"])
    ///     .limit(Resource::Nofile, 1024, 65_536)
    ///     .limit(Resource::Core, 0, u64::MAX);
    /// ```
    #[must_use]
    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.set_limit(resource, [soft, hard]);
        self
    }

    pub(crate) fn set_limit(&mut self, resource: Resource, limit: [u64; 2]) {
        let limits = &mut self.attributes_mut().limits;
        limits.retain(|(known, _)| *known != resource);
        limits.push((resource, limit));
        limits.sort_unstable_by_key(|(resource, _)| *resource as u8);
    }

    /// Sets whether nothing that it executes gives it privileges, such as a file with a set-user-ID bit
    /// (`PR_SET_NO_NEW_PRIVS`); `false` by default.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).no_new_privileges(true);
    /// ```
    #[must_use]
    pub fn no_new_privileges(mut self, set: bool) -> Self {
        self.attributes_mut().no_new_privileges = set;
        self
    }

    /// Sets the file that it reads as its stdin, relative to the base directory; `/dev/null` by
    /// default. It is opened at each start, by the supervisor, and not waited for: a FIFO need not have
    /// a writer yet.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let load = ChildSpec::new("load", ["psql"]).stdin("dump.sql");
    /// ```
    #[must_use]
    pub fn stdin(mut self, path: impl Into<PathBuf>) -> Self {
        self.attributes_mut().stdin = Some(path.into());
        self
    }

    /// Returns the file that it reads as its stdin, if there is one; relative to the base directory.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let load = ChildSpec::new("load", ["psql"]).stdin("dump.sql");
    /// assert_eq!(load.stdin_path(), Some("dump.sql".as_ref()));
    /// ```
    #[must_use]
    pub fn stdin_path(&self) -> Option<&Path> {
        self.attributes.as_deref()?.stdin.as_deref()
    }

    /// Sets whether it inherits no variable of this process; `false` by default. It gets those of
    /// [`ChildSpec::env`] and of [`ChildSpec::user`], and what the scheduler tells it. Without a `PATH`
    /// its program is looked up in `/bin` and `/usr/bin`.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).clear_env(true).env("PATH", "/usr/bin");
    /// ```
    #[must_use]
    pub fn clear_env(mut self, clear: bool) -> Self {
        self.attributes_mut().clear_env = clear;
        self
    }

    /// Sets whether its whole process group gets the stop signal, the default, or its first process
    /// alone, which then has to stop the others. SIGKILL goes to the group in any case.
    ///
    /// ```
    /// # use procsched::{ChildSpec, SignalTo};
    /// let shell = ChildSpec::new("shell", ["sh", "-c", "./web & wait"]).stop_to(SignalTo::Main);
    /// ```
    #[must_use]
    pub fn stop_to(mut self, to: SignalTo) -> Self {
        self.stop_to = to;
        self
    }

    /// Returns what is wrong with its attributes, each with its key.
    pub(super) fn attribute_problems(&self) -> Vec<(&'static str, String)> {
        let Some(attributes) = self.attributes.as_deref() else {
            return Vec::new();
        };
        let mut found = attributes.problems();
        let soft = attributes.limit(Resource::Nofile).map(|[soft, _]| soft);
        if let (Some(Ready::Fd(fd)), Some(soft)) = (self.ready.as_deref(), soft)
            && u64::try_from(*fd).is_ok_and(|fd| soft <= fd)
        {
            let text = format!("{soft} leaves no descriptor {fd} for \"ready\": raise it");
            found.push((Resource::Nofile.key_of_limits(), text));
        }
        found
    }
}

/// Returns why these cannot be all groups of a process, or `None` if they can.
fn groups_problem(groups: &[u32]) -> Option<String> {
    let count = groups.len();
    (count > GROUPS_MAX).then(|| format!("{count} groups are too many: use at most {GROUPS_MAX}"))
}

/// Returns why this cannot be a umask, or `None` if it can.
pub(crate) fn umask_problem(mask: u32) -> Option<String> {
    (mask > UMASK_MAX).then(|| format!("invalid umask {mask:03o}: expected 000 to {UMASK_MAX:o}"))
}

/// Returns why this cannot be a nice value, or `None` if it can.
pub(crate) fn nice_problem(nice: i32) -> Option<String> {
    let is_valid = (NICE_MIN..=NICE_MAX).contains(&nice);
    (!is_valid).then(|| format!("invalid nice {nice}: expected {NICE_MIN} to {NICE_MAX}"))
}

/// Returns why this cannot be a score, or `None` if it can.
pub(crate) fn oom_score_adj_problem(score: i32) -> Option<String> {
    let max = OOM_SCORE_ADJ_MAX;
    let is_valid = (-max..=max).contains(&score);
    (!is_valid).then(|| format!("invalid oom_score_adj {score}: expected {} to {max}", -max))
}

/// Returns why these cannot be a soft and a hard limit, or `None` if they can.
pub(crate) fn limit_problem(limit: [u64; 2]) -> Option<String> {
    let [soft, hard] = limit;
    (soft > hard).then(|| {
        let limit = limit_text(limit);
        format!("invalid limit \"{limit}\": the soft one cannot be above the hard one")
    })
}

/// Returns a limit as a config has it.
pub(crate) fn limit_text([soft, hard]: [u64; 2]) -> String {
    let text = |value| match value {
        UNLIMITED => "unlimited".to_owned(),
        value => value.to_string(),
    };
    match soft == hard {
        true => text(soft),
        false => format!("{}:{}", text(soft), text(hard)),
    }
}

fn groups_text(groups: Option<&[u32]>) -> String {
    let groups = groups.unwrap_or_default().iter().map(u32::to_string);
    let groups: Vec<String> = groups.collect();
    match groups.is_empty() {
        true => "none".to_owned(),
        false => groups.join(", "),
    }
}

#[cfg(test)]
mod tests;
