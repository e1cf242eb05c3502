//! A process of the simulated system out of a command of the library's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::limits::DescriptorLimit;
use super::pause::pause;
use super::reap::{self, Seen};
use crate::cstr_list::CStrList;
use crate::error::Error;
use crate::kernel::world::{self, Fate, Given};
use crate::lineage::{CHAIN_VARIABLE, PROGRAM_VARIABLE};
use crate::spec::Attributes;

thread_local! {
    /// What the environments of this life's programs have in them, by the programs' names.
    static CHAINS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// The chain that a process of this program was given.
pub(super) fn chain_of(name: &str) -> Option<String> {
    CHAINS.with_borrow(|chains| chains.get(name).cloned())
}

/// As in `src/os/spawn.rs`.
const BURIAL_LOOKS_MAX: u32 = 20;
const BURIAL_PAUSE: Duration = Duration::from_micros(50);

pub(crate) type Each<'a> = &'a dyn Fn(&mut dyn FnMut(&CStr));

pub(crate) struct Command<'a> {
    pub(crate) candidates: CStrList,
    pub(crate) arguments: Each<'a>,
    pub(crate) variables: Each<'a>,
    pub(crate) directory: &'a CStr,
    pub(crate) attributes: Option<&'a Arc<Attributes>>,
    pub(crate) place: Place,
    pub(crate) wait: Duration,
}

pub(crate) enum Place {
    Apart {
        stdio: [c_int; 3],
        limit: Option<DescriptorLimit>,
        passed: Option<Passed>,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) from: c_int,
    pub(crate) to: c_int,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Process,
    Session,
    Group,
    Limit,
    Attribute,
    Directory,
    Descriptors,
    Passed,
    Exec,
}

pub(crate) enum Started {
    Executed(i32),
    Late(Late),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    pub(crate) which: usize,
}

/// A child that has not executed its program yet.
#[derive(Debug)]
pub(crate) struct Late {
    pid: i32,
    /// What the simulated system knows it by, until there is an answer.
    serial: Option<u64>,
}

impl Late {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// A child that is killed leaves as one that executes something does.
    pub(crate) fn poll(&mut self, _spawner: &mut Spawner) -> Option<Result<(), Failure>> {
        let serial = self.serial?;
        let fate = world::called(|kernel| kernel.ask_late(serial));
        let answer = match fate {
            Fate::Pending => return None,
            Fate::Executed | Fate::Killed => Ok(()),
            Fate::Failed(failure) => Err(failure),
        };
        self.serial = None;
        Some(answer)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(serial) = self.serial {
            world::with_if_there_is_one(|kernel| kernel.late_is_dropped(serial));
        }
    }
}

pub(crate) struct Spawner {
    _null: Option<Arc<OwnedFd>>,
    unreaped: Vec<i32>,
}

impl Spawner {
    pub(crate) fn new(null: Option<Arc<OwnedFd>>) -> Result<Self, Errno> {
        Ok(Self {
            _null: null,
            unreaped: Vec::new(),
        })
    }

    pub(crate) fn spawn(&mut self, command: Command<'_>) -> Result<Started, Failure> {
        let Place::Apart { stdio, passed, .. } = command.place;
        let mut env = Vec::new();
        (command.variables)(&mut |variable| env.extend(variable.to_str().map(str::to_owned)));
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
        let mut words = Vec::new();
        (command.arguments)(&mut |word| words.push(word.to_string_lossy().into_owned()));
        let given = Given {
            socket: value("NOTIFY_SOCKET"),
            watchdog: value("WATCHDOG_USEC"),
            passed,
        };
        let (pid, serial) = world::spawn(name.as_deref(), &words, stdio, &given)?;
        world::wait_for_launch(serial, command.wait.as_nanos() as u64);
        match world::with(|kernel| kernel.ask(serial)) {
            Fate::Pending => Ok(Started::Late(Late {
                pid,
                serial: Some(serial),
            })),
            Fate::Executed | Fate::Killed => Ok(Started::Executed(pid)),
            Fate::Failed(failure) => {
                self.bury(pid);
                Err(failure)
            }
        }
    }

    pub(crate) fn take_warning(&mut self) -> Option<Error> {
        None
    }

    pub(crate) fn reap_failed(&mut self) {
        self.unreaped.retain(|&pid| is_there(pid));
    }

    pub(crate) fn has_unreaped(&self) -> bool {
        !self.unreaped.is_empty()
    }

    pub(crate) fn has_failed(&self, pid: i32) -> bool {
        self.unreaped.contains(&pid)
    }

    pub(crate) fn forget_failed(&mut self, pid: i32) -> bool {
        let before = self.unreaped.len();
        self.unreaped.retain(|&unreaped| unreaped != pid);
        self.unreaped.len() < before
    }

    pub(crate) fn bury(&mut self, pid: i32) {
        for _ in 0..BURIAL_LOOKS_MAX {
            if !is_there(pid) {
                return;
            }
            pause(BURIAL_PAUSE);
        }
        self.unreaped.push(pid);
    }
}

fn is_there(pid: i32) -> bool {
    match reap::look(pid, None) {
        Seen::Alive => true,
        Seen::Dead(_) => reap::reap(pid).is_none(),
        Seen::Stolen => false,
    }
}
