//! What programs say of themselves, by chance: at once, late, never, in a form that does not count,
//! repeatedly.

use super::Kernel;
use super::messages::{Sender, Word};
use super::plans::{MILLISECOND, Moods, SECOND};
use super::process::{Action, Plan, Time, Whose};
use super::signs::Signs;
use crate::model::rng::Rng;
use crate::spec::Ready;

const WORDS: [Word; 9] = [
    Word::Ready,
    Word::Ready,
    Word::Alive,
    Word::Alive,
    Word::Both,
    Word::Status,
    Word::Garbage,
    Word::Longest,
    Word::TooLong,
];

const SENDERS: [Sender; 6] = [
    Sender::Us,
    Sender::Us,
    Sender::Us,
    Sender::UsEffectively,
    Sender::OtherUser,
    Sender::Invisible,
];

/// How one that does what it should says that it is ready, and alive.
fn good_words(signs: &Signs) -> Vec<(Time, Action)> {
    let mut words = Vec::new();
    match signs.ready {
        Some(Ready::Notify) => words.push((MILLISECOND, Action::Say(Word::Ready, Sender::Us))),
        Some(Ready::Fd(_)) => words.push((MILLISECOND, Action::Tell(true))),
        Some(Ready::Delay(_) | Ready::Probe(_)) | None => {}
    }
    words.extend(
        signs
            .watchdog
            .map(|time| (time / 2, Action::Live(time / 2))),
    );
    words
}

fn any_word(signs: &Signs, rng: &mut Rng) -> Action {
    let is_pipe = matches!(signs.ready, Some(Ready::Fd(_)));
    match rng.below(8) {
        0 if is_pipe => Action::CloseReady,
        0..=4 if is_pipe => Action::Tell(rng.one_in(2)),
        _ if rng.one_in(32) => Action::Say(Word::Hung, rng.pick(&SENDERS)),
        _ if rng.one_in(16) => Action::Flood(rng.pick(&WORDS), rng.pick(&SENDERS)),
        _ => Action::Say(rng.pick(&WORDS), rng.pick(&SENDERS)),
    }
}

/// Has a process say this and that in the course of what it does, and those that it forks.
fn with_words(plan: &mut Plan, signs: &Signs, moods: &Moods, rng: &mut Rng) {
    for (_, action) in &mut plan.steps {
        if let Action::Fork(inner) = action
            && rng.one_in(2)
        {
            with_words(inner, signs, moods, rng);
        }
    }
    for _ in 0..rng.below(4) {
        let place = rng.index(plan.steps.len() + 1);
        let word = any_word(signs, rng);
        plan.steps.insert(place, (moods.pause(rng), word));
    }
}

impl Kernel {
    /// What a program does that has these signs, and a plan.
    pub(super) fn with_words(&mut self, plan: &mut Plan, index: usize) {
        let signs = self.programs[index].signs.clone();
        if signs.is_empty() {
            return;
        }
        let moods = self.moods.clone();
        let rng = &mut self.rng;
        with_words(plan, &signs, &moods, rng);
        if rng.one_in(4) {
            return;
        }
        // Before its end, and as a rule to the point.
        let place = rng.index(plan.steps.len() + 1);
        let mut words = good_words(&signs);
        if let Some((pause, _)) = words.first_mut() {
            let most = rng.pick(&[1, MILLISECOND, SECOND, signs.start_timeout.unwrap_or(1)]);
            *pause = rng.below(most.max(1));
        }
        let lives = words.len() > 1 || matches!(words.first(), Some((_, Action::Live(_))));
        let lives = lives.then(|| words.pop()).flatten();
        for word in words.into_iter().rev() {
            plan.steps.insert(place, word);
        }
        // One that ends by itself does not come to it.
        plan.steps.extend(lives);
    }

    pub(super) fn good_plan(&self, index: usize, plan: &mut Plan) {
        plan.steps.extend(good_words(&self.programs[index].signs));
    }

    /// From now on a process says what it should.
    pub(super) fn speak_from_now_on(&mut self, pid: i32) {
        let process = &self.processes[&pid];
        let Whose::Run(run) = process.whose else {
            return;
        };
        let run = &self.runs[run];
        let mut words = good_words(&run.truth.signs);
        // One that has closed its pipe without a newline can only end.
        let has_closed = run.truth.pipe.is_some() && process.ready.is_none();
        if has_closed && run.truth.given.is_none() {
            words = vec![(SECOND, Action::Exit(1))];
        }
        if run.pid != pid || !process.lives() || run.is_signalled || words.is_empty() {
            return;
        }
        let mut plan = Plan::hold(process.temper);
        plan.reaps = process.reaps;
        plan.steps = words;
        let now = self.now;
        let process = self.process_mut(pid);
        process.unwritten = 0;
        process.follow(now, plan);
    }
}
