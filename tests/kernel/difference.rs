//! The simulated kernel held against the real one: the same programs do the same things on both,
//! and what the scheduler tells of them must be the same, word by word.
//!
//! What happens is so far apart in time that its order is certain: programs act at even times, and
//! the stop comes at an odd one, in units of some milliseconds. Orders come at odd times, too, and
//! each some quarters of a unit later, so that what follows from one never meets what follows from
//! another. Where a busy machine is late even so, a scenario is tried again with longer units.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::world::{self, Action, Kernel, Moods, Plan, Temper, Weather};
use super::{life, story};
use crate::common::tools::probe_path;
use crate::machine::Backoff;
use crate::model::rng::Rng;
use crate::spec::{ChildSpec, StdStream};

/// The units that are tried one after the other, in milliseconds. A quarter of the last is longer than
/// a busy machine takes to execute a program.
const UNITS: [u64; 4] = [24, 80, 240, 960];

/// What a process is told that plays a scenario on the real kernel: which, and by which unit.
const PLAYED: &str = "PROCSCHED_KERNEL_PLAYED";

/// So many scenarios are played at a time.
const AT_ONCE: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit(i32),
    Die(i32),
    Stay,
}

/// What one run does: all at once, and after so many units it ends.
#[derive(Debug, Clone, Copy)]
struct Doing {
    ignores: bool,
    bytes: usize,
    member: bool,
    escapee: bool,
    units: u64,
    end: End,
}

#[derive(Debug, Clone)]
pub struct Actor {
    runs: Vec<Doing>,
    is_missing: bool,
    pub restart: u8,
    pub delay_units: u64,
    pub grace_units: u64,
    pub report_bytes: usize,
    /// The programs before it that it requires.
    pub requires: Vec<usize>,
    pub is_oneshot: bool,
    pub restarts_max: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Kill,
    Remove,
    Add,
}

/// An order for one program, and when it is given, in quarters of a unit.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub quarters: u64,
    pub verb: Verb,
    pub actor: usize,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub actors: Vec<Actor>,
    pub orders: Vec<Order>,
    pub stop_units: u64,
    pub is_kill: bool,
}

/// What was told of each program, in order; the last is what was told of none.
pub type Trace = Vec<Vec<String>>;

impl Doing {
    fn any(rng: &mut Rng) -> Self {
        let end = match rng.below(4) {
            0 => End::Exit(0),
            1 | 2 => End::Exit(1 + rng.below(98) as i32),
            _ => End::Die(rng.pick(&[libc::SIGKILL, libc::SIGUSR1, 40])),
        };
        Self {
            ignores: rng.one_in(4),
            bytes: if rng.one_in(2) {
                rng.pick(&[1, 100, 5_000, 20_000])
            } else {
                0
            },
            member: rng.one_in(3),
            escapee: rng.one_in(4),
            units: 2 * (1 + rng.below(2)),
            end,
        }
    }

    fn plan(&self, unit: u64) -> Plan {
        let temper = if self.ignores {
            Temper::Ignores
        } else {
            Temper::Dies
        };
        let units = |units: u64| units * unit * 1_000_000;
        let mut steps = Vec::new();
        if self.bytes > 0 {
            steps.push((0, Action::Write(StdStream::Stderr, self.bytes)));
        }
        if self.member {
            steps.push((0, Action::Fork(Plan::hold(temper))));
        }
        if self.escapee {
            let mut escapee = Plan::hold(temper);
            escapee.steps = vec![(0, Action::Setsid)];
            steps.push((0, Action::Fork(escapee)));
        }
        match self.end {
            End::Exit(code) => steps.push((units(self.units), Action::Exit(code))),
            End::Die(signal) => steps.push((units(self.units), Action::Die(signal))),
            End::Stay => {}
        }
        Plan {
            steps,
            temper,
            reaps: true,
        }
    }

    /// The same as a script of the probe.
    fn script(&self, unit: u64) -> String {
        let mut steps = Vec::new();
        if self.ignores {
            steps.push("ignore TERM".to_owned());
        }
        if self.bytes > 0 {
            steps.push(format!("spew {} flat", self.bytes));
        }
        if self.member {
            steps.push("fork { hold }".to_owned());
        }
        if self.escapee {
            steps.push("escape { hold }".to_owned());
        }
        let pause = self.units * unit;
        steps.push(match self.end {
            End::Exit(code) => format!("sleep {pause} ; exit {code}"),
            End::Die(signal) => format!("sleep {pause} ; sig {signal}"),
            End::Stay => "hold".to_owned(),
        });
        steps.join(" ; ")
    }
}

impl Actor {
    fn any(rng: &mut Rng, before: usize) -> Self {
        let mut runs: Vec<Doing> = (0..rng.below(4)).map(|_| Doing::any(rng)).collect();
        let last = Doing {
            end: End::Stay,
            ..Doing::any(rng)
        };
        let is_oneshot = rng.one_in(5);
        let end = if is_oneshot { End::Exit(0) } else { last.end };
        runs.push(Doing { end, ..last });
        let is_missing = rng.one_in(8);
        Self {
            runs,
            is_missing,
            // A oneshot is not restarted always.
            restart: if is_oneshot {
                2 + rng.below(2) as u8
            } else {
                rng.below(4) as u8
            },
            // A start that failed is tried again after a tenth of a second at the earliest.
            delay_units: if is_missing {
                8
            } else {
                rng.pick(&[0, 2, 2, 4])
            },
            grace_units: rng.pick(&[0, 2, 4]),
            report_bytes: rng.pick(&[10, 65_536]),
            requires: (0..before).filter(|_| rng.one_in(3)).collect(),
            is_oneshot,
            restarts_max: rng.one_in(4).then(|| rng.below(3) as u32),
        }
    }

    pub fn command(&self, directory: &Path, name: &str, unit: u64) -> Vec<String> {
        if self.is_missing {
            return vec![directory.join("missing").display().to_string()];
        }
        let script = |(index, run): (usize, &Doing)| {
            let script = run.script(unit);
            if index + 1 == self.runs.len() {
                script
            } else {
                format!("once {name}.{index} {{ {script} }}")
            }
        };
        let scripts: Vec<String> = self.runs.iter().enumerate().map(script).collect();
        vec![probe_path().display().to_string(), scripts.join(" ; ")]
    }
}

impl Scenario {
    pub fn any(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let actors: Vec<Actor> = (0..1 + rng.index(3))
            .map(|before| Actor::any(&mut rng, before))
            .collect();
        let stop_units = 1 + 2 * rng.below(6);
        let orders = if rng.one_in(3) {
            Vec::new()
        } else {
            any_orders(&mut rng, actors.len(), stop_units)
        };
        Self {
            actors,
            orders,
            stop_units,
            is_kill: rng.one_in(4),
        }
    }

    pub fn names(&self) -> Vec<String> {
        (0..self.actors.len())
            .map(|index| format!("p{index}"))
            .collect()
    }
}

/// Up to three orders before the stop, each at an odd time of its own.
fn any_orders(rng: &mut Rng, actors: usize, stop_units: u64) -> Vec<Order> {
    let mut orders = Vec::new();
    let mut units = 1;
    for quarter in 1..4 {
        units += 2 * rng.below(3);
        if units >= stop_units {
            break;
        }
        let verb = rng.pick(&[
            Verb::Start,
            Verb::Stop,
            Verb::Stop,
            Verb::Restart,
            Verb::Restart,
            Verb::Kill,
            Verb::Remove,
            Verb::Add,
        ]);
        let actor = rng.index(actors);
        // What was stopped comes back, as a rule.
        let verb = match orders.last() {
            Some(&Order {
                verb: Verb::Remove, ..
            }) => Verb::Add,
            Some(&Order {
                verb: Verb::Stop, ..
            }) if rng.one_in(2) => Verb::Start,
            _ => verb,
        };
        let before = orders.last().map(|order: &Order| order.actor);
        let is_back = matches!(verb, Verb::Add | Verb::Start);
        let actor = before.filter(|_| is_back).unwrap_or(actor);
        let quarters = 4 * units + quarter;
        orders.push(Order {
            quarters,
            verb,
            actor,
        });
    }
    orders
}

/// Moves the orphans to the end, sorted: when the kernel hands one over is not ours to compare.
pub fn with_orphans_last(lines: Vec<String>) -> Vec<String> {
    let is_of_orphan = |line: &String| line.starts_with("orphan");
    let (mut orphans, mut lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_of_orphan);
    orphans.sort();
    lines.append(&mut orphans);
    lines
}

/// Drops the orphans that belong to no program. Whether such an orphan is found before it is reaped
/// depends on the kernel, and one that has just died cannot be traced to its program.
fn without_nobodys_orphans(mut trace: Trace) -> Trace {
    if let Some(of_none) = trace.last_mut() {
        of_none.retain(|line| !line.starts_with("orphan"));
    }
    trace
}

fn on_simulated_kernel(seed: u64, scenario: &Scenario, unit: u64) -> Result<Trace, String> {
    let directory = life::directory();
    life::empty(&directory);
    let mut kernel = Kernel::new(Rng::new(seed), Weather::fair(), Moods::default(), 32);
    for (actor, name) in scenario.actors.iter().zip(scenario.names()) {
        let delay = Duration::from_millis(actor.delay_units * unit);
        let backoff = Backoff {
            initial: delay,
            max: delay,
            ..Backoff::default()
        };
        let spec = ChildSpec::new(name, ["program"]).backoff(backoff);
        let spec = spec.stop_timeout(Duration::from_millis(actor.grace_units * unit));
        let index = kernel.add_program(&spec);
        let program = &mut kernel.programs[index];
        program.is_missing = actor.is_missing;
        program.script = Some(actor.runs.iter().map(|run| run.plan(unit)).collect());
    }
    world::boot(kernel);
    let now = || Duration::from_nanos(world::with(|kernel| kernel.now));
    let trace = story::simulated::play(scenario, unit, &directory, now);
    world::halt();
    trace
}

/// In a process of its own, as orphans come home to a process and not to a thread.
fn on_real_kernel(seed: u64, unit: u64) -> Result<Trace, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(this);
    let played = command.env(PLAYED, format!("{seed} {unit}")).output();
    let played = played.map_err(|error| error.to_string())?;
    serde_json::from_slice(&played.stdout).map_err(|error| {
        let words = String::from_utf8_lossy(&played.stderr);
        format!(
            "the real one ended with {}: {error}: {words}",
            played.status
        )
    })
}

/// If this process is there for a scenario on the real kernel, it plays that. Whether it is.
pub fn play_if_asked() -> bool {
    let Ok(asked) = std::env::var(PLAYED) else {
        return false;
    };
    let mut numbers = asked
        .split(' ')
        .map(|number| number.parse::<u64>().expect("a number"));
    let [seed, unit] = [(); 2].map(|()| numbers.next().expect("two numbers"));
    let directory = tempfile::Builder::new().prefix("procsched-real-").tempdir();
    let directory = directory.expect("a temporary directory");
    let begin = std::time::Instant::now();
    let trace = story::real::play(&Scenario::any(seed), unit, directory.path(), || {
        begin.elapsed()
    });
    let line = serde_json::json!(trace.expect("it plays"));
    writeln!(std::io::stdout(), "{line}").expect("somebody reads it");
    true
}

fn compare(seed: u64) -> Result<u64, String> {
    let scenario = Scenario::any(seed);
    let mut problem = String::new();
    for (tries, unit) in UNITS.into_iter().enumerate() {
        let simulated = on_simulated_kernel(seed, &scenario, unit)?;
        let real = on_real_kernel(seed, unit)?;
        let [simulated, real] = [simulated, real].map(without_nobodys_orphans);
        if simulated == real {
            return Ok(tries as u64);
        }
        problem = format!(
            "scenario {seed}, units of {unit} ms: {scenario:#?}\nsimulated {simulated:#?}\nreal {real:#?}"
        );
    }
    Err(problem)
}

/// Plays so many scenarios on both. How many of them were late and tried again.
pub fn compare_all(scenarios: u64) -> Result<u64, String> {
    probe_path();
    let (next, late) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= scenarios {
                return Ok(());
            }
            let tries = compare(seed)?;
            late.fetch_add(tries.min(1), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let outcomes = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        outcomes.collect::<Result<Vec<()>, String>>()
    })?;
    Ok(late.into_inner())
}
