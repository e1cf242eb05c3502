//! `demo`: for a stranger who has nothing yet.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::second_run::binary;
use crate::common::{Scene, process};

/// Runs it to its end, and returns all that it printed.
fn run_demo(scene: &Scene) -> String {
    let mut command = scene.marked(&[binary().to_owned(), "demo".into()]);
    // Neither a file nor a PATH; its logs go where the test can remove them.
    command.env_remove("PATH").env("TMPDIR", scene.directory());
    command.stdin(std::process::Stdio::null());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let start = Instant::now();
    let (child, _namespace) = scene.spawn(command).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let took = start.elapsed();
    assert_eq!(output.status.code(), Some(0));
    assert!(took < Duration::from_secs(25), "it took {took:?}");
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    )
}

#[test]
fn the_demo_shows_everything_and_ends_by_itself() {
    let scene = Scene::new();
    let text = run_demo(&scene);
    let lines: Vec<&str> = text.lines().collect();
    let count = |words: &[&str]| {
        lines
            .iter()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    };
    assert!(
        count(&[" started", "pid="]) >= 5,
        "three programs and restarts: {text}"
    );
    assert!(count(&[" exited", "code=3", "retry_in=1s"]) >= 1, "{text}");
    assert!(
        count(&[" exited", "code=3", "retry_in=2s"]) >= 1,
        "growing delays: {text}"
    );
    assert!(
        count(&[" stopping pid=", " signal=SIGTERM timeout=10s"]) >= 1,
        "{text}"
    );
    assert!(
        count(&[" stopping pid=", " signal=SIGTERM timeout=2s"]) == 1,
        "{text}"
    );
    assert!(
        count(&[" killed  pid=", " signal=SIGKILL"]) == 1,
        "who ignores SIGTERM is killed: {text}"
    );
    // Words of a program, and not their Base64.
    assert!(text.contains("no answer, giving up"), "{text}");
    assert!(!text.contains("bm8gYW5zd2Vy"), "{text}");
    // One row a program: its name, and then signs alone.
    let row = |line: &&&str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or("");
        let signs: String = words.collect();
        ["healthy", "crashing", "stubborn"].contains(&name)
            && signs.len() > 10
            && signs.chars().all(|sign| "#.xsK".contains(sign))
    };
    assert_eq!(lines.iter().filter(row).count(), 3, "a timeline: {text}");
    let logs: Vec<PathBuf> = text
        .split_whitespace()
        .filter(|word| word.ends_with(".stderr.log"))
        .map(PathBuf::from)
        .collect();
    assert!(
        logs.len() >= 3 && logs.iter().all(|log| log.exists()),
        "where the logs are: {logs:?}"
    );
    assert_eq!(process::marked(scene.mark()), [0; 0], "nothing is left");
    assert!(
        !text.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
}
