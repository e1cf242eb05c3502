//! The report of one run: how and when it ended, and the end of its stderr.
//!
//! There is one for every exit, clean ones and those after a stop too, and for every failed start.
//! Scripts rely on the line of [`ErrorReport::to_json`]: its first five fields are fixed in order,
//! meaning and type.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::machine::{Cause, Exit};
use crate::os::tail::LastWords;

/// The return code if there is no exit status: unknown, abandoned, or failed before exec.
pub(crate) const CODE_UNKNOWN: i32 = 125;

/// How one run ended, and the end of its stderr.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorReport {
    pub(crate) process: Arc<str>,
    pub(crate) timestamp: SystemTime,
    pub(crate) stderr: LastWords,
    /// The end of stdout, if that passes through us, and how much came before it.
    pub(crate) stdout: Option<Box<(LastWords, u64)>>,
    pub(crate) pid: Option<i32>,
    pub(crate) uptime: Duration,
    pub(crate) restarts: u64,
    pub(crate) retry_in: Option<Duration>,
    pub(crate) end: End,
    pub(crate) stopping: bool,
    pub(crate) is_failure: bool,
    pub(crate) cause: Cause,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_offset: u64,
    pub(crate) data_omitted: u64,
    pub(crate) log_rotated: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// Its first process ended.
    Exited(Exit),
    /// It could not be started. The code is that of a shell.
    NotStarted { return_code: i32, error: Error },
    /// It survived SIGKILL.
    Abandoned { error: Error },
}

impl ErrorReport {
    /// Returns the program's name.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Returns when it was reaped, or failed to start, by the wall clock.
    #[must_use]
    pub fn timestamp(&self) -> SystemTime {
        self.timestamp
    }

    /// Returns the last bytes of this run's stderr, at most
    /// [`ChildSpec::report_bytes`](crate::ChildSpec::report_bytes).
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// Returns the exit code, or minus the number of the signal that terminated it.
    ///
    /// For a failed start it is 127 if exec found no file, 126 if exec failed otherwise, and 125 if
    /// anything before exec failed. It is 125 if the exit status is unknown.
    #[must_use]
    pub fn return_code(&self) -> i32 {
        match &self.end {
            End::Exited(exit) => return_code(*exit),
            End::NotStarted { return_code, .. } => *return_code,
            End::Abandoned { .. } => CODE_UNKNOWN,
        }
    }

    /// Returns its process ID, unless it failed to start.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Returns the time from exec to reap; zero for a failed start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// Returns the number of starts before this one, failed ones too.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the delay before the next start, or `None` if none is planned.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_in
    }

    /// Returns the number of the signal that terminated it, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.end {
            End::Exited(Exit::Signal { signal, .. }) => Some(signal),
            End::Exited(_) | End::NotStarted { .. } | End::Abandoned { .. } => None,
        }
    }

    /// True if it dumped core.
    #[must_use]
    pub fn core_dumped(&self) -> bool {
        match self.end {
            End::Exited(Exit::Signal { core_dumped, .. }) => core_dumped,
            End::Exited(_) | End::NotStarted { .. } | End::Abandoned { .. } => false,
        }
    }

    /// True if it had been asked to stop.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// True if this is an end that [`Restart::OnFailure`](crate::Restart::OnFailure) restarts, and
    /// the program had not been asked to stop.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.is_failure
    }

    /// Returns what ended it.
    ///
    /// ```
    /// # use procsched::{Cause, ChildSpec, ProcessScheduler, Restart};
    /// # let logs = tempfile::tempdir().unwrap();
    /// let once = ChildSpec::new("once", ["false"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once)
    ///     .err_dir(logs.path())
    ///     .error_handler(|_, report| assert_eq!(report.cause(), Cause::Exit))
    ///     .build()?;
    /// scheduler.start()?;
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the path of the log with all of its stderr, unless there was none.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Returns the offset in the log, in bytes, at which the stderr of this run begins.
    #[must_use]
    pub fn log_offset(&self) -> u64 {
        self.log_offset
    }

    /// Returns the end of this run's stderr as text: at most 2 KiB of [`ErrorReport::stderr`], from
    /// the start of a line if there is one, with invalid UTF-8 replaced. If it wrote nothing there, the
    /// same of its stdout, where that is logged or inherited. `None` if there is neither, and so for a
    /// failed start: see [`ErrorReport::error`].
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Restart};
    /// # let logs = tempfile::tempdir().unwrap();
    /// let web = ChildSpec::new("web", ["sh", "-c", "echo 'no database' >&2"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(web.restart(Restart::Never))
    ///     .err_dir(logs.path())
    ///     .error_handler(|_, report| assert_eq!(report.text().unwrap(), "no database\n"))
    ///     .build()?;
    /// scheduler.start()?;
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        let text = self.last_text();
        (!text.is_empty()).then(|| String::from_utf8_lossy(text))
    }

    fn last_text(&self) -> &[u8] {
        match self.stdout.as_deref() {
            Some((stdout, omitted)) if self.stderr.is_empty() && self.data_omitted == 0 => {
                stdout.last_text(*omitted)
            }
            _ => self.stderr.last_text(self.data_omitted),
        }
    }

    /// Returns the last line of stderr that is not empty; if there is none, of stdout.
    pub(crate) fn last_line(&self) -> Option<String> {
        let stdout = self.stdout.as_deref().filter(|_| self.data_omitted == 0);
        let of_stdout = || stdout?.0.last_line();
        self.stderr.last_line().or_else(of_stdout)
    }

    /// Returns how often the log was rotated since the run began. The offset is in the log that has
    /// been rotated as often.
    ///
    /// ```
    /// # use procsched::{ChildSpec, LogOptions, ProcessScheduler, Restart};
    /// # let logs = tempfile::tempdir().unwrap();
    /// let script = "head -c 200000 /dev/zero | tr '\\0' '\\n' >&2";
    /// let once = ChildSpec::new("once", ["sh", "-c", script]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once.log(LogOptions::new().max_bytes(65_536)))
    ///     .err_dir(logs.path())
    ///     .error_handler(|_, report| assert_eq!(report.log_rotated(), 3))
    ///     .build()?;
    /// scheduler.start()?;
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn log_rotated(&self) -> u64 {
        self.log_rotated
    }

    /// Returns how many bytes of this run's stderr are not in [`ErrorReport::stderr`].
    #[must_use]
    pub fn data_omitted(&self) -> u64 {
        self.data_omitted
    }

    /// Returns why it could not be started, why its exit status is unknown, or that it was abandoned.
    /// `None` if it has an exit status.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match &self.end {
            End::Exited(Exit::Unknown) => {
                Some("exit status unknown: another part of this process reaped it".to_owned())
            }
            End::Exited(_) => None,
            End::NotStarted { error, .. } | End::Abandoned { error } => Some(error.to_string()),
        }
    }
}

/// Returns the number of an exit in reports and events.
pub(crate) fn return_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal { signal, .. } => -signal,
        Exit::Unknown => CODE_UNKNOWN,
    }
}

#[cfg(feature = "json")]
mod json {
    //! The line of JSON. It is written field by field, because the order of the first five is
    //! fixed, and that of a map is not.

    use base64::display::Base64Display;
    use base64::engine::general_purpose::STANDARD;
    use std::fmt::{self, Display, Write};
    use std::time::{Duration, SystemTime};
    use time::OffsetDateTime;

    use super::ErrorReport;
    use crate::os::emergency_heap::EmergencyHeap;
    use crate::os::utc;
    use crate::signal::signal_name;
    use crate::text::is_printable;

    impl ErrorReport {
        /// Returns the report as one line of JSON, without a line feed. If there is no memory for
        /// the stderr, it is left out and counted in `data_omitted`.
        #[must_use]
        pub fn to_json(&self) -> String {
            self.try_to_json().unwrap_or_else(|| {
                let mut line = String::new();
                // Writing to a String cannot fail.
                let _ = self.write_json_without_stderr(&mut line);
                line
            })
        }

        /// The same, or `None` if there is no memory even without the stderr.
        pub(crate) fn try_to_json(&self) -> Option<String> {
            let mut line = Sparing(String::new());
            let base64 = self.stderr.len().div_ceil(3) * 4;
            let has_room =
                EmergencyHeap::optional(|| line.0.try_reserve_exact(base64 + 512)).is_ok();
            if has_room && self.write_json(&mut line).is_ok() {
                return Some(line.0);
            }
            let mut line = Sparing(String::new());
            self.write_json_without_stderr(&mut line).ok()?;
            Some(line.0)
        }

        /// Writes the same line to `out`, in pieces.
        ///
        /// # Errors
        ///
        /// Those of `out`, which may have part of the line.
        pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
            self.write(out, &self.stderr)
        }

        /// Writes the line without the stderr, which is counted in `data_omitted`.
        ///
        /// # Errors
        ///
        /// Those of `out`, which may have part of the line.
        pub fn write_json_without_stderr(&self, out: &mut dyn Write) -> fmt::Result {
            self.write(out, &[])
        }

        fn write(&self, out: &mut dyn Write, stderr: &[u8]) -> fmt::Result {
            let omitted = self.data_omitted + (self.stderr.len() - stderr.len()) as u64;
            write!(out, "{{\"process\":{}", Text(self.process.as_bytes()))?;
            let mut field = |key: &str, json: &dyn Display| write!(out, ",\"{key}\":{json}");
            let (timestamp, utc_iso) = instants(self.timestamp);
            field("timestamp", &timestamp)?;
            field("utc_iso", &format_args!("\"{utc_iso}\""))?;
            let data = Base64Display::new(stderr, &STANDARD);
            field("data", &format_args!("\"{data}\""))?;
            field("return_code", &self.return_code())?;
            field("pid", or_null(self.pid.as_ref()))?;
            field("uptime", &seconds(self.uptime))?;
            field("restarts", &self.restarts)?;
            field("retry_in", or_null(self.retry_in.map(seconds).as_ref()))?;
            let signal = self.signal().map(signal_name);
            field("signal", or_null(signal.as_deref().map(text_of).as_ref()))?;
            field("core_dumped", &self.core_dumped())?;
            field("stopping", &self.stopping)?;
            let log = self.log.as_ref().map(|log| log.to_string_lossy());
            field("log", or_null(log.as_deref().map(text_of).as_ref()))?;
            field("log_offset", &self.log_offset)?;
            field("data_omitted", &omitted)?;
            let error = self.error();
            field("error", or_null(error.as_deref().map(text_of).as_ref()))?;
            field("cause", &format_args!("\"{}\"", self.cause))?;
            let is_left_out = stderr.len() < self.stderr.len();
            let text = if is_left_out { &[] } else { self.last_text() };
            field(
                "text",
                or_null((!text.is_empty()).then_some(Text(text)).as_ref()),
            )?;
            field("log_rotated", &self.log_rotated)?;
            out.write_char('}')
        }
    }

    fn or_null(json: Option<&impl Display>) -> &dyn Display {
        json.map_or(&"null", |json| json as &dyn Display)
    }

    /// A string that returns an error when it is out of memory.
    struct Sparing(String);

    impl Write for Sparing {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // A line is written in a hundred pieces, for nearly all of which there is room.
            if self.0.capacity() - self.0.len() < text.len() {
                let reserved = EmergencyHeap::optional(|| self.0.try_reserve(text.len()));
                reserved.map_err(|_| fmt::Error)?;
            }
            self.0.push_str(text);
            Ok(())
        }
    }

    /// A JSON string, with invalid UTF-8 replaced. It may have most control characters, but a
    /// terminal must not interpret those of a path, so they are escaped.
    struct Text<'a>(&'a [u8]);

    fn text_of(text: &str) -> Text<'_> {
        Text(text.as_bytes())
    }

    impl Display for Text<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_char('"')?;
            for chunk in self.0.utf8_chunks() {
                let mut rest = chunk.valid();
                // In runs: nearly all of a path is as it is.
                while let Some((at, special)) = rest.char_indices().find(|(_, it)| is_special(*it))
                {
                    f.write_str(&rest[..at])?;
                    write_escaped(f, special)?;
                    rest = &rest[at + special.len_utf8()..];
                }
                f.write_str(rest)?;
                if !chunk.invalid().is_empty() {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
            }
            f.write_char('"')
        }
    }

    fn is_special(character: char) -> bool {
        matches!(character, '"' | '\\') || !is_printable(character)
    }

    fn write_escaped(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
        match character {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            _ => {
                let mut units = [0; 2];
                let mut units = character.encode_utf16(&mut units).iter();
                units.try_for_each(|unit| write!(f, "\\u{unit:04x}"))
            }
        }
    }

    /// Returns seconds as a JSON number with microseconds, more exact than an `f64`.
    fn seconds(duration: Duration) -> String {
        format!("{}.{:06}", duration.as_secs(), duration.subsec_micros())
    }

    /// Returns an instant as seconds since the epoch, and as RFC 3339 in UTC.
    fn instants(at: SystemTime) -> (String, String) {
        let utc = OffsetDateTime::from(at);
        // Microseconds count upwards before the epoch too.
        let micros = utc.unix_timestamp() * 1_000_000 + i64::from(utc.microsecond());
        let sign = if micros < 0 { "-" } else { "" };
        let (whole, rest) = (micros.abs() / 1_000_000, micros.abs() % 1_000_000);
        let iso = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00",
            utc.year(),
            u8::from(utc.month()),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second(),
            utc.microsecond(),
        );
        (format!("{sign}{whole}.{rest:06}"), iso)
    }

    /// Returns an instant in UTC with milliseconds: `2024-01-01T12:00:00.000Z`.
    #[must_use]
    pub fn utc_millis(at: SystemTime) -> String {
        String::from_utf8_lossy(&utc::utc_millis(at)).into_owned()
    }
}

#[cfg(feature = "json")]
pub use json::utc_millis;

#[cfg(test)]
mod tests;
