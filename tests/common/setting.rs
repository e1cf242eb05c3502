//! What a supervisor is started with besides its config: limits, a mount, a user. Each is set
//! between fork and exec, so that no other program has to be there for it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};

/// The settings of a scene; none at first.
#[derive(Clone, Default)]
pub struct Setting {
    limits: Vec<(Resource, u64, u64)>,
    /// Places for a file system in memory, and its options.
    mounts: Vec<(CString, CString, MsFlags)>,
    user: Option<u32>,
    /// The numbers of the capabilities that it keeps as that user.
    kept: Vec<u8>,
}

impl Setting {
    /// Sets a resource limit, soft and hard.
    pub fn limit(&mut self, resource: Resource, soft: u64, hard: u64) {
        self.limits.push((resource, soft, hard));
    }

    /// Mounts a file system in memory for the supervisor alone.
    pub fn mount(&mut self, place: &Path, options: &str, flags: MsFlags) {
        let place = CString::new(place.as_os_str().as_bytes()).expect("a path without NUL");
        let options = CString::new(options).expect("options without NUL");
        self.mounts.push((place, options, flags));
    }

    /// Makes it run as this user and group, and in no other group.
    pub fn user(&mut self, user: u32) {
        self.user = Some(user);
    }

    /// Lets it, and what it executes, keep these capabilities as the user: by their numbers, below 32.
    pub fn keep(&mut self, capabilities: &[u8]) {
        self.kept = capabilities.to_vec();
    }

    /// Has the command do all that before its exec. `has_mounts` says whether it has a mount
    /// namespace of its own already.
    pub fn apply(&self, command: &mut Command, has_mounts: bool) {
        let setting = self.clone();
        // SAFETY: system calls on what was made before; nothing is allocated.
        unsafe { command.pre_exec(move || setting.set(has_mounts)) };
    }

    fn set(&self, has_mounts: bool) -> io::Result<()> {
        const NONE: Option<&CStr> = None;
        if !self.mounts.is_empty() && !has_mounts {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(NONE, c"/", NONE, private, NONE)?;
        }
        for (place, options, flags) in &self.mounts {
            mount(NONE, &**place, Some(c"tmpfs"), *flags, Some(&**options))?;
        }
        for &(resource, soft, hard) in &self.limits {
            setrlimit(resource, soft, hard)?;
        }
        if let Some(user) = self.user {
            // SAFETY: plain numbers, and no list of groups.
            let set = unsafe {
                libc::prctl(libc::PR_SET_KEEPCAPS, i32::from(!self.kept.is_empty())) == 0
                    && libc::setgroups(0, std::ptr::null()) == 0
                    && libc::setgid(user) == 0
                    && libc::setuid(user) == 0
            };
            if !set || !self.raise_kept() {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Makes the capabilities effective, and has an exec keep them.
    fn raise_kept(&self) -> bool {
        const VERSION_3: u32 = 0x2008_0522;
        let (this_process, none) = (0, 0_u32);
        let mask = self
            .kept
            .iter()
            .fold(0_u32, |mask, number| mask | 1 << number);
        let header = [VERSION_3, this_process];
        let sets = [[mask; 3], [none; 3]];
        // SAFETY: two live structures as capset(2) has them.
        let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
        let raise = |&number: &u8| {
            let (how, number) = (libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(number));
            // SAFETY: plain numbers.
            unsafe { libc::prctl(libc::PR_CAP_AMBIENT, how, number, 0, 0) == 0 }
        };
        self.kept.is_empty() || set == 0 && self.kept.iter().all(raise)
    }
}
