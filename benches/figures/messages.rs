//! What a program costs the others that floods its notification socket: how late a death is
//! restarted, and the processor time of the supervisor, beside the same programs without the flood.

use std::time::Instant;

use crate::clients::{CRASHING, SETTLING, only_ours, restarts};
use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::table::{programs, quantile};
use crate::tools::Tools;
use crate::turns::Turns;

/// Messages that a program would send in a second. It sends fewer if they are not taken.
const RATE: u64 = 100_000;

pub fn measure(turns: &mut Turns) {
    let ours: Vec<Side> = turns.sides.iter().map(only_ours).collect();
    let about = format!("{} crash twice a second", programs(CRASHING));
    let row = |flood: &str, what| format!("{about}, {flood}: {what}");
    let rows = |flood: &str| {
        [
            row(flood, "restart of another, p50, ms"),
            row(flood, "restart of another, p99, ms"),
            row(flood, "restart of another, longest, ms"),
            row(flood, "processor time of the supervisor, ms a second"),
        ]
    };
    let flood = format!("one floods its notification socket ({RATE} messages a second)");
    let [a, b, c, d] = rows("no messages");
    let [e, f, g, h] = rows(&flood);
    let rows = [
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        row(&flood, "messages taken a second"),
    ];
    // Both in each repetition, so that a slow minute is slow for both.
    turns.compare_sides(&ours, turns.repetitions, rows, |side, tools| {
        let [a, b, c, d, _] = storm(side, tools, 0)?;
        let [e, f, g, h, taken] = storm(side, tools, RATE)?;
        Ok([a, b, c, d, e, f, g, h, taken])
    });
}

/// Restarts of one program in a storm of others, while another sends messages.
fn storm(side: &Side, tools: &Tools, rate: u64) -> Outcome<[f64; 5]> {
    let work = Work::CrashBesideMessages { rate };
    let place = Place::in_memory(CRASHING + 2, work);
    let run = Run::settled(side, tools, place, SETTLING)?;
    let sender = CRASHING + 1;
    let (began, cpu, sent) = (Instant::now(), run.cpu(), run.place.page.slot(sender).sent);
    let times = restarts(&run)?;
    let took = began.elapsed().as_secs_f64();
    let cpu = (run.cpu() - cpu).as_secs_f64() * 1e3 / took;
    let sender = run.place.page.slot(sender);
    if sender.starts != 1 || sender.errors > 0 {
        let (starts, errors) = (sender.starts, sender.errors);
        return Err(format!(
            "the sender started {starts} times, {errors} errors"
        ));
    }
    let taken = (sender.sent - sent) as f64 / took;
    let [p50, p99, longest] = [0.50, 0.99, 1.0].map(|part| quantile(&times, part));
    Ok([p50, p99, longest, cpu, taken])
}
