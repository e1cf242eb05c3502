//! How long it takes from the exec of the supervisor until the last program runs.

use std::thread::sleep;
use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::table::programs;
use crate::tools::Tools;
use crate::turns::Turns;

/// What it still does after the last start belongs to it.
const SETTLING: Duration = Duration::from_millis(500);

pub fn measure(turns: &mut Turns) {
    for count in [1, 100, 1_000] {
        let row = |what| format!("start of {}: {what}", programs(count));
        let rows = [
            row("ms"),
            row("processor time, ms"),
            row("processor time with the programs', ms"),
        ];
        turns.compare_often(count, rows, |side, tools| start(side, tools, count));
    }
}

fn start(side: &Side, tools: &Tools, count: usize) -> Outcome<[f64; 3]> {
    let run = Run::start(side, tools, Place::in_memory(count, Work::Stay));
    let took = run.wait_started()?;
    sleep(SETTLING);
    let own = run.cpu();
    let all = own + run.programs_cpu();
    run.stop()?;
    Ok([took, own.as_secs_f64() * 1e3, all.as_secs_f64() * 1e3])
}
