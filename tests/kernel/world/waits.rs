//! Who died: looks, reaps, and descriptors that stand for processes.

use std::collections::BTreeSet;
use std::os::fd::{FromRawFd, OwnedFd};

use super::pipes::Descriptor;
use super::process::{Parent, Process, Whose};
use super::{Call, Kernel, OTHERS_DESCRIPTORS_FROM};
use crate::machine::Exit;

/// What a wait for one child finds.
pub enum Waited {
    Alive,
    Dead(Exit),
}

type Found = Result<Option<(i32, Exit)>, i32>;

impl Kernel {
    /// waitid(2), P_ALL: the oldest child of ours that is dead.
    pub fn peek(&mut self) -> Found {
        let found = self.oldest_dead();
        self.was_seen(&found);
        found
    }

    fn was_seen(&mut self, found: &Found) {
        if let Ok(Some((pid, _))) = found
            && let Whose::Run(run) = self.processes[pid].whose
            && self.runs[run].pid == *pid
        {
            self.run_is_seen(run);
        }
    }

    fn oldest_dead(&self) -> Found {
        let mut ours = self.ours();
        ours.sort_unstable_by_key(|(_, process)| process.adopted);
        if ours.is_empty() {
            return Err(libc::ECHILD);
        }
        let dead = ours
            .iter()
            .find_map(|(pid, process)| Some((*pid, process.ended?)));
        Ok(dead)
    }

    fn ours(&self) -> Vec<(i32, &Process)> {
        let all = self.processes.iter().map(|(&pid, process)| (pid, process));
        all.filter(|(_, process)| process.parent == Parent::Us)
            .collect()
    }

    pub fn look(&mut self, pid: i32) -> Found {
        let found = self.find(pid);
        self.was_seen(&found);
        found
    }

    fn find(&self, pid: i32) -> Found {
        match self
            .processes
            .get(&pid)
            .filter(|process| process.parent == Parent::Us)
        {
            None => Err(libc::ECHILD),
            Some(process) => Ok(process.ended.map(|exit| (pid, exit))),
        }
    }

    pub fn look_by_pidfd(&mut self, fd: i32) -> Found {
        let Some((pid, serial)) = self.behind(fd) else {
            return Err(libc::EBADF);
        };
        match self
            .processes
            .get(&pid)
            .filter(|process| process.serial == serial)
        {
            None => Err(libc::ECHILD),
            Some(_) => self.look(pid),
        }
    }

    /// waitpid(2), WNOHANG.
    pub fn reap(&mut self, pid: i32) -> Result<Waited, i32> {
        let Some((_, exit)) = self.find(pid)? else {
            return Ok(Waited::Alive);
        };
        if self.unreapable == Some(pid) {
            return Err(libc::ECHILD);
        }
        self.acts += 1;
        self.say(format_args!("reaped    {pid}: {exit:?}"));
        let whose = self.processes[&pid].whose;
        let is_leader = matches!(whose, Whose::Run(run) if self.runs[run].pid == pid
            && self.runs[run].serial == self.processes[&pid].serial);
        let is_command = matches!(whose, Whose::Command | Whose::New(_));
        // A command that checks may leave a child.
        let is_forked = whose == Whose::Command && self.processes[&pid].group != pid;
        if !is_leader && (!is_command || is_forked) {
            self.strays.push(pid);
        }
        self.judge_check_reap(pid, self.processes[&pid].serial);
        self.gone_for_good(pid);
        Ok(Waited::Dead(exit))
    }

    /// A child of ours was reaped, by whomever.
    pub(super) fn gone_for_good(&mut self, pid: i32) {
        let process = &self.processes[&pid];
        if let Whose::Run(run) = process.whose
            && self.runs[run].serial == process.serial
        {
            let rotated = self.rotated(self.runs[run].program);
            let run = &mut self.runs[run];
            run.reaped = true;
            run.rotated_at_reap = rotated;
            run.written_at_reap = self.pipes[run.pipe].written;
            run.stdout_at_reap = run.stdout.map_or(0, |pipe| self.pipes[pipe].written);
        }
        self.remove(pid);
    }

    /// All our children, dead or alive, in the order in which they came to us.
    pub fn our_children(&self) -> Vec<i32> {
        let mut ours = self.ours();
        ours.sort_unstable_by_key(|(_, process)| process.adopted);
        ours.into_iter().map(|(pid, _)| pid).collect()
    }

    /// The program that the environment of this process names, if it can be read.
    pub fn name_in_environ(&self, pid: i32) -> Option<String> {
        let process = self.processes.get(&pid).filter(|process| process.lives())?;
        process.named.map(|index| self.programs[index].name.clone())
    }

    /// Those of these groups whose members are all zombies; with `reaps_all` none of which is ours.
    pub fn zombies_only(&self, groups: &BTreeSet<i32>, reaps_all: bool) -> BTreeSet<i32> {
        let all = self.processes.values().map(|process| process.group);
        let mut found: BTreeSet<i32> = all.filter(|group| groups.contains(group)).collect();
        for (_, process) in self.living() {
            found.remove(&process.group);
        }
        for (_, process) in self.ours().iter().filter(|_| reaps_all) {
            found.remove(&process.group);
        }
        found
    }

    fn behind(&self, fd: i32) -> Option<(i32, u64)> {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Process { pid, serial }) => Some((pid, serial)),
            _ => None,
        }
    }

    /// pidfd_open(2), as an eventfd that is readable from the death on.
    pub fn pidfd_open(&mut self, pid: i32) -> Result<i32, i32> {
        if self.weather.no_pidfd {
            return Err(libc::ENOSYS);
        }
        if let Some(errno) = self.fault(Call::Pidfd) {
            return Err(errno);
        }
        if pid as u32 == std::process::id() {
            return self.pidfd_of_ourselves();
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            return Err(libc::ESRCH);
        };
        let is_dead = u32::from(!process.lives());
        // SAFETY: plain numbers. The first descriptor is handed to the library, the copy is ours.
        let fd = unsafe {
            let fd = real_libc::eventfd(is_dead, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            let copy = real_libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, OTHERS_DESCRIPTORS_FROM);
            assert!(fd >= 0 && copy >= 0, "descriptors for a pidfd");
            process.pidfds.push(OwnedFd::from_raw_fd(copy));
            fd
        };
        let serial = process.serial;
        if fd as u64 >= self.weather.descriptors_max {
            // SAFETY: just made, and nobody's.
            unsafe { real_libc::close(fd) };
            return Err(libc::EMFILE);
        }
        self.descriptors
            .insert(fd, Descriptor::Process { pid, serial });
        Ok(fd)
    }

    /// A pidfd of the test process itself, which has no number in this world.
    fn pidfd_of_ourselves(&mut self) -> Result<i32, i32> {
        // SAFETY: plain numbers; the descriptor is handed to the library.
        let fd = unsafe { real_libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd as u64 >= self.weather.descriptors_max {
            // SAFETY: just made, and not handed out.
            unsafe { real_libc::close(fd) };
            return Err(libc::EMFILE);
        }
        self.descriptors.insert(fd, Descriptor::Ourselves);
        Ok(fd)
    }

    /// Signals the whole group whose leader this is, or was, without its number; or ourselves, as
    /// a trial.
    pub fn pidfd_send_signal(&mut self, fd: i32, signal: i32, flags: u32) -> Result<(), i32> {
        const THREAD_GROUP: u32 = 1 << 1;
        const PROCESS_GROUP: u32 = 1 << 2;
        if let Some(errno) = self.weather.no_group_pidfd {
            return Err(errno);
        }
        if matches!(self.descriptors.get(&fd), Some(Descriptor::Ourselves)) {
            assert_eq!((signal, flags), (0, THREAD_GROUP), "a trial only");
            return Ok(());
        }
        assert_eq!(flags, PROCESS_GROUP, "the only flag in use");
        let Some((pid, serial)) = self.behind(fd) else {
            return Err(libc::EBADF);
        };
        // The group of a leader that is gone may be another's by now, even of a process of the same
        // run that has left, and then is none of these.
        let run = self.runs.iter().position(|run| run.serial == serial);
        let members = self.members(pid).into_iter();
        let is_of_run = |pid: &i32| match (self.processes[pid].whose, run) {
            (Whose::Run(of), Some(run)) => of == run && !self.processes[pid].left,
            (Whose::New(_), None) => self.processes[pid].serial == serial,
            _ => false,
        };
        let members: Vec<i32> = members.filter(is_of_run).collect();
        self.send(members, signal)
    }
}
