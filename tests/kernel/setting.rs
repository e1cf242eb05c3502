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
    /// How many steps there are, on average, for each order for one program. `None`: no orders.
    pub orders: Option<u64>,
    pub keep_running: bool,
    /// How many steps there are, on average, for each change of all definitions. `None`: no changes.
    pub reloads: Option<u64>,
    /// How long a shutdown may take.
    pub shutdown_timeout: Option<Duration>,
}

impl Setting {
    pub fn any(rng: &mut Rng, directory: &Path) -> Self {
        let reap = rng.pick(&[Reap::All, Reap::All, Reap::Own]);
        let subreaper = reap == Reap::All && rng.one_in(2);
        let specs = any_specs(rng, directory);
        let mut setting = Self {
            specs,
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
            orders: (!rng.one_in(3)).then(|| rng.pick(&[2, 4, 16])),
            keep_running: rng.one_in(8),
            reloads: None,
            shutdown_timeout: None,
        };
        // Not drawn: the lives without it are what they were.
        let timeouts = [100, 1_000, 3_000, 20_000].map(Duration::from_millis);
        setting.shutdown_timeout = timeouts.get(setting.stop_at % 12).copied();
        setting
    }

    /// The system that this life is lived on.
    pub fn kernel(&self, mut rng: Rng) -> Kernel {
        let mut weather = Weather::any(&mut rng);
        // Without a descriptor that stands for it, a stolen child cannot be told from the next one
        // of its number.
        weather.no_pidfd &= !self.thieves;
        let moods = Moods::any(&mut rng);
        let numbers = rng.pick(&[8, 8, 8, 12]);
        let mut kernel = Kernel::new(rng, weather, moods, numbers);
        kernel.host_waits = self.reap == Reap::Own;
        kernel.stop_signals.clone_from(&self.stop_signals);
        kernel.shutdown_timeout = self.shutdown_timeout;
        kernel.add_programs(&self.specs);
        if self.inherited {
            kernel.bear_other(Parent::Us, Whose::Inherited);
        }
        kernel
    }
}

/// The names that programs have, first those of the beginning.
pub const NAMES: [&str; 5] = ["web", "db", "mail", "cache", "job"];

fn any_specs(rng: &mut Rng, directory: &Path) -> Vec<ChildSpec> {
    let mut specs = Vec::new();
    let programs = 1 + rng.index(3);
    let is_linked = rng.one_in(2);
    for name in &NAMES[..programs] {
        let others = if is_linked {
            &NAMES[..specs.len()]
        } else {
            &[]
        };
        specs.push(any_spec(rng, name, others, directory));
    }
    // Whatever the order in which they are written.
    if rng.one_in(2) {
        specs.reverse();
    }
    specs
}

/// A program that may wait for some of these others.
pub fn any_spec(rng: &mut Rng, name: &str, others: &[&str], directory: &Path) -> ChildSpec {
    let millis = |millis: &[u64], rng: &mut Rng| Duration::from_millis(rng.pick(millis));
    let initial = millis(&[0, 0, 1, 100, 1_000], rng);
    let backoff = Backoff {
        initial,
        max: initial.max(millis(&[0, 10, 60_000], rng)),
        reset_after: millis(&[0, 1_000, 30_000], rng),
    };
    let program = directory.join("program");
    let spec = ChildSpec::new(name, [program])
        .backoff(backoff)
        .stop_signal(rng.pick(&[
            libc::SIGTERM,
            libc::SIGTERM,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGKILL,
        ]))
        .stop_timeout(millis(&[0, 1, 1_000, 10_000], rng))
        .report_bytes(rng.pick(&[0, 10, 4_096, 65_536]));
    with_links(with_ends(spec, rng), rng, others)
}

/// When it is restarted, and what ends it for good.
fn with_ends(spec: ChildSpec, rng: &mut Rng) -> ChildSpec {
    let is_oneshot = rng.one_in(6);
    let restarts: &[Restart] = if is_oneshot {
        &[Restart::OnFailure, Restart::OnFailure, Restart::Never]
    } else {
        &[
            Restart::Always,
            Restart::Always,
            Restart::Always,
            Restart::OnFailure,
            Restart::Never,
        ]
    };
    let essential = rng.one_in(10);
    let mut spec = spec
        .oneshot(is_oneshot)
        .restart(rng.pick(restarts))
        .essential(essential);
    if rng.one_in(8) {
        spec = spec.success_codes([3, -libc::SIGTERM]);
    }
    if rng.one_in(8) {
        spec = spec.permanent_failure_codes([1, -libc::SIGSEGV]);
    }
    // How many there were in a row is not counted here, and so does not end everything.
    if rng.one_in(6) && !essential {
        spec = spec.max_restarts(rng.pick(&[0, 1, 3]));
    }
    spec
}

fn with_links(spec: ChildSpec, rng: &mut Rng, others: &[&str]) -> ChildSpec {
    let mut some = |one_in: u64| {
        let mut some = Vec::new();
        some.extend(others.iter().filter(|_| rng.one_in(one_in)).copied());
        some
    };
    let (requires, after) = (some(2), some(3));
    spec.requires(requires).after(after)
}
