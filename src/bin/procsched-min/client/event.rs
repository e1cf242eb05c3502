//! An event of a supervisor as a line: time, program, what happened, and `key=value` pairs.

use procsched::text::escaped;
use serde_json::Value;

use super::program::Program;
use procsched::text::duration;

/// The keys that stand in front, or are there for programs alone.
const HEAD: [&str; 3] = ["time", "program", "event"];

/// Returns the line of an event.
pub fn line(event: &Value) -> String {
    let head = HEAD.iter().filter_map(|key| event[*key].as_str());
    let head: Vec<_> = head.filter(|word| !word.is_empty()).map(escaped).collect();
    let mut line = head.join(" ");
    for (key, value) in event.as_object().into_iter().flatten() {
        let is_head = HEAD.contains(&key.as_str());
        if !is_head && let Some(value) = shown(key, value) {
            line += &format!(" {}={value}", escaped(key));
        }
    }
    line
}

/// Returns a value as the messages of a supervisor have it; `None` if it says nothing.
fn shown(key: &str, value: &Value) -> Option<String> {
    let is_time = ["uptime", "retry_in", "timeout", "delay"].contains(&key);
    let time = value
        .as_f64()
        .filter(|_| is_time)
        .and_then(super::time::seconds);
    match value {
        _ if let Some(time) = time => Some(duration(time)),
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::String(text) if text.contains(|letter: char| !letter.is_ascii_graphic()) => {
            Some(format!("{text:?}"))
        }
        Value::String(text) => Some(text.clone()),
        other => Some(escaped(&other.to_string()).into_owned()),
    }
}

/// Returns the line of a program at the beginning.
pub fn snapshot(program: Program<'_>) -> String {
    format!("{} is {}", escaped(program.name()), program.outcome())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_events() {
        let exited = json!({
            "time": "2024-01-01T12:00:00.000Z", "program": "web", "event": "exited", "pid": 4711,
            "return_code": 3, "uptime": 1.25, "retry_in": null, "core_dumped": false,
            "last_line": "no \"database\"\u{1b}",
        });
        assert_eq!(
            line(&exited),
            "2024-01-01T12:00:00.000Z web exited last_line=\"no \\\"database\\\"\\u{1b}\" \
             pid=4711 return_code=3 uptime=1.2s"
        );
        assert_eq!(
            line(&json!({"event": "dropped", "count": 7})),
            "dropped count=7"
        );
        assert_eq!(line(&json!(7)), "");
    }

    #[test]
    fn a_snapshot_is_a_line() {
        let program = json!({"name": "web", "state": "running", "pid": 7});
        assert_eq!(snapshot(Program(&program)), "web is running, pid 7");
    }
}
