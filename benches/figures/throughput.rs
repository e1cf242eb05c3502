//! How fast what programs write is drained into logs, or passed on, what that costs, and what it
//! costs who writes.

use std::time::Duration;

use crate::place::{Place, Route, Work};
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
    route: Route,
    count: usize,
    bytes: usize,
    total: u64,
}

const LINES: Load = Load {
    name: "stderr, 64 MiB in lines of 64 bytes",
    route: Route::Stderr,
    count: 1,
    bytes: 64,
    total: 64 * MIB,
};

const LOADS: [Load; 3] = [
    Load {
        name: "stderr, 1 GiB in writes of 4 KiB",
        route: Route::Stderr,
        count: 1,
        bytes: 4096,
        total: 1024 * MIB,
    },
    LINES,
    Load {
        name: "stderr, 100 x 10 MiB in writes of 4 KiB",
        route: Route::Stderr,
        count: 100,
        bytes: 4096,
        total: 10 * MIB,
    },
];

/// Beside a floor that does not rotate.
const MORE_LOADS: [Load; 2] = [
    Load {
        name: "stdout, 1 GiB in writes of 4 KiB",
        route: Route::Stdout,
        count: 1,
        bytes: 4096,
        total: 1024 * MIB,
    },
    Load {
        name: "stdout, rotated at 10 MiB, 256 MiB in writes of 4 KiB",
        route: Route::Rotated,
        count: 1,
        bytes: 4096,
        total: 256 * MIB,
    },
];

/// Beside `cat` in a pipeline.
const INHERITED_LOADS: [Load; 2] = [
    Load {
        name: "inherited stdout, 1 GiB in writes of 4 KiB",
        route: Route::Inherited,
        count: 1,
        bytes: 4096,
        total: 1024 * MIB,
    },
    Load {
        name: "inherited stdout, 64 MiB in lines of 64 bytes",
        route: Route::Inherited,
        count: 1,
        bytes: 64,
        total: 64 * MIB,
    },
];

pub fn measure(turns: &mut Turns) {
    for load in LOADS.iter().chain(&MORE_LOADS) {
        turns.compare(rows(load.name), |side, tools| drain(side, tools, *load));
    }
    // One floor is enough, and no peer puts names in front of lines.
    let alone = turns.sides.iter().enumerate();
    let alone = alone.map(|(index, side)| match index < 2 {
        true => side.clone(),
        false => side.absent(),
    });
    let alone: Vec<Side> = alone.collect();
    for load in INHERITED_LOADS {
        turns.compare_sides(&alone, turns.repetitions, rows(load.name), |side, tools| {
            drain(side, tools, load)
        });
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
    let row = |what| format!("{load}: {what}");
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
    let place = Place::on_disk(load.count, work).routed(load.route);
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
