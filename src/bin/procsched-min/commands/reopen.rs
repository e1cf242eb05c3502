//! `reopen`: has the supervisor open its logs again.

use super::{CLIENT, Command};
use crate::client::options::Options;
use crate::client::order::Order;
use crate::client::talk::Request;

pub const COMMAND: Command = Command {
    name: "reopen",
    summary: "open the logs again, after they were renamed",
    description: "Opens every log again by its path, as after a rotation by another program.
Nothing is lost: until then, and if one cannot be opened, the renamed files are
written.
",
    exit_codes: "  reopen: 0 done, 1 failed
",
    example: "  $ mv logs/web.stderr.log logs/web.1 && procsched-min reopen
",
    exec: |arguments| {
        let order = Order {
            request: Request::new("reopen"),
            names: &[],
            waits: false,
            outcome: |program| program.outcome(),
        };
        Ok(order.give(&Options::parse(arguments)?))
    },
    ..CLIENT
};
