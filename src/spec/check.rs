//! How it is found out from outside whether a program answers: by a connection, or by a command.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::{ChildSpec, Ready, command_problem, path_problem};
use crate::error::{Error, Result};
use crate::text::quoted;

/// The longest path of a Unix socket, in bytes (unix(7)): `sun_path` less its NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The default of [`Probe::interval`].
const PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// The default of [`Health::interval`].
const HEALTH_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// The default of both timeouts.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// The default of [`Health::retries`], Docker's.
const RETRIES_DEFAULT: u32 = 3;

/// Where a program listens. It is parsed from `127.0.0.1:8080`, `[::1]:80`, or a text with a slash:
/// the path of a Unix socket. Host names are not looked up.
///
/// ```
/// use procsched::Address;
///
/// assert_eq!("127.0.0.1:80".parse(), Ok(Address::Tcp(([127, 0, 0, 1], 80).into())));
/// assert_eq!("run/web.sock".parse(), Ok(Address::Unix("run/web.sock".into())));
///
/// let error = "localhost:80".parse::<Address>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid address \"localhost:80\": host names are not looked up: \
///      write \"127.0.0.1:80\" or \"[::1]:80\""
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port at an address.
    Tcp(SocketAddr),
    /// A Unix socket; relative to the base directory.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |problem: String| {
            let text = quoted(text);
            Error::new(format!("invalid address {text}: {problem}"))
        };
        let address = if text.contains("://") {
            let expected = "a URL cannot be connected to: expected an address such as \
                            \"127.0.0.1:8080\"; a command such as [\"curl\", …] can";
            return Err(invalid(expected.to_owned()));
        } else if text.contains('/') {
            Self::Unix(text.into())
        } else {
            Self::Tcp(text.parse().map_err(|_| invalid(tcp_problem(text)))?)
        };
        address
            .problem()
            .map_or(Ok(address), |problem| Err(invalid(problem)))
    }
}

/// As it is parsed; a path in quotes.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{path:?}"),
        }
    }
}

impl Address {
    /// Returns why no connection can be made to this, or `None` if one can.
    fn problem(&self) -> Option<String> {
        match self {
            Self::Tcp(address) if address.port() == 0 => Some(PORT_EXPECTED.to_owned()),
            Self::Tcp(_) => None,
            Self::Unix(path) => path_problem("path", path).or_else(|| socket_path_problem(path)),
        }
    }

    /// Returns why this cannot be used from a base directory, which is absolute.
    pub(crate) fn problem_at(&self, base_dir: &Path) -> Option<String> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => socket_path_problem(&base_dir.join(path)),
        }
    }
}

const PORT_EXPECTED: &str = "expected a port from 1 to 65535";

/// Returns why a path cannot be that of a Unix socket: the kernel takes no longer one.
pub(crate) fn socket_path_problem(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    (length > SOCKET_PATH_BYTES_MAX).then(|| {
        format!("the path has {length} bytes; a socket path can have {SOCKET_PATH_BYTES_MAX}")
    })
}

/// Returns what is wrong with a text that has no slash and could not be parsed, and what would be
/// right.
fn tcp_problem(text: &str) -> String {
    let expected = "expected an address such as \"127.0.0.1:8080\" or \"[::1]:80\", or a path with a \
                    slash such as \"/run/web.sock\"";
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inner.unwrap_or(text).parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if inner.is_none() => {
            let text = "an IPv6 address needs brackets, and a port behind them, as in \"[::1]:80\"";
            return text.to_owned();
        }
        Ok(address) => {
            let right = SocketAddr::new(address, 8080);
            return format!("the port is missing: write \"{right}\" with the right port");
        }
        Err(_) => {}
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return match is_port(text) {
            true => format!("the address is missing: write \"127.0.0.1:{text}\""),
            false => expected.to_owned(),
        };
    };
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    match (host, is_port(port)) {
        (_, false) if is_address => PORT_EXPECTED.to_owned(),
        ("", true) => format!("the address is missing: write \"127.0.0.1:{port}\""),
        (_, true) if is_address => format!("write \"[{host}]:{port}\""),
        ("localhost", true) => {
            format!("host names are not looked up: write \"127.0.0.1:{port}\" or \"[::1]:{port}\"")
        }
        (_, true) if !host.contains(':') => {
            format!("host names are not looked up: write the address, such as \"10.0.0.1:{port}\"")
        }
        _ => expected.to_owned(),
    }
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A connection is made, and closed at once. It is made by the supervisor, in its namespaces. A
    /// Unix socket whose queue is full counts as one that does not answer.
    Connect(Address),
    /// A command exits with 0. It runs as the program does, with its environment and in its
    /// directory, and gets `/dev/null` as stdin, stdout and stderr.
    Command(Vec<OsString>),
}

impl Check {
    fn problem(&self) -> Option<String> {
        match self {
            Self::Connect(address) => address.problem().map(|problem| {
                format!(
                    "invalid address {}: {problem}",
                    quoted(&address.to_string())
                )
            }),
            Self::Command(command) => command_problem(command),
        }
    }

    /// Returns why this cannot be used from a base directory, which is absolute.
    pub(crate) fn problem_at(&self, base_dir: &Path) -> Option<String> {
        match self {
            Self::Connect(address) => address.problem_at(base_dir),
            Self::Command(_) => None,
        }
    }

    /// Makes its path absolute: the base directory, which is that already, may become another.
    pub(crate) fn resolve(&mut self, base_dir: &Path) {
        match self {
            Self::Connect(Address::Unix(path)) => *path = base_dir.join(&path),
            Self::Connect(Address::Tcp(_)) => {}
            Self::Command(command) => {
                let program = command.first_mut();
                // Any other is looked up in `PATH`.
                if let Some(program) = program.filter(|name| name.as_bytes().contains(&b'/')) {
                    *program = base_dir.join(&program).into();
                }
            }
        }
    }
}

/// How it is found out that a program is ready: a check is tried until it succeeds.
///
/// ```
/// # fn main() -> procsched::Result<()> {
/// use procsched::Probe;
/// use std::time::Duration;
///
/// let web = Probe::connect("127.0.0.1:8080")?.interval(Duration::from_millis(200));
/// let db = Probe::command(["pg_isready", "-q"]).timeout(Duration::from_secs(2));
/// # assert!(Probe::connect("localhost:8080").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub(crate) check: Check,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

impl Probe {
    /// Returns a probe that connects to an [`Address`], and closes the connection.
    ///
    /// # Errors
    ///
    /// As for parsing an [`Address`].
    pub fn connect(address: &str) -> Result<Self> {
        Ok(Self::new(Check::Connect(address.parse()?)))
    }

    /// Returns a probe that runs a command, which has to exit with 0. When it has ended, the rest of its
    /// process group is killed. A process that has left the group (setsid(2)) counts as one of the
    /// program's: it stays until that is stopped or restarted.
    pub fn command<C, A>(command: C) -> Self
    where
        C: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self::new(Check::Command(
            command.into_iter().map(Into::into).collect(),
        ))
    }

    /// Returns a probe with this check.
    #[must_use]
    pub fn new(check: Check) -> Self {
        Self {
            check,
            interval: PROBE_INTERVAL_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Returns what is tried.
    #[must_use]
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// Sets the time from the end of a try to the next; 1 s by default. 0 is an error.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long a try may take; 5 s by default. A command that takes longer is killed with its
    /// process group. 0 is an error.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns why this cannot be used, or `None` if it can.
    pub(crate) fn problem(&self) -> Option<String> {
        let check = self.check.problem();
        check.or_else(|| times_problem(self.interval, self.timeout))
    }
}

/// How it is found out that a program that is up still works: a check is made again and again, and
/// a number of failures in a row end the run.
///
/// ```
/// # fn main() -> procsched::Result<()> {
/// use procsched::{ChildSpec, Health};
/// use std::time::Duration;
///
/// let health = Health::connect("127.0.0.1:8080")?.interval(Duration::from_secs(5)).retries(2);
/// let web = ChildSpec::new("web", ["./web"]).health(health);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub(crate) probe: Probe,
    pub(crate) retries: u32,
}

impl Health {
    /// Returns a health check that connects to an [`Address`], and closes the connection.
    ///
    /// # Errors
    ///
    /// As for parsing an [`Address`].
    pub fn connect(address: &str) -> Result<Self> {
        Ok(Self::by(Probe::connect(address)?))
    }

    /// Returns a health check that runs a command, which has to exit with 0. What it leaves behind
    /// ends as with [`Probe::command`].
    pub fn command<C, A>(command: C) -> Self
    where
        C: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self::by(Probe::command(command))
    }

    /// Returns a health check of this kind.
    #[must_use]
    pub fn new(check: Check) -> Self {
        Self::by(Probe::new(check))
    }

    fn by(probe: Probe) -> Self {
        Self {
            probe: probe.interval(HEALTH_INTERVAL_DEFAULT),
            retries: RETRIES_DEFAULT,
        }
    }

    /// Returns what is tried.
    #[must_use]
    pub fn check(&self) -> &Check {
        self.probe.check()
    }

    /// Sets the time from the end of a check to the next, and before the first; 10 s by default. 0 is
    /// an error.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.probe = self.probe.interval(interval);
        self
    }

    /// Sets how long a check may take; 5 s by default. A command that takes longer is killed with its
    /// process group, which is a failure. 0 is an error.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.probe = self.probe.timeout(timeout);
        self
    }

    /// Sets how many failures in a row end the run; 3 by default. 0 is an error.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Returns why this cannot be used, or `None` if it can.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.probe.problem();
        problem.or_else(|| retries_problem(self.retries))
    }
}

impl ChildSpec {
    /// Returns how it is checked while it is up.
    #[must_use]
    pub fn health_check(&self) -> Option<&Health> {
        self.health.as_deref()
    }

    /// Returns the probe that finds out whether it is ready, if one does.
    #[must_use]
    pub fn ready_probe(&self) -> Option<&Probe> {
        match self.ready.as_deref() {
            Some(Ready::Probe(probe)) => Some(probe),
            _ => None,
        }
    }

    /// Returns the spec of a command that runs where and with what this program does, as its checks
    /// do.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # use std::path::Path;
    /// let web = ChildSpec::new("web", ["./web"]).clear_env(true).env("PATH", "/bin:/sbin");
    /// let error = web.beside(["no-such-probe"]).locate(Path::new("/")).unwrap_err();
    /// assert_eq!(error.searched_path(), Some("/bin:/sbin".as_ref()));
    /// ```
    #[must_use]
    pub fn beside<C, A>(&self, command: C) -> Self
    where
        C: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        let mut beside = Self::new(self.name.clone(), command);
        beside.cwd.clone_from(&self.cwd);
        beside.env.clone_from(&self.env);
        beside.attributes.clone_from(&self.attributes);
        beside
    }

    /// Returns why it cannot be used from a base directory, which is absolute.
    pub(crate) fn problem_at(&self, base_dir: &Path) -> Option<String> {
        let check = |key: &str, check: &Check| {
            let problem = check.problem_at(base_dir)?;
            Some(format!("{key}: {problem}"))
        };
        let ready = self.ready_probe().map(Probe::check);
        let ready = ready.and_then(|probe| check("ready", probe));
        let health = || check("health", self.health_check()?.check());
        ready.or_else(health)
    }

    /// Sets how it is checked while it is up; not at all by default. When enough checks in a row have
    /// failed, the run is ended with its stop signal, and its policy decides what follows; its cause
    /// is [`Cause::Unhealthy`](crate::Cause::Unhealthy), and programs that require it go on. An error
    /// with [`ChildSpec::oneshot`].
    ///
    /// ```
    /// # use procsched::{ChildSpec, Health};
    /// # fn main() -> procsched::Result<()> {
    /// let web = ChildSpec::new("web", ["./web"]).health(Health::connect("127.0.0.1:8080")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = Some(Box::new(health));
        self
    }
}

fn times_problem(interval: Duration, timeout: Duration) -> Option<String> {
    interval_problem(interval).or_else(|| timeout_problem(timeout))
}

/// Returns why this cannot be the time between two checks, or `None` if it can.
pub(crate) fn interval_problem(interval: Duration) -> Option<String> {
    let text = "invalid interval 0: checks would follow each other without a pause: \
                use \"1s\", for example";
    interval.is_zero().then(|| text.to_owned())
}

/// Returns why a check cannot have this time, or `None` if it can.
pub(crate) fn timeout_problem(timeout: Duration) -> Option<String> {
    let text = "invalid timeout 0: every check would fail: use \"5s\", for example";
    timeout.is_zero().then(|| text.to_owned())
}

/// Returns why this cannot be the number of failures that end a run, or `None` if it can.
pub(crate) fn retries_problem(retries: u32) -> Option<String> {
    let text = "invalid retries 0: expected 1 or more; 1 ends the run at the first failure";
    (retries == 0).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
