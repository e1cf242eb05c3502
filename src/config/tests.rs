use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;
use crate::machine::{Backoff, Restart};

mod attributes;
mod health;
mod instances;
mod log;
mod parts;
mod programs;
mod properties;
mod ready;
mod refused;

const DIRECTORY: &str = "/srv/shop";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text.as_bytes(), "f", Path::new(DIRECTORY))
}

fn programs_of(text: &str) -> Vec<ChildSpec> {
    let config = parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    config.programs
}

/// The only program of a file, with the right side of its key and of `defaults`.
fn program(defaults: &str, program: &str) -> ChildSpec {
    let text = format!(r#"{{"programs": {{"web": {program}}}, "defaults": {defaults}}}"#);
    let mut all = programs_of(&text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

/// The cases of a table: an input a line, and what is said of it.
fn cases(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = table.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(" => ").expect("a case"))
}

/// A scratch directory that is empty and is removed.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

const EXAMPLE: &str = r#"{
  "base_dir": ".",
  "err_dir": "/tmp",
  "error_handler": ["./notify.sh"],
  "defaults": { "stop_timeout": "8s" },
  "programs": {
    "service1": ["python3", "service1.py"],
    "service2": {
      "command": ["./service2", "--port", "8000"],
      "cwd": "data", "env": { "MODE": "prod" },
      "restart": "on-failure", "essential": true,
      "backoff": { "initial": "500ms", "max": "30s", "reset_after": "10s" },
      "stop_signal": "INT", "stop_timeout": 5, "report_bytes": 4096
    }
  }
}
"#;

#[test]
fn the_example_of_the_documentation() {
    let expected = Config {
        text: Text::default(),
        path: None,
        env_files: Vec::new(),
        control: Control::Default,
        control_group: None,
        output: Form::Text,
        reports: Reports::Stdout,
        shutdown_timeout: None,
        base_dir: DIRECTORY.into(),
        err_dir: "/tmp".into(),
        error_handler: Some(ErrorCommand::from(["./notify.sh"])),
        programs: vec![
            ChildSpec::new("service1", ["python3", "service1.py"])
                .stop_timeout(Duration::from_secs(8)),
            ChildSpec::new("service2", ["./service2", "--port", "8000"])
                .cwd("data")
                .env("MODE", "prod")
                .restart(Restart::OnFailure)
                .essential(true)
                .backoff(Backoff {
                    initial: Duration::from_millis(500),
                    max: Duration::from_secs(30),
                    reset_after: Duration::from_secs(10),
                })
                .stop_signal(libc::SIGINT)
                .stop_timeout(Duration::from_secs(5))
                .report_bytes(4096),
        ],
    };
    assert_eq!(parse(EXAMPLE), Ok(expected));
}

#[test]
fn the_spelling_of_the_file_makes_no_difference() {
    let expected = parse(EXAMPLE);
    let crlf = EXAMPLE.replace('\n', "\r\n");
    let marked = format!("\u{feff}{crlf}");
    let tight = EXAMPLE.replace(['\n', ' '], "");
    let escaped = EXAMPLE.replace("\"cwd\"", "\"c\\u0077d\"");
    for text in [crlf, marked, tight, escaped] {
        assert_eq!(parse(&text), expected, "{text}");
    }
}

/// With a comment before and behind every word, and commas behind all last values.
#[test]
fn comments_and_trailing_commas_are_blank() {
    let expected = parse(EXAMPLE);
    let commented = EXAMPLE.replace(", ", " /* , \" é */ , // ]} /*\r\n");
    let trailing = EXAMPLE.replace(" }", " , }").replace("\"]", "\"\n,\t]");
    let both = commented.replace(" }", ", /**/ }") + "//";
    for text in [commented, trailing, both] {
        assert_eq!(parse(&text), expected, "{text}");
    }
    let url = r#"{"programs": {"web": ["curl", "http://x/*y*/", "\\\"//", "\\", ], /* x */ }}"#;
    let spec = ChildSpec::new("web", ["curl", "http://x/*y*/", "\\\"//", "\\"]);
    assert_eq!(programs_of(url), [spec]);
}

/// Every place of a commented file is that of the same file without comments.
#[test]
fn comments_move_no_place() {
    let plain = "{\"programs\":\n{\"w\":       5}}";
    let text = "{\"programs\": /* ü */  //\n{\"w\": /*é€*/5, }, } // x";
    let place = |text| {
        parse(text)
            .unwrap_err()
            .iter()
            .map(|e| (e.line(), e.column()))
            .collect()
    };
    let (plain, found): (Vec<_>, Vec<_>) = (place(plain), place(text));
    assert_eq!(plain, [(2, 13)]);
    assert_eq!(found, plain);
}

#[test]
fn variables_are_taken_as_they_are_written() {
    let env = r#"{"A": 8080, "B": 1.50, "C": -1e+3, "D": true, "E": false, "F": "x"}"#;
    let spec = program("{}", &format!(r#"{{"command": ["a"], "env": {env}}}"#));
    let expected = ChildSpec::new("web", ["a"])
        .env("A", "8080")
        .env("B", "1.50");
    let expected = expected
        .env("C", "-1e+3")
        .env("D", "true")
        .env("E", "false");
    assert_eq!(spec, expected.env("F", "x"));
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(r#"{"programs": {"web": ["true"]}}"#).unwrap();
    assert_eq!(config.base_dir, Path::new(DIRECTORY));
    assert_eq!(config.err_dir, Path::new("/tmp"));
    assert_eq!(config.error_handler, None);
    assert_eq!(config.programs, [ChildSpec::new("web", ["true"])]);
}

#[test]
fn programs_keep_the_order_of_the_file() {
    let text = r#"{"programs": {"z": ["1"], "a": ["2"], "m": {"command": ["3"]}, "B": ["4"]}}"#;
    let names: Vec<String> = programs_of(text)
        .iter()
        .map(|p| p.name().to_owned())
        .collect();
    assert_eq!(names, ["z", "a", "m", "B"]);
}

#[test]
fn paths_are_made_absolute() {
    #[rustfmt::skip]
    let table = [
        (".", "log", "/srv/shop", "/srv/shop/log"),
        ("..", ".", "/srv/shop/..", "/srv/shop/../."),
        ("apps/./a", "../log", "/srv/shop/apps/a", "/srv/shop/apps/a/../log"),
        ("/opt", "log", "/opt", "/opt/log"),
        ("/opt", "/var/log", "/opt", "/var/log"),
    ];
    for (base_dir, err_dir, expected_base, expected_err) in table {
        // `err_dir` stands first here: it is relative to a `base_dir` that comes later.
        let text = format!(
            r#"{{"err_dir": "{err_dir}", "base_dir": "{base_dir}", "programs": {{"w": ["a"]}}}}"#
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.base_dir, Path::new(expected_base), "{text}");
        assert_eq!(config.err_dir, Path::new(expected_err), "{text}");
    }
}

#[test]
fn the_control_socket_is_somewhere_nowhere_or_where_the_file_says() {
    let control = |base_dir: &str, keys: &str| {
        let text = format!(r#"{{{keys} "base_dir": "{base_dir}", "programs": {{"w": ["a"]}}}}"#);
        parse(&text).map(|config| config.control)
    };
    let path = |path: &str| Ok(Control::Path(path.into()));
    assert_eq!(control("/opt", ""), Ok(Control::Default));
    assert_eq!(control("/opt", r#""control": false,"#), Ok(Control::Off));
    let relative = control("/opt", r#""control": "run/c.sock","#);
    assert_eq!(relative, path("/opt/run/c.sock"));
    let absolute = control("/opt", r#""control": "/run/c","#);
    assert_eq!(absolute, path("/run/c"));
    let name = "n".repeat(SOCKET_PATH_BYTES_MAX - "/opt/".len());
    let longest = control("/opt", &format!(r#""control": "{name}","#));
    assert_eq!(longest, path(&format!("/opt/{name}")));
    let errors = control("/opt/", &format!(r#""control": "{name}{name}","#)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "f:1:13: error: control: the path has 209 bytes; a socket path can have 107"
    );
}

#[test]
fn a_group_is_a_number_or_a_name_of_this_system() {
    let group = |value: &str| {
        let text = format!(r#"{{"control_group": {value}, "programs": {{"w": ["a"]}}}}"#);
        parse(&text).unwrap().control_group
    };
    assert_eq!(group("0"), Some(0));
    assert_eq!(group("4294967294"), Some(u32::MAX - 1));
    assert_eq!(group(r#""root""#), Some(0));
}

#[test]
fn a_shutdown_has_a_deadline_if_the_file_gives_one() {
    let timeout = |key: &str| {
        let text = format!(r#"{{{key} "programs": {{"w": ["a"]}}}}"#);
        parse(&text).unwrap().shutdown_timeout
    };
    assert_eq!(timeout(""), None);
    let given = timeout(r#""shutdown_timeout": "1m30s","#);
    assert_eq!(given, Some(Duration::from_secs(90)));
    let least = timeout(r#""shutdown_timeout": 0.1,"#);
    assert_eq!(least, Some(Duration::from_millis(100)));
}

#[test]
fn a_relative_directory_is_relative_to_the_current_one() {
    let here = std::env::current_dir().unwrap();
    for (directory, expected) in [("", here.clone()), ("a/b", here.join("a/b"))] {
        let text = br#"{"programs": {"w": ["a"]}}"#;
        let config = Config::parse(text, "f", Path::new(directory)).unwrap();
        assert_eq!(config.base_dir, expected, "{directory:?}");
    }
}

#[test]
fn defaults_hold_for_every_key_but_command() {
    let defaults = r#"{
        "cwd": "data", "env": {"A": "1"}, "restart": "never", "essential": true,
        "autostart": false,
        "backoff": {"initial": 0, "max": 2, "reset_after": 3, "jitter": 0.25},
        "stop_signal": 9, "stop_timeout": 0, "report_bytes": 0, "oneshot": true,
        "max_restarts": 0, "success_codes": [1, 255], "permanent_failure_codes": ["SEGV", 78]
    }"#;
    let expected = ChildSpec::new("web", ["true"])
        .cwd("data")
        .env("A", "1")
        .restart(Restart::Never)
        .essential(true)
        .autostart(false)
        .backoff(Backoff {
            initial: Duration::ZERO,
            max: Duration::from_secs(2),
            reset_after: Duration::from_secs(3),
        })
        .jitter(0.25)
        .stop_signal(libc::SIGKILL)
        .stop_timeout(Duration::ZERO)
        .report_bytes(0)
        .oneshot(true)
        .max_restarts(0)
        .success_codes([1, 255])
        .permanent_failure_codes([-libc::SIGSEGV, 78]);
    assert_eq!(program(defaults, r#"["true"]"#), expected);
    assert_eq!(program(defaults, r#"{"command": ["true"]}"#), expected);
    let own = r#"{"command": ["true"], "essential": false, "report_bytes": 524288}"#;
    let changed = expected.essential(false).report_bytes(524_288);
    assert_eq!(program(defaults, own), changed, "its own word counts");
}

#[test]
fn env_merges_key_by_key() {
    let defaults = r#"{"env": {"A": "1", "B": "1"}}"#;
    for (own, expected) in [
        (r#"{}"#, [("A", "1"), ("B", "1")].as_slice()),
        (r#"{"B": "2"}"#, &[("A", "1"), ("B", "2")]),
        (
            r#"{"C": "", "A": "2"}"#,
            &[("A", "2"), ("B", "1"), ("C", "")],
        ),
    ] {
        let mut got = program(defaults, &format!(r#"{{"command": ["a"], "env": {own}}}"#)).env;
        got.sort();
        let as_os = |(key, value): &(&str, &str)| (OsString::from(key), OsString::from(value));
        let expected: Vec<_> = expected.iter().map(as_os).collect();
        assert_eq!(got, expected, "{own}");
    }
}

#[test]
fn backoff_merges_key_by_key() {
    for (defaults, own, expected) in [
        ("{}", "{}", [1, 60, 30]),
        (r#"{"initial": 2}"#, "{}", [2, 60, 30]),
        (r#"{"initial": 2}"#, r#"{"max": 5}"#, [2, 5, 30]),
        (
            r#"{"initial": 2, "max": 4}"#,
            r#"{"initial": 3, "reset_after": 0}"#,
            [3, 4, 0],
        ),
        // Wrong by itself, and right in the program that it is for.
        (r#"{"initial": 90}"#, r#"{"max": 100}"#, [90, 100, 30]),
        ("{}", r#"{"initial": 60}"#, [60, 60, 30]),
        ("{}", r#"{"initial": 0, "max": 0}"#, [0, 0, 30]),
    ] {
        let defaults = format!(r#"{{"backoff": {defaults}}}"#);
        let got = program(
            &defaults,
            &format!(r#"{{"command": ["a"], "backoff": {own}}}"#),
        )
        .backoff;
        let got = [got.initial, got.max, got.reset_after];
        assert_eq!(got, expected.map(Duration::from_secs), "{defaults} {own}");
    }
}

#[test]
fn a_jitter_is_exact_to_a_thousandth() {
    for (given, expected) in [
        ("0", 0),
        ("0.5", 500),
        ("0.0004", 0),
        ("0.0005", 1),
        ("1e-2", 10),
        ("1.0", 1_000),
        ("1", 1_000),
    ] {
        let own = format!(r#"{{"command": ["a"], "backoff": {{"jitter": {given}}}}}"#);
        assert_eq!(program("{}", &own).jitter, expected, "{given}");
    }
}

#[test]
fn notes_are_ignored_on_every_level() {
    let text = r#"{
        "$schema": 1, "x-a": null, "x-a": {"x": 1, "x": 2}, "x-": "\u0000", "x\u002db": 0,
        "defaults": {"x-a": 1, "env": {"x-a": 1}, "backoff": {"$schema": 1}},
        "programs": {
            "x-off": 5,
            "web": {"command": ["a"], "x-a": 1, "$schema": "", "env": {"x-a": 1, "A": "1"}},
            "$schema": []
        }
    }"#;
    assert_eq!(
        programs_of(text),
        [ChildSpec::new("web", ["a"]).env("A", "1")]
    );
}

#[test]
fn signals_have_many_spellings() {
    for (spelling, expected) in [
        (r#""INT""#, 2),
        (r#""SIGINT""#, 2),
        (r#""int""#, 2),
        (r#""sigInt""#, 2),
        (r#""KILL""#, 9),
        (r#""RTMIN""#, 34),
        (r#""RTMIN+3""#, 37),
        (r#""sigrtmin+30""#, 64),
        ("1", 1),
        ("33", 33),
        ("64", 64),
    ] {
        let own = format!(r#"{{"command": ["a"], "stop_signal": {spelling}}}"#);
        assert_eq!(program("{}", &own).stop_signal, expected, "{spelling}");
    }
}

#[test]
fn a_file_is_loaded_relative_to_its_directory() {
    let directory = scratch();
    let path = directory.path().join("procsched.json");
    std::fs::write(&path, EXAMPLE).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.path.as_ref(), Some(&path));
    assert_eq!(config.base_dir, directory.path());
    assert_eq!(config.programs.len(), 2);
}

#[test]
fn a_file_that_cannot_be_read_has_no_place() {
    let directory = scratch();
    let path = directory.path().join("line\nfeed.json");
    let shown = directory.path().join("line\\nfeed.json");
    let text = Config::load(&path).unwrap_err().to_string();
    let reason = "error: failed to read the file: No such file or directory";
    assert_eq!(text, format!("{}: {reason}", shown.display()));
    let errors = Config::load(directory.path()).unwrap_err();
    let error = errors.iter().next().unwrap();
    assert_eq!((error.line(), error.column(), error.path()), (0, 0, ""));
    assert_eq!(error.message(), "failed to read the file: Is a directory");
}

/// A file is read no farther than it takes to see that it is too long, and not a byte less.
#[test]
fn a_file_that_is_too_long_is_called_so_and_not_broken() {
    let directory = scratch();
    let path = directory.path().join("procsched.json");
    let mut text = r#"{"programs": {"w": ["a"]}"#.to_owned();
    text.extend(std::iter::repeat_n(' ', FILE_BYTES_MAX - 1 - text.len()));
    text.push('}');
    std::fs::write(&path, &text).unwrap();
    assert!(Config::load(&path).is_ok());
    text.insert(text.len() - 1, ' ');
    std::fs::write(&path, &text).unwrap();
    let errors = Config::load(&path).unwrap_err();
    let end = "procsched.json:1:1: error: the file is too long: at most 4 MiB are read";
    assert!(errors.to_string().ends_with(end), "{errors}");
}

/// A supervisor that waited for the writer of a FIFO would watch over nothing meanwhile.
#[test]
fn what_is_no_file_any_more_is_not_waited_for() {
    let directory = scratch();
    let path = directory.path().join("procsched.json");
    std::fs::write(&path, r#"{"programs": {"w": ["a"]}}"#).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.reload().as_ref(), Ok(&config));
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let end = "procsched.json: error: failed to read the file: it is not a regular file";
    let errors = config.reload().unwrap_err().to_string();
    assert!(errors.ends_with(end), "{errors}");
    let errors = parse(r#"{"programs": {"w": ["a"]}}"#)
        .unwrap()
        .reload()
        .unwrap_err();
    let text =
        "config: error: the config was not read from a file: restart the supervisor with a file";
    assert_eq!(errors.to_string(), text);
}

/// `procsched-min run /dev/stdin < config.json` opens a regular file, whose directory is not
/// `/dev`.
#[test]
fn a_descriptor_by_its_path_is_relative_to_the_current_directory() {
    let here = std::env::current_dir().expect("a current directory");
    let directory = scratch();
    let path = directory.path().join("procsched.json");
    std::fs::write(&path, r#"{"programs": {"web": ["true"]}}"#).unwrap();
    for through in ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"] {
        let file = File::open(&path).unwrap();
        let name = format!("{through}/{}", file.as_raw_fd());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&name, &link).unwrap();
        for name in [Path::new(&name), &link] {
            let config = Config::load(name).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.base_dir, here, "{name:?}");
            assert_eq!(config.path, None, "it cannot be read again");
        }
        std::fs::remove_file(link).unwrap();
    }
}
