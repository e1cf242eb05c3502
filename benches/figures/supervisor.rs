//! Our side of the table: `procsched-min run`, as anybody would run it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::keeper::{Keeper, send};
use crate::place::{Place, name, wait_until};
use crate::proc;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_procsched-min");

/// How often the logs are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A supervisor that runs.
pub struct Supervisor {
    process: Child,
}

impl Supervisor {
    /// Its pid.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.id()).expect("pids are small"))
    }
}

/// Writes the config of a place; not part of any measurement.
pub fn configure(place: &Place) {
    let command = Value::from(place.command());
    let programs: Map<String, Value> = (0..place.count)
        .map(|index| (name(index), command.clone()))
        .collect();
    let config = json!({
        "base_dir": ".",
        "err_dir": "logs",
        "defaults": { "backoff": { "initial": 0, "max": 0 } },
        "programs": programs,
    });
    std::fs::write(place.path("procsched.json"), config.to_string()).expect("a config");
}

impl Keeper for Supervisor {
    fn start(place: &Place) -> Self {
        let output = |name| File::create(place.path(name)).expect("a file for output");
        let process = Command::new(BINARY)
            .arg("run")
            .arg(place.path("procsched.json"))
            .stdin(Stdio::null())
            .stdout(output("reports"))
            .stderr(output("messages"))
            .spawn()
            .expect("the binary under test");
        Self { process }
    }

    /// It sees to that by itself.
    fn replace(&mut self, _: &Place, _: Pid) {}

    fn drain(&mut self, place: &Place, bytes_each: u64) {
        let logs = (0..place.count).map(|index| File::open(place.log(index)).expect("a log"));
        let mut logs: Vec<File> = logs.collect();
        let size = |log: &File| log.metadata().expect("a log").len();
        wait_until(LOOK_INTERVAL, "all bytes in the logs", || {
            logs.retain(|log| size(log) < bytes_each);
            logs.is_empty()
        });
    }

    fn cpu(&self) -> Duration {
        proc::cpu(&self.id().to_string())
    }

    fn stop(mut self) {
        send(self.pid(), Signal::SIGTERM);
        let status = self.process.wait().expect("a child of ours");
        assert!(status.success(), "the supervisor ended with {status}");
    }
}

impl Drop for Supervisor {
    /// After a failed measurement, nothing stays behind.
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            send(self.pid(), Signal::SIGTERM);
            let _ = self.process.wait();
        }
    }
}
