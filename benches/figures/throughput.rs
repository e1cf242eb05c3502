//! How fast stderr is drained into logs, what that costs, and what it costs who writes.

use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::tools::Tools;
use crate::turns::Turns;

const MIB: u64 = 1024 * 1024;

/// The programs wait for the gate by then.
const SETTLING: Duration = Duration::from_secs(1);

/// A load: what it is called, how many programs write how much each, and how.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    count: usize,
    bytes: usize,
    total: u64,
}

const LINES: Load = Load {
    name: "64 MiB in lines of 64 bytes",
    count: 1,
    bytes: 64,
    total: 64 * MIB,
};

const LOADS: [Load; 3] = [
    Load {
        name: "1 GiB in writes of 4 KiB",
        count: 1,
        bytes: 4096,
        total: 1024 * MIB,
    },
    LINES,
    Load {
        name: "100 x 10 MiB in writes of 4 KiB",
        count: 100,
        bytes: 4096,
        total: 10 * MIB,
    },
];

pub fn measure(turns: &mut Turns) {
    for load in LOADS {
        turns.compare(rows(load.name), |side, tools| drain(side, tools, load));
    }
    if turns.with_peers {
        return;
    }
    // Beside a floor that rests as well: fewer wake-ups are bought with latency.
    let napping = turns.sides.iter().map(|side| side.with_flags(&["--nap"]));
    let napping: Vec<Side> = napping.collect();
    let name = format!("{}, the floor naps", LINES.name);
    turns.compare_sides(&napping, turns.repetitions, rows(&name), |side, tools| {
        drain(side, tools, LINES)
    });
}

fn rows(load: &str) -> [String; 4] {
    let row = |what| format!("stderr, {load}: {what}");
    [
        row("MiB/s"),
        row("processor time, s/GiB"),
        row("the writers', s/GiB"),
        row("wall time of a writer, s/GiB"),
    ]
}

fn drain(side: &Side, tools: &Tools, load: Load) -> Outcome<[f64; 4]> {
    let work = Work::Write {
        bytes: load.bytes,
        total: load.total,
        writers: load.count,
    };
    let place = Place::on_disk(load.count, work);
    let run = Run::settled(side, tools, place, SETTLING)?;
    let written = run.write(load.count, load.total)?;
    run.verify(load.count, load.total)?;
    run.stop()?;
    Ok([
        written.mib_per_second,
        written.cpu,
        written.writers_cpu,
        written.writers_wall,
    ])
}
