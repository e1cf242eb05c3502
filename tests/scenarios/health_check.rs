//! `status` as the health check of a container that has nothing but the binary: the supervisor is
//! PID 1 in an empty root, and the check is executed beside it, as a container's runtime does.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::operator::{control, wait_state};
use crate::common::second_run::{self, Ran, binary};
use crate::common::tools::{lacks, probe_path};
use crate::common::{Need, Scene, Supervisor, missing, namespace, process, scene};

/// The libraries of an executable, and what loads them; none if it is static.
fn libraries(executable: &std::path::Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(executable).output();
    let Ok(output) = output else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace();
    let paths = words.filter(|word| word.starts_with('/') && !word.ends_with(':'));
    paths.map(PathBuf::from).collect()
}

/// Starts the supervisor as PID 1 of a root with its executables and the scene alone; `None` where
/// that may not be done.
fn start(scene: &Scene) -> Option<Supervisor> {
    let mut shown = vec![binary().to_owned(), probe_path().to_owned()];
    let mut needed: Vec<PathBuf> = shown.iter().flat_map(|path| libraries(path)).collect();
    needed.sort();
    needed.dedup();
    shown.extend(needed);
    shown.extend(["/dev/null".into(), scene.directory().to_owned()]);
    let mut command = scene.command();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match namespace::spawn(&mut command, &shown, |_| ()) {
        Ok((child, namespace)) => {
            second_run::note(Ran::AsPid1);
            Some(Supervisor::adopt(child, Some(namespace), scene.mark()))
        }
        Err(error) => {
            lacks(&format!("nothing can be PID 1 of an empty root: {error}"));
            None
        }
    }
}

#[test]
fn status_is_the_health_check_of_an_empty_container() {
    if missing(&[Need::Root, Need::Pids, Need::Tool("nsenter")]) {
        return;
    }
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let late = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add("web", "hold");
    scene.add_with("db", "await USR1 ; say no_database\\n ; exit 3", late);
    let Some(supervisor) = start(&scene) else {
        return;
    };
    assert_eq!(supervisor.inner_pid(), 1);
    let config = scene.config_path();
    let config = config.to_str().expect("text");
    // In its namespaces of mounts and processes, and in its root.
    let check = |arguments: &[&str]| {
        let pid = supervisor.pid().to_string();
        let binary = binary().to_str().expect("text");
        let entering = ["nsenter", "-t", &pid, "-m", "-p", "--", binary, "status"];
        let words = [&entering[..], &["-c", config], arguments].concat();
        let words: Vec<PathBuf> = words.into_iter().map(PathBuf::from).collect();
        let mut command = scene.marked(&words);
        command.env_remove("PROCSCHED_SOCKET").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = scene::spawn(&mut command).expect("a check can be started");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(err, "", "{out}");
        (output.status.code(), out)
    };
    wait_state(&supervisor, &path, "web", "running");
    wait_state(&supervisor, &path, "db", "running");
    let (code, out) = check(&[]);
    assert_eq!(code, Some(0), "{out}");
    process::signal(supervisor.wait_started("db", 1), libc::SIGUSR1);
    wait_state(&supervisor, &path, "db", "backoff");
    let (code, out) = check(&[]);
    assert_eq!(code, Some(3), "{out}");
    assert!(
        out.contains("backoff") && out.contains("no_database"),
        "{out}"
    );
    assert_eq!(check(&["web"]).0, Some(0));
    assert_eq!(check(&["db"]).0, Some(3));
    supervisor.end();
}
