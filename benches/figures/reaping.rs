//! What a death costs in a host, by the way in which it is found: with `Reap::All` the kernel
//! names the dead, with `Reap::Own` each program has a pidfd, and where the system refuses
//! pidfds each program is asked about after each SIGCHLD.
//!
//! The floor of these rows is `Reap::All` in the same run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use procsched::{Backoff, ChildSpec, ProcessScheduler, Reap};

use crate::place::Place;
use crate::proc::cpu;
use crate::refusals::refuse_pidfds;
use crate::table::{Better, Table, programs};

const REPETITIONS: usize = 5;

/// Deaths in one repetition.
const DEATHS: u64 = 500;

const WAYS: [&str; 3] = ["all", "pidfds", "sweep"];

pub fn measure(table: &mut Table, many: usize) {
    table.remark("reaping: the floor is Reap::All in the same run".to_owned());
    for count in [1, many / 2] {
        let mut samples = [(); WAYS.len()].map(|()| (Vec::new(), Vec::new()));
        for _ in 0..REPETITIONS {
            for (way, (times, costs)) in WAYS.iter().zip(&mut samples) {
                let (time, cost) = run(way, count);
                times.push(time);
                costs.push(cost);
            }
        }
        let [all, pidfds, sweep] = samples;
        for (name, (times, costs)) in [("a pidfd each", pidfds), ("a sweep", sweep)] {
            let row = |what: &str| format!("Reap::Own by {name}, {}: {what}", programs(count));
            table.compare(row("a death, us"), Better::Less, &times, &all.0);
            table.compare(
                row("processor time of that, us"),
                Better::Less,
                &costs,
                &all.1,
            );
        }
    }
}

/// Microseconds that a death and the restart took, and processor time, in a host of its own.
fn run(way: &str, count: usize) -> (f64, f64) {
    let place = Place::in_memory(1);
    let this = std::env::current_exe().expect("a path to this file");
    let mut host = Command::new(this);
    host.args(["host", way, &count.to_string()])
        .arg(place.path("logs"));
    let output = host.stderr(Stdio::inherit()).output().expect("a host");
    assert!(output.status.success(), "{way}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("two numbers");
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>());
    let mut next = || numbers.next().and_then(Result::ok).expect("a number");
    (next(), next())
}

/// The host: programs that stay, and one that ends at once, again and again.
pub fn host(arguments: &[String]) {
    let [way, count, directory] = arguments else {
        panic!("a way, a count and a directory, not {arguments:?}");
    };
    if way == "sweep" {
        refuse_pidfds(libc::ENOSYS);
    }
    let reap = if way == "all" { Reap::All } else { Reap::Own };
    let at_once = Backoff {
        initial: Duration::ZERO,
        max: Duration::ZERO,
        ..Backoff::default()
    };
    let count: usize = count.parse().expect("a number of programs");
    let quiet = (1..count).map(|index| ChildSpec::new(format!("quiet{index}"), ["sleep", "1000"]));
    let mut scheduler = ProcessScheduler::builder("/")
        .programs(quiet)
        .program(ChildSpec::new("short", ["true"]).backoff(at_once))
        .err_dir(directory)
        .error_handler(|_, _| {})
        .reap(reap)
        .build()
        .expect("a scheduler");
    let deaths = |scheduler: &ProcessScheduler| scheduler.programs()[count - 1].restarts();
    while deaths(&scheduler) == 0 {
        scheduler.step(None).expect("a turn");
    }
    let (began, before, first) = (Instant::now(), cpu("self"), deaths(&scheduler));
    // Not asked after each turn, as a picture of all programs costs more than a death.
    let mut done = 0;
    while done < DEATHS {
        for _ in 0..DEATHS / 10 {
            scheduler.step(None).expect("a turn");
        }
        done = deaths(&scheduler) - first;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / done as f64;
    let (time, cost) = (each(began.elapsed()), each(cpu("self") - before));
    writeln!(std::io::stdout(), "{time} {cost}").expect("a reader");
    scheduler.kill();
    while scheduler.step(None).expect("a turn") == procsched::Status::Running {}
}
