//! How fast stderr is drained into logs, and what that costs.

use std::time::Instant;

use crate::floor::Floor;
use crate::keeper::Keeper;
use crate::place::Place;
use crate::supervisor::{Supervisor, configure};
use crate::table::{Better, Table};

const REPETITIONS: usize = 3;

const MIB: u64 = 1024 * 1024;

/// A load: what it is called, how many programs write how much each, and how.
struct Load {
    name: &'static str,
    count: usize,
    bytes: usize,
    total: u64,
}

const LOADS: [Load; 3] = [
    Load {
        name: "1 GiB in writes of 4 KiB",
        count: 1,
        bytes: 4096,
        total: 1024 * MIB,
    },
    Load {
        name: "64 MiB in lines of 64 bytes",
        count: 1,
        bytes: 64,
        total: 64 * MIB,
    },
    Load {
        name: "100 x 10 MiB in writes of 4 KiB",
        count: 100,
        bytes: 4096,
        total: 10 * MIB,
    },
];

/// What one drain took: MiB a second, and seconds of processor time a GiB.
type Drained = (f64, f64);

pub fn measure(table: &mut Table, _: usize) {
    for load in &LOADS {
        let mut ours = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..REPETITIONS {
            ours.push(drain::<Supervisor>(load));
            floor.push(drain::<Floor>(load));
        }
        let mut compare = |what: &str, better, part: fn(&Drained) -> f64| {
            let samples = |drained: &[Drained]| drained.iter().map(part).collect::<Vec<_>>();
            let name = format!("stderr, {}: {what}", load.name);
            table.compare(name, better, &samples(&ours), &samples(&floor));
        };
        compare("MiB/s", Better::More, |drained| drained.0);
        compare("CPU s/GiB", Better::Less, |drained| drained.1);
    }
}

fn drain<K: Keeper>(load: &Load) -> Drained {
    let mut place = Place::on_disk(load.count, load.bytes, load.total);
    configure(&place);
    let mut keeper = K::start(&place);
    place.arrivals();
    let cpu_before = keeper.cpu();
    let began = Instant::now();
    let gate = place.open_gate();
    keeper.drain(&place, load.total);
    let took = began.elapsed();
    let cpu = keeper.cpu() - cpu_before;
    drop(gate);
    keeper.stop();
    for index in 0..load.count {
        let size = std::fs::metadata(place.log(index)).expect("a log").len();
        assert_eq!(size, load.total, "bytes in log {index} after {}", load.name);
    }
    let mib = (load.total * load.count as u64 / MIB) as f64;
    (mib / took.as_secs_f64(), cpu.as_secs_f64() / (mib / 1024.0))
}
