//! `init`: one command, as the first process of a container runs it.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::rc::Rc;

use procsched::text::escaped;
use procsched::{Init, InitEvent, Signal};

use super::Command;
use super::parse::Arguments;
use crate::messages::{Level, SELF, Style};
use crate::output::Outputs;

pub const COMMAND: Command = Command {
    name: "init",
    operands: "[--] COMMAND [ARG...]",
    options: "  -r, --rewrite FROM:TO          send TO for FROM (names or numbers); TO 0: none
  -c, --single                   signal the process alone, not its group
  -e, --success-code N           exit with 0 instead of N
  -p, --parent-death-signal SIG  get SIG when the parent dies
  -v, --verbose                  report what is forwarded and reaped
",
    // Of tini, dumb-init and catatonit.
    foreign_options: &[
        ("-s", "init is always a subreaper"),
        ("-g", "signals go to the group unless --single is given"),
        ("-w", "--verbose reports what is reaped"),
        ("-l", "the licence is MIT"),
        ("--single-child", "use --single"),
        ("-P", "use a command that waits, such as sleep infinity"),
    ],
    summary: "run one command as a container's first process (PID 1)",
    description: "Runs one command as a container's first process: streams are inherited, signals
forwarded to the command's process group, orphans reaped, and its exit code is
passed on.
",
    exit_codes: "  init: the command's own, 128+n for signal n, 125 failed, 126 not executable,
        127 not found
",
    example: "  $ procsched-min init --rewrite TERM:QUIT -- ./server --port 8000
",
    exec: |arguments| Ok(run(configure(arguments)?, arguments.has("--verbose"))),
    ..Command::PLAIN
};

/// Returns what the arguments ask for, or what is wrong with them.
pub fn configure(arguments: &Arguments) -> Result<Init, String> {
    let mut init = Init::new(&arguments.operands);
    for value in arguments.values("--rewrite") {
        let (from, to) = rewrite(value)?;
        init = init.rewrite(from, to);
    }
    for value in arguments.values("--success-code") {
        init = init.success_code(success_code(value)?);
    }
    for value in arguments.values("--parent-death-signal") {
        init = init.parent_death_signal(signal(&value.to_string_lossy())?);
    }
    if arguments.has("--single") {
        init = init.single();
    }
    if arguments.operands.is_empty() {
        return Err("missing command for init".to_owned());
    }
    init.check().map_err(|error| error.to_string())?;
    Ok(init)
}

fn rewrite(value: &OsStr) -> Result<(i32, i32), String> {
    let text = value.to_string_lossy();
    let (from, to) = text
        .split_once(':')
        .ok_or_else(|| format!("invalid rewrite {value:?}: expected FROM:TO, such as TERM:QUIT"))?;
    let to = if to == "0" { 0 } else { signal(to)? };
    Ok((signal(from)?, to))
}

fn success_code(value: &OsStr) -> Result<u8, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("invalid exit code {value:?}: expected 0 to 255"))
}

fn signal(text: &str) -> Result<i32, String> {
    let signal = text.parse().map(Signal::number);
    signal.map_err(|error| error.to_string())
}

/// Runs the command and returns the exit code.
fn run(init: Init, is_verbose: bool) -> u8 {
    let style = Style::new([]);
    // Made for the first line: most runs print none.
    let outputs = Rc::new(OnceCell::new());
    let lines = Rc::clone(&outputs);
    let init = init.on_event(move |event| {
        let say = |line: &str| {
            let outputs = lines.get_or_init(|| Outputs::messages_only(style));
            outputs.lock().say(line);
            outputs.lock().pump();
        };
        if let InitEvent::Failed { error, .. } = event {
            say(&format!("{SELF}: {}", escaped(&error.to_string())));
        } else if is_verbose || event.is_problem() {
            let level = match event.is_problem() {
                true => Level::Error,
                false => Level::Info,
            };
            say(&style.own(level, &event.to_string(), ""));
        }
        if let (InitEvent::EndingBy { .. }, Some(outputs)) = (event, lines.get()) {
            outputs.lock().flush();
        }
    });
    let code = init.run();
    if let Some(outputs) = outputs.get() {
        outputs.lock().flush();
    }
    code
}
