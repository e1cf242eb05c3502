//! A kernel with two process numbers.
//!
//! A number is free when no process has it, as its own or as its group's. Whoever is alive may
//! die at any time; who got SIGKILL will, some time.

pub const PIDS: usize = 2;

const SIGKILL: i32 = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub program: usize,
    /// The number of its leader.
    pub group: usize,
    /// It has not executed its program yet.
    pub new: bool,
    pub killed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct World {
    pub table: [Option<Process>; PIDS],
}

impl World {
    pub fn free_number(&self) -> Option<usize> {
        let taken = |number: usize| {
            let names = |process: &Process| process.group == number;
            self.table[number].is_some() || self.table.iter().flatten().any(names)
        };
        (0..PIDS).find(|&number| !taken(number))
    }

    /// A new process in its own group, or in that of a program's leader.
    pub fn place(&mut self, number: usize, program: usize, group: usize) {
        self.table[number] = Some(Process {
            program,
            group,
            new: false,
            killed: false,
        });
    }

    /// Whether a leader has executed its program yet.
    pub fn set_new(&mut self, group: usize, new: bool) {
        if let Some(leader) = &mut self.table[group] {
            leader.new = new;
        }
    }

    pub fn leader(&self, group: usize) -> Option<Process> {
        self.table[group].filter(|process| process.group == group)
    }

    /// The number of a process of this group that does not lead it.
    pub fn member(&self, group: usize) -> Option<usize> {
        let is_member = |number: usize| {
            self.table[number].is_some_and(|process| process.group == group && number != group)
        };
        (0..PIDS).find(|&number| is_member(number))
    }

    pub fn is_killed(&self, number: usize) -> bool {
        self.table[number].is_some_and(|process| process.killed)
    }

    /// The program whose group has this number.
    pub fn owner(&self, group: usize) -> Option<usize> {
        let mut processes = self.table.iter().flatten();
        let found = processes.find(|process| process.group == group);
        found.map(|process| process.program)
    }

    pub fn has_process_of(&self, program: usize) -> bool {
        self.table
            .iter()
            .flatten()
            .any(|process| process.program == program)
    }

    pub fn is_empty(&self) -> bool {
        self.table == [None; PIDS]
    }

    /// Of all signals SIGKILL alone leaves nobody a choice.
    pub fn signal(&mut self, group: usize, signal: i32) {
        let table = self.table.iter_mut().flatten();
        for process in table.filter(|process| process.group == group) {
            process.killed |= signal == SIGKILL;
        }
    }

    pub fn remove(&mut self, number: usize) {
        self.table[number] = None;
    }
}
