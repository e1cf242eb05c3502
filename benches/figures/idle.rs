//! How often it wakes while nothing happens, and what that costs.

use std::thread::sleep;
use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::Run;
use crate::table::programs;
use crate::turns::Turns;

const COUNT: usize = 100;

/// For how long is counted. It varies little, so that once is enough.
const TIME: Duration = Duration::from_secs(10);
const REPETITIONS: usize = 1;

const SETTLING: Duration = Duration::from_secs(1);
const SETTLING_WITH_PEERS: Duration = Duration::from_secs(6);

pub fn measure(turns: &mut Turns) {
    let settling = if turns.with_peers {
        SETTLING_WITH_PEERS
    } else {
        SETTLING
    };
    let row = |what| format!("{} idle for 10 s: {what}", programs(COUNT));
    let rows = [row("context switches"), row("processor time, ms")];
    let sides = turns.sides.clone();
    turns.compare_sides(&sides, REPETITIONS, rows, |side, tools| {
        let place = Place::in_memory(COUNT, Work::Stay);
        let run = Run::settled(side, tools, place, settling)?;
        let (switches, cpu) = (run.switches(), run.cpu());
        sleep(TIME);
        let figures = (run.switches() - switches, run.cpu() - cpu);
        run.stop()?;
        Ok([figures.0 as f64, figures.1.as_secs_f64() * 1e3])
    });
}
