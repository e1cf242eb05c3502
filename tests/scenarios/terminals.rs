//! The supervisor on a terminal, in its foreground, in its background, and after its end.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::common::{Scene, process, second_run, tools, wait_for};
use crate::stop::recorded;

/// A terminal whose other end the test holds.
struct Terminal {
    master: File,
    slave: PathBuf,
}

impl Terminal {
    fn new() -> Self {
        // SAFETY: plain numbers, a descriptor that is this function's own, and a buffer that is
        // valid for its length.
        unsafe {
            let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(master >= 0, "no terminal");
            let mut name = [0; 64];
            let ready = libc::grantpt(master) == 0
                && libc::unlockpt(master) == 0
                && libc::ptsname_r(master, name.as_mut_ptr(), name.len()) == 0;
            assert!(ready, "no other end of the terminal");
            let slave = CStr::from_ptr(name.as_ptr()).to_str().expect("UTF-8");
            Self {
                master: File::from_raw_fd(master),
                slave: PathBuf::from(slave),
            }
        }
    }

    fn open(&self) -> File {
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOCTTY);
        let opened = options.read(true).write(true).open(&self.slave);
        opened.expect("the other end can be opened")
    }

    /// From now on a background group that writes to it is stopped.
    fn stop_background_writers(&self) {
        let mut settings = std::mem::MaybeUninit::<libc::termios>::uninit();
        let fd = self.master.as_raw_fd();
        // SAFETY: the first call fills the settings, which the second one takes.
        unsafe {
            assert_eq!(libc::tcgetattr(fd, settings.as_mut_ptr()), 0);
            let mut settings = settings.assume_init();
            settings.c_lflag |= libc::TOSTOP;
            assert_eq!(libc::tcsetattr(fd, libc::TCSANOW, &settings), 0);
        }
    }

    /// Makes the command the leader of a session on this terminal, with it as stderr.
    fn hold(&self, command: &mut Command) {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::from(self.open()));
        // SAFETY: system calls on plain numbers; 2 is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() == -1 || libc::ioctl(2, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }

    /// All that is written to it, read as it comes, so that no writer ever waits.
    fn read_all(&self) -> Arc<Mutex<String>> {
        let text = Arc::new(Mutex::new(String::new()));
        let (mut master, shared) = (self.master.try_clone().expect("a copy"), Arc::clone(&text));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        text
    }
}

fn has(text: &Mutex<String>, word: &str) -> bool {
    text.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(word)
}

/// The terminal signals its foreground group, in which no program is.
#[test]
fn m59_control_c_reaches_the_programs_once_and_as_a_stop() {
    let terminal = Terminal::new();
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "500ms"});
    scene.add_with(
        "p",
        "fork { record member TERM INT } ; record program TERM INT",
        keys,
    );
    let mut command = scene.command();
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    let text = terminal.read_all();
    scene.wait_lines("program", 1);
    scene.wait_lines("member", 1);
    (&terminal.master)
        .write_all(b"\x03")
        .expect("a key can be pressed");
    assert_eq!(supervisor.wait_exit(), 0);
    for file in ["program", "member"] {
        assert_eq!(recorded(&scene, file), [libc::SIGTERM], "{file}");
    }
    wait_for("the last line", || has(&text, "stopped code=0"));
}

#[test]
fn m60_a_program_that_wants_the_terminal_is_not_frozen() {
    let terminal = Terminal::new();
    terminal.stop_background_writers();
    let mut scene = Scene::new();
    scene.add("p", "slurp input ; say x 1 ; say y 2 ; pid up ; hold");
    let mut command = scene.command();
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    let _text = terminal.read_all();
    // It gets there only if it read an end of file, and wrote.
    let program = scene.wait_pid("up");
    assert_ne!(process::stat(program).map(|stat| stat.state), Some('T'));
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(scene.log("p"), b"y");
}

/// In the background of a terminal on which that is forbidden, it writes all the same, and is
/// not stopped.
#[test]
fn m61_its_own_messages_do_not_stop_it_in_the_background() {
    if second_run::is_pid1() {
        return tools::skip("a shell with job control puts it into the background");
    }
    let terminal = Terminal::new();
    terminal.stop_background_writers();
    let mut scene = Scene::new();
    scene.add("p", "pid up ; hold");
    let mut command = scene.wrapped(&["sh", "-mc", "\"$@\" & wait $!", "sh"]);
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    let text = terminal.read_all();
    supervisor.look_behind_wrapper();
    scene.wait_pid("up");
    let group = process::stat(supervisor.pid()).expect("it runs");
    assert_ne!(
        group.pgid, group.sid,
        "no point: it is not in the background"
    );
    supervisor.signal(libc::SIGUSR1);
    wait_for("a status line", || has(&text, "p running"));
    assert_ne!(
        process::stat(supervisor.pid()).map(|stat| stat.state),
        Some('T')
    );
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}

/// SIGHUP is reserved: neither an end nor a stop.
#[test]
fn m62_supervision_outlives_its_terminal() {
    let terminal = Terminal::new();
    let mut scene = Scene::new();
    let backoff = json!({"backoff": {"initial": "50ms", "max": "50ms"}});
    scene.add_with("crasher", "append runs x\\n ; exit 1", backoff);
    scene.add("p", "record program TERM HUP");
    let mut command = scene.command();
    terminal.hold(&mut command);
    // Where its end would be told of that of stderr, which is no report.
    command.stdout(Stdio::null());
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_lines("program", 1);
    drop(terminal);
    let runs = scene.lines("runs").len();
    scene.wait_lines("runs", runs + 5);
    assert_eq!(recorded(&scene, "program"), [0; 0]);
    assert!(supervisor.is_running(), "it did not outlive its terminal");
    // The program obeys nobody; a second signal kills.
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("program", 2);
    std::thread::sleep(std::time::Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}

/// The contract stands: every disposition is the default, SIGHUP's too.
#[test]
fn m26_under_nohup_the_supervisor_is_protected_and_programs_are_as_ever() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; record program HUP TERM");
    let mut command = scene.command();
    // SAFETY: a disposition that is valid for this signal.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut supervisor = scene.launch(command);
    let dump = scene.wait_dump("dump");
    assert_eq!(dump["status"]["SigIgn"], "0000000000000000");
    scene.wait_lines("program", 1);
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["SIGHUP is reserved"]);
    assert_eq!(recorded(&scene, "program"), [0; 0]);
    process::signal(supervisor.wait_started("p", 1), libc::SIGHUP);
    scene.wait_lines("program", 2);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("program", 3);
    std::thread::sleep(std::time::Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}
