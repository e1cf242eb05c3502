//! Completion in real shells, and the manual page by groff.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

use std::ffi::OsString;
use std::process::{Command, Output, Stdio};

use common::operator::{control, wait_state};
use common::pty::Pty;
use common::second_run::binary;
use common::{Need, Scene, missing};

/// A search path on which the binary comes first.
fn path() -> OsString {
    let mut path = binary()
        .parent()
        .expect("a directory")
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").expect("PATH is set"));
    path
}

fn shell(name: &str, scene: &Scene) -> Command {
    let mut command = Command::new(name);
    command
        .current_dir(scene.directory())
        .env("PATH", path())
        .env("HOME", scene.directory())
        .env("TERM", "dumb");
    command
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

/// What bash offers for these words.
fn of_bash(scene: &Scene, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(procsched-min completions bash)
        COMP_WORDS=(procsched-min "$@") COMP_CWORD=$#
        _procsched_min
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = shell("bash", scene);
    command.args(["-c", script, "bash"]).args(words);
    lines(&command.output().expect("bash can be run"))
}

#[test]
fn bash_completes_commands_options_states_and_programs() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    scene
        .add("web-1", "hold")
        .add("web-2", "hold")
        .add("db", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &socket, "db", "running");
    let socket = socket.to_str().expect("UTF-8");
    let table: [(&[&str], &[&str]); 7] = [
        (&["relo"], &["reload"]),
        (&["stop", "--k"], &["--kill"]),
        (&["wait", "--for", "sto"], &["stopping", "stopped"]),
        (&["wait", "--for", "=", "sto"], &["stopping", "stopped"]),
        (&["stop", "-s", socket, "w"], &["web-1", "web-2"]),
        (
            &["signal", "--socket", socket, "HUP", "db", "web-2"],
            &["web-2"],
        ),
        // A file: what bash does by itself.
        (&["check", "x"], &[""]),
    ];
    for (words, expected) in table {
        assert_eq!(of_bash(&scene, words), expected, "{words:?}");
    }
    supervisor.end();
    // No supervisor answers any more.
    assert_eq!(of_bash(&scene, &["stop", "-s", socket, "w"]), [""]);
}

#[test]
fn zsh_completes_on_a_terminal() {
    if missing(&[Need::Tool("zsh")]) {
        return;
    }
    let scene = Scene::new();
    let mut command = shell("zsh", &scene);
    command.args(["-f", "-i"]);
    let (pty, _session) = Pty::start(command);
    pty.keys("PS1=; autoload -Uz compinit; compinit -u\n");
    // What is typed is on the screen as well, but not like this.
    pty.keys("source <(procsched-min completions zsh); echo re''ady\n");
    pty.wait_screen("ready");
    pty.keys("procsched-min wait --for st\t\t");
    pty.wait_screen("stopping");
    pty.keys("\x15procsched-min resta\t");
    pty.wait_screen("restart");
    pty.keys("\x15procsched-min completions f\t");
    pty.wait_screen("fish");
}

#[test]
fn fish_completes_with_descriptions() {
    if missing(&[Need::Tool("fish")]) {
        return;
    }
    let scene = Scene::new();
    let of = |line: &str| {
        let script = format!("procsched-min completions fish | source; complete -C '{line}'");
        let mut command = shell("fish", &scene);
        lines(
            &command
                .args(["-c", &script])
                .output()
                .expect("fish can be run"),
        )
    };
    assert_eq!(
        of("procsched-min stop --k"),
        ["--kill\tsend SIGKILL at once"]
    );
    assert_eq!(of("procsched-min wait --for sto"), ["stopped", "stopping"]);
    scene.write("a-config.json", "{}");
    assert_eq!(of("procsched-min check a-c"), ["a-config.json"]);
}

#[test]
fn groff_has_nothing_to_say_of_the_manual_page() {
    if missing(&[Need::Tool("groff")]) {
        return;
    }
    let mut source = Command::new(binary());
    let source = source.arg("man").stdout(Stdio::piped()).spawn();
    let source = source
        .expect("the binary can be run")
        .stdout
        .expect("a pipe");
    let mut groff = Command::new("groff");
    groff
        .args(["-ww", "-man", "-Tutf8", "-Kutf8", "-P-cbou"])
        .stdin(source);
    let output = groff.output().expect("groff can be run");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let page = lines(&output).join("\n");
    for text in [
        "procsched-min - keep programs running",
        "EXIT STATUS",
        "stop_timeout",
        "--no-snapshot",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
}
