//! Readiness, in each form.

use std::time::Duration;

use super::program;
use crate::spec::{ChildSpec, Probe, Ready};

#[test]
fn readiness_in_each_form() {
    let ready = |value: &str| {
        let keys = format!(r#"{{"command": ["a"], "ready": {value}}}"#);
        program("{}", &keys).ready.map(|ready| *ready)
    };
    let second = Duration::from_secs(1);
    assert_eq!(ready(r#""notify""#), Some(Ready::Notify));
    assert_eq!(ready(r#"{"fd": 3}"#), Some(Ready::Fd(3)));
    assert_eq!(ready(r#"{"x-fd": 4, "fd": 63}"#), Some(Ready::Fd(63)));
    assert_eq!(ready(r#"{"delay": "1s"}"#), Some(Ready::Delay(second)));
    assert_eq!(ready(r#"{"delay": 0}"#), Some(Ready::Delay(Duration::ZERO)));
    let probe = Probe::connect("127.0.0.1:80").unwrap().interval(second / 2);
    let text = r#"{"interval": "500ms", "connect": "127.0.0.1:80"}"#;
    assert_eq!(ready(text), Some(Ready::Probe(probe)));
    let probe = Probe::command(["a", "b"]).timeout(second);
    let text = r#"{"command": ["a", "b"], "timeout": 1}"#;
    assert_eq!(ready(text), Some(Ready::Probe(probe)));
    let defaults = r#"{"ready": {"fd": 3}, "start_timeout": "2m", "watchdog": 5}"#;
    let expected = ChildSpec::new("web", ["a"])
        .start_timeout(Some(Duration::from_secs(120)))
        .watchdog(5 * second);
    let with = |ready| expected.clone().ready(ready);
    assert_eq!(program(defaults, r#"["a"]"#), with(Ready::Fd(3)));
    let own = r#"{"command": ["a"], "ready": "notify"}"#;
    assert_eq!(
        program(defaults, own),
        with(Ready::Notify),
        "its own counts whole"
    );
    let never = r#"{"command": ["a"], "start_timeout": 0, "watchdog": 0}"#;
    let never_ending = ChildSpec::new("web", ["a"])
        .ready(Ready::Fd(3))
        .start_timeout(None);
    assert_eq!(program(defaults, never), never_ending);
}
