//! Outputs that have room when poll(2) looks, and none when they are written to: another process
//! writes to them as well, and the reader has stopped. All are shared and stay blocking, and none
//! can be opened again, as they belong to root and the supervisor runs as another user.
//!
//! strace delays each write of the supervisor, so that the test can fill the output between poll
//! and write.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::common::init::{init_of, probe_text};
use crate::common::pty::Pty;
use crate::common::{Need, Scene, Supervisor, missing, wait_for};

/// A uid that no machine of these tests uses.
const USER: u32 = 64_321;

/// The calls by which it writes, and by how many microseconds each is delayed.
const DELAY: &str = "inject=write,pwritev2,sendto:delay_enter=300000";

/// An output that the test writes to as well.
struct Output {
    /// As the supervisor gets it.
    end: OwnedFd,
    make_room: Box<dyn Fn()>,
    fill: Box<dyn Fn()>,
}

/// Opens a second description, so that the supervisor's is left alone.
fn nonblocking(end: &OwnedFd) -> File {
    let path = format!("/proc/self/fd/{}", end.as_raw_fd());
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).expect("the same once more")
}

fn fill(mut output: impl Write) {
    loop {
        match output.write(&[b'x'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn of_pipe(reader: File, end: OwnedFd) -> Output {
    let filler = nonblocking(&end);
    Output {
        end,
        make_room: Box::new(move || (&reader).read_exact(&mut [0; 4096]).expect("it is full")),
        fill: Box::new(move || fill(&filler)),
    }
}

fn pipe() -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    of_pipe(OwnedFd::from(reader).into(), writer.into())
}

/// It has a name: no kernel has a nonblocking write for it.
fn fifo(scene: &Scene) -> Output {
    let path = scene.path("fifo");
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&path, mode).expect("a FIFO");
    let both = || File::options().read(true).write(true).open(&path);
    let (reader, end) = (both().expect("its end"), both().expect("its end"));
    of_pipe(reader, end.into())
}

fn socket() -> Output {
    let (reader, end) = UnixStream::pair().expect("a pair of sockets");
    let end = OwnedFd::from(end);
    let filler = end.try_clone().expect("a descriptor");
    let read = move || {
        // Ready is what has a quarter of its buffer in use at most.
        reader.set_nonblocking(true).expect("a flag of our end");
        while (&reader).read(&mut [0; 4096]).is_ok() {}
    };
    let fill = move || {
        let piece = [b'x'; 4096];
        let send = || {
            let (base, length) = (piece.as_ptr().cast(), piece.len());
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::send(filler.as_raw_fd(), base, length, libc::MSG_DONTWAIT) }
        };
        while send() > 0 {}
    };
    Output {
        end,
        make_room: Box::new(read),
        fill: Box::new(fill),
    }
}

/// Ctrl-S stops its output, and Ctrl-Q restarts it.
fn terminal() -> Output {
    let terminal = Pty::open();
    let end = terminal.end();
    let (looked_at, pressed) = (end.try_clone().expect("a descriptor"), terminal.clone());
    let is_ready = move || {
        let mut ready = [PollFd::new(looked_at.as_fd(), PollFlags::POLLOUT)];
        poll(&mut ready, PollTimeout::ZERO).expect("a look") == 1
    };
    Output {
        end,
        make_room: Box::new(move || terminal.keys("\x11")),
        fill: Box::new(move || {
            pressed.keys("\x13");
            wait_for("it has stopped", || !is_ready());
        }),
    }
}

/// The wrapper; `also` are further injections.
fn strace<'a>(scene: &'a Scene, also: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["strace", "-qq", "-o", "/dev/null", "-e", DELAY];
    for inject in also {
        words.extend(["-e", inject]);
    }
    scene.chmod("", 0o777);
    words
}

/// True if it is in a write to stderr, blocked or delayed by strace.
fn is_writing(pid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let mut words = call.split(' ');
    let number = words.next().and_then(|number| number.parse().ok());
    let writes = [libc::SYS_write, libc::SYS_pwritev2, libc::SYS_sendto];
    number.is_some_and(|number| writes.contains(&number)) && words.next() == Some("0x2")
}

fn start(scene: &Scene, mut command: Command, end: OwnedFd) -> Supervisor {
    command.stdout(Stdio::null()).stderr(end);
    let mut supervisor = scene.launch_as_is(command);
    supervisor.look_behind_wrapper();
    supervisor
}

/// Supervision stood still in that write, and SIGTERM was not answered, until the reader went on.
#[track_caller]
fn is_not_held_up(make: impl Fn(&Scene) -> Output, also: &[&str]) {
    if missing(&[Need::Root, Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let output = make(&scene);
    scene.setting.user(USER);
    let backoff = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
    scene.add_with("p", "append runs x\\n ; exit 1", backoff);
    (output.fill)();
    let command = scene.wrapped(&strace(&scene, also));
    let mut supervisor = start(&scene, command, output.end);
    scene.wait_lines("runs", 1);
    (output.make_room)();
    let pid = supervisor.pid();
    wait_for("it begins to write", || is_writing(pid));
    (output.fill)();
    let runs = scene.lines("runs").len();
    scene.wait_lines("runs", runs + 2);
    assert_eq!(supervisor.stop(), 0, "also {also:?}");
}

#[test]
fn a_pipe_that_another_writer_fills_does_not_hold_up_supervision() {
    is_not_held_up(|_| pipe(), &[]);
}

/// As before Linux 6.4, and in a sandbox that does not know the call.
#[test]
fn without_nonblocking_writes_a_pipe_that_another_writer_fills_does_not_hold_up_supervision() {
    for errno in ["EOPNOTSUPP", "ENOSYS", "EINVAL", "EPERM"] {
        let inject = format!("inject=pwritev2:error={errno}");
        is_not_held_up(|_| pipe(), &[&inject]);
    }
}

#[test]
fn a_fifo_that_another_writer_fills_does_not_hold_up_supervision() {
    is_not_held_up(fifo, &[]);
}

#[test]
fn a_socket_that_another_writer_fills_does_not_hold_up_supervision() {
    is_not_held_up(|_| socket(), &[]);
    is_not_held_up(|_| socket(), &["inject=sendto:error=EPERM"]);
}

#[test]
fn a_terminal_that_is_stopped_does_not_hold_up_supervision() {
    is_not_held_up(|_| terminal(), &[]);
}

/// In `init` every signal is blocked until it is forwarded. The write blocked for ever; and a
/// SIGALRM that arrives during it must not be taken for the timer's.
#[test]
fn init_forwards_a_signal_that_comes_while_a_message_finds_no_room() {
    if missing(&[Need::Root, Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let output = fifo(&scene);
    scene.setting.user(USER);
    let script = "record signals 14 USR1";
    let command = [probe_text(), script];
    (output.fill)();
    let wrapper = strace(&scene, &[]);
    let command = init_of(&scene, &wrapper, &["-v"], &command);
    let mut supervisor = start(&scene, command, output.end);
    scene.wait_lines("signals", 1);
    let pid = supervisor.pid();
    (output.make_room)();
    supervisor.signal(libc::SIGUSR1);
    wait_for("it begins to write", || is_writing(pid));
    (output.fill)();
    supervisor.signal(libc::SIGALRM);
    let recorded = |signal: i32| {
        let begin = format!("{signal} ");
        scene
            .lines("signals")
            .iter()
            .any(|line| line.starts_with(&begin))
    };
    wait_for("both are forwarded", || {
        recorded(libc::SIGUSR1) && recorded(libc::SIGALRM)
    });
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}
