//! What a program costs when it is one of ten thousand, beside what it costs as one of a
//! hundred. The floors are those that can: a descriptor a program (`--lean`), and starts that
//! do not copy the table of descriptors (`--o1`).

use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::table::{Cell, programs, quantile};
use crate::tools::Tools;
use crate::turns::Turns;

const FEW: usize = 100;
const MANY: usize = 10_000;

const SETTLING: Duration = Duration::from_secs(1);

/// Who writes, how much each, and how; the others are silent.
const WRITERS: usize = 100;
const TOTAL: u64 = 4 * 1024 * 1024;
const BYTES: usize = 4096;

/// So many of them are killed, one after the other.
const DEATHS: usize = 100;

const FIGURES: [&str; 7] = [
    "start, us a program",
    "start, processor time, us a program",
    "restart, p50, us",
    "restart, processor time, us",
    "stderr of 100 of them, wall time, s/GiB",
    "stderr of 100 of them, processor time, s/GiB",
    "stop, us a program",
];

pub fn measure(turns: &mut Turns) {
    let remark = format!(
        "scale: the floors are --lean --o1; {} need as many descriptors for each that one is held, \
         and who fails says so",
        programs(MANY)
    );
    turns.table.remark(remark);
    let sides: Vec<Side> = turns.sides.iter().map(Side::lean).collect();
    let cells = [FEW, MANY].map(|count| {
        let rows = FIGURES.map(|what| format!("{}: {what}", programs(count)));
        let life = |side: &Side, tools: &Tools| live(side, tools, count);
        turns.compare_sides(&sides, turns.repetitions, rows, life)
    });
    let [few, many] = cells;
    for ((what, few), many) in FIGURES.iter().zip(few).zip(many) {
        let times = few
            .iter()
            .zip(&many)
            .map(|(few, many)| Cell::ratio(few, many));
        let row = format!("{} over {}: {what}, times", programs(MANY), programs(FEW));
        turns.table.row(row, times.collect());
    }
}

fn live(side: &Side, tools: &Tools, count: usize) -> Outcome<[f64; FIGURES.len()]> {
    let work = Work::Write {
        bytes: BYTES,
        total: TOTAL,
        writers: WRITERS,
    };
    let each = |milliseconds: f64| milliseconds * 1e3 / count as f64;
    let run = Run::start(side, tools, Place::in_memory(count, work));
    let start = each(run.wait_started()?);
    std::thread::sleep(SETTLING);
    let start_cpu = each(run.cpu().as_secs_f64() * 1e3);
    let written = run.write(WRITERS, TOTAL)?;
    let before = run.cpu();
    let deaths = (0..DEATHS).map(|death| run.restart(death * count / DEATHS));
    let times = deaths.collect::<Outcome<Vec<f64>>>()?;
    let restart_cpu = (run.cpu() - before).as_secs_f64() * 1e6 / DEATHS as f64;
    Ok([
        start,
        start_cpu,
        quantile(&times, 0.5) * 1e3,
        restart_cpu,
        1024.0 / written.mib_per_second,
        written.cpu,
        each(run.stop()?),
    ])
}
