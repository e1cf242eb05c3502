//! Clients of the control socket, each executed anew: what they ask changes nothing, so that the
//! rest of a play is the same with and without an answer.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::fault::Side;
use super::play::{LAST_PATIENCE, Manner, PATIENCE, wait};
use super::subject::Subject;
use crate::common::scene::spawn;
use crate::common::{Scene, Supervisor, second_run};

/// The orders. The program runs already.
const ORDERS: [&str; 2] = ["status", "start"];
const PROGRAM: &str = "steady";

/// How long one client is waited for. The next may be answered where this one was lost.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Asks until each order is answered, by another client where one is lost. A call that fails once
/// may cost a client its answer, and no other.
pub fn has_answered(
    scene: &Scene,
    supervisor: &mut Supervisor,
    manner: &Manner<'_>,
) -> Option<bool> {
    let is_asked = manner.subject == Subject::Run && listens(&scene.read("trace"));
    if !is_asked {
        return None;
    }
    let is_lasting = manner
        .fault
        .is_some_and(|fault| fault.for_ever || fault.side == Side::Child);
    let patience = if is_lasting { LAST_PATIENCE } else { PATIENCE };
    let answers = |order: &&str| {
        wait(patience, || {
            !supervisor.is_running() || ask(scene, order, patience.min(CLIENT_TIME_MAX))
        })
    };
    Some(ORDERS.iter().all(answers))
}

fn ask(scene: &Scene, order: &str, patience: Duration) -> bool {
    let mut command = Command::new(second_run::binary());
    command
        .args([order, PROGRAM, "-c"])
        .arg(scene.config_path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut client = spawn(&mut command).expect("a client");
    let mut is_fine = None;
    wait(patience, || {
        is_fine = client.try_wait().expect("a child of ours");
        is_fine.is_some()
    });
    if is_fine.is_none() {
        client.kill().expect("a child of ours");
        client.wait().expect("a child of ours");
    }
    is_fine.is_some_and(|status| status.success())
}

/// Whether there is a socket to ask at.
fn listens(trace: &str) -> bool {
    let mut calls = trace.lines().map(without_pid);
    calls.any(|line| line.starts_with("listen(") && line.trim_end().ends_with(" = 0"))
}

/// A line without the number that is before it where children are traced as well.
fn without_pid(line: &str) -> &str {
    line.trim_start_matches(|char: char| char.is_ascii_digit() || char == ' ')
}

/// Removes the socket that it has bound, and its lock, if they are there; returns which were.
pub fn remove_left_files(trace: &str) -> Vec<String> {
    let path = |line: &str| {
        let address = line.strip_prefix("bind(")?;
        let (path, _) = address.split_once("sun_path=\"")?.1.split_once('"')?;
        Some(path.to_owned())
    };
    let paths = trace.lines().map(without_pid).filter_map(path);
    let paths = paths.flat_map(|path| [format!("{path}.lock"), path]);
    let is_left = |path: &String| std::fs::remove_file(PathBuf::from(path)).is_ok();
    paths.filter(is_left).collect()
}
