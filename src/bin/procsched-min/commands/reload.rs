//! `reload`: has the supervisor read its config again, and change what differs.

use super::parse::Arguments;
use super::{CLIENT, Command};
use crate::client::options::Options;
use crate::client::order::Order;
use crate::client::talk::Request;

pub const COMMAND: Command = Command {
    name: "reload",
    options: "      --dry-run      show what would change, and change nothing
      --no-restart   restart nothing; what needs one changes at its next start
      --no-wait      do not wait until everything is up
",
    summary: "read the config again, and change what differs",
    description: "Reads the config again. If it has errors, they are printed and nothing changes.
Otherwise new programs are started, removed ones stopped, and those that differ
changed in place or restarted. All others run on.
",
    exit_codes: "  reload: 0 done, 1 a program failed, 2 config errors, 124 not up in time
",
    example: "  $ procsched-min reload --dry-run
  + cache     new, will be started
  ~ web       will be restarted: command, env.MODE
  = 12 unchanged
",
    exec: |arguments| reload(arguments),
    ..CLIENT
};

fn reload(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let (is_dry, waits) = (arguments.has("--dry-run"), !arguments.has("--no-wait"));
    let mut request = Request::new("reload");
    if is_dry {
        request = request.with("dry_run", true);
    }
    if arguments.has("--no-restart") {
        request = request.with("restart", false);
    }
    if !waits {
        request = request.with("wait", false);
    }
    let order = Order {
        request,
        names: &[],
        waits: waits && !is_dry,
        outcome: |program| program.outcome(),
    };
    Ok(order.give(&options))
}
