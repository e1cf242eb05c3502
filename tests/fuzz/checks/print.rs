//! A configuration as a file again, with every key given and nothing left to a default.

use std::ffi::OsStr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Config, Control, Form, Reports};
use crate::machine::Restart;
use crate::signal::SignalTo;
use crate::spec::attributes::limit_text;
use crate::spec::{
    Address, Attributes, Check, ChildSpec, Health, LogOptions, Probe, Ready, Stderr, Stdout, User,
};

pub fn config(config: &Config) -> String {
    let mut file = vec![
        ("base_dir", text(config.base_dir.as_os_str())),
        ("err_dir", text(config.err_dir.as_os_str())),
    ];
    if let Some(handler) = &config.error_handler {
        let when = if handler.is_for_failures() {
            "failure"
        } else {
            "always"
        };
        let fields = [
            ("command", texts(handler.command())),
            ("when", text(OsStr::new(when))),
        ];
        file.push(("error_handler", object(owned(fields))));
    }
    match &config.control {
        Control::Path(path) => file.push(("control", text(path.as_os_str()))),
        Control::Off => file.push(("control", "false".to_owned())),
        // There is no other word for it.
        _ => {}
    }
    if let Some(group) = config.control_group {
        file.push(("control_group", group.to_string()));
    }
    let output = if config.output == Form::Json {
        "json"
    } else {
        "text"
    };
    file.push(("output", json!(output).to_string()));
    let reports = if config.reports == Reports::None {
        "none"
    } else {
        "stdout"
    };
    file.push(("reports", json!(reports).to_string()));
    let timeout = config.shutdown_timeout.map(duration);
    file.extend(timeout.map(|timeout| ("shutdown_timeout", timeout)));
    let programs = config.programs.iter();
    let programs = programs.map(|spec| (spec.name().to_owned(), program(spec)));
    file.push(("programs", object(programs)));
    object(file.into_iter().map(|(key, value)| (key.to_owned(), value)))
}

fn program(spec: &ChildSpec) -> String {
    let env = spec.env.iter();
    let env = env.map(|(key, value)| (utf8(key).to_owned(), text(value)));
    let backoff = [
        ("initial", duration(spec.backoff.initial)),
        ("max", duration(spec.backoff.max)),
        ("reset_after", duration(spec.backoff.reset_after)),
        ("jitter", format!("{:.3}", f64::from(spec.jitter) / 1_000.0)),
    ];
    let restart = spec.restart.map(|restart| match restart {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::Never => "never",
    });
    let mut fields = vec![
        ("command", texts(&spec.command)),
        ("env", object(env)),
        ("essential", json!(spec.essential).to_string()),
        ("autostart", json!(spec.autostart).to_string()),
        ("oneshot", json!(spec.oneshot).to_string()),
        ("after", json!(spec.after).to_string()),
        ("requires", json!(spec.requires).to_string()),
        ("success_codes", json!(spec.success_codes).to_string()),
        (
            "permanent_failure_codes",
            json!(spec.permanent_failure_codes).to_string(),
        ),
        ("backoff", object(owned(backoff))),
        ("stop_signal", json!(spec.stop_signal).to_string()),
        ("stop_timeout", duration(spec.stop_timeout)),
        ("report_bytes", json!(spec.report_bytes).to_string()),
        ("stdout", json!(stdout(spec.outputs.stdout)).to_string()),
        ("stderr", json!(stderr(spec.outputs.stderr)).to_string()),
        ("log", log(spec.log)),
    ];
    // What is the default is not the same as what was said.
    if let Some(restart) = restart {
        fields.push(("restart", json!(restart).to_string()));
    }
    let max_restarts = spec.max_restarts.map(|restarts| restarts.to_string());
    fields.extend(max_restarts.map(|restarts| ("max_restarts", restarts)));
    let ready = spec.ready.as_deref().map(ready);
    fields.extend(ready.map(|ready| ("ready", ready)));
    let times = [
        ("start_timeout", spec.start_timeout),
        ("watchdog", spec.watchdog),
    ];
    let times = times
        .into_iter()
        .filter_map(|(key, time)| Some((key, duration(time?))));
    fields.extend(times);
    let health = spec.health.as_deref().map(health);
    fields.extend(health.map(|health| ("health", health)));
    fields.extend(spec.cwd.iter().map(|cwd| ("cwd", text(cwd.as_os_str()))));
    if spec.stop_to == SignalTo::Main {
        fields.push(("stop_to", json!("main").to_string()));
    }
    if let Some(all) = &spec.attributes {
        fields.extend(attributes(all));
    }
    object(owned(fields))
}

fn log(log: LogOptions) -> String {
    object(owned([
        ("max_bytes", log.max_bytes.to_string()),
        ("keep", log.keep.to_string()),
        ("timestamps", json!(log.timestamps).to_string()),
        ("marks", json!(log.marks).to_string()),
    ]))
}

fn stdout(stdout: Stdout) -> &'static str {
    match stdout {
        Stdout::Null => "null",
        Stdout::Log => "log",
        Stdout::Stderr => "stderr",
        Stdout::Inherit => "inherit",
    }
}

fn stderr(stderr: Stderr) -> &'static str {
    match stderr {
        Stderr::Log => "log",
        Stderr::Null => "null",
        Stderr::Inherit => "inherit",
    }
}

fn attributes(all: &Attributes) -> Vec<(&'static str, String)> {
    let user = |user: &User| match user.name() {
        Some(name) => json!(name).to_string(),
        None => user.uid().to_string(),
    };
    let stdin = all.stdin.as_ref().map(|path| text(path.as_os_str()));
    let limits = all.limits.iter().map(|(resource, limit)| {
        let value = json!(limit_text(*limit)).to_string();
        (resource.key().to_owned(), value)
    });
    let optional = [
        ("user", all.user.as_ref().map(user)),
        ("group", all.group.map(|gid| gid.to_string())),
        (
            "groups",
            all.groups.as_ref().map(|groups| json!(groups).to_string()),
        ),
        ("umask", all.umask.map(|mask| format!("\"{mask:03o}\""))),
        ("nice", all.nice.map(|nice| nice.to_string())),
        (
            "oom_score_adj",
            all.oom_score_adj.map(|score| score.to_string()),
        ),
        ("limits", Some(object(limits))),
        ("no_new_privileges", Some(all.no_new_privileges.to_string())),
        ("clear_env", Some(all.clear_env.to_string())),
        (
            "stdin",
            Some(stdin.unwrap_or_else(|| json!("null").to_string())),
        ),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    given.collect()
}

fn ready(ready: &Ready) -> String {
    match ready {
        Ready::Fd(fd) => object(owned([("fd", fd.to_string())])),
        Ready::Notify => json!("notify").to_string(),
        Ready::Delay(delay) => object(owned([("delay", duration(*delay))])),
        Ready::Probe(of) => probe(of),
    }
}

fn probe(probe: &Probe) -> String {
    let fields = [
        check(&probe.check),
        ("interval", duration(probe.interval)),
        ("timeout", duration(probe.timeout)),
    ];
    object(owned(fields))
}

fn health(health: &Health) -> String {
    let fields = [
        check(health.check()),
        ("interval", duration(health.probe.interval)),
        ("timeout", duration(health.probe.timeout)),
        ("retries", health.retries.to_string()),
    ];
    object(owned(fields))
}

fn check(check: &Check) -> (&'static str, String) {
    match check {
        Check::Command(command) => ("command", texts(command)),
        Check::Connect(Address::Unix(path)) => ("connect", text(path.as_os_str())),
        Check::Connect(address) => ("connect", json!(address.to_string()).to_string()),
    }
}

/// A number of seconds where it is whole; else in the unit whose fractions are exact.
fn duration(length: Duration) -> String {
    match length.subsec_nanos() {
        0 => length.as_secs().to_string(),
        nanos => format!("{}.{nanos:09}", length.as_secs()),
    }
}

fn owned<'k>(
    fields: impl IntoIterator<Item = (&'k str, String)>,
) -> impl Iterator<Item = (String, String)> {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
}

/// Written key by key: a map of `serde_json` would not keep the order.
fn object(fields: impl Iterator<Item = (String, String)>) -> String {
    let fields: Vec<String> = fields
        .map(|(key, value)| format!("{}:{value}", Value::from(key)))
        .collect();
    format!("{{{}}}", fields.join(",\n"))
}

fn texts(words: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<&str> = words.iter().map(|word| utf8(word.as_ref())).collect();
    json!(words).to_string()
}

fn text(word: &OsStr) -> String {
    json!(utf8(word)).to_string()
}

fn utf8(word: &OsStr) -> &str {
    word.to_str()
        .expect("JSON is UTF-8, and so is all that was read from it")
}
