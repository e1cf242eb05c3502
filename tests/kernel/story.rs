//! Plays a scenario, in the same words about either library, and writes down what is told.

use super::difference::{Scenario, Trace, Verb, with_orphans_last};

macro_rules! play {
    ($($library:tt)*) => {
        use std::path::Path;
        use std::sync::{Arc, Mutex};
        use std::time::Duration;

        use $($library)*::{Backoff, ChildSpec, ErrorReport, Event, EventKind, ProcessScheduler, Restart, Status};

        use super::{Scenario, Trace, Verb};

        fn line_of(event: &Event) -> String {
            match event.kind() {
                EventKind::Started { .. } => "started".to_owned(),
                EventKind::Exited { return_code, cause, retry_in, .. } => {
                    format!("exited {return_code} by {cause} retry {retry_in:?}")
                }
                EventKind::StartFailed { cause, retry_in, .. } => {
                    format!("start failed by {cause}, retry {retry_in:?}")
                }
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
                "report {} code {} signal {:?} by {} bytes {}+{} retry {:?} failed {}",
                report.restarts(),
                report.return_code(),
                report.signal(),
                report.cause(),
                report.data_omitted(),
                report.stderr().len(),
                report.retry_in(),
                report.error().is_some(),
            )
        }

        fn spec(scenario: &Scenario, actor: usize, unit: u64, directory: &Path) -> ChildSpec {
            let names = scenario.names();
            let units = |units: u64| Duration::from_millis(units * unit);
            let (actor, name) = (&scenario.actors[actor], &names[actor]);
            let delay = units(actor.delay_units);
            let restart = [Restart::Always, Restart::Always, Restart::OnFailure, Restart::Never];
            let spec = ChildSpec::new(name, actor.command(directory, name, unit))
                .restart(restart[usize::from(actor.restart)])
                .backoff(Backoff { initial: delay, max: delay, ..Backoff::default() })
                .stop_timeout(units(actor.grace_units))
                .report_bytes(actor.report_bytes)
                .requires(actor.requires.iter().map(|&other| &names[other]))
                .oneshot(actor.is_oneshot);
            match actor.restarts_max {
                Some(restarts) => spec.max_restarts(restarts),
                None => spec,
            }
        }

        fn order(
            scheduler: &mut ProcessScheduler,
            verb: Verb,
            name: &str,
            spec: ChildSpec,
        ) -> String {
            let given = match verb {
                Verb::Start => scheduler.start_program(name),
                Verb::Stop => scheduler.stop_program(name),
                Verb::Restart => scheduler.restart_program(name),
                Verb::Kill => scheduler.kill_program(name),
                Verb::Remove => scheduler.remove(name),
                Verb::Add => scheduler.add(spec),
            };
            format!("{verb:?}: {:?}", given.map_err(|error| error.kind()))
        }

        /// Plays it, by this clock, which begins with it.
        pub fn play(
            scenario: &Scenario,
            unit: u64,
            directory: &Path,
            now: impl Fn() -> Duration,
        ) -> Result<Trace, String> {
            let names = scenario.names();
            let traces = Arc::new(Mutex::new(vec![Vec::new(); names.len() + 1]));
            let write = |name: &str, line: String, traces: &Arc<Mutex<Trace>>, names: &[String]| {
                let index = names.iter().position(|known| known == name);
                traces.lock().expect("one thread")[index.unwrap_or(names.len())].push(line);
            };
            let (events, of_events) = (traces.clone(), names.clone());
            let (reports, of_reports) = (traces.clone(), names.clone());
            let mut builder = ProcessScheduler::builder(directory);
            if !scenario.orders.is_empty() {
                builder = builder.keep_running();
            }
            let mut scheduler = builder
                .err_dir(directory)
                .programs((0..names.len()).map(|actor| spec(scenario, actor, unit, directory)))
                .subreaper()
                .on_event(move |event| write(event.program(), line_of(event), &events, &of_events))
                .error_handler(move |name, report| {
                    write(name, line_of_report(report), &reports, &of_reports);
                })
                .build()
                .map_err(|error| error.to_string())?;
            let begin = now();
            let mut orders = scenario.orders.iter().peekable();
            let mut is_stopped = false;
            loop {
                let passed = now() - begin;
                if let Some(next) = orders.next_if(|order| quarters(order.quarters, unit) <= passed) {
                    let spec = spec(scenario, next.actor, unit, directory);
                    let line = order(&mut scheduler, next.verb, &names[next.actor], spec);
                    write(&names[next.actor], line, &traces, &names);
                    continue;
                }
                let stop_at = quarters(4 * scenario.stop_units, unit);
                if stop_at <= passed && !is_stopped {
                    is_stopped = true;
                    if scenario.is_kill { scheduler.kill() } else { scheduler.stop() }
                }
                let next = orders.peek().map_or(stop_at, |order| quarters(order.quarters, unit));
                let most = if is_stopped { Duration::from_secs(10) } else { next - passed };
                let status = scheduler.step(Some(most)).map_err(|error| error.to_string())?;
                if status == Status::Stopped {
                    break;
                }
            }
            for program in scheduler.programs() {
                let state = format!("{} after {} restarts", program.state(), program.restarts());
                write(program.name(), state, &traces, &names);
            }
            let trace = traces.lock().expect("one thread").clone();
            Ok(trace.into_iter().map(super::with_orphans_last).collect())
        }

        fn quarters(quarters: u64, unit: u64) -> Duration {
            Duration::from_micros(quarters * unit * 250)
        }
    };
}

pub mod simulated {
    mod library {
        pub use crate::event::{Event, EventKind};
        pub use crate::machine::{Backoff, Restart};
        pub use crate::report::ErrorReport;
        pub use crate::scheduler::{ProcessScheduler, Status};
        pub use crate::spec::ChildSpec;
    }
    play!(self::library);
}

pub mod real {
    play!(procsched);
}
