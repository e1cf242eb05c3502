//! What an operator waits for: to ask about one program among many, to stop, start and restart
//! it, and to have one changed definition taken over. Each supervisor is asked by its own client,
//! executed anew each time, and the time is that from the client's start to its end.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::clients::fitting;
use crate::place::{Place, Work, name};
use crate::proc;
use crate::run::{LOOK_INTERVAL_SHORT, Outcome, Run, milliseconds, now};
use crate::side::Side;
use crate::table::{programs, quantile};
use crate::tools::Tools;
use crate::turns::Turns;

/// What a client is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Status,
    Stop,
    Start,
    Restart,
    /// To read its configuration again.
    Reload,
}

/// The last one, or as many as there are descriptors for.
const COUNTS: [usize; 4] = [1, 100, 1_000, 10_000];

/// The most programs of a peer: of 10,000, s6 would have 30,000 processes.
const COUNT_OF_PEERS_MAX: usize = 1_000;

/// Starting is over by then, and no delay after a short run is left: s6 and supervisord have one
/// of a second.
const SETTLING: Duration = Duration::from_secs(1);
const SETTLING_WITH_PEERS: Duration = Duration::from_secs(3);

/// Orders in one measurement. Those that start a program take some peers a second.
const QUESTIONS: usize = 20;
const STARTS: usize = 5;

const FIGURES: [&str; 6] = [
    "status, ms",
    "status, processor time, ms",
    "stop and start, ms",
    "stop and start, processor time, ms",
    "restart, ms",
    "restart, processor time, ms",
];

const FIGURES_OF_RELOAD: [&str; 2] = [
    "reload with one changed, ms",
    "reload with one changed, processor time, ms",
];

pub fn measure(turns: &mut Turns) {
    turns.table.remark(format!(
        "control: p50 of {QUESTIONS} questions, and of {STARTS} orders of each other kind, from \
         the start of the client to its end; processor time is that of client and supervisor; \
         the floor takes no orders, and with more than {} only procsched is asked",
        programs(COUNT_OF_PEERS_MAX)
    ));
    let settling = if turns.with_peers {
        SETTLING_WITH_PEERS
    } else {
        SETTLING
    };
    for count in COUNTS.map(fitting) {
        let row = |what| format!("one of {}: {what}", programs(count));
        let sides = sides_with(turns, count, Order::Restart);
        let rows = FIGURES.map(row);
        turns.compare_sides(&sides, turns.repetitions, rows, |side, tools| {
            live(side, tools, count, settling, |run| orders(run, count / 2))
        });
        let sides = sides_with(turns, count, Order::Reload);
        let rows = FIGURES_OF_RELOAD.map(row);
        turns.compare_sides(&sides, turns.repetitions, rows, |side, tools| {
            live(side, tools, count, settling, |run| {
                batch(run, STARTS, || reload(run))
            })
        });
    }
}

/// The sides, without those that take no such order.
fn sides_with(turns: &Turns, count: usize, order: Order) -> Vec<Side> {
    let side = |side: &Side| {
        let is_small = side.is_ours() || count <= COUNT_OF_PEERS_MAX;
        match is_small && side.takes(order) {
            true => side.clone(),
            false => side.absent(),
        }
    };
    turns.sides.iter().map(side).collect()
}

fn live<const N: usize>(
    side: &Side,
    tools: &Tools,
    count: usize,
    settling: Duration,
    measure: impl FnOnce(&Run<'_>) -> Outcome<[f64; N]>,
) -> Outcome<[f64; N]> {
    let place = Place::in_memory(count, Work::Stay);
    let run = Run::settled(side, tools, place, settling)?;
    let figures = measure(&run)?;
    run.stop()?;
    Ok(figures)
}

fn orders(run: &Run<'_>, index: usize) -> Outcome<[f64; FIGURES.len()]> {
    let [status, status_cpu] = batch(run, QUESTIONS, || status(run, index))?;
    let [pair, pair_cpu] = batch(run, STARTS, || {
        Ok(stop(run, index)? + start(run, Order::Start, index)?)
    })?;
    let [restart, restart_cpu] = batch(run, STARTS, || start(run, Order::Restart, index))?;
    Ok([status, status_cpu, pair, pair_cpu, restart, restart_cpu])
}

/// The median of what each takes, and the mean of the processor time, in milliseconds.
fn batch(run: &Run<'_>, count: usize, mut once: impl FnMut() -> Outcome<f64>) -> Outcome<[f64; 2]> {
    let cpu = || run.cpu() + clients_cpu();
    let before = cpu();
    let times = (0..count).map(|_| once());
    let times = times.collect::<Outcome<Vec<f64>>>()?;
    let cpu = cpu().saturating_sub(before).as_secs_f64() * 1e3;
    Ok([quantile(&times, 0.5), cpu / count as f64])
}

/// The processor time of every process that this one has waited for: during a batch, clients.
fn clients_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a figure of the kernel");
    let times = [usage.user_time(), usage.system_time()];
    let time = |time: nix::sys::time::TimeVal| {
        let microseconds = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(microseconds.unsigned_abs())
    };
    times.into_iter().map(time).sum()
}

/// Executes a client; its time in milliseconds, and what it said.
fn ask(run: &Run<'_>, order: Order, index: usize) -> Outcome<(f64, String)> {
    let words = run.side.order(&run.place, run.tools, order, &name(index));
    let words = words.ok_or_else(|| format!("it has no {order:?}"))?;
    let mut client = Command::new(&words[0]);
    client
        .args(&words[1..])
        .current_dir(run.place.path(""))
        .stdin(Stdio::null());
    let began = now();
    let output = client.output().map_err(|error| error.to_string())?;
    let time = milliseconds(now() - began);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if !output.status.success() {
        let command = words.join(" ");
        return Err(format!("{command}: {}: {}", output.status, said.trim()));
    }
    Ok((time, said))
}

/// Every client tells the pid.
fn status(run: &Run<'_>, index: usize) -> Outcome<f64> {
    let (time, said) = ask(run, Order::Status, index)?;
    let pid = run.place.page.slot(index).pid.to_string();
    if !said.contains(&pid) {
        return Err(format!("a status without the pid {pid}: {said}"));
    }
    Ok(time)
}

fn stop(run: &Run<'_>, index: usize) -> Outcome<f64> {
    let (time, _) = ask(run, Order::Stop, index)?;
    let pid = run.place.page.slot(index).pid;
    match proc::executable(pid) {
        Some(_) => Err(format!("{pid} is there after its stop")),
        None => Ok(time),
    }
}

/// A start, or a restart.
fn start(run: &Run<'_>, order: Order, index: usize) -> Outcome<f64> {
    let before = run.place.page.slot(index);
    let (time, _) = ask(run, order, index)?;
    run.wait_until(LOOK_INTERVAL_SHORT, || {
        let slot = run.place.page.slot(index);
        let is_new = slot.starts == before.starts + 1 && slot.pid != before.pid;
        is_new
            .then_some(())
            .ok_or_else(|| format!("{} starts after {}", slot.starts, before.starts))
    })?;
    Ok(time)
}

/// Changes the first definition and has it read: that one program is started anew, and no other
/// is signalled, which would end it.
fn reload(run: &Run<'_>) -> Outcome<f64> {
    let pids = || run.place.page.slots().map(|slot| slot.pid);
    let (before, starts) = (pids().collect::<Vec<i32>>(), run.place.page.starts());
    run.place.change();
    run.side.configure(&run.place, run.tools);
    let (time, _) = ask(run, Order::Reload, 0)?;
    run.wait_until(LOOK_INTERVAL_SHORT, || {
        let now = run.place.page.slot(0).pid;
        (now != before[0])
            .then_some(())
            .ok_or_else(|| "the changed program was not started anew".to_owned())
    })?;
    let others = before.iter().zip(pids()).skip(1);
    let replaced = others.filter(|(before, now)| **before != *now).count();
    let started = run.place.page.starts() - starts;
    if replaced > 0 || started != 1 {
        return Err(format!("{started} starts, {replaced} of other programs"));
    }
    // One that was signalled, and not started again yet.
    let lost = pids()
        .filter(|&pid| proc::executable(pid).is_none())
        .count();
    match lost {
        0 => Ok(time),
        _ => Err(format!("{lost} programs have gone")),
    }
}
