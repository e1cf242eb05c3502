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

const RAN: Duration = Duration::from_millis(1_250);

#[test]
fn the_line_of_the_contract() {
    assert_eq!(
        PLAIN.line(noon(), "service1", Tone::Good, "started", "pid=4711"),
        "2024-01-01T12:00:00.000Z service1 started pid=4711"
    );
}

#[test]
fn names_and_happenings_stand_in_columns() {
    assert_eq!(
        PLAIN.line(noon(), "web", Tone::Plain, "exited", "pid=1 code=0"),
        "2024-01-01T12:00:00.000Z web      exited  pid=1 code=0"
    );
    assert_eq!(
        PLAIN.line(noon(), "web", Tone::Plain, "stopping", "pid=1"),
        "2024-01-01T12:00:00.000Z web      stopping pid=1"
    );
    assert_eq!(
        PLAIN.line(noon(), SELF, Tone::Plain, "stopped", ""),
        "2024-01-01T12:00:00.000Z procsched-min stopped"
    );
}

#[test]
fn colour_is_put_around_words_and_is_ended() {
    assert_eq!(
        COLORED.line(noon(), "web", Tone::Bad, "exited", "code=1"),
        "\x1b[2m2024-01-01T12:00:00.000Z\x1b[0m web      \x1b[31mexited\x1b[0m  code=1"
    );
    assert_eq!(
        COLORED.line(noon(), "web", Tone::Plain, "exited", "code=0"),
        "\x1b[2m2024-01-01T12:00:00.000Z\x1b[0m web      exited  code=0"
    );
}

/// Events cannot be made here, so their contents are what is tested.
#[test]
fn every_kind_of_event() {
    let seconds = Duration::from_secs;
    let error = "failed to execute \"/x\": Permission denied";
    let table = [
        (started(7), Tone::Good, "started", "pid=7"),
        (
            start_failed(&error, Some(seconds(1))),
            Tone::Bad,
            "failed",
            "restart_in=1s error: failed to execute \"/x\": Permission denied",
        ),
        (
            start_failed(&error, None),
            Tone::Bad,
            "failed",
            "restart=never error: failed to execute \"/x\": Permission denied",
        ),
        (
            stopping(7, 2, seconds(90)),
            Tone::Plain,
            "stopping",
            "pid=7 signal=SIGINT timeout=1m30s",
        ),
        (killed(7), Tone::Notice, "killed", "pid=7 signal=SIGKILL"),
        (
            abandoned(7),
            Tone::Bad,
            "abandoned",
            "pid=7 it is not gone 5 s after SIGKILL",
        ),
        (
            bytes_dropped(12),
            Tone::Notice,
            "dropped",
            "bytes=12 of its stderr are not in its log",
        ),
        (
            handler_panicked("oh"),
            Tone::Bad,
            "warning",
            "a handler panicked: oh",
        ),
        (warning(&"no log"), Tone::Notice, "warning", "no log"),
    ];
    for (words, tone, happening, details) in table {
        assert_eq!(words, Words::new(tone, happening, details.to_owned()));
    }
}

#[test]
fn exits_say_how_and_when_it_comes_back() {
    let back = |seconds| {
        let delay = Duration::from_secs(seconds);
        Some(next_start(Some(delay), Restart::Always))
    };
    let never = || Some(next_start(None, Restart::Never));
    let done = Some(next_start(None, Restart::OnFailure));
    let table = [
        (0, back(1), Tone::Plain, "code=0 ran=1.2s restart_in=1s"),
        (0, never(), Tone::Plain, "code=0 ran=1.2s restart=never"),
        // It said `restart=never`, which is not what the config said.
        (
            0,
            done,
            Tone::Plain,
            "code=0 ran=1.2s not restarted: it succeeded",
        ),
        (3, back(60), Tone::Bad, "code=3 ran=1.2s restart_in=1m"),
        (3, never(), Tone::Bad, "code=3 ran=1.2s restart=never"),
        (
            -9,
            back(2),
            Tone::Bad,
            "signal=SIGKILL ran=1.2s restart_in=2s",
        ),
        (-15, None, Tone::Plain, "signal=SIGTERM ran=1.2s"),
        (-37, None, Tone::Plain, "signal=SIGRTMIN+3 ran=1.2s"),
    ];
    for (return_code, next, tone, details) in table {
        let words = exited(4711, return_code, false, RAN, next, None);
        let details = format!("pid=4711 {details}");
        assert_eq!(words, Words::new(tone, "exited", details));
    }
    let words = exited(4711, -11, true, RAN, back(2), None);
    let details = "pid=4711 signal=SIGSEGV ran=1.2s core_dumped=yes restart_in=2s";
    assert_eq!(words, Words::new(Tone::Bad, "exited", details.to_owned()));
}

#[test]
fn a_failure_says_its_last_line_and_no_line_fakes_another() {
    let next = || Some(next_start(Some(Duration::from_secs(2)), Restart::Always));
    let table = [
        ("no database", r#"last="no database""#),
        (r#"say "hi" \ there"#, r#"last="say \"hi\" \\ there""#),
        ("\x1b[31mred\u{202e}", r#"last="\u{1b}[31mred\u{202e}""#),
        ("größe", r#"last="größe""#),
    ];
    for (line, shown) in table {
        let words = exited(4711, 3, false, RAN, next(), Some(line));
        let details = format!("pid=4711 code=3 ran=1.2s restart_in=2s {shown}");
        assert_eq!(words.details, details);
        let line = PLAIN.line(noon(), "web", words.tone, words.happening, &details);
        assert!(line.ends_with(&details), "{line}");
    }
    let words = exited(4711, 3, false, RAN, None, Some("too late"));
    assert_eq!(words.details, r#"pid=4711 code=3 ran=1.2s last="too late""#);
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
    let words = stopping_all(&StopCause::AllEnded, false);
    let details = "everything: every program has ended for good".to_owned();
    assert_eq!(words, Words::new(Tone::Plain, "stopping", details));
}

#[test]
fn impossible_codes_do_not_overflow() {
    assert_eq!(how(i32::MIN), ("code", "-2147483648".to_owned()));
    assert_eq!(how(-1_000), ("signal", "signal 1000".to_owned()));
}

#[test]
fn durations_are_short() {
    let table = [
        (Duration::ZERO, "0s"),
        (Duration::from_nanos(7), "7ns"),
        (Duration::from_micros(250), "250us"),
        (Duration::from_millis(999), "999ms"),
        (Duration::from_secs(1), "1s"),
        (Duration::from_millis(12_340), "12.3s"),
        (Duration::from_millis(59_999), "59.9s"),
        (Duration::from_secs(60), "1m"),
        (Duration::from_secs(125), "2m05s"),
        (Duration::from_secs(3_599), "59m59s"),
        (Duration::from_secs(11_520), "3h12m"),
        (Duration::from_secs(446_400), "5d04h"),
        (Duration::MAX, "213503982334601d07h"),
    ];
    for (length, text) in table {
        assert_eq!(duration(length), text);
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
    let line = PLAIN.line(noon(), "x\n", Tone::Bad, "y\x1b", "z\r\n2024 fake");
    assert!(!line.contains(char::is_control), "{line:?}");
}
