//! `procsched-min init` as a process: a probe is its command, or whatever a test wants.

use std::path::PathBuf;
use std::process::Command;

use super::scene::Scene;
use super::second_run::binary;
use super::supervisor::Supervisor;
use super::tools::probe_path;

/// Makes PID 1 of a namespace with its own `/proc` out of what follows.
pub const AS_PID_1: [&str; 3] = ["unshare", "-pf", "--mount-proc"];

/// `init` with these options and a command, through a wrapper that ends in executing it.
pub fn init_of(scene: &Scene, wrapper: &[&str], options: &[&str], command: &[&str]) -> Command {
    let parts = [wrapper, &[binary_text(), "init"], options, &["--"], command];
    let words: Vec<PathBuf> = parts.concat().into_iter().map(PathBuf::from).collect();
    let mut made = scene.marked(&words);
    made.current_dir(scene.directory());
    made
}

/// `init` with the probe as its command, in the scene's directory.
pub fn init(scene: &Scene, options: &[&str], script: &str) -> Command {
    init_of(scene, &[], options, &[probe_text(), script])
}

/// The same as PID 1.
pub fn init_as_pid_1(scene: &Scene, options: &[&str], script: &str) -> Command {
    init_of(scene, &AS_PID_1, options, &[probe_text(), script])
}

/// Starts it, and finds it where it was started through a wrapper that forks.
#[track_caller]
pub fn start_as_pid_1(scene: &Scene, command: Command) -> Supervisor {
    let mut supervisor = scene.launch(command);
    supervisor.look_behind_wrapper();
    supervisor
}

/// The binary's path as text.
pub fn binary_text() -> &'static str {
    binary().to_str().expect("a path in UTF-8")
}

/// The probe's path as text.
pub fn probe_text() -> &'static str {
    probe_path().to_str().expect("a path in UTF-8")
}
