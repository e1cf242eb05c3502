//! Finds the socket of the supervisor that is meant: by `--socket`, by `PROCSCHED_SOCKET`, by the
//! config, or because it is the only one that answers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procsched::config::Control;
use procsched::text::{error_text, escaped};
use serde_json::Value;

use super::answer::Answer;
use super::connection::connect;
use super::failure::{Failure, connecting};
use super::options::Options;
use super::talk::{Request, Talk};
use crate::clock;
use crate::commands::{NO_SUPERVISOR, USAGE};
use crate::control::path;
use crate::load::{default_path, load_control};
use crate::messages::SELF;
use crate::stdio::complain;

/// The time that a supervisor which no option or config names has to say which config it has.
const INQUIRY_TIME_MAX: Duration = Duration::from_secs(1);

/// Returns the path of the socket. One that is found because it is the only one that answers may be
/// another supervisor than the one that is meant, so it is said on stderr which it is.
pub fn socket(options: &Options) -> Result<PathBuf, Failure> {
    let variable = || std::env::var_os(path::ENVIRONMENT).filter(|path| !path.is_empty());
    let given = options
        .socket
        .clone()
        .or_else(|| variable().map(PathBuf::from));
    if let Some(path) = given {
        return match path::check_length(&path) {
            Ok(()) => Ok(path),
            Err(problem) => Err(Failure::new(USAGE, format!("invalid socket: {problem}"))),
        };
    }
    let config = match &options.config {
        Some(config) => config,
        None => Path::new(default_path()),
    };
    match options.config.is_some() || config.exists() {
        true => of_config(config),
        false => {
            let path = the_only_one(&path::candidates(), options.end())?;
            complain(&introduction(
                &supervisor(&path, options.end()).unwrap_or_default(),
                &path,
            ));
            Ok(path)
        }
    }
}

/// Returns the socket that a config names, or its default one. A config that is being edited must
/// not hide a supervisor that runs: only what it says of the socket has to be right.
fn of_config(config: &Path) -> Result<PathBuf, Failure> {
    match load_control(config) {
        Ok(Control::Path(path)) => Ok(path),
        Ok(Control::Off) => {
            let message = format!(
                "{config:?} has \"control\": false: start it with \"{SELF} run --socket PATH\", and \
                 name that with --socket"
            );
            Err(Failure::new(NO_SUPERVISOR, message))
        }
        Ok(_) => default_socket(config),
        // A supervisor of such a config has no default socket.
        Err(errors) if is_no_file(config) => {
            let message = format!("{errors}; name the supervisor's socket with --socket");
            Err(Failure::new(USAGE, message))
        }
        Err(errors) => {
            let first = errors.lines().next().unwrap_or_default();
            let warning = format!("{SELF}: warning: looking for the default socket of {config:?}");
            complain(&format!("{warning}, which has errors: {first}"));
            default_socket(config)
        }
    }
}

/// True if it is there and is not a regular file, such as a FIFO.
fn is_no_file(config: &Path) -> bool {
    config.metadata().is_ok_and(|found| !found.is_file())
}

fn default_socket(config: &Path) -> Result<PathBuf, Failure> {
    let found = path::default_path(config).map_err(|error| {
        let cause = error_text(&error);
        let message = format!("cannot make the path {config:?} absolute: {cause}");
        Failure::new(NO_SUPERVISOR, message)
    })?;
    found.ok_or_else(|| {
        let message = "there is no default socket without a runtime directory: name the socket \
                       with --socket, or set XDG_RUNTIME_DIR as for the supervisor";
        Failure::new(NO_SUPERVISOR, message)
    })
}

/// Returns the one socket that answers.
fn the_only_one(candidates: &[PathBuf], end: Option<Instant>) -> Result<PathBuf, Failure> {
    let mut denied = None;
    let mut answering = Vec::new();
    for path in candidates {
        match connect(path, end) {
            Ok(_) => answering.push(path),
            // It is there, and takes no connection.
            Err(error) if error.kind() == ErrorKind::WouldBlock => answering.push(path),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                denied = Some(connecting(path, &error, end));
            }
            Err(_) => {}
        }
    }
    match *answering {
        [path] => Ok(path.clone()),
        [] => Err(denied.unwrap_or_else(|| {
            let message = format!(
                "no supervisor found: start one with \"{SELF} run\"; one with its own \"control\" \
                 or --socket is found only by -c CONFIG or --socket PATH"
            );
            Failure::new(NO_SUPERVISOR, message)
        })),
        _ => {
            let lines: Vec<String> = answering.iter().map(|path| described(path)).collect();
            let message = format!(
                "{SELF}: several supervisors run: choose one with --config or --socket\n{}",
                lines.join("\n")
            );
            complain(&message);
            Err(Failure::silent(USAGE))
        }
    }
}

/// Returns the line about a supervisor that is asked because it is the only one. One that has said
/// nothing of itself is named by its socket.
fn introduction(supervisor: &Value, path: &Path) -> String {
    match (supervisor["pid"].as_i64(), supervisor["config"].as_str()) {
        (Some(pid), Some(config)) => {
            format!("{SELF}: asking supervisor {pid} of {}", escaped(config))
        }
        _ => format!("{SELF}: asking the supervisor at {path:?}"),
    }
}

/// Returns a line about the supervisor at this socket: path, pid and config.
fn described(path: &Path) -> String {
    let supervisor = supervisor(path, None).unwrap_or_default();
    let pid = supervisor["pid"].as_i64().map(|pid| format!(" pid={pid}"));
    let config = supervisor["config"].as_str();
    let config = config.map(|config| format!(" config={config:?}"));
    format!(
        "  {path:?}{}{}",
        pid.unwrap_or_default(),
        config.unwrap_or_default()
    )
}

/// Asks a supervisor about itself, within a second and until `end`.
fn supervisor(path: &Path, end: Option<Instant>) -> Result<Value, Failure> {
    let deadline = clock::steady() + INQUIRY_TIME_MAX;
    let deadline = end.map_or(deadline, |end| end.min(deadline));
    let mut talk = Talk::open(path, &Request::new("status"), Some(deadline))?;
    loop {
        if let (Answer::Done(mut end), _) = talk.expect()? {
            return Ok(end["supervisor"].take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn one_that_answers_is_found_among_stale_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        drop(UnixListener::bind(path("stale.sock")).expect("a socket"));
        let _live = UnixListener::bind(path("live.sock")).expect("a socket");
        let candidates = [path("stale.sock"), path("live.sock"), path("none.sock")];
        assert_eq!(the_only_one(&candidates, None), Ok(path("live.sock")));
        let failure = the_only_one(&candidates[..1], None).expect_err("none");
        assert_eq!(failure.code, NO_SUPERVISOR);
        assert!(failure.message.starts_with("no supervisor found: "));
        let is_hint = failure
            .message
            .ends_with("only by -c CONFIG or --socket PATH");
        assert!(is_hint, "{}", failure.message);
    }

    #[test]
    fn the_only_one_is_introduced() {
        let path = Path::new("/run/procsched/1.sock");
        let known = serde_json::json!({"pid": 4711, "config": "/etc/a\n.json"});
        let expected = "procsched-min: asking supervisor 4711 of /etc/a\\n.json";
        assert_eq!(introduction(&known, path), expected);
        let expected = "procsched-min: asking the supervisor at \"/run/procsched/1.sock\"";
        assert_eq!(introduction(&Value::Null, path), expected);
    }
}
