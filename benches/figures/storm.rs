//! Programs that end as soon as they run, all of them, all the time: how many restarts that
//! makes, what each costs, and how long a stop takes in the middle of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::table::programs;
use crate::tools::Tools;
use crate::turns::Turns;

const COUNT: usize = 200;

const SETTLING: Duration = Duration::from_secs(1);

/// For how long is counted; each repetition does, so that all together it is long.
const TIME: Duration = Duration::from_secs(4);
const TIME_WITH_PEERS: Duration = Duration::from_secs(10);

pub fn measure(turns: &mut Turns) {
    let time = if turns.with_peers {
        TIME_WITH_PEERS
    } else {
        TIME
    };
    let row = |what| format!("storm of {}: {what}", programs(COUNT));
    let rows = [
        row("restarts a second"),
        row("processor time of a restart, us"),
        row("stop, ms"),
    ];
    turns.compare(rows, |side, tools| storm(side, tools, time));
}

fn storm(side: &Side, tools: &Tools, time: Duration) -> Outcome<[f64; 3]> {
    let place = Place::in_memory(COUNT, Work::Crash);
    let run = Run::settled(side, tools, place, SETTLING)?;
    let (began, starts, cpu) = (Instant::now(), run.place.page.starts(), run.cpu());
    sleep(time);
    let restarts = (run.place.page.starts() - starts) as f64;
    let took = began.elapsed().as_secs_f64();
    let cost = (run.cpu() - cpu).as_secs_f64() * 1e6 / restarts;
    Ok([restarts / took, cost, run.stop()?])
}
