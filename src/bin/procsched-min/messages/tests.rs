use std::time::Duration;

use super::*;

const PLAIN: Style = Style {
    has_levels: false,
    name_width: 8,
    color: false,
};
const COLORED: Style = Style {
    has_levels: false,
    name_width: 8,
    color: true,
};

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_110_400)
}

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
