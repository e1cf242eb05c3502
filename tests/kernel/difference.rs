//! The simulated kernel held against the real one: the same programs do the same things on both,
//! and what the scheduler tells of them must be the same, word by word.
//!
//! What happens is so far apart in time that its order is certain: programs act at even times, and
//! the stop comes at an odd one, in units of some milliseconds. Where a busy machine is late even
//! so, a scenario is tried again with longer units.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::life;
use super::world::{self, Action, Kernel, Moods, Plan, Temper, Weather};
use crate::common::tools::probe_path;
use crate::machine::Backoff;
use crate::model::rng::Rng;
use crate::spec::ChildSpec;

/// The units that are tried one after the other, in milliseconds.
const UNITS: [u64; 3] = [20, 80, 240];

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
struct Actor {
    runs: Vec<Doing>,
    is_missing: bool,
    restart: u8,
    delay_units: u64,
    grace_units: u64,
    report_bytes: usize,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    actors: Vec<Actor>,
    stop_units: u64,
    is_kill: bool,
}

/// What was told of each program, in order.
type Trace = Vec<Vec<String>>;

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
            steps.push((0, Action::Write(self.bytes)));
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
    fn any(rng: &mut Rng) -> Self {
        let mut runs: Vec<Doing> = (0..rng.below(4)).map(|_| Doing::any(rng)).collect();
        let last = Doing {
            end: End::Stay,
            ..Doing::any(rng)
        };
        runs.push(last);
        let is_missing = rng.one_in(8);
        Self {
            runs,
            is_missing,
            restart: rng.below(4) as u8,
            // A start that failed is tried again after a tenth of a second at the earliest.
            delay_units: if is_missing {
                8
            } else {
                rng.pick(&[0, 2, 2, 4])
            },
            grace_units: rng.pick(&[0, 2, 4]),
            report_bytes: rng.pick(&[10, 65_536]),
        }
    }

    fn command(&self, directory: &Path, name: &str, unit: u64) -> Vec<String> {
        if self.is_missing {
            return vec![directory.join("missing").display().to_string()];
        }
        let script = |(index, run): (usize, &Doing)| {
            let script = run.script(unit);
            if run.end == End::Stay {
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
        Self {
            actors: (0..1 + rng.below(3))
                .map(|_| Actor::any(&mut rng))
                .collect(),
            stop_units: 1 + 2 * rng.below(6),
            is_kill: rng.one_in(4),
        }
    }

    fn names(&self) -> Vec<String> {
        (0..self.actors.len())
            .map(|index| format!("p{index}"))
            .collect()
    }
}

/// The same words about either library.
macro_rules! play {
    ($($library:tt)*) => {
        use std::path::Path;
        use std::sync::{Arc, Mutex};
        use std::time::Duration;

        use $($library)*::{Backoff, ChildSpec, ErrorReport, Event, EventKind, ProcessScheduler, Restart, Status};

        use super::{Scenario, Trace};

        fn line_of(event: &Event) -> String {
            match event.kind() {
                EventKind::Started { .. } => "started".to_owned(),
                EventKind::Exited { return_code, stopping, retry_in, .. } => {
                    format!("exited {return_code} stopping {stopping} retry {retry_in:?}")
                }
                EventKind::StartFailed { retry_in, .. } => format!("start failed, retry {retry_in:?}"),
                EventKind::Stopping { signal, timeout, .. } => format!("stopping {signal} {timeout:?}"),
                EventKind::Killed { .. } => "killed".to_owned(),
                EventKind::Abandoned { .. } => "abandoned".to_owned(),
                EventKind::OrphanSignalled { signal, .. } => format!("orphan signalled {signal}"),
                EventKind::Warning { error, .. } => format!("warning {error}"),
                other => format!("{other:?}"),
            }
        }

        fn line_of_report(report: &ErrorReport) -> String {
            format!(
                "report {} code {} signal {:?} stopping {} bytes {}+{} retry {:?} failed {}",
                report.restarts(),
                report.return_code(),
                report.signal(),
                report.stopping(),
                report.data_omitted(),
                report.stderr().len(),
                report.retry_in(),
                report.error().is_some(),
            )
        }

        /// Plays it, by this clock, which begins with it.
        pub fn play(
            scenario: &Scenario,
            unit: u64,
            directory: &Path,
            now: impl Fn() -> Duration,
        ) -> Result<Trace, String> {
            let names = scenario.names();
            let traces = Arc::new(Mutex::new(vec![Vec::new(); names.len()]));
            let units = |units: u64| Duration::from_millis(units * unit);
            let specs = scenario.actors.iter().zip(&names).map(|(actor, name)| {
                let delay = units(actor.delay_units);
                let restart = [Restart::Always, Restart::Always, Restart::OnFailure, Restart::Never];
                ChildSpec::new(name, actor.command(directory, name, unit))
                    .restart(restart[usize::from(actor.restart)])
                    .backoff(Backoff { initial: delay, max: delay, ..Backoff::default() })
                    .stop_timeout(units(actor.grace_units))
                    .report_bytes(actor.report_bytes)
            });
            let write = |name: &str, line: String, traces: &Arc<Mutex<Trace>>, names: &[String]| {
                let index = names.iter().position(|known| known == name).unwrap_or(0);
                traces.lock().expect("one thread").get_mut(index).expect("its trace").push(line);
            };
            let (events, of_events) = (traces.clone(), names.clone());
            let (reports, of_reports) = (traces.clone(), names.clone());
            let mut scheduler = ProcessScheduler::builder(directory)
                .err_dir(directory)
                .programs(specs)
                .subreaper()
                .on_event(move |event| write(event.program(), line_of(event), &events, &of_events))
                .error_handler(move |name, report| {
                    write(name, line_of_report(report), &reports, &of_reports);
                })
                .build()
                .map_err(|error| error.to_string())?;
            let begin = now();
            let mut is_stopped = false;
            loop {
                let left = units(scenario.stop_units).saturating_sub(now() - begin);
                if left.is_zero() && !is_stopped {
                    is_stopped = true;
                    if scenario.is_kill { scheduler.kill() } else { scheduler.stop() }
                }
                let most = if is_stopped { Duration::from_secs(10) } else { left };
                let status = scheduler.step(Some(most)).map_err(|error| error.to_string())?;
                if status == Status::Stopped {
                    break;
                }
            }
            for (index, program) in scheduler.programs().iter().enumerate() {
                let state = format!("{} after {} restarts", program.state(), program.restarts());
                traces.lock().expect("one thread")[index].push(state);
            }
            let trace = traces.lock().expect("one thread").clone();
            Ok(trace.into_iter().map(super::with_orphans_last).collect())
        }
    };
}

mod simulated {
    mod library {
        pub use crate::event::{Event, EventKind};
        pub use crate::machine::{Backoff, Restart};
        pub use crate::report::ErrorReport;
        pub use crate::scheduler::{ProcessScheduler, Status};
        pub use crate::spec::ChildSpec;
    }
    play!(self::library);
}

mod real {
    play!(procsched);
}

/// When an orphan comes home is between it and the kernel: only that it is met, and how, is told.
fn with_orphans_last(lines: Vec<String>) -> Vec<String> {
    let is_of_orphan = |line: &String| line.starts_with("orphan");
    let (mut orphans, mut lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_of_orphan);
    orphans.sort();
    lines.append(&mut orphans);
    lines
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
    let trace = simulated::play(scenario, unit, &directory, now);
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
    let trace = real::play(&Scenario::any(seed), unit, directory.path(), || {
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
