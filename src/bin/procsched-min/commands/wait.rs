//! `wait`: waits until programs are in a state.

use super::parse::Arguments;
use super::{CLIENT, Command};
use crate::client::options::{Options, programs};
use crate::client::order::Order;
use crate::client::talk::Request;
use crate::control::protocol::Until;

pub const COMMAND: Command = Command {
    name: "wait",
    operands: "NAME...",
    options: "      --for STATE    running if left out; or another state, or down
      --all          all programs
",
    summary: "wait until programs are running, or in another state",
    description: "Waits until every one of the programs is in the state: pending, starting,
running, backoff, stopping, stopped, exited, failed, abandoned; down is stopped,
exited or failed. It fails at once if one fails that should not.
",
    exit_codes: "  wait: 0 so it is, 1 one failed, 5 unknown NAME, 124 not in time
",
    example: "  $ procsched-min wait db --timeout 30s && ./migrate
  db: running, pid 4711
",
    exec: |arguments| wait(arguments),
    ..CLIENT
};

fn wait(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let names = programs(&arguments.operands, arguments.has("--all"), "wait for")?;
    let state = match arguments.values("--for").last() {
        None => "running",
        Some(word) => Until::of(&word.to_string_lossy())?.word(),
    };
    let order = Order {
        request: Request::new("wait").programs(&names).with("for", state),
        names: &names,
        waits: true,
        outcome: |program| program.outcome(),
    };
    Ok(order.give(&options))
}
