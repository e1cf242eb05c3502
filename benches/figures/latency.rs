//! How long it takes: to start many, to replace one that died, to stop many.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::floor::Floor;
use crate::keeper::{Keeper, send};
use crate::place::Place;
use crate::supervisor::{Supervisor, configure};
use crate::table::{Better, Table, programs, quantile};

const REPETITIONS: usize = 5;

/// Deaths in one repetition: enough for a 99th percentile.
const DEATHS: usize = 300;

/// One life of a number of programs, in milliseconds.
struct Life {
    start: f64,
    start_cpu: f64,
    restart_p50: f64,
    restart_p99: f64,
    stop: f64,
}

pub fn measure(table: &mut Table, many: usize) {
    let remark = "the floor is a part of this process, and has no executable of its own to start and \
                  to end: with 1 program that is most of the difference";
    table.remark(remark.to_owned());
    for count in [1, 100, many] {
        let mut ours = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..REPETITIONS {
            ours.push(live::<Supervisor>(count));
            floor.push(live::<Floor>(count));
        }
        let mut compare = |what: &str, part: fn(&Life) -> f64| {
            let samples = |lives: &[Life]| lives.iter().map(part).collect::<Vec<_>>();
            let name = format!("{}: {what}, ms", programs(count));
            table.compare(name, Better::Less, &samples(&ours), &samples(&floor));
        };
        compare("exec to all running", |life| life.start);
        compare("processor time of that, children's not", |life| {
            life.start_cpu
        });
        compare("death to successor running, p50", |life| life.restart_p50);
        compare("death to successor running, p99", |life| life.restart_p99);
        compare("SIGTERM to all gone", |life| life.stop);
    }
}

fn live<K: Keeper>(count: usize) -> Life {
    let mut place = Place::in_memory(count);
    configure(&place);
    let began = Instant::now();
    let mut keeper = K::start(&place);
    let mut pids = place.arrivals();
    let start = began.elapsed();
    let start_cpu = keeper.cpu();
    let mut restarts = Vec::new();
    for death in 0..DEATHS {
        let died = Instant::now();
        let dead = pids[death % count];
        send(dead, Signal::SIGKILL);
        keeper.replace(&place, dead);
        pids[death % count] = place.arrival();
        restarts.push(milliseconds(died.elapsed()));
    }
    let began = Instant::now();
    keeper.stop();
    Life {
        start: milliseconds(start),
        start_cpu: milliseconds(start_cpu),
        restart_p50: quantile(&restarts, 0.50),
        restart_p99: quantile(&restarts, 0.99),
        stop: milliseconds(began.elapsed()),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
