//! A host that runs the scheduler turn by turn, and compares what it is told with what the simulated
//! kernel knows.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::setting::{OTHER_SIGNAL, Setting};
use super::world::{self, Call, Deed, Kernel, Line, OTHERS_DESCRIPTORS_FROM};
use crate::event::Event;
use crate::machine::ProgramState;
use crate::model::rng::Rng;
use crate::os::clock;
use crate::report::ErrorReport;
use crate::scheduler::{ProcessScheduler, Reap, Status};
use crate::spec::StdStream;

/// Turns in a row that may be due and do nothing.
const VAIN_MAX: u32 = 50;

pub type Check = Result<(), String>;

/// What the host was told.
pub(super) enum Told {
    Report(ErrorReport),
    Event(Event),
    Stray(i32),
    Line(Line),
}

/// What was told of one program up to now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account {
    pub reports: u64,
    pub lost: [u64; 2],
    /// The last that was told of it is that it was removed.
    pub removed: bool,
    /// Where its parts of the logs end, which the next program of its name goes on with.
    pub log_end: Option<[usize; 2]>,
}

pub struct Driver {
    pub rng: Rng,
    pub setting: Setting,
    pub scheduler: ProcessScheduler,
    pub directory: PathBuf,
    pub accounts: Vec<Account>,
    pub(super) told: Arc<Mutex<Vec<Told>>>,
    /// The host was told that everything ends.
    pub is_ending: bool,
    /// Turns in a row that were due at once, did nothing, and left the next due at once.
    vain: u32,
    /// Descriptors that were open before there was a scheduler.
    pub descriptors_before: usize,
    pub status: Status,
    /// Runs that were to end by a change of all definitions.
    pub(super) restarted: Vec<usize>,
    /// The host takes nothing of this stream.
    held: [bool; 2],
}

/// How many descriptors the library, or the test, has open.
pub fn descriptors() -> usize {
    let entries = std::fs::read_dir("/proc/thread-self/fd").expect("the thread's own table");
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.parse::<i32>().ok()
    };
    // One of them is the look itself.
    entries
        .filter_map(number)
        .filter(|fd| *fd < OTHERS_DESCRIPTORS_FROM)
        .count()
        - 1
}

impl Driver {
    pub fn new(rng: Rng, setting: Setting, directory: &Path) -> Result<Self, String> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell =
            |what: Told, told: &Arc<Mutex<Vec<Told>>>| told.lock().expect("one thread").push(what);
        let (reports, events, strays) = (told.clone(), told.clone(), told.clone());
        let lines = told.clone();
        let mut until_panic = setting.panics;
        let every = setting.panics;
        let descriptors_before = descriptors();
        let mut builder = ProcessScheduler::builder(directory)
            .err_dir(directory)
            .programs(setting.specs.clone())
            .reap(setting.reap)
            .safety_sweep(setting.safety_sweep)
            .stop_on_signals(setting.stop_signals.clone())
            .on_signals([OTHER_SIGNAL], |_, _| {})
            .on_event(move |event| tell(Told::Event(event.clone()), &events))
            .on_output(move |read| {
                for line in read {
                    let line = Line {
                        program: read.program().to_owned(),
                        stream: read.stream(),
                        text: line.text().to_vec(),
                        is_continued: line.is_continued(),
                    };
                    tell(Told::Line(line), &lines);
                }
            })
            .on_stray(move |pid, _| tell(Told::Stray(pid), &strays))
            .error_handler(move |_, report| {
                tell(Told::Report(report.clone()), &reports);
                let Some(left) = &mut until_panic else { return };
                *left -= 1;
                if *left == 0 {
                    until_panic = every;
                    panic!("a handler that panics");
                }
            });
        if setting.subreaper {
            builder = builder.subreaper();
        }
        if setting.keep_running {
            builder = builder.keep_running();
        }
        if let Some(timeout) = setting.shutdown_timeout {
            builder = builder.shutdown_timeout(timeout);
        }
        if setting.error_command {
            builder = builder.error_command([directory.join("handler")]);
        }
        let scheduler = builder
            .build()
            .map_err(|error| format!("not built: {error}"))?;
        world::with(|kernel| kernel.handle = Some(scheduler.handle()));
        Ok(Self {
            rng,
            accounts: vec![Account::default(); setting.specs.len()],
            setting,
            scheduler,
            directory: directory.to_owned(),
            told,
            is_ending: false,
            vain: 0,
            descriptors_before,
            status: Status::Running,
            restarted: Vec::new(),
            held: [false; 2],
        })
    }

    /// One thing that may happen soon, then a turn.
    pub fn step(&mut self, step: usize) -> Check {
        if step == self.setting.stop_at {
            self.stop_somehow();
        }
        if self.rng.one_in(3) {
            self.something_comes();
        }
        if self
            .setting
            .orders
            .is_some_and(|often| self.rng.one_in(often))
        {
            self.give_some_order()?;
        }
        if self
            .setting
            .reloads
            .is_some_and(|often| self.rng.one_in(often))
        {
            self.reload_some()?;
        }
        if self.setting.has_streams && self.rng.one_in(8) {
            let stream = self.rng.pick(&StdStream::ALL);
            self.hold_output(Some(stream));
        }
        self.turn()?;
        if self.rng.one_in(4) {
            self.do_nothing_for_nothing()?;
        }
        Ok(())
    }

    /// The host takes nothing of this stream from now on, or takes it again; or takes both again.
    pub(super) fn hold_output(&mut self, stream: Option<StdStream>) {
        for other in StdStream::ALL {
            let is_held = match stream {
                None => false,
                Some(stream) => self.held[other as usize] != (stream == other),
            };
            if std::mem::replace(&mut self.held[other as usize], is_held) != is_held {
                world::with(|kernel| kernel.counts.held_back += u64::from(is_held));
                self.scheduler.hold_output(other, is_held);
            }
        }
    }

    fn something_comes(&mut self) {
        let setting = &self.setting;
        let rng = &mut self.rng;
        let deed = match rng.below(16) {
            0..=3 if setting.strangers => Deed::Stranger,
            4 if setting.reap == Reap::Own || !setting.subreaper => Deed::HostChild,
            5 | 6 if setting.thieves => Deed::Theft,
            7 if setting.disk_fills => Deed::Disk(Some(rng.below(3_000))),
            8 | 9 if setting.disk_fills => Deed::Disk(None),
            10 => Deed::Signal(libc::SIGCHLD),
            11 => Deed::Signal(OTHER_SIGNAL),
            12 if rng.one_in(4) => Deed::Halt,
            13 => Deed::Resume,
            _ => return,
        };
        self.soon(deed);
    }

    fn soon(&mut self, deed: Deed) {
        let most = self.rng.pick(&[1, 50_000, 1_000_000]);
        let pause = self.rng.below(most);
        world::with(|kernel| kernel.agenda.push((kernel.now + pause, deed)));
    }

    pub fn stop_somehow(&mut self) {
        let deed = match self.setting.stop_signals.first() {
            Some(&signal) if self.rng.one_in(2) => Deed::Signal(signal),
            _ if self.rng.one_in(4) => Deed::Kill,
            _ => Deed::Stop,
        };
        // Best when the turn is at work that comes at the next deadline.
        match self.scheduler.next_deadline().map(clock::time_of) {
            Some(at) if self.rng.one_in(2) => {
                let at = at + self.rng.below(40_000);
                world::with(|kernel| kernel.agenda.push((at.max(kernel.now), deed)));
            }
            _ => self.soon(deed),
        }
        if self.rng.one_in(4) {
            let again = self.rng.pick(&[0, 150_000_000, 300_000_000]);
            world::with(|kernel| kernel.agenda.push((kernel.now + again, deed)));
        }
    }

    /// A turn, in the way in which this host takes turns.
    pub fn turn(&mut self) -> Check {
        let timeout = if self.setting.own_loop {
            self.wait_as_host();
            Some(Duration::ZERO)
        } else {
            let most = self.rng.pick(&[1_000, 1_000_000, 3_000_000_000]);
            Some(Duration::from_nanos(1 + self.rng.below(most)))
        };
        self.take_turn(timeout)
    }

    pub fn take_turn(&mut self, timeout: Option<Duration>) -> Check {
        let was_due = self.is_due();
        let acts = world::with(|kernel| {
            kernel.counts.turns += 1;
            kernel.begin_turn();
            kernel.acts
        });
        let turned = self.scheduler.step(timeout);
        self.status = turned.map_err(|error| format!("a turn fails: {error}"))?;
        if self.scheduler.is_stopping() {
            world::with(|kernel| {
                kernel.note_essential_ends();
                _ = kernel.stop_asked.get_or_insert(kernel.now);
            });
        }
        let is_vain = was_due
            && self.told.lock().expect("one thread").is_empty()
            && world::with(|kernel| kernel.acts == acts);
        self.hear()?;
        // Without programs it ends, and says nothing of it.
        let is_empty = self.accounts.iter().all(|account| account.removed);
        self.is_ending |= is_empty && !self.setting.keep_running;
        self.spins_not(is_vain)?;
        world::with(|kernel| {
            kernel.check_launches()?;
            kernel.check_removals()?;
            kernel.check_signs()?;
            kernel.check_stops()
        })?;
        self.all_up_are_ready()?;
        self.count_descriptors(false)
    }

    /// What is up has been ready.
    fn all_up_are_ready(&self) -> Check {
        if !self.setting.has_signs {
            return Ok(());
        }
        let programs = self.scheduler.programs();
        let mut up = programs
            .iter()
            .filter(|program| program.state() == ProgramState::Running);
        up.try_for_each(|program| world::with(|kernel| kernel.check_is_up(program.name())))
    }

    fn is_due(&self) -> bool {
        let deadline = self.scheduler.next_deadline().map(clock::time_of);
        deadline.is_some_and(|at| world::with(|kernel| at <= kernel.now))
    }

    /// A turn that does nothing, although it was due, is not due again at once for ever.
    fn spins_not(&mut self, is_vain: bool) -> Check {
        self.vain = if is_vain && self.is_due() {
            self.vain + 1
        } else {
            0
        };
        if self.vain > VAIN_MAX {
            return Err(format!("{VAIN_MAX} turns have done nothing and were due"));
        }
        Ok(())
    }

    /// Until the descriptor is readable, or the deadline has come.
    pub fn wait_as_host(&mut self) {
        let deadline = self.scheduler.next_deadline().map(clock::time_of);
        let mut fds = [libc::pollfd {
            fd: self.scheduler.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let time = deadline.map(|at| at.saturating_sub(world::with(|kernel| kernel.now)));
        let _ = world::wait(&mut fds, time);
    }

    /// If nothing is readable and nothing due, a turn does nothing.
    fn do_nothing_for_nothing(&mut self) -> Check {
        // What the kernel would not wait for is looked at in each turn, and so is what is late.
        let is_news = |kernel: &mut Kernel| {
            let calls = [Call::EpollAdd, Call::Receive, Call::PollOne];
            let may_fail = calls.iter().any(|&call| kernel.weather.may_fail(call));
            may_fail || kernel.is_launch_decided()
        };
        if world::with(is_news) {
            return Ok(());
        }
        world::with(|kernel| kernel.frozen = true);
        let outcome = self.try_to_do_nothing();
        world::with(|kernel| kernel.frozen = false);
        outcome
    }

    fn try_to_do_nothing(&mut self) -> Check {
        let now = world::with(|kernel| kernel.now);
        let deadline = self.scheduler.next_deadline().map(clock::time_of);
        if deadline.is_some_and(|at| at <= now) || self.status == Status::Stopped {
            return Ok(());
        }
        let before = world::with(|kernel| {
            kernel.begin_turn();
            kernel.acts
        });
        self.status = self
            .scheduler
            .step(Some(Duration::ZERO))
            .map_err(|error| error.to_string())?;
        let after = world::with(|kernel| {
            kernel.counts.honest += 1;
            kernel.acts
        });
        let told = self.told.lock().expect("one thread").len();
        if (after, told) != (before, 0) {
            return Err(format!(
                "a turn does {} things and tells {told}, although nothing was due before {deadline:?}",
                after - before
            ));
        }
        self.count_descriptors(true)
    }

    /// What is open is bounded by what lives: four for the loop itself, two for the command, and
    /// for each program its logs, at most two pipes for each, and what stands for its leader; at rest
    /// only pipes that a process holds.
    fn count_descriptors(&mut self, at_rest: bool) -> Check {
        if !at_rest && !self.rng.one_in(16) {
            return Ok(());
        }
        // What was removed and given up is known until it is dead.
        let given_up = world::with(|kernel| kernel.counts.removed_given_up as usize);
        let there = self.accounts.iter().filter(|account| !account.removed);
        let programs = there.count() + given_up;
        let streams = if self.setting.has_streams { 2 } else { 1 };
        // A pipe is not checked for its end while the host takes nothing of it.
        let pipes = match at_rest && self.held == [false; 2] {
            true => world::with(|kernel| kernel.held_pipes()),
            false => 2 * programs * streams,
        };
        let launching = world::with(|kernel| kernel.launching()) * streams;
        let signs = world::with(|kernel| kernel.sign_descriptors());
        let most = 4 + 2 + (1 + streams) * programs + pipes + launching + signs;
        let open = descriptors() - self.descriptors_before;
        if open > most {
            return Err(format!(
                "{open} descriptors are open, and {most} would be enough"
            ));
        }
        Ok(())
    }
}
