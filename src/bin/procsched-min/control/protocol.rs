//! The words of the control socket: requests, error codes, and the lines of an answer.
//!
//! A request is one line of JSON. An answer is any number of data lines, each with one key
//! (`program`, `event`, `change` or `problem`), and one line with `ok`.

use std::time::Duration;

use procsched::text::did_you_mean;
use procsched::{Signal, SignalTo};
use serde_json::{Map, Value};

use super::json;

/// The version of the protocol. It changes only when a meaning changes.
pub const VERSION: u64 = 1;

/// The longest line of a request.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The longest message of a problem. With every byte escaped it is six times as long.
const MESSAGE_BYTES_MAX: usize = 512;

/// Why a request, or its part for one program, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Usage,
    Version,
    TooLong,
    Busy,
    UnknownProgram,
    NotRunning,
    Stopping,
    Superseded,
    Timeout,
    Failed,
    Abandoned,
    InvalidConfig,
}

impl Code {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Version => "version",
            Self::TooLong => "too-long",
            Self::Busy => "busy",
            Self::UnknownProgram => "unknown-program",
            Self::NotRunning => "not-running",
            Self::Stopping => "stopping",
            Self::Superseded => "superseded",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::InvalidConfig => "invalid-config",
        }
    }
}

/// What is wrong, as an answer says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    pub message: String,
}

impl Problem {
    /// A message that is too long, as it quotes what a client has sent, is cut.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut ends = (0..=MESSAGE_BYTES_MAX).rev();
            message.truncate(ends.find(|&end| message.is_char_boundary(end)).unwrap_or(0));
            message.push('…');
        }
        Self { code, message }
    }

    /// Appends it as a line of data.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        json::line(out, |line| {
            line.object("problem", |object| {
                object.text("code", self.code.word());
                object.text("message", &self.message);
            });
        });
    }

    /// Appends the line that ends an answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        json::line(out, |line| {
            line.value("ok", false);
            line.object("error", |error| {
                error.text("code", self.code.word());
                error.text("message", &self.message);
            });
            if self.code == Code::Version {
                line.value("supported", format_args!("[{VERSION}]"));
            }
        });
    }
}

/// Appends the line that ends the answer of what was done.
pub fn write_done(out: &mut Vec<u8>) {
    json::line(out, |line| line.value("ok", true));
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub command: Command,
    /// Names and globs.
    pub programs: Vec<String>,
    /// True if the answer comes when it is done.
    pub wait: bool,
    pub timeout: Option<Duration>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    Status,
    Wait(Until),
    Start,
    Stop { kill: bool },
    Restart,
    Signal { signal: i32, to: SignalTo },
    Events { snapshot: bool },
    Reload { dry_run: bool, restart: bool },
    Reopen,
    Shutdown { kill: bool },
}

/// The states that end a wait: those of a program, and `down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(&'static str);

impl Until {
    /// All of them.
    pub const WORDS: [&'static str; 10] = [
        "pending",
        "starting",
        "running",
        "backoff",
        "stopping",
        "stopped",
        "exited",
        "failed",
        "abandoned",
        "down",
    ];

    /// Parses a word; the error names what was probably meant.
    pub fn of(word: &str) -> Result<Self, String> {
        let known = Self::WORDS.into_iter().find(|known| *known == word);
        let meant = || did_you_mean(word, Self::WORDS);
        let expected = || format!(": expected one of {}", Self::WORDS.join(", "));
        known
            .map(Self)
            .ok_or_else(|| format!("invalid state {word:?}{}", meant().unwrap_or_else(expected)))
    }

    /// Returns the word that was given.
    pub fn word(self) -> &'static str {
        self.0
    }
}

const COMMANDS: [&str; 10] = [
    "status", "wait", "start", "stop", "restart", "signal", "events", "reload", "reopen",
    "shutdown",
];

fn expected_command() -> String {
    format!("one of {}", COMMANDS.join(", "))
}

impl Request {
    /// Parses a line, without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(line);
        let text = text.map_err(|error| usage(format!("invalid JSON: {error}")))?;
        let value = serde_json::from_str(text);
        let value = value.map_err(|error| usage(format!("invalid JSON: {error}")))?;
        let Value::Object(keys) = value else {
            return Err(usage("invalid request: expected an object"));
        };
        if count_keys(line) != keys.len() {
            return Err(usage("invalid request: a key is given twice"));
        }
        let mut keys = Keys(keys);
        // Before all else: of another version even the keys may be others.
        match keys.0.remove("v") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                let message = format!("unsupported version {version}: expected {VERSION}");
                return Err(Problem::new(Code::Version, message));
            }
            None => return Err(usage(format!("missing key \"v\": expected {VERSION}"))),
        }
        let request = keys.request().map_err(usage)?;
        match request.needs_programs() && request.programs.is_empty() {
            true => Err(usage(
                "missing programs: name at least one, or \"*\" for all",
            )),
            false => Ok(request),
        }
    }

    fn needs_programs(&self) -> bool {
        use Command::{Restart, Signal, Start, Stop, Wait};
        matches!(
            self.command,
            Start | Stop { .. } | Restart | Signal { .. } | Wait(_)
        )
    }
}

/// Counts the keys of an object that is valid, those that come twice too, of which the parser keeps
/// the last.
fn count_keys(object: &[u8]) -> usize {
    let (mut count, mut depth) = (0, 0);
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in object {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' if depth == 1 => count += 1,
            _ => {}
        }
    }
    count
}

fn usage(message: impl Into<String>) -> Problem {
    Problem::new(Code::Usage, message)
}

/// The keys of a request that were not read yet.
struct Keys(Map<String, Value>);

impl Keys {
    fn request(mut self) -> Result<Request, String> {
        let missing = || format!("missing key \"command\": expected {}", expected_command());
        let name = self.text("command")?.ok_or_else(missing)?;
        let mut request = Request {
            command: Command::Status,
            programs: Vec::new(),
            wait: true,
            timeout: None,
        };
        if !["reload", "reopen", "shutdown"].contains(&&*name) {
            request.programs = self.programs()?;
        }
        if ["start", "stop", "restart", "reload"].contains(&&*name) {
            request.wait = self.flag("wait", true)?;
        }
        if ["start", "stop", "restart", "reload", "wait"].contains(&&*name) {
            request.timeout = self.seconds("timeout")?;
        }
        request.command = self.command(&name)?;
        let Some(unknown) = self.0.keys().next() else {
            return Ok(request);
        };
        Err(format!("unknown key {unknown:?} of command {name:?}"))
    }

    fn command(&mut self, name: &str) -> Result<Command, String> {
        Ok(match name {
            "status" => Command::Status,
            "wait" => {
                let word = self.text("for")?;
                Command::Wait(Until::of(word.as_deref().unwrap_or("running"))?)
            }
            "start" => Command::Start,
            "stop" => Command::Stop {
                kill: self.flag("kill", false)?,
            },
            "restart" => Command::Restart,
            "signal" => Command::Signal {
                signal: self.signal()?,
                to: self.receiver()?,
            },
            "events" => Command::Events {
                snapshot: self.flag("snapshot", true)?,
            },
            "reload" => Command::Reload {
                dry_run: self.flag("dry_run", false)?,
                restart: self.flag("restart", true)?,
            },
            "reopen" => Command::Reopen,
            "shutdown" => Command::Shutdown {
                kill: self.flag("kill", false)?,
            },
            _ => {
                let meant = did_you_mean(name, COMMANDS);
                let meant = meant.unwrap_or_else(|| format!(": expected {}", expected_command()));
                return Err(format!("unknown command {name:?}{meant}"));
            }
        })
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("invalid key {key:?}: expected a string")),
        }
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(format!("invalid key {key:?}: expected true or false")),
        }
    }

    fn programs(&mut self) -> Result<Vec<String>, String> {
        let expected = "invalid key \"programs\": expected an array of names";
        let names = match self.0.remove("programs") {
            None => return Ok(Vec::new()),
            Some(Value::Array(names)) => names,
            Some(_) => return Err(expected.to_owned()),
        };
        let name = |name| match name {
            Value::String(name) => Ok(name),
            _ => Err(expected.to_owned()),
        };
        names.into_iter().map(name).collect()
    }

    fn seconds(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let Some(value) = self.0.remove(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let seconds = value.as_f64();
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let invalid = || format!("invalid key {key:?}: expected a number of seconds");
        time.map(Some).ok_or_else(invalid)
    }

    fn signal(&mut self) -> Result<i32, String> {
        let signal = match self.0.remove("signal") {
            Some(Value::String(name)) => name.parse::<Signal>(),
            Some(Value::Number(number)) => {
                let whole = number.as_i64();
                let whole = whole.and_then(|number| i32::try_from(number).ok());
                let invalid = || format!("invalid signal {number}: expected 1 to 64");
                Signal::new(whole.ok_or_else(invalid)?)
            }
            Some(_) => return Err("invalid key \"signal\": expected a name or a number".to_owned()),
            None => return Err("missing key \"signal\": expected a name or a number".to_owned()),
        };
        signal
            .map(Signal::number)
            .map_err(|error| error.to_string())
    }

    fn receiver(&mut self) -> Result<SignalTo, String> {
        match self.text("to")?.as_deref() {
            None | Some("group") => Ok(SignalTo::Group),
            Some("main") => Ok(SignalTo::Main),
            Some(other) => Err(format!(
                "invalid key \"to\": expected \"group\" or \"main\", not {other:?}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        Request::parse(line.as_bytes())
            .map_err(|problem| format!("{}: {}", problem.code.word(), problem.message))
    }

    #[test]
    fn what_is_understood() {
        let command = |rest: &str| {
            let request = parse(&format!("{{\"v\":1,{rest}}}"));
            request.unwrap_or_else(|problem| panic!("{rest}: {problem}"))
        };
        assert_eq!(command(r#""command":"status""#).command, Command::Status);
        let restart =
            command(r#""command":"restart","programs":["web*"],"wait":false,"timeout":1.5"#);
        let expected = Request {
            command: Command::Restart,
            programs: vec!["web*".to_owned()],
            wait: false,
            timeout: Some(Duration::from_millis(1500)),
        };
        assert_eq!(restart, expected);
        let signal = |rest: &str| {
            command(&format!(
                "\"command\":\"signal\",\"programs\":[\"web\"],{rest}"
            ))
            .command
        };
        let to_group = |signal| Command::Signal {
            signal,
            to: SignalTo::Group,
        };
        assert_eq!(signal(r#""signal":"HUP""#), to_group(1));
        assert_eq!(signal(r#""signal":"sigusr1""#), to_group(10));
        assert_eq!(signal(r#""signal":15,"to":"group""#), to_group(15));
        let to_main = Command::Signal {
            signal: 1,
            to: SignalTo::Main,
        };
        assert_eq!(signal(r#""signal":1,"to":"main""#), to_main);
        let wait = command(r#""command":"wait","programs":["web"],"timeout":null"#);
        assert_eq!(wait.command, Command::Wait(Until("running")));
        let wait = command(r#""command":"wait","programs":["web"],"for":"down""#);
        assert_eq!(wait.command, Command::Wait(Until("down")));
        let kill = command(r#""command":"shutdown","kill":true"#);
        assert_eq!(kill.command, Command::Shutdown { kill: true });
        let events = command(r#""command":"events","snapshot":false"#);
        assert_eq!(events.command, Command::Events { snapshot: false });
    }

    /// Requests, and what is wrong with them.
    const NOT_UNDERSTOOD: &str = r#"
        x => usage: invalid JSON: expected value at line 1 column 1
        [] => usage: invalid request: expected an object
        {} => usage: missing key "v": expected 1
        {"v":2,"whatever":1} => version: unsupported version 2: expected 1
        {"v":"1"} => version: unsupported version "1": expected 1
        {"v":1} => usage: missing key "command": expected one of status, wait, start, stop, restart, signal, events, reload, reopen, shutdown
        {"v":1,"command":"fly"} => usage: unknown command "fly": expected one of status, wait, start, stop, restart, signal, events, reload, reopen, shutdown
        {"v":1,"command":"signal","programs":["a"],"signal":1.5} => usage: invalid signal 1.5: expected 1 to 64
        {"v":1,"command":"signal","programs":["a"],"signal":true} => usage: invalid key "signal": expected a name or a number
        {"v":1,"command":1} => usage: invalid key "command": expected a string
        {"v":1,"command":"restrat","programs":[]} => usage: unknown command "restrat" (did you mean "restart"?)
        {"v":1,"command":"start"} => usage: missing programs: name at least one, or "*" for all
        {"v":1,"command":"wait"} => usage: missing programs: name at least one, or "*" for all
        {"v":1,"command":"start","programs":"web"} => usage: invalid key "programs": expected an array of names
        {"v":1,"command":"start","programs":[1]} => usage: invalid key "programs": expected an array of names
        {"v":1,"command":"start","programs":["a"],"wait":1} => usage: invalid key "wait": expected true or false
        {"v":1,"command":"start","programs":["a"],"timeout":-1} => usage: invalid key "timeout": expected a number of seconds
        {"v":1,"command":"start","programs":["a"],"timeout":1e99} => usage: invalid key "timeout": expected a number of seconds
        {"v":1,"command":"status","timeout":1} => usage: unknown key "timeout" of command "status"
        {"v":1,"command":"start","programs":["a"],"kill":true} => usage: unknown key "kill" of command "start"
        {"v":1,"command":"signal","programs":["a"]} => usage: missing key "signal": expected a name or a number
        {"v":1,"command":"signal","programs":["a"],"signal":0} => usage: invalid signal 0: expected 1 to 64
        {"v":1,"command":"signal","programs":["a"],"signal":"TREM"} => usage: unknown signal "TREM" (did you mean "TERM"?)
        {"v":1,"command":"signal","programs":["a"],"signal":1,"to":"all"} => usage: invalid key "to": expected "group" or "main", not "all"
        {"v":1,"command":"wait","programs":["a"],"for":"runing"} => usage: invalid state "runing" (did you mean "running"?)
        {"v":1,"command":"status","command":"shutdown"} => usage: invalid request: a key is given twice
        {"v":1,"command":"status","a":{"b":[":",2]},"\u0061":1} => usage: invalid request: a key is given twice
        {"v":1,"command":"x:\"y:z","programs":["a:b"]} => usage: unknown command "x:\"y:z": expected one of status, wait, start, stop, restart, signal, events, reload, reopen, shutdown
        {"v":1,"command":"status","a":1} => usage: unknown key "a" of command "status""#;

    #[test]
    fn what_is_not_understood_and_why() {
        for case in NOT_UNDERSTOOD.lines().skip(1) {
            let (line, expected) = case.trim().split_once(" => ").expect("a case");
            assert_eq!(parse(line), Err(expected.to_owned()), "{line}");
        }
        assert!(Request::parse(b"{\"v\":1,\"command\":\"\xff\"}").is_err());
        // The parser has a limit of depth.
        assert!(Request::parse("[".repeat(REQUEST_BYTES_MAX).as_bytes()).is_err());
    }

    #[test]
    fn an_answer_ends_with_one_line() {
        let mut out = Vec::new();
        write_done(&mut out);
        Problem::new(Code::Version, "unsupported").write(&mut out);
        let expected = concat!(
            "{\"ok\":true}\n",
            "{\"ok\":false,\"error\":{\"code\":\"version\",\"message\":\"unsupported\"},",
            "\"supported\":[1]}\n"
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
