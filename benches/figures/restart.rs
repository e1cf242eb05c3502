//! How long a program is missing that was killed: the same one again and again, which shows the
//! least delay that there is, and each of many once, which shows the latency itself.

use std::time::{Duration, Instant};

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::table::{programs, quantile};
use crate::turns::Turns;

/// Deaths in one repetition.
const DEATHS: usize = 200;

/// Who has a delay of a second dies less often.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Who has a delay after short runs has none after this one.
const SETTLING: Duration = Duration::from_millis(500);
const SETTLING_WITH_PEERS: Duration = Duration::from_secs(3);

pub fn measure(turns: &mut Turns) {
    let settling = if turns.with_peers {
        SETTLING_WITH_PEERS
    } else {
        SETTLING
    };
    for count in [1, DEATHS] {
        let whose = if count == 1 { "the same" } else { "each once" };
        let row = |part| format!("restart, {}, {whose}: {part}, ms", programs(count));
        turns.compare([row("p50"), row("p99")], |side, tools| {
            let place = Place::in_memory(count, Work::Stay);
            let run = Run::settled(side, tools, place, settling)?;
            let figures = restarts(&run, count)?;
            run.stop()?;
            Ok(figures)
        });
    }
}

fn restarts(run: &Run<'_>, count: usize) -> Outcome<[f64; 2]> {
    let end = Instant::now() + TIME_MAX;
    let mut times = Vec::new();
    for death in 0..DEATHS {
        times.push(run.restart(death % count)?);
        if Instant::now() > end {
            break;
        }
    }
    Ok([0.50, 0.99].map(|part| quantile(&times, part)))
}
