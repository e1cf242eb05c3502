//! `stop`: stops programs, and waits until they are stopped.

use super::{CLIENT, Command, order};

pub const COMMAND: Command = Command {
    name: "stop",
    operands: "NAME...",
    options: "      --all          all programs; the supervisor itself runs on
      --kill         send SIGKILL at once
      --no-wait      do not wait for the end of the programs
",
    summary: "stop programs, and wait until they are stopped",
    description: "Stops what requires the programs, then the programs, and waits for their end. A
program that is stopped stays so until its next start. NAME may be a pattern.
",
    exit_codes: "  stop: 0 stopped, 1 failed, 5 unknown NAME, 124 not stopped in time
",
    example: "  $ procsched-min stop 'worker-*' --timeout 30s
  worker-a: stopped, by uid 0
  worker-b: stopped, by uid 0
",
    exec: |arguments| order("stop", arguments),
    ..CLIENT
};
