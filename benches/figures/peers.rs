//! Other supervisors at the same work: one stream to one log a program by the peer's usual means,
//! the other to `/dev/null`, restart always, with the least delay that it allows.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::control::Order;
use crate::place::{Place, ROTATED_BYTES, ROTATED_MAX, Route};
use crate::side::{numbered, write};

/// The names of programs, and their commands.
type Commands = [(String, Vec<String>)];

/// How a peer is used.
#[derive(Clone, Copy)]
pub struct Peer {
    pub name: &'static str,
    programs: &'static [&'static str],
    /// Writes its configuration, and returns what to execute.
    pub configure: fn(&Place, &Commands) -> Vec<String>,
    /// The files in which a program's output is, in order.
    pub logs: fn(&Path, &str) -> Vec<PathBuf>,
    /// Its documented signal for "stop everything".
    pub stop_signal: Signal,
    /// What to execute, in a directory, to give an order about a program and wait for its effect.
    pub order: fn(Order, &str, &str) -> Option<Vec<String>>,
}

pub const PEERS: [Peer; 3] = [
    Peer {
        name: "supervisord",
        programs: &["supervisord", "supervisorctl"],
        configure: supervisord,
        logs: |logs, name| numbered(logs.join(name)),
        stop_signal: Signal::SIGTERM,
        order: supervisorctl,
    },
    Peer {
        name: "runit",
        programs: &["runsvdir", "runsv", "svlogd", "sv"],
        configure: runit,
        logs: rotated,
        // TERM ends runsvdir alone, and leaves everything else.
        stop_signal: Signal::SIGHUP,
        order: sv,
    },
    Peer {
        name: "s6",
        programs: &["s6-svscan", "s6-supervise", "s6-log", "s6-svc", "s6-svstat"],
        configure: s6,
        logs: rotated,
        stop_signal: Signal::SIGTERM,
        order: s6_svc,
    },
];

impl Peer {
    pub fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let found = |program: &&str| directories.iter().any(|dir| dir.join(program).is_file());
        self.programs.iter().all(found)
    }
}

/// `minfds` is the least that fits, as each start closes that many; `startsecs=0` is no delay.
/// It has a socket for its client, as the others have from the start.
fn supervisord(place: &Place, commands: &Commands) -> Vec<String> {
    let descriptors = 1024.max(4 * commands.len() + 100);
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}\nminfds={descriptors}\n\
         [unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=\
         supervisor.rpcinterface:make_main_rpcinterface\n",
        place.text("pid"),
        socket = place.text("socket")
    );
    let (logged, other) = match place.route() {
        Route::Stderr => ("stderr", "stdout"),
        Route::Stdout | Route::Rotated | Route::Inherited => ("stdout", "stderr"),
    };
    let (bytes, backups) = match place.route() {
        Route::Rotated => (ROTATED_BYTES, ROTATED_MAX),
        _ => (0, 0),
    };
    for (name, words) in commands {
        text += &format!(
            "[program:{name}]\ncommand={}\nautorestart=true\nstartsecs=0\n{other}_logfile=NONE\n\
             {logged}_logfile={}/{name}\n{logged}_logfile_maxbytes={bytes}\n\
             {logged}_logfile_backups={backups}\n",
            words.join(" "),
            place.text("logs")
        );
    }
    write(place, "config", text);
    ["supervisord", "-n", "-c", &place.text("config")]
        .map(str::to_owned)
        .to_vec()
}

fn supervisorctl(order: Order, directory: &str, name: &str) -> Option<Vec<String>> {
    let config = format!("{directory}/config");
    let words = match order {
        Order::Status => ["status", name],
        Order::Stop => ["stop", name],
        Order::Start => ["start", name],
        Order::Restart => ["restart", name],
        Order::Reload => ["update", "all"],
    };
    let words = ["supervisorctl", "-c", &config].into_iter().chain(words);
    Some(words.map(str::to_owned).collect())
}

/// A changed script is taken over by a restart: there is nothing to reload.
fn sv(order: Order, directory: &str, name: &str) -> Option<Vec<String>> {
    let word = match order {
        Order::Status => "status",
        Order::Stop => "stop",
        Order::Start => "start",
        Order::Restart => "restart",
        Order::Reload => return None,
    };
    let service = format!("{directory}/services/{name}");
    Some(["sv", word, &service].map(str::to_owned).to_vec())
}

fn s6_svc(order: Order, directory: &str, name: &str) -> Option<Vec<String>> {
    let words: &[&str] = match order {
        Order::Status => &["s6-svstat"],
        Order::Stop => &["s6-svc", "-wD", "-d"],
        Order::Start => &["s6-svc", "-wu", "-u"],
        Order::Restart => &["s6-svc", "-wr", "-r"],
        Order::Reload => return None,
    };
    let service = format!("{directory}/services/{name}");
    let words = words.iter().copied().chain([&*service]);
    Some(words.map(str::to_owned).collect())
}

fn runit(place: &Place, commands: &Commands) -> Vec<String> {
    service_directories(place, commands, "svlogd");
    let rotation = match place.route() {
        Route::Rotated => format!("s{ROTATED_BYTES}\nn{ROTATED_MAX}\n"),
        _ => "s0\n".to_owned(), // none
    };
    for (name, _) in commands {
        write(place, &format!("logs/{name}/config"), rotation.clone());
    }
    // It sleeps for a second where the directory has changed within this one.
    let services = File::open(place.path("services")).expect("a directory");
    let long_ago = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    services.set_times(long_ago).expect("a directory of ours");
    ["runsvdir", "-P", &place.text("services")]
        .map(str::to_owned)
        .to_vec()
}

fn s6(place: &Place, commands: &Commands) -> Vec<String> {
    let logger = match place.route() {
        Route::Rotated => format!("s6-log n{ROTATED_MAX} s{ROTATED_BYTES}"),
        _ => "s6-log n100 s268435455".to_owned(),
    };
    service_directories(place, commands, &logger);
    let room = (2 * commands.len() + 100).to_string();
    ["s6-svscan", "-c", &room, &place.text("services")]
        .map(str::to_owned)
        .to_vec()
}

/// A directory a program, with a logger beside it: what runit and s6 have in common.
fn service_directories(place: &Place, commands: &Commands, logger: &str) {
    let redirected = match place.route() {
        Route::Stderr => "2>&1 >/dev/null",
        Route::Stdout | Route::Rotated | Route::Inherited => "2>/dev/null",
    };
    for (name, words) in commands {
        let log = format!("logs/{name}");
        let scripts = format!("services/{name}");
        for directory in [log.clone(), format!("{scripts}/log")] {
            std::fs::create_dir_all(place.path(&directory)).expect("a directory");
        }
        script(
            place,
            &format!("{scripts}/run"),
            &format!("{} {redirected}", words.join(" ")),
        );
        script(
            place,
            &format!("{scripts}/log/run"),
            &format!("{logger} {}", place.text(&log)),
        );
    }
}

fn script(place: &Place, file: &str, command: &str) {
    write(place, file, format!("#!/bin/sh\nexec {command}\n"));
    let mode = Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(file), mode).expect("a file of ours");
}

/// `@…` are what was rotated away, oldest first; `current` is the last.
fn rotated(logs: &Path, name: &str) -> Vec<PathBuf> {
    let directory = logs.join(name);
    let entries = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('@'))
    });
    files.sort();
    files.push(directory.join("current"));
    files
}
