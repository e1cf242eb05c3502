//! Lines of programs on the supervisor's own stdout and stderr: whole, in order, and none that a slow
//! reader loses; and a reader that is stuck or gone holds up nothing else.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::process::PATIENCE;
use crate::common::{Need, Pattern, Scene, Supervisor, missing, second_run, wait_for};
use crate::stderr_pipe::spewed;

/// The longest part of a line that is given at once.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A scene whose programs inherit both streams, without reports and without logs.
fn scene() -> Scene {
    let mut scene = Scene::new();
    let both = json!({"stdout": "inherit", "stderr": "inherit", "restart": "never"});
    scene.set("defaults", both).set("reports", json!("none"));
    scene.set("err_dir", json!("/dev/null/none"));
    scene
}

/// Starts it with stdout in a file.
fn start_to_file(scene: &Scene) -> Supervisor {
    let mut command = scene.command();
    command.stdout(File::create(scene.path("out")).expect("a file"));
    command.stderr(Stdio::piped());
    scene.launch_as_is(command)
}

/// What a program has written, out of its lines.
fn text_of(out: &[u8], name: &str) -> Vec<u8> {
    let (first, more) = (format!("{name} | "), format!("{name} + "));
    let mut text = Vec::new();
    for line in out.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("a whole line");
        if let Some(rest) = line.strip_prefix(first.as_bytes()) {
            text.extend_from_slice(b"\n");
            text.extend_from_slice(rest);
        } else if let Some(rest) = line.strip_prefix(more.as_bytes()) {
            text.extend_from_slice(rest);
        }
    }
    text
}

#[test]
fn a_flood_of_each_kind_arrives_byte_for_byte() {
    const BYTES: usize = 3 << 20;
    let mut scene = scene();
    let kinds = [
        ("lines", Pattern::Lines),
        ("binar", Pattern::Binary),
        ("flats", Pattern::Flat),
    ];
    for (name, pattern) in kinds {
        let kind = format!("{pattern:?}").to_lowercase();
        scene.add(name, &format!("spew {BYTES} {kind} 1 ; exit 1"));
    }
    start_to_file(&scene).ends_with(1);
    let out = fs::read(scene.path("out")).expect("it");
    for (name, pattern) in kinds {
        let mut expected = b"\n".to_vec();
        expected.extend(spewed(pattern, BYTES));
        if expected.ends_with(b"\n") {
            expected.pop();
        }
        assert!(text_of(&out, name) == expected, "{name} differs");
    }
}

#[test]
fn both_streams_and_the_start_of_a_line_come_before_the_exit() {
    let mut scene = scene();
    scene.add(
        "web",
        "say out\\n 1 ; say begun 2 ; wait-file go ; say -ended\\n\\nlast 2 ; exit 3",
    );
    let supervisor = start_to_file(&scene);
    supervisor.wait_message(&["web | begun"]);
    scene.write("go", "");
    supervisor.wait_message(&["web exited", "code=3", "last=\"last\""]);
    let said = supervisor.messages();
    let lines: Vec<&String> = said
        .iter()
        .filter(|line| line.starts_with("web "))
        .collect();
    assert_eq!(
        lines,
        ["web | begun", "web + -ended", "web | ", "web | last"]
    );
    let exit = said.iter().position(|line| line.contains(" exited "));
    let last = said.iter().rposition(|line| line.starts_with("web "));
    assert!(last < exit, "{said:?}");
    supervisor.ends_with(1);
    assert_eq!(scene.read("out"), "web | out\n");
}

#[test]
fn names_have_a_column_and_lines_their_time() {
    let mut scene = scene();
    scene.add("a", "say one\\n 1 ; exit 0");
    let keys = json!({"log": {"timestamps": true}});
    scene.add_with("longer", "say two\\n 1 ; exit 0", keys);
    start_to_file(&scene).ends_with(0);
    let out = scene.read("out");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_by_key(|line| line.len());
    assert_eq!(lines[0], "a      | one");
    assert!(lines[1].ends_with("Z longer | two"), "{lines:?}");
}

#[test]
fn each_line_is_json_where_that_is_wanted() {
    let mut scene = scene();
    scene.set("output", json!("json"));
    scene.add("web", "say \\x22a\\x22\\n 1 ; say \\xff\\n 1 ; exit 0");
    let supervisor = start_to_file(&scene);
    supervisor.wait_message(&["\"event\":\"exited\""]);
    let said = supervisor.messages();
    for line in said {
        let message: Value = serde_json::from_str(&line).expect(&line);
        assert!(message["time"].is_string() && message["event"].is_string());
    }
    supervisor.ends_with(0);
    let out = scene.read("out");
    let lines = out.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.map(|line| line.expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert_eq!(lines[0]["line"], json!("\"a\""));
    assert_eq!(lines[1]["line_b64"], json!("/w=="));
    assert_eq!(
        (&lines[0]["program"], &lines[0]["stream"]),
        (&json!("web"), &json!("stdout"))
    );
}

#[test]
fn the_form_changes_with_a_reload() {
    let mut scene = scene();
    let script = "say one\\n 1 ; wait-file go ; say two\\n 1 ; hold";
    scene.add("web", script);
    let supervisor = start_to_file(&scene);
    wait_for("a line", || scene.read("out") == "web | one\n");
    scene.set("output", json!("json"));
    fs::write(scene.config_path(), scene.config()).expect("a config");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["* output", "changes in place"]);
    scene.write("go", "");
    wait_for("JSON", || scene.read("out").contains("\"line\":\"two\""));
    supervisor.end();
}

/// Starts it with stdout in a pipe that nothing reads.
fn start_to_pipe(scene: &Scene) -> (Supervisor, File) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = scene.command();
    command.stdout(OwnedFd::from(writer)).stderr(Stdio::piped());
    let supervisor = scene.launch_as_is(command);
    (supervisor, File::from(OwnedFd::from(reader)))
}

/// A reader that is slower than its writers loses nothing: they wait.
#[test]
fn a_slow_reader_gets_every_line() {
    const LINES: usize = 40_000;
    let mut scene = scene();
    let script = format!("spew {} lines 1 ; exit 1", LINES * 64);
    scene.add("web", &script);
    let (supervisor, mut reader) = start_to_pipe(&scene);
    let mut out = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match reader.read(&mut buffer).expect("a read") {
            0 => break,
            count => out.extend_from_slice(&buffer[..count]),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    supervisor.ends_with(1);
    let mut expected = b"\n".to_vec();
    expected.extend(spewed(Pattern::Lines, LINES * 64));
    expected.pop();
    assert!(text_of(&out, "web") == expected, "lines are lost or torn");
}

/// Starts it with stdout in a pipe whose reader is slow, waits until this many lines were read, and
/// returns everything.
fn read_slowly(scene: &Scene, lines: usize) -> Vec<u8> {
    let (supervisor, mut reader) = start_to_pipe(scene);
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let collector = std::thread::spawn(move || {
        let (mut out, mut buffer) = (Vec::new(), [0; 32 * 1024]);
        loop {
            let length = reader.read(&mut buffer).expect("a read");
            if length == 0 {
                return out;
            }
            let ends = buffer[..length].iter().filter(|&&byte| byte == b'\n');
            counted.fetch_add(ends.count(), Ordering::Relaxed);
            out.extend_from_slice(&buffer[..length]);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    wait_for("every line", || {
        let dropped = supervisor.messages_with(&["lines of programs"]);
        assert!(dropped.is_empty(), "{dropped:?}");
        count.load(Ordering::Relaxed) >= lines
    });
    supervisor.end();
    collector.join().expect("no panic")
}

/// 64 KiB of empty lines became 5 MB of JSON in one turn, and most of them were dropped.
#[test]
fn a_slow_reader_gets_every_empty_line_too() {
    const LINES: usize = 50_000;
    let mut scene = scene();
    scene.set("output", json!("json"));
    scene.add("web", &format!("spew {LINES} empty 1 ; hold"));
    let out = read_slowly(&scene, LINES);
    let mut lines = out.split_inclusive(|byte| *byte == b'\n');
    assert!(lines.all(|line| line.ends_with(b"\"stdout\",\"line\":\"\"}\n")));
}

/// A turn took 64 KiB of each of them, which was more than all that may be queued.
#[test]
fn a_slow_reader_gets_every_line_of_many_programs() {
    const PROGRAMS: usize = 32;
    const LINES: usize = 2048;
    let mut scene = scene();
    let names: Vec<String> = (10..10 + PROGRAMS)
        .map(|number| format!("web{number}"))
        .collect();
    for name in &names {
        let script = format!("wait-file go ; spew {} lines 1 ; hold", LINES * 64);
        scene.add(name, &script);
    }
    scene.add("zz", "touch go ; hold");
    let out = read_slowly(&scene, PROGRAMS * LINES);
    let mut expected = b"\n".to_vec();
    expected.extend(spewed(Pattern::Lines, LINES * 64));
    expected.pop();
    for name in &names {
        assert!(text_of(&out, name) == expected, "{name} differs");
    }
}

/// A slow reader of one output held the programs that write to the other, too.
#[test]
fn a_slow_reader_holds_those_alone_that_write_to_it() {
    let mut scene = scene();
    let flood = "spew 340000 lines 1 ; touch near ; spew 8000000 lines 1 ; hold";
    scene.add("flood", flood);
    let other = "wait-file near ; spew 2000000 lines 2 ; touch done ; hold";
    scene.add("other", other);
    let (supervisor, mut reader) = start_to_pipe(&scene);
    let (over, is_over) = channel::<()>();
    let collector = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // It takes something now and then, so that programs wait for it.
        while is_over.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
            reader.read_exact(&mut buffer).expect("more");
        }
        std::io::copy(&mut reader, &mut std::io::sink())
    });
    scene.wait_file("done");
    drop(over);
    supervisor.end();
    collector.join().expect("no panic").expect("a read");
}

#[test]
fn a_late_end_of_a_line_is_no_line_of_its_own() {
    let mut scene = scene();
    scene.add(
        "web",
        "say begun 1 ; wait-file go ; say \\nlast\\n 1 ; hold",
    );
    let supervisor = start_to_file(&scene);
    wait_for("a start", || scene.read("out") == "web | begun\n");
    scene.write("go", "");
    let both = "web | begun\nweb | last\n";
    wait_for("an end", || scene.read("out").contains("last\n"));
    assert_eq!(scene.read("out"), both);
    supervisor.end();
}

/// A stuck reader holds programs for a while, and nothing else at any time. What is dropped then is
/// counted, and what was queued is whole.
#[test]
fn a_stuck_reader_holds_up_no_supervision_and_what_is_dropped_is_counted() {
    const LINES: usize = 100_000;
    let mut scene = scene();
    let script = format!("spew {} lines 1 ; touch done ; hold", LINES * 64);
    scene.add("flood", &script);
    scene.add_with(
        "other",
        "append runs . ; exit 1",
        json!({"restart": "always", "backoff": {"initial": "10ms", "max": "10ms"}}),
    );
    let (supervisor, mut reader) = start_to_pipe(&scene);
    wait_for("the others to be restarted", || {
        scene.read("runs").len() > 5
    });
    // It waits no longer than some seconds.
    scene.wait_file("done");
    let runs = scene.read("runs").len();
    wait_for("the others to be restarted still", || {
        scene.read("runs").len() > runs + 2
    });
    let collector = std::thread::spawn(move || {
        let mut out = Vec::new();
        reader.read_to_end(&mut out).map(|_| out)
    });
    let dropped = supervisor.wait_message(&["lines of programs that stdout did not take"]);
    supervisor.end();
    let out = collector.join().expect("no panic").expect("a read");
    let number = dropped.split("dropped ").nth(1).unwrap_or_default();
    let number = number.split(' ').next().unwrap_or_default();
    let number: usize = number.parse().expect(&dropped);
    assert!(number > 0);
    let all = spewed(Pattern::Lines, LINES * 64);
    let lines: Vec<&[u8]> = out.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() + number, LINES, "each is there or counted");
    for (got, line) in lines.iter().zip(all.chunks(64)) {
        assert!(got.strip_prefix(b"flood | ") == Some(line), "a torn line");
    }
}

#[test]
fn a_reader_that_is_gone_is_said_once_and_the_program_goes_on() {
    let mut scene = scene();
    scene.add("web", "wait-file go ; spew 5000000 lines 1 ; exit 3");
    let (supervisor, reader) = start_to_pipe(&scene);
    supervisor.wait_started("web", 1);
    drop(reader);
    scene.write("go", "");
    supervisor.wait_message(&["web exited", "code=3"]);
    let said = supervisor.messages_with(&["stdout is switched off"]);
    assert_eq!(said.len(), 1, "{said:?}");
    supervisor.ends_with(1);
}

/// One that writes without end, and lines so short that a turn does not give all it reads, came first
/// in each turn: no other program had a line, and it stood still when its pipe was full.
#[test]
fn a_flood_of_short_lines_leaves_the_others_their_turns() {
    const LINES: usize = 5;
    const TICKS: &[u8] = br#""program":"ticks""#;
    let mut scene = scene();
    scene.set("output", json!("json"));
    scene.add("flood", "spew 1000000000000 empty 1 ; hold");
    let ticks = format!("repeat {LINES} {{ spew 64 lines 1 ; sleep 20 }} ; hold");
    scene.add("ticks", &ticks);
    let (supervisor, mut reader) = start_to_pipe(&scene);
    let (mut seen, mut rest, mut buffer) = (0, Vec::new(), [0; 64 * 1024]);
    let end = Instant::now() + PATIENCE;
    while seen < LINES {
        assert!(Instant::now() < end, "{seen} lines of the other");
        let length = reader.read(&mut buffer).expect("a read");
        assert_ne!(length, 0, "{}", supervisor.said());
        rest.extend_from_slice(&buffer[..length]);
        let ended = rest
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = rest[..ended].split(|&byte| byte == b'\n');
        let is_tick = |line: &&[u8]| line.windows(TICKS.len()).any(|part| part == TICKS);
        seen += lines.filter(is_tick).count();
        rest.drain(..ended);
    }
    let rest = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    supervisor.end();
    rest.join().expect("no panic").expect("a read");
}

/// Lines that a turn had no room for came with the long start of one behind them: twice as much in a
/// turn as the host leaves room for, and lines were dropped.
#[test]
fn a_slow_reader_gets_long_lines_behind_short_ones() {
    const SHORT: usize = 4799;
    const LONG: usize = 126_000;
    const ROUNDS: usize = 8;
    if second_run::is_pid1() || missing(&[Need::Tool("python3")]) {
        return;
    }
    let mut scene = scene();
    scene.set("output", json!("json"));
    let round = format!("os.write(1, b'\\n' * {SHORT} + b'\\1' * {LONG} + b'\\n')");
    let script = format!(
        "import os, time\nfor i in range({ROUNDS}): {round}; time.sleep(0.3)\ntime.sleep(1000)"
    );
    let name = "x".repeat(64);
    scene.add_raw(&name, json!({"command": ["python3", "-c", script]}));
    let out = read_slowly(&scene, ROUNDS * (SHORT + LONG.div_ceil(LINE_BYTES_MAX)));
    assert!(out.ends_with(b"\n"));
}
