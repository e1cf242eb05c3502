//! `import`: a config of another supervisor, as one of ours.

use std::path::Path;

use super::parse::Arguments;
use super::{Command, FAILED, FINE, USAGE};
use crate::import;
use crate::messages::SELF;
use crate::stdio::{complain, print};

pub const COMMAND: Command = Command {
    name: "import",
    operands: "FILE",
    summary: "print the config that supervisord.conf or a Procfile comes to",
    description: "Reads a supervisord.conf, with what it includes, or a Procfile, and prints a
config. What has no equal stands in it as a comment with its file and line. What
concerns supervisord itself, such as its own log and pid file, is left out.
",
    exit_codes: "  import: 0 all of it, 1 some settings became comments, 2 it cannot be read
",
    example: "  $ procsched-min import /etc/supervisor/supervisord.conf > procsched.jsonc
",
    exec: |arguments| run(arguments),
    ..Command::PLAIN
};

fn run(arguments: &Arguments) -> Result<u8, String> {
    let file = arguments.operands.first().ok_or("missing FILE")?;
    let imported = match import::import(Path::new(file)) {
        Ok(imported) => imported,
        Err(problem) => {
            complain(&format!("{SELF}: {problem}"));
            return Ok(USAGE);
        }
    };
    let code = print(&imported.text);
    if imported.remarks == 0 || code != FINE {
        return Ok(code);
    }
    let count = imported.remarks;
    let settings = if count == 1 {
        "setting has"
    } else {
        "settings have"
    };
    complain(&format!(
        "{SELF}: {count} {settings} no equal: see the comments"
    ));
    Ok(FAILED)
}
