//! `version`.

use super::Command;
use crate::stdio::print;

pub const COMMAND: Command = Command {
    name: "version",
    aliases: &["-V", "--version"],
    summary: "print the version; also -V",
    description: "Prints the version.\n",
    example: "  $ procsched-min version
",
    exec: |_| Ok(print(VERSION)),
    ..Command::PLAIN
};

pub(super) const VERSION: &str = concat!("procsched-min ", env!("CARGO_PKG_VERSION"), "\n");
