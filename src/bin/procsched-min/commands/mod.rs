//! The commands, a file each. Parsing, usage, help and overview are made from [`ALL`]: a command
//! is added by its file, a `mod` line and its place there.
//!
//! A command is a process of its own. Nothing reaches a supervisor that runs but signals, which
//! `run.rs` handles.

use parse::Arguments;

pub mod check;
pub mod demo;
pub mod help;
pub mod init;
pub mod parse;
pub mod run;
pub mod version;

/// Success.
pub const FINE: u8 = 0;
/// Something failed or was abandoned; `check` has warnings.
pub const FAILED: u8 = 1;
/// The command line or the config is invalid.
pub const USAGE: u8 = 2;
/// `init` itself failed, not its command.
pub const INIT_FAILED: u8 = 125;

/// Every command, in the order of the overview.
pub const ALL: &[&Command] = &[
    &run::COMMAND,
    &check::COMMAND,
    &demo::COMMAND,
    &init::COMMAND,
    &help::COMMAND,
    &version::COMMAND,
];

/// One command of the binary.
#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    /// Options that mean the same in place of a command.
    pub aliases: &'static [&'static str],
    /// The operands as the usage shows them: `[CONFIG]`, or `NAME...` for any number. With `[--]`
    /// in front, everything behind the first operand is an operand, too.
    pub operands: &'static str,
    /// A line for each option, as the help shows it: `  -r, --rewrite FROM:TO  what it does`.
    pub options: &'static str,
    /// Options of similar tools, and what to do instead.
    pub foreign_options: &'static [(&'static str, &'static str)],
    /// One line for the overview.
    pub summary: &'static str,
    /// Paragraphs for the command's own help.
    pub description: &'static str,
    /// More of the help; the overview shows a section of several commands once.
    pub sections: &'static [&'static str],
    /// The lines below "Exit codes:".
    pub exit_codes: &'static str,
    /// Executes the command and returns the exit code, or what is wrong with the arguments.
    pub exec: fn(&Arguments) -> Result<u8, String>,
}

impl Command {
    /// A command without operands, options and further help.
    pub const PLAIN: Self = Self {
        name: "",
        aliases: &[],
        operands: "",
        options: "",
        foreign_options: &[],
        summary: "",
        description: "",
        sections: &[],
        exit_codes: "",
        exec: |_| Ok(FINE),
    };
}

/// An option of a command, in addition to `-h` and `--help`, which each has.
struct Opt {
    /// With its `-`; empty if there is none.
    short: &'static str,
    /// With its `--`.
    long: &'static str,
    /// The value as the help shows it; empty if the option takes none.
    value: &'static str,
}

impl Command {
    /// Returns the options that the lines of [`Command::options`] describe.
    fn options(&self) -> impl Iterator<Item = Opt> {
        self.options.lines().map(|line| {
            let names = line.trim_start().split("  ").next().unwrap_or_default();
            let (short, names) = names.split_once(", ").unwrap_or(("", names));
            let (long, value) = names.split_once(' ').unwrap_or((names, ""));
            Opt { short, long, value }
        })
    }

    fn operands_max(&self) -> usize {
        match self.operands.contains("...") {
            true => usize::MAX,
            false => self.operands.split_whitespace().count(),
        }
    }
}

/// Commands of supervisorctl, systemctl and docker compose, and what to do here instead.
pub const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["status", "ps", "list", "ls", "top", "show", "is-active"],
        "send SIGUSR1 to the supervisor (kill -USR1 PID): it prints a line for each program on \
         its stderr",
    ),
    (
        &["start", "up", "add", "enable"],
        "\"run\" starts all programs of the config; a single one cannot be started",
    ),
    (
        &[
            "stop", "down", "shutdown", "quit", "exit", "kill", "signal", "remove", "disable",
        ],
        "SIGTERM to the supervisor (kill PID) stops all programs; a single one cannot be stopped \
         for good",
    ),
    (
        &["restart"],
        "kill the program's process group (kill -TERM -PID): it is started again after its delay, \
         unless its \"restart\" is \"never\", or \"on-failure\" and it exits with 0",
    ),
    (
        &["reload", "reread", "update", "daemon-reload"],
        "send SIGHUP to the supervisor (kill -HUP PID): it reads the config anew and takes over \
         what has changed",
    ),
    (
        &["logs", "log", "tail", "maintail", "journal"],
        "stderr of a program is in NAME.stderr.log in the config's err_dir, by default /tmp \
         (tail -f /tmp/NAME.stderr.log)",
    ),
    (
        &["validate", "verify", "lint", "test", "configtest"],
        "\"check\" shows what is wrong with the config",
    ),
];
