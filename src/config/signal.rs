//! Stop signals: `"INT"`, `"SIGINT"`, `"int"`, `"RTMIN+3"`, or a number.

use crate::signal::Signal;
use crate::spec::stop_signal_problem;
use crate::text::quoted;

/// What a stop signal looks like.
pub(super) const EXPECTED: &str = r#"a signal such as "TERM", or its number"#;

/// Reads the name of a signal.
pub(super) fn from_text(text: &str) -> Result<i32, String> {
    let is_usable = |number| stop_signal_problem(number).is_none();
    if text.parse().is_ok_and(is_usable) {
        let given = quoted(text);
        return Err(format!(
            "unknown signal {given}: write {text} without the quotes"
        ));
    }
    let signal = Signal::parse(text, |signal| is_usable(signal.number()));
    signal
        .map(Signal::number)
        .map_err(|error| error.to_string())
}

/// Reads the name of a signal that ended a program: minus its number.
pub(super) fn exit_from_text(text: &str) -> Result<i32, String> {
    if text.parse::<i32>().is_ok() {
        let given = quoted(text);
        return Err(format!(
            "invalid exit code {given}: write {text} without the quotes"
        ));
    }
    let signal = text.parse::<Signal>().map_err(|error| error.to_string())?;
    Ok(-signal.number())
}
