use super::*;
use crate::error::Error;
use crate::machine::Cause;

fn failed(stopping: bool, retry_in: Option<Duration>) -> String {
    let failed = EventKind::StartFailed {
        error: Error::new("no\nfile"),
        stopping,
        cause: Cause::StartFailed,
        reason: None,
        retry_in,
    };
    failed.to_string()
}

#[test]
fn failed_starts_have_their_cause_and_the_next_start() {
    let delay = Some(Duration::from_secs(1));
    assert_eq!(failed(false, delay), r"failed retry_in=1s error: no\nfile");
    assert_eq!(failed(false, None), r"failed restart=never error: no\nfile");
    assert_eq!(failed(true, None), r"cancelled no\nfile");
}

/// What an exit leads to.
#[derive(Clone, Copy)]
enum Next {
    Seconds(u64),
    Never(Restart, Option<&'static str>),
    Stopping,
}

fn exited(return_code: i32, next: Next, core_dumped: bool, last_line: Option<&str>) -> String {
    let (retry_in, restart, reason) = match next {
        Next::Seconds(seconds) => (Some(Duration::from_secs(seconds)), Restart::Always, None),
        Next::Never(restart, reason) => (None, restart, reason),
        Next::Stopping => (None, Restart::Always, None),
    };
    let exited = EventKind::Exited {
        pid: 4711,
        return_code,
        core_dumped,
        uptime: Duration::from_millis(1_250),
        stopping: matches!(next, Next::Stopping),
        cause: Cause::Exit,
        was_up: true,
        has_failed: return_code != 0,
        fault: None,
        retry_in,
        restart,
        reason: reason.map(str::to_owned),
        last_line: last_line.map(str::to_owned),
    };
    exited.to_string()
}

#[test]
fn exits_have_their_cause_and_the_next_start() {
    use Next::{Never, Seconds, Stopping};
    let limit = Some("3 restarts in a row");
    let table = [
        (0, Seconds(1), "code=0 uptime=1.2s retry_in=1s"),
        (
            0,
            Never(Restart::Never, None),
            "code=0 uptime=1.2s restart=never",
        ),
        // It was `restart=never`, which the config did not have.
        (
            0,
            Never(Restart::OnFailure, None),
            "code=0 uptime=1.2s not restarted: it succeeded",
        ),
        (
            3,
            Never(Restart::Always, limit),
            "code=3 uptime=1.2s not restarted: 3 restarts in a row",
        ),
        (3, Seconds(60), "code=3 uptime=1.2s retry_in=1m"),
        (
            3,
            Never(Restart::Never, None),
            "code=3 uptime=1.2s restart=never",
        ),
        (-9, Seconds(2), "signal=SIGKILL uptime=1.2s retry_in=2s"),
        (-15, Stopping, "signal=SIGTERM uptime=1.2s"),
        (-37, Stopping, "signal=SIGRTMIN+3 uptime=1.2s"),
    ];
    for (return_code, next, details) in table {
        let text = exited(return_code, next, false, None);
        assert_eq!(text, format!("exited pid=4711 {details}"));
    }
    let dumped = exited(-11, Seconds(2), true, None);
    let details = "pid=4711 signal=SIGSEGV uptime=1.2s core_dumped=yes retry_in=2s";
    assert_eq!(dumped, format!("exited {details}"));
}

#[test]
fn a_failure_says_its_last_line_and_no_line_fakes_another() {
    let table = [
        ("no database", r#"last="no database""#),
        (r#"say "hi" \ there"#, r#"last="say \"hi\" \\ there""#),
        ("\x1b[31mred\u{202e}", r#"last="\u{1b}[31mred\u{202e}""#),
        ("größe", r#"last="größe""#),
    ];
    for (line, shown) in table {
        let text = exited(3, Next::Seconds(2), false, Some(line));
        let expected = format!("exited pid=4711 code=3 uptime=1.2s retry_in=2s {shown}");
        assert_eq!(text, expected);
        assert_eq!(escaped(&text), expected, "it is escaped by now");
    }
    let text = exited(3, Next::Stopping, false, Some("too late"));
    assert_eq!(
        text,
        r#"exited pid=4711 code=3 uptime=1.2s last="too late""#
    );
}

#[test]
fn senders_are_named_as_far_as_they_are_known() {
    use SignalSender::{Kernel, Unknown};
    let table = [
        (libc::SIGINT, Kernel, false, " from the terminal"),
        (libc::SIGINT, Kernel, true, " from the kernel"),
        (libc::SIGTERM, Kernel, false, " from the kernel"),
        (libc::SIGTERM, Unknown, false, ""),
    ];
    for (signal, sender, is_first, text) in table {
        assert_eq!(sender_of(signal, sender, is_first), text);
    }
}
