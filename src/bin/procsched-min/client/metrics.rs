//! The text format of Prometheus: every sample of a metric stands behind its `TYPE` line, so a
//! metric is written when the last program is there.

use std::fmt::{self, Display, Write};

use serde_json::Value;

use super::program::Program;
use super::time;
use crate::control::protocol::Until;

/// The metrics of programs, in their order.
const METRICS: [Metric; 5] = [
    Metric {
        name: "procsched_program_state",
        kind: "gauge",
        help: "1 for the state that the program is in, 0 for the others.",
    },
    Metric {
        name: "procsched_program_up",
        kind: "gauge",
        help: "1 if the program is running, or has ended successfully for good.",
    },
    Metric {
        name: "procsched_program_starts_total",
        kind: "counter",
        help: "Starts of the program since it was defined, failed ones too.",
    },
    Metric {
        name: "procsched_program_last_exit_code",
        kind: "gauge",
        help: "How the latest run ended: its exit code, or minus the number of a signal.",
    },
    Metric {
        name: "procsched_program_start_time_seconds",
        kind: "gauge",
        help: "When the program came up, in seconds since 1970, if it is running.",
    },
];

/// `down` is no state.
const NO_STATE: &str = "down";

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Metric {
    fn write_head(&self, out: &mut String) {
        let Self { name, kind, help } = self;
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

/// The samples of each metric so far.
#[derive(Debug, Default)]
pub struct Metrics([String; METRICS.len()]);

impl Metrics {
    /// Adds the samples of a program.
    pub fn push(&mut self, program: Program<'_>) {
        let name = program.name();
        for state in Until::WORDS.into_iter().filter(|word| *word != NO_STATE) {
            let is_it = u8::from(program.state() == state);
            self.sample(0, name, &format!(",state=\"{state}\""), is_it);
        }
        self.sample(1, name, "", u8::from(program.is_fine()));
        let exit_code = program.0["last_exit"]["return_code"].as_i64();
        let has_started = program.pid().is_some() || exit_code.is_some();
        let restarts = program.0["restarts"].as_u64().unwrap_or(0);
        self.sample(2, name, "", restarts + u64::from(has_started));
        if let Some(code) = exit_code {
            self.sample(3, name, "", code);
        }
        let since = program.text("since").and_then(time::parse);
        let since = since.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        if let Some(since) = since.filter(|_| program.state() == "running") {
            let (seconds, millis) = (since.as_secs(), since.subsec_millis());
            self.sample(4, name, "", format_args!("{seconds}.{millis:03}"));
        }
    }

    fn sample(&mut self, metric: usize, program: &str, labels: &str, value: impl Display) {
        let (name, program) = (METRICS[metric].name, Label(program));
        let line = format!("{name}{{program=\"{program}\"{labels}}} {value}\n");
        self.0[metric] += &line;
    }

    /// Returns all of it, with what is known of the supervisor.
    pub fn text(&self, supervisor: &Value) -> String {
        let mut text = String::new();
        for (metric, samples) in METRICS.iter().zip(&self.0) {
            if !samples.is_empty() {
                metric.write_head(&mut text);
                text += samples;
            }
        }
        for (name, key, help) in [
            (
                "procsched_log_dropped_bytes_total",
                "log_bytes_dropped",
                "Bytes of programs that could not be logged.",
            ),
            (
                "procsched_reports_dropped_total",
                "reports_dropped",
                "Reports that no reader took in time.",
            ),
        ] {
            let metric = Metric {
                name,
                kind: "counter",
                help,
            };
            metric.write_head(&mut text);
            text += &format!("{name} {}\n", supervisor[key].as_u64().unwrap_or(0));
        }
        text
    }
}

/// The value of a label.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_metric_is_in_one_piece_with_its_type() {
        let mut metrics = Metrics::default();
        let web = json!({
            "name": "we\"b\\", "state": "running", "pid": 7, "restarts": 2,
            "since": "2024-01-01T12:00:00.500Z", "last_exit": {"return_code": -9},
        });
        let new = json!({"name": "new", "state": "pending", "pid": null, "last_exit": null});
        metrics.push(Program(&web));
        metrics.push(Program(&new));
        let text = metrics.text(&json!({"log_bytes_dropped": 3, "reports_dropped": 1}));
        let expected = [
            r#"procsched_program_state{program="we\"b\\",state="running"} 1"#,
            r#"procsched_program_state{program="new",state="running"} 0"#,
            r#"procsched_program_state{program="new",state="pending"} 1"#,
            r#"procsched_program_up{program="we\"b\\"} 1"#,
            r#"procsched_program_up{program="new"} 0"#,
            r#"procsched_program_starts_total{program="we\"b\\"} 3"#,
            r#"procsched_program_starts_total{program="new"} 0"#,
            r#"procsched_program_last_exit_code{program="we\"b\\"} -9"#,
            r#"procsched_program_start_time_seconds{program="we\"b\\"} 1704110400.500"#,
            "procsched_log_dropped_bytes_total 3",
            "procsched_reports_dropped_total 1",
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("state=\"").count(), 18);
        let mut known: Vec<&str> = Vec::new();
        for line in text.lines() {
            let mut words = line.split([' ', '{']);
            match line.strip_prefix("# TYPE ") {
                Some(rest) => {
                    let name = rest.split(' ').next().expect("a name");
                    assert!(!known.contains(&name), "{name} comes twice");
                    known.push(name);
                }
                None if line.starts_with('#') => {}
                None => assert_eq!(words.next(), known.last().copied(), "{line}"),
            }
        }
    }
}
