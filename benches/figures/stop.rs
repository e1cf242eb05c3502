//! How long it takes from the signal that stops everything until no program is left.

use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::Run;
use crate::table::programs;
use crate::turns::Turns;

/// Starting is over by then, for peers that look at everything once more after a second or two.
const SETTLING: Duration = Duration::from_millis(500);
const SETTLING_WITH_PEERS: Duration = Duration::from_millis(2500);

pub fn measure(turns: &mut Turns) {
    let settling = if turns.with_peers {
        SETTLING_WITH_PEERS
    } else {
        SETTLING
    };
    for count in [1, 100, 1_000] {
        let row = format!("stop of {}, ms", programs(count));
        turns.compare_often(count, [row], |side, tools| {
            let place = Place::in_memory(count, Work::Stay);
            let run = Run::settled(side, tools, place, settling)?;
            Ok([run.stop()?])
        });
    }
}
