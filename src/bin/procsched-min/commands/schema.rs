//! `schema`: the JSON Schema of a config, for editors.

use procsched::config::schema;

use super::Command;
use crate::stdio::print;

pub const COMMAND: Command = Command {
    name: "schema",
    summary: "print the JSON Schema of a config, for editors",
    description: "Prints the JSON Schema of a config, draft-07. An editor that knows it completes
keys, shows what each means, and marks what is wrong. What the schema refuses,
check refuses; check finds more.
",
    example: "  $ procsched-min schema > procsched.schema.json
",
    exec: |_| Ok(print(&schema())),
    ..Command::PLAIN
};
