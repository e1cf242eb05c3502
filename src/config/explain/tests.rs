use super::*;

fn surroundings() -> Surroundings {
    Surroundings {
        inherited: Inherited {
            limits: vec![
                ("nofile", Some(1_024), Some(4_096)),
                ("nproc", Some(63_304), Some(63_304)),
                ("core", Some(0), None),
            ],
            nice: Some(0),
            oom_score_adj: Some(0),
            umask: Some("0022".to_owned()),
        },
        variables: (23, 2_150),
    }
}

fn explained(text: &str) -> String {
    let config = Config::parse(text.as_bytes(), "f", Path::new("/srv/app"));
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    explain(&config, &surroundings())
}

const CONFIG: &str = r#"{
        "shutdown_timeout": "45s",
        "defaults": {"stop_timeout": "8s"},
        "programs": {
            "web": {
                "command": ["./web"], "requires": ["migrate"], "after": ["cache"],
                "env": {"PORT": 8080, "MODE": "prod"}, "cwd": "data",
                "backoff": {"initial": 0.5, "max": 30, "reset_after": "10s", "jitter": 0.5},
                "permanent_failure_codes": [78, "SEGV"],
                "ready": "notify", "start_timeout": "30s", "watchdog": "20s"
            },
            "db": {
                "command": ["postgres"], "stop_timeout": "20s", "essential": true,
                "restart": "on-failure", "max_restarts": 5,
                "ready": {"command": ["pg_isready", "-q"]}
            },
            "migrate": {
                "command": ["./migrate"], "oneshot": true, "requires": ["db"],
                "restart": "on-failure", "max_restarts": 3
            },
            "cache": {
                "command": ["redis-server"], "max_restarts": 10, "ready": {"delay": "1s"},
                "health": {"connect": "127.0.0.1:6379"}
            },
            "report": {"command": ["./report"], "autostart": false, "restart": "never"},
            "tidy": {"command": ["./tidy"], "oneshot": true, "env": {"X": ""}},
            "loop": {"command": ["./loop"], "backoff": {"initial": 0, "max": 0}},
            "piped": {"command": ["a"], "ready": {"fd": 3}}
        }
    }"#;

const EXPLAINED: &str = "\
Start order (a program starts when all that it waits for is up):
  1  db, cache, report (not by itself), tidy, loop, piped
  2  migrate
  3  web

Up (the others: as soon as they are executed):
  web      when it sends READY=1, within 30s, then WATCHDOG=1 within 20s each
  db       when \"pg_isready\" succeeds, tried every 1s, within 1m
  migrate  when it has succeeded
  cache    after 1s, then checked every 10s: 127.0.0.1:6379 takes a connection,
           ended after 3 failures
  tidy     when it has succeeded
  piped    when descriptor 3 gets a newline, within 1m

Restarts, with the delay before each (the last one repeats):
  web      always: 0.5 1 2 … 30 s, up to 50 % longer, anew after 10s,
                   not after 78 SIGSEGV
  db       on-failure: 1 2 4 … 16 s, gives up after 5, anew after 30s,
                       its end stops everything
  migrate  oneshot, on-failure: 1 2 4 s, gives up after 3, anew after 30s
  cache    always: 1 2 4 … 60 s, gives up after 10, anew after 30s
  report   never
  tidy     oneshot
  loop     always: at once, anew after 30s
  piped    always: 1 2 4 … 60 s, anew after 30s

Stop: 36s at most until SIGKILL has gone to all (the longest chain):
  web 8s → migrate 8s → db 20s
  shutdown_timeout: 45s; SIGKILL to what is left after 44s

Each program inherits, if it runs from where this is run:
  environment  23 variables, 2150 bytes, and PROCSCHED_PROGRAM, PROCSCHED_CHAIN
  descriptors  0 and 1: /dev/null; 2: its log; no other
  limits       nofile 1024:4096, nproc 63304, core 0:unlimited
  besides      nice 0, oom_score_adj 0, umask 0022

Own variables, descriptors, attributes and directories:
  web    2 variables, 20 bytes, NOTIFY_SOCKET, WATCHDOG_USEC=20000000,
         cwd \"/srv/app/data\"
  tidy   1 variable, 3 bytes
  piped  descriptor 3
";

#[test]
fn all_of_it() {
    assert_eq!(explained(CONFIG), EXPLAINED);
    assert!(
        EXPLAINED
            .lines()
            .all(|line| line.chars().count() <= COLUMNS)
    );
}

/// All was said to have `/dev/null` and a log, and the attributes of the supervisor.
#[test]
fn what_a_program_has_of_its_own_is_said() {
    let text = explained(
        r#"{"programs": {
            "import": {
                "command": ["a"], "oneshot": true, "essential": true, "stdin": "dump.sql",
                "stdout": "log", "stderr": "inherit"
            },
            "web": {
                "command": ["a"], "stdout": "stderr", "stderr": "null", "user": 64335, "group": 7,
                "groups": [], "nice": 5, "umask": "027", "oom_score_adj": -5, "clear_env": true,
                "no_new_privileges": true, "limits": {"nofile": "64:128", "core": "unlimited"}
            },
            "shown": {"command": ["a"], "stdout": "inherit", "groups": [3, 4]},
            "plain": ["a"]
        }}"#,
    );
    assert!(
        text.contains("\n  import  oneshot, its failure stops everything\n"),
        "{text}"
    );
    let others = "  descriptors  0 and 1: /dev/null; 2: its log; no other, unless said below\n";
    assert!(text.contains(others), "{text}");
    let own = text.split("directories:\n").nth(1).expect("own things");
    let words: Vec<&str> = own.split_whitespace().collect();
    let expected = "import 0: \"/srv/app/dump.sql\", 1: its log of stdout, 2: the supervisor's stderr \
                    web 1: where 2 goes, 2: /dev/null, no inherited variables, user 64335, group 7, \
                    no groups, umask 0027, nice 5, oom_score_adj -5, no_new_privileges, \
                    core unlimited, nofile 64:128 \
                    shown 1: the supervisor's stdout, groups 3 4";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn the_delays_of_a_few_restarts() {
    let seconds = Duration::from_secs;
    let text = |initial, max, restarts| {
        let backoff = Backoff {
            initial,
            max,
            ..Backoff::default()
        };
        delays_text(&backoff, restarts)
    };
    let usual = |restarts| text(seconds(1), seconds(60), restarts);
    assert_eq!(usual(None), "1 2 4 … 60 s");
    assert_eq!(usual(Some(0)), "gives up at its first failure");
    assert_eq!(usual(Some(1)), "1 s");
    assert_eq!(usual(Some(4)), "1 2 4 8 s");
    assert_eq!(usual(Some(5)), "1 2 4 … 16 s");
    assert_eq!(usual(Some(u32::MAX)), "1 2 4 … 60 s");
    assert_eq!(text(seconds(5), seconds(5), None), "5 s");
    assert_eq!(text(seconds(5), seconds(7), None), "5 7 s");
    assert_eq!(text(Duration::ZERO, seconds(7), None), "at once");
    let quarter = text(Duration::from_millis(250), seconds(1), None);
    assert_eq!(quarter, "0.25 0.5 1 s");
    let forever = text(seconds(1), Duration::MAX, None);
    assert_eq!(forever, "1 2 4 … 18446744073709551615.999999999 s");
}

#[test]
fn long_lists_go_on_in_the_next_line() {
    let names = (0..40).map(|index| format!("\"program-{index}\": [\"a\"]"));
    let names: Vec<String> = names.collect();
    let text = explained(&format!(r#"{{"programs": {{{}}}}}"#, names.join(",")));
    let mut lines = text.lines().skip(1);
    let first = lines.next().unwrap();
    assert!(first.starts_with("  1  program-0, program-1, "), "{text}");
    assert!(lines.next().unwrap().starts_with("     program-"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
    assert!(text.contains("\nStop: 10s at most"), "{text}");
    assert!(text.contains("\n  shutdown_timeout: none\n"), "{text}");
}

/// A chain as long as this made a line of it that filled the terminal.
#[test]
fn a_long_chain_is_shown_at_its_ends() {
    let link = |index: usize| match index {
        0 => r#""p0": ["a"]"#.to_owned(),
        _ => format!(
            r#""p{index}": {{"command": ["a"], "requires": ["p{}"]}}"#,
            index - 1
        ),
    };
    let programs: Vec<String> = (0..10_000).map(link).collect();
    let text = explained(&format!(r#"{{"programs": {{{}}}}}"#, programs.join(",")));
    let chain = text.lines().find(|line| line.contains(" more → "));
    assert!(chain.is_some_and(|line| line.len() < 200), "{chain:?}");
    assert!(text.contains("\n  10000  p9999\n"));
}
