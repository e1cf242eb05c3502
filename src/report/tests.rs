use super::*;
use crate::signal::signal_name;
use std::time::UNIX_EPOCH;

fn report() -> ErrorReport {
    ErrorReport {
        process: Arc::from("web"),
        timestamp: UNIX_EPOCH + Duration::from_micros(1_704_110_400_000_000),
        stderr: b"boo\n".to_vec().into(),
        stdout: Some(Box::new((b"listening\n".to_vec().into(), 0))),
        pid: Some(4711),
        uptime: Duration::from_micros(12_345_678),
        restarts: 2,
        retry_in: Some(Duration::from_secs(4)),
        end: End::Exited(Exit::Code(3)),
        stopping: false,
        is_failure: true,
        cause: Cause::Exit,
        log: Some("/var/log/web.stderr.log".into()),
        log_offset: 17,
        data_omitted: 5,
        log_rotated: 1,
    }
}

fn ended(end: End) -> ErrorReport {
    ErrorReport { end, ..report() }
}

fn exited(code: i32) -> ErrorReport {
    ended(End::Exited(Exit::Code(code)))
}

fn killed(signal: i32, core_dumped: bool) -> ErrorReport {
    ended(End::Exited(Exit::Signal {
        signal,
        core_dumped,
    }))
}

#[test]
fn the_codes_and_the_reasons() {
    assert_eq!(exited(0).return_code(), 0);
    assert_eq!(exited(1).error(), None);
    assert!(!killed(6, false).core_dumped());
    assert!(killed(6, true).core_dumped());
    let error = Error::new("abandoned: it would not die");
    for (end, start) in [
        (End::Exited(Exit::Unknown), "exit status unknown: "),
        (End::Abandoned { error }, "abandoned: "),
    ] {
        let report = ended(end);
        assert_eq!(report.return_code(), 125);
        let error = report.error().expect("an error");
        assert!(error.starts_with(start), "{error}");
    }
}

/// "exit 143" and a death by SIGTERM are two things in every field.
#[test]
fn museum_45_an_exit_code_is_no_signal() {
    let (exit, kill) = (exited(143), killed(15, false));
    assert_eq!((exit.return_code(), exit.signal()), (143, None));
    assert_eq!((kill.return_code(), kill.signal()), (-15, Some(15)));
}

#[test]
fn signals_have_the_names_that_people_know() {
    for (signal, name) in [
        (1, "SIGHUP"),
        (9, "SIGKILL"),
        (15, "SIGTERM"),
        (11, "SIGSEGV"),
        (31, "SIGSYS"),
        (34, "SIGRTMIN"),
        (37, "SIGRTMIN+3"),
        (64, "SIGRTMIN+30"),
        (32, "signal 32"),
        (99, "signal 99"),
    ] {
        assert_eq!(signal_name(signal), name);
    }
}

#[cfg(feature = "json")]
mod json {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_whole_line() {
        assert_eq!(
            report().to_json(),
            concat!(
                r#"{"process":"web","timestamp":1704110400.000000,"#,
                r#""utc_iso":"2024-01-01T12:00:00.000000+00:00","data":"Ym9vCg==","#,
                r#""return_code":3,"pid":4711,"uptime":12.345678,"restarts":2,"retry_in":4.000000,"#,
                r#""signal":null,"core_dumped":false,"stopping":false,"#,
                r#""log":"/var/log/web.stderr.log","log_offset":17,"data_omitted":5,"error":null,"cause":"exit","text":"boo\n","log_rotated":1}"#,
            )
        );
    }

    #[test]
    fn a_failed_start() {
        let error = Error::os("failed to execute \"/x\ny\"", libc::ENOENT);
        let report = ErrorReport {
            pid: None,
            retry_in: None,
            log: None,
            end: End::NotStarted {
                return_code: 127,
                error,
            },
            ..report()
        };
        let json: Value = serde_json::from_str(&report.to_json()).expect("valid JSON");
        assert_eq!(json["return_code"], 127);
        assert_eq!(json["pid"], Value::Null);
        assert_eq!(json["retry_in"], Value::Null);
        assert_eq!(json["log"], Value::Null);
        assert_eq!(
            json["error"],
            "failed to execute \"/x\ny\": No such file or directory"
        );
        assert_eq!(report.to_json().lines().count(), 1);
    }

    /// Paths and names with any bytes in them, and any clock, give valid JSON.
    #[test]
    fn museum_138_139_141_valid_whatever_is_in_it() {
        use std::os::unix::ffi::OsStringExt;
        let bytes: Vec<u8> = (1..=255).collect();
        let path = std::ffi::OsString::from_vec(bytes.clone());
        #[rustfmt::skip]
        let table = [
            (UNIX_EPOCH, "1970-01-01T00:00:00.000000+00:00"),
            (UNIX_EPOCH - Duration::from_micros(1), "1969-12-31T23:59:59.999999+00:00"),
            (UNIX_EPOCH + Duration::from_secs(2_208_988_800), "2040-01-01T00:00:00.000000+00:00"),
        ];
        for (timestamp, iso) in table {
            let report = ErrorReport {
                process: Arc::from("\u{1b}[31m\"\\\u{0}\n"),
                timestamp,
                stderr: bytes.clone().into(),
                uptime: Duration::MAX,
                retry_in: Some(Duration::from_secs(u64::MAX)),
                restarts: u64::MAX,
                log: Some(path.clone().into()),
                ..report()
            };
            let line = report.to_json();
            let json: Value = serde_json::from_str(&line).expect("valid JSON");
            assert_eq!(json["utc_iso"], iso);
            assert_eq!(json["process"], "\u{1b}[31m\"\\\u{0}\n");
            assert!(json["timestamp"].is_f64());
            assert!(!line.contains('\n') && !line.contains('\u{1b}'));
        }
    }

    #[test]
    fn messages_show_milliseconds() {
        let at = UNIX_EPOCH + Duration::from_millis(1_704_110_400_012);
        assert_eq!(utc_millis(at), "2024-01-01T12:00:00.012Z");
    }
}
