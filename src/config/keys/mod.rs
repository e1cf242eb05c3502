//! The keys of a config, each with its type, default and summary: one table, of which the help, the
//! manual page, the JSON Schema and the reference in the guide are made. A test compares it with
//! what the parser knows, and with what a reload does.
//!
//! The table is built when it is asked for. As a constant it would be a few pages of addresses that
//! the loader writes into the memory of each process.

mod file;
mod key_type;
mod life;
mod program;
mod schema;

use std::fmt;

pub use key_type::{KeyType, Rule};
pub use schema::schema;

/// A key of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: &'static str,
    scope: Scope,
    key_type: KeyType,
    default: KeyDefault,
    reload: Reload,
    summary: &'static str,
    details: &'static str,
    example: &'static str,
    systemd: &'static str,
    supervisord: &'static str,
    compose: &'static str,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the file, beside `programs`.
    File,
    /// In a program, and not in `defaults`.
    ProgramOnly,
    /// In a program, and in `defaults`.
    Program,
}

/// What holds where a key is left out. Its `Display` is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDefault {
    /// It cannot be left out.
    Required,
    /// Nothing.
    None,
    /// This value, as JSON.
    Json(&'static str),
    /// What these words say.
    Words(&'static str),
}

impl fmt::Display for KeyDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::None => "none",
            Self::Json(text) | Self::Words(text) => text,
        })
    }
}

/// What a reload does about a key that has changed. Its `Display` is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The new value holds at once, and programs run on.
    Live,
    /// The programs that it concerns are restarted.
    Restart,
    /// The reload is refused: the supervisor has to be restarted.
    Supervisor,
    /// It depends on the keys inside that have changed.
    Inside,
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "in place",
            Self::Restart => "restart of the program",
            Self::Supervisor => "restart of the supervisor",
            Self::Inside => "see its keys",
        })
    }
}

impl Key {
    /// Returns its name. That of a key in an object has the object's in front: `backoff.initial`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns where it stands.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns what values it can have.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Returns what holds where it is left out.
    #[must_use]
    pub fn default(&self) -> KeyDefault {
        self.default
    }

    /// Returns what a reload does about a change.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload
    }

    /// Returns what it means, in one sentence.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// Returns what else there is to know, in whole sentences; empty if there is nothing.
    #[must_use]
    pub fn details(&self) -> &'static str {
        self.details
    }

    /// Returns a value other than the default, as JSON.
    #[must_use]
    pub fn example(&self) -> &'static str {
        self.example
    }

    /// Returns what systemd calls it; empty if it has nothing like that.
    #[must_use]
    pub fn systemd(&self) -> &'static str {
        self.systemd
    }

    /// Returns what supervisord calls it; empty if it has nothing like that.
    #[must_use]
    pub fn supervisord(&self) -> &'static str {
        self.supervisord
    }

    /// Returns what Compose calls it; empty if it has nothing like that.
    #[must_use]
    pub fn compose(&self) -> &'static str {
        self.compose
    }

    /// Returns the object that it stands in, and its name there: of `backoff.initial` that is
    /// `backoff` and `initial`. The object is empty for a key of the file or of a program.
    #[must_use]
    pub fn place(&self) -> (&'static str, &'static str) {
        self.name.rsplit_once('.').unwrap_or(("", self.name))
    }
}

/// Returns all keys: those of the file, then those of a program. The keys of an object follow it.
///
/// ```
/// use procsched::config::{KeyDefault, KeyType, Reload, Scope, keys};
///
/// let keys = keys();
/// let key = keys.iter().find(|key| key.name() == "stop_timeout").unwrap();
/// assert_eq!(key.scope(), Scope::Program);
/// assert_eq!(key.key_type(), KeyType::Duration { zero: true });
/// assert_eq!(key.key_type().to_string(), "a duration");
/// assert_eq!(key.default(), KeyDefault::Json("10"));
/// assert_eq!(key.reload(), Reload::Live);
/// assert_eq!(key.summary(), "Time from stop_signal to SIGKILL; 0 sends both at once.");
/// assert_eq!(key.systemd(), "TimeoutStopSec");
/// ```
#[must_use]
pub fn keys() -> Vec<Key> {
    let mut table = Table(Vec::new());
    file::add(&mut table);
    program::add(&mut table);
    life::add(&mut table);
    table.0
}

/// The keys so far.
struct Table(Vec<Key>);

impl Table {
    /// Adds a key. Its example is JSON.
    #[inline(never)]
    fn add(
        &mut self,
        scope: Scope,
        name: &'static str,
        key_type: KeyType,
        default: KeyDefault,
        example: &'static str,
    ) -> Row<'_> {
        self.0.push(Key {
            name,
            scope,
            key_type,
            default,
            reload: Reload::Live,
            summary: "",
            details: "",
            example,
            systemd: "",
            supervisord: "",
            compose: "",
        });
        let at = self.0.len() - 1;
        Row(&mut self.0[at])
    }
}

/// A key that is being added. A change of it holds at once, unless it is said otherwise.
struct Row<'t>(&'t mut Key);

impl Row<'_> {
    fn summary(self, text: &'static str) -> Self {
        self.0.summary = text;
        self
    }

    fn details(self, text: &'static str) -> Self {
        self.0.details = text;
        self
    }

    fn reload(self, reload: Reload) -> Self {
        self.0.reload = reload;
        self
    }

    fn systemd(self, name: &'static str) -> Self {
        self.0.systemd = name;
        self
    }

    fn supervisord(self, name: &'static str) -> Self {
        self.0.supervisord = name;
        self
    }

    fn compose(self, name: &'static str) -> Self {
        self.0.compose = name;
        self
    }
}
