//! The lines of an answer: any number with data, and one with `ok` at the end.

use serde_json::Value;

use super::failure::Failure;

/// How much of a line that is not understood a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// One line of an answer.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Program(Value),
    Event(Value),
    Change(Value),
    Problem(Value),
    /// The end of an answer without an error.
    Done(Value),
    /// The end of an answer, with its error.
    Refused {
        code: String,
        message: String,
    },
    /// Data of a newer supervisor.
    Other,
}

/// Parses a line. Keys that are not known are ignored.
pub fn parse(line: &str) -> Result<Answer, Failure> {
    let value = serde_json::from_str(line);
    let Ok(Value::Object(mut keys)) = value else {
        let start: String = line.chars().take(SHOWN_CHARS_MAX).collect();
        return Err(Failure::protocol(format!("{start:?}")));
    };
    match keys.get("ok") {
        Some(Value::Bool(true)) => return Ok(Answer::Done(Value::Object(keys))),
        Some(_) => return refusal(&keys["ok"], keys.get("error")),
        None => {}
    }
    let mut take = |key| keys.remove(key);
    let data = None
        .or_else(|| take("program").map(Answer::Program))
        .or_else(|| take("event").map(Answer::Event))
        .or_else(|| take("change").map(Answer::Change))
        .or_else(|| take("problem").map(Answer::Problem));
    Ok(data.unwrap_or(Answer::Other))
}

fn refusal(ok: &Value, error: Option<&Value>) -> Result<Answer, Failure> {
    let code = error.and_then(|error| error["code"].as_str());
    let (Value::Bool(false), Some(code)) = (ok, code) else {
        return Err(Failure::protocol("an error without a code"));
    };
    let message = error.and_then(|error| error["message"].as_str());
    Ok(Answer::Refused {
        code: code.to_owned(),
        message: message.unwrap_or(code).to_owned(),
    })
}

/// Returns the JSON of the value in a line of data with this key, as the supervisor has written it.
pub fn raw<'l>(line: &'l str, key: &str, value: &Value) -> std::borrow::Cow<'l, str> {
    let inner = line.strip_prefix("{\"").and_then(|rest| {
        let rest = rest.strip_prefix(key)?.strip_prefix("\":")?;
        rest.trim_end().strip_suffix('}')
    });
    // With keys beside it, it is written anew.
    let is_whole = |inner: &&str| serde_json::from_str::<Value>(inner).is_ok();
    match inner.filter(is_whole) {
        Some(inner) => inner.into(),
        None => value.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_understood_and_unknown_keys_ignored() {
        let parse = |line: &str| parse(line).expect("an answer");
        assert_eq!(
            parse(r#"{"program":{"name":"web"},"new":1}"#),
            Answer::Program(json!({"name": "web"}))
        );
        assert_eq!(parse(r#"{"event":1}"#), Answer::Event(json!(1)));
        assert_eq!(parse(r#"{"change":1}"#), Answer::Change(json!(1)));
        assert_eq!(parse(r#"{"problem":1}"#), Answer::Problem(json!(1)));
        assert_eq!(parse(r#"{"something":1}"#), Answer::Other);
        let done = json!({"ok": true, "supervisor": {"pid": 7}});
        assert_eq!(parse(&done.to_string()), Answer::Done(done.clone()));
        let refused = |code: &str, message: &str| Answer::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(
            parse(r#"{"ok":false,"error":{"code":"busy","message":"16 clients"},"x":[]}"#),
            refused("busy", "16 clients")
        );
        assert_eq!(
            parse(r#"{"ok":false,"error":{"code":"busy"}}"#),
            refused("busy", "busy")
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for line in [
            "",
            "HTTP/1.1 400",
            "[]",
            "7",
            "{",
            r#"{"ok":7}"#,
            r#"{"ok":false}"#,
        ] {
            let failure = parse(line).expect_err(line);
            assert_eq!(failure.code, 1);
            assert!(failure.message.starts_with("unexpected answer: "), "{line}");
        }
        let failure = parse(&"x".repeat(9_000)).expect_err("a long line");
        assert!(failure.message.len() < 200, "{}", failure.message);
    }

    #[test]
    fn data_is_passed_on_as_it_is() {
        let raw = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            raw(line, "program", &value["program"]).into_owned()
        };
        assert_eq!(raw(r#"{"program":{"z":1,"a":2}}"#), r#"{"z":1,"a":2}"#);
        assert_eq!(
            raw(r#"{"program":{"z":1,"a":2},"n":{}}"#),
            r#"{"a":2,"z":1}"#
        );
        assert_eq!(raw(r#"{ "program":{"z":1,"a":2}}"#), r#"{"a":2,"z":1}"#);
    }
}
