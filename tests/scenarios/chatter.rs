//! Programs that write many small pieces: their pipes rest between looks, and nobody notices but
//! the processor.

use std::time::Duration;

use serde_json::json;

use crate::common::{Scene, process, wait_for};

const LINES: usize = 20_000;

/// Of a program that takes its time.
const CHATTER_LINES: usize = 5_000;

/// What a shell does between two lines: long enough that each of them finds the supervisor
/// asleep, if it sleeps until there is one.
const THOUGHT: &str = "j=0; while [ $j -lt 100 ]; do j=$((j+1)); done";

/// So many numbered lines, a write each, and then what `end` says.
fn chat(lines: usize, end: &str) -> serde_json::Value {
    let script =
        format!("exec >&2; i=0; while [ $i -lt {lines} ]; do echo line$i; i=$((i+1)); done; {end}");
    json!({"command": ["sh", "-c", script], "restart": "never"})
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("line{number}\n")).collect()
}

/// How often the supervisor has slept.
fn sleeps(pid: i32) -> u64 {
    process::status_number(pid, "voluntary_ctxt_switches").expect("a count")
}

#[test]
fn all_that_a_chatty_program_wrote_is_logged_before_its_death_is_told() {
    let mut scene = Scene::new();
    scene.add_raw("p", chat(LINES, "kill -KILL $$"));
    scene.add("other", "hold");
    let supervisor = scene.start();
    let report = supervisor.wait_report("p", 1);
    let log = String::from_utf8(scene.log("p")).expect("text");
    assert_eq!(report.code(), -i64::from(libc::SIGKILL));
    assert!(log == lines(LINES), "the log is not what was written");
    assert!(log.as_bytes().ends_with(&report.data()));
    supervisor.end();
}

/// Beside other work the program is slow itself, and what is slow costs a wake-up a line: one time
/// of a few it is not.
#[test]
fn a_chatty_program_does_not_cost_a_wake_up_a_line_and_its_silence_none() {
    const TRIES_MAX: usize = 8;
    let is_low = |_| cost_of_chatter() < CHATTER_LINES as u64 / 2;
    assert!((0..TRIES_MAX).any(is_low), "a sleep a line or two");
}

/// Returns how often the supervisor sleeps while a program writes a line after another; it sleeps on when
/// there are no more.
fn cost_of_chatter() -> u64 {
    let mut scene = Scene::new();
    let script = format!(
        "exec >&2; i=0; while [ $i -lt {CHATTER_LINES} ]; do echo line$i; i=$((i+1)); {THOUGHT}; \
         done; exec sleep 1000"
    );
    scene.add_raw("p", json!({"command": ["sh", "-c", script]}));
    let supervisor = scene.start();
    let expected = lines(CHATTER_LINES);
    wait_for("all of it", || scene.log("p").len() == expected.len());
    let during = sleeps(supervisor.pid());
    // The look that finds nothing ends the rest.
    let is_quiet = || {
        let before = sleeps(supervisor.pid());
        std::thread::sleep(Duration::from_millis(100));
        sleeps(supervisor.pid()) == before
    };
    wait_for("silence to cost nothing", is_quiet);
    assert_eq!(String::from_utf8(scene.log("p")).expect("text"), expected);
    supervisor.end();
    during
}

#[test]
fn a_chatty_program_is_stopped_in_the_middle_and_loses_nothing() {
    let mut scene = Scene::new();
    let script = "trap 'echo LAST; exit 7' TERM; exec >&2; i=0; \
                  while :; do echo line$i; i=$((i+1)); done";
    scene.add_raw("p", json!({"command": ["sh", "-c", script]}));
    let mut supervisor = scene.start();
    wait_for("it to talk", || scene.log("p").len() > 100_000);
    assert_eq!(supervisor.stop(), 0);
    let log = String::from_utf8(scene.log("p")).expect("text");
    let said = log.strip_suffix("LAST\n").expect("its last word");
    assert!(said == lines(said.lines().count()), "lines are missing");
    let reports = supervisor.reports_of("p");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].code(), 7);
    assert!(log.as_bytes().ends_with(&reports[0].data()));
}

#[test]
fn a_slow_talker_costs_a_wake_up_a_line_and_no_more() {
    const SLOW_LINES: u64 = 100;
    let mut scene = Scene::new();
    let script = "touch up ; wait-file go ; repeat 100 { say x\\n ; sleep 5 } ; touch done ; hold";
    scene.add("p", script);
    let supervisor = scene.start();
    scene.wait_file("up");
    let before = sleeps(supervisor.pid());
    scene.write("go", "");
    scene.wait_file("done");
    wait_for("all lines", || {
        scene.log("p").len() as u64 == 2 * SLOW_LINES
    });
    let slept = sleeps(supervisor.pid()) - before;
    assert!(slept <= SLOW_LINES + 5, "{slept} sleeps");
    supervisor.end();
}
