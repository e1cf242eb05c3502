//! A report as its reader gets it: one line, valid JSON, the fixed fields first, and every value
//! what went in.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::choices::Rng;
use crate::error::Error;
use crate::machine::{Cause, Exit};
use crate::os::tail::LastWords;
use crate::report::{End, ErrorReport};
use crate::signal::signal_name;

/// The last second that a clock of Linux can show, in the year 2262.
const SECONDS_MAX: u64 = i64::MAX as u64 / 1_000_000_000;

pub fn check(
    choices: &mut Rng,
    name: &str,
    stderr: LastWords,
    data_omitted: u64,
    log: (Option<PathBuf>, u64),
) {
    let report = any_report(choices, name, stderr, data_omitted, log);
    let line = report.to_json();
    super::lines::check_line(&line);
    let json: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    check_first_fields(&report, name, &line);
    let data = json["data"].as_str().expect("a string");
    assert!(
        STANDARD.decode(data).as_deref() == Ok(&*report.stderr),
        "{line}"
    );
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let log = report
        .log
        .as_ref()
        .map(|log| log.to_string_lossy().into_owned());
    assert_eq!(text("log"), log);
    assert_eq!(text("error"), report.error());
    assert_eq!(text("text"), report.text().map(Into::into));
    assert_eq!(text("signal"), report.signal().map(signal_name));
    assert_eq!(json["pid"].as_i64(), report.pid.map(i64::from));
    assert_eq!(json["restarts"].as_u64(), Some(report.restarts));
    assert_eq!(json["log_offset"].as_u64(), Some(report.log_offset));
    assert_eq!(json["data_omitted"].as_u64(), Some(report.data_omitted));
    assert_eq!(json["log_rotated"].as_u64(), Some(report.log_rotated));
    assert_eq!(json["core_dumped"].as_bool(), Some(report.core_dumped()));
    assert_eq!(json["stopping"].as_bool(), Some(report.stopping));
    let seconds = |at: Duration| format!("{}.{:06}", at.as_secs(), at.subsec_micros());
    let uptime = format!(",\"uptime\":{},\"restarts\":", seconds(report.uptime));
    assert!(line.contains(&uptime), "{line}");
    let retry_in = report.retry_in.map_or_else(|| "null".to_owned(), seconds);
    assert!(
        line.contains(&format!(",\"retry_in\":{retry_in},")),
        "{line}"
    );
    assert_eq!(json.as_object().map(|fields| fields.len()), Some(19));
}

/// Their order, their spelling, and the calendar, reckoned once more.
fn check_first_fields(report: &ErrorReport, name: &str, line: &str) {
    let since = report
        .timestamp
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut month) = (1970, 0);
    let every = |years: u64, year: u64| year.is_multiple_of(years);
    let is_leap = |year| every(4, year) && (!every(100, year) || every(400, year));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let first = format!(
        "{{\"process\":\"{name}\",\"timestamp\":{seconds}.{micros:06},\
         \"utc_iso\":\"{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00\",\
         \"data\":\"{}\",\"return_code\":{},",
        month + 1,
        days + 1,
        STANDARD.encode(&*report.stderr),
        report.return_code(),
    );
    assert!(line.starts_with(&first), "{line}\nbegins not with\n{first}");
}

fn any_report(
    choices: &mut Rng,
    name: &str,
    stderr: LastWords,
    data_omitted: u64,
    (log, log_offset): (Option<PathBuf>, u64),
) -> ErrorReport {
    let nanos = choices.below(1_000_000_000);
    let seconds = choices.below(SECONDS_MAX);
    let timestamp: SystemTime =
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    let end = match choices.below(8) {
        0..=2 => End::Exited(Exit::Code(choices.below(256) as i32)),
        3 | 4 => End::Exited(Exit::Signal {
            signal: choices.below(65) as i32,
            core_dumped: choices.one_in(2),
        }),
        5 => End::Exited(Exit::Unknown),
        6 => End::NotStarted {
            return_code: choices.pick(&[125, 126, 127]),
            error: any_error(choices),
        },
        _ => End::Abandoned {
            error: any_error(choices),
        },
    };
    // A log may be anywhere.
    let log = match choices.one_in(8) {
        true => Some(PathBuf::from(OsString::from_vec(choices.take(30).to_vec()))),
        false => log,
    };
    ErrorReport {
        cause: Cause::Exit,
        is_failure: false,
        process: name.into(),
        timestamp,
        stderr,
        stdout: None,
        pid: (!choices.one_in(4)).then(|| choices.next() as i32),
        uptime: Duration::new(choices.next(), choices.below(1_000_000_000) as u32),
        restarts: choices.next(),
        retry_in: choices
            .one_in(2)
            .then(|| Duration::new(choices.next(), choices.below(1_000_000_000) as u32)),
        end,
        stopping: choices.one_in(2),
        log,
        log_offset,
        data_omitted,
        log_rotated: choices.next(),
    }
}

fn any_error(choices: &mut Rng) -> Error {
    let count = choices.below(64) as usize;
    let text = String::from_utf8_lossy(choices.take(count)).into_owned();
    Error::because(format!("failed to execute {text:?}"), text)
}
