//! Other supervisors at the same work: stdout to `/dev/null`, stderr to one log a program by
//! the peer's usual means, restart always, with the least delay that it allows.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::place::Place;
use crate::side::write;

/// The names of programs, and their commands.
type Commands = [(String, Vec<String>)];

/// How a peer is used.
#[derive(Clone, Copy)]
pub struct Peer {
    pub name: &'static str,
    programs: &'static [&'static str],
    /// Writes its configuration, and returns what to execute.
    pub configure: fn(&Place, &Commands) -> Vec<String>,
    /// The files in which a program's stderr is, in order.
    pub logs: fn(&Path, &str) -> Vec<PathBuf>,
    /// Its documented signal for "stop everything".
    pub stop_signal: Signal,
}

pub const PEERS: [Peer; 3] = [
    Peer {
        name: "supervisord",
        programs: &["supervisord"],
        configure: supervisord,
        logs: |logs, name| vec![logs.join(name)],
        stop_signal: Signal::SIGTERM,
    },
    Peer {
        name: "runit",
        programs: &["runsvdir", "runsv", "svlogd"],
        configure: runit,
        logs: rotated,
        // TERM ends runsvdir alone, and leaves everything else.
        stop_signal: Signal::SIGHUP,
    },
    Peer {
        name: "s6",
        programs: &["s6-svscan", "s6-supervise", "s6-log"],
        configure: s6,
        logs: rotated,
        stop_signal: Signal::SIGTERM,
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
fn supervisord(place: &Place, commands: &Commands) -> Vec<String> {
    let descriptors = 1024.max(4 * commands.len() + 100);
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}\nminfds={descriptors}\n",
        place.text("pid")
    );
    for (name, words) in commands {
        text += &format!(
            "[program:{name}]\ncommand={}\nautorestart=true\nstartsecs=0\nstdout_logfile=NONE\n\
             stderr_logfile={}/{name}\nstderr_logfile_maxbytes=0\n",
            words.join(" "),
            place.text("logs")
        );
    }
    write(place, "config", text);
    ["supervisord", "-n", "-c", &place.text("config")]
        .map(str::to_owned)
        .to_vec()
}

fn runit(place: &Place, commands: &Commands) -> Vec<String> {
    service_directories(place, commands, "svlogd");
    for (name, _) in commands {
        write(place, &format!("logs/{name}/config"), "s0\n".to_owned()); // no rotation
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
    service_directories(place, commands, "s6-log n100 s268435455");
    let room = (2 * commands.len() + 100).to_string();
    ["s6-svscan", "-c", &room, &place.text("services")]
        .map(str::to_owned)
        .to_vec()
}

/// A directory a program, with a logger beside it: what runit and s6 have in common.
fn service_directories(place: &Place, commands: &Commands, logger: &str) {
    for (name, words) in commands {
        let log = format!("logs/{name}");
        let scripts = format!("services/{name}");
        for directory in [log.clone(), format!("{scripts}/log")] {
            std::fs::create_dir_all(place.path(&directory)).expect("a directory");
        }
        script(
            place,
            &format!("{scripts}/run"),
            &format!("{} 2>&1 >/dev/null", words.join(" ")),
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
