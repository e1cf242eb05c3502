//! The log files: what is in them, byte for byte, and what becomes of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use serde_json::json;

use crate::common::levers::{Gate, Tracer};
use crate::common::{Need, Pattern, Scene, missing, wait_for};
use crate::stderr_pipe::spewed;

#[test]
fn m81_every_byte_goes_into_the_log_and_the_tail_into_the_report() {
    const BYTES: usize = 10 << 20;
    let mut scene = Scene::new();
    let script = format!("urandom {BYTES} copy ; exit 1");
    scene.add_with("p", &script, json!({"restart": "never"}));
    let reports = scene.start().ends_with(1);
    let copy = std::fs::read(scene.path("copy")).expect("the probe wrote it");
    assert_eq!(copy.len(), BYTES);
    assert!(scene.log("p") == copy, "the log differs");
    assert!(
        reports[0].data() == copy[BYTES - 65_536..],
        "the tail differs"
    );
    assert_eq!(reports[0].count("data_omitted"), (BYTES - 65_536) as u64);
}

#[test]
fn m77_a_truncated_log_goes_on_at_its_new_end() {
    let mut scene = Scene::new();
    scene.add(
        "p",
        "spew 1000000 lines ; touch said ; wait-file go ; say 0123456789 ; hold",
    );
    let supervisor = scene.start();
    wait_for("the first megabyte", || scene.log("p").len() == 1_000_000);
    let log = std::fs::OpenOptions::new()
        .write(true)
        .open(scene.log_path("p"));
    log.and_then(|log| log.set_len(0))
        .expect("it can be truncated");
    scene.write("go", "");
    wait_for("the rest", || scene.log("p") == b"0123456789");
    supervisor.end();
}

#[test]
fn m78_a_removed_or_renamed_log_is_made_anew_at_the_next_start() {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let quick = json!({"backoff": {"initial": "1ms", "max": "1ms"}});
    for name in ["removed", "renamed"] {
        let script = format!(
            "once {name}.1 {{ say old\\n ; gate gate ; say more\\n ; exit 1 }} ; say new\\n ; hold"
        );
        scene.add_with(name, &script, quick.clone());
    }
    let supervisor = scene.start();
    for name in ["removed", "renamed"] {
        wait_for("the old words", || scene.log(name) == b"old\n");
    }
    std::fs::remove_file(scene.log_path("removed")).expect("rm");
    std::fs::rename(scene.log_path("renamed"), scene.path("logs/rotated")).expect("mv");
    gate.open();
    for name in ["removed", "renamed"] {
        supervisor.wait_started(name, 2);
        wait_for("the new words", || scene.log(name) == b"new\n");
        let report = supervisor.wait_report(name, 1);
        assert_eq!(report.data(), b"old\nmore\n", "{report:?}");
    }
    assert_eq!(scene.read("logs/rotated"), "old\nmore\n");
    supervisor.end();
}

#[test]
fn m79_an_interrupted_write_is_continued() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = "gate gate ; repeat 200 { spew 10007 lines } ; exit 1";
    scene.add_with("p", script, json!({"restart": "never"}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let log = scene.log_path("p").to_string_lossy().into_owned();
    let inject = "inject=write,writev:error=EINTR:when=1+3";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-P", &log, "-e", inject]);
    gate.open();
    assert_eq!(supervisor.wait_exit(), 1);
    assert!(tracer.injected() > 10);
    let expected = spewed(Pattern::Lines, 10_007);
    assert!(scene.log("p") == expected.repeat(200), "the log differs");
    assert_eq!(supervisor.messages_with(&["dropped"]), [""; 0]);
}

/// What is not written is counted: each byte is in the log, or in the sum of those that are
/// missing. A file has no reason to say "again", and whoever waits for that waits for ever.
#[test]
fn m79_what_is_refused_is_counted_to_the_byte() {
    if missing(&[Need::Strace]) {
        return;
    }
    const BYTES: usize = 1_000_000;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = format!("gate gate ; spew {BYTES} flat ; exit 1");
    scene.add_with("p", &script, json!({"restart": "never"}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let log = scene.log_path("p").to_string_lossy().into_owned();
    let inject = "inject=write,writev:error=EAGAIN:when=2+3";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-P", &log, "-e", inject]);
    gate.open();
    assert_eq!(supervisor.wait_exit(), 1);
    assert!(tracer.injected() > 3);
    let text = String::from_utf8(scene.log("p")).expect("the pattern is text");
    // Between two notes are whole pieces of the pattern, which has no line feed.
    let whole = spewed(Pattern::Flat, BYTES);
    let whole = String::from_utf8(whole).expect("text");
    let (mut at, mut lost) = (0, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("procsched: ") {
            Some(note) => {
                let count = note
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<usize>().ok());
                let count = count.unwrap_or_else(|| panic!("no count in {note:?}"));
                (at, lost) = (at + count, lost + count);
            }
            None => {
                assert!(whole[at..].starts_with(line), "{at} bytes on it is another");
                at += line.len();
            }
        }
    }
    assert!(lost > 0, "no point");
    let told = supervisor.messages_with(&["p", "dropped"]);
    let told = told.iter().flat_map(|line| line.split([' ', '=']));
    let told: usize = told.filter_map(|word| word.parse::<usize>().ok()).sum();
    // What was lost last of all has no later words to be noted before.
    let kept = at - lost;
    assert_eq!(kept + told, BYTES, "{}", supervisor.said());
    assert!(lost <= told, "{lost} noted, {told} told");
}

/// The injected call says that it wrote one byte, and has written none: so exactly these bytes
/// are missing, and all others are there in their order.
#[test]
fn m79_a_short_write_is_continued_where_it_ended() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add_with(
        "p",
        "gate gate ; spew 1000000 binary",
        json!({"restart": "never"}),
    );
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let log = scene.log_path("p").to_string_lossy().into_owned();
    let inject = "inject=write:retval=1:when=2+3";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-P", &log, "-e", inject]);
    gate.open();
    assert_eq!(supervisor.wait_exit(), 0);
    let injected = tracer.injected();
    assert!(injected > 3);
    let expected = spewed(Pattern::Binary, 1_000_000);
    let written = scene.log("p");
    assert_eq!(written.len(), expected.len() - injected);
    let mut rest = expected.iter();
    let in_order = written.iter().all(|byte| rest.any(|wanted| wanted == byte));
    assert!(in_order, "something was moved or doubled");
}

#[test]
fn m73_a_slow_disk_is_caught_up_with() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add_with("noisy", "gate gate ; say words\\n ; hold", json!({}));
    let quick = json!({"backoff": {"initial": "100ms", "max": "100ms"}});
    scene.add_with("other", "wait-file go ; append runs x\\n ; exit 1", quick);
    let supervisor = scene.start();
    supervisor.wait_started("noisy", 1);
    let log = scene.log_path("noisy").to_string_lossy().into_owned();
    let inject = "inject=write,writev:delay_enter=1500000:when=1";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-P", &log, "-e", inject]);
    gate.open();
    wait_for("the write to hang", || !tracer.lines().is_empty());
    scene.write("go", "");
    scene.wait_lines("runs", 1);
    // Overdue by many delays, and yet started once for each death.
    supervisor.wait_reports_of("other", 4);
    wait_for("the words", || scene.log("noisy") == b"words\n");
    drop(tracer);
    let reports = supervisor.end();
    let others: Vec<u64> = reports
        .iter()
        .filter(|report| report.name() == "other")
        .map(|report| report.count("restarts"))
        .collect();
    assert!(
        others.iter().copied().eq(0..others.len() as u64),
        "{others:?}"
    );
    let runs = scene.lines("runs").len();
    assert!(
        runs == others.len() || runs + 1 == others.len(),
        "{runs} runs, {others:?}"
    );
}

#[test]
fn m82_a_log_directory_that_vanishes_costs_the_log_alone() {
    let mut scene = Scene::new();
    let quick = json!({"backoff": {"initial": "50ms", "max": "50ms"}});
    scene.add_with(
        "p",
        "count runs ; say run%n\\n ; spew 200000 lines ; exit 1",
        quick,
    );
    let supervisor = scene.start();
    supervisor.wait_reports(1);
    // A file where the directory was, so that nobody can make it again.
    std::fs::rename(scene.path("logs"), scene.path("away")).expect("mv");
    scene.write("logs", "");
    let before = supervisor.report_count();
    supervisor.wait_reports(before + 5);
    let without = supervisor.reports().pop().expect("a report");
    assert_eq!(without.text("log"), None, "{without:?}");
    assert_eq!((without.code(), without.count("log_offset")), (1, 0));
    assert_eq!(
        without.data().len(),
        65_536,
        "its words are in the report all the same"
    );
    assert_eq!(
        supervisor
            .messages_with(&["p", "warning", "p.stderr.log"])
            .len(),
        1,
        "said once"
    );
    std::fs::remove_file(scene.path("logs")).expect("rm");
    scene.mkdir("logs");
    scene.wait_file("logs/p.stderr.log");
    let before = supervisor.report_count();
    let with = supervisor.wait_reports(before + 2).pop().expect("a report");
    assert_eq!(
        with.text("log"),
        Some(&*scene.log_path("p").to_string_lossy())
    );
    supervisor.end();
}

#[test]
fn m85_a_new_log_has_mode_0640_whatever_the_umask() {
    for umask in [0o000, 0o077, 0o777] {
        let mut scene = Scene::new();
        scene.add_with("p", "say words\\n", json!({"restart": "never"}));
        let mut command = scene.command();
        // SAFETY: `umask` takes any number and cannot fail.
        unsafe {
            command.pre_exec(move || {
                libc::umask(umask);
                Ok(())
            });
        }
        scene.mkdir("logs");
        scene.launch(command).ends_with(0);
        let mode = scene
            .log_path("p")
            .metadata()
            .expect("a log")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o640, "with umask {umask:o}");
    }
}

#[test]
fn the_log_directory_is_made_if_it_is_missing() {
    let mut scene = Scene::new();
    scene.set("err_dir", json!("var/log/deep"));
    scene.add_with("p", "say words\\n", json!({"restart": "never"}));
    scene.start().ends_with(0);
    assert_eq!(scene.read("var/log/deep/p.stderr.log"), "words\n");
    let mode = scene
        .path("var/log/deep")
        .metadata()
        .expect("a directory")
        .mode();
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"));
    let umask = u32::from_str_radix(umask.expect("a umask"), 8).expect("octal");
    assert_eq!(
        mode & 0o7777,
        0o755 & !umask,
        "0755, less the umask {umask:o}"
    );
}

#[test]
fn an_old_log_is_appended_to_and_keeps_its_mode() {
    let mut scene = Scene::new();
    scene.mkdir("logs");
    scene.write("logs/p.stderr.log", "old\n");
    scene.chmod("logs/p.stderr.log", 0o600);
    scene.add_with("p", "say new\\n", json!({"restart": "never"}));
    let reports = scene.start().ends_with(0);
    assert_eq!(scene.read("logs/p.stderr.log"), "old\nnew\n");
    assert_eq!(reports[0].count("log_offset"), 4);
    let mode = scene.log_path("p").metadata().expect("a log").mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn m154_a_second_supervisor_on_the_same_logs_is_told_so_and_starts_nothing() {
    let mut scene = Scene::new();
    scene.add("p", "say first\\n ; hold");
    let first = scene.start();
    wait_for("the first one's log", || scene.log("p") == b"first\n");
    let mut other = Scene::new();
    other.set("err_dir", json!(scene.path("logs")));
    other.show(&scene);
    other
        .add("a", "touch started ; hold")
        .add("p", "touch started ; hold");
    let second = other.start();
    let said = second.wait_message(&["p.stderr.log", "another supervisor"]);
    assert!(
        said.contains(&*scene.log_path("p").to_string_lossy()),
        "{said}"
    );
    let reports = second.ends_with(1);
    assert!(reports.is_empty(), "{reports:?}");
    assert!(
        !other.path("started").exists(),
        "nothing is started, the other one neither"
    );
    assert_eq!(scene.log("p"), b"first\n");
    first.end();
    // The lock goes with its owner.
    let third = scene.start();
    third.wait_started("p", 1);
    third.end();
}
