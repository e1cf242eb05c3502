//! One supervisor from its start to its stop, watched from outside.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::orphans::{self, Left};
use crate::place::{Place, Route};
use crate::proc;
use crate::reader::Reader;
use crate::side::Side;
use crate::tools::Tools;

/// What a measurement yields: figures, or why there are none.
pub type Outcome<T> = Result<T, String>;

/// A measurement that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked. The children take the times, so that this need not be fast.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(5);
pub const LOOK_INTERVAL_SHORT: Duration = Duration::from_micros(200);

/// Without a switch for this long, what starting brought about is over.
pub const QUIET: Duration = Duration::from_millis(200);

/// Nanoseconds of CLOCK_MONOTONIC, as the children have them.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

pub fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Has a supervisor stop if this process ends before it, by Ctrl-C or a signal: it stands in a group
/// of its own. Its programs see to themselves (`benches/child.c`).
fn stop_with_us(command: &mut Command) {
    let set = || set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from);
    // SAFETY: it is one call of prctl(2), which may be made between fork and exec.
    unsafe { command.pre_exec(set) };
}

/// A supervisor that runs.
pub struct Run<'a> {
    pub side: &'a Side,
    pub tools: &'a Tools,
    pub place: Place,
    process: Child,
    began: u64,
    /// Of what it passes on.
    pub reader: Option<Reader>,
}

impl<'a> Run<'a> {
    pub fn start(side: &'a Side, tools: &'a Tools, place: Place) -> Self {
        let words = side.configure(&place, tools);
        let output = |name| File::create(place.path(name)).expect("a file for output");
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(place.path(""))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output("reports"))
            .stderr(output("messages"));
        stop_with_us(&mut command);
        if place.route() == Route::Inherited {
            command.stdout(Stdio::piped());
        }
        let began = now();
        let mut process = command.spawn().expect("a supervisor");
        let reader = process.stdout.take().map(Reader::start);
        Self {
            side,
            tools,
            place,
            process,
            began,
            reader,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("pids are small"))
    }

    /// A supervisor whose programs all run, and have run for this long.
    pub fn settled(
        side: &'a Side,
        tools: &'a Tools,
        place: Place,
        time: Duration,
    ) -> Outcome<Self> {
        let run = Self::start(side, tools, place);
        run.wait_started()?;
        sleep(time);
        run.check_alive()?;
        Ok(run)
    }

    /// Waits until nothing that starting brought about is left to be done.
    pub fn wait_quiet(&self) -> Outcome<()> {
        let mut before = u64::MAX;
        self.wait_until(QUIET, || {
            let now = self.switches();
            let is_quiet = std::mem::replace(&mut before, now) == now;
            is_quiet
                .then_some(())
                .ok_or_else(|| "it does not become quiet".to_owned())
        })
    }

    /// Milliseconds until every program ran.
    pub fn wait_started(&self) -> Outcome<f64> {
        let count = self.place.count as u64;
        self.wait_until(LOOK_INTERVAL, || match self.place.page.starts() {
            starts if starts >= count => Ok(()),
            starts => Err(format!("{starts} of {count} programs started")),
        })?;
        let last = self.place.page.slots().map(|slot| slot.started_at).max();
        Ok(milliseconds(last.unwrap_or(0) - self.began))
    }

    /// Kills a program; milliseconds until its successor ran.
    pub fn restart(&self, index: usize) -> Outcome<f64> {
        let before = self.place.page.slot(index);
        let died = now();
        kill(Pid::from_raw(before.pid), Signal::SIGKILL).map_err(|error| error.to_string())?;
        let mut started = 0;
        self.wait_until(LOOK_INTERVAL_SHORT, || {
            let slot = self.place.page.slot(index);
            started = slot.started_at;
            let is_new = slot.starts > before.starts;
            is_new
                .then_some(())
                .ok_or_else(|| "no successor".to_owned())
        })?;
        Ok(milliseconds(started - died))
    }

    /// Its own processor time, that of its helpers included.
    pub fn cpu(&self) -> Duration {
        let time = |pid: &i32| proc::cpu(&pid.to_string()).unwrap_or_default();
        self.processes().iter().map(time).sum()
    }

    /// The processor time of its programs that run.
    pub fn programs_cpu(&self) -> Duration {
        let time = |pid: i32| proc::cpu(&pid.to_string()).unwrap_or_default();
        self.place.page.slots().map(|slot| time(slot.pid)).sum()
    }

    /// Private_Dirty and PSS, in KiB.
    pub fn memory(&self) -> (f64, f64) {
        let each = self.processes().into_iter().map(proc::memory);
        each.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// The most memory that it has had resident so far, in KiB.
    pub fn peak_memory(&self) -> f64 {
        let each = self.processes().into_iter().map(proc::peak_memory);
        each.sum()
    }

    pub fn switches(&self) -> u64 {
        self.processes().into_iter().map(proc::switches).sum()
    }

    /// The supervisor, and its helpers.
    fn processes(&self) -> Vec<i32> {
        if self.side.is_one_process(&self.place) {
            return vec![self.pid().as_raw()];
        }
        let mut pids = proc::descendants();
        pids.retain(|&pid| proc::executable(pid).is_some_and(|path| path != self.tools.child));
        pids
    }

    /// Stops everything; milliseconds until no program was left.
    pub fn stop(self) -> Outcome<f64> {
        let began = now();
        kill(self.pid(), self.side.stop_signal()).map_err(|error| error.to_string())?;
        let status = waitpid(self.pid(), None).map_err(|error| error.to_string())?;
        let mut gone = now();
        let clean = !self.side.is_ours() || matches!(status, WaitStatus::Exited(_, 0));
        if !clean {
            return Err(format!("it ended with {status:?}"));
        }
        let end = Instant::now() + PATIENCE;
        while orphans::reap() == Left::Some {
            if Instant::now() > end {
                return Err("programs are left".to_owned());
            }
            sleep(LOOK_INTERVAL_SHORT);
            gone = now();
        }
        Ok(milliseconds(gone - began))
    }

    fn check_alive(&self) -> Outcome<()> {
        match waitpid(self.pid(), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => Ok(()),
            ended => Err(format!(
                "it ended: {ended:?}; it said last: {}",
                self.place.last_words()
            )),
        }
    }

    /// Looks again and again until there is no complaint; the last one, if there is no end.
    pub fn wait_until(&self, nap: Duration, mut look: impl FnMut() -> Outcome<()>) -> Outcome<()> {
        let end = Instant::now() + PATIENCE;
        while let Err(complaint) = look() {
            self.check_alive()?;
            if Instant::now() > end {
                let words = self.place.last_words();
                return Err(format!(
                    "{complaint} in {} s; it said last: {words}",
                    PATIENCE.as_secs()
                ));
            }
            sleep(nap);
        }
        Ok(())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        orphans::end_all();
    }
}
