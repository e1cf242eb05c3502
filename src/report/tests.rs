use super::*;
use crate::signal::signal_name;
use std::time::UNIX_EPOCH;

fn report() -> ErrorReport {
    ErrorReport {
        process: Arc::from("web"),
        timestamp: UNIX_EPOCH + Duration::from_micros(1_704_110_400_000_000),
        stderr: b"boo\n".to_vec().into(),
        pid: Some(4711),
        uptime: Duration::from_micros(12_345_678),
        restarts: 2,
        retry_in: Some(Duration::from_secs(4)),
        end: End::Exited(Exit::Code(3)),
        stopping: false,
        cause: Cause::Exit,
        log: Some("/var/log/web.stderr.log".into()),
        log_offset: 17,
        data_omitted: 5,
    }
}

#[test]
fn the_codes_and_the_reasons() {
    let with = |end| ErrorReport { end, ..report() };
    let signal = |signal, core_dumped| {
        with(End::Exited(Exit::Signal {
            signal,
            core_dumped,
        }))
    };
    assert_eq!(with(End::Exited(Exit::Code(0))).return_code(), 0);
    assert_eq!(signal(9, false).return_code(), -9);
    assert_eq!(signal(9, false).signal(), Some(9));
    assert!(!signal(6, false).core_dumped());
    assert!(signal(6, true).core_dumped());
    let unknown = with(End::Exited(Exit::Unknown));
    assert_eq!(unknown.return_code(), 125);
    assert!(
        unknown
            .error()
            .is_some_and(|error| error.starts_with("exit status unknown: "))
    );
    let error = Error::new("abandoned: it would not die");
    let abandoned = with(End::Abandoned { error });
    assert_eq!(abandoned.return_code(), 125);
    assert!(
        abandoned
            .error()
            .is_some_and(|error| error.starts_with("abandoned: "))
    );
    assert_eq!(with(End::Exited(Exit::Code(1))).error(), None);
}

/// "exit 143" and a death by SIGTERM are two things in every field.
#[test]
fn museum_45_an_exit_code_is_no_signal() {
    let exit = ErrorReport {
        end: End::Exited(Exit::Code(143)),
        ..report()
    };
    let end = End::Exited(Exit::Signal {
        signal: 15,
        core_dumped: false,
    });
    let kill = ErrorReport { end, ..report() };
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
                r#""log":"/var/log/web.stderr.log","log_offset":17,"data_omitted":5,"error":null,"cause":"exit"}"#,
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
