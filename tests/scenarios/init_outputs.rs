//! `init` and its own words: they are on stderr, they cost the command nothing, and whoever
//! does not read them holds up nothing.

use std::io::{PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::Scene;
use crate::common::init::{binary_text, init};
use crate::common::scene::spawn;

/// A pipe as stderr whose reader is gone before anything is written.
fn with_dead_stderr(mut command: Command) -> Command {
    let (_, writer) = std::io::pipe().expect("a pipe");
    command.stderr(writer);
    command
}

/// A pipe as stderr that is full; nobody reads for as long as the other end lives.
fn with_stuck_stderr(mut command: Command) -> (Command, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: plain numbers; the descriptor is open.
    let room = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
    let room = usize::try_from(room).expect("the size of a pipe");
    writer.write_all(&vec![b'x'; room]).expect("room in it");
    command.stderr(writer);
    (command, reader)
}

/// The kernel sends SIGPIPE to whoever writes into a pipe that nobody reads: here to init, which
/// has every signal blocked, and it is no signal for the command.
#[test]
fn a_dead_stderr_costs_the_command_nothing() {
    let scene = Scene::new();
    let script = "say data\\n 1 ; sleep 300 ; exit 3";
    let mut command = with_dead_stderr(init(&scene, &["-v"], script));
    command.stdout(Stdio::piped());
    let child = spawn(&mut command).expect("init can be started");
    drop(command);
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "data\n", "stdout is the command's alone");
}

#[test]
fn a_stderr_that_dies_later_costs_the_command_nothing() {
    let scene = Scene::new();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    // SIGWINCH and SIGPIPE have no name there.
    let script = "close 2 ; record signals 28 13 USR1";
    let mut command = init(&scene, &["-v"], script);
    command.stdout(Stdio::null()).stderr(writer);
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_lines("signals", 1);
    reader.read_exact(&mut [0; 10]).expect("the first line");
    drop(reader);
    for (count, signal) in [(2, libc::SIGWINCH), (3, libc::SIGUSR1)] {
        supervisor.signal(signal);
        scene.wait_lines("signals", count);
    }
    let numbers: Vec<String> = scene.lines("signals").split_off(1);
    assert!(
        numbers[0].starts_with("28 ") && numbers[1].starts_with("10 "),
        "{numbers:?}"
    );
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

/// As SIGPIPE, so SIGXFSZ for a file that may not grow.
#[test]
fn a_limit_on_files_costs_the_command_nothing() {
    let scene = Scene::new();
    let mut command = init(&scene, &["-v"], "sleep 300 ; exit 3");
    let file = std::fs::File::create(scene.path("stderr")).expect("a file");
    command.stderr(file);
    // SAFETY: one system call with a pointer to a live local.
    unsafe {
        command.pre_exec(|| {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_FSIZE, &none);
            Ok(())
        });
    }
    let mut child = spawn(&mut command).expect("init can be started");
    assert_eq!(child.wait().expect("its end").code(), Some(3));
}

/// Every signal is blocked, so that nothing but SIGKILL would end a write that waits.
#[test]
fn a_stuck_stderr_does_not_hold_up_an_init_that_cannot_start() {
    for (words, code) in [(&["--", "/no/such/command"][..], 127), (&["--bogus"], 2)] {
        let scene = Scene::new();
        let mut command = Command::new(binary_text());
        command.arg("init").args(words).stdout(Stdio::null());
        let (command, reader) = with_stuck_stderr(command);
        let mut supervisor = scene.launch_as_is(command);
        assert_eq!(supervisor.wait_exit(), code, "{words:?}");
        drop(reader);
    }
}

/// One line on stderr, and nothing at all on stdout.
#[test]
fn an_init_that_cannot_start_says_so_on_stderr_alone() {
    for (words, begin) in [
        (&["--", "/no/such/command"][..], "procsched-min: failed to"),
        (&["--bogus"], "procsched-min: unknown option"),
    ] {
        let output = Command::new(binary_text()).arg("init").args(words).output();
        let output = output.expect("init can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with(begin), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(output.stdout, b"", "{words:?}");
    }
}
