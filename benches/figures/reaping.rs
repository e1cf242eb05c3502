//! What a death costs in a host, by the way in which it is found: with `Reap::All` the kernel
//! names the dead, with `Reap::Own` each program has a pidfd, and where the system refuses
//! pidfds each program is asked about after each SIGCHLD.
//!
//! The floor of these rows is `Reap::All` in the same run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use procsched::{Backoff, ChildSpec, ProcessScheduler, Reap};

use crate::proc::cpu;
use crate::refusals::refuse_pidfds;
use crate::table::{Cell, programs};
use crate::turns::Turns;

/// The word that makes this program a host.
pub const HOST: &str = "as-a-host";

/// Deaths in one repetition.
const DEATHS: u64 = 500;

const WAYS: [&str; 3] = ["all", "pidfds", "sweep"];

pub fn measure(turns: &mut Turns) {
    let remark = "reaping: the floor is Reap::All in the same run";
    turns.table.remark(remark.to_owned());
    for count in [1, 500] {
        let mut samples = [(); WAYS.len()].map(|()| (Vec::new(), Vec::new()));
        for _ in 0..turns.repetitions {
            for (way, (times, costs)) in WAYS.iter().zip(&mut samples) {
                let (time, cost) = run(way, count, 0);
                times.push(time);
                costs.push(cost);
            }
        }
        let [all, pidfds, sweep] = samples;
        for (name, (times, costs)) in [("a pidfd each", pidfds), ("a sweep", sweep)] {
            let row = |what: &str| format!("Reap::Own by {name}, {}: {what}", programs(count));
            let cells = |own, all: &Vec<f64>| vec![Cell::Samples(own), Cell::Samples(all.clone())];
            turns.table.row(row("a death, us"), cells(times, &all.0));
            turns
                .table
                .row(row("processor time of that, us"), cells(costs, &all.1));
        }
    }
}

/// Microseconds that a death and the restart took, and processor time, in a host of its own
/// that has touched so many MiB before.
pub fn run(way: &str, count: usize, mib: usize) -> (f64, f64) {
    let logs = tempfile::TempDir::new().expect("a directory of logs");
    let this = std::env::current_exe().expect("a path to this file");
    let mut host = Command::new(this);
    host.args([HOST, way, &count.to_string(), &mib.to_string()])
        .arg(logs.path());
    let output = host.stderr(Stdio::inherit()).output().expect("a host");
    assert!(output.status.success(), "{way}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("two numbers");
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>());
    let mut next = || numbers.next().and_then(Result::ok).expect("a number");
    (next(), next())
}

/// The host: programs that stay, and one that ends at once, again and again.
pub fn host(arguments: &[String]) {
    let [way, count, mib, directory] = arguments else {
        panic!("a way, a count, MiB and a directory, not {arguments:?}");
    };
    let mib: usize = mib.parse().expect("a number of MiB");
    let touched = std::hint::black_box(vec![1_u8; mib * 1024 * 1024]);
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
    let (began, before, first) = (Instant::now(), own_cpu(), deaths(&scheduler));
    // Not asked after each turn, as a picture of all programs costs more than a death.
    let mut done = 0;
    while done < DEATHS {
        for _ in 0..DEATHS / 10 {
            scheduler.step(None).expect("a turn");
        }
        done = deaths(&scheduler) - first;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / done as f64;
    let (time, cost) = (each(began.elapsed()), each(own_cpu() - before));
    writeln!(std::io::stdout(), "{time} {cost}").expect("a reader");
    scheduler.kill();
    while scheduler.step(None).expect("a turn") == procsched::Status::Running {}
    drop(touched);
}

fn own_cpu() -> Duration {
    cpu("self").expect("a kernel with CONFIG_SCHED_INFO")
}
