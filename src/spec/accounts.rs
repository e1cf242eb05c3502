//! Users and groups, as /etc/passwd and /etc/group have them. Directory services are not asked: they
//! may not answer, and a static binary cannot ask them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};
use crate::text::{error_text, quoted};

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// setresuid(2) and chown(2) take it as "leave it as it is".
const NO_ID: u32 = u32::MAX;

/// A user that a program runs as: its number, and what `/etc/passwd` and `/etc/group` say of it. They
/// are read when this is made, and never at a start.
///
/// ```
/// use procsched::User;
///
/// let root = User::named("root")?;
/// assert_eq!((root.uid(), root.gid()), (0, Some(0)));
/// assert_eq!(User::numbered(0)?, root);
/// // One that is in no file has a number and nothing else.
/// assert_eq!(User::numbered(3_999_999)?.gid(), None);
/// # Ok::<(), procsched::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    uid: u32,
    entry: Option<Entry>,
}

/// What the files say of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Vec<u8>,
    gid: u32,
    /// The groups that name it among their members, each once.
    groups: Vec<u32>,
    home: Vec<u8>,
    shell: Vec<u8>,
}

impl User {
    /// Returns the user of this name.
    ///
    /// # Errors
    ///
    /// If `/etc/passwd` does not have it, or one of the files cannot be read.
    pub fn named(name: &str) -> Result<Self> {
        Accounts::default().user_named(name).map_err(Error::new)
    }

    /// Returns the user of this number. It need not be in `/etc/passwd`; one that is not needs
    /// [`ChildSpec::group`](crate::ChildSpec::group), and has no other groups.
    ///
    /// # Errors
    ///
    /// For the largest number, which stands for no user, and if a file is there and cannot be read.
    pub fn numbered(uid: u32) -> Result<Self> {
        Accounts::default().user_numbered(uid).map_err(Error::new)
    }

    /// Returns its number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns its name, if `/etc/passwd` has it and it is UTF-8.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        std::str::from_utf8(&self.entry.as_ref()?.name).ok()
    }

    /// Returns the number of its first group, if `/etc/passwd` has it.
    #[must_use]
    pub fn gid(&self) -> Option<u32> {
        Some(self.entry.as_ref()?.gid)
    }

    /// Returns all its groups with this first one, as initgroups(3) sets them: without its own first
    /// one, if that is another and does not name it among its members.
    pub(crate) fn groups_with(&self, first: Option<u32>) -> Vec<u32> {
        let Some(entry) = &self.entry else {
            return Vec::new();
        };
        let first = first.unwrap_or(entry.gid);
        let others = entry.groups.iter().copied();
        let others = others.filter(|&gid| gid != first);
        [first].into_iter().chain(others).collect()
    }

    /// Returns the variables that a login sets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let variables = self.entry.as_ref().map(|entry| {
            [
                ("HOME", text(&entry.home)),
                ("USER", text(&entry.name)),
                ("LOGNAME", text(&entry.name)),
                ("SHELL", text(&entry.shell)),
            ]
        });
        variables.into_iter().flatten()
    }
}

/// Returns the number of the group of this name.
///
/// ```
/// assert_eq!(procsched::group_named("root")?, 0);
/// # Ok::<(), procsched::Error>(())
/// ```
///
/// # Errors
///
/// If `/etc/group` does not have it, or cannot be read.
pub fn group_named(name: &str) -> Result<u32> {
    Accounts::default().group_named(name).map_err(Error::new)
}

/// Returns why this cannot be the number of a user or group, or `None` if it can.
pub(crate) fn id_problem(what: &str, id: u32) -> Option<String> {
    (id == NO_ID).then(|| format!("invalid {what} {id}: expected a smaller number"))
}

/// Both files, each read when it is first asked for.
#[derive(Default)]
pub(crate) struct Accounts {
    users: File,
    groups: File,
}

/// The contents of a file, or why there are none.
#[derive(Default)]
struct File(Option<std::result::Result<Vec<u8>, (std::io::ErrorKind, String)>>);

impl File {
    fn lines(
        &mut self,
        path: &str,
    ) -> std::result::Result<Lines<'_>, &(std::io::ErrorKind, String)> {
        let read = || std::fs::read(path).map_err(|error| (error.kind(), error_text(&error)));
        let contents = self.0.get_or_insert_with(read).as_ref()?;
        Ok(Lines(contents))
    }

    fn is_missing(&mut self, path: &str) -> bool {
        let lines = self.lines(path);
        lines.is_err_and(|(kind, _)| *kind == std::io::ErrorKind::NotFound)
    }
}

/// Lines of fields that are separated by colons.
#[derive(Clone, Copy)]
struct Lines<'f>(&'f [u8]);

impl<'f> Lines<'f> {
    /// Returns the first `N` fields of each line that has as many.
    fn fields<const N: usize>(self) -> impl Iterator<Item = [&'f [u8]; N]> {
        self.0.split(|&byte| byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b':');
            let mut all: [&[u8]; N] = [&[]; N];
            for field in &mut all {
                *field = fields.next()?;
            }
            Some(all)
        })
    }
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

impl Accounts {
    /// Finds a user. An error says what would be right.
    pub(crate) fn user_named(&mut self, name: &str) -> std::result::Result<User, String> {
        let instead = match name.parse::<u32>() {
            Ok(uid) => format!("write {uid} without the quotes"),
            Err(_) => "use a number, and a \"group\"".to_owned(),
        };
        let entry = self.entry(|fields| fields[0] == name.as_bytes());
        let entry = entry.map_err(|(_, cause)| {
            let name = quoted(name);
            format!("failed to look up user {name} in {USERS}: {cause}; {instead}")
        })?;
        let unknown = || format!("no user {} in {USERS}: {instead}", quoted(name));
        let (uid, entry) = entry.ok_or_else(unknown)?;
        self.with_groups(uid, Some(entry))
    }

    /// Returns a user, and its entry if there is one.
    pub(crate) fn user_numbered(&mut self, uid: u32) -> std::result::Result<User, String> {
        if let Some(problem) = id_problem("user", uid) {
            return Err(problem);
        }
        if self.users.is_missing(USERS) {
            return Ok(User { uid, entry: None });
        }
        let entry = self.entry(|fields| number(fields[2]) == Some(uid));
        let entry = entry
            .map_err(|(_, cause)| format!("failed to look up user {uid} in {USERS}: {cause}"))?;
        self.with_groups(uid, entry.map(|(_, entry)| entry))
    }

    /// Finds a group. An error says what would be right.
    pub(crate) fn group_named(&mut self, name: &str) -> std::result::Result<u32, String> {
        let lines = self.groups.lines(GROUPS).map_err(|(_, cause)| {
            let name = quoted(name);
            format!("failed to look up group {name} in {GROUPS}: {cause}; use its number")
        })?;
        let named = lines.fields().find_map(|[known, _, gid]| {
            let gid = number(gid).filter(|_| known == name.as_bytes())?;
            (gid != NO_ID).then_some(gid)
        });
        named.ok_or_else(|| format!("no group {} in {GROUPS}: use its number", quoted(name)))
    }

    /// Finds the first entry that is meant, without its groups.
    #[allow(clippy::type_complexity)] // What it is about is said in one place.
    fn entry(
        &mut self,
        is_meant: impl Fn(&[&[u8]; 7]) -> bool,
    ) -> std::result::Result<Option<(u32, Entry)>, &(std::io::ErrorKind, String)> {
        let lines = self.users.lines(USERS)?;
        let mut meant = lines.fields().filter(is_meant);
        Ok(meant.find_map(|[name, _, uid, gid, _, home, shell]| {
            let (uid, gid) = (number(uid)?, number(gid)?);
            let entry = Entry {
                name: name.to_vec(),
                gid,
                groups: Vec::new(),
                home: home.to_vec(),
                shell: shell.to_vec(),
            };
            (uid != NO_ID && gid != NO_ID).then_some((uid, entry))
        }))
    }

    /// Adds the groups that name the user among their members. Where there is no file there are none.
    fn with_groups(
        &mut self,
        uid: u32,
        mut entry: Option<Entry>,
    ) -> std::result::Result<User, String> {
        if let Some(entry) = entry.as_mut().filter(|_| !self.groups.is_missing(GROUPS)) {
            let lines = self.groups.lines(GROUPS);
            let lines = lines.map_err(|(_, cause)| {
                let name = String::from_utf8_lossy(&entry.name);
                let name = quoted(&name);
                format!("failed to look up the groups of user {name} in {GROUPS}: {cause}")
            })?;
            for [_, _, gid, members] in lines.fields() {
                let mut members = members.split(|&byte| byte == b',');
                let is_member = members.any(|member| member == entry.name);
                let gid = number(gid).filter(|gid| is_member && !entry.groups.contains(gid));
                entry.groups.extend(gid);
            }
        }
        Ok(User { uid, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        app:x:1001:1001::/srv/app:/bin/false\n\
        broken:x:one:1::/:/bin/sh\n\
        short:x:7:7\n\
        twice:x:1002:1002::/first:\n\
        twice:x:1003:1003::/second:\n\
        none:x:4294967295:1::/:/bin/sh\n\
        last:x:1004:1004::/:/bin/sh";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nweb:x:50:www,app\napps:x:51:apps\n\
        more:x:52:app\nsame:x:52:app\nown:x:1001:app\nbad:x:x:app\nshort:x\n";

    fn accounts() -> Accounts {
        let file = |text: &str| File(Some(Ok(text.as_bytes().to_vec())));
        Accounts {
            users: file(PASSWD),
            groups: file(GROUP),
        }
    }

    fn unreadable(kind: std::io::ErrorKind) -> File {
        File(Some(Err((kind, "a cause".to_owned()))))
    }

    #[test]
    fn a_user_is_found_with_its_groups_and_variables() {
        let mut accounts = accounts();
        let app = accounts.user_named("app").expect("it is there");
        assert_eq!((app.uid(), app.gid()), (1001, Some(1001)));
        assert_eq!(app.name(), Some("app"));
        assert_eq!(app.groups_with(None), [1001, 50, 52]);
        assert_eq!(app.groups_with(Some(52)), [52, 50, 1001]);
        assert_eq!(app.groups_with(Some(7)), [7, 50, 52, 1001]);
        let variables: Vec<_> = app.variables().collect();
        let expected = [
            ("HOME", "/srv/app"),
            ("USER", "app"),
            ("LOGNAME", "app"),
            ("SHELL", "/bin/false"),
        ];
        assert_eq!(variables, expected.map(|(key, value)| (key, value.into())));
        assert_eq!(accounts.user_numbered(1001), Ok(app));
        assert_eq!(
            accounts.user_named("twice").map(|user| user.uid()),
            Ok(1002)
        );
        // Its first group does not name it.
        let last = accounts.user_named("last").expect("it is there");
        assert_eq!((last.uid(), last.groups_with(None)), (1004, vec![1004]));
        assert_eq!(last.groups_with(Some(7)), [7]);
    }

    #[test]
    fn a_number_in_no_file_is_a_user_without_a_group() {
        let mut accounts = accounts();
        let user = accounts.user_numbered(7).expect("numbers always work");
        assert_eq!((user.gid(), user.name()), (None, None));
        assert_eq!(user.groups_with(Some(7)), [0; 0]);
        assert_eq!(user.variables().count(), 0);
        let mut none = Accounts {
            users: unreadable(std::io::ErrorKind::NotFound),
            groups: unreadable(std::io::ErrorKind::NotFound),
        };
        assert_eq!(none.user_numbered(7), Ok(user));
    }

    #[test]
    fn what_cannot_be_found_says_what_would_be_right() {
        let mut accounts = accounts();
        for (name, expected) in [
            (
                "ap",
                "no user \"ap\" in /etc/passwd: use a number, and a \"group\"",
            ),
            (
                "broken",
                "no user \"broken\" in /etc/passwd: use a number, and a \"group\"",
            ),
            (
                "short",
                "no user \"short\" in /etc/passwd: use a number, and a \"group\"",
            ),
            (
                "none",
                "no user \"none\" in /etc/passwd: use a number, and a \"group\"",
            ),
            (
                "",
                "no user \"\" in /etc/passwd: use a number, and a \"group\"",
            ),
            (
                "1001",
                "no user \"1001\" in /etc/passwd: write 1001 without the quotes",
            ),
        ] {
            assert_eq!(accounts.user_named(name), Err(expected.to_owned()));
        }
        let expected = "invalid user 4294967295: expected a smaller number";
        assert_eq!(accounts.user_numbered(u32::MAX), Err(expected.to_owned()));
        for name in ["app2", "short", "bad", "x"] {
            let expected = format!("no group \"{name}\" in /etc/group: use its number");
            assert_eq!(accounts.group_named(name), Err(expected));
        }
        let denied = || unreadable(std::io::ErrorKind::PermissionDenied);
        let mut unread = Accounts {
            users: denied(),
            groups: denied(),
        };
        let expected =
            "failed to look up user \"app\" in /etc/passwd: a cause; use a number, and a \"group\"";
        assert_eq!(unread.user_named("app"), Err(expected.to_owned()));
        let expected = "failed to look up user 7 in /etc/passwd: a cause";
        assert_eq!(unread.user_numbered(7), Err(expected.to_owned()));
        let expected = "failed to look up group \"app\" in /etc/group: a cause; use its number";
        assert_eq!(unread.group_named("app"), Err(expected.to_owned()));
        accounts.groups = denied();
        let expected = "failed to look up the groups of user \"app\" in /etc/group: a cause";
        assert_eq!(accounts.user_named("app"), Err(expected.to_owned()));
    }
}
