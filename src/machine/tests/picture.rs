//! What a machine's answers depend on, for tests that ask whether they have been here before.

use super::super::child::Child;
use super::*;

/// All that a machine remembers, but for the orders that were not taken yet.
pub struct Picture<'a> {
    pub children: &'a [Child],
    /// The programs that may start, in order.
    pub starts: &'a VecDeque<ProgramId>,
    /// In the order in which they come.
    pub deadlines: Vec<(Moment, ProgramId)>,
}

impl Machine {
    pub fn picture(&self) -> Picture<'_> {
        Picture {
            children: &self.children,
            starts: &self.starts,
            deadlines: self.timers.in_order(),
        }
    }
}

/// What was called off leaves nothing behind, and of what was decided nothing is missing.
#[test]
fn a_picture_shows_what_is_planned_and_not_what_was() {
    let mut desk = Desk::new(&[policy(); 3]);
    for index in 0..3 {
        desk.command(Command::Start(id(index)));
    }
    let [first, second] = [desk.spawn(), desk.spawn()];
    assert_eq!(desk.machine.picture().starts, &[id(2)]);
    desk.end(second, CRASH);
    desk.end(first, CRASH);
    let then = desk.now.after(secs(1));
    assert_eq!(
        desk.machine.picture().deadlines,
        [(then, id(1)), (then, id(0))]
    );
    desk.command(Command::StopAll);
    let picture = desk.machine.picture();
    assert_eq!(picture.deadlines, []);
    assert!(picture.starts.is_empty());
    assert!(
        picture
            .children
            .iter()
            .all(|child| child.goal == Goal::Down)
    );
}
