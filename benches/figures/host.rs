//! What a start costs in a host that uses much memory. A copy of its page tables would cost
//! 2 ms for each 100 MiB; a start that shares memory until the exec costs the same in any host.

use crate::reaping;
use crate::turns::Turns;

/// What the host has touched before, in MiB.
const LARGE: usize = 1024;

pub fn measure(turns: &mut Turns) {
    let mut small = Vec::new();
    let mut large = Vec::new();
    for _ in 0..turns.repetitions {
        small.push(reaping::run("all", 1, 0).0);
        large.push(reaping::run("all", 1, LARGE).0);
    }
    let row = |what| format!("a death and a start in a host that has touched {what}, us");
    turns.table.tell(row("nothing"), &small);
    turns.table.tell(row("1 GiB"), &large);
}
