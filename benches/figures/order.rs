//! What order costs: programs of which each waits for the one before, and programs that all wait
//! for one, beside as many that wait for none. The floor and the peers have no such order.
//!
//! Each program is up as soon as it is executed, so that the time is the supervisor's own.

use crate::clients::{fitting, only_ours};
use crate::place::{Links, Place, Work};
use crate::run::{Outcome, Run, milliseconds};
use crate::side::Side;
use crate::table::{Cell, programs};
use crate::tools::Tools;
use crate::turns::Turns;

const CHAIN: usize = 1_000;
const FAN_MAX: usize = 10_000;

const FIGURES: [&str; 2] = ["the first start to the last, ms", "processor time, ms"];

pub fn measure(turns: &mut Turns) {
    turns.table.remark(
        "order: each requires the one before, or all require the first, which is up when it was \
         executed"
            .to_owned(),
    );
    beside_none(turns, CHAIN, Links::Chain, "in a chain");
    beside_none(turns, fitting(FAN_MAX), Links::Fan, "after one");
}

/// Adds the figures of ordered programs, of unordered ones, and how many times as much the former
/// are.
fn beside_none(turns: &mut Turns, count: usize, links: Links, what: &str) {
    let sides: Vec<Side> = turns.sides.iter().map(only_ours).collect();
    let kinds = [(Links::None, "without order"), (links, what)];
    let [unordered, ordered] = kinds.map(|(links, what)| {
        let rows = FIGURES.map(|figure| format!("{} {what}: {figure}", programs(count)));
        turns.compare_sides(&sides, turns.repetitions, rows, |side, tools| {
            live(side, tools, count, links)
        })
    });
    for ((figure, unordered), ordered) in FIGURES.iter().zip(unordered).zip(ordered) {
        let cells = unordered.iter().zip(&ordered);
        let cells = cells.map(|(unordered, ordered)| Cell::ratio(unordered, ordered));
        let row = format!(
            "{} {what} over without order: {figure}, times",
            programs(count)
        );
        turns.table.row(row, cells.collect());
    }
}

fn live(side: &Side, tools: &Tools, count: usize, links: Links) -> Outcome<[f64; 2]> {
    let place = Place::in_memory(count, Work::Stay).linked(links);
    let run = Run::start(side, tools, place);
    run.wait_started()?;
    let times = run.place.page.slots().map(|slot| slot.started_at);
    let (first, last) = times.fold((u64::MAX, 0), |(first, last), at| {
        (first.min(at), last.max(at))
    });
    let cpu = run.cpu().as_secs_f64() * 1e3;
    run.stop()?;
    Ok([milliseconds(last - first), cpu])
}
