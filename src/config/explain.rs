//! What a config comes to, in words: in which order its programs start, when each is started again,
//! how long a stop may take, and what programs inherit.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::Config;
use super::order::Order;
use crate::error::Result;
use crate::exec::{BaseEnv, WATCHDOG_VARIABLE};
use crate::machine::{Backoff, Moment, Restart, Shutdown};
use crate::os::inherited::Inherited;
use crate::signal::exit_label;
use crate::spec::{Check, ChildSpec, Ready, Stderr, Stdout, attributes};
use crate::text::{duration, shortened_path};

/// The width of a terminal.
const COLUMNS: usize = 80;

/// How many delays of a long sequence are shown at its beginning; the last one is shown, too.
const DELAYS_SHOWN: usize = 3;

/// What all programs get from this process.
#[derive(Debug, Default)]
struct Surroundings {
    inherited: Inherited,
    /// The number of variables, and their bytes.
    variables: (usize, usize),
}

impl Surroundings {
    /// Those of this process.
    fn of_us(config: &Config) -> Result<Self> {
        Ok(Self {
            inherited: Inherited::from_us(),
            variables: BaseEnv::of_programs(&config.base_dir, None)?.size(),
        })
    }
}

impl Config {
    /// Returns how long a stop of everything may take until the last SIGKILL, and the programs that
    /// stop one after the other meanwhile: the sum of
    /// [`stop_timeout`](ChildSpec::stop_timeout) along the longest chain of those that wait for each
    /// other.
    ///
    /// ```
    /// use procsched::config::Config;
    /// use std::path::Path;
    /// use std::time::Duration;
    ///
    /// let text = br#"{"programs": {
    ///     "web": {"command": ["./web"], "requires": ["db"], "stop_timeout": 8},
    ///     "db": {"command": ["postgres"], "stop_timeout": 20},
    ///     "cache": ["redis-server"]
    /// }}"#;
    /// let config = Config::parse(text, "procsched.json", Path::new("/"))?;
    /// assert_eq!(config.longest_stop(), (Duration::from_secs(28), vec!["web", "db"]));
    /// # Ok::<(), procsched::config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn longest_stop(&self) -> (Duration, Vec<&str>) {
        let Order {
            chain, stop_time, ..
        } = Order::of(&self.programs);
        let names = chain.into_iter().map(|index| self.programs[index].name());
        (stop_time, names.collect())
    }

    /// Returns what this config comes to, in words for people: the order in which its programs start,
    /// the delays of their restarts, how long a stop may take, and what they inherit from this
    /// process. The text may change.
    ///
    /// ```
    /// use procsched::config::Config;
    /// use std::path::Path;
    ///
    /// let text = br#"{"programs": {
    ///     "web": {"command": ["./web"], "requires": ["db"]},
    ///     "db": ["postgres"]
    /// }}"#;
    /// let config = Config::parse(text, "procsched.json", Path::new("/"))?;
    /// let text = config.explain()?;
    /// assert!(text.contains("\n  1  db\n  2  web\n"));
    /// assert!(text.contains("always: 1 2 4 \u{2026} 60 s"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `base_dir` has a NUL byte in it.
    pub fn explain(&self) -> Result<String> {
        let surroundings = Surroundings::of_us(self)?;
        Ok(explain(self, &surroundings))
    }
}

/// Returns the whole text.
fn explain(config: &Config, surroundings: &Surroundings) -> String {
    let order = Order::of(&config.programs);
    let mut text = String::new();
    write_start(&mut text, &config.programs, &order);
    write_up(&mut text, &config.programs);
    write_restarts(&mut text, &config.programs);
    write_stop(&mut text, config, &order);
    write_inherited(&mut text, config, surroundings);
    write_own(&mut text, config);
    text
}

fn write_start(text: &mut String, programs: &[ChildSpec], order: &Order) {
    text.push_str("Start order (a program starts when all that it waits for is up):\n");
    let width = order.ranks.len().to_string().len();
    for (rank, members) in order.ranks.iter().enumerate() {
        let names = members.iter().map(|&index| {
            let spec = &programs[index];
            match spec.autostart {
                true => spec.name.clone(),
                false => format!("{} (not by itself)", spec.name),
            }
        });
        let number = format!("  {:>width$}  ", rank + 1);
        write_list(text, &number, names);
    }
}

/// Writes when programs are up, of those that are not as soon as they were executed.
fn write_up(text: &mut String, programs: &[ChildSpec]) {
    let parts = programs.iter().map(|spec| (spec, up_parts(spec)));
    let told: Vec<(&ChildSpec, Vec<String>)> =
        parts.filter(|(_, parts)| !parts.is_empty()).collect();
    if told.is_empty() {
        return;
    }
    text.push_str("\nUp (the others: as soon as they are executed):\n");
    let width = name_width(told.iter().map(|(spec, _)| *spec));
    for (spec, parts) in told {
        let start = format!("  {:<width$}  ", spec.name);
        write_list(text, &start, parts.into_iter());
    }
}

fn up_parts(spec: &ChildSpec) -> Vec<String> {
    let mut parts = Vec::new();
    match spec.ready.as_deref() {
        None if spec.oneshot => parts.push("when it has succeeded".to_owned()),
        None => {}
        Some(Ready::Fd(fd)) => parts.push(format!("when descriptor {fd} gets a newline")),
        Some(Ready::Notify) => parts.push("when it sends READY=1".to_owned()),
        Some(Ready::Delay(delay)) => parts.push(format!("after {}", duration(*delay))),
        Some(Ready::Probe(probe)) => {
            parts.push(format!("when {}", check_text(&probe.check)));
            parts.push(format!("tried every {}", duration(probe.interval)));
        }
    }
    if let Some(timeout) = spec.start_timeout_in_force() {
        parts.push(format!("within {}", duration(timeout)));
    }
    if let Some(time) = spec.watchdog {
        parts.push(format!("then WATCHDOG=1 within {} each", duration(time)));
    }
    if let Some(health) = &spec.health {
        parts.push(format!(
            "then checked every {}: {}",
            duration(health.probe.interval),
            check_text(health.check())
        ));
        parts.push(format!("ended after {} failures", health.retries));
    }
    parts
}

fn check_text(check: &Check) -> String {
    match check {
        Check::Connect(address) => format!("{address} takes a connection"),
        Check::Command(command) => match command.first() {
            Some(program) => format!("{program:?} succeeds"),
            None => "its command succeeds".to_owned(),
        },
    }
}

fn write_restarts(text: &mut String, programs: &[ChildSpec]) {
    text.push_str("\nRestarts, with the delay before each (the last one repeats):\n");
    let width = name_width(programs.iter());
    for spec in programs {
        let (name, parts) = (&spec.name, restart_parts(spec));
        let separator = match spec.restart_policy() {
            _ if parts.is_empty() => "",
            Restart::Never => ", ",
            Restart::Always | Restart::OnFailure => ": ",
        };
        let start = format!("  {name:<width$}  {}{separator}", policy_text(spec));
        write_list(text, &start, parts.into_iter());
    }
}

fn policy_text(spec: &ChildSpec) -> String {
    let policy = match spec.restart_policy() {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::Never if spec.oneshot => return "oneshot".to_owned(),
        Restart::Never => "never",
    };
    if spec.oneshot {
        format!("oneshot, {policy}")
    } else {
        policy.to_owned()
    }
}

/// Returns a number of tenths as a decimal number.
fn tenths(number: u16) -> String {
    match (number / 10, number % 10) {
        (whole, 0) => whole.to_string(),
        (whole, tenths) => format!("{whole}.{tenths}"),
    }
}

/// Returns what there is to say of a program's restarts, and of its end.
fn restart_parts(spec: &ChildSpec) -> Vec<String> {
    let mut parts = Vec::new();
    if spec.restart_policy() != Restart::Never {
        parts.push(delays_text(&spec.backoff, spec.max_restarts));
        if let Some(restarts @ 1..) = spec.max_restarts {
            parts.push(format!("gives up after {restarts}"));
        }
        let is_restarted = spec.max_restarts != Some(0);
        if is_restarted && spec.jitter > 0 {
            parts.push(format!("up to {} % longer", tenths(spec.jitter)));
        }
        if is_restarted {
            parts.push(format!("anew after {}", duration(spec.backoff.reset_after)));
        }
        let codes = spec.permanent_failure_codes.iter();
        let codes: Vec<String> = codes.map(|&code| exit_label(code).1).collect();
        if !codes.is_empty() {
            parts.push(format!("not after {}", codes.join(" ")));
        }
    }
    if spec.essential {
        let end = match spec.oneshot {
            true => "its failure stops everything",
            false => "its end stops everything",
        };
        parts.push(end.to_owned());
    }
    parts
}

/// Returns the delays of this many restarts in a row: `1 2 4 … 60 s`.
fn delays_text(backoff: &Backoff, restarts: Option<u32>) -> String {
    let restarts = restarts.map_or(usize::MAX, |restarts| restarts as usize);
    if restarts == 0 {
        return "gives up at its first failure".to_owned();
    }
    if backoff.initial.is_zero() {
        return "at once".to_owned();
    }
    let mut delays = vec![backoff.initial];
    while delays.len() < restarts
        && let Some(&last) = delays.last()
        && last < backoff.max
    {
        delays.push(last.saturating_mul(2).min(backoff.max));
    }
    let mut shown: Vec<String> = delays.iter().map(|delay| seconds(*delay)).collect();
    if shown.len() > DELAYS_SHOWN + 1 {
        let left_out = DELAYS_SHOWN..shown.len() - 1;
        shown.splice(left_out, ["…".to_owned()]);
    }
    format!("{} s", shown.join(" "))
}

/// Returns a number of seconds, with a fraction as far as there is one.
fn seconds(length: Duration) -> String {
    let (whole, nanos) = (length.as_secs(), length.subsec_nanos());
    let text = format!("{whole}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn write_stop(text: &mut String, config: &Config, order: &Order) {
    let most = duration(order.stop_time);
    let _ = writeln!(
        text,
        "\nStop: {most} at most until SIGKILL has gone to all (the longest chain):"
    );
    let member = |&index: &usize| {
        let spec = &config.programs[index];
        format!("{} {}", spec.name, duration(spec.stop_timeout))
    };
    let chain: Vec<String> = order.chain.iter().map(member).collect();
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    let _ = writeln!(text, "  {}", shortened_path(&chain));
    let Some(timeout) = config.shutdown_timeout else {
        text.push_str("  shutdown_timeout: none\n");
        return;
    };
    let begin = Moment::default();
    let kill_in = Shutdown::new(begin, timeout).kill_at.since(begin);
    let (timeout, kill_in) = (duration(timeout), duration(kill_in));
    let _ = writeln!(
        text,
        "  shutdown_timeout: {timeout}; SIGKILL to what is left after {kill_in}"
    );
}

fn write_inherited(text: &mut String, config: &Config, surroundings: &Surroundings) {
    let (count, bytes) = surroundings.variables;
    text.push_str("\nEach program inherits, if it runs from where this is run:\n");
    let _ = writeln!(
        text,
        "  environment  {count} variables, {bytes} bytes, and PROCSCHED_PROGRAM, PROCSCHED_CHAIN"
    );
    let has_others = config
        .programs
        .iter()
        .any(|spec| !stdio_parts(spec, &config.base_dir).is_empty());
    let others = if has_others {
        ", unless said below"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "  descriptors  0 and 1: /dev/null; 2: its log; no other{others}"
    );
    let Inherited {
        limits,
        nice,
        oom_score_adj,
        umask,
    } = &surroundings.inherited;
    let limits = limits.iter().map(|(name, soft, hard)| {
        let [soft, hard] = [soft, hard].map(limit_text);
        match soft == hard {
            true => format!("{name} {soft}"),
            false => format!("{name} {soft}:{hard}"),
        }
    });
    write_list(text, "  limits       ", limits);
    let others = [
        nice.map(|nice| format!("nice {nice}")),
        oom_score_adj.map(|adjustment| format!("oom_score_adj {adjustment}")),
        umask.as_ref().map(|mask| format!("umask {mask}")),
    ];
    write_list(text, "  besides      ", others.into_iter().flatten());
}

fn limit_text(limit: &Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// Writes what programs have in addition, or instead.
fn write_own(text: &mut String, config: &Config) {
    let has_own = |spec: &&ChildSpec| {
        let has_more = !spec.env.is_empty() || spec.cwd.is_some();
        let has_others =
            !attribute_parts(spec).is_empty() || !stdio_parts(spec, &config.base_dir).is_empty();
        has_more || has_others || sign_parts(spec).next().is_some()
    };
    let own: Vec<&ChildSpec> = config.programs.iter().filter(has_own).collect();
    if own.is_empty() {
        return;
    }
    text.push_str("\nOwn variables, descriptors, attributes and directories:\n");
    let width = name_width(own.iter().copied());
    for spec in own {
        let bytes = spec.env.iter();
        let bytes = bytes.map(|(key, value)| key.as_bytes().len() + value.as_bytes().len() + 2);
        let variables = match spec.env.len() {
            0 => None,
            1 => Some(format!("1 variable, {} bytes", bytes.sum::<usize>())),
            count => Some(format!("{count} variables, {} bytes", bytes.sum::<usize>())),
        };
        let directory = spec.cwd.as_ref().map(|cwd| {
            let directory = config.base_dir.join(cwd);
            format!("cwd {directory:?}")
        });
        let name = &spec.name;
        let start = format!("  {name:<width$}  ");
        let parts = variables.into_iter().chain(sign_parts(spec));
        let parts = parts
            .chain(stdio_parts(spec, &config.base_dir))
            .chain(attribute_parts(spec));
        write_list(text, &start, parts.chain(directory));
    }
}

/// Returns which of its three standard descriptors are not what most programs have.
fn stdio_parts(spec: &ChildSpec, base_dir: &Path) -> Vec<String> {
    let stdin = spec.stdin_path();
    let stdin = stdin.map(|path| format!("0: {:?}", base_dir.join(path)));
    let stdout = match spec.outputs.stdout {
        Stdout::Null => None,
        Stdout::Log => Some("1: its log of stdout"),
        Stdout::Stderr => Some("1: where 2 goes"),
        Stdout::Inherit => Some("1: the supervisor's stdout"),
    };
    let stderr = match spec.outputs.stderr {
        Stderr::Log => None,
        Stderr::Null => Some("2: /dev/null"),
        Stderr::Inherit => Some("2: the supervisor's stderr"),
    };
    let outputs = [stdout, stderr].into_iter().flatten().map(str::to_owned);
    stdin.into_iter().chain(outputs).collect()
}

/// Returns the attributes that a program has and does not inherit.
fn attribute_parts(spec: &ChildSpec) -> Vec<String> {
    let Some(own) = spec.attributes.as_deref() else {
        return Vec::new();
    };
    let user = own.user.as_ref().map(|user| match user.name() {
        Some(name) => format!("user {name}"),
        None => format!("user {}", user.uid()),
    });
    let groups = own.groups.as_ref().map(|groups| {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        match groups.is_empty() {
            true => "no groups".to_owned(),
            false => format!("groups {}", groups.join(" ")),
        }
    });
    let others = [
        own.clear_env.then(|| "no inherited variables".to_owned()),
        user,
        own.group.map(|gid| format!("group {gid}")),
        groups,
        own.umask.map(|mask| format!("umask {mask:04o}")),
        own.nice.map(|nice| format!("nice {nice}")),
        own.oom_score_adj
            .map(|score| format!("oom_score_adj {score}")),
        own.no_new_privileges
            .then(|| "no_new_privileges".to_owned()),
    ];
    let limits = own.limits.iter();
    let limits = limits
        .map(|(resource, limit)| format!("{} {}", resource.key(), attributes::limit_text(*limit)));
    others.into_iter().flatten().chain(limits).collect()
}

/// Returns what a program gets to say that it is ready and alive.
fn sign_parts(spec: &ChildSpec) -> impl Iterator<Item = String> + use<> {
    let ready = spec.ready.as_deref();
    let has_socket = ready == Some(&Ready::Notify) || spec.watchdog.is_some();
    let socket = has_socket.then(|| "NOTIFY_SOCKET".to_owned());
    let watchdog = spec.watchdog;
    let watchdog = watchdog.map(|time| format!("{WATCHDOG_VARIABLE}={}", time.as_micros()));
    let pipe = match ready {
        Some(Ready::Fd(fd)) => Some(format!("descriptor {fd}")),
        _ => None,
    };
    socket.into_iter().chain(watchdog).chain(pipe)
}

fn name_width<'p>(programs: impl Iterator<Item = &'p ChildSpec>) -> usize {
    let widths = programs.map(|spec| spec.name.len());
    widths.max().unwrap_or(0)
}

/// Writes parts with commas between them, and goes on in a new line where one does not fit.
fn write_list(text: &mut String, start: &str, parts: impl Iterator<Item = String>) {
    let indent = start.len().min(COLUMNS / 2);
    let mut column = start.chars().count();
    text.push_str(start);
    let mut parts = parts.peekable();
    let mut is_first = true;
    while let Some(mut part) = parts.next() {
        if parts.peek().is_some() {
            part.push(',');
        }
        let width = part.chars().count() + usize::from(!is_first);
        if !is_first && column + width > COLUMNS {
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else if !is_first {
            text.push(' ');
        }
        column += width;
        text.push_str(&part);
        is_first = false;
    }
    let end = text.trim_end_matches(' ').len();
    text.truncate(end);
    text.push('\n');
}

#[cfg(test)]
mod tests;
