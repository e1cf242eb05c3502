//! What `help` prints, as a whole and for each command: everything that is needed to begin, in
//! 80 columns.

use crate::args::Topic;

pub const VERSION: &str = concat!("procsched-min ", env!("CARGO_PKG_VERSION"), "\n");

const ALL: &str = "procsched-min keeps programs running: it starts them, restarts them with a
growing delay, keeps what each writes to stderr, reports every death, and stops
everything cleanly.

Usage: procsched-min COMMAND

Commands:
  run [CONFIG]     supervise in the foreground until stopped by a signal
  check [CONFIG]   show what is wrong with the config; starts nothing
  demo             see it work for some seconds; needs no config
  init [OPTIONS] [--] COMMAND [ARG...]
                   run one command as a container's first process: streams are
                   inherited, signals forwarded, orphans reaped
  help [COMMAND]   print this, or what is about that command alone; also -h
  version, -V      print the version
";

const RUN: &str = "Usage: procsched-min run [CONFIG]

Starts the programs of the config and supervises them in the foreground, until
a signal stops it or every program has ended for good.
";

const CHECK: &str = "Usage: procsched-min check [CONFIG]

Shows every error of the config, with its line and what would be right, and
starts nothing. A command that cannot be found or executed is a warning.
";

const DEMO: &str = "Usage: procsched-min demo

Supervises three small programs of its own for some ten seconds, in a new
directory for temporary files: one that is fine, one that crashes, one that
ignores SIGTERM. Then it shows who ran when. It needs /bin/sh and no config.
";

const INIT: &str = "Usage: procsched-min init [OPTIONS] [--] COMMAND [ARG...]

Runs one command as a container's first process: streams are inherited, signals
forwarded to the command's process group, orphans reaped, and its exit code is
passed on.
";

const VERSION_HELP: &str = "Usage: procsched-min version

Prints the version.
";

const CONFIG: &str = r#"
CONFIG is a file in JSON, procsched.json if left out, - for stdin:

  {
    "err_dir": "logs",
    "programs": {
      "clock": ["sh", "-c", "while sleep 1; do date >&2; done"],
      "worker": {
        "command": ["sleep", "3600"],
        "restart": "on-failure",
        "stop_timeout": "30s"
      }
    }
  }

Options of a program, with their defaults:
  command                   the program and its arguments; there is no shell
  cwd       base_dir        working directory
  env       {}              variables on top of those that are inherited
  restart   "always"        or "on-failure", "never"
  essential false           true: when it ends for good, stop the rest (with
                            "restart": "always" it never does)
  backoff   {"initial": "1s", "max": "60s", "reset_after": "30s"}
  stop_signal, stop_timeout "TERM", "10s"; SIGKILL follows
  report_bytes 65536        how much of its stderr a report carries
Beside "programs": "defaults" takes the same options for all of them; "base_dir"
(the config's directory), "err_dir" (/tmp), "error_handler" (a command that gets
each report: the name as its last argument, the JSON on stdin).
"#;

const OUTPUT: &str = "
Output:
  stdout   one report a line, in JSON, for every exit and every failed start
  stderr   what happens, one line an event, for people
  err_dir  NAME.stderr.log: everything that the program wrote to its stderr

Signals to run:
  TERM, INT, QUIT   stop everything; a second one 200 ms later or more kills
  USR1              print one status line a program on stderr
  HUP, USR2         reserved: nothing happens
";

const INIT_OPTIONS: &str = "
Options of init (signals by name or number):
  -r, --rewrite FROM:TO           send TO where FROM comes; TO 0: nothing
  -c, --single                    signal the process alone, not its group
  -e, --success-code N            exit with 0 where it would be N
  -p, --parent-death-signal SIG   get SIG when the parent dies
  -v, --verbose                   say what is forwarded and reaped
";

const CODES: &str = "
Exit codes:
";

const RUN_CODES: &str = "  0    stopped as asked, or every program has ended for good
  N    the code of an essential program that ended for good, 128+n for signal n
  1    failed, or something would not die and was abandoned
  2    wrong usage or config
";

const CHECK_CODES: &str = "  check: 0 fine, 1 warnings, 2 errors
";

const INIT_CODES: &str =
    "  init: the command's own, 128+n for signal n, 125 failed, 126 not executable,
        127 not found
";

/// What there is to say about this.
pub fn text(topic: Topic) -> String {
    let parts: &[&str] = match topic {
        Topic::All => &[
            ALL,
            CONFIG,
            OUTPUT,
            INIT_OPTIONS,
            CODES,
            RUN_CODES,
            CHECK_CODES,
            INIT_CODES,
        ],
        Topic::Run => &[RUN, CONFIG, OUTPUT, CODES, RUN_CODES],
        Topic::Check => &[CHECK, CONFIG, CODES, CHECK_CODES],
        Topic::Demo => &[DEMO],
        Topic::Init => &[INIT, INIT_OPTIONS, CODES, INIT_CODES],
        Topic::Version => &[VERSION_HELP],
    };
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_a_terminal() {
        use Topic::{All, Check, Demo, Init, Run, Version};
        for topic in [All, Run, Check, Demo, Init, Version] {
            let text = text(topic);
            assert!(text.ends_with('\n') && text.contains("Usage: procsched-min "));
            for line in text.lines() {
                assert!(line.len() <= 80 && !line.ends_with(' '), "{line:?}");
            }
        }
    }

    #[test]
    fn its_example_is_a_config() {
        let start = CONFIG.find("  {\n").expect("the example's start");
        let end = CONFIG.find("\n  }\n").expect("the example's end");
        let example = &CONFIG.as_bytes()[start..end + 4];
        let config = procsched::config::Config::parse(example, "help", "/".as_ref());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.programs.len(), 2);
    }
}
