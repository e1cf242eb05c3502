//! Stop signals: `"INT"`, `"SIGINT"`, `"int"`, `"RTMIN+3"`, or a number.

use super::errors::quoted;
use super::suggest::did_you_mean;
use crate::report::signal_name;
use crate::spec::{SIGNAL_MAX, stop_signal_problem};

const PREFIX: &str = "SIG";

/// What would be right.
pub(super) const EXPECTED: &str = r#"a signal such as "TERM", or its number"#;

/// The number of the signal with this name; or what is wrong with it.
pub(super) fn from_text(text: &str) -> Result<i32, String> {
    let given = text.to_ascii_uppercase();
    let given = given.strip_prefix(PREFIX).unwrap_or(&given);
    let known = names();
    if let Some((number, _)) = known.iter().find(|(_, name)| name == given) {
        return Ok(*number);
    }
    // What is suggested must not be refused in turn.
    let usable = |(number, _): &&(i32, String)| stop_signal_problem(*number).is_none();
    let instead = did_you_mean(
        given,
        known.iter().filter(usable).map(|(_, name)| name.as_str()),
        || match given.parse::<i32>() {
            Ok(number) if stop_signal_problem(number).is_none() => {
                format!(": write {number} without the quotes")
            }
            _ => format!(": use a name such as \"TERM\", or a number from 1 to {SIGNAL_MAX}"),
        },
    );
    Err(format!("unknown signal {}{instead}", quoted(text)))
}

/// Every signal that has a name, and the name without `SIG`.
fn names() -> Vec<(i32, String)> {
    let named = |number| {
        let name = signal_name(number).strip_prefix(PREFIX)?.to_owned();
        Some((number, name))
    };
    (1..=SIGNAL_MAX).filter_map(named).collect()
}
