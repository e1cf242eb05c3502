//! procsched supervises programs: it starts them, restarts them with a growing delay, logs the
//! stderr of each, reports every exit with the end of that stderr, reaps every zombie, and stops
//! everything cleanly.
//!
//! It is synchronous and has no thread and no runtime. Block in [`ProcessScheduler::start`], call
//! [`ProcessScheduler::step`] in a loop, or wait in your own event loop for a descriptor and
//! [`ProcessScheduler::next_deadline`].
//!
//! # Plain use
//!
//! The default handler prints each report on stdout as one line of JSON, or as its `Debug` without
//! the feature `json`. `start` returns when everything is stopped, or, as here, when every program
//! has ended and none is restarted.
//!
//! ```
//! use procsched::{ChildSpec, ProcessScheduler, Restart};
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-plain-{}", std::process::id()));
//! let hello = ChildSpec::new("hello", ["sh", "-c", "echo hello >&2"]).restart(Restart::Never);
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .program(hello)
//!     .err_dir(&err_dir)
//!     .build()?;
//! scheduler.start()?;
//!
//! let log = std::fs::read_to_string(err_dir.join("hello.stderr.log")).expect("the log");
//! assert_eq!(log, "hello\n");
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # A handler of your own
//!
//! It gets a report for every exit, code 0 too, and for every failed start.
//!
//! ```
//! use procsched::{ChildSpec, ProcessScheduler, Restart};
//! use std::sync::mpsc;
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-handler-{}", std::process::id()));
//! let (sender, reports) = mpsc::channel();
//! let command = ["sh", "-c", "echo 'no database' >&2; exit 3"];
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .program(ChildSpec::new("web", command).restart(Restart::Never))
//!     .err_dir(&err_dir)
//!     .error_handler(move |name, report| {
//!         let stderr = String::from_utf8_lossy(report.stderr()).into_owned();
//!         sender.send((name.to_owned(), report.return_code(), stderr)).ok();
//!     })
//!     .build()?;
//! scheduler.start()?;
//!
//! assert_eq!(reports.recv(), Ok(("web".to_owned(), 3, "no database\n".to_owned())));
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # Stop from another thread
//!
//! A [`Handle`] is `Clone`, `Send` and `Sync`; [`Handle::stop`] and [`Handle::kill`] are
//! async-signal-safe.
//!
//! ```
//! use procsched::{ChildSpec, EventKind, ProcessScheduler};
//! use std::sync::mpsc;
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-thread-{}", std::process::id()));
//! let (started, wait_for_start) = mpsc::channel();
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .program(ChildSpec::new("worker", ["sleep", "1000"]))
//!     .err_dir(&err_dir)
//!     .error_handler(|_, report| assert!(report.stopping()))
//!     .on_event(move |event| {
//!         if matches!(event.kind(), EventKind::Started { .. }) {
//!             started.send(()).ok();
//!         }
//!     })
//!     .build()?;
//!
//! let handle = scheduler.handle();
//! let other = std::thread::spawn(move || {
//!     wait_for_start.recv().expect("a start");
//!     handle.stop();
//! });
//! scheduler.start()?; // SIGTERM, and SIGKILL if that is ignored for 10 s
//! other.join().expect("no panic");
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # Stop from Ctrl-C
//!
//! The library handles SIGCHLD only, unless you name other signals. A second stop signal, 200 ms
//! or more after the first, kills.
//!
//! ```
//! use procsched::{ChildSpec, ProcessScheduler};
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-ctrl-c-{}", std::process::id()));
//! // Instead of a Ctrl-C.
//! let impatient = ["sh", "-c", "kill -INT $PPID; exec sleep 1000"];
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .program(ChildSpec::new("impatient", impatient))
//!     .err_dir(&err_dir)
//!     .error_handler(|_, report| assert_eq!(report.signal(), Some(libc::SIGTERM)))
//!     .stop_on_signals([libc::SIGINT, libc::SIGTERM])
//!     .build()?;
//! scheduler.start()?;
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # Turn by turn
//!
//! A host that waits for nothing else can call `step` in a loop.
//!
//! ```
//! use procsched::{ChildSpec, ProcessScheduler, Restart, Status};
//! use std::time::Duration;
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-step-{}", std::process::id()));
//! let once = ChildSpec::new("once", ["true"]).restart(Restart::Never);
//! let mut scheduler =
//!     ProcessScheduler::builder("/").program(once).err_dir(&err_dir).build()?;
//! let mut turns = 0;
//! while scheduler.step(Some(Duration::from_millis(100)))? == Status::Running {
//!     turns += 1; // and whatever else your program does
//! }
//! assert!(turns > 0);
//! assert_eq!(scheduler.programs()[0].last_return_code(), Some(0));
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # One program at a time
//!
//! Programs can be started, stopped, restarted, added and removed while the others run, and start
//! and stop in the order that they need.
//!
//! ```
//! use procsched::{ChildSpec, ProcessScheduler, ProgramState};
//! use std::time::Duration;
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-one-{}", std::process::id()));
//! let web = ChildSpec::new("web", ["sleep", "60"]).requires(["migrate"]);
//! let migrate = ChildSpec::new("migrate", ["true"]).oneshot(true);
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .programs([web, migrate])
//!     .err_dir(&err_dir)
//!     .kill_on_drop()
//!     .build()?;
//! let mut turn_until = |scheduler: &mut ProcessScheduler, state| {
//!     while scheduler.program("web").map(|web| web.state()) != Some(state) {
//!         scheduler.step(Some(Duration::from_secs(1))).unwrap();
//!     }
//! };
//! turn_until(&mut scheduler, ProgramState::Running);
//! scheduler.stop_program("migrate")?; // it is done, and takes nothing down
//! scheduler.restart_program("web")?; // that needs it again, and starts it
//! scheduler.step(Some(Duration::from_secs(1)))?;
//! turn_until(&mut scheduler, ProgramState::Running);
//! scheduler.add(ChildSpec::new("cache", ["sleep", "60"]))?;
//! scheduler.remove("cache")?;
//! assert!(scheduler.add(ChildSpec::new("web", ["true"])).is_err());
//! # drop(scheduler);
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), procsched::Error>(())
//! ```
//!
//! # A loop of your own
//!
//! A host that waits for other things too waits for a descriptor and a deadline, and after each
//! wake-up takes a turn that does not wait. With [`Reap::Own`] it may have children of its own.
//! Here it gets orders from a socket.
//!
//! ```
//! use nix::errno::Errno;
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//! use procsched::{ChildSpec, ProcessScheduler, Reap, Status};
//! use std::io::{Read, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::time::{Duration, Instant};
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-poll-{}", std::process::id()));
//! let (mut remote, mut orders) = UnixStream::pair()?;
//! orders.set_nonblocking(true)?;
//! let mut scheduler = ProcessScheduler::builder("/")
//!     .program(ChildSpec::new("web", ["sleep", "1000"]))
//!     .err_dir(&err_dir)
//!     .error_handler(|_, report| assert_eq!(report.signal(), Some(libc::SIGTERM)))
//!     .reap(Reap::Own)
//!     .build()?;
//! let mut own_child = std::process::Command::new("true").spawn()?;
//!
//! remote.write_all(b"s")?; // stop
//! loop {
//!     let timeout = match scheduler.next_deadline() {
//!         None => PollTimeout::NONE,
//!         Some(at) => {
//!             // Rounded up: a wait that ends before the deadline would spin.
//!             let time = at.saturating_duration_since(Instant::now());
//!             PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
//!         }
//!     };
//!     let mut waited = [
//!         PollFd::new(scheduler.as_fd(), PollFlags::POLLIN),
//!         PollFd::new(orders.as_fd(), PollFlags::POLLIN),
//!     ];
//!     match poll(&mut waited, timeout) {
//!         Ok(_) | Err(Errno::EINTR) => {} // a signal: SIGCHLD, most likely
//!         Err(errno) => return Err(errno.into()),
//!     }
//!     if scheduler.step(Some(Duration::ZERO))? == Status::Stopped {
//!         break;
//!     }
//!     let mut order = [0];
//!     if orders.read(&mut order).is_ok() && order == *b"s" {
//!         scheduler.stop();
//!     }
//! }
//! assert!(own_child.wait()?.success()); // not reaped by the scheduler
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A reactor
//!
//! The descriptor can be registered with any reactor (mio, calloop, tokio's `AsyncFd`), level- or
//! edge-triggered, and stays the same; the deadline changes with each turn. Here an edge-triggered
//! epoll(7) drives two schedulers.
//!
//! ```
//! use nix::errno::Errno;
//! use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
//! use procsched::{Backoff, ChildSpec, ProcessScheduler, Reap, Restart, Status};
//! use std::time::{Duration, Instant};
//!
//! # let err_dir = std::env::temp_dir().join(format!("procsched-doc-epoll-{}", std::process::id()));
//! let describe = |name| {
//!     // The first two runs fail, and are followed by delays of 10 and 20 ms.
//!     let script = format!("echo x >> {name}; test $(wc -l < {name}) = 3");
//!     let backoff = Backoff { initial: Duration::from_millis(10), ..Backoff::default() };
//!     ChildSpec::new(name, ["sh", "-c", &script]).restart(Restart::OnFailure).backoff(backoff)
//! };
//! # std::fs::create_dir(&err_dir)?;
//! let mut schedulers = ["left", "right"]
//!     .map(|name| {
//!         let builder = ProcessScheduler::builder(&err_dir).program(describe(name));
//!         builder.err_dir(&err_dir).error_handler(|_, _| {}).reap(Reap::Own).build()
//!     })
//!     .into_iter()
//!     .collect::<Result<Vec<_>, _>>()?;
//!
//! let reactor = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
//! for scheduler in &schedulers {
//!     reactor.add(scheduler, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
//! }
//! let mut running = schedulers.len();
//! while running > 0 {
//!     let deadlines = schedulers.iter().filter_map(ProcessScheduler::next_deadline);
//!     let timeout = match deadlines.min() {
//!         None => EpollTimeout::NONE,
//!         Some(at) => {
//!             let time = at.saturating_duration_since(Instant::now());
//!             EpollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
//!         }
//!     };
//!     match reactor.wait(&mut [EpollEvent::empty(); 8], timeout) {
//!         Ok(_) | Err(Errno::EINTR) => {}
//!         Err(errno) => return Err(errno.into()),
//!     }
//!     running = 0;
//!     for scheduler in &mut schedulers {
//!         running += usize::from(scheduler.step(Some(Duration::ZERO))? == Status::Running);
//!     }
//! }
//! for scheduler in &schedulers {
//!     assert_eq!(scheduler.programs()[0].restarts(), 2);
//! }
//! # std::fs::remove_dir_all(&err_dir).expect("clean up");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One command
//!
//! [`Init`] is for the first process of a container that runs one command and has no config: it
//! forwards signals, reaps orphans and returns the exit code.
//!
//! # How it is built
//!
//! The machine (`src/machine/`) decides and does no I/O; `src/os/` acts and decides nothing; the
//! scheduler connects them. `src/init/` is independent of the scheduler. Imports point one way:
//! binary, `config`, `scheduler`, then `report` and `os`, `spec`, `machine`. Only `src/os/` has
//! unsafe code.
//!
//! The map of all files, with what each is for, is in [`guide::design`]. The other pages of the
//! [`guide`] are about the binary, its config, and the places where it runs.

// Each item that needs a feature has a label with its name.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
// Every public type can be named by a caller.
#![deny(unnameable_types)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!("procsched uses Linux system calls and builds for Linux only");

/// Compiles the programs of the README, and runs those that end.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(any(doc, doctest))]
pub mod guide;

mod callbacks;
#[cfg(feature = "json")]
pub mod config;
mod cstr_list;
mod error;
mod event;
mod exec;
mod handle;
mod init;
mod lineage;
mod machine;
mod orphans;
#[allow(unsafe_code)]
mod os;
mod plan;
mod program;
mod report;
mod scheduler;
mod signal;
mod spec;
mod status;
#[doc(hidden)] // For the binary of this package.
pub mod text;

pub use callbacks::{EachLine, OutputLine, OutputLines};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind, SignalSender, StopCause};
pub use handle::Handle;
pub use init::{Init, InitEvent};
pub use machine::{Backoff, Cause, ProgramState, Restart};
pub use os::emergency_heap::EmergencyHeap;
pub use os::shared_writer::SharedWriter;
pub use os::terminal::terminal_columns;
pub use plan::{ApplyOptions, Plan, PlannedChange, PlannedKind};
pub use report::ErrorReport;
#[cfg(feature = "json")]
pub use report::utc_millis;
pub use scheduler::{Builder, ProcessScheduler, Reap, Status};
pub use signal::{Signal, SignalTo, exit_label, signal_name};
pub use spec::{
    Address, Check, ChildSpec, ErrorCommand, Health, LOG_BYTES_MIN, LOG_KEEP_MAX, LogOptions,
    NAME_BYTES_MAX, Probe, REPORT_BYTES_DEFAULT, REPORT_BYTES_MAX, Ready, Resource,
    STOP_TIMEOUT_DEFAULT, StdStream, Stderr, Stdout, User, group_named,
};
pub use status::{HealthStatus, LastExit, ProgramStatus};
