//! stdout and stderr where nothing is supervised.

use std::io::{self, ErrorKind, Write};

use procsched::text::error_text;

use crate::commands::{FAILED, FINE};
use crate::messages::{SELF, Style};
use crate::output::Outputs;

/// Prints the result of a command on stdout, and returns the exit code.
pub fn print(text: &str) -> u8 {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => FINE,
        // As with `| head`: the reader has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => FINE,
        Err(error) => {
            let cause = error_text(&error);
            complain(&format!("{SELF}: failed to write to stdout: {cause}"));
            FAILED
        }
    }
}

/// Prints lines on stderr. If it is closed, the exit code has to do.
pub fn complain(lines: &str) {
    let _ = writeln!(io::stderr(), "{lines}");
}

/// Prints lines on stderr, and waits 1 s at most for its reader: SIGTERM may be blocked by now.
pub fn complain_in_time(lines: &str) {
    let outputs = Outputs::messages_only(Style::new([]));
    let mut outputs = outputs.lock();
    lines.lines().for_each(|line| outputs.say(line));
    outputs.flush();
}
