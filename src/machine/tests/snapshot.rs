//! What a machine's answers depend on, for tests that ask whether they have been here before.

use super::super::child::Child;
use super::super::state::Purpose;
use super::*;

/// All that a machine remembers, but for the orders that were not taken yet.
pub struct Snapshot<'a> {
    pub children: &'a IdMap<Child>,
    /// The programs that may start, in order.
    pub starts: &'a VecDeque<ProgramId>,
    /// In the order in which they come.
    pub deadlines: Vec<(Moment, (ProgramId, Purpose))>,
}

impl Snapshot<'_> {
    /// Returns a program that is in a state that cannot be with its goal, by the table of pairs.
    #[allow(dead_code)]
    pub fn impossible(&self) -> Option<&Child> {
        let cannot_be = |child: &&Child| !every::can_be(child.state, child.goal, child.cause);
        self.children.iter().find(cannot_be)
    }
}

impl Machine {
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            children: &self.children,
            starts: &self.starts,
            deadlines: self.timers.in_order(),
        }
    }
}

/// What was called off leaves nothing behind, and of what was decided nothing is missing.
#[test]
fn a_snapshot_shows_what_is_planned_and_not_what_was() {
    let mut desk = Desk::new(&[policy(); 3]);
    for index in 0..3 {
        desk.command(Command::Start(id(index)));
    }
    let [first, second] = [desk.spawn(), desk.spawn()];
    assert_eq!(desk.machine.snapshot().starts, &[id(2)]);
    desk.end(second, CRASH);
    desk.end(first, CRASH);
    let then = desk.now.after(secs(1));
    assert_eq!(
        desk.machine.snapshot().deadlines,
        [id(1), id(0)].map(|id| (then, (id, Purpose::Next)))
    );
    desk.command(Command::StopAll);
    let snapshot = desk.machine.snapshot();
    assert_eq!(snapshot.deadlines, []);
    assert!(snapshot.starts.is_empty());
    assert!(
        snapshot
            .children
            .iter()
            .all(|child| child.goal == Goal::Down)
    );
}
