//! From a description to a scheduler that is ready to start: everything that can be wrong is found
//! here, before anything runs.

mod check;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use super::capture::Capture;
use super::core::Core;
use super::definitions::Definitions;
use super::directories::check_base_dir;
use super::fd_budget::FdBudget;
use super::groups::GroupProbes;
use super::inbox::Inbox;
use super::launcher::Launcher;
use super::orphan_sweep::OrphanSweep;
use super::outbox::Outbox;
use super::probes::Probes;
use super::readiness::Readiness;
use super::reaper::Reaper;
use super::side_commands::{Handler, SideCommands};
use super::{Phase, ProcessScheduler, Reap};
use crate::callbacks::{Callbacks, OutputLines};
use crate::error::{Error, Result};
use crate::event::{Event, SignalSender};
use crate::exec::{BaseEnv, absolute};
use crate::lineage::Lineage;
use crate::os::clock::Clock;
use crate::os::descriptors;
use crate::os::emergency_heap;
use crate::os::pages::trim_memory;
use crate::os::spawn::Spawner;
use crate::os::wake::Waker;
use crate::report::ErrorReport;
use crate::spec::{ChildSpec, ERR_DIR_DEFAULT, ErrorCommand, shutdown_timeout_problem};

/// Describes a [`ProcessScheduler`]; see [`ProcessScheduler::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    base_dir: PathBuf,
    err_dir: PathBuf,
    programs: Vec<ChildSpec>,
    callbacks: Callbacks,
    stop_signals: Vec<i32>,
    other_signals: Vec<i32>,
    error_command: Option<ErrorCommand>,
    raise_descriptor_limit: bool,
    trim_memory: bool,
    kill_on_drop: bool,
    reap: Reap,
    safety_sweep: bool,
    subreaper: bool,
    keep_running: bool,
    ends_with_stopped: bool,
    shutdown_timeout: Option<Duration>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("programs", &self.programs)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(base_dir: PathBuf) -> Self {
        Self {
            base_dir,
            err_dir: ERR_DIR_DEFAULT.into(),
            programs: Vec::new(),
            callbacks: Callbacks::default(),
            stop_signals: Vec::new(),
            other_signals: Vec::new(),
            error_command: None,
            raise_descriptor_limit: false,
            trim_memory: false,
            kill_on_drop: false,
            reap: Reap::default(),
            safety_sweep: true,
            subreaper: false,
            keep_running: false,
            ends_with_stopped: false,
            shutdown_timeout: None,
        }
    }

    /// Adds a program. Programs start in the order in which they are added; names are unique.
    pub fn program(mut self, spec: ChildSpec) -> Self {
        self.programs.push(spec);
        self
    }

    /// Adds several programs.
    pub fn programs(mut self, specs: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.programs.extend(specs);
        self
    }

    /// Sets the directory of the logs, relative to the base directory; `/tmp` by default. It is
    /// created if it is missing (mode 0755, modified by the umask), unless no program has a log. Each
    /// program's stderr is appended to `{name}.stderr.log` in it, unless
    /// [`ChildSpec::stderr`] says otherwise, and its stdout may be ([`ChildSpec::stdout`]). A leading
    /// `~/` is an error: it is not expanded.
    pub fn err_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.err_dir = directory.into();
        self
    }

    /// Sets a closure that is called with each report. There is one for every exit, with code 0 and
    /// after a stop too, for every failed start, and for a run that was abandoned:
    /// [`ErrorReport::is_failure`] says which are failures. By default each report is printed on
    /// stdout, on one line: as JSON, or without the feature `json` as its `Debug`.
    ///
    /// Like all closures here it is called by the turn itself, at its end, in the thread that takes the
    /// turn. While it runs, nothing is supervised; work that falls due meanwhile is done afterwards. A
    /// panic is reported as
    /// [`EventKind::HandlerPanicked`](crate::EventKind::HandlerPanicked), and supervision goes on.
    pub fn error_handler(
        mut self,
        handler: impl FnMut(&str, &ErrorReport) + Send + 'static,
    ) -> Self {
        self.callbacks.on_report = Box::new(handler);
        self
    }

    /// Sets a closure that is called with the lines of programs whose stdout or stderr is inherited
    /// ([`Stdout::Inherit`](crate::Stdout), [`Stderr::Inherit`](crate::Stderr)), as many as were read
    /// together, in their order, those of a run before its end is reported. A line that is longer than
    /// 8 KiB, or whose end does not come within 200 ms, comes in parts. By default they are printed on
    /// the host's own stdout or stderr, each with the name of its program; if the reader of that is
    /// slow, the turn waits for it. A host that must not wait keeps them, and says by
    /// [`hold_output`](crate::ProcessScheduler::hold_output) when it has no room for more.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Restart, Stderr, StdStream, Stdout};
    /// # use std::sync::mpsc::channel;
    /// # fn main() -> procsched::Result<()> {
    /// let (sender, lines) = channel();
    /// let once = ChildSpec::new("once", ["echo", "hello"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once.stdout(Stdout::Inherit).stderr(Stderr::Inherit))
    ///     .on_output(move |lines| {
    ///         for line in lines {
    ///             sender.send((lines.stream(), line.text().to_vec())).unwrap();
    ///         }
    ///     })
    ///     .build()?;
    /// scheduler.start()?;
    /// assert_eq!(lines.try_recv(), Ok((StdStream::Stdout, b"hello".to_vec())));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_output(mut self, handler: impl FnMut(OutputLines<'_>) + Send + 'static) -> Self {
        self.callbacks.on_output = Box::new(handler);
        self
    }

    /// Sets a closure that is called with each event, in the order in which they happen, at the end of
    /// a turn: never within [`ProcessScheduler::add`] or another order. None by default.
    pub fn on_event(mut self, handler: impl FnMut(&Event) + Send + 'static) -> Self {
        self.callbacks.on_event = Box::new(handler);
        self
    }

    /// Sets which children are waited for: all of this process, or our own. [`Reap::All`] by default.
    pub fn reap(mut self, reap: Reap) -> Self {
        self.reap = reap;
        self
    }

    /// Sets a closure that is called with the pid and the status of each reaped child that is not a
    /// program of this scheduler: orphans, and the host's own children. Never called with
    /// [`Reap::Own`]. None by default.
    pub fn on_stray(mut self, handler: impl FnMut(i32, ExitStatus) + Send + 'static) -> Self {
        self.callbacks.on_stray = Box::new(handler);
        self
    }

    /// Sets the signals that stop the scheduler. A second one, at least 200 ms later, kills
    /// everything. None by default: the library handles SIGCHLD alone.
    pub fn stop_on_signals(mut self, signals: impl IntoIterator<Item = i32>) -> Self {
        self.stop_signals.extend(signals);
        self
    }

    /// Sets a closure that the turn calls when one of these signals has arrived, with its first
    /// sender. None by default. Several arrivals may lead to one call. Signals that cannot be handled
    /// are left out.
    pub fn on_signals(
        mut self,
        signals: impl IntoIterator<Item = i32>,
        handler: impl FnMut(i32, SignalSender) + Send + 'static,
    ) -> Self {
        self.other_signals = signals.into_iter().collect();
        self.callbacks.on_signal = Box::new(handler);
        self
    }

    /// Sets a command that is run for each report, or for those of failures, besides the error
    /// handler. The program's name is
    /// its last argument, the report as JSON its stdin, `/dev/null` its stdout, our stderr its
    /// stderr, and the base directory its working directory; it has its own session. At most 4 run
    /// at a time, for at most 30 s each; at most 1,024 reports or 4 MiB wait. Reports over that are
    /// dropped, and commands over their time killed, which is reported as a warning. Its background
    /// processes are not tracked. None by default.
    ///
    /// ```
    /// use procsched::{ChildSpec, ErrorCommand, ProcessScheduler, Restart};
    ///
    /// # let logs = tempfile::tempdir().unwrap();
    /// let script = |code: &str| ["sh".to_owned(), "-c".to_owned(), format!("exit {code}")];
    /// let note = ["sh", "-c", "cat >> reports; echo $0 >> names"];
    /// let mut scheduler = ProcessScheduler::builder(logs.path())
    ///     .program(ChildSpec::new("good", script("0")).restart(Restart::Never))
    ///     .program(ChildSpec::new("bad", script("1")).restart(Restart::Never))
    ///     .err_dir("logs")
    ///     .error_handler(|_, _| ())
    ///     .error_command(ErrorCommand::new(note).only_failures())
    ///     .build()?;
    /// scheduler.start()?;
    /// let names = std::fs::read_to_string(logs.path().join("names")).expect("one was run");
    /// assert_eq!(names, "bad\n");
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn error_command(mut self, command: impl Into<ErrorCommand>) -> Self {
        self.error_command = Some(command.into());
        self
    }

    /// Raises this process's limit on open descriptors (`RLIMIT_NOFILE`): the soft limit to the hard
    /// one, and the hard one as far as needed, where that is allowed. Programs get the former limits.
    /// For a process that is a supervisor and nothing else: in others it would break `select(2)`.
    pub fn raise_descriptor_limit(mut self) -> Self {
        self.raise_descriptor_limit = true;
        self
    }

    /// Returns freed memory to the system where libc would keep it (glibc: malloc_trim(3)): after
    /// building, after new definitions, and after many reports have waited for the error command.
    /// From then on the heap grows in steps of 16 KiB, and allocations of 32 KiB and more are mapped
    /// separately (mallopt(3)). For a process that is a supervisor and nothing else: with a large
    /// heap it takes time.
    pub fn trim_memory(mut self) -> Self {
        self.trim_memory = true;
        self
    }

    /// Sends SIGKILL to the process group of each program when the scheduler is dropped before it
    /// has stopped. It does not wait for them: the next reaper of this process gets the zombies. By
    /// default no process is signalled.
    pub fn kill_on_drop(mut self) -> Self {
        self.kill_on_drop = true;
        self
    }

    /// Makes this process a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a descendant that
    /// left its group and lost its parent is reparented to us, as it is to PID 1 anyway. Each program
    /// gets the variable `PROCSCHED_CHAIN`, which names it and proves that it is ours. An orphan that
    /// carries it belongs to that program, and is killed before the program starts again; a stop, a
    /// restart or a removal of the program gives it the same time to end. Other orphans are left
    /// alone meanwhile. At the end all orphans are stopped: SIGTERM and SIGCONT, and SIGKILL after
    /// the longest `stop_timeout` of all programs. The scheduler has stopped when
    /// this process has no children except those that it had before `build`; as PID 1, none at all.
    ///
    /// For a process that is a supervisor and nothing else: a child that the host has started
    /// meanwhile would be stopped as well. It needs [`Reap::All`], and `/proc`. Off by default; the
    /// former state is restored when the scheduler is dropped.
    pub fn subreaper(mut self) -> Self {
        self.subreaper = true;
        self
    }

    /// Keeps the scheduler running when every program has ended for good, and when there is none: only
    /// a stop ends it. For a host that starts and adds programs later. By default it ends when every
    /// program has ended for good. One that was stopped, or does not start by itself, has not, and
    /// keeps it running: see [`Builder::end_with_stopped`].
    ///
    /// ```
    /// # use procsched::{ProcessScheduler, Status};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// let mut scheduler = ProcessScheduler::builder("/").keep_running().build()?;
    /// assert_eq!(scheduler.step(Some(Duration::ZERO))?, Status::Running);
    /// scheduler.stop();
    /// assert_eq!(scheduler.step(Some(Duration::ZERO))?, Status::Stopped);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_running(mut self) -> Self {
        self.keep_running = true;
        self
    }

    /// Ends the scheduler when no program runs or is to be started, even if some were stopped or do
    /// not start by themselves ([`ChildSpec::autostart`]). For a host without a way to start them
    /// later. By default they keep it running.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(ChildSpec::new("report", ["sleep", "60"]).autostart(false))
    ///     .err_dir(logs.path())
    ///     .end_with_stopped()
    ///     .build()?;
    /// scheduler.start()?; // returns at once
    /// # Ok(())
    /// # }
    /// ```
    pub fn end_with_stopped(mut self) -> Self {
        self.ends_with_stopped = true;
        self
    }

    /// Sets the time within which everything has ended, from the moment at which it begins to stop,
    /// whatever its programs do; at least 100 ms. One second before that, or at half of it if that
    /// is later, everything is killed that is left; then the error commands are; and what survives is
    /// abandoned, which [`ProcessScheduler::start`] reports as an error. The closures of the host have
    /// no such limit. None by default: each program has its own
    /// [`stop_timeout`](ChildSpec::stop_timeout), one after the other where they depend on each
    /// other.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Status};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let stubborn = ChildSpec::new("stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 9; done"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(stubborn.stop_timeout(Duration::from_secs(3600)))
    ///     .err_dir(logs.path())
    ///     .shutdown_timeout(Duration::from_secs(1))
    ///     .build()?;
    /// scheduler.step(None)?;
    /// scheduler.stop();
    /// while scheduler.step(None)? == Status::Running {}
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = Some(timeout);
        self
    }

    /// Sets whether a safety scan checks every 15 s, while programs run, for deaths whose SIGCHLD another part
    /// of the process has kept from us, and for handlers that were installed over ours. Such a
    /// handler is reported once, as a [`Warning`](crate::EventKind::Warning) about no program. On by
    /// default. A process that is a supervisor and nothing else can do without it, and then never
    /// wakes for nothing.
    pub fn safety_sweep(mut self, on: bool) -> Self {
        self.safety_sweep = on;
        self
    }

    /// Checks everything and acquires what is needed: the log directory and the logs, the
    /// descriptors, the signals. Nothing is started yet.
    ///
    /// # Errors
    ///
    /// A base directory that does not exist, an impossible specification, two programs of one
    /// name, a program that waits for one that is not there or, in a cycle, for itself, an unusable
    /// log directory, a log that another supervisor is writing to, another scheduler in this process
    /// (unless both have [`Reap::Own`]), an ignored SIGCHLD with [`Reap::Own`], a signal whose handler
    /// of ours other code in this process has replaced with its own four times already, or a refusal
    /// of the system.
    pub fn build(self) -> Result<ProcessScheduler> {
        self.check_directories()?;
        let base_dir = absolute(&self.base_dir)?;
        check_base_dir(&base_dir)?;
        self.check_programs()?;
        self.check_signals()?;
        check_shutdown_timeout(self.shutdown_timeout)?;
        let lineage = self.subreaper.then(|| Arc::new(Lineage::new()));
        let base = BaseEnv::of_programs(&base_dir, lineage.clone())?;
        let err_dir = Arc::new(base_dir.join(&self.err_dir));
        let handler = self.error_command.as_ref();
        let handler = handler.map(|wanted| Handler::new(wanted, &base_dir, &base));
        let handler = handler.transpose()?;
        let clock = Clock::new();
        emergency_heap::reserve_for(self.programs.len())
            .map_err(|errno| Error::os("failed to reserve memory", errno as i32))?;
        let null = Arc::new(descriptors::null_device()?);
        // Early, as it takes a low number.
        let spawner = Spawner::new(Some(null.clone()))
            .map_err(|errno| Error::os("failed to prepare for starts", errno as i32))?;
        let waker = Arc::new(Waker::new()?);
        let mut capture = Capture::new(&waker)?;
        let budget = FdBudget::new(self.reap, capture.poller(), self.raise_descriptor_limit);
        let inbox = Inbox::install(
            self.stop_signals.clone(),
            &self.other_signals,
            self.reap == Reap::All,
            waker,
        )?;
        let sweep = self.establish_sweep(lineage)?;
        if self.programs.iter().any(ChildSpec::has_log) {
            capture.prepare_log_directory(&err_dir)?;
        }
        let definitions = Definitions::new(base_dir, err_dir, base);
        let (mut machine, programs, watchlist) = definitions.make_all(self.programs)?;
        machine.set_shutdown_timeout(self.shutdown_timeout);
        let mut scheduler = ProcessScheduler {
            core: Core::new(
                machine,
                programs,
                watchlist,
                Outbox::new(self.callbacks),
                self.keep_running,
                self.ends_with_stopped,
            ),
            definitions,
            inbox,
            reaper: Reaper::new(self.reap, self.safety_sweep, sweep.is_some()),
            groups: GroupProbes::default(),
            sweep,
            launcher: Launcher::new(clock, spawner, null, budget),
            capture,
            readiness: Readiness::default(),
            side_commands: SideCommands::new(handler, self.trim_memory),
            probes: Probes::default(),
            clock,
            phase: Phase::Built,
            kill_on_drop: self.kill_on_drop,
        };
        let planned = scheduler.core.planned();
        let (fit, shortage) = scheduler.launcher.plan_for(planned);
        if let Some(error) = shortage {
            scheduler.core.outbox_mut().warn(error);
        }
        scheduler.open_logs(fit)?;
        if self.trim_memory {
            trim_memory();
        }
        Ok(scheduler)
    }

    fn establish_sweep(&self, lineage: Option<Arc<Lineage>>) -> Result<Option<OrphanSweep>> {
        let Some(lineage) = lineage else {
            return Ok(None);
        };
        if self.reap != Reap::All {
            return Err(Error::because(
                "failed to become a child subreaper",
                "a process that gets orphans has to reap them, which needs Reap::All",
            ));
        }
        OrphanSweep::establish(lineage).map(Some)
    }
}

/// Checks the time that a shutdown may take.
pub(super) fn check_shutdown_timeout(timeout: Option<Duration>) -> Result<()> {
    match timeout.and_then(shutdown_timeout_problem) {
        Some(problem) => Err(Error::new(format!("shutdown_timeout: {problem}"))),
        None => Ok(()),
    }
}

impl ProcessScheduler {
    /// Opens the logs of the first programs, so that what is wrong with them is known before
    /// anything starts. A stop that arrives meanwhile does not wait for ten thousand of them.
    fn open_logs(&mut self, count: usize) -> Result<()> {
        for id in self.core.programs().ids().into_iter().take(count) {
            if self.inbox.has_stop_signal() {
                return Ok(());
            }
            self.open_logs_of(id)?;
        }
        Ok(())
    }
}
