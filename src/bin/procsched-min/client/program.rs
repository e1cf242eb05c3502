//! A program as a supervisor describes it, and how a person reads that.

use std::time::Duration;

use procsched::text::escaped;
use serde_json::Value;

use super::time;
use crate::clock;
use procsched::exit_label;
use procsched::text::duration;

/// The fields of one program. What is missing or of another type is empty.
#[derive(Debug, Clone, Copy)]
pub struct Program<'v>(pub &'v Value);

impl<'v> Program<'v> {
    pub fn name(self) -> &'v str {
        self.text("name").unwrap_or_default()
    }

    pub fn state(self) -> &'v str {
        self.text("state").unwrap_or("unknown")
    }

    pub fn reason(self) -> Option<&'v str> {
        self.text("reason")
    }

    pub fn pid(self) -> Option<i64> {
        self.0["pid"].as_i64()
    }

    /// Returns a field that is text.
    pub fn text(self, key: &str) -> Option<&'v str> {
        self.0[key].as_str().filter(|text| !text.is_empty())
    }

    /// Returns how long it has been in its state.
    pub fn state_time(self) -> Option<Duration> {
        self.seconds("state_seconds")
    }

    fn seconds(self, key: &str) -> Option<Duration> {
        time::seconds(self.0[key].as_f64()?)
    }

    /// True if there is nothing to be done about it: it runs, or has ended well.
    pub fn is_fine(self) -> bool {
        ["running", "exited"].contains(&self.state())
    }

    /// Returns how its latest run ended, and when: `1, 12s ago`.
    pub fn last_exit(self) -> Option<String> {
        let exit = self.0.get("last_exit").filter(|exit| exit.is_object())?;
        let code = exit["return_code"].as_i64()?;
        let (_, label) = exit_label(i32::try_from(code).ok()?);
        let at = exit["at"].as_str().and_then(time::parse);
        let ago = at.map(|at| clock::wall().duration_since(at).unwrap_or_default());
        Some(match ago {
            Some(ago) => format!("{label}, {} ago", duration(rounded(ago))),
            None => label,
        })
    }

    /// Returns why it is in its state, and what happens next.
    pub fn note(self) -> String {
        let last_line = self.0["last_exit"]["last_line"].as_str();
        let last_line = last_line.filter(|_| ["backoff", "failed"].contains(&self.state()));
        let start = self
            .seconds("retry_in")
            .map(|time| format!("starts in {}", duration(rounded(time))));
        let failing = self.0["health"]["failing"].as_u64();
        let failing = failing.map(|count| match count {
            1 => "health check failed once".to_owned(),
            _ => format!("health check failed {count} times"),
        });
        let changed = self.0["changed"].as_bool().filter(|changed| *changed);
        let changed = changed.map(|_| "new definition at its next start".to_owned());
        let parts = [
            start,
            self.reason().map(str::to_owned),
            failing,
            self.text("status_text").map(str::to_owned),
            changed,
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let note = parts.join(", ");
        let note = match (last_line, note.is_empty()) {
            (None, _) => note,
            (Some(line), true) => format!("{line:?}"),
            (Some(line), false) => format!("{note}: {line:?}"),
        };
        escaped(&note).into_owned()
    }

    /// Returns its state as the answer to an order: `running, pid 4720`.
    pub fn outcome(self) -> String {
        let mut text = escaped(self.text("note").unwrap_or(self.state())).into_owned();
        if let Some(pid) = self.pid() {
            text += &format!(", pid {pid}");
        }
        match self.note().as_str() {
            "" => text,
            note => format!("{text}, {note}"),
        }
    }
}

/// Returns a duration without what a person does not read: seconds from 10 s on, tenths from 1 s,
/// milliseconds below.
pub fn rounded(time: Duration) -> Duration {
    match time.as_secs() {
        10.. => Duration::from_secs(time.as_secs()),
        _ => Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Returns the SGR sequence of a state's colour; empty for a plain one.
pub fn color(state: &str) -> &'static str {
    match state {
        "running" => "\x1b[32m",
        "pending" | "starting" | "backoff" | "stopping" => "\x1b[33m",
        "failed" | "abandoned" => "\x1b[31m",
        "stopped" | "exited" => "\x1b[2m",
        _ => "",
    }
}

/// Paints a text in a state's colour.
pub fn painted(text: &str, state: &str, has_color: bool) -> String {
    match color(state) {
        color if has_color && !color.is_empty() => format!("{color}{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn notes_say_what_comes_next() {
        let table = [
            (
                json!({"state": "running", "status_text": "accepting"}),
                "accepting",
            ),
            (
                json!({"state": "backoff", "retry_in": 4.2, "last_exit": {"last_line": "no db"}}),
                "starts in 4.2s: \"no db\"",
            ),
            (
                json!({"state": "backoff", "retry_in": 42.9}),
                "starts in 42s",
            ),
            (
                json!({"state": "failed", "reason": "exit code 78 is permanent"}),
                "exit code 78 is permanent",
            ),
            (
                json!({"state": "failed", "last_exit": {"last_line": "x\u{1b}"}}),
                r#""x\u{1b}""#,
            ),
            (
                json!({"state": "pending", "reason": "requires db: failed"}),
                "requires db: failed",
            ),
            (
                json!({"state": "running", "health": {"failing": 2}, "changed": true}),
                "health check failed 2 times, new definition at its next start",
            ),
            (
                json!({"state": "running", "last_exit": {"last_line": "old"}}),
                "",
            ),
            (json!([]), ""),
        ];
        for (value, expected) in table {
            assert_eq!(Program(&value).note(), expected, "{value}");
        }
    }

    #[test]
    fn an_outcome_is_a_state_with_a_pid() {
        let of = |value: Value| Program(&value).outcome();
        assert_eq!(of(json!({"state": "running", "pid": 7})), "running, pid 7");
        let again = json!({"state": "running", "pid": 7, "note": "already running"});
        assert_eq!(of(again), "already running, pid 7");
        assert_eq!(
            of(json!({"state": "stopped", "reason": "by uid 0"})),
            "stopped, by uid 0"
        );
        assert_eq!(of(json!({})), "unknown");
    }

    #[test]
    fn a_last_exit_of_the_wrong_type_is_none() {
        for value in [
            json!({}),
            json!({"last_exit": 7}),
            json!({"last_exit": {"at": 1}}),
        ] {
            assert_eq!(Program(&value).last_exit(), None);
        }
        let value = json!({"last_exit": {"return_code": -9, "at": "soon"}});
        assert_eq!(Program(&value).last_exit().as_deref(), Some("SIGKILL"));
    }
}
