//! What a person reads, made of what others wrote: always one line, and nothing in it that a
//! terminal would obey, that would hide, or that would turn the rest around.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::choices::Rng;
use crate::commands::{help, init, parse};
use crate::config::Config;
use crate::error::Error;
use crate::event::{Event, EventKind, SignalSender, StopCause};
use crate::load;
use crate::machine::ProgramState;
use crate::machine::{Cause, Restart};
use crate::messages::{Level, Style};
use crate::signal::signal_name;
use crate::spec::StdStream;
use crate::status::{LastExit, ProgramStatus};
use crate::status_line;
use crate::text::duration;
use crate::text::escaped;

const TEXT_BYTES_MAX: u64 = 80;

/// The colours of a line, level by level; there are none where stderr is no terminal.
const COLORS: [&str; 5] = ["\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"];

pub fn check(bytes: &[u8]) {
    let mut choices = Rng::new(bytes);
    while !choices.is_over() {
        match choices.below(6) {
            0 | 1 => check_event(&mut choices),
            2 => check_status(&mut choices),
            3 => check_arguments(&mut choices),
            4 => check_source(&mut choices),
            _ => check_words(&mut choices),
        }
    }
}

fn text(choices: &mut Rng) -> String {
    let count = choices.below(TEXT_BYTES_MAX) as usize;
    String::from_utf8_lossy(choices.take(count)).into_owned()
}

fn length(choices: &mut Rng) -> Duration {
    let seconds = choices.pick(&[0, 1, 59, 60, 3_599, 86_400, u64::MAX]);
    let more = choices.below(100_000);
    let nanos = choices.below(1_000_000_000) as u32;
    Duration::new(seconds.saturating_add(more), nanos)
}

/// At any time that a clock of Linux can show.
fn time(choices: &mut Rng) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(choices.next() >> 1)
}

/// Whether this may reach a terminal, colours of ours aside.
pub fn check_line(line: &str) {
    let mut plain = line.to_owned();
    if has_colors() {
        for color in COLORS {
            plain = plain.replace(color, "");
        }
    }
    for character in plain.chars() {
        let hides = matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}'
        );
        assert!(!character.is_control() && !hides, "{line:?}");
    }
}

fn has_colors() -> bool {
    Style::new([]).own(Level::Success, "", "").contains('\x1b')
}

fn check_event(choices: &mut Rng) {
    let name = text(choices);
    let style = Style::new([name.as_str()]);
    let event = Event {
        program: name.as_str().into(),
        at: time(choices),
        kind: any_kind(choices),
    };
    let line = style.event(&event);
    let is_waiting = matches!(event.kind, EventKind::Waiting { .. });
    assert_eq!(line.is_none(), is_waiting, "{event:?}");
    check_line(&line.unwrap_or_default());
}

fn any_kind(choices: &mut Rng) -> EventKind {
    let pid = choices.next() as i32;
    let retry_in = choices.one_in(2).then(|| length(choices));
    match choices.below(16) {
        0 => EventKind::Started { pid },
        1 => EventKind::StartFailed {
            error: any_error(choices),
            stopping: choices.one_in(2),
            cause: Cause::StartFailed,
            reason: choices.one_in(2).then(|| text(choices)),
            retry_in,
        },
        2 => EventKind::Exited {
            pid,
            return_code: choices.next() as i32,
            core_dumped: choices.one_in(2),
            uptime: length(choices),
            stopping: choices.one_in(2),
            cause: Cause::Operator,
            was_up: choices.one_in(2),
            has_failed: choices.one_in(2),
            fault: choices.one_in(2).then(|| text(choices)),
            retry_in,
            restart: any_restart(choices),
            reason: choices.one_in(2).then(|| text(choices)),
            last_line: choices.one_in(2).then(|| text(choices)),
        },
        3 => EventKind::Waiting {
            delay: length(choices),
        },
        4 => EventKind::Stopping {
            pid,
            signal: choices.next() as i32,
            timeout: length(choices),
            cause: choices.pick(&[Cause::Operator, Cause::Watchdog]),
        },
        5 => EventKind::Killed { pid },
        6 => EventKind::Abandoned {
            pid,
            is_early: choices.one_in(2),
        },
        7 => EventKind::OrphanSignalled {
            pid,
            signal: choices.next() as i32,
        },
        8 => EventKind::BytesDropped {
            stream: choices.pick(&[StdStream::Stdout, StdStream::Stderr]),
            bytes: choices.next(),
        },
        9 => EventKind::HandlerPanicked {
            message: text(choices),
        },
        10 => EventKind::StoppingAll {
            cause: any_cause(choices),
        },
        11 => EventKind::Up,
        12 => EventKind::Removed,
        14 => EventKind::Refused {
            error: any_error(choices),
        },
        13 => EventKind::KillingAll {
            cause: any_cause(choices),
        },
        _ => EventKind::Warning {
            error: any_error(choices),
        },
    }
}

fn any_restart(choices: &mut Rng) -> Restart {
    let all = [Restart::Always, Restart::OnFailure, Restart::Never];
    all[choices.below(3) as usize]
}

fn any_cause(choices: &mut Rng) -> StopCause {
    match choices.below(6) {
        0 => StopCause::Signal {
            signal: choices.next() as i32,
            sender: any_sender(choices),
        },
        1 => StopCause::Host,
        2 => StopCause::EssentialEnded {
            program: text(choices),
            return_code: choices.next() as i32,
            reason: Some(text(choices)),
        },
        3 => StopCause::EssentialNotStarted {
            program: text(choices),
        },
        4 => StopCause::ShutdownTimeout {
            timeout: length(choices),
        },
        _ => StopCause::AllEnded,
    }
}

fn any_sender(choices: &mut Rng) -> SignalSender {
    match choices.below(3) {
        0 => SignalSender::Process {
            pid: choices.next() as i32,
            uid: choices.next() as u32,
        },
        1 => SignalSender::Kernel,
        _ => SignalSender::Unknown,
    }
}

fn any_error(choices: &mut Rng) -> Error {
    match choices.below(3) {
        0 => Error::new(text(choices)),
        1 => Error::os(text(choices), choices.next() as i32),
        _ => Error::because(text(choices), text(choices)),
    }
}

fn last_exit(choices: &mut Rng) -> LastExit {
    LastExit {
        return_code: choices.next() as i32,
        core_dumped: choices.one_in(2),
        cause: Cause::Exit,
        at: SystemTime::UNIX_EPOCH,
        uptime: length(choices),
        error: choices.one_in(2).then(|| text(choices)),
        last_line: choices.one_in(2).then(|| text(choices)),
    }
}

fn check_status(choices: &mut Rng) {
    let states = [
        ProgramState::Pending,
        ProgramState::Starting,
        ProgramState::Running,
        ProgramState::Backoff,
        ProgramState::Stopping,
        ProgramState::Stopped,
        ProgramState::Exited,
        ProgramState::Failed,
        ProgramState::Abandoned,
    ];
    let count = choices.below(4);
    let programs: Vec<ProgramStatus> = (0..count)
        .map(|_| ProgramStatus {
            name: text(choices).into(),
            command: vec![text(choices).into()],
            state: choices.pick(&states),
            reason: choices.one_in(2).then(|| text(choices)),
            is_wanted: choices.one_in(2),
            state_for: length(choices),
            pid: choices.one_in(2).then(|| choices.next() as i32),
            backoff: length(choices),
            restarts: choices.next(),
            restarts_in_row: choices.next() as u32,
            last_start: None,
            last_exit: choices.one_in(2).then(|| last_exit(choices)),
            next_start: choices.one_in(2).then(|| length(choices)),
            is_up: choices.one_in(2),
            is_blocked: choices.one_in(2),
            log: choices
                .one_in(2)
                .then(|| Arc::new(PathBuf::from(text(choices)))),
            stdout_log: None,
            after: Vec::new(),
            requires: Vec::new(),
            is_changed: choices.one_in(2),
            status_text: choices.one_in(2).then(|| text(choices).into()),
            health: None,
        })
        .collect();
    let style = Style::new(programs.iter().map(ProgramStatus::name));
    let reason = |program: &ProgramStatus| program.is_up().then(|| "by uid 0".to_owned());
    let lines = status_line::lines(&style, &programs, reason);
    assert_eq!(lines.len(), programs.len());
    lines.iter().for_each(|line| check_line(line));
}

/// A command line is understood, as it stands, or refused in one line.
fn check_arguments(choices: &mut Rng) {
    const WORDS: [&str; 24] = [
        "run",
        "check",
        "init",
        "demo",
        "help",
        "version",
        "--",
        "-",
        "-h",
        "--help",
        "-V",
        "-r",
        "--rewrite=TERM:QUIT",
        "--success-code",
        "--parent-death-signal=",
        "-v",
        "-c",
        "-e143",
        "-pKILL",
        "--single=1",
        "15:0",
        "SIGRTMIN+3",
        "256",
        "x.json",
    ];
    let words: Vec<OsString> = (0..choices.below(6))
        .map(|_| match choices.one_in(3) {
            false => choices.pick(&WORDS).into(),
            true => {
                let count = choices.below(TEXT_BYTES_MAX) as usize;
                OsString::from_vec(choices.take(count).to_vec())
            }
        })
        .collect();
    let understood = parse::parse(words.iter().cloned()).and_then(|call| {
        match call.command.name {
            "run" | "check" => {
                let path = load::path(&call.arguments)?;
                let is_given = words[1..].iter().any(|word| *word == *path.as_os_str());
                assert!(is_given || path == Path::new("procsched.json"), "{words:?}");
            }
            "init" => {
                init::configure(&call.arguments)?;
                assert_eq!(words[0], "init");
            }
            "help" => assert!(help::text(&call.arguments)?.contains("Usage: ")),
            _ => {}
        }
        Ok(())
    });
    if let Err(problem) = understood {
        check_line(&problem);
    }
}

/// A file may have any name; what is wrong with it is said with that.
fn check_source(choices: &mut Rng) {
    let source = text(choices);
    let bytes = format!("{{\"programs\":{{\"a\":[\"b\"]}},{:?}:1}}", text(choices));
    if let Err(errors) = Config::parse(bytes.as_bytes(), &source, Path::new("/")) {
        assert_eq!(errors.to_string().lines().count(), errors.iter().count());
        errors.to_string().lines().for_each(check_line);
    }
}

fn check_words(choices: &mut Rng) {
    let word = text(choices);
    check_line(&escaped(&word));
    let length = duration(length(choices));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    assert!(
        !length.is_empty() && length.bytes().all(is_plain),
        "{length}"
    );
    let name = signal_name(choices.next() as i32);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" +-".contains(&byte);
    assert!(name.bytes().all(is_plain), "{name}");
}
