//! stdout and stderr of the supervisor: they never hold up supervision.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Report, Scene, Supervisor, process, wait_for};

fn quick() -> Value {
    json!({"backoff": {"initial": "2ms", "max": "2ms"}})
}

/// Starts the supervisor with a stdout that the test reads itself, or does not read.
fn start_with_own_stdout(scene: &Scene) -> (Supervisor, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = scene.command();
    command.stdout(writer).stderr(Stdio::piped());
    (scene.launch_as_is(command), reader)
}

fn dropped(supervisor: &Supervisor) -> usize {
    let lines = supervisor.messages_with(&["dropped", "stdout"]);
    let number = |line: &String| {
        line.split_whitespace()
            .find_map(|word| word.parse::<usize>().ok())
    };
    lines.iter().filter_map(number).sum()
}

#[test]
fn m156_a_reader_that_does_not_read_holds_up_nobody() {
    let mut scene = Scene::new();
    scene.add_with("p", "append runs x\\n ; spew 65536 flat ; exit 1", quick());
    let (mut supervisor, reader) = start_with_own_stdout(&scene);
    // Far more than a pipe and the queue take: 64 KiB and 1 MiB, of 87 KiB each.
    supervisor.wait("100 ends", || {
        supervisor.messages_with(&["exited"]).len() >= 100
    });
    let lines = std::thread::spawn(move || {
        BufReader::new(reader)
            .split(b'\n')
            .map_while(Result::ok)
            .collect::<Vec<_>>()
    });
    supervisor.wait("it to be said", || dropped(&supervisor) > 0);
    assert_eq!(supervisor.stop(), 0);
    let lines = lines.join().expect("a reader");
    let read = lines
        .iter()
        .filter(|line| Report::parse(line).is_some())
        .count();
    assert_eq!(read, lines.len(), "only whole reports");
    let exits = supervisor.messages_with(&["exited"]).len();
    assert_eq!(
        read + dropped(&supervisor),
        exits,
        "each is there, or counted: {read} were read"
    );
    assert!(read >= 10, "what fits into the queue is kept");
}

/// What is queued for a stuck reader once was tried again every 10 ms, for as long as it was.
#[test]
fn a_reader_that_does_not_read_costs_no_wake_ups() {
    let mut scene = Scene::new();
    let script = "append runs x\\n ; unless done { spew 65536 flat ; exit 1 } ; touch up ; hold";
    scene.add_with("p", script, quick());
    let (mut supervisor, reader) = start_with_own_stdout(&scene);
    scene.wait_lines("runs", 5);
    scene.write("done", "");
    scene.wait_file("up");
    let switches =
        || process::status_number(supervisor.pid(), "voluntary_ctxt_switches").expect("it runs");
    wait_for("a tenth of a second without a wake-up", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(100));
        switches() <= before + 2
    });
    drop(reader);
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_reader_that_never_reads_delays_the_end_by_a_second_at_most() {
    let mut scene = Scene::new();
    scene.add_with("p", "append runs x\\n ; spew 65536 flat ; exit 1", quick());
    let (mut supervisor, reader) = start_with_own_stdout(&scene);
    scene.wait_lines("runs", 30);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
    drop(reader);
}

/// As PID 1 it has SIGTERM blocked by then: only SIGKILL ended it.
#[test]
fn a_reader_that_never_reads_does_not_hold_up_a_run_that_cannot_start() {
    let mut scene = Scene::new();
    scene.add_raw("p", json!({"command": []}));
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: F_GETPIPE_SZ takes nothing; the descriptor is open.
    let room = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
    let room = usize::try_from(room).expect("the size of a pipe");
    writer.write_all(&vec![b'x'; room]).expect("room in it");
    let mut command = scene.command();
    command.stdout(Stdio::null()).stderr(writer);
    let mut supervisor = scene.launch_as_is(command);
    assert_eq!(supervisor.wait_exit(), 2);
    drop(reader);
}

#[test]
fn a_closed_stdout_is_said_once_and_supervision_goes_on() {
    let mut scene = Scene::new();
    scene.add_with("p", "append runs x\\n ; exit 1", quick());
    let (mut supervisor, reader) = start_with_own_stdout(&scene);
    drop(reader);
    supervisor.wait_message(&["stdout", "Broken pipe"]);
    let runs = scene.lines("runs").len();
    scene.wait_lines("runs", runs + 20);
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(supervisor.messages_with(&["stdout"]).len(), 1, "said once");
}

#[test]
fn a_closed_stderr_is_said_once_and_reports_go_on() {
    let mut scene = Scene::new();
    scene.add_with("p", "append runs x\\n ; exit 1", quick());
    let (out, out_writer) = std::io::pipe().expect("a pipe");
    let (err, err_writer) = std::io::pipe().expect("a pipe");
    let mut command = scene.command();
    command.stdout(out_writer).stderr(err_writer);
    let mut supervisor = scene.launch_as_is(command);
    drop(err);
    scene.wait_lines("runs", 50);
    supervisor.signal(libc::SIGTERM);
    let mut text = String::new();
    BufReader::new(out).read_to_string(&mut text).expect("text");
    assert_eq!(supervisor.wait_exit(), 0);
    let all = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(text.lines().all(all), "stdout carries JSON alone");
    let (reports, others): (Vec<_>, Vec<_>) = text
        .lines()
        .partition(|line| Report::parse(line.as_bytes()).is_some());
    assert!(reports.len() >= 49, "{} reports", reports.len());
    assert_eq!(others.len(), 1, "said once: {others:?}");
    assert!(others[0].contains("stderr"), "{others:?}");
}

#[test]
fn m72_a_full_stdout_is_counted_and_supervision_goes_on() {
    let mut scene = Scene::new();
    scene.add_with("p", "append runs x\\n ; exit 1", quick());
    let mut command = scene.command();
    command.stdout(
        OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full"),
    );
    command.stderr(Stdio::piped());
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_lines("runs", 30);
    assert_eq!(supervisor.stop(), 0);
    assert!(
        !supervisor.messages_with(&["warning", "stdout"]).is_empty(),
        "{}",
        supervisor.said()
    );
}

#[test]
fn reports_can_go_into_a_file_and_are_appended_by_whoever_shares_it() {
    let mut scene = Scene::new();
    scene.add_with("p", "exit 1", json!({"restart": "never"}));
    let file = File::create(scene.path("reports")).expect("a file");
    for _ in 0..2 {
        let mut command = scene.command();
        command
            .stdout(file.try_clone().expect("a copy"))
            .stderr(Stdio::piped());
        let mut supervisor = scene.launch_as_is(command);
        assert_eq!(supervisor.wait_exit(), 1);
    }
    let lines = scene.lines("reports");
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| Report::parse(line.as_bytes()).is_some()),
        "{lines:?}"
    );
}

#[test]
fn usr1_prints_a_line_for_each_program() {
    let mut scene = Scene::new();
    scene.add("runs", "hold");
    scene.add_with(
        "waits",
        "exit 4",
        json!({"backoff": {"initial": "1h", "max": "1h"}}),
    );
    scene.add_with("ended", "sig SEGV", json!({"restart": "never"}));
    scene.add_raw(
        "missing",
        json!({"command": ["./no"], "backoff": {"initial": "1h", "max": "1h"}}),
    );
    let supervisor = scene.start();
    let pid = supervisor.wait_started("runs", 1);
    supervisor.wait_reports(3);
    let before = supervisor.messages().len();
    supervisor.signal(libc::SIGUSR1);
    wait_for("four lines", || supervisor.messages().len() >= before + 4);
    let lines = supervisor.messages().split_off(before);
    let running = format!("pid={pid}");
    let expected = [
        (
            "runs",
            vec![
                "running",
                &running,
                "restarts=0",
                "last_exit=-",
                "retry_in=-",
            ],
        ),
        (
            "waits",
            vec![
                "backoff",
                "pid=-",
                "restarts=0",
                "last_exit=4 ",
                "retry_in=59m",
            ],
        ),
        (
            "ended",
            vec!["failed", "restarts=0", "last_exit=SIGSEGV ", "retry_in=-"],
        ),
        (
            "missing",
            vec!["backoff", "restarts=0", "last_exit=127 ", "retry_in=59m"],
        ),
    ];
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, (name, words)) in lines.iter().zip(expected) {
        assert_eq!(
            line.split_whitespace().nth(1),
            Some(name),
            "in the order of the config"
        );
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line:?}");
        }
    }
    supervisor.end();
}

#[test]
fn hup_and_usr2_do_not_end_it() {
    let mut scene = Scene::new();
    scene.add("p", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    for _ in 0..3 {
        supervisor.signal(libc::SIGHUP);
        supervisor.signal(libc::SIGUSR2);
    }
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["p", "running", &format!("pid={pid}")]);
    assert_eq!(supervisor.report_count(), 0);
    supervisor.end();
}
