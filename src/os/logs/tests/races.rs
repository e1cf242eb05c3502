//! What is opened is a log of ours or refused, whatever another process does to the path meanwhile.

mod between;
mod disk;
mod stops;

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::stat::Mode;

use super::super::*;
use crate::os::clock::Clock;

const OPENS: usize = 10_000;

/// How often each of both outcomes has to be met; on a busy machine the race goes on until then.
const OUTCOMES_MIN: usize = 300;

/// A race takes a second, and on a machine that has other things to do some more.
const PATIENCE: Duration = Duration::from_secs(600);

const WORD: &[u8] = b"a word of the program\n";

const VICTIM: &[u8] = b"another user's words\n";

const REPLACED: &str = "it is replaced again and again";

/// The number of a user that does not exist.
const STRANGER: u32 = 64_321;

/// A directory with a log, something in its place, and a file that must not be touched.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        fs::write(place.path("victim"), VICTIM).expect("a file");
        fs::create_dir(place.path("logs")).expect("a directory");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.path("logs/p.stderr.log")
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

fn exchange(one: &Path, other: &Path) {
    let (one, other) = (c_path(one), c_path(other));
    let (at, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: two live paths and plain numbers.
    let status = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            at,
            one.as_ptr(),
            at,
            other.as_ptr(),
            flags,
        )
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(std::io::stderr(), "{name} skipped in part: needs root");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI has root");
    }
    is_root
}

/// Ends the other side of a race, however this side ends.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens the log again and again, by `open`, while another thread does `flip` in a tight loop.
/// Returns how often it was opened and how often refused: together, and each, as often as is said
/// above, or it fails.
fn race(what: &str, flip: impl Fn() + Sync, mut open: impl FnMut() -> bool) -> [usize; 2] {
    let over = AtomicBool::new(false);
    let clock = Clock::new();
    let start = clock.now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                flip();
            }
        });
        let _finish = Finish(&over);
        let mut outcomes = [0, 0];
        while outcomes[0] + outcomes[1] < OPENS || outcomes.iter().any(|n| *n < OUTCOMES_MIN) {
            outcomes[usize::from(!open())] += 1;
            let took = clock.now().since(start);
            assert!(
                took < PATIENCE,
                "{what}: opened and refused only {outcomes:?} times in {took:?}"
            );
        }
        outcomes
    })
}

fn log_in(directory: &Path) -> Log {
    Log::new(
        Arc::new(directory.to_owned()),
        "p".into(),
        StdStream::Stderr,
    )
}

/// One start: the log is opened and written, or refused with one of these reasons.
fn start(log: &mut Log, reasons: &[&str]) -> bool {
    if let Err(error) = log.open(&mut Flaws::default()) {
        let error = error.to_string();
        let is_known = reasons.iter().any(|reason| error.ends_with(reason));
        assert!(is_known, "{error}");
    }
    if log.path().is_none() {
        return false;
    }
    log.write(WORD);
    assert_eq!(log.take_unreported(true), None);
    true
}

/// A start of a supervisor that ends after it. Its lock is given back explicitly: a copy of
/// this process that another test makes for a moment has it, too.
fn start_once(directory: &Path, reasons: &[&str]) -> bool {
    let mut log = log_in(directory);
    let is_open = start(&mut log, reasons);
    log.close();
    is_open
}

/// What stands where a log should be, how it is made, and why it is refused.
type Trap = (&'static str, fn(&Place, &Path), &'static str);

const TRAPS: [Trap; 9] = [
    (
        "a symlink to a file of ours",
        |place, at| symlink(place.path("victim"), at).expect("a symlink"),
        "it is a symbolic link",
    ),
    (
        "a symlink to nothing",
        |place, at| symlink(place.path("made"), at).expect("a symlink"),
        "it is a symbolic link",
    ),
    (
        "a symlink to a directory",
        |place, at| symlink(place.path("logs"), at).expect("a symlink"),
        "it is a symbolic link",
    ),
    (
        "another name of a file of ours",
        |place, at| fs::hard_link(place.path("victim"), at).expect("a link"),
        "it has 2 hard links",
    ),
    (
        "a directory",
        |_, at| fs::create_dir(at).expect("a directory"),
        "it is a directory",
    ),
    (
        "a FIFO without a reader",
        |_, at| make_fifo(at),
        "it is not a regular file",
    ),
    (
        "a FIFO with a reader",
        |place, at| {
            make_fifo(at);
            fs::hard_link(at, place.path("fifo")).expect("a link");
        },
        "it is not a regular file",
    ),
    (
        "a socket",
        |_, at| drop(UnixListener::bind(at).expect("a socket")),
        "it is not a regular file",
    ),
    (
        "a file of another user",
        |_, at| {
            fs::write(at, VICTIM).expect("a file");
            std::os::unix::fs::chown(at, Some(STRANGER), None).expect("root may chown");
        },
        "it belongs to uid 64321, and we are uid 0",
    ),
];

fn make_fifo(at: &Path) {
    nix::unistd::mkfifo(at, Mode::from_bits_truncate(0o666)).expect("a FIFO");
}

/// Supervisors that look first and open then have written through such a path into files of
/// others, as any process that may write to the directory liked.
#[test]
fn museum_75_a_path_that_changes_between_any_two_calls_leads_to_a_log_or_nowhere() {
    for (what, make, reason) in TRAPS {
        if what.contains("another user") && !is_root() {
            continue;
        }
        for keeps_it_open in [false, true] {
            let place = Place::new();
            let (trap, directory) = (place.path("trap"), place.path("logs"));
            make(&place, &trap);
            let reader = place.path("fifo").exists().then(|| {
                let mut options = OpenOptions::new();
                let options = options.read(true).custom_flags(libc::O_NONBLOCK);
                options.open(place.path("fifo")).expect("a reader")
            });
            fs::write(place.log_path(), "").expect("a log");
            let mut log = log_in(&directory);
            let outcomes = race(
                what,
                || exchange(&place.log_path(), &trap),
                || {
                    if keeps_it_open {
                        start(&mut log, &[reason, REPLACED])
                    } else {
                        start_once(&directory, &[reason, REPLACED])
                    }
                },
            );
            let found = [place.log_path(), trap].map(|path| {
                let found = fs::symlink_metadata(&path).expect("both are there");
                (found.is_file() && found.nlink() == 1 && found.uid() != STRANGER)
                    .then(|| fs::read(&path).expect("a file"))
            });
            let logged = found.into_iter().flatten().next().expect("the log");
            assert!(logged == WORD.repeat(outcomes[0]), "{what}: words are lost");
            assert_eq!(
                fs::read(place.path("victim")).expect("it"),
                VICTIM,
                "{what}"
            );
            assert!(!place.path("made").exists(), "{what} made a file");
            if let Some(mut reader) = reader {
                let count = reader.read(&mut [0; 64]).unwrap_or(0);
                assert_eq!(count, 0, "{what} got a word");
            }
        }
    }
}

/// A log that is not there is made, and made by no other process: what comes into its place before
/// that is looked at as anything that was there before.
#[test]
fn a_log_is_made_where_another_process_removes_and_puts_things() {
    let place = Place::new();
    let (log_path, directory) = (place.log_path(), place.path("logs"));
    let victim = place.path("victim");
    race(
        "a new log",
        || {
            let _ = symlink(&victim, &log_path);
            let _ = fs::remove_file(&log_path);
            let _ = fs::hard_link(&victim, &log_path);
            let _ = fs::remove_file(&log_path);
            std::thread::yield_now();
        },
        || {
            let mut log = log_in(&directory);
            let gone = "No such file or directory";
            let reasons = [
                "it is a symbolic link",
                "it has 2 hard links",
                REPLACED,
                gone,
            ];
            let is_open = start(&mut log, &reasons);
            if let Some(file) = log.file {
                let found = file.metadata().expect("it is open");
                assert_eq!(found.mode() & 0o7777, 0o640);
                assert_eq!(found.len(), WORD.len() as u64, "a new one each time");
                let _ = fs::remove_file(&log_path);
            }
            is_open
        },
    );
    assert_eq!(fs::read(&victim).expect("it"), VICTIM);
    let found = fs::metadata(&victim).expect("it");
    assert_ne!(found.mode() & 0o7777, 0o640, "not even its mode");
}

/// A process that can rename the directory decides where logs go. Even so nothing is written but into
/// files that could be logs of ours.
#[test]
fn a_directory_that_is_swapped_for_a_symlink_leads_to_logs_only() {
    let place = Place::new();
    let (directory, link) = (place.path("logs"), place.path("link"));
    fs::create_dir(place.path("elsewhere")).expect("a directory");
    symlink(place.path("victim"), place.path("elsewhere/p.stderr.log")).expect("a symlink");
    symlink(place.path("elsewhere"), &link).expect("a symlink");
    race(
        "a directory",
        || exchange(&directory, &link),
        || start_once(&directory, &["it is a symbolic link", REPLACED]),
    );
    assert_eq!(fs::read(place.path("victim")).expect("it"), VICTIM);
}

/// As `/tmp` is, but of a user who is not root: the kernel then refuses to open what is there by
/// a call that could have made it (fs.protected_regular), also to root.
#[test]
fn logs_are_opened_and_made_in_a_sticky_directory_of_another_user() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let directory = place.path("logs");
    std::os::unix::fs::chown(&directory, Some(STRANGER), None).expect("root may chown");
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o1777)).expect("chmod");
    for _ in 0..3 {
        assert!(start_once(&directory, &[]));
    }
    assert_eq!(fs::read(place.log_path()).expect("a log"), WORD.repeat(3));
    std::os::unix::fs::chown(place.log_path(), Some(STRANGER), None).expect("root may chown");
    let reason = "it belongs to uid 64321, and we are uid 0";
    assert!(!start_once(&directory, &[reason]));
}

/// A lease on a file keeps a process that opens it waiting for up to 45 s (fcntl(2)), and with it all
/// programs.
#[test]
fn a_log_that_another_process_has_on_lease_is_not_waited_for() {
    let place = Place::new();
    fs::write(place.log_path(), "").expect("a log");
    let holder = OpenOptions::new()
        .read(true)
        .write(true)
        .open(place.log_path());
    let holder = holder.expect("it is ours");
    let control = |command, value: i32| {
        // SAFETY: plain numbers, and an open descriptor.
        let status = unsafe { libc::fcntl(holder.as_raw_fd(), command, value) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    };
    /// Of asm-generic/fcntl.h.
    const F_SETSIG: i32 = 10;
    // By default the holder gets a SIGIO, which would end it.
    control(F_SETSIG, libc::SIGURG);
    control(libc::F_SETLEASE, libc::F_WRLCK);
    let mut log = log_in(&place.path("logs"));
    let reason = "Resource temporarily unavailable";
    assert!(!start(&mut log, &[reason]));
    control(libc::F_SETLEASE, libc::F_UNLCK);
    assert!(start(&mut log, &[]));
}
