//! What `help` prints: everything that is needed to begin, in 80 columns.

pub const VERSION: &str = concat!("procsched-min ", env!("CARGO_PKG_VERSION"), "\n");

pub const HELP: &str = r#"procsched-min keeps programs running: it starts them, restarts them with a
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
  help, -h         print this
  version, -V      print the version

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

Output:
  stdout   one report a line, in JSON, for every exit and every failed start
  stderr   what happens, one line an event, for people
  err_dir  NAME.stderr.log: everything that the program wrote to its stderr

Signals to run:
  TERM, INT, QUIT   stop everything; a second one 200 ms later or more kills
  USR1              print one status line a program on stderr
  HUP, USR2         reserved: nothing happens

Options of init (signals by name or number):
  -r, --rewrite FROM:TO           send TO where FROM comes; TO 0: nothing
  -c, --single                    signal the process alone, not its group
  -e, --success-code N            exit with 0 where it would be N
  -p, --parent-death-signal SIG   get SIG when the parent dies
  -v, --verbose                   say what is forwarded and reaped

Exit codes:
  0    stopped as asked, or every program has ended for good
  N    the code of an essential program that ended for good, 128+n for signal n
  1    failed, or something would not die and was abandoned
  2    wrong usage or config
  check: 0 fine, 1 warnings, 2 errors
  init: the command's own, 128+n for signal n, 125 failed, 126 not executable,
        127 not found
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_a_terminal() {
        for line in HELP.lines() {
            assert!(line.len() <= 80 && !line.ends_with(' '), "{line:?}");
        }
    }

    #[test]
    fn its_example_is_a_config() {
        let start = HELP.find("  {\n").expect("the example's start");
        let end = HELP.find("\n  }\n").expect("the example's end");
        let example = &HELP.as_bytes()[start..end + 4];
        let config = procsched::config::Config::parse(example, "help", "/".as_ref());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.programs.len(), 2);
    }
}
