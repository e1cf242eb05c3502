//! `start`: starts programs, and waits until they are up.

use super::{CLIENT, Command, order};

pub const COMMAND: Command = Command {
    name: "start",
    operands: "NAME...",
    options: "      --all          all programs
      --no-wait      do not wait until the programs are up
",
    summary: "start programs, and wait until they are up",
    description: "Starts the programs and what they require, and waits until they are up. One that
is in backoff starts at once. NAME may be a pattern such as 'web*'.
",
    exit_codes: "  start: 0 up, 1 failed, 5 unknown NAME, 124 not up in time
",
    example: "  $ procsched-min start web
  web: running, pid 4720
",
    exec: |arguments| order("start", arguments),
    ..CLIENT
};
