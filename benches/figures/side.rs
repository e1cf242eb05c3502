//! Who is compared: the binary under test, the floor, the floor with our promises added, the
//! peers. For each: its configuration, its logs, the signal that stops it.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use crate::control::Order;
use crate::peers::{PEERS, Peer};
use crate::place::{Place, ROTATED_BYTES, ROTATED_MAX, Route, name};
use crate::table::Table;
use crate::tools::Tools;

/// Four descriptors fewer a thousand programs, and starts that do not copy them.
const LEAN: [&str; 2] = ["--lean", "--o1"];

/// The length of the lines that programs write, as in `benches/child.c`.
const LINE_BYTES: u64 = 64;

/// The name of our socket in its place.
pub const CONTROL_SOCKET: &str = "control.sock";

/// A column of the table.
#[derive(Clone)]
pub struct Side {
    pub name: &'static str,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Ours,
    Floor(Vec<&'static str>),
    Peer(Peer),
    /// A peer that is not installed.
    Absent,
}

impl Side {
    fn ours_and_floor() -> Vec<Self> {
        let side = |name, kind| Self { name, kind };
        vec![
            side("procsched", Kind::Ours),
            side("floor", Kind::Floor(Vec::new())),
        ]
    }

    pub fn with_promises() -> Vec<Self> {
        let mut sides = Self::ours_and_floor();
        sides.push(Self {
            name: "floor with promises",
            kind: Kind::Floor(vec!["--promises"]),
        });
        sides
    }

    pub fn with_peers(table: &mut Table) -> Vec<Self> {
        let mut sides = Self::ours_and_floor();
        for peer in PEERS {
            let found = peer.is_installed();
            if !found {
                table.remark(format!(
                    "{} IS NOT INSTALLED: its column is empty",
                    peer.name
                ));
            }
            let kind = if found {
                Kind::Peer(peer)
            } else {
                Kind::Absent
            };
            let name = peer.name;
            sides.push(Self { name, kind });
        }
        sides
    }

    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours)
    }

    pub fn is_absent(&self) -> bool {
        matches!(self.kind, Kind::Absent)
    }

    /// Whether a ratio to it is shown.
    pub fn is_floor(&self) -> bool {
        matches!(self.kind, Kind::Floor(_))
    }

    /// Whether it is one process and no more.
    pub fn is_one_process(&self, place: &Place) -> bool {
        let is_pipeline = self.is_floor() && place.route() == Route::Inherited;
        (self.is_ours() || self.is_floor()) && !is_pipeline
    }

    /// How many bytes it makes of these lines when it passes them on.
    pub fn passed_on(&self, bytes: u64) -> u64 {
        let prefix = match self.is_ours() {
            true => name(0).len() + " | ".len(),
            false => 0,
        };
        bytes + bytes / LINE_BYTES * prefix as u64
    }

    /// The same side; if it is a floor, with these flags besides.
    pub fn with_flags(&self, flags: &[&'static str]) -> Self {
        let mut side = self.clone();
        if let Kind::Floor(own) = &mut side.kind {
            own.extend(flags);
        }
        side
    }

    /// The same side; if it is a floor, the one for thousands of programs.
    pub fn lean(&self) -> Self {
        self.with_flags(&LEAN)
    }

    /// The same column without a peer.
    pub fn absent(&self) -> Self {
        Self {
            name: self.name,
            kind: Kind::Absent,
        }
    }

    /// Whether it has a client that gives such an order.
    pub fn takes(&self, order: Order) -> bool {
        match &self.kind {
            Kind::Ours => true,
            Kind::Peer(peer) => (peer.order)(order, "", "").is_some(),
            Kind::Floor(_) | Kind::Absent => false,
        }
    }

    /// What to execute to give an order about one program; `None` if there is no such thing.
    pub fn order(
        &self,
        place: &Place,
        tools: &Tools,
        order: Order,
        name: &str,
    ) -> Option<Vec<String>> {
        let Kind::Ours = &self.kind else {
            let Kind::Peer(peer) = &self.kind else {
                return None;
            };
            return (peer.order)(order, place.text("").trim_end_matches('/'), name);
        };
        let program = tools.ours.to_str().expect("paths of UTF-8");
        let config = place.text("config");
        let words = match order {
            Order::Status => vec!["status", name],
            Order::Stop => vec!["stop", name],
            Order::Start => vec!["start", name],
            Order::Restart => vec!["restart", name],
            Order::Reload => vec!["reload"],
        };
        let words = [program].into_iter().chain(words).chain(["-c", &config]);
        Some(words.map(str::to_owned).collect())
    }

    /// Writes the configuration of a place, and returns what to execute.
    pub fn configure(&self, place: &Place, tools: &Tools) -> Vec<String> {
        let commands =
            (0..place.count).map(|index| (name(index), place.command(&tools.child, index)));
        let commands: Vec<(String, Vec<String>)> = commands.collect();
        let program = |path: &PathBuf| path.to_str().expect("paths of UTF-8").to_owned();
        match &self.kind {
            Kind::Ours => {
                let definition = |(index, (name, words)): (usize, (String, Vec<String>))| {
                    let value = match (place.delay(index), place.required(index)) {
                        _ if place.notifies(index) => json!({
                            "command": words,
                            "ready": "notify",
                            "watchdog": "1h",
                        }),
                        (None, None) => words.into(),
                        (Some(delay), _) => json!({
                            "command": words,
                            "backoff": { "initial": delay, "max": delay },
                        }),
                        (None, Some(required)) => json!({
                            "command": words,
                            "requires": [crate::place::name(required)],
                        }),
                    };
                    (name, value)
                };
                let programs = commands.into_iter().enumerate().map(definition);
                let programs: Map<String, Value> = programs.collect();
                let mut config = json!({
                    "base_dir": ".",
                    "err_dir": "logs",
                    "control": CONTROL_SOCKET,
                    "defaults": { "backoff": { "initial": 0, "max": 0 } },
                    "programs": programs,
                });
                set_route(&mut config, place.route());
                write(place, "config", config.to_string());
                vec![program(&tools.ours), "run".to_owned(), place.text("config")]
            }
            // What is inherited has no supervisor at the floor: it is `cat` in a pipeline.
            Kind::Floor(_) if place.route() == Route::Inherited => {
                let [(_, words)] = &commands[..] else {
                    unreachable!("a pipeline has one program");
                };
                let script = format!("{} 2>/dev/null | cat", words.join(" "));
                ["sh".to_owned(), "-c".to_owned(), script].to_vec()
            }
            Kind::Floor(flags) => {
                let lines = commands.iter().enumerate().map(|(index, (_, words))| {
                    let log = self.logs(place, index).remove(0);
                    format!("{}\t{}\n", log.display(), words.join("\t"))
                });
                write(place, "config", lines.collect());
                let of_stdout = (place.route() != Route::Stderr).then_some("--stdout");
                let flags = flags.iter().copied().chain(of_stdout);
                let flags = flags.map(str::to_owned);
                [program(&tools.floor)]
                    .into_iter()
                    .chain(flags)
                    .chain([place.text("config")])
                    .collect()
            }
            Kind::Peer(peer) => (peer.configure)(place, &commands),
            Kind::Absent => unreachable!("nobody starts what is not there"),
        }
    }

    /// The files in which a program's output is, in order.
    pub fn logs(&self, place: &Place, index: usize) -> Vec<PathBuf> {
        let logs = place.path("logs");
        match &self.kind {
            Kind::Peer(peer) => (peer.logs)(&logs, &name(index)),
            _ => {
                let stream = match place.route() {
                    Route::Stderr => "stderr",
                    Route::Stdout | Route::Rotated | Route::Inherited => "stdout",
                };
                numbered(logs.join(format!("{}.{stream}.log", name(index))))
            }
        }
    }

    /// What makes it stop everything.
    pub fn stop_signal(&self) -> Signal {
        match &self.kind {
            Kind::Peer(peer) => peer.stop_signal,
            _ => Signal::SIGTERM,
        }
    }
}

/// Has our programs write there.
fn set_route(config: &mut Value, route: Route) {
    let defaults = &mut config["defaults"];
    if route != Route::Stderr {
        defaults["stderr"] = json!("null");
        defaults["stdout"] = json!("log");
    }
    match route {
        Route::Stderr | Route::Stdout => {}
        Route::Rotated => {
            defaults["log"] = json!({ "max_bytes": ROTATED_BYTES, "keep": ROTATED_MAX });
        }
        Route::Inherited => {
            defaults["stdout"] = json!("inherit");
            config["reports"] = json!("none");
        }
    }
}

/// A log behind those that were rotated away, oldest first: the order in which a size is missed, and
/// not counted twice, while they are renamed.
pub fn numbered(log: PathBuf) -> Vec<PathBuf> {
    let older = |number: usize| PathBuf::from(format!("{}.{number}", log.display()));
    let mut files: Vec<PathBuf> = (1..).map(older).take_while(|path| path.exists()).collect();
    files.reverse();
    files.push(log);
    files
}

pub fn write(place: &Place, file: &str, text: String) {
    std::fs::write(place.path(file), text).expect("a configuration");
}
