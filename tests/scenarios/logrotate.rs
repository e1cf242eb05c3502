//! logrotate(8) in each of its ways, again and again, while programs write numbered lines at the rate
//! of an hour in a minute: no line is lost, torn or moved, but for those that copytruncate loses
//! itself. Those are counted.
//!
//! `PROCSCHED_LOGROTATE_SECONDS=600 cargo test --test scenarios logrotate` goes on for ten minutes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::pattern::numbered;
use crate::common::{Need, Scene, missing, scene, second_run, wait_for};

/// How long each stream is written, unless the environment says something else.
const SECONDS: u64 = 20;

/// Of each stream: 120,000 in a minute, as of a program that writes 33 a second for an hour.
const LINES_PER_SECOND: u64 = 2_000;

/// The number of files that logrotate keeps: a few more than there are rotations.
const KEPT: u32 = 200;

/// The shortest time between two rotations.
const PAUSE: Duration = Duration::from_millis(300);

/// What comes after the last rotation, so that no copytruncate can lose it.
const LAST: &str = "last\n";

/// How logs are rotated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Renamed, and SIGUSR2.
    Reopen,
    /// Renamed, and no word.
    Create,
    /// Copied and emptied.
    CopyTruncate,
}

/// What is in the files of one stream.
#[derive(Default)]
struct Found {
    lines: u64,
    /// Lines of which a part is there.
    torn: u64,
    /// Places where lines are missing.
    gaps: usize,
    /// The number of the next line.
    next: u64,
}

fn seconds() -> u64 {
    let given = std::env::var("PROCSCHED_LOGROTATE_SECONDS").ok();
    given.map_or(SECONDS, |given| given.parse().expect("seconds"))
}

/// The log at this path and those that were rotated, the oldest first.
fn files(path: &Path) -> Vec<Vec<u8>> {
    let rotated = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let files = (1..).map(|number| fs::read(rotated(number)).ok());
    let mut files: Vec<Vec<u8>> = files.take_while(Option::is_some).flatten().collect();
    files.reverse();
    files.push(fs::read(path).unwrap_or_default());
    files
}

/// The number of a line that is whole.
fn number_of(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let number = text.strip_prefix("line ")?.get(..8)?.parse().ok()?;
    (text == numbered(number)).then_some(number)
}

impl Found {
    fn take(&mut self, number: u64, is_first_of_file: bool) {
        assert!(number >= self.next, "line {number} is there twice, or late");
        let is_gap = number > self.next;
        assert!(
            !is_gap || is_first_of_file,
            "lines {} to {number} are missing in the midst of a file",
            self.next
        );
        self.gaps += usize::from(is_gap);
        self.lines += 1;
        self.next = number + 1;
    }

    /// Reads the files of a stream, the oldest first. The start of a line may be in one of them, and
    /// its end in the next.
    fn of(files: &[Vec<u8>]) -> Self {
        let (mut found, mut begun) = (Self::default(), Vec::new());
        for file in files {
            let mut is_first = true;
            for (index, piece) in file.split_inclusive(|&byte| byte == b'\n').enumerate() {
                let line = [&begun[..], piece].concat();
                if !piece.ends_with(b"\n") {
                    begun = line;
                    continue;
                }
                let alone = number_of(piece).filter(|_| index == 0);
                match number_of(&line).or(alone) {
                    Some(number) => {
                        let is_joined = line != piece && alone != Some(number);
                        found.torn += u64::from(!begun.is_empty() && !is_joined);
                        found.take(number, is_first);
                        is_first = false;
                    }
                    None if line == LAST.as_bytes() => {}
                    None => {
                        let text = String::from_utf8_lossy(&line);
                        assert!(index == 0, "torn in the midst of a file: {text:?}");
                        found.torn += 1 + u64::from(!begun.is_empty());
                    }
                }
                begun.clear();
            }
        }
        assert!(begun.is_empty(), "the end of a line is missing");
        found
    }
}

/// Three programs: one with each stream, and one with both.
fn stage(lines: u64) -> (Scene, [&'static str; 4]) {
    let mut scene = Scene::new();
    let write = |name: &str, fd: u32| {
        format!(
            "numbers {lines} {LINES_PER_SECOND} {fd} ; touch {name}.done ; wait-file quiet ; \
             say last\\n {fd}"
        )
    };
    let (one, two) = (write("one", 2), write("two", 1));
    scene.add("one", &format!("wait-file go ; {one} ; hold"));
    scene.add_with(
        "two",
        &format!("wait-file go ; {two} ; hold"),
        json!({"stdout": "log", "stderr": "null"}),
    );
    let (out, err) = (write("out", 1), write("err", 2));
    scene.add_with(
        "both",
        &format!("wait-file go ; fork {{ {out} ; hold }} ; {err} ; hold"),
        json!({"stdout": "log"}),
    );
    let logs = [
        "logs/one.stderr.log",
        "logs/two.stdout.log",
        "logs/both.stdout.log",
        "logs/both.stderr.log",
    ];
    (scene, logs)
}

/// Rotates all logs of the scene.
fn rotate(scene: &Scene, rules: &Path) {
    let mut command = Command::new("logrotate");
    command.args(["--force", "--state"]);
    command.arg(scene.path("state")).arg(rules);
    let mut child = scene::spawn(&mut command).expect("it starts");
    assert!(child.wait().expect("it ends").success());
}

/// Writes down how logrotate is to rotate the logs of the scene.
fn rules(scene: &Scene, pid: i32, way: Way) -> PathBuf {
    let how = match way {
        Way::Reopen => {
            format!("sharedscripts\ncreate 0640\npostrotate\nkill -USR2 {pid}\nendscript")
        }
        Way::Create => "create 0640".to_owned(),
        Way::CopyTruncate => "copytruncate".to_owned(),
    };
    let paths = format!("{}/*.log", scene.path("logs").display());
    let text = format!("{paths} {{\nrotate {KEPT}\nmissingok\n{how}\n}}\n");
    let rules = scene.write("logrotate.conf", text);
    scene.chmod("logrotate.conf", 0o644);
    rules
}

/// Counts the lines that are lost, and those of which a part is.
fn count(scene: &Scene, logs: [&str; 4], lines: u64, rotations: u32, way: Way) -> (u64, u64) {
    let (mut lost, mut torn) = (0, 0);
    for log in logs {
        let path = scene.path(log);
        wait_for("the last line", || {
            files(&path).concat().ends_with(LAST.as_bytes())
        });
        let files = files(&path);
        let found = Found::of(&files);
        if way != Way::CopyTruncate {
            assert_eq!(
                (found.lines, found.torn, found.gaps),
                (lines, 0, 0),
                "{log}"
            );
        }
        assert!(found.gaps <= rotations as usize, "{log}");
        assert!(found.torn <= 2 * u64::from(rotations), "{log}");
        assert!(!files.concat().contains(&0), "{log}: a hole");
        (lost, torn) = (lost + lines - found.lines, torn + found.torn);
    }
    (lost, torn)
}

fn play(way: Way) {
    if second_run::is_pid1() || missing(&[Need::Tool("logrotate")]) {
        return;
    }
    let seconds = seconds();
    let lines = seconds * LINES_PER_SECOND;
    let (scene, logs) = stage(lines);
    let supervisor = scene.start();
    for name in ["one", "two", "both"] {
        supervisor.wait_started(name, 1);
    }
    let rules = rules(&scene, supervisor.pid(), way);
    scene.write("go", "");
    let pause = PAUSE.max(Duration::from_secs(seconds) / (KEPT / 2));
    let done = ["one", "two", "out", "err"].map(|name| scene.path(format!("{name}.done")));
    let is_done = || done.iter().all(|done| done.exists());
    let mut rotations = 0;
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    while !is_done() {
        assert!(rotations + 2 < KEPT, "writing takes too long");
        rotate(&scene, &rules);
        rotations += 1;
        std::thread::sleep(pause);
        if way == Way::Create {
            // Once more before it was noticed; then nothing says so, and it is.
            rotate(&scene, &rules);
            rotations += 1;
            let rotated = Instant::now();
            wait_for("new logs", || {
                let is_written = |log| fs::metadata(scene.path(log)).is_ok_and(|it| it.len() > 0);
                is_done() || logs.into_iter().all(is_written)
            });
            longest = longest.max(rotated.elapsed());
        }
    }
    let took = begin.elapsed();
    assert!(rotations > 1);
    scene.write("quiet", "");
    let mut words = format!("{rotations} rotations in {took:.1?} of 4 streams of {lines} lines");
    if way == Way::Create {
        words.push_str(&format!(", noticed after {longest:.1?} at most"));
    }
    let (lost, torn) = count(&scene, logs, lines, rotations, way);
    assert_eq!(supervisor.messages_with(&["warning"]), [""; 0]);
    supervisor.end();
    if way == Way::CopyTruncate {
        words.push_str(&format!(
            ", which lost {lost} lines, {torn} of them in part"
        ));
    }
    let _ = writeln!(std::io::stderr(), "logrotate: {words}");
}

#[test]
fn logrotate_that_has_its_logs_opened_anew_loses_nothing() {
    play(Way::Reopen);
}

#[test]
fn logrotate_that_says_nothing_is_noticed_and_loses_nothing() {
    play(Way::Create);
}

/// What is written between the copy and the truncation is lost. What comes after it is not written
/// behind a hole.
#[test]
fn logrotate_that_copies_and_empties_loses_no_more_than_that() {
    play(Way::CopyTruncate);
}
