//! How much of the machine it takes while nothing happens: the file, and the memory.

use std::time::Duration;

use crate::place::{Place, Work};
use crate::run::{Outcome, Run};
use crate::side::Side;
use crate::table::programs;
use crate::tools::Tools;
use crate::turns::Turns;

const COUNTS: [usize; 3] = [1, 100, 1_000];

/// What each has written in the second half of the rows, and how.
const WRITTEN: u64 = 1024 * 1024;
const WRITE_BYTES: usize = 4096;

/// Private_Dirty with each count of programs, and what one more program takes; then PSS.
type Figures = [f64; 5];

pub fn measure(turns: &mut Turns) {
    let binary = turns.tools.ours.metadata().expect("the binary under test");
    let kib = binary.len() as f64 / 1024.0;
    turns.table.tell("binary, KiB", &[kib]);
    for (has_written, suffix) in [(false, ""), (true, ", after 1 MiB of stderr each")] {
        let row = |whose: &str, what| format!("memory, {whose}{suffix}: {what}, KiB");
        let dirty = |count| row(&programs(count), "Private_Dirty");
        let rows = [
            dirty(COUNTS[0]),
            dirty(COUNTS[1]),
            dirty(COUNTS[2]),
            row("each program", "Private_Dirty"),
            row(&programs(COUNTS[2]), "PSS"),
        ];
        // It hardly varies.
        let repetitions = turns.repetitions.div_ceil(3);
        let sides = turns.sides.clone();
        turns.compare_sides(&sides, repetitions, rows, |side, tools| {
            figures(side, tools, has_written)
        });
    }
}

fn figures(side: &Side, tools: &Tools, has_written: bool) -> Outcome<Figures> {
    let mut memory = Vec::new();
    for count in COUNTS {
        memory.push(memory_of(side, tools, count, has_written)?);
    }
    let more = (COUNTS[2] - COUNTS[0]) as f64;
    let [(one, _), (some, _), (many, shared)] = memory[..] else {
        unreachable!("a figure for each count");
    };
    Ok([one, some, many, (many - one) / more, shared])
}

fn memory_of(side: &Side, tools: &Tools, count: usize, has_written: bool) -> Outcome<(f64, f64)> {
    let work = if has_written {
        let (bytes, total, writers) = (WRITE_BYTES, WRITTEN, count);
        Work::Write {
            bytes,
            total,
            writers,
        }
    } else {
        Work::Stay
    };
    let place = Place::in_memory(count, work);
    let run = Run::settled(side, tools, place, Duration::ZERO)?;
    run.wait_quiet()?;
    if has_written {
        run.write(count, WRITTEN)?;
        run.wait_quiet()?;
    }
    let memory = run.memory();
    run.stop()?;
    Ok(memory)
}
