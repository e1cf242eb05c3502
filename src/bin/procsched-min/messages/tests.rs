use super::*;

const PLAIN: Style = Style {
    name_width: 8,
    color: false,
};
const COLORED: Style = Style {
    name_width: 8,
    color: true,
};

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_110_400)
}

const UPTIME: Duration = Duration::from_millis(1_250);

#[test]
fn names_and_verbs_stand_in_columns() {
    let line = |name, verb, details| PLAIN.line(noon(), name, Info, verb, details);
    assert_eq!(
        line("service1", "started", "pid=4711"),
        "2024-01-01T12:00:00.000Z service1 started pid=4711"
    );
    let shown = |name, verb, details| line(name, verb, details)[25..].to_owned();
    assert_eq!(shown("web", "exited", "pid=1"), "web      exited  pid=1");
    assert_eq!(shown("web", "stopping", "pid=1"), "web      stopping pid=1");
    assert_eq!(shown(SELF, "stopped", ""), "procsched-min stopped");
}

#[test]
fn colour_is_put_around_words_and_is_ended() {
    let line = |level| COLORED.line(noon(), "web", level, "exited", "code=1");
    let start = "\x1b[2m2024-01-01T12:00:00.000Z\x1b[0m web      ";
    assert_eq!(line(Error), format!("{start}\x1b[31mexited\x1b[0m  code=1"));
    assert_eq!(line(Info), format!("{start}exited  code=1"));
}

fn parts((level, verb, details): &Message) -> String {
    format!("{level:?} {verb} {details}")
}

/// Events cannot be made here, so their contents are tested.
#[test]
fn failed_starts_have_their_cause_and_the_next_start() {
    let failed = |stopping, retry_in| parts(&start_failed(&"no file", stopping, retry_in, None));
    let delay = Some(Duration::from_secs(1));
    assert_eq!(
        failed(false, delay),
        "Error failed retry_in=1s error: no file"
    );
    assert_eq!(
        failed(false, None),
        "Error failed restart=never error: no file"
    );
    assert_eq!(failed(true, None), "Info cancelled no file");
}

#[test]
fn exits_have_their_cause_and_the_next_start() {
    let back = |seconds| {
        let delay = Duration::from_secs(seconds);
        Some(next_start(Some(delay), Restart::Always, None))
    };
    let never = || Some(next_start(None, Restart::Never, None));
    let done = Some(next_start(None, Restart::OnFailure, None));
    let gave_up = next_start(None, Restart::Always, Some("3 restarts in a row"));
    assert_eq!(gave_up, "not restarted: 3 restarts in a row");
    let table = [
        (0, back(1), "Info", "code=0 uptime=1.2s retry_in=1s"),
        (0, never(), "Info", "code=0 uptime=1.2s restart=never"),
        // It was `restart=never`, which the config did not have.
        (
            0,
            done,
            "Info",
            "code=0 uptime=1.2s not restarted: it succeeded",
        ),
        (3, back(60), "Error", "code=3 uptime=1.2s retry_in=1m"),
        (3, never(), "Error", "code=3 uptime=1.2s restart=never"),
        (
            -9,
            back(2),
            "Error",
            "signal=SIGKILL uptime=1.2s retry_in=2s",
        ),
        (-15, None, "Info", "signal=SIGTERM uptime=1.2s"),
        (-37, None, "Info", "signal=SIGRTMIN+3 uptime=1.2s"),
    ];
    for (return_code, next, level, details) in table {
        let message = exited(4711, return_code, false, UPTIME, next, None);
        assert_eq!(
            parts(&message),
            format!("{level} exited pid=4711 {details}")
        );
    }
    let message = exited(4711, -11, true, UPTIME, back(2), None);
    let details = "pid=4711 signal=SIGSEGV uptime=1.2s core_dumped=yes retry_in=2s";
    assert_eq!(parts(&message), format!("Error exited {details}"));
}

#[test]
fn a_failure_says_its_last_line_and_no_line_fakes_another() {
    let next = || {
        Some(next_start(
            Some(Duration::from_secs(2)),
            Restart::Always,
            None,
        ))
    };
    let table = [
        ("no database", r#"last="no database""#),
        (r#"say "hi" \ there"#, r#"last="say \"hi\" \\ there""#),
        ("\x1b[31mred\u{202e}", r#"last="\u{1b}[31mred\u{202e}""#),
        ("größe", r#"last="größe""#),
    ];
    for (line, shown) in table {
        let (level, verb, details) = exited(4711, 3, false, UPTIME, next(), Some(line));
        assert_eq!(
            details,
            format!("pid=4711 code=3 uptime=1.2s retry_in=2s {shown}")
        );
        let line = PLAIN.line(noon(), "web", level, verb, &details);
        assert!(line.ends_with(&details), "{line}");
    }
    let (.., details) = exited(4711, 3, false, UPTIME, None, Some("too late"));
    assert_eq!(details, r#"pid=4711 code=3 uptime=1.2s last="too late""#);
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

#[test]
fn nothing_that_a_terminal_obeys_gets_through() {
    let table = [
        ("plain \"quoted\" \\ text", "plain \"quoted\" \\ text"),
        ("größe 日本", "größe 日本"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
        ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\0"),
        (
            "\u{202e}evil\u{2028}\u{200b}",
            "\\u{202e}evil\\u{2028}\\u{200b}",
        ),
    ];
    for (text, safe) in table {
        assert_eq!(escaped(text), safe);
    }
    let line = PLAIN.line(noon(), "x\n", Error, "y\x1b", "z\r\n2024 fake");
    assert!(!line.contains(char::is_control), "{line:?}");
}
