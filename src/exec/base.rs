//! What a command has besides its own: where it runs and with which variables, and what it does not
//! inherit from this process.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lineage::{CHAIN_VARIABLE, Lineage, PROGRAM_VARIABLE};
use crate::spec::Attributes;

/// What all commands of one supervisor have in common.
#[derive(Debug)]
pub(crate) struct BaseEnv {
    /// The working directory of a command that names none; absolute, or `.`.
    pub(super) directory: CString,
    /// The environment that every command begins with.
    pub(super) env: Arc<[CString]>,
    /// Set if a process left behind by a program is to be known by its environment.
    pub(super) lineage: Option<Arc<Lineage>>,
    /// Set for a program that does not inherit everything else: it has all this for itself.
    pub(super) own: Option<Own>,
}

/// What a program does not inherit.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) attributes: Arc<Attributes>,
    /// The file that it reads; absolute.
    pub(super) stdin: Option<CString>,
}

impl BaseEnv {
    /// Returns what programs get: our environment, taken once, without what was meant for the
    /// supervisor itself. `base_dir` is absolute.
    pub(crate) fn of_programs(base_dir: &Path, lineage: Option<Arc<Lineage>>) -> Result<Arc<Self>> {
        let is_replaced = |key: &OsStr| lineage.is_some() && key == CHAIN_VARIABLE;
        let ours = std::env::vars_os();
        let ours = ours.filter(|(key, _)| !is_meant_for_us(key) && !is_replaced(key));
        Ok(Arc::new(Self {
            directory: c_string(base_dir.as_os_str())?,
            env: variables(ours),
            lineage,
            own: None,
        }))
    }

    /// Returns the same for another working directory, which is absolute.
    pub(crate) fn at(&self, base_dir: &Path) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            directory: c_string(base_dir.as_os_str())?,
            env: self.env.clone(),
            lineage: self.lineage.clone(),
            own: None,
        }))
    }

    /// Returns the same for a program with attributes of its own.
    pub(super) fn with(&self, attributes: &Arc<Attributes>, base_dir: &Path) -> Result<Arc<Self>> {
        let stdin = attributes.stdin.as_ref().map(|path| base_dir.join(path));
        let stdin = stdin.map(|path| c_string(path.as_os_str())).transpose()?;
        let env = match attributes.clear_env {
            true => Arc::default(),
            false => self.env.clone(),
        };
        let attributes = attributes.clone();
        Ok(Arc::new(Self {
            directory: self.directory.clone(),
            env,
            lineage: self.lineage.clone(),
            own: Some(Own { attributes, stdin }),
        }))
    }

    /// Returns how many variables there are, and how many bytes they take.
    #[cfg(feature = "json")]
    pub(crate) fn size(&self) -> (usize, usize) {
        let bytes = self.env.iter().map(|variable| variable.count_bytes() + 1);
        (self.env.len(), bytes.sum())
    }

    /// Returns what a command gets that stands in our place: everything.
    pub(super) fn our_own() -> Arc<Self> {
        Arc::new(Self {
            directory: c".".to_owned(),
            env: variables(std::env::vars_os()),
            lineage: None,
            own: None,
        })
    }
}

/// True if systemd, or another supervisor of this kind, sets this for a service, or if it names the
/// control socket of the supervisor. The service's children must not believe it.
fn is_meant_for_us(key: &OsStr) -> bool {
    let key = key.as_bytes();
    key == b"NOTIFY_SOCKET"
        || key == b"PROCSCHED_SOCKET"
        || key == PROGRAM_VARIABLE.as_bytes()
        || key == b"PROCSCHED_INSTANCE"
        || key.starts_with(b"LISTEN_")
        || key.starts_with(b"WATCHDOG_")
}

fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Arc<[CString]> {
    all.filter_map(|(key, value)| variable(&key, &value).ok())
        .collect()
}

pub(super) fn variable(key: &OsStr, value: &OsStr) -> Result<CString> {
    let text = [key.as_bytes(), b"=", value.as_bytes()].concat();
    c_string(OsStr::from_bytes(&text))
}

pub(super) fn c_string(text: &OsStr) -> Result<CString> {
    let nul = |_| Error::new("a command, path or variable has a NUL byte in it");
    CString::new(text.as_bytes()).map_err(nul)
}
