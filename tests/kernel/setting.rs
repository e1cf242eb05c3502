//! What one seed decides at the beginning of a life: the programs and their policies, the kind of
//! host, the system below.

use std::path::Path;
use std::time::Duration;

use crate::kernel::world::{
    COMMAND, HEALTH_PORT, Kernel, Moods, Parent, READY_PORT, Weather, Whose,
};
use crate::machine::{Backoff, Restart};
use crate::model::rng::Rng;
use crate::scheduler::Reap;
use crate::signal::SignalTo;
use crate::spec::{
    Check, ChildSpec, Health, LOG_BYTES_MIN, LOG_KEEP_MAX, LogOptions, Probe, Ready, Stderr, Stdout,
};

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
    /// Programs tell how they are, or are checked.
    pub has_signs: bool,
    /// Programs have two streams, which go here and there, and logs that are rotated.
    pub has_streams: bool,
    /// They write as much as a log has that is rotated.
    pub writes_much: bool,
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
            has_signs: false,
            has_streams: false,
            writes_much: false,
        };
        // Not drawn: the lives without it are what they were.
        let timeouts = [100, 1_000, 3_000, 20_000].map(Duration::from_millis);
        setting.shutdown_timeout = timeouts.get(setting.stop_at % 12).copied();
        setting
    }

    /// From now on programs tell how they are, or are checked.
    pub fn add_signs(&mut self, rng: &mut Rng, directory: &Path) {
        self.has_signs = true;
        let specs = std::mem::take(&mut self.specs).into_iter();
        self.specs = specs.map(|spec| with_signs(spec, rng, directory)).collect();
    }

    /// From now on programs have two streams.
    pub fn add_streams(&mut self, rng: &mut Rng) {
        self.has_streams = true;
        self.writes_much = rng.one_in(4);
        let specs = std::mem::take(&mut self.specs).into_iter();
        self.specs = specs.map(|spec| with_streams(spec, rng)).collect();
    }

    /// The system that this life is lived on.
    pub fn kernel(&self, mut rng: Rng, directory: &Path) -> Kernel {
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
        kernel.has_signs = self.has_signs;
        (kernel.has_streams, kernel.writes_much) = (self.has_streams, self.writes_much);
        kernel.directory = directory.to_owned();
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

/// Where what it writes goes, how its logs are kept, and for whom its stop is.
pub fn with_streams(spec: ChildSpec, rng: &mut Rng) -> ChildSpec {
    let stdouts = [Stdout::Null, Stdout::Log, Stdout::Stderr, Stdout::Inherit];
    let stderrs = [Stderr::Log, Stderr::Log, Stderr::Inherit, Stderr::Null];
    let log = LogOptions::new()
        .max_bytes(rng.pick(&[0, LOG_BYTES_MIN]))
        .keep(LOG_KEEP_MAX)
        .marks(rng.one_in(3));
    let to = rng.pick(&[SignalTo::Group, SignalTo::Main]);
    spec.stdout(rng.pick(&stdouts))
        .stderr(rng.pick(&stderrs))
        .log(log)
        .stop_to(to)
}

/// How it tells that it is up and well, or is found to be.
pub fn with_signs(spec: ChildSpec, rng: &mut Rng, directory: &Path) -> ChildSpec {
    let millis = |millis: &[u64], rng: &mut Rng| Duration::from_millis(rng.pick(millis));
    let essential = spec.essential;
    let timeouts = [0, 20, 300, 300, 1_000, 5_000];
    if spec.oneshot {
        let timeout = (!essential && rng.one_in(3)).then(|| millis(&timeouts, rng));
        return spec.start_timeout(timeout);
    }
    let mut spec = spec;
    if let Some(ready) = any_ready(spec.name(), rng, directory) {
        let delay = match ready {
            Ready::Delay(delay) => delay,
            _ => Duration::ZERO,
        };
        spec = spec.ready(ready);
        let timeout = millis(&timeouts, rng);
        // Whether an end for good ends everything is judged without faults.
        if essential || timeout <= delay {
            spec = spec.start_timeout(None);
        } else if !rng.one_in(4) {
            spec = spec.start_timeout(Some(timeout));
        }
    }
    if essential {
        return spec;
    }
    if rng.one_in(3) {
        spec = spec.watchdog(millis(&[200, 1_000, 3_000, 20_000], rng));
    }
    if rng.one_in(2) {
        let check = any_check(spec.name(), "health", rng, directory);
        let health = Health::new(check)
            .interval(millis(&[50, 50, 1_000, 10_000], rng))
            .timeout(millis(&[1, 50, 1_000, 5_000], rng))
            .retries(rng.pick(&[1, 2, 2, 3]));
        spec = spec.health(health);
    }
    spec
}

fn any_ready(name: &str, rng: &mut Rng, directory: &Path) -> Option<Ready> {
    let millis = |millis: &[u64], rng: &mut Rng| Duration::from_millis(rng.pick(millis));
    Some(match rng.below(8) {
        0 => return None,
        1 | 2 => Ready::Fd(3 + rng.below(61) as i32),
        3 | 4 => Ready::Notify,
        5 => Ready::Delay(millis(&[0, 1, 50, 1_000], rng)),
        _ => {
            let check = any_check(name, "ready", rng, directory);
            let probe = Probe::new(check)
                .interval(millis(&[1, 50, 1_000], rng))
                .timeout(millis(&[1, 50, 1_000, 5_000], rng));
            Ready::Probe(probe)
        }
    })
}

fn any_check(name: &str, what: &str, rng: &mut Rng, directory: &Path) -> Check {
    let place = NAMES.iter().position(|known| *known == name);
    let base = if what == "ready" {
        READY_PORT
    } else {
        HEALTH_PORT
    };
    let port = base + place.unwrap_or_default() as u16;
    let address = match rng.below(6) {
        0 => format!("127.0.0.1:{port}"),
        1 => format!("[::1]:{port}"),
        2 => format!("./{what}-{name}"),
        _ => {
            let file = directory.join(COMMAND).into_os_string();
            return Check::Command(vec![file, what.into(), name.into()]);
        }
    };
    Check::Connect(address.parse().expect("an address"))
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
