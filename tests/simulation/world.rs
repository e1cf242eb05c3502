//! What a kernel does: processes, groups and signals, with eight numbers for all of them.
//!
//! A number is free when no process has it, as its own or as its group's; the one that was given
//! back last is given out first, so that whoever holds on to it too long meets a stranger.

use crate::machine::Exit;

use crate::model::rng::Rng;

pub const PIDS: usize = 8;
/// As many again as there are programs at most, for the fair run: a start must not fail because
/// a group that may take for ever to stop has all the others.
const PIDS_FAIR: usize = PIDS + 6;

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// A process group, by its number and by what it is behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub number: usize,
    pub program: usize,
    /// Never used twice.
    serial: u32,
}

/// What a process does about a request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// It ends at once.
    Polite,
    /// It ends in its own time.
    Slow,
    /// It ignores it.
    Stubborn,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    group: Group,
    temper: Temper,
    /// It has not executed its program yet.
    new: bool,
    /// How it ended; it is a zombie then.
    ended: Option<Exit>,
    /// By SIGSTOP: requests wait for the SIGCONT.
    stopped: bool,
    /// A request that waits for the SIGCONT.
    pending: Option<i32>,
    /// It was asked, and is about to end.
    leaving: bool,
    /// In an uninterruptible wait: not even SIGKILL is seen.
    frozen: bool,
    /// It got SIGKILL while frozen.
    doomed: bool,
}

#[derive(Default)]
pub struct World {
    table: [Option<Process>; PIDS_FAIR],
    /// There is a number for each start.
    is_fair: bool,
    /// When each number was last in use.
    used: [u64; PIDS_FAIR],
    /// Which program each number named last.
    named: [Option<usize>; PIDS_FAIR],
    uses: u64,
    serial: u32,
    /// How often a group got the number of another program's.
    pub inherited: u64,
}

fn exit_by(signal: i32) -> Exit {
    Exit::Signal {
        signal,
        core_dumped: false,
    }
}

impl World {
    /// A new leader; `None` if there is no number for it. A late one is to execute its program.
    pub fn spawn(&mut self, program: usize, temper: Temper, late: bool) -> Option<Group> {
        let number = self.free_number()?;
        self.serial += 1;
        let group = Group {
            number,
            program,
            serial: self.serial,
        };
        self.place(number, group, temper);
        if let Some(process) = self.table[number].as_mut() {
            process.new = late;
        }
        self.inherited += u64::from(self.named[number].is_some_and(|named| named != program));
        self.named[number] = Some(program);
        Some(group)
    }

    /// A new member of its group, if this one can fork and there is a number.
    pub fn fork(&mut self, parent: usize, temper: Temper) -> bool {
        let forks = |process: &&Process| !process.new && !process.frozen && !process.stopped;
        let Some(group) = self
            .living(parent)
            .filter(forks)
            .map(|process| process.group)
        else {
            return false;
        };
        let Some(number) = self.free_number() else {
            return false;
        };
        self.place(number, group, temper);
        true
    }

    fn place(&mut self, number: usize, group: Group, temper: Temper) {
        self.table[number] = Some(Process {
            group,
            temper,
            new: false,
            ended: None,
            stopped: false,
            pending: None,
            leaving: false,
            frozen: false,
            doomed: false,
        });
    }

    fn free_number(&self) -> Option<usize> {
        let mut taken = [false; PIDS_FAIR];
        for (number, process) in self.table.iter().enumerate() {
            if let Some(process) = process {
                taken[number] = true;
                taken[process.group.number] = true;
            }
        }
        let numbers = if self.is_fair { PIDS_FAIR } else { PIDS };
        (0..numbers)
            .filter(|&number| !taken[number])
            .max_by_key(|&number| self.used[number])
    }

    fn living(&self, number: usize) -> Option<&Process> {
        self.table[number]
            .as_ref()
            .filter(|process| process.ended.is_none())
    }

    fn members(&self, group: Group) -> impl Iterator<Item = usize> {
        let table = &self.table;
        (0..PIDS_FAIR)
            .filter(move |&number| table[number].is_some_and(|process| process.group == group))
    }

    pub fn exists(&self, group: Group) -> bool {
        self.members(group).next().is_some()
    }

    pub fn has_process_of(&self, program: usize) -> bool {
        self.table
            .iter()
            .flatten()
            .any(|process| process.group.program == program)
    }

    fn leads(&self, number: usize) -> bool {
        self.living(number)
            .is_some_and(|process| process.group.number == number)
    }

    /// The living leaders.
    pub fn leaders(&self) -> Vec<usize> {
        (0..PIDS_FAIR)
            .filter(|&number| self.leads(number))
            .collect()
    }

    /// The living leader of this program.
    pub fn leader_of(&self, program: usize) -> Option<usize> {
        let is_its = |number: usize| {
            self.living(number)
                .is_some_and(|p| p.group.program == program)
        };
        (0..PIDS_FAIR).find(|&number| self.leads(number) && is_its(number))
    }

    /// Any number whose process lives, leader or not.
    pub fn any_living(&self, rng: &mut Rng) -> Option<usize> {
        let from = rng.index(PIDS);
        (0..PIDS)
            .map(|step| (from + step) % PIDS)
            .find(|&number| self.living(number).is_some())
    }

    /// Whether the leader of this group, dead or alive, has executed its program.
    pub fn has_executed(&self, group: Group) -> bool {
        self.table[group.number].is_some_and(|process| process.group == group && !process.new)
    }

    /// The living leaders that have not executed their program, and could.
    pub fn launching(&self) -> Vec<usize> {
        let could = |process: &Process| process.new && !process.frozen && !process.stopped;
        let could = |&number: &usize| self.living(number).is_some_and(could);
        (0..PIDS_FAIR).filter(could).collect()
    }

    /// A leader executes its program.
    pub fn execute(&mut self, number: usize) {
        if let Some(process) = self.table[number].as_mut() {
            process.new = false;
        }
    }

    /// How the leader of this group ended, while it is a zombie.
    pub fn zombie(&self, group: Group) -> Option<Exit> {
        let leader = self.table[group.number]
            .as_ref()
            .filter(|process| process.group == group)?;
        leader.ended
    }

    /// A process ends by itself. A leader stays as a zombie until it is reaped; of the others
    /// some do, as children of who does not look after them.
    pub fn end(&mut self, number: usize, exit: Exit, lingers: bool) {
        let Some(process) = self.table[number].as_mut() else {
            return;
        };
        if process.frozen || process.ended.is_some() {
            return;
        }
        let is_leader = process.group.number == number;
        process.ended = Some(exit);
        if !is_leader && !lingers {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: usize) {
        let Some(process) = self.table[number].take() else {
            return;
        };
        self.uses += 1;
        self.used[number] = self.uses;
        if !self.exists(process.group) {
            self.uses += 1;
            self.used[process.group.number] = self.uses;
        }
    }

    /// Takes the status of a dead leader.
    pub fn reap(&mut self, group: Group) {
        if self.zombie(group).is_some() {
            self.remove(group.number);
        }
    }

    /// kill(2) with a negative number: whoever has that number now. `None` if nobody has.
    pub fn signal(&mut self, number: usize, signal: i32) -> Option<Group> {
        let is_hit = |process: &&Process| process.group.number == number;
        let group = self.table.iter().flatten().find(is_hit)?.group;
        for member in 0..PIDS_FAIR {
            if self.table[member].is_some_and(|process| process.group == group) {
                self.hit(member, signal);
            }
        }
        Some(group)
    }

    fn hit(&mut self, number: usize, signal: i32) {
        let Some(process) = self.table[number]
            .as_mut()
            .filter(|process| process.ended.is_none())
        else {
            return;
        };
        match signal {
            SIGKILL if process.frozen => process.doomed = true,
            SIGKILL => self.end(number, exit_by(SIGKILL), false),
            SIGCONT => {
                process.stopped = false;
                if let Some(request) = process.pending.take() {
                    self.hit(number, request);
                }
            }
            _ if process.stopped => process.pending = Some(signal),
            _ => match process.temper {
                Temper::Polite if !process.frozen => self.end(number, exit_by(signal), false),
                Temper::Polite | Temper::Slow => process.leaving = true,
                Temper::Stubborn => {}
            },
        }
    }

    pub fn freeze(&mut self, number: usize) {
        if let Some(process) = self.table[number].as_mut() {
            process.frozen = process.ended.is_none();
        }
    }

    pub fn stop(&mut self, number: usize) {
        if let Some(process) = self.table[number].as_mut() {
            process.stopped = true;
        }
    }

    /// From now on no start fails because every number is taken.
    pub fn be_fair(&mut self) {
        self.is_fair = true;
    }

    /// What is frozen goes on; what was killed meanwhile dies.
    pub fn thaw(&mut self) {
        for number in 0..PIDS_FAIR {
            let Some(process) = self.table[number].as_mut() else {
                continue;
            };
            process.frozen = false;
            if process.doomed {
                self.end(number, exit_by(SIGKILL), false);
            }
        }
    }

    /// Those that were asked to end do, and zombies that are nobody's are taken away.
    pub fn tidy_up(&mut self) {
        for number in 0..PIDS_FAIR {
            let Some(process) = self.table[number] else {
                continue;
            };
            if process.leaving && !process.stopped {
                self.end(number, Exit::Code(0), false);
            }
            if process.ended.is_some() && process.group.number != number {
                self.remove(number);
            }
        }
    }

    /// The members of groups with a living leader finish their work.
    pub fn finish_members(&mut self) {
        for number in 0..PIDS_FAIR {
            let Some(process) = self.table[number] else {
                continue;
            };
            let led = self.living(process.group.number).is_some();
            if led && process.group.number != number {
                self.end(number, Exit::Code(0), false);
            }
        }
    }

    /// For the trace: each number in use, whose it is, and what it is.
    pub fn describe(&self) -> String {
        let describe = |(number, process): (usize, &Option<Process>)| {
            process.map(|process| {
                let Process {
                    group,
                    temper,
                    ended,
                    new,
                    stopped,
                    leaving,
                    frozen,
                    doomed,
                    ..
                } = process;
                let flags = [
                    (new, "N"),
                    (stopped, "T"),
                    (leaving, "L"),
                    (frozen, "D"),
                    (doomed, "K"),
                ];
                let flags: String = flags
                    .iter()
                    .filter(|flag| flag.0)
                    .map(|flag| flag.1)
                    .collect();
                let life =
                    ended.map_or_else(|| format!("{temper:?}"), |exit| format!("zombie {exit:?}"));
                format!(
                    "{number}[p{} group {} {life} {flags}]",
                    group.program, group.number
                )
            })
        };
        self.table
            .iter()
            .enumerate()
            .filter_map(describe)
            .collect::<Vec<_>>()
            .join(" ")
    }
}
