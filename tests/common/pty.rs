//! A pseudo-terminal: keys in, text out, and who is in the foreground.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{process, scene, wait_for};

/// A terminal whose keyboard and screen are the test's.
#[derive(Clone)]
pub struct Pty {
    master: Arc<File>,
    screen: Arc<Mutex<Vec<u8>>>,
    /// True if no process has the terminal any more, and the screen has all that was written.
    is_complete: Arc<AtomicBool>,
}

/// A process that leads a session on a terminal; it is killed at the end of the test.
pub struct Session(pub Child);

impl Pty {
    /// Opens one.
    #[track_caller]
    pub fn open() -> Self {
        // SAFETY: a new descriptor, checked, and owned by nobody else.
        let master = unsafe {
            let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(fd >= 0, "a pseudo-terminal");
            assert_eq!(libc::grantpt(fd) + libc::unlockpt(fd), 0, "its other end");
            File::from_raw_fd(fd)
        };
        Self {
            master: Arc::new(master),
            screen: Arc::default(),
            is_complete: Arc::default(),
        }
    }

    /// A program's end of it.
    pub fn end(&self) -> OwnedFd {
        open_slave(&self.master)
    }

    /// Makes the command the leader of a session whose terminal this is.
    pub fn hold(&self, command: &mut Command) {
        let slave = open_slave(&self.master);
        self.watch_screen();
        let end = || slave.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: two system calls on plain numbers; 2 is the terminal in any case.
        unsafe {
            command.pre_exec(|| {
                let done = libc::setsid() != -1 && libc::ioctl(2, libc::TIOCSCTTY, 0) != -1;
                done.then_some(()).ok_or_else(std::io::Error::last_os_error)
            });
        }
    }

    /// Reads what is written until nobody has the terminal any more.
    pub fn watch_screen(&self) {
        let shown = Arc::clone(&self.screen);
        let is_complete = Arc::clone(&self.is_complete);
        let mut source = self.master.try_clone().expect("the master");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..count]);
            }
            is_complete.store(true, Ordering::Release);
        });
    }

    /// Opens one and starts this on it, as the leader of a session whose terminal it is.
    #[track_caller]
    pub fn start(mut command: Command) -> (Self, Session) {
        let pty = Self::open();
        pty.hold(&mut command);
        let child = scene::spawn(&mut command).expect("a session can be started");
        (pty, Session(child))
    }

    /// Hangs it up, as the end of a connection does; needs root.
    #[track_caller]
    pub fn hang_up(&self) {
        /// Not in every libc: asm-generic/ioctls.h.
        const TIOCVHANGUP: u32 = 0x5437;
        let slave = open_slave(&self.master);
        // SAFETY: an open descriptor; the call takes no argument.
        let done = unsafe { libc::ioctl(slave.as_raw_fd(), TIOCVHANGUP as _) };
        assert_eq!(done, 0, "the terminal is hung up");
    }

    /// Presses keys; `"\x03"` is Ctrl-C and `"\x1a"` Ctrl-Z.
    pub fn keys(&self, keys: &str) {
        (&*self.master)
            .write_all(keys.as_bytes())
            .expect("keys can be pressed");
    }

    pub fn screen(&self) -> String {
        let shown = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until no process has the terminal any more, and returns all that was written to it.
    #[track_caller]
    pub fn last_screen(&self) -> String {
        wait_for("the end of what is written to a terminal", || {
            self.is_complete.load(Ordering::Acquire)
        });
        self.screen()
    }

    /// Waits until this can be read on the screen.
    #[track_caller]
    pub fn wait_screen(&self, text: &str) {
        wait_for(&format!("{text:?} on the screen"), || {
            self.screen().contains(text)
        });
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> i32 {
        // SAFETY: an open descriptor.
        unsafe { libc::tcgetpgrp(self.master.as_raw_fd()) }
    }

    /// Waits until this group is in the foreground.
    #[track_caller]
    pub fn wait_foreground(&self, group: i32) {
        let start = std::time::Instant::now();
        while self.foreground() != group {
            assert!(
                start.elapsed() < process::PATIENCE,
                "{group} does not get the foreground, {} has it; on the screen:\n{}",
                self.foreground(),
                self.screen()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Who writes from the background is stopped from now on.
    pub fn stop_background_writers(&self) {
        let slave = open_slave(&self.master);
        // SAFETY: the structure is filled by the first call before the second reads it.
        unsafe {
            let mut settings = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(slave.as_raw_fd(), &mut settings), 0);
            settings.c_lflag |= libc::TOSTOP;
            assert_eq!(
                libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &settings),
                0
            );
        }
    }
}

fn open_slave(master: &File) -> OwnedFd {
    // SAFETY: TIOCGPTPEER takes flags and returns a new descriptor, which nobody else owns.
    unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let fd = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags);
        assert!(fd >= 0, "the terminal's end");
        OwnedFd::from_raw_fd(fd)
    }
}

impl Session {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid fits")
    }

    /// Waits for its end; 128+n stands for a signal.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = super::wait_until("the end of a session", || {
            self.0.try_wait().expect("it can be waited for")
        });
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
