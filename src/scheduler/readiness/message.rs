//! What a message of sd_notify(3) says: assignments, one a line. Those that are not known here are
//! ignored, as are `STOPPING=1`, `RELOADING=1` and what asks for more time.

use crate::text::escaped;

/// The longest status that is kept, escaped, in bytes.
const STATUS_BYTES_MAX: usize = 256;

/// What one message says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub is_ready: bool,
    /// It has triggered its watchdog.
    pub is_alive: bool,
    /// It wants to be ended as one whose watchdog was not triggered.
    pub is_hung: bool,
    /// What it says of itself, escaped; of several lines the last. Empty if there is nothing to say
    /// any more.
    pub status: Option<String>,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut message = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            match line {
                b"READY=1" => message.is_ready = true,
                b"WATCHDOG=1" => message.is_alive = true,
                b"WATCHDOG=trigger" => message.is_hung = true,
                line => {
                    let status = line.strip_prefix(b"STATUS=").map(status_text);
                    message.status = status.or(message.status);
                }
            }
        }
        message
    }
}

/// Returns a status on one line, cut off where it is too long, but in no character.
fn status_text(bytes: &[u8]) -> String {
    // More bytes do not become fewer.
    let bytes = &bytes[..bytes.len().min(STATUS_BYTES_MAX + 4)];
    let text = String::from_utf8_lossy(bytes);
    let mut status = String::new();
    let mut buffer = [0; 4];
    for character in text.trim().chars() {
        let piece = escaped(character.encode_utf8(&mut buffer));
        if status.len() + piece.len() > STATUS_BYTES_MAX {
            break;
        }
        status.push_str(&piece);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &[u8]) -> Option<String> {
        Message::parse(text).status
    }

    #[test]
    fn assignments_are_lines_and_others_are_ignored() {
        let said =
            Message::parse(b"STATUS=Accepting connections\nREADY=1\nMAINPID=1\nWATCHDOG=1\n");
        assert_eq!(
            said,
            Message {
                is_ready: true,
                is_alive: true,
                is_hung: false,
                status: Some("Accepting connections".to_owned()),
            }
        );
        assert!(Message::parse(b"WATCHDOG=trigger").is_hung);
        let ignored = [
            &b""[..],
            b"\n\n",
            b"READY=0",
            b"READY=1 ",
            b" READY=1",
            b"ready=1",
            b"READY=11",
            b"READY",
            b"READY=1\0",
            b"XREADY=1",
            b"WATCHDOG=",
            b"WATCHDOG=2",
            b"WATCHDOG_USEC=1",
            b"STOPPING=1\nRELOADING=1\nERRNO=2\nEXIT_STATUS=3\nMAINPID=1\nBARRIER=1\nFDSTORE=1",
            b"EXTEND_TIMEOUT_USEC=1000000",
            b"STATUS",
            b"\xff\xfe",
        ];
        for text in ignored {
            assert_eq!(Message::parse(text), Message::default(), "{text:?}");
        }
    }

    #[test]
    fn a_status_is_one_line_of_text_that_does_nothing_to_a_terminal() {
        assert_eq!(
            status(b"STATUS=a\x1b[31m\tb").as_deref(),
            Some("a\\u{1b}[31m\\tb")
        );
        assert_eq!(
            status(b"STATUS=\xff\xc3\xa9").as_deref(),
            Some("\u{fffd}\u{e9}")
        );
        assert_eq!(status(b"STATUS=one\nSTATUS=two").as_deref(), Some("two"));
        assert_eq!(status(b"STATUS=one\nSTATUS=").as_deref(), Some(""));
        assert_eq!(status(b"STATUS=  x=y ").as_deref(), Some("x=y"));
    }

    #[test]
    fn a_long_status_is_cut_off_behind_a_whole_character() {
        let cut = |character: &str| {
            let text = format!("STATUS=x{}", character.repeat(3000));
            let status = status(text.as_bytes()).expect("a status");
            assert!(status.len() <= STATUS_BYTES_MAX, "{character:?}");
            status
        };
        assert_eq!(cut("a").len(), STATUS_BYTES_MAX);
        assert_eq!(cut("\u{e9}"), format!("x{}", "\u{e9}".repeat(127)));
        assert_eq!(cut("\u{1}"), format!("x{}", r"\u{1}".repeat(51)));
        assert_eq!(cut("\u{1f980}"), format!("x{}", "\u{1f980}".repeat(63)));
    }
}
