//! The lines on stdout: one for each end of a run, every field as promised.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::common::report::FIELDS;
use crate::common::scene::spawn;
use crate::common::second_run::binary;
use crate::common::{Need, Pattern, Report, Scene, missing, wait_for};
use crate::stderr_pipe::spewed;

/// Each field has its type, and the fields stand in their order.
#[track_caller]
fn assert_shape(report: &Report) {
    assert_eq!(report.keys_in_order(), FIELDS, "{report:?}");
    for field in ["process", "utc_iso", "data"] {
        assert!(report.get(field).is_string(), "{field}: {report:?}");
    }
    for field in ["timestamp", "uptime"] {
        assert!(report.get(field).is_f64(), "{field} is a float: {report:?}");
    }
    assert!(report.get("return_code").is_i64(), "{report:?}");
    for field in ["restarts", "log_offset", "data_omitted"] {
        assert!(report.get(field).is_u64(), "{field}: {report:?}");
    }
    for field in ["core_dumped", "stopping"] {
        assert!(report.get(field).is_boolean(), "{field}: {report:?}");
    }
    for field in ["signal", "log", "error"] {
        assert!(
            report.get(field).is_string() || report.get(field).is_null(),
            "{field}: {report:?}"
        );
    }
    let (pid, retry_in) = (report.get("pid"), report.get("retry_in"));
    assert!(pid.is_i64() || pid.is_null(), "{report:?}");
    assert!(retry_in.is_number() || retry_in.is_null(), "{report:?}");
    assert!(!report.line.contains('\n'));
}

/// Days since the epoch of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, month) = (shifted.div_euclid(400), (month + 9) % 12);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Microseconds since the epoch of `2024-01-01T12:00:00.000000+00:00`, exactly this form.
fn micros_of(utc_iso: &str) -> i64 {
    let form: String = utc_iso
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    assert_eq!(form, "0000-00-00T00:00:00.000000+00:00");
    let number = |range: std::ops::Range<usize>| -> i64 {
        utc_iso[range].parse().expect("digits, as the form says")
    };
    let days = days(number(0..4), number(5..7), number(8..10));
    let seconds = ((days * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19);
    seconds * 1_000_000 + number(20..26)
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
}

/// The same instant twice, to the microsecond, within these seconds of the test's own clock.
#[track_caller]
fn assert_instant(report: &Report, within: std::ops::RangeInclusive<f64>) {
    let micros = micros_of(report.text("utc_iso").expect("a string"));
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("\"timestamp\":{seconds}.{rest:06},");
    assert!(report.line.contains(&text), "no {text} in {report:?}");
    let timestamp = report.seconds("timestamp");
    assert!((timestamp - micros as f64 / 1e6).abs() < 1e-6, "{report:?}");
    assert!(within.contains(&timestamp), "{within:?} {report:?}");
}

#[test]
fn every_end_has_a_report_with_every_field() {
    let mut scene = Scene::new();
    let quick = json!({"initial": "50ms", "max": "50ms"});
    scene.add_with("crash", "say words\\n ; exit 3", json!({"backoff": quick}));
    scene.add_with("clean", "exit 0", json!({"backoff": quick}));
    scene.add_with("signal", "sig SEGV", json!({"backoff": quick}));
    scene
        .add_raw("missing", json!(["./no"]))
        .add_raw("not", json!(["/"]));
    scene.add_raw("before", json!({"command": ["/bin/true"], "cwd": "/nope"}));
    scene.add("stopped", "say ready\\n ; touch up ; hold");
    let begin = now();
    let supervisor = scene.start();
    for name in ["crash", "clean", "signal"] {
        supervisor.wait_reports_of(name, 3);
    }
    for name in ["missing", "not", "before"] {
        supervisor.wait_reports_of(name, 1);
    }
    scene.wait_file("up");
    let reports = supervisor.end();
    let end = now();
    for report in &reports {
        assert_shape(report);
        assert_instant(report, begin..=end);
    }
    let of = |name: &str| {
        reports
            .iter()
            .filter(|report| report.name() == name)
            .collect::<Vec<_>>()
    };
    let expected = [
        ("crash", 3, None, &b"words\n"[..]),
        ("clean", 0, None, b""),
        ("signal", -11, Some("SIGSEGV"), b""),
        ("stopped", -15, Some("SIGTERM"), b"ready\n"),
    ];
    for (name, code, signal, data) in expected {
        let report = of(name)[0];
        assert_eq!(
            (report.code(), report.signal()),
            (code, signal),
            "{report:?}"
        );
        assert_eq!(
            (report.data(), report.count("data_omitted")),
            (data.to_vec(), 0)
        );
        assert_eq!(
            report.text("log"),
            Some(&*scene.log_path(name).to_string_lossy())
        );
        assert!(report.pid().is_some_and(|pid| pid > 1) && report.error().is_empty());
    }
    for (name, code) in [("missing", 127), ("not", 126), ("before", 125)] {
        let report = of(name)[0];
        assert_eq!(
            (report.code(), report.pid(), report.stopping()),
            (code, None, false)
        );
        assert!(!report.error().is_empty(), "{report:?}");
    }
    let stopped = of("stopped");
    assert!(stopped.len() == 1 && stopped[0].stopping() && stopped[0].retry_in().is_none());
}

#[test]
fn the_offset_says_where_a_run_begins_in_the_log() {
    let mut scene = Scene::new();
    scene.mkdir("logs");
    scene.write("logs/p.stderr.log", "old\n");
    let quick = json!({"backoff": {"initial": "1ms", "max": "1ms"}});
    scene.add_with("p", "count runs ; say run%n\\n ; exit 1", quick);
    let supervisor = scene.start();
    let reports = supervisor.wait_reports(12);
    supervisor.end();
    let log = scene.log("p");
    for report in &reports[..12] {
        let run = report.count("restarts") + 1;
        let words = format!("run{run}\n");
        let offset = report.count("log_offset") as usize;
        assert_eq!(&log[offset..offset + words.len()], words.as_bytes());
        assert_eq!(report.data(), words.as_bytes());
        assert_eq!(report.retry_in(), Some(0.001));
    }
    let restarts = reports.iter().map(|report| report.count("restarts"));
    assert!(restarts.eq(0..reports.len() as u64), "{reports:?}");
    assert_eq!(reports[0].count("log_offset"), 4);
}

#[test]
fn the_uptime_is_that_of_the_run() {
    let mut scene = Scene::new();
    scene.add_with("p", "sleep 500 ; exit 1", json!({"restart": "never"}));
    let report = scene.start().ends_with(1).remove(0);
    let uptime = report.seconds("uptime");
    // It begins when the supervisor sees the exec, which a busy machine may delay a little.
    assert!((0.3..5.0).contains(&uptime), "{report:?}");
}

#[test]
fn m140_the_data_is_the_exact_tail_around_its_limit() {
    const LIMIT: usize = 1000;
    let mut scene = Scene::new();
    let sizes = [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT + 7, 200_000];
    for size in sizes {
        let keys = json!({"restart": "never", "report_bytes": LIMIT});
        scene.add_with(&format!("b{size}"), &format!("spew {size} binary"), keys);
    }
    let keys = json!({"restart": "never", "report_bytes": 0});
    scene.add_with("none", "spew 5000 binary", keys);
    let keys = json!({"restart": "never", "report_bytes": 524_288});
    scene.add_with("most", "spew 524289 binary", keys);
    let reports = scene.start().ends_with(0);
    assert_eq!(reports.len(), sizes.len() + 2);
    for report in &reports {
        let (size, limit) = match report.name() {
            "none" => (5000, 0),
            "most" => (524_289, 524_288),
            name => (name[1..].parse().expect("a size"), LIMIT),
        };
        let all = spewed(Pattern::Binary, size);
        assert!(
            scene.log(report.name()) == all,
            "the log differs: {report:?}"
        );
        let tail = &all[size.saturating_sub(limit)..];
        assert!(report.data() == tail, "the tail differs: {report:?}");
        assert_eq!(
            report.count("data_omitted"),
            (size - tail.len()) as u64,
            "{report:?}"
        );
    }
}

/// A second parser, and a strict one.
#[track_caller]
fn assert_python_reads(reports: &[Report]) {
    let strict = "import sys, json\n\
                  def no(x): raise ValueError(x)\n\
                  for line in sys.stdin: json.loads(line, parse_constant=no)";
    let mut python = Command::new("python3");
    python.args(["-c", strict]).stdin(Stdio::piped());
    let mut python = spawn(&mut python).expect("python3 can be started");
    let mut stdin = python.stdin.take().expect("a pipe");
    for report in reports {
        writeln!(stdin, "{}", report.line).expect("python3 reads");
    }
    drop(stdin);
    let status = python.wait().expect("python3 ends");
    assert!(status.success(), "{reports:?}");
}

#[test]
fn m138_m139_reports_are_json_whatever_stands_in_them() {
    if missing(&[Need::Tool("python3")]) {
        return;
    }
    let mut scene = Scene::new();
    // The directory of the config is no UTF-8, and so is every path below it.
    let odd = scene
        .directory()
        .join(OsStr::from_bytes(b"odd \xff \"quoted\"\n\x1b[31m"));
    std::fs::create_dir(&odd).expect("Linux takes any name");
    scene.set("base_dir", json!("."));
    scene.add_with(
        "words",
        "urandom 5000 copy ; exit 1",
        json!({"restart": "never"}),
    );
    let quote = "no \"such\" \\ command\n\u{1b}[31m \u{7f} ü 💥";
    scene.add_raw(
        "quote",
        json!({"command": [format!("./{quote}")], "restart": "never"}),
    );
    scene.add_raw(
        "args",
        json!({"command": ["/bin/true", quote], "restart": "never"}),
    );
    let config = odd.join("c.json");
    std::fs::write(&config, scene.config()).expect("a config");
    let supervisor = scene.launch(scene.marked(&[binary().to_owned(), "run".into(), config]));
    let reports = supervisor.ends_with(1);
    assert_eq!(reports.len(), 3);
    reports.iter().for_each(assert_shape);
    let words = reports
        .iter()
        .find(|report| report.name() == "words")
        .expect("a report");
    assert_eq!(
        words.data(),
        std::fs::read(odd.join("copy")).expect("the probe's copy")
    );
    let log = words.text("log").expect("a path");
    assert!(
        log.contains('\u{fffd}') && log.ends_with("/logs/words.stderr.log"),
        "{log:?}"
    );
    assert!(odd.join("logs/words.stderr.log").exists());
    assert_python_reads(&reports);
}

#[test]
fn m88_what_a_person_reads_fits_on_a_line_and_obeys_no_terminal() {
    let mut scene = Scene::new();
    let quote = "./no\nsuch\u{1b}[31m command";
    scene.add_raw("quote", json!({"command": [quote], "restart": "never"}));
    scene.add_with("web-1", "exit 3", json!({"restart": "never"}));
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 1);
    let messages = supervisor.messages();
    for line in &messages {
        assert!(!line.contains(char::is_control), "{line:?}");
        let stamp = line.split(' ').next().unwrap_or("");
        let form: String = stamp
            .chars()
            .map(|char| if char.is_ascii_digit() { '0' } else { char })
            .collect();
        assert_eq!(form, "0000-00-00T00:00:00.000Z", "{line:?}");
    }
    let exited = supervisor.wait_message(&["web-1", "exited", "pid=", "3"]);
    assert!(
        exited.contains("never"),
        "it says that it does not come back: {exited:?}"
    );
    assert_eq!(
        supervisor.messages_with(&["quote"]).len(),
        1,
        "{messages:?}"
    );
}

#[test]
fn m90_a_supervisor_that_was_stopped_for_a_while_tells_true_uptimes() {
    let mut scene = Scene::new();
    scene.add_with(
        "p",
        "sleep 300 ; touch done ; exit 1",
        json!({"restart": "never"}),
    );
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    supervisor.signal(libc::SIGSTOP);
    scene.wait_file("done");
    wait_for("some more time", || {
        let done = scene
            .path("done")
            .metadata()
            .and_then(|metadata| metadata.modified());
        done.is_ok_and(|done| {
            done.elapsed()
                .is_ok_and(|since| since > Duration::from_millis(400))
        })
    });
    supervisor.signal(libc::SIGCONT);
    let report = supervisor.ends_with(1).remove(0);
    // Measured at its reap, so the time in which nobody looked counts.
    assert!(report.seconds("uptime") >= 0.5, "{report:?}");
}

/// Local time was wanted, and there was none: an error in a program with threads, or nonsense.
/// Whatever the place, reports and messages are in UTC and say so.
#[test]
fn m141_the_time_is_utc_wherever_it_runs() {
    let zones = [
        None,
        Some(":/no/such/zone"),
        Some("XXX+25:99:99"),
        Some("Pacific/Kiritimati"),
        Some(""),
    ];
    for zone in zones {
        let mut scene = Scene::new();
        scene.add_with("p", "exit 1", json!({"restart": "never"}));
        let mut command = scene.command();
        match zone {
            Some(zone) => command.env("TZ", zone),
            None => command.env_remove("TZ"),
        };
        let begin = now();
        let mut supervisor = scene.launch(command);
        assert_eq!(supervisor.wait_exit(), 1, "{zone:?}");
        assert_instant(&supervisor.reports()[0], begin..=now());
        let hours = |line: String| line.get(11..13)?.parse::<i64>().ok();
        let utc = (begin as i64 / 3600) % 24;
        for line in supervisor.messages() {
            let hour = hours(line.clone()).expect("a time");
            assert!(
                (0..=1).contains(&(hour - utc).rem_euclid(24)),
                "{zone:?}: {line}"
            );
        }
    }
}

/// A program that writes to stdout alone died without a word.
#[test]
fn text_and_the_last_line_are_those_of_stdout_if_stderr_has_none() {
    let mut scene = Scene::new();
    let die = |words: &str| format!("{words} ; exit 3");
    let both = die("say out\\n 1 ; say err\\n 2");
    let out = die("say first\\nout\\n\\n 1");
    for (name, script, stdout, stderr) in [
        ("logged", &out, "log", "log"),
        ("nulled", &out, "log", "null"),
        ("inherited", &out, "inherit", "null"),
        ("same", &out, "stderr", "log"),
        ("both", &both, "log", "log"),
        ("none", &out, "null", "log"),
    ] {
        let keys = json!({"stdout": stdout, "stderr": stderr, "restart": "never"});
        scene.add_with(name, script, keys);
    }
    // What it says is to be in no report.
    let keys = json!({"stdout": "log", "restart": "never", "report_bytes": 0});
    scene.add_with("hidden", &both, keys.clone());
    scene.add_with("secret", &out, keys);
    let mut command = scene.command();
    let reports = File::create(scene.path("reports")).expect("a file");
    command.stdout(reports).stderr(Stdio::piped());
    let supervisor = scene.launch_as_is(command);
    let first = "first\nout\n\n";
    let tail = |name: &str| {
        let report = supervisor.wait_message(&[name, "exited", "code=3"]);
        report.split_once("last=").map(|(_, last)| last.to_owned())
    };
    let lasts = [
        "logged",
        "nulled",
        "inherited",
        "same",
        "both",
        "none",
        "hidden",
        "secret",
    ]
    .map(tail);
    let expected = ["out", "out", "out", "out", "err"].map(|last| Some(format!("{last:?}")));
    assert_eq!(lasts[..5], expected);
    assert_eq!(lasts[5..], [None, None, None]);
    supervisor.ends_with(1);
    let said = scene.read("reports");
    let reports = said
        .lines()
        .filter_map(|line| Report::parse(line.as_bytes()));
    let text = |name: &str| {
        let mut of = reports.clone().filter(|report| report.name() == name);
        let report = of.next().expect(name);
        report.get("text").as_str().map(str::to_owned)
    };
    for name in ["logged", "nulled", "inherited", "same"] {
        assert_eq!(text(name).as_deref(), Some(first), "{name}");
    }
    assert_eq!(text("both").as_deref(), Some("err\n"));
    for name in ["none", "hidden", "secret"] {
        assert_eq!(text(name), None, "{name}");
    }
}

#[test]
fn text_of_stdout_begins_with_a_line() {
    let mut scene = Scene::new();
    let keys = json!({"stdout": "log", "restart": "never"});
    scene.add_with("long", "spew 6400 lines 1 ; say end 1 ; exit 3", keys);
    let reports = scene.start().ends_with(1);
    let mut bytes = vec![0; 6400];
    Pattern::Lines.fill(0, &mut bytes);
    bytes.extend_from_slice(b"end");
    let last = &bytes[bytes.len() - 2048..];
    let line_feed = last.iter().position(|&byte| byte == b'\n');
    let text = &last[line_feed.expect("a line") + 1..];
    let reported = reports[0].get("text").as_str();
    assert_eq!(reported.map(str::as_bytes), Some(text));
}
