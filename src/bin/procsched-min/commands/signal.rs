//! `signal`: sends a signal to programs.

use procsched::Signal;

use super::parse::Arguments;
use super::{CLIENT, Command};
use crate::client::options::{Options, programs};
use crate::client::order::Order;
use crate::client::program::Program;
use crate::client::talk::Request;

pub const COMMAND: Command = Command {
    name: "signal",
    operands: "SIG NAME...",
    options: "      --main         to the first process alone instead of to the group
      --all          to all programs
",
    summary: "send a signal to programs",
    description: "Sends a signal to every process of the programs' groups. SIG is a name such as
HUP, or a number. A program that ends by it counts as one that ended by itself:
use \"stop\" or \"restart\" to stop it.
",
    exit_codes: "  signal: 0 sent, 1 failed or not running, 5 unknown NAME
",
    example: "  $ procsched-min signal HUP nginx --main
  nginx: sent, pid 4711
",
    exec: |arguments| signal(arguments),
    ..CLIENT
};

fn signal(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let mut rest = arguments.operands.iter();
    let word = rest
        .next()
        .ok_or("missing signal: expected a name such as HUP, or a number")?;
    let signal: Signal = word
        .to_string_lossy()
        .parse()
        .map_err(|error: procsched::Error| error.to_string())?;
    let names = programs(rest.as_slice(), arguments.has("--all"), "send it to")?;
    let to = if arguments.has("--main") {
        "main"
    } else {
        "group"
    };
    let request = Request::new("signal").programs(&names);
    let order = Order {
        request: request.with("signal", signal.number()).with("to", to),
        names: &names,
        waits: false,
        outcome: sent,
    };
    Ok(order.give(&options))
}

fn sent(program: Program<'_>) -> String {
    let pid = program.pid().map(|pid| format!(", pid {pid}"));
    format!("sent{}", pid.unwrap_or_default())
}
