//! `restart`: stops programs and starts them again.

use super::{CLIENT, Command, order};

pub const COMMAND: Command = Command {
    name: "restart",
    operands: "NAME...",
    options: "      --all          all programs
      --no-wait      do not wait until they are up again
",
    summary: "stop programs and start them again; starts what does not run",
    description: "Stops the programs and starts them again without a delay. What requires them
goes down first and comes back after them. One that does not run is started.
",
    exit_codes: "  restart: 0 up, 1 failed, 5 unknown NAME, 124 not up in time
",
    example: "  $ procsched-min restart web
  web: running, pid 4720
",
    exec: |arguments| order("restart", arguments),
    ..CLIENT
};
