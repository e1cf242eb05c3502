//! What one seed decides at the beginning of a life: the programs and their policies, the kind of
//! host, the system below.

use std::path::Path;
use std::time::Duration;

use crate::kernel::world::{Kernel, Moods, Parent, Weather, Whose};
use crate::machine::{Backoff, Restart};
use crate::model::rng::Rng;
use crate::scheduler::Reap;
use crate::spec::ChildSpec;

const STEPS_TO_STOP_MAX: usize = 400;

/// A signal that the host hears of, beside those that stop everything.
pub const OTHER_SIGNAL: i32 = libc::SIGUSR1;

#[derive(Debug, Clone)]
pub struct Setting {
    pub specs: Vec<ChildSpec>,
    pub reap: Reap,
    pub subreaper: bool,
    /// A child is there before the scheduler.
    pub inherited: bool,
    pub stop_signals: Vec<i32>,
    pub error_command: bool,
    pub safety_sweep: bool,
    /// The host waits by itself, and takes turns that do not wait.
    pub own_loop: bool,
    /// One report in so many makes the handler panic.
    pub panics: Option<u64>,
    /// Statuses are stolen.
    pub thieves: bool,
    pub strangers: bool,
    pub disk_fills: bool,
    /// The step of the first stop; many come after the last step.
    pub stop_at: usize,
}

impl Setting {
    pub fn any(rng: &mut Rng, directory: &Path) -> Self {
        let reap = rng.pick(&[Reap::All, Reap::All, Reap::Own]);
        let subreaper = reap == Reap::All && rng.one_in(2);
        let programs = 1 + rng.index(3);
        Self {
            specs: (0..programs)
                .map(|index| any_spec(rng, index, directory))
                .collect(),
            reap,
            subreaper,
            inherited: subreaper && rng.one_in(3),
            stop_signals: if rng.one_in(2) {
                vec![libc::SIGTERM, libc::SIGINT]
            } else {
                Vec::new()
            },
            error_command: rng.one_in(4),
            safety_sweep: !rng.one_in(3),
            own_loop: rng.one_in(2),
            panics: rng.one_in(8).then_some(3),
            thieves: reap == Reap::Own && rng.one_in(4),
            strangers: rng.one_in(2),
            disk_fills: rng.one_in(3),
            stop_at: rng.index(STEPS_TO_STOP_MAX),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.specs
            .iter()
            .map(|spec| spec.name().to_owned())
            .collect()
    }

    /// The system that this life is lived on.
    pub fn kernel(&self, mut rng: Rng) -> Kernel {
        let mut weather = Weather::any(&mut rng);
        // Without a descriptor that stands for it, a stolen child cannot be told from the next one
        // of its number.
        weather.no_pidfd &= !self.thieves;
        let moods = Moods::any(&mut rng);
        let numbers = rng.pick(&[8, 8, 8, 12]);
        let mut kernel = Kernel::new(rng, weather, moods, &self.names(), numbers);
        kernel.host_waits = self.reap == Reap::Own;
        kernel.stop_signals.clone_from(&self.stop_signals);
        for (program, spec) in kernel.programs.iter_mut().zip(&self.specs) {
            let timeout = spec.policy().stop_timeout;
            program.stop_timeout = timeout.as_nanos() as u64;
            program.kills_at_once = spec.policy().stop_signal == libc::SIGKILL;
            program.restart = spec.policy().restart;
            program.essential = spec.policy().essential;
            program.restarts_at_once = spec.policy().backoff.initial.is_zero();
        }
        if self.inherited {
            kernel.bear_other(Parent::Us, Whose::Inherited);
        }
        kernel
    }
}

fn any_spec(rng: &mut Rng, index: usize, directory: &Path) -> ChildSpec {
    let millis = |millis: &[u64], rng: &mut Rng| Duration::from_millis(rng.pick(millis));
    let initial = millis(&[0, 0, 1, 100, 1_000], rng);
    let backoff = Backoff {
        initial,
        max: initial.max(millis(&[0, 10, 60_000], rng)),
        reset_after: millis(&[0, 1_000, 30_000], rng),
    };
    let restart = rng.pick(&[
        Restart::Always,
        Restart::Always,
        Restart::Always,
        Restart::OnFailure,
        Restart::Never,
    ]);
    let program = directory.join("program");
    ChildSpec::new(["web", "db", "mail"][index], [program])
        .restart(restart)
        .essential(rng.one_in(10))
        .backoff(backoff)
        .stop_signal(rng.pick(&[
            libc::SIGTERM,
            libc::SIGTERM,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGKILL,
        ]))
        .stop_timeout(millis(&[0, 1, 1_000, 10_000], rng))
        .report_bytes(rng.pick(&[0, 10, 4_096, 65_536]))
}
