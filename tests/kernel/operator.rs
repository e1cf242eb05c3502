//! An operator who gives orders for one program between two turns, and knows what the answer to each
//! has to be.

use super::driver::{Account, Check, Driver, descriptors};
use super::setting::{NAMES, any_spec, with_signs, with_streams};
use super::world::{self, Call, Removal, Verb};
use crate::error::{Error, ErrorKind};
use crate::spec::ChildSpec;

/// Programs at a time.
const PROGRAMS_MAX: usize = 4;

impl Driver {
    pub(super) fn give_some_order(&mut self) -> Check {
        // Whether orders are still taken is known only in the next turn if everything has just ended or
        // a stop was asked for.
        let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
        if (self.is_to_end() || is_asked) && !self.takes_no_orders() {
            return Ok(());
        }
        let name = self.rng.pick(&NAMES);
        let verb = match self.rng.below(12) {
            0 | 1 => Verb::Start,
            2 | 3 => Verb::Stop,
            4 | 5 => Verb::Restart,
            6 => Verb::Kill,
            7 | 8 => Verb::Remove,
            _ => return self.add_some(name),
        };
        self.order(verb, name)
    }

    /// The program that has this name now.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        let there = self.there();
        there
            .into_iter()
            .find(|&index| self.setting.specs[index].name() == name)
    }

    /// The programs that are there, those that are being removed too.
    pub(super) fn there(&self) -> Vec<usize> {
        let names = self.scheduler.programs();
        let is_there = |name: &str| names.iter().any(|program| program.name() == name);
        let all = 0..self.setting.specs.len();
        // Of two with one name the former was removed, and the host may not have been told yet.
        let is_latest = |index: &usize| {
            let name = self.setting.specs[*index].name();
            let later = &self.setting.specs[index + 1..];
            is_there(name) && later.iter().all(|spec| spec.name() != name)
        };
        all.filter(is_latest).collect()
    }

    pub(super) fn takes_no_orders(&self) -> bool {
        self.is_ending || self.scheduler.is_stopping()
    }

    pub(super) fn is_being_removed(&self, index: usize) -> bool {
        world::with(|kernel| kernel.programs[index].removal != Removal::No)
    }

    /// How an order for one that is there is refused, if it is.
    fn refusal(&self, verb: Verb, index: Option<usize>) -> Option<ErrorKind> {
        if self.takes_no_orders() {
            return Some(ErrorKind::Stopping);
        }
        let Some(index) = index else {
            return Some(ErrorKind::UnknownProgram);
        };
        if self.is_being_removed(index) {
            return Some(ErrorKind::Stopping);
        }
        let there = self.there();
        let dependents = world::with(|kernel| kernel.dependents(index));
        let is_needed = dependents
            .iter()
            .any(|&other| there.contains(&other) && !self.is_being_removed(other));
        (verb == Verb::Remove && is_needed).then_some(ErrorKind::Invalid)
    }

    pub(super) fn order(&mut self, verb: Verb, name: &str) -> Check {
        let index = self.index_of(name);
        let expected = self.refusal(verb, index);
        let was_ordered =
            index.is_some_and(|index| world::with(|kernel| kernel.was_ordered(index)));
        if let (None, Some(index)) = (expected, index) {
            world::with(|kernel| kernel.is_ordered(index, verb));
        } else {
            world::with(|kernel| kernel.counts.refused += 1);
        }
        let given = match verb {
            Verb::Start => self.scheduler.start_program(name),
            Verb::Stop => self.scheduler.stop_program(name),
            Verb::Restart => self.scheduler.restart_program(name),
            Verb::Kill => self.scheduler.kill_program(name),
            Verb::Remove => self.scheduler.remove(name),
        };
        let error = given.err();
        let refused = error.as_ref().map(Error::kind);
        // A stop may arrive during the call.
        let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
        if is_asked && refused == Some(ErrorKind::Stopping) {
            if let (None, Some(index)) = (expected, index) {
                world::with(|kernel| kernel.is_refused(index, verb, was_ordered));
            }
            return Ok(());
        }
        if refused != expected {
            return Err(format!(
                "{verb:?} {name} was refused with {refused:?}, and {expected:?} was expected"
            ));
        }
        self.is_named(name, error.as_ref())?;
        if let Some(index) = index
            && verb == Verb::Remove
            && !self.names().iter().any(|there| there == name)
        {
            self.its_log_ends(index);
        }
        match index {
            Some(index) if refused.is_none() && verb != Verb::Start => {
                world::with(|kernel| kernel.check_is_signalled(index))
            }
            _ => Ok(()),
        }
    }

    /// What is refused for the sake of one program is refused with its name.
    fn is_named(&self, name: &str, error: Option<&Error>) -> Check {
        match error {
            Some(error) if !self.takes_no_orders() && !error.to_string().contains(name) => Err(
                format!("an order for {name} was refused without its name: {error}"),
            ),
            _ => Ok(()),
        }
    }

    fn add_some(&mut self, name: &str) -> Check {
        let there = self.there();
        let is_there = self.index_of(name).is_some();
        if there.len() >= PROGRAMS_MAX && !is_there {
            return Ok(());
        }
        // One that is replaced may be what those after it depend on, or will: nothing is after it.
        let names: Vec<String> = there
            .iter()
            .map(|&index| self.setting.specs[index].name().to_owned())
            .collect();
        let mut others: Vec<&str> = names.iter().map(String::as_str).collect();
        others.retain(|&other| other != name || self.rng.one_in(16));
        if self.rng.one_in(2) {
            others.clear();
        } else if self.rng.one_in(16) {
            others = vec!["nothing"];
        }
        let directory = self.directory.clone();
        let mut spec = any_spec(&mut self.rng, name, &others, &directory);
        if self.setting.has_signs {
            spec = with_signs(spec, &mut self.rng, &directory);
        }
        if self.setting.has_streams {
            spec = with_streams(spec, &mut self.rng);
        }
        if self.rng.one_in(4) {
            // The same again.
            let known = self
                .setting
                .specs
                .iter()
                .rfind(|known| known.name() == name);
            let linked = |spec: &ChildSpec| !(spec.requires.is_empty() && spec.after.is_empty());
            spec = known
                .filter(|known| !linked(known))
                .cloned()
                .unwrap_or(spec);
        }
        self.add(spec)
    }

    /// How this one is refused, whatever the system does.
    fn refusal_of(&self, spec: &ChildSpec) -> Option<ErrorKind> {
        if self.takes_no_orders() {
            return Some(ErrorKind::Stopping);
        }
        let links: Vec<&String> = spec.requires.iter().chain(&spec.after).collect();
        if links.iter().any(|name| *name == spec.name()) {
            return Some(ErrorKind::Invalid);
        }
        for name in links {
            let Some(index) = self.index_of(name) else {
                return Some(ErrorKind::Invalid);
            };
            if self.is_being_removed(index) {
                return Some(ErrorKind::Invalid);
            }
        }
        let index = self.index_of(spec.name());
        let exists = index.is_some_and(|index| !self.is_being_removed(index));
        exists.then_some(ErrorKind::Exists)
    }

    pub(super) fn add(&mut self, spec: ChildSpec) -> Check {
        let expected = self.refusal_of(&spec);
        let index = self.index_of(spec.name());
        let (names, open) = (self.names(), descriptors());
        world::with(|kernel| kernel.say(format_args!("add       {spec:?}")));
        let added = self.scheduler.add(spec.clone());
        let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
        match (added, expected) {
            (Ok(()), None) => {}
            // A stop may arrive during the call.
            (Err(error), _) if is_asked && error.kind() == ErrorKind::Stopping => {
                return self.nothing_has_changed(&names, open);
            }
            (Err(error), Some(kind)) if error.kind() == kind => {
                world::with(|kernel| kernel.counts.refused += 1);
                self.is_named(spec.name(), Some(&error))?;
                return self.nothing_has_changed(&names, open);
            }
            (Err(error), None) if self.a_log_may_be_refused() => {
                world::with(|kernel| {
                    kernel.counts.not_added += 1;
                    kernel.say(format_args!("refused   {error}"));
                });
                return self.nothing_has_changed(&names, open);
            }
            (added, _) => {
                return Err(format!(
                    "{} was added with {added:?}, and {expected:?} was expected",
                    spec.name()
                ));
            }
        }
        match index {
            Some(index) => {
                world::with(|kernel| {
                    kernel.counts.replaced += 1;
                    kernel.was_replaced(index, &spec);
                    kernel.are_required(&spec);
                });
                self.setting.specs[index] = spec;
            }
            None => {
                world::with(|kernel| {
                    kernel.counts.added += 1;
                    kernel.add_program(&spec);
                    kernel.are_required(&spec);
                });
                self.setting.specs.push(spec);
                self.accounts.push(Account::default());
            }
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        let programs = self.scheduler.programs();
        programs
            .iter()
            .map(|program| program.name().to_owned())
            .collect()
    }

    fn nothing_has_changed(&self, names: &[String], open: usize) -> Check {
        if self.names() == names && descriptors() == open {
            return Ok(());
        }
        Err("a program was not added, and something has changed".to_owned())
    }

    pub(super) fn a_log_may_be_refused(&self) -> bool {
        world::with(|kernel| {
            let calls = [Call::Open, Call::Lock, Call::Write];
            kernel.weather.descriptors_max < 1024
                || calls.iter().any(|&call| kernel.weather.may_fail(call))
        })
    }

    /// When everything has ended, no order is accepted and then forgotten.
    pub(super) fn takes_no_orders_any_more(&mut self) -> Check {
        let spec = ChildSpec::new("late", ["late"]);
        let added = self.scheduler.add(spec);
        if added.is_ok_and(|()| true) {
            return Err("a program was added when everything had ended".to_owned());
        }
        for name in self.names() {
            if self.scheduler.start_program(&name).is_ok() {
                return Err(format!("{name} was started when everything had ended"));
            }
        }
        Ok(())
    }
}
