//! Simulates children that are reparented and die in any order: with and without a SIGCHLD, some
//! immortal, some withheld by a tracer, with pids that are soon reused.

use super::*;

const LONGEST_STOP: Duration = Duration::from_secs(2);
const PROGRAM: ProgramId = ProgramId(7);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(milliseconds: u64) -> Moment {
    Moment::default().after(ms(milliseconds))
}

fn unowned(_: i32) -> OrphanOwner {
    OrphanOwner::Known(None)
}

fn has_orphans_of_program(orphans: &Orphans) -> bool {
    orphans.owned().any(|(_, id, _)| id == PROGRAM)
}

/// Xorshift: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inherited,
    Ours,
    Orphan(Option<ProgramId>),
}

/// One child; its number is another's after its reap.
#[derive(Debug)]
struct Child {
    kind: Kind,
    /// How long it lives on after SIGTERM, and after SIGKILL.
    obeys_after: Option<Duration>,
    dies_after: Option<Duration>,
    /// Its end is for another process first, which may never let go.
    is_traced: bool,
    /// It is a zombie that another process withholds.
    is_withheld: bool,
    asked: bool,
    killed: bool,
    ends_at: Option<Moment>,
}

/// All children, and a caller that acts as the scheduler does.
struct World {
    dice: Dice,
    now: Moment,
    children: BTreeMap<i32, Child>,
    orphans: Orphans,
    searching: bool,
    kill_at: Option<Moment>,
    settled_at: Option<Moment>,
    abandoned: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Moment::default().after(ms(1)),
            children: BTreeMap::new(),
            orphans: Orphans::default(),
            searching: false,
            kill_at: None,
            settled_at: None,
            abandoned: false,
        };
        for _ in 0..world.dice.below(3) {
            world.comes(Kind::Inherited);
        }
        for _ in 0..world.dice.below(4) {
            world.comes(Kind::Ours);
        }
        let inherited = world.pids(|kind| kind == Kind::Inherited);
        world.orphans = Orphans::new(inherited);
        world
    }

    fn pids(&self, wanted: impl Fn(Kind) -> bool) -> Vec<i32> {
        let fits = |(&pid, child): (&i32, &Child)| wanted(child.kind).then_some(pid);
        self.children.iter().filter_map(fits).collect()
    }

    fn is_settled(&self) -> bool {
        self.pids(|kind| kind == Kind::Ours).is_empty()
    }

    /// There are few pids, so they are soon reused.
    fn comes(&mut self, kind: Kind) {
        let pid = 2 + self.dice.below(12) as i32;
        let dies_after = (self.dice.below(20) > 0).then(|| ms(self.dice.below(900)));
        let child = Child {
            kind,
            obeys_after: (self.dice.below(2) > 0).then(|| ms(self.dice.below(3000))),
            dies_after: dies_after.filter(|_| kind != Kind::Ours),
            is_traced: kind != Kind::Ours && self.dice.below(8) == 0,
            is_withheld: false,
            asked: false,
            killed: false,
            ends_at: None,
        };
        self.children.entry(pid).or_insert(child);
    }

    /// An orphan is reparented: with the SIGCHLD of its parent or, if another ancestor of it is a
    /// living child, without one.
    fn orphan_comes(&mut self) {
        let is_silent = self.dice.below(2) > 0;
        let may_be_above = |child: &Child| child.kind != Kind::Inherited && !child.is_withheld;
        if is_silent && !self.children.values().any(may_be_above) {
            return;
        }
        let program = [None, Some(PROGRAM), Some(ProgramId(8))][self.dice.below(3) as usize];
        self.comes(Kind::Orphan(program));
        if !is_silent {
            self.orphans.request_scan();
        }
    }

    /// In silence, and without being reaped, if it is traced; then its tracer may let go.
    fn dies(&mut self, pid: i32) {
        let child = self.children.get_mut(&pid).expect("a child");
        child.ends_at = None;
        if child.is_traced && !std::mem::replace(&mut child.is_withheld, true) {
            return;
        }
        let child = self.children.remove(&pid).expect("a child");
        if child.kind != Kind::Ours {
            self.orphans.reaped(pid);
        }
        self.orphans.request_scan();
    }

    fn the_due_die(&mut self) {
        let now = self.now;
        let is_due = |child: &Child| child.ends_at.is_some_and(|at| at <= now);
        while let Some(pid) = {
            let mut dead = self.children.iter().filter(|(_, child)| is_due(child));
            dead.next().map(|(&pid, _)| pid)
        } {
            self.dies(pid);
        }
    }

    fn closes(&mut self, kill_at: Moment) {
        let is_delayed = self.dice.below(2) == 0;
        self.orphans.close(kill_at, is_delayed.then_some(self.now));
        self.kill_at = Some(self.kill_at.map_or(kill_at, |known| known.min(kill_at)));
    }

    /// One turn; afterwards nothing is due any more.
    fn turns(&mut self) {
        let settled = self.is_settled();
        if settled {
            self.settled_at.get_or_insert(self.now);
        }
        if settled && !self.orphans.is_closing() {
            self.closes(self.now.after(LONGEST_STOP));
        }
        if self.orphans.begin_scan(self.now, self.searching, settled) {
            let all: Vec<i32> = self.children.keys().copied().collect();
            let kind = |pid: i32| self.children[&pid].kind;
            let whose = |pid: i32| match kind(pid) {
                Kind::Orphan(_) if self.children[&pid].is_withheld => OrphanOwner::Known(None),
                Kind::Orphan(program) => OrphanOwner::Known(program),
                other => panic!("{other:?} was asked for its program"),
            };
            let is_ours = |pid: i32| kind(pid) == Kind::Ours;
            let is_withheld = |pid: i32| self.children[&pid].is_withheld;
            self.orphans
                .scanned(self.now, all, is_ours, is_withheld, whose);
        }
        let closing = self.orphans.due(self.now);
        closing
            .iter()
            .for_each(|&send| self.gets(send, self.kill_at));
        let named = self.orphans.abandon(self.now, settled);
        self.gives_up(&named);
        if self.searching {
            let sends = self
                .orphans
                .end_orphans_of(self.now, |id| (id == PROGRAM).then_some(true));
            assert!(
                sends
                    .iter()
                    .all(|send| send.kill && send.program == Some(PROGRAM))
            );
            sends.iter().for_each(|&send| self.gets(send, None));
            self.searching = has_orphans_of_program(&self.orphans) && self.kill_at.is_none();
        }
        let next = self.orphans.next_deadline(self.is_settled());
        assert!(
            next.is_none_or(|at| at > self.now),
            "a turn has left {next:?} undone"
        );
    }

    /// `deadline` is that of the shutdown, if the signal is the shutdown's.
    fn gets(
        &mut self,
        PendingSignal { pid, program, kill }: PendingSignal,
        deadline: Option<Moment>,
    ) {
        let child = self.children.get_mut(&pid).expect("signals a child");
        assert_eq!(child.kind, Kind::Orphan(program), "a signal to a stranger");
        assert!(!child.killed, "a signal after SIGKILL");
        assert!(kill || !child.asked, "asked twice");
        if let Some(at) = deadline {
            assert_eq!(kill, self.now >= at, "the grace ends at its deadline");
        }
        child.asked |= !kill;
        child.killed |= kill;
        let delay = match kill {
            true => child.dies_after,
            false => child.obeys_after,
        };
        let delay = delay.filter(|_| !child.is_withheld);
        let ends_at = delay.map(|delay| self.now.after(delay));
        child.ends_at = [child.ends_at, ends_at].into_iter().flatten().min();
    }

    fn gives_up(&mut self, named: &[(i32, Option<ProgramId>)]) {
        if named.is_empty() {
            return;
        }
        assert!(!self.abandoned, "given up twice");
        self.abandoned = true;
        let kill_at = self.kill_at.expect("in a shutdown only");
        assert!(
            self.now >= kill_at.after(ABANDON_AFTER),
            "given up too early"
        );
        let immortal = |(pid, _): &(i32, Option<ProgramId>)| {
            let child = &self.children[pid];
            child.killed && child.dies_after.is_none()
        };
        // New orphans get no more time than that either.
        let settled_at = self.settled_at.expect("when all else is over");
        let is_cut_short = self.now >= settled_at.max(kill_at).after(ABANDON_AFTER);
        assert!(
            is_cut_short || named.iter().any(immortal),
            "abandoned, and none was immortal"
        );
    }

    /// Time passes; what is due meanwhile is done.
    fn passes(&mut self, time: Duration) {
        let until = self.now.after(time);
        loop {
            let deaths = self.children.values().filter_map(|child| child.ends_at);
            let due = self.orphans.next_deadline(self.is_settled());
            let next = due.into_iter().chain(deaths).min();
            self.now = next.unwrap_or(until).clamp(self.now, until);
            self.the_due_die();
            self.turns();
            if self.now == until {
                return;
            }
        }
    }

    /// Something happens, or time passes: to the next deadline, or by a little.
    fn steps(&mut self) {
        match self.dice.below(16) {
            0..4 => self.orphan_comes(),
            4 => self.searching = self.kill_at.is_none(),
            5 if self.dice.below(8) == 0 => {
                let grace = ms(self.dice.below(4000));
                self.closes(self.now.after(grace));
            }
            6 => {
                let mortal = self.pids(|kind| kind != Kind::Ours);
                let number = self.dice.below(mortal.len().max(1) as u64) as usize;
                if let Some(&pid) = mortal.get(number) {
                    self.dies(pid);
                }
            }
            7 if self.kill_at.is_some() => {
                let ours = self.pids(|kind| kind == Kind::Ours);
                ours.first().into_iter().for_each(|&pid| self.dies(pid));
            }
            8 if self.dice.below(4) == 0 => {
                let long = ms(self.dice.below(4000));
                self.passes(long);
            }
            _ => {
                let short = ms(self.dice.below(150));
                self.passes(short);
            }
        }
        if self.searching {
            self.orphans.request_scan();
        }
        self.the_due_die();
    }

    /// There is no new orphan, and every program ends: so does the shutdown, in time.
    fn ends(&mut self) {
        let ours = self.pids(|kind| kind == Kind::Ours);
        ours.into_iter().for_each(|pid| self.dies(pid));
        self.turns();
        let kill_at = self.kill_at.expect("it is settled");
        let limit = self.now.max(kill_at).after(ABANDON_AFTER);
        while !self.orphans.is_gone() {
            let deaths = self.children.values().filter_map(|child| child.ends_at);
            let due = self.orphans.next_deadline(true).into_iter();
            let due = due.chain(deaths).min();
            self.now = due.expect("something ends the wait").max(self.now);
            assert!(self.now <= limit, "it lasts too long");
            self.the_due_die();
            self.turns();
        }
        let mut left = self.pids(|kind| matches!(kind, Kind::Orphan(_)));
        left.retain(|pid| !self.children[pid].is_withheld);
        assert_eq!(self.orphans.is_abandoned(), self.abandoned);
        assert!(left.is_empty() || self.abandoned, "{left:?} was forgotten");
        assert_eq!(self.orphans.next_deadline(true), None);
    }
}

/// Ten thousand programs were asked to end, and waited for a scan of ten thousand children.
#[test]
fn a_delayed_scan_is_made_when_it_is_due_or_nothing_else_is_left() {
    let closing = |kill_at| {
        let mut orphans = Orphans::default();
        orphans.close(at(kill_at), Some(at(0)));
        orphans
    };
    let mut orphans = closing(10_000);
    assert_eq!(orphans.next_deadline(false), Some(at(100)));
    assert!(!orphans.begin_scan(at(99), false, false));
    assert!(orphans.begin_scan(at(100), false, false));
    assert!(
        closing(10_000).begin_scan(at(10), false, true),
        "all else is over"
    );
    assert!(
        closing(50).begin_scan(at(50), false, false),
        "it is time to kill"
    );
    orphans.scanned(at(100), vec![], |_| false, |_| false, unowned);
    orphans.close(at(20_000), Some(at(150)));
    orphans.request_scan();
    assert!(
        orphans.begin_scan(at(200), false, false),
        "nothing moves later"
    );
}

#[test]
fn every_orphan_is_asked_and_killed_once_and_the_shutdown_ends() {
    let mut abandoned = 0;
    for seed in 1..=4000 {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                world.steps();
                world.turns();
            }
            world.ends();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
        abandoned += u32::from(world.abandoned);
    }
    assert!(
        (100..3900).contains(&abandoned),
        "{abandoned} of 4000 gave up: no point"
    );
}

/// No signal announces that a process leaves its program's group. One that did so during a stop,
/// after the last scan, was left behind.
#[test]
fn once_all_else_is_over_there_is_a_scan_although_nothing_has_happened() {
    let mut orphans = Orphans::new([]);
    orphans.close(at(1_000), None);
    assert!(orphans.begin_scan(at(1), false, false));
    orphans.scanned(
        at(1),
        vec![9],
        |_| true,
        |_| false,
        |_| OrphanOwner::Unknown,
    );
    orphans.abandon(at(1), false);
    assert!(!orphans.begin_scan(at(200), false, false), "nothing new");
    assert!(!orphans.is_gone(), "all else is not over");
    assert_eq!(orphans.next_deadline(true), Some(Moment::default()));
    assert!(orphans.begin_scan(at(201), false, true));
    orphans.scanned(at(201), vec![9], |_| false, |_| false, unowned);
    assert_eq!(orphans.due(at(201)).len(), 1, "it is asked to end");
    orphans.abandon(at(201), true);
    assert!(!orphans.is_gone());
    assert!(!orphans.begin_scan(at(202), false, true), "nothing new");
    orphans.reaped(9);
    assert!(orphans.is_gone());
}

/// A tracer never waited for a killed process: no SIGCHLD announced its death, and the start that
/// was delayed by it waited for ever.
#[test]
fn a_zombie_that_a_tracer_withholds_holds_up_nothing() {
    let mut orphans = Orphans::new([]);
    let of_program = |_| OrphanOwner::Known(Some(PROGRAM));
    orphans.scanned(at(1), vec![9], |_| false, |_| false, of_program);
    let sends = orphans.end_orphans_of(at(1), |id| (id == PROGRAM).then_some(true));
    assert_eq!(sends.len(), 1);
    orphans.scanned(at(2), vec![9], |_| false, |_| false, of_program);
    assert!(has_orphans_of_program(&orphans), "it is dying");
    orphans.scanned(at(3), vec![9], |_| false, |_| true, of_program);
    assert!(!has_orphans_of_program(&orphans), "it is dead");
    // Nor does the end wait for it, or give it up.
    orphans.close(at(4), None);
    assert!(orphans.begin_scan(at(4), false, true));
    orphans.scanned(at(4), vec![9], |_| false, |_| true, of_program);
    assert_eq!(orphans.due(at(4)), []);
    assert_eq!(orphans.abandon(at(4), true), []);
    assert!(orphans.is_gone() && !orphans.is_abandoned());
}

/// Those of a program that stops are asked once, and killed at its deadline; no others are.
#[test]
fn the_orphans_of_a_program_are_asked_before_they_are_killed() {
    let mut orphans = Orphans::new([]);
    let other = ProgramId(PROGRAM.0 + 1);
    let owner = |pid: i32| OrphanOwner::Known(Some(if pid == 9 { PROGRAM } else { other }));
    orphans.scanned(at(1), vec![9, 10], |_| false, |_| false, owner);
    let send = |kill| PendingSignal {
        pid: 9,
        program: Some(PROGRAM),
        kill,
    };
    for (moment, kill, expected) in [
        (at(1), false, vec![send(false)]),
        (at(2), false, vec![]),
        (at(3), true, vec![send(true)]),
        (at(4), true, vec![]),
        (at(5), false, vec![]),
    ] {
        let sends = orphans.end_orphans_of(moment, |id| (id == PROGRAM).then_some(kill));
        assert_eq!(sends, expected, "{moment:?}");
    }
}
