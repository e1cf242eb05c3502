//! What a page shows of a terminal: each command is run, and prints what is shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::blocks::{Block, blocks_in, file, page};
use super::recipes::{block_with, desk, path};
use super::room;
use crate::common::{Scene, Supervisor, second_run, wait_for};
use serde_json::Value;

/// A command in the directory of the scene, with a control socket there.
fn prepared(scene: &Scene, words: &[&str]) -> Command {
    let words: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
    let mut command = scene.marked(&words);
    command
        .env("PATH", path(scene))
        .env("HOME", scene.directory())
        .env("PROCSCHED_SOCKET", scene.path("control.sock"))
        .current_dir(scene.directory());
    command
}

/// Starts the config in the directory of the scene.
fn run(scene: &Scene) -> Supervisor {
    let binary = second_run::binary().to_str().expect("a plain path");
    scene.launch(prepared(scene, &[binary, "run"]))
}

/// Runs a line of shell.
fn typed(scene: &Scene, line: &str) -> Output {
    let output = prepared(scene, &["sh", "-c", line]).output();
    output.expect("a shell")
}

/// The text without what differs from run to run: numbers with their units, and widths of columns.
fn settled(text: &str) -> String {
    let settled_word = |word: &str| {
        let mut settled = String::new();
        let mut letters = word.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter.is_ascii_digit() {
                settled.push('#');
                while letters
                    .next_if(|next| next.is_ascii_alphanumeric() || *next == '.')
                    .is_some()
                {}
            } else {
                settled.push(letter);
            }
        }
        settled
    };
    let settled_line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(settled_word).collect();
        words.join(" ") + "\n"
    };
    text.lines().map(settled_line).collect()
}

/// The commands of a session, each with what it prints.
fn commands_of(session: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in session.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => printed.extend([line, "\n"]),
            (None, None) => panic!("a session begins with a command: {session}"),
        }
    }
    commands
}

/// The text is what a page shows of a text that is settled.
#[test]
fn numbers_and_widths_are_settled() {
    let text = "web   running  28906  3.5s  0  -\ndb: 3, 554ms ago, m12\n";
    let expected = "web running # # # -\ndb: #, # ago, m#\n";
    assert_eq!(settled(text), expected);
}

/// A session is of the config that the page shows before it. A command that gives an order is run
/// once; `status` until it shows the same.
#[test]
fn every_session_prints_what_it_shows() {
    for Block { page, text, .. } in blocks_in("console") {
        let name = Path::new(page).file_stem().expect("a name");
        let config = format!("{}/procsched.json", name.display());
        let scene = desk();
        scene.write("procsched.json", file(&config));
        let supervisor = run(&scene);
        for (command, printed) in commands_of(&text) {
            let expected = settled(&printed);
            let now = || {
                let output = typed(&scene, &command);
                settled(&String::from_utf8_lossy(&output.stdout))
            };
            if command.contains(" status") {
                wait_for(&format!("{command} to print {expected}"), || {
                    now() == expected
                });
            } else {
                assert_eq!(now(), expected, "{page}: {command}");
            }
        }
        supervisor.end();
    }
}

#[test]
fn the_config_with_comments_is_checked_and_runs() {
    let scene = desk();
    scene.write("procsched.jsonc", file("config/procsched.jsonc"));
    let check = typed(&scene, "procsched-min check");
    assert_eq!(
        check.stdout, b"procsched.jsonc: ok, 2 programs\n",
        "{check:?}"
    );
    let supervisor = run(&scene);
    for (log, text) in [("cache", "cache\n"), ("web", "web for prod\n")] {
        let log = format!("logs/{log}.stderr.log");
        wait_for(&log, || {
            scene.path(&log).exists() && scene.read(&log) == text
        });
    }
    supervisor.end();
}

#[test]
fn the_config_of_supervisord_becomes_what_is_shown() {
    let scene = desk();
    scene.write("supervisord.conf", file("migrating/supervisord.conf"));
    let output = typed(&scene, &block_with("import supervisord.conf"));
    assert_eq!(
        output.status.code(),
        Some(1),
        "it has a comment: {output:?}"
    );
    assert_eq!(
        scene.read("procsched.jsonc"),
        file("migrating/procsched.jsonc")
    );
}

#[test]
fn the_procfile_becomes_a_config() {
    let scene = desk();
    scene.write("Procfile", file("migrating/Procfile"));
    let output = typed(&scene, &block_with("import Procfile"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let config = scene.read("procsched.jsonc");
    for port in ["5000", "5100"] {
        assert!(config.contains(port), "{config}");
    }
}

#[test]
fn completions_and_the_manual_page_are_written() {
    let scene = desk();
    let script = block_with("procsched-min completions bash");
    room::run(&mut prepared(&scene, &["sh", "-euc", &script]));
    for (file, begin) in [
        (
            ".local/share/bash-completion/completions/procsched-min",
            "# bash completion of procsched-min",
        ),
        (
            ".config/fish/completions/procsched-min.fish",
            "# fish completion of procsched-min",
        ),
        ("procsched-min.8", ".TH PROCSCHED"),
    ] {
        let text = scene.read(file);
        assert!(text.starts_with(begin), "{file}: {text}");
    }
}

/// The words in the first column of the tables of a section.
fn listed(path: &str, section: &str) -> BTreeSet<String> {
    let (_, behind) = page(path)
        .text()
        .split_once(&format!("\n## {section}\n"))
        .expect("a section");
    let section = behind.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').step_by(2));
    let names = words.map(|word| word.split('{').next().unwrap_or_default());
    let is_word = |name: &&str| !name.is_empty() && *name != ", ";
    names.filter(is_word).map(str::to_owned).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    let object = object.as_object().expect("an object");
    object.keys().cloned().collect()
}

/// Fields that are there and in no table are found by no reader; those of a table that are not there
/// are worse.
#[test]
fn the_guide_lists_what_other_programs_read() {
    const PAGE: &str = "src/guide/reports.md";
    let scene = desk();
    scene.write("procsched.json", file("commands/procsched.json"));
    let mut supervisor = run(&scene);
    let report = supervisor.wait_report("db", 1);
    let fields: BTreeSet<String> = report.keys_in_order().into_iter().collect();
    let listed_there = listed(PAGE, "Reports");
    let causes: BTreeSet<&String> = listed_there.difference(&fields).collect();
    assert!(listed_there.is_superset(&fields), "{listed_there:?}");
    let cause = report.text("cause").expect("a cause").to_owned();
    assert!(causes.len() == 9 && causes.contains(&cause), "{causes:?}");
    let json = typed(&scene, "procsched-min status --json").stdout;
    let status: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(listed(PAGE, "Status"), keys(&status["programs"][0]));
    let script = block_with("status --prometheus");
    let printed = typed(&scene, &script);
    assert_eq!(printed.stderr, b"", "{printed:?}");
    let metrics = scene.read("procsched.prom");
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let names = samples.clone().map(|line| line.split(['{', ' ']).next());
    let names: BTreeSet<String> = names.flatten().map(str::to_owned).collect();
    assert_eq!(listed(PAGE, "Metrics"), names);
    let states = samples.filter_map(|line| line.split_once("state=\"")?.1.split('"').next());
    let states: BTreeSet<String> = states.map(str::to_owned).collect();
    assert_eq!(listed("src/guide/commands.md", "States"), states);
    assert_eq!(supervisor.stop(), 0);
}
