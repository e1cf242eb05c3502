//! The commands, a file each. Parsing, usage, help and overview are made from [`ALL`]: a command
//! is added by its file, a `mod` line and its place there.
//!
//! A command is a process of its own. Those made from [`CLIENT`] talk to a supervisor that runs,
//! through its control socket.

use parse::Arguments;

use crate::client::options::{COMMON, Options, programs};
use crate::client::order::Order;
use crate::client::talk::Request;

pub mod check;
pub mod completions;
pub mod demo;
pub mod events;
#[cfg(test)]
mod guide;
pub mod help;
pub mod import;
pub mod init;
pub mod logs;
pub mod man;
pub mod parse;
pub mod reload;
pub mod reopen;
pub mod restart;
pub mod run;
pub mod schema;
pub mod shutdown;
pub mod signal;
pub mod start;
pub mod status;
pub mod stop;
pub mod version;
pub mod wait;

/// Success.
pub const FINE: u8 = 0;
/// Something failed or was abandoned; `check` has warnings.
pub const FAILED: u8 = 1;
/// The command line or the config is invalid.
pub const USAGE: u8 = 2;
/// `status`: not every program is running or exited.
pub const NOT_ALL_UP: u8 = 3;
/// Permission denied at the control socket.
pub const DENIED: u8 = 4;
/// `status`: the state is unknown, as LSB has it: no such program, or no supervisor.
pub const STATUS_UNKNOWN: u8 = 4;
/// There is no such program.
pub const UNKNOWN_PROGRAM: u8 = 5;
/// There is no supervisor at the control socket.
pub const NO_SUPERVISOR: u8 = 7;
/// `--timeout` has expired, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;
/// `init` itself failed, not its command.
pub const INIT_FAILED: u8 = 125;

/// Every command, in the order of the overview.
pub const ALL: &[&Command] = &[
    &run::COMMAND,
    &check::COMMAND,
    &status::COMMAND,
    &start::COMMAND,
    &stop::COMMAND,
    &restart::COMMAND,
    &signal::COMMAND,
    &logs::COMMAND,
    &events::COMMAND,
    &wait::COMMAND,
    &reload::COMMAND,
    &reopen::COMMAND,
    &shutdown::COMMAND,
    &demo::COMMAND,
    &init::COMMAND,
    &schema::COMMAND,
    &import::COMMAND,
    &completions::COMMAND,
    &man::COMMAND,
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
    /// The same for options that several commands share; the overview shows them once.
    pub common_options: &'static str,
    /// Options of similar tools, and what to do instead.
    pub foreign_options: &'static [(&'static str, &'static str)],
    /// One line for the overview.
    pub summary: &'static str,
    /// Paragraphs for the command's own help.
    pub description: &'static str,
    /// More of the help; the overview shows a section of several commands once.
    pub sections: &'static [&'static Section],
    /// The lines below "Exit codes:".
    pub exit_codes: &'static str,
    /// The lines below "Example:".
    pub example: &'static str,
    /// Executes the command and returns the exit code, or what is wrong with the arguments.
    pub exec: fn(&Arguments) -> Result<u8, String>,
}

/// A part of the help that commands share.
#[derive(Debug)]
pub struct Section {
    /// Its heading in the manual page, by which it is known.
    pub title: &'static str,
    pub text: &'static str,
    /// True if the keys of a config follow the text.
    pub has_keys: bool,
}

impl Command {
    /// A command without operands, options and further help.
    pub const PLAIN: Self = Self {
        name: "",
        aliases: &[],
        operands: "",
        options: "",
        common_options: "",
        foreign_options: &[],
        summary: "",
        description: "",
        sections: &[],
        exit_codes: "",
        example: "",
        exec: |_| Ok(FINE),
    };
}

/// A command to a supervisor that runs.
pub const CLIENT: Command = Command {
    common_options: COMMON,
    ..Command::PLAIN
};

/// Gives the order with this name and returns the exit code.
fn order(name: &str, arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let names = programs(&arguments.operands, arguments.has("--all"), name)?;
    let mut request = Request::new(name).programs(&names);
    if arguments.has("--kill") {
        request = request.with("kill", true);
    }
    let waits = !arguments.has("--no-wait");
    if !waits {
        request = request.with("wait", false);
    }
    let order = Order {
        request,
        names: &names,
        waits,
        outcome: |program| program.outcome(),
    };
    Ok(order.give(&options))
}

/// An option of a command, in addition to `-h` and `--help`, which each has.
struct Opt {
    /// With its `-`; empty if there is none.
    short: &'static str,
    /// With its `--`.
    long: &'static str,
    /// The value as the help shows it; empty if the option takes none. One in brackets may be left
    /// out, and stands behind a `=`.
    value: &'static str,
    /// What it does.
    summary: &'static str,
}

impl Opt {
    /// Returns the option that a line of the help describes.
    fn of(line: &'static str) -> Self {
        let line = line.trim_start();
        let (names, summary) = line.split_once("  ").unwrap_or((line, ""));
        let (short, names) = names.split_once(", ").unwrap_or(("", names));
        let end = names.find([' ', '[']).unwrap_or(names.len());
        let (long, value) = names.split_at(end);
        Self {
            short,
            long,
            value: value.trim_start(),
            summary: summary.trim_start(),
        }
    }
}

impl Command {
    /// Returns the options that the lines of [`Command::options`] and
    /// [`Command::common_options`] describe.
    fn options(&self) -> impl Iterator<Item = Opt> {
        let common = self.common_options.lines().map(Opt::of);
        self.own_options().chain(common)
    }

    fn own_options(&self) -> impl Iterator<Item = Opt> {
        self.options.lines().map(Opt::of)
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
        &[
            "ps",
            "list",
            "ls",
            "top",
            "show",
            "is-active",
            "pid",
            "avail",
        ],
        "\"status\" shows every program, and \"status NAME\" one",
    ),
    (
        &["up", "enable"],
        "\"run\" starts all programs of the config, and \"start NAME\" one of them",
    ),
    (
        &["down", "disable", "kill"],
        "\"stop NAME\" stops a program, \"stop --all\" all of them, and \"shutdown\" the \
         supervisor, too",
    ),
    (
        &["quit", "exit"],
        "\"shutdown\" stops every program and the supervisor",
    ),
    (
        &["reread", "update", "daemon-reload", "add", "remove"],
        "change the config, and \"reload\": programs are added and removed as it says",
    ),
    (
        &["log", "tail", "maintail", "journal"],
        "\"logs NAME\" prints the end of a program's log, and \"logs -f NAME\" follows it",
    ),
    (
        &["validate", "verify", "lint", "test", "configtest"],
        "\"check\" shows what is wrong with the config",
    ),
];
