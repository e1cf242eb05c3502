//! How much of the machine it takes while nothing happens: file, memory, wake-ups.

use std::fs::File;
use std::thread::sleep;
use std::time::Duration;

use crate::keeper::Keeper;
use crate::place::{Place, wait_until};
use crate::proc;
use crate::supervisor::{BINARY, Supervisor, configure};
use crate::table::{Table, programs};

const REPETITIONS: usize = 3;

/// For how long wake-ups are counted, with how many programs.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_PROGRAMS: usize = 100;

/// Without a switch for this long, what starting brought about is over.
const QUIET: Duration = Duration::from_millis(200);

pub fn measure(table: &mut Table, many: usize) {
    let binary = File::open(BINARY).expect("the binary under test");
    let size = binary.metadata().expect("the binary under test").len();
    // What the linker wrote a moment ago would count as dirty memory of who executes it.
    binary.sync_all().expect("a file that can be synced");
    table.tell("binary, stripped, KiB", &[size as f64 / 1024.0]);
    for count in [1, 100, many] {
        let samples: Vec<(u64, u64)> = (0..REPETITIONS).map(|_| memory_of(count)).collect();
        let private: Vec<f64> = samples.iter().map(|sample| sample.0 as f64).collect();
        let shared: Vec<f64> = samples.iter().map(|sample| sample.1 as f64).collect();
        table.tell(
            format!("memory with {}: Private_Dirty, KiB", programs(count)),
            &private,
        );
        table.tell(
            format!("memory with {}: PSS, KiB", programs(count)),
            &shared,
        );
    }
    let name = format!("idle with {IDLE_PROGRAMS} programs: context switches in 10 s");
    table.tell(name, &[wake_ups() as f64]);
}

fn memory_of(count: usize) -> (u64, u64) {
    let supervisor = settled(count);
    let memory = proc::memory(supervisor.id());
    supervisor.stop();
    memory
}

fn wake_ups() -> u64 {
    let supervisor = settled(IDLE_PROGRAMS);
    let before = proc::switches(supervisor.id());
    sleep(IDLE);
    let after = proc::switches(supervisor.id());
    supervisor.stop();
    after - before
}

/// A supervisor whose programs all run, and that has nothing left to do.
fn settled(count: usize) -> Supervisor {
    let mut place = Place::in_memory(count);
    configure(&place);
    let supervisor = Supervisor::start(&place);
    place.arrivals();
    let mut before = u64::MAX;
    wait_until(QUIET, "a quiet supervisor", || {
        let now = proc::switches(supervisor.id());
        std::mem::replace(&mut before, now) == now
    });
    supervisor
}
