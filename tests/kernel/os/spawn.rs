//! A process of the simulated system out of a command of the library's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::limits::DescriptorLimit;
use crate::error::Error;
use crate::kernel::world;
use crate::lineage::{CHAIN_VARIABLE, PROGRAM_VARIABLE};

thread_local! {
    /// What the environments of this life's programs have in them, by the programs' names.
    static CHAINS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// The chain that a process of this program was given.
pub(super) fn chain_of(name: &str) -> Option<String> {
    CHAINS.with_borrow(|chains| chains.get(name).cloned())
}

pub(crate) struct Command<'a, Candidates, Argv, Env> {
    pub(crate) candidates: Candidates,
    pub(crate) argv: Argv,
    pub(crate) env: Env,
    pub(crate) place: Place<'a>,
}

pub(crate) enum Place<'a> {
    Apart(Apart<'a>),
}

pub(crate) struct Apart<'a> {
    pub(crate) cwd: &'a CStr,
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    pub(crate) limit: Option<DescriptorLimit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Process,
    Session,
    Group,
    Limit,
    Directory,
    Descriptors,
    Exec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    pub(crate) candidate: usize,
}

pub(crate) struct Spawner {
    _null: Option<Arc<OwnedFd>>,
}

impl Spawner {
    pub(crate) fn new(null: Option<Arc<OwnedFd>>) -> Result<Self, Errno> {
        Ok(Self { _null: null })
    }

    pub(crate) fn spawn<'a>(
        &mut self,
        command: Command<
            'a,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
        >,
    ) -> Result<i32, Failure> {
        let Place::Apart(apart) = command.place;
        let env: Vec<String> = command
            .env
            .filter_map(|variable| variable.to_str().ok().map(str::to_owned))
            .collect();
        let value = |key: &str| {
            let mut values = env.iter().filter_map(|variable| {
                let value = variable.strip_prefix(key)?.strip_prefix('=')?;
                Some(value.to_owned())
            });
            values.next_back()
        };
        let name = value(PROGRAM_VARIABLE);
        if let (Some(name), Some(chain)) = (&name, value(CHAIN_VARIABLE)) {
            CHAINS.with_borrow_mut(|chains| _ = chains.insert(name.clone(), chain));
        }
        world::spawn(name.as_deref(), apart.stdio[2].as_raw_fd())
    }

    pub(crate) fn take_warning(&mut self) -> Option<Error> {
        None
    }
}
