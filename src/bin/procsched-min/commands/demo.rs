//! `demo`: ten seconds of supervision that need nothing but `/bin/sh`.
//!
//! An embedded config is supervised in a new temporary directory: a healthy program, one that
//! crashes, one that ignores SIGTERM. Messages are those of `run`, and the stderr of each report is
//! shown as text; then everything is stopped and a timeline of the runs is drawn.

mod timeline;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use procsched::config::Config;
use procsched::text::{error_text, escaped};
use procsched::{ErrorReport, Event, EventKind, ProcessScheduler, Status, StopCause};

use super::run::STOP_SIGNALS;
use super::{Command, FAILED, FINE};
use crate::clock;
use crate::load::load;
use crate::messages::{Level, SELF, Style};
use crate::output::Outputs;
use crate::stdio::complain;
use crate::turn::{silence_panics, turn};
use crate::values::{duration, exit_label};
use timeline::{Mark, Row};

pub const COMMAND: Command = Command {
    name: "demo",
    summary: "see it work for some seconds; needs no config",
    description: "Supervises three small programs for some ten seconds, in a new temporary
directory: one that is healthy, one that crashes, one that ignores SIGTERM. Then
it draws a timeline of their runs. It needs /bin/sh and no config.
",
    exec: |_| Ok(demo()),
    ..Command::PLAIN
};

const SHELL: &str = "/bin/sh";

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

/// Lines of a report's stderr that are shown.
const STDERR_LINES_MAX: usize = 5;

/// Runs the demo and returns the exit code.
fn demo() -> u8 {
    let prepared = prepare(SHELL.as_ref(), &std::env::temp_dir());
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
fn prepare(shell: &Path, parent: &Path) -> Result<PathBuf, String> {
    let found = std::fs::metadata(shell).map_err(|error| failed("find", shell, &error))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(format!("the demo cannot execute {shell:?}"));
    }
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
    let outputs = Outputs::standard(style);
    let record = Record::default();
    let mut scheduler = match build(config, style, &outputs, &record) {
        Ok(scheduler) => scheduler,
        Err(error) => return refuse(&error.to_string()),
    };
    silence_panics();
    outputs.data("This is supervised for some ten seconds:\n");
    outputs.data(CONFIG);
    supervise(&mut scheduler, &outputs, &record);
    conclude(path, &names, &outputs, &record);
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
    record: &Record,
) -> procsched::Result<ProcessScheduler> {
    let (for_events, for_reports, record) = (outputs.clone(), outputs.clone(), record.clone());
    config
        .into_builder()
        .on_event(move |event| {
            record.note(event);
            // The demo has its own line for its own stop.
            let is_own = matches!(
                event.kind(),
                EventKind::StoppingAll {
                    cause: StopCause::Host,
                    ..
                }
            );
            if let Some(line) = style.event(event).filter(|_| !is_own) {
                for_events.say(&line);
            }
        })
        .error_handler(move |_, report| for_reports.data(&readable(report)))
        .stop_on_signals(STOP_SIGNALS)
        .stop_on_signals([libc::SIGHUP])
        .build()
}

/// Supervises until everything has stopped, and stops it when all has been shown.
fn supervise(scheduler: &mut ProcessScheduler, outputs: &Outputs, record: &Record) {
    let mut stop_at = clock::steady() + STOP_AT_MAX;
    let mut all_seen = false;
    loop {
        let wait = (!scheduler.is_stopping()).then(|| clock::until(stop_at));
        if turn(scheduler, outputs, wait) == Status::Stopped {
            return;
        }
        if !all_seen && record.starts(CRASHING) >= STARTS_SHOWN {
            all_seen = true;
            stop_at = stop_at.min(clock::steady() + LAST_LOOK);
        }
        if !scheduler.is_stopping() && clock::until(stop_at).is_zero() {
            outputs.say_own(Level::Info, "stopping", "everything: all has been shown");
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
        last_lines(report.stderr())
    )
}

fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(STDERR_LINES_MAX);
    let mut shown = match (lines.len(), left_out) {
        (0, _) => "; stderr is empty".to_owned(),
        (_, 0) => "; stderr:".to_owned(),
        _ => format!("; the last {STDERR_LINES_MAX} lines of stderr:"),
    };
    for line in lines.iter().skip(left_out) {
        shown.push_str("\n      | ");
        shown.push_str(&escaped(line));
    }
    shown
}

/// Prints the timeline and the next steps.
fn conclude(config: &Path, names: &[String], outputs: &Outputs, record: &Record) {
    let (rows, length) = record.rows(names);
    outputs.data(&format!("\nTimeline:\n\n{}", timeline::draw(&rows, length)));
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
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<(SystemTime, String, Mark)>>>);

impl Record {
    fn lock(&self) -> MutexGuard<'_, Vec<(SystemTime, String, Mark)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: &Event) {
        let mark = match event.kind() {
            EventKind::Started { .. } => Mark::Started,
            EventKind::StartFailed { .. } => Mark::Died,
            EventKind::Exited { stopping, .. } if *stopping => Mark::Stopped,
            EventKind::Exited { .. } => Mark::Died,
            EventKind::Killed { .. } => Mark::Killed,
            _ => return,
        };
        self.lock()
            .push((event.at(), event.program().to_owned(), mark));
    }

    fn starts(&self, program: &str) -> usize {
        let marks = self.lock();
        marks
            .iter()
            .filter(|(_, name, mark)| name == program && *mark == Mark::Started)
            .count()
    }

    /// Returns a row for each name, and the time until the last event.
    fn rows(&self, names: &[String]) -> (Vec<Row>, Duration) {
        let marks = self.lock();
        let begin = marks.first().map_or(SystemTime::UNIX_EPOCH, |(at, ..)| *at);
        // A wall clock that is set back only shifts marks: none comes before its predecessor.
        let mut length = Duration::ZERO;
        let mut rows: BTreeMap<&str, Vec<(Duration, Mark)>> = BTreeMap::new();
        for (at, name, mark) in marks.iter() {
            length = length.max(at.duration_since(begin).unwrap_or_default());
            rows.entry(name).or_default().push((length, *mark));
        }
        let row = |name: &String| Row {
            name: name.clone(),
            marks: rows.remove(name.as_str()).unwrap_or_default(),
        };
        (names.iter().map(row).collect(), length)
    }
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
        let table = [
            ("/no/sh", "/tmp", "the demo failed to find \"/no/sh\": "),
            ("/dev/null", "/tmp", "the demo cannot execute \"/dev/null\""),
            (
                SHELL,
                "/no/tmp",
                "a directory like \"/no/tmp/procsched-demo-XXXXXX\"",
            ),
        ];
        for (shell, parent, expected) in table {
            let problem = prepare(shell.as_ref(), parent.as_ref()).expect_err("a problem");
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn stderr_is_shortened_and_escaped() {
        assert_eq!(last_lines(b""), "; stderr is empty");
        assert_eq!(
            last_lines(b"a\n\x1b[31mb\xff"),
            "; stderr:\n      | a\n      | \\u{1b}[31mb\u{fffd}"
        );
        let many = last_lines(b"1\n2\n3\n4\n5\n6\n7\n");
        assert!(
            many.starts_with("; the last 5 lines of stderr:\n      | 3\n"),
            "{many}"
        );
        assert!(many.ends_with("| 7"), "{many}");
    }

    #[test]
    fn the_shutdown_ends_the_demo_in_time() {
        // The stop timeout of the stubborn one, and 5 s for what survives SIGKILL.
        let longest = STOP_AT_MAX + Duration::from_secs(2 + 5);
        assert!(longest < Duration::from_secs(25));
    }
}
