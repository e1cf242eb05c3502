//! What the programs come to: whether everything has been started, and one line for people. It is
//! kept by what changes, so that no turn looks at all programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use procsched::{ProgramState, ProgramStatus};

/// The most programs that the line names of each state. With names of the longest kind the line
/// stays below 2 KiB; systemd ignores a message of more than 4 KiB.
const NAMES_MAX: usize = 4;

/// The states in the order of the line, and whether it names their programs: those that need a look.
const STATES: [(ProgramState, bool); 9] = [
    (ProgramState::Running, false),
    (ProgramState::Starting, true),
    (ProgramState::Pending, true),
    (ProgramState::Backoff, true),
    (ProgramState::Stopping, true),
    (ProgramState::Failed, true),
    (ProgramState::Abandoned, true),
    (ProgramState::Exited, false),
    (ProgramState::Stopped, false),
];

/// The state of every program.
#[derive(Debug, Default)]
pub struct Summary {
    programs: BTreeMap<Arc<str>, Place>,
    /// The programs of each of [`STATES`].
    names: [BTreeSet<Arc<str>>; STATES.len()],
    /// The number of programs that are on their way up.
    rising: usize,
}

/// Where a program is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its index in [`STATES`].
    state: usize,
    is_rising: bool,
}

impl Summary {
    /// Takes in how a program is, or that it is there no more.
    pub fn set(&mut self, name: &Arc<str>, status: Option<&ProgramStatus>) {
        let place = status.and_then(|status| place(status.state(), status.is_blocked()));
        self.put(name, place);
    }

    fn put(&mut self, name: &Arc<str>, place: Option<Place>) {
        let before = match place {
            Some(place) => self.programs.insert(name.clone(), place),
            None => self.programs.remove(name),
        };
        if before == place {
            return;
        }
        if let Some(before) = before {
            self.names[before.state].remove(name);
            self.rising -= usize::from(before.is_rising);
        }
        if let Some(place) = place {
            self.names[place.state].insert(name.clone());
            self.rising += usize::from(place.is_rising);
        }
    }

    /// True if no program is on its way up: none is starting, or pending and able to come up.
    pub fn is_settled(&self) -> bool {
        self.rising == 0
    }

    /// Returns the line: `12 running, 1 backoff: web`.
    pub fn line(&self) -> String {
        let states = STATES.iter().zip(&self.names);
        let states = states.filter(|(_, names)| !names.is_empty());
        let parts = states.map(|((state, is_named), names)| {
            let count = names.len();
            let shown = if *is_named { NAMES_MAX } else { 0 };
            let mut part = format!("{count} {state}");
            for (index, name) in names.iter().take(shown).enumerate() {
                part.push_str(if index == 0 { ": " } else { " " });
                part.push_str(name);
            }
            if *is_named && count > shown {
                part.push_str(" …");
            }
            part
        });
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => "no programs".to_owned(),
            false => parts.join(", "),
        }
    }
}

/// Returns where a program of this state is counted; nowhere if the state is newer than the list.
fn place(state: ProgramState, is_blocked: bool) -> Option<Place> {
    let index = STATES.iter().position(|(known, _)| *known == state)?;
    let is_rising = match state {
        ProgramState::Starting => true,
        ProgramState::Pending => !is_blocked,
        _ => false,
    };
    Some(Place {
        state: index,
        is_rising,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(summary: &mut Summary, name: &str, state: ProgramState, is_blocked: bool) {
        summary.put(&Arc::from(name), place(state, is_blocked));
    }

    #[test]
    fn a_line_counts_all_and_names_those_that_need_a_look() {
        let mut summary = Summary::default();
        assert_eq!(summary.line(), "no programs");
        for number in 0..12 {
            put(
                &mut summary,
                &format!("app@{number}"),
                ProgramState::Running,
                false,
            );
        }
        put(&mut summary, "web", ProgramState::Backoff, false);
        assert_eq!(summary.line(), "12 running, 1 backoff: web");
        put(&mut summary, "report", ProgramState::Stopped, false);
        put(&mut summary, "migrate", ProgramState::Exited, false);
        put(&mut summary, "app@3", ProgramState::Backoff, false);
        let line = "11 running, 2 backoff: app@3 web, 1 exited, 1 stopped";
        assert_eq!(summary.line(), line);
        for number in 4..9 {
            let name = format!("app@{number}");
            put(&mut summary, &name, ProgramState::Failed, false);
        }
        let line = "6 running, 2 backoff: app@3 web, 5 failed: app@4 app@5 app@6 app@7 …, \
                    1 exited, 1 stopped";
        assert_eq!(summary.line(), line);
    }

    #[test]
    fn a_line_of_the_longest_names_is_short_enough_for_systemd() {
        let mut summary = Summary::default();
        for (state, _) in STATES {
            for number in 0..10_000 {
                let name = format!("{state}{number:0>50}");
                put(&mut summary, &format!("{name:x<64}"), state, false);
            }
        }
        assert!(summary.line().len() < 2048, "{}", summary.line());
    }

    /// A program that waits for one that has failed must not delay the readiness for ever.
    #[test]
    fn what_cannot_come_up_is_not_waited_for() {
        let mut summary = Summary::default();
        assert!(summary.is_settled());
        put(&mut summary, "db", ProgramState::Starting, false);
        put(&mut summary, "web", ProgramState::Pending, false);
        assert!(!summary.is_settled());
        put(&mut summary, "db", ProgramState::Failed, false);
        assert!(!summary.is_settled());
        put(&mut summary, "web", ProgramState::Pending, true);
        assert!(summary.is_settled());
        put(&mut summary, "db", ProgramState::Starting, false);
        put(&mut summary, "web", ProgramState::Pending, false);
        put(&mut summary, "db", ProgramState::Running, false);
        put(&mut summary, "web", ProgramState::Starting, false);
        assert!(!summary.is_settled());
        put(&mut summary, "web", ProgramState::Backoff, false);
        assert!(summary.is_settled());
    }

    #[test]
    fn what_is_removed_is_neither_counted_nor_waited_for() {
        let mut summary = Summary::default();
        put(&mut summary, "web", ProgramState::Starting, false);
        summary.put(&Arc::from("web"), None);
        summary.put(&Arc::from("other"), None);
        assert!(summary.is_settled());
        assert_eq!(summary.line(), "no programs");
    }
}
