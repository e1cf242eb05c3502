//! `demo`: ten seconds of supervision that need nothing but `/bin/sh`.
//!
//! An embedded config is supervised in a new temporary directory: a healthy program, one that
//! crashes, one that ignores SIGTERM. Messages are those of `run`, and the stderr of each report is
//! shown as text; then everything is stopped and a timeline of the runs is drawn.

mod timeline;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use procsched::config::Config;
use procsched::text::{error_text, escaped};
use procsched::{ChildSpec, ErrorReport, EventKind, ProcessScheduler, Status, StopCause};

use super::run::STOP_SIGNALS;
use super::{Command, FAILED, FINE};
use crate::clock;
use crate::load::load;
use crate::messages::{Level, SELF, Style};
use crate::output::{Outputs, Pair};
use crate::panics::silence_panics;
use crate::stdio::complain;
use crate::turn::turn;
use crate::upward::Upward;
use procsched::exit_label;
use procsched::text::duration;
use timeline::{Entry, Mark};

pub const COMMAND: Command = Command {
    name: "demo",
    summary: "see it work for some seconds; needs no config",
    description: "Supervises three small programs for some ten seconds, in a new temporary
directory: one that is healthy, one that crashes, one that ignores SIGTERM. Then
it draws a timeline of their runs. It needs /bin/sh and no config.
",
    example: "  $ procsched-min demo
",
    exec: |_| Ok(demo()),
    ..Command::PLAIN
};

/// The config. The delays are the defaults, so that they can be seen to grow.
const CONFIG: &str = r#"{
  "err_dir": "logs",
  "programs": {
    "healthy": ["/bin/sh", "-c",
      "trap 'echo goodbye >&2; exit 0' TERM; echo ready >&2; sleep 60 & wait"],
    "crashing": ["/bin/sh", "-c",
      "echo 'connecting to the database' >&2; sleep 1; echo 'no answer, giving up' >&2; exit 3"],
    "stubborn": {
      "command": ["/bin/sh", "-c",
        "trap '' TERM; echo 'I do not listen to SIGTERM' >&2; sleep 60"],
      "stop_timeout": "2s"
    }
  }
}
"#;

/// The program whose restarts are waited for.
const CRASHING: &str = "crashing";

/// Starts of it that show the delays of 1, 2 and 4 s.
const STARTS_SHOWN: usize = 4;

/// How long the last start is shown before the stop.
const LAST_LOOK: Duration = Duration::from_millis(600);

/// The time until the stop on a machine that is too slow for all starts.
const STOP_AT_MAX: Duration = Duration::from_secs(16);

/// Runs the demo and returns the exit code.
fn demo() -> u8 {
    let prepared = prepare(&std::env::temp_dir());
    let loaded = prepared.and_then(|path| Ok((load(&path)?, path)));
    match loaded {
        Ok((config, path)) => show(config, &path),
        Err(problem) => refuse(&problem),
    }
}

fn refuse(problem: &str) -> u8 {
    complain(&format!("{SELF}: {}", escaped(problem)));
    FAILED
}

/// Creates the config in a new directory in `parent`, if there is a shell, and returns its path.
fn prepare(parent: &Path) -> Result<PathBuf, String> {
    let shell = ChildSpec::new("demo", ["/bin/sh"]).locate("/".as_ref());
    shell.map_err(|error| error.to_string())?;
    // With mode 0700 and an unpredictable name.
    let template = parent.join("procsched-demo-XXXXXX");
    let directory = nix::unistd::mkdtemp(&template)
        .map_err(|errno| failed("create a directory like", &template, &errno.into()))?;
    let config = directory.join("procsched.json");
    std::fs::write(&config, CONFIG).map_err(|error| failed("write", &config, &error))?;
    Ok(config)
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> String {
    format!("the demo failed to {verb} {path:?}: {}", error_text(error))
}

fn show(config: Config, path: &Path) -> u8 {
    let programs = config.programs.iter();
    let names: Vec<String> = programs.map(|program| program.name().to_owned()).collect();
    let style = Style::new(names.iter().map(String::as_str));
    let outputs = Outputs::standard(style, Default::default());
    let marks = Marks::default();
    let mut scheduler = match build(config, style, &outputs, &marks) {
        Ok(scheduler) => scheduler,
        Err(error) => return refuse(&error.to_string()),
    };
    silence_panics();
    outputs
        .lock()
        .data("This is supervised for some ten seconds:\n");
    outputs.lock().data(CONFIG);
    supervise(&mut scheduler, &outputs, &marks);
    let mut outputs = outputs.lock();
    conclude(path, &names, &mut outputs, &lock(&marks));
    outputs.flush();
    if scheduler.is_abandoned() {
        FAILED
    } else {
        FINE
    }
}

fn build(
    config: Config,
    style: Style,
    outputs: &Outputs,
    marks: &Marks,
) -> procsched::Result<ProcessScheduler> {
    let (for_events, for_reports, marks) = (outputs.clone(), outputs.clone(), marks.clone());
    let start = clock::steady();
    config
        .into_builder()
        .on_event(move |event| {
            let mark = match event.kind() {
                EventKind::Started { .. } => Some(Mark::Started),
                EventKind::Exited { stopping: true, .. } => Some(Mark::Stopped),
                EventKind::Exited { .. } | EventKind::StartFailed { .. } => Some(Mark::Died),
                EventKind::Killed { .. } => Some(Mark::Killed),
                // The demo has its own line for its own stop.
                EventKind::StoppingAll { cause, .. } if *cause == StopCause::Host => return,
                _ => None,
            };
            let at = clock::steady().saturating_duration_since(start);
            let name = event.program().to_owned();
            lock(&marks).extend(mark.map(|mark| (at, name, mark)));
            if let Some(line) = style.event(event) {
                for_events.lock().say(&line);
                for_events.lock().pump();
            }
        })
        .error_handler(move |_, report| {
            for_reports.lock().data(&readable(report));
            for_reports.lock().pump();
        })
        .stop_on_signals(STOP_SIGNALS)
        .stop_on_signals([libc::SIGHUP])
        .build()
}

/// Supervises until everything has stopped, and stops it when all has been shown.
fn supervise(scheduler: &mut ProcessScheduler, outputs: &Outputs, marks: &Marks) {
    let mut stop_at = clock::steady() + STOP_AT_MAX;
    loop {
        let wait = (!scheduler.is_stopping()).then(|| clock::until(stop_at));
        if turn(scheduler, outputs, None, &Upward::default(), wait) == Status::Stopped {
            return;
        }
        if starts(CRASHING, &lock(marks)) >= STARTS_SHOWN {
            stop_at = stop_at.min(clock::steady() + LAST_LOOK);
        }
        if !scheduler.is_stopping() && clock::until(stop_at).is_zero() {
            let why = "everything: all has been shown";
            outputs.lock().say_own(Level::Info, "stopping", why);
            scheduler.stop();
        }
    }
}

/// Returns the report as text: the exit, the delay of the restart, and stderr.
fn readable(report: &ErrorReport) -> String {
    let (key, value) = exit_label(report.return_code());
    let uptime = duration(report.uptime());
    let delay = report
        .retry_in()
        .map(|delay| format!(" retry_in={}", duration(delay)));
    format!(
        "    report: {}: {key}={value} uptime={uptime}{}{}",
        report.process(),
        delay.unwrap_or_default(),
        lines(report.stderr())
    )
}

fn lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut shown = match text.is_empty() {
        true => "; stderr is empty".to_owned(),
        false => "; stderr:".to_owned(),
    };
    for line in text.lines() {
        shown.push_str("\n      | ");
        shown.push_str(&escaped(line));
    }
    shown
}

/// Prints the timeline and the next steps.
fn conclude(config: &Path, names: &[String], outputs: &mut Pair, marks: &[Entry]) {
    outputs.data(&format!("\nTimeline:\n\n{}", timeline::draw(names, marks)));
    outputs.data(&format!("  {}\n", timeline::LEGEND));
    outputs.data("Their stderr is logged in:");
    for name in names {
        let log = config.with_file_name(format!("logs/{name}.stderr.log"));
        outputs.data(&format!("  {}", escaped(&log.to_string_lossy())));
    }
    outputs.data(&format!(
        "\nNext, supervise the same until Ctrl-C, or begin with a config of your own:\n\n  \
         procsched-min run {}\n  procsched-min help",
        escaped(&config.to_string_lossy())
    ));
}

/// The events that the timeline shows.
type Marks = Arc<Mutex<Vec<Entry>>>;

fn lock(marks: &Marks) -> MutexGuard<'_, Vec<Entry>> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn starts(program: &str, marks: &[Entry]) -> usize {
    let is_start = |entry: &&Entry| entry.1 == program && entry.2 == Mark::Started;
    marks.iter().filter(is_start).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_one() {
        let config = Config::parse(CONFIG.as_bytes(), "demo", Path::new("/"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let programs = config.programs.iter();
        let names: Vec<&str> = programs.map(|program| program.name()).collect();
        assert_eq!(names, ["healthy", CRASHING, "stubborn"]);
        assert!(CONFIG.lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn what_is_missing_is_named() {
        let problem = prepare("/no/tmp".as_ref()).expect_err("a problem");
        let expected = "a directory like \"/no/tmp/procsched-demo-XXXXXX\"";
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn stderr_is_escaped() {
        assert_eq!(lines(b""), "; stderr is empty");
        assert_eq!(
            lines(b"a\n\x1b[31mb\xff"),
            "; stderr:\n      | a\n      | \\u{1b}[31mb\u{fffd}"
        );
    }
}
