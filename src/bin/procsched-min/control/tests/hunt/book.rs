//! What has to become of each program, by the orders in the sequence in which the server takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use procsched::{ProcessScheduler, ProgramState, ProgramStatus};
use serde_json::Value;

use super::ask::Order;

/// What a program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs until a signal.
    Sleeper,
    /// The same, but for SIGTERM.
    Stubborn,
    /// It succeeds at once, and is not restarted.
    Once,
    /// It fails at once, and its next start is far away.
    Failing,
}

impl Role {
    /// Returns its state some time after its start.
    fn rest(self) -> ProgramState {
        match self {
            Self::Sleeper | Self::Stubborn => ProgramState::Running,
            Self::Once => ProgramState::Exited,
            Self::Failing => ProgramState::Backoff,
        }
    }

    /// Returns its state after a signal.
    fn crash(self) -> ProgramState {
        match self {
            Self::Once => ProgramState::Failed,
            _ => ProgramState::Backoff,
        }
    }
}

/// What is known of a program.
#[derive(Debug)]
struct Page {
    name: &'static str,
    role: Role,
    /// The states in which it may come to rest.
    states: BTreeSet<String>,
    /// Those of orders that may be given to it later than they are reported.
    floating: BTreeSet<String>,
    /// True if a signal may end its run that is not seen to end yet.
    is_struck: bool,
    /// True if an order may have changed it since it was last compared.
    is_disturbed: bool,
    /// True if an order has ended its run since then.
    is_ended: bool,
    /// Its run when it was compared.
    pid: Option<i32>,
    last_start: Option<SystemTime>,
    restarts: u64,
}

impl Page {
    fn new(name: &'static str, role: Role, is_started: bool) -> Self {
        let state = match is_started {
            true => role.rest(),
            false => ProgramState::Stopped,
        };
        Self {
            name,
            role,
            states: BTreeSet::from([state.to_string()]),
            floating: BTreeSet::new(),
            is_struck: false,
            is_disturbed: true,
            is_ended: false,
            pid: None,
            last_start: None,
            restarts: 0,
        }
    }

    fn take(&mut self, order: &Order, is_late: bool) {
        let rest = self.role.rest().to_string();
        let stopped = ProgramState::Stopped.to_string();
        let is_up = self.states.len() == 1 && self.states.contains(&rest);
        let has_run = matches!(self.role, Role::Sleeper | Role::Stubborn);
        match order.verb {
            "signal" if order.is_deadly => return self.strike(),
            "signal" => return,
            // It runs already.
            "start" if is_up && has_run && !self.is_struck => {}
            "start" => {
                self.is_disturbed = true;
                match self.is_struck {
                    // Whether its run was seen to end before is not known.
                    true => self.states = BTreeSet::from([rest.clone(), self.crash()]),
                    false => self.states = BTreeSet::from([rest.clone()]),
                }
            }
            "restart" => {
                (self.is_disturbed, self.is_ended, self.is_struck) = (true, true, false);
                self.states = BTreeSet::from([rest.clone()]);
            }
            _ => {
                self.is_struck = false;
                if !(self.states.len() == 1 && self.states.contains(&stopped)) {
                    (self.is_disturbed, self.is_ended) = (true, true);
                }
                self.states = BTreeSet::from([stopped.clone()]);
            }
        }
        self.states.extend(self.floating.iter().cloned());
        if is_late {
            let is_stop = matches!(order.verb, "stop" | "kill");
            self.floating.insert(if is_stop { stopped } else { rest });
        }
    }

    fn crash(&self) -> String {
        self.role.crash().to_string()
    }

    fn strike(&mut self) {
        let stopped = ProgramState::Stopped.to_string();
        if self.states.len() == 1 && self.states.contains(&stopped) {
            return;
        }
        let runs = !self.is_disturbed && self.pid.is_some();
        if !self.is_disturbed && self.pid.is_none() {
            return;
        }
        if runs {
            self.states.clear();
        }
        self.states.insert(self.crash());
        self.states.extend(self.floating.iter().cloned());
        (self.is_struck, self.is_disturbed) = (true, true);
    }

    /// Returns what is not as it should be, or not yet.
    fn difference(&self, status: &ProgramStatus) -> Option<String> {
        let state = status.state().to_string();
        let (name, pid) = (self.name, status.pid());
        let same = (self.pid, self.last_start, self.restarts);
        if !self.is_disturbed && same != (pid, status.last_start(), status.restarts()) {
            return Some(format!(
                "no order was for {name}, and its run {:?} is {pid:?} now, after {} restarts",
                self.pid,
                status.restarts()
            ));
        }
        if !self.states.contains(&state) {
            let before = (self.pid, self.restarts);
            let now = (pid, status.restarts(), status.last_exit());
            let states = &self.states;
            return Some(format!(
                "{name} is {state}, and not {states:?}: {before:?} before, now {now:?}"
            ));
        }
        let is_wanted = matches!(
            status.state(),
            ProgramState::Running | ProgramState::Backoff
        );
        if status.is_wanted() != is_wanted {
            return Some(format!("the goal of {name} is not that of {state}"));
        }
        if self.is_ended && pid.is_some() && pid == self.pid {
            return Some(format!("{name} has kept its run {pid:?}"));
        }
        None
    }

    /// Takes over what has become of it.
    fn settle(&mut self, status: &ProgramStatus) {
        let state = status.state();
        self.floating.clear();
        self.is_ended = false;
        self.pid = status.pid();
        self.last_start = status.last_start();
        self.restarts = status.restarts();
        if self.is_struck && state != self.role.crash() {
            // The signal may have been for the run before, or this one is about to end.
            return;
        }
        self.is_struck = false;
        self.is_disturbed = false;
        self.states = BTreeSet::from([state.to_string()]);
    }
}

/// What is known of an order.
#[derive(Debug, Default)]
struct Entry {
    order: Option<Order>,
    sent: usize,
    taken: usize,
    needed: usize,
    is_refused: bool,
}

/// What was sent whole, what the server has taken, and what has to become of it.
pub struct Book {
    pages: Vec<Page>,
    entries: BTreeMap<String, Entry>,
}

impl Book {
    pub fn new(programs: &[(&'static str, Role, bool)]) -> Self {
        let pages = programs.iter();
        let pages = pages.map(|(name, role, is_started)| Page::new(name, *role, *is_started));
        Self {
            pages: pages.collect(),
            entries: BTreeMap::new(),
        }
    }

    /// Returns the entry of an order; those for one program by its name are all the same.
    fn entry(&mut self, order: &Order) -> &mut Entry {
        let name = || format!("{} {}", order.verb, self.pages[order.programs[0]].name);
        let key = order.tag.clone().unwrap_or_else(name);
        self.entries.entry(key).or_default()
    }

    /// Takes in that an order was sent whole.
    pub fn sent(&mut self, order: &Order) {
        let entry = self.entry(order);
        entry.sent += 1;
        entry.order = Some(order.clone());
    }

    /// Takes in that an order has to be carried out, as its answer or its place says.
    pub fn needs(&mut self, order: &Order) {
        let is_tagged = order.tag.is_some();
        let entry = self.entry(order);
        entry.needed += 1;
        if is_tagged {
            entry.needed = 1;
        }
    }

    /// Takes in that an order was refused.
    pub fn refuse(&mut self, order: &Order) {
        match order.tag {
            Some(_) => self.entry(order).is_refused = true,
            None => self.entry(order).sent -= 1,
        }
    }

    /// Takes in the event of an order.
    pub fn event(&mut self, event: &Value) -> Result<(), String> {
        let verb = event["order"].as_str().unwrap_or_default();
        let programs: Vec<&str> = event["programs"].as_array().map_or_else(Vec::new, |names| {
            names.iter().filter_map(Value::as_str).collect()
        });
        if matches!(verb, "reload" | "reopen" | "shutdown") {
            return Ok(());
        }
        let tag = programs.iter().find_map(|text| tag(text));
        let key = tag.unwrap_or_else(|| format!("{verb} {}", programs.join(" ")));
        let entry = self.entries.get_mut(&key);
        let entry = entry.filter(|entry| entry.taken < entry.sent);
        let entry = entry.ok_or_else(|| format!("an order that was not sent whole: {event}"))?;
        entry.taken += 1;
        let order = entry.order.clone().expect("it was sent");
        if order.verb != verb {
            return Err(format!("another order than {order:?}: {event}"));
        }
        for (index, program) in order.programs.iter().enumerate() {
            self.pages[*program].take(&order, order.is_split && index > 0);
        }
        Ok(())
    }

    /// Returns what is not as it should be, or not yet.
    pub fn difference(&self, scheduler: &ProcessScheduler) -> Option<String> {
        for (key, entry) in &self.entries {
            let (taken, needed) = (entry.taken, entry.needed);
            if taken < needed {
                return Some(format!("order {key} was taken {taken} times of {needed}"));
            }
            if entry.is_refused && taken > 0 {
                return Some(format!("order {key} was refused, and carried out"));
            }
        }
        let status = |page: &Page| scheduler.program(page.name).expect("it is known");
        let mut pages = self.pages.iter();
        pages.find_map(|page| page.difference(&status(page)))
    }

    /// Takes over what has become of the programs.
    pub fn settle(&mut self, scheduler: &ProcessScheduler) {
        for page in &mut self.pages {
            page.settle(&scheduler.program(page.name).expect("it is known"));
        }
    }
}

/// Returns the tag that is a name of its own, or in the set of a glob.
fn tag(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let is_tag = digits.len() == 6 && !text.starts_with("zulu");
    is_tag.then_some(digits)
}
