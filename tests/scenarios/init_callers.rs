//! `init` between a terminal and its callers: a script that waits for it or goes on beside it,
//! the other members of a pipeline. They are to get what they would get without it.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use crate::common::init::{AS_PID_1, binary_text, init, init_of, probe_text};
use crate::common::pty::{Pty, Session};
use crate::common::{Need, Scene, alive, missing, process, wait_for, wait_until};
use crate::init_terminal::{Shell, init_above, wait_state};

/// Starts a script on a terminal, by a shell without job control.
fn start_script(scene: &Scene, shell: &str, script: &str) -> (Pty, Session) {
    let words = [shell, "-c", script].map(PathBuf::from);
    let mut command = scene.marked(&words);
    command
        .current_dir(scene.directory())
        .env("INIT", format!("{} init -v", binary_text()))
        .env("PROBE", probe_text());
    Pty::start(command)
}

/// The signal that has ended the session.
#[track_caller]
fn wait_signal(session: &mut Session) -> Option<i32> {
    let status = wait_until("the end of the script", || {
        session.0.try_wait().expect("it can be waited for")
    });
    status.signal()
}

/// A script's `&` does not make a job: both are in the group that has the terminal.
#[test]
fn what_a_script_starts_by_an_ampersand_leaves_the_terminal_alone() {
    for shell in ["sh", "bash"] {
        if shell == "bash" && missing(&[Need::Tool("bash")]) {
            continue;
        }
        let scene = Scene::new();
        let script = "$INIT $PROBE 'pid pid ; record signals CONT TERM' </dev/null >/dev/null 2>&1 & \
            read word; echo got=$word; kill $!; wait";
        let (pty, mut session) = start_script(&scene, shell, script);
        let pid = scene.wait_pid("pid");
        assert_eq!(pty.foreground(), session.pid(), "{shell}");
        // Nor is it asked for when init is continued.
        scene.wait_lines("signals", 1);
        process::signal(init_above(pid), libc::SIGCONT);
        scene.wait_lines("signals", 2);
        assert_eq!(pty.foreground(), session.pid(), "{shell}");
        pty.keys("hello\n");
        pty.wait_screen("got=hello");
        scene.wait_lines("signals", 3);
        process::signal(pid, libc::SIGKILL);
        session.wait_exit();
    }
}

/// An entry point may start its server by `&` with its own stdin, and then wait for it.
#[test]
fn what_is_given_the_terminal_as_its_stdin_may_read_from_it() {
    let scene = Scene::new();
    let script = "$INIT sh -c 'read word; echo got=$word' </dev/tty & wait; \
        read word; echo then=$word";
    let (pty, mut session) = start_script(&scene, "sh", script);
    pty.wait_screen("stopped signal=SIGTTIN");
    pty.keys("hello\n");
    pty.wait_screen("got=hello");
    wait_for("the terminal to come back", || {
        pty.foreground() == session.pid()
    });
    pty.keys("again\n");
    pty.wait_screen("then=again");
    assert_eq!(session.wait_exit(), 0);
}

/// The command reads a pipe, and whoever writes into that reads the terminal.
#[test]
fn a_pipeline_s_other_member_reads_the_terminal() {
    let scene = Scene::new();
    let script = "head -n 2 | $INIT sh -c 'echo $$ >pid; read one; read two; echo got=$one,$two'";
    let (pty, mut session) = start_script(&scene, "sh", script);
    scene.wait_pid("pid");
    pty.keys("first\n");
    pty.keys("second\n");
    pty.wait_screen("got=first,second");
    assert_eq!(session.wait_exit(), 0);
}

/// As a pager does, which has a file or a pipe as its stdin.
#[test]
fn a_command_that_asks_for_the_terminal_gets_it() {
    let scene = Scene::new();
    let ask = "'read line; read word </dev/tty; echo got=$line,$word'";
    let script = format!("echo line | $INIT sh -c {ask}; read word; echo then=$word");
    let (pty, mut session) = start_script(&scene, "sh", &script);
    pty.wait_screen("stopped signal=SIGTTIN");
    pty.keys("hello\n");
    pty.wait_screen("got=line,hello");
    pty.keys("again\n");
    pty.wait_screen("then=again");
    assert_eq!(session.wait_exit(), 0);
}

/// The shell has to get the signal, and, for bash, to see that its child has died of it.
#[test]
fn a_key_that_ends_the_command_ends_the_script() {
    let keys = [("\x03", libc::SIGINT), ("\x1c", libc::SIGQUIT)];
    // After SIGQUIT bash goes on, without init too.
    for (shell, keys) in [("sh", &keys[..]), ("bash", &keys[..1])] {
        if shell == "bash" && missing(&[Need::Tool("bash")]) {
            continue;
        }
        for &(key, signal) in keys {
            // With the terminal as its stdin the command has it, and gets the key alone.
            for stdin in ["", "</dev/null"] {
                let scene = Scene::new();
                let script = format!("$INIT $PROBE 'pid pid ; hold' {stdin}; echo ran-on");
                let (pty, mut session) = start_script(&scene, shell, &script);
                let pid = scene.wait_pid("pid");
                let foreground = if stdin.is_empty() { pid } else { session.pid() };
                pty.wait_foreground(foreground);
                pty.keys(key);
                let case = format!("{shell} {stdin}");
                assert_eq!(wait_signal(&mut session), Some(signal), "{case}");
                if stdin.is_empty() {
                    pty.wait_screen(&format!("ending by signal={}", name(signal)));
                }
                assert!(!pty.screen().contains("ran-on"), "{}", pty.screen());
                wait_for("the command's end", || !alive(pid));
            }
        }
    }
}

fn name(signal: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(signal).map_or("", |signal| signal.as_str())
}

#[test]
fn control_c_ends_all_of_a_pipeline() {
    for script in [
        "$INIT $PROBE 'pid pid ; hold' | $PROBE 'pid other ; hold'",
        "$PROBE 'pid other ; hold' | $INIT $PROBE 'pid pid ; hold'",
        "$INIT $PROBE 'pid pid ; hold' | $INIT $PROBE 'pid other ; hold'",
    ] {
        let scene = Scene::new();
        let (pty, mut session) = start_script(&scene, "sh", script);
        let (pid, other) = (scene.wait_pid("pid"), scene.wait_pid("other"));
        pty.keys("\x03");
        session.wait_exit();
        wait_for("the end of both", || !alive(pid) && !alive(other));
    }
}

/// A signal by kill(2) is the command's alone, and so is one that counts as a success.
#[test]
fn a_script_goes_on_after_a_signal_that_is_no_key() {
    let scene = Scene::new();
    let script = "$INIT $PROBE 'pid pid ; hold'; echo ran-on=$?; \
        $INIT -e 130 $PROBE 'pid other ; hold'; echo then=$?";
    let (pty, mut session) = start_script(&scene, "sh", script);
    let pid = scene.wait_pid("pid");
    pty.wait_foreground(pid);
    process::signal(init_above(pid), libc::SIGINT);
    pty.wait_screen("ran-on=130");
    pty.wait_foreground(scene.wait_pid("other"));
    pty.keys("\x03");
    pty.wait_screen("then=0");
    assert_eq!(session.wait_exit(), 0);
}

/// A PID 1 cannot end by a signal.
#[test]
fn the_code_of_pid_1_tells_of_the_key() {
    if missing(&[Need::Root, Need::Pids, Need::Tool("setsid")]) {
        return;
    }
    let scene = Scene::new();
    let wrapper = [&AS_PID_1[..], &["setsid", "-c"]].concat();
    let command = [probe_text(), "touch ready ; hold"];
    let (pty, mut session) = Pty::start(init_of(&scene, &wrapper, &[], &command));
    scene.wait_file("ready");
    pty.keys("\x03");
    let status = wait_until("the end of it", || {
        session.0.try_wait().expect("it can be waited for")
    });
    assert_eq!(status.code(), Some(128 + libc::SIGINT));
}

/// Without a terminal in it a stop is the command's alone, and lasts until it is undone.
#[test]
fn a_stop_by_kill_stops_the_command_and_not_the_script() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("sh -c '$INIT -v $PROBE \"pid pid ; await USR1 ; exit 7\" ; echo code=$?'\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    let script = process::stat(init).expect("init").ppid;
    shell.pty.wait_foreground(pid);
    for _ in 0..2 {
        process::signal(init, libc::SIGTSTP);
        wait_state(pid, 'T');
        process::signal(init, libc::SIGCONT);
        wait_state(pid, 'S');
    }
    // Everything that init does after a stop is done once it waits again.
    process::signal(init, libc::SIGTSTP);
    wait_state(pid, 'T');
    wait_state(init, 'S');
    wait_state(script, 'S');
    assert_eq!(shell.pty.foreground(), pid);
    process::signal(init, libc::SIGCONT);
    process::signal(pid, libc::SIGUSR1);
    shell.pty.wait_screen("code=7");
    assert!(!shell.pty.screen().contains("Stopped"));
    shell.leave(&scene);
}

/// Where nobody controls jobs either: a container's first process, for one.
#[test]
fn a_stop_by_kill_lasts_where_nobody_controls_jobs() {
    let scene = Scene::new();
    let command = init(&scene, &["-v"], "pid pid ; record signals CONT");
    let (pty, mut session) = Pty::start(command);
    scene.wait_lines("signals", 1);
    let pid = scene.wait_pid("pid");
    process::signal(session.pid(), libc::SIGTSTP);
    pty.wait_screen("stopped signal=SIGTSTP");
    wait_state(pid, 'T');
    process::signal(session.pid(), libc::SIGCONT);
    scene.wait_lines("signals", 2);
    pty.wait_screen("forwarded signal=SIGCONT");
    let screen = pty.screen();
    let before = screen.split("forwarded signal=SIGCONT").next();
    assert!(!before.unwrap_or("").contains("continued"), "{screen}");
    process::signal(session.pid(), libc::SIGTERM);
    assert_eq!(session.wait_exit(), 128 + libc::SIGTERM);
}

/// Only a job that is stopped as a whole gives the shell its prompt back.
#[test]
fn control_z_stops_all_of_a_pipeline() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("$INIT $PROBE 'pid pid ; await USR1' | $PROBE 'pid other ; await USR1'\n");
    let (pid, other) = (scene.wait_pid("pid"), scene.wait_pid("other"));
    for _ in 0..3 {
        shell.pty.wait_foreground(pid);
        shell.pty.keys("\x1a");
        shell.pty.wait_foreground(shell.pid());
        wait_state(pid, 'T');
        wait_state(other, 'T');
        shell.pty.keys("fg\n");
        shell.pty.wait_foreground(pid);
        wait_state(pid, 'S');
        wait_state(other, 'S');
    }
    process::signal(pid, libc::SIGUSR1);
    process::signal(other, libc::SIGUSR1);
    shell.leave(&scene);
}

/// The shell sends no SIGCONT to a job that it believes to run.
#[test]
fn a_pipeline_in_the_background_that_reads_is_stopped_as_a_whole() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let command = "$INIT sh -c 'echo $$ >pid; read word; echo got=$word'";
    let reader = "{ while [ ! -e pid ]; do sleep 0.01; done; head -n 1; }";
    // Either init's command reads the terminal, or another member of the pipeline.
    for pipeline in [
        format!("{command} | cat"),
        format!("{reader} | {command} | cat"),
    ] {
        let scene = Scene::new();
        let shell = Shell::start(&scene);
        // With -b the shell says at once what it learns.
        shell.pty.keys(&format!("set -b; {pipeline} &\n"));
        let init = init_above(scene.wait_pid("pid"));
        shell.pty.wait_screen("Stopped");
        shell.pty.keys("fg\n");
        wait_state(init, 'S');
        shell.pty.keys("hello\n");
        shell.pty.wait_screen("got=hello");
        shell.leave(&scene);
    }
}

/// The second one has the terminal from the first, and the command from the second.
#[test]
fn keys_reach_the_script_through_an_init_below_another() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("sh -c '$INIT $INIT $PROBE \"pid pid ; hold\" ; echo code=$?'\n");
    let pid = scene.wait_pid("pid");
    for _ in 0..3 {
        shell.pty.wait_foreground(pid);
        shell.pty.keys("\x1a");
        shell.pty.wait_foreground(shell.pid());
        wait_state(pid, 'T');
        shell.pty.keys("fg\n");
        shell.pty.wait_foreground(pid);
        wait_state(pid, 'S');
    }
    shell.pty.keys("\x03");
    shell.pty.wait_foreground(shell.pid());
    assert!(!shell.pty.screen().contains("code=1"));
    shell.leave(&scene);
}
