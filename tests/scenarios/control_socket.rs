//! The control socket as a file: where it is, who may use it, and what becomes of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::operator::{Operator, control, order, status, wait_state};
use crate::common::{Need, Scene, Supervisor, missing, process, wait_for};

/// A scene with a program that waits to be stopped, and a socket.
fn scene() -> (Scene, std::path::PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("web", "hold");
    (scene, path)
}

fn mode(path: &Path) -> u32 {
    let found = fs::symlink_metadata(path).expect("it is there");
    found.permissions().mode() & 0o7777
}

/// Runs it to its end, which is a refusal, and returns what it said.
fn refusal(scene: &Scene, command: Command) -> String {
    let mut supervisor = scene.launch(command);
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    assert!(supervisor.started("web").is_empty(), "nothing is started");
    supervisor.messages().join("\n")
}

fn with_umask(mut command: Command, mask: u32) -> Command {
    // SAFETY: one system call without pointers.
    unsafe {
        command.pre_exec(move || {
            libc::umask(mask);
            Ok(())
        });
    }
    command
}

#[test]
fn m155_it_is_for_the_owner_alone_and_is_removed_at_the_end() {
    for mask in [0, 0o022, 0o077] {
        let (scene, path) = scene();
        let supervisor = scene.launch(with_umask(scene.command(), mask));
        wait_state(&supervisor, &path, "web", "running");
        assert_eq!(mode(&path), 0o600, "umask {mask:o}");
        let lock = scene.path("control.sock.lock");
        assert_eq!(mode(&lock), 0o600, "umask {mask:o}");
        let pid = supervisor.inner_pid().to_string();
        assert_eq!(scene.read("control.sock.lock").trim(), pid);
        supervisor.end();
        assert!(!path.exists() && !lock.exists());
    }
}

#[test]
fn a_group_may_use_it_too() {
    if missing(&[Need::Root]) {
        return;
    }
    let (mut scene, path) = scene();
    scene.set("control_group", json!(64_331));
    let supervisor = scene.launch(with_umask(scene.command(), 0o077));
    wait_state(&supervisor, &path, "web", "running");
    let found = fs::symlink_metadata(&path).expect("it is there");
    assert_eq!((mode(&path), found.gid()), (0o660, 64_331));
    supervisor.end();
}

#[test]
fn what_took_its_place_is_left_at_the_end() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    fs::remove_file(&path).expect("it can be removed");
    scene.write("control.sock", "mine");
    supervisor.end();
    assert_eq!(scene.read("control.sock"), "mine");
}

#[test]
fn a_removed_socket_is_made_again_at_a_signal() {
    for signal in [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        let (scene, path) = scene();
        let supervisor = scene.start();
        wait_state(&supervisor, &path, "web", "running");
        let before = fs::symlink_metadata(&path).expect("it is there").ino();
        supervisor.signal(signal);
        wait_for("the signal", || {
            status(&path, "web")["state"] == "running" && process::alive(supervisor.pid())
        });
        let after = fs::symlink_metadata(&path).expect("it is there").ino();
        assert_eq!(before, after, "nothing was missing");
        fs::remove_file(&path).expect("it can be removed");
        fs::remove_file(scene.path("control.sock.lock")).expect("it can be removed");
        supervisor.signal(signal);
        assert_eq!(status(&path, "web")["state"], "running");
        assert_eq!(mode(&path), 0o600);
        wait_for("the lock", || scene.path("control.sock.lock").exists());
        supervisor.end();
        assert!(!path.exists());
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let (scene, path) = scene();
    let mut killed = scene.start();
    wait_state(&killed, &path, "web", "running");
    killed.spare_all();
    killed.signal(libc::SIGKILL);
    assert_eq!(killed.wait_exit(), 128 + libc::SIGKILL);
    assert!(path.exists());
    for pid in process::marked(scene.mark()) {
        process::signal(pid, libc::SIGKILL);
    }
    wait_for("the end of all", || {
        process::marked(scene.mark()).is_empty()
    });
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    supervisor.end();
}

#[test]
fn a_second_supervisor_of_the_same_socket_is_refused() {
    let (first, path) = scene();
    let supervisor = first.start();
    let pid = status(&path, "web")["pid"].clone();
    let mut second = Scene::new();
    second.show(&first);
    second.set("control", json!(path)).add("web", "hold");
    let said = refusal(&second, second.command());
    let owner = supervisor.inner_pid();
    let expected = format!("failed to use the socket {path:?}: supervisor {owner} has it");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(status(&path, "web")["pid"], pid);
    supervisor.end();
}

#[test]
fn a_second_supervisor_of_the_same_config_is_told_of_the_first() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    status(&path, "web");
    // The logs are taken as well, which says less.
    let second = scene.command().output().expect("it can be run");
    let said = String::from_utf8_lossy(&second.stderr);
    let expected = format!("supervisor {} has it", supervisor.inner_pid());
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&expected), "{said}");
    let answer = Operator::ask_once(&path, &json!({"v": 1, "command": "status"})).fine();
    let config = answer.last["supervisor"]["config"].as_str();
    assert_eq!(config.map(Path::new), Some(&*scene.config_path()));
    supervisor.end();
}

#[test]
fn what_is_no_stale_socket_is_left_alone() {
    let (scene, path) = scene();
    scene.write("control.sock", "a file");
    let said = refusal(&scene, scene.command());
    let expected = "something else is there: remove it, or choose another path";
    assert!(said.contains(expected), "{said}");
    assert_eq!(scene.read("control.sock"), "a file");
    fs::remove_file(&path).expect("it can be removed");

    let listener = UnixListener::bind(&path).expect("a listener");
    let said = refusal(&scene, scene.command());
    assert!(said.contains("another process listens there"), "{said}");
    UnixStream::connect(&path).expect("the other still listens");
    drop(listener);

    fs::remove_file(&path).expect("it can be removed");
    scene.write("target", "");
    std::os::unix::fs::symlink(scene.path("target"), scene.path("control.sock.lock"))
        .expect("a link");
    let said = refusal(&scene, scene.command());
    assert!(said.contains("control.sock.lock\": "), "{said}");
    assert_eq!(scene.read("target"), "");
}

/// It cannot be told whether it is stale: its owner may be about to listen.
#[test]
fn the_socket_and_the_lock_of_another_user_are_left_alone() {
    if missing(&[Need::Root]) {
        return;
    }
    let (mut scene, path) = scene();
    scene.setting.user(64_334);
    scene.chmod("", 0o777);
    drop(UnixListener::bind(&path).expect("a socket of root"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is root's");
    let said = refusal(&scene, scene.command());
    let expected = format!("failed to make the socket {path:?}: it belongs to another user");
    assert!(said.contains(&expected), "{said}");
    assert!(path.exists());

    fs::remove_file(&path).expect("it can be removed");
    let lock = scene.write("control.sock.lock", "");
    scene.chmod("control.sock.lock", 0o666);
    let said = refusal(&scene, scene.command());
    let expected = format!("failed to use {lock:?}: it belongs to another user");
    assert!(said.contains(&expected), "{said}");
    assert!(lock.exists() && !path.exists());
}

#[test]
fn a_path_that_is_too_long_or_leads_nowhere_is_refused() {
    let (scene, _) = scene();
    let long = format!("/tmp/{}", "x".repeat(126));
    let mut command = scene.command();
    command.args(["--socket", &long]);
    let said = refusal(&scene, command);
    let expected = "the path has 131 bytes; a socket path can have 107";
    assert!(said.contains(expected), "{said}");
    let mut command = scene.command();
    command
        .arg("--socket")
        .arg(scene.path("missing/control.sock"));
    let said = refusal(&scene, command);
    let expected = "No such file or directory; make its directory first";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn the_nearest_word_says_where_it_is() {
    let (mut scene, path) = scene();
    let by_variable = scene.path("variable.sock");
    let by_option = scene.path("option.sock");
    let start = |scene: &Scene, option: Option<&Path>| {
        let mut command = scene.command();
        command.env("PROCSCHED_SOCKET", &by_variable);
        if let Some(option) = option {
            command.arg("--socket").arg(option);
        }
        scene.launch(command)
    };
    let supervisor = start(&scene, Some(&by_option));
    wait_state(&supervisor, &by_option, "web", "running");
    assert!(!by_variable.exists() && !path.exists());
    supervisor.end();
    let supervisor = start(&scene, None);
    wait_state(&supervisor, &by_variable, "web", "running");
    assert!(!by_option.exists() && !path.exists());
    supervisor.end();
    scene.set("control", json!(false));
    let supervisor = start(&scene, None);
    supervisor.wait_started("web", 1);
    assert!(!by_variable.exists());
    supervisor.end();
    let supervisor = start(&scene, Some(&by_option));
    wait_state(&supervisor, &by_option, "web", "running");
    supervisor.end();
}

#[test]
fn without_control_there_is_none() {
    let (scene, path) = scene();
    let mut command = scene.command();
    command.arg("--no-control");
    let supervisor = scene.launch(command);
    supervisor.wait_started("web", 1);
    assert!(!path.exists());
    let kinds = process::descriptor_kinds(supervisor.pid());
    assert!(!kinds.contains(&"socket".to_owned()), "{kinds:?}");
    supervisor.end();
}

#[test]
fn programs_do_not_inherit_it() {
    let (mut scene, path) = scene();
    scene.add("look", "dump look.json ; hold");
    let mut command = scene.command();
    command.env("PROCSCHED_SOCKET", &path);
    let supervisor = scene.launch(command);
    // With a client connected: neither has it.
    let mut operator = Operator::connect(&path);
    operator.ask(&order("restart", &["web"])).fine();
    let pid = operator.ask(&order("status", &["web"])).program("web")["pid"].clone();
    let dump = scene.wait_dump("look.json");
    assert!(dump["env"].get("PROCSCHED_SOCKET").is_none(), "{dump:?}");
    if supervisor.inner_pid() == supervisor.pid() {
        let pid = i32::try_from(pid.as_i64().expect("a pid")).expect("a pid");
        let held = process::descriptors(pid);
        let has_socket = held.values().any(|kind| kind.starts_with("socket:"));
        assert!(!has_socket, "{held:?}");
    }
    supervisor.end();
}

/// The hash of the protocol, once more.
fn default_name(config: &Path) -> String {
    let bytes = config.to_str().expect("text").bytes();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}.sock")
}

/// Starts it as a user whose run-time directory is in the scene.
fn start_as_user(scene: &mut Scene) -> Supervisor {
    scene.setting.user(64_332);
    scene.chmod("", 0o777);
    let mut command = scene.command();
    command.env("XDG_RUNTIME_DIR", scene.path("run"));
    scene.launch(command)
}

#[test]
fn by_default_it_is_in_the_run_time_directory() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("web", "hold");
    scene.mkdir("run");
    scene.chmod("run", 0o777);
    let supervisor = start_as_user(&mut scene);
    let directory = scene.path("run/procsched");
    let path = directory.join(default_name(&scene.config_path()));
    wait_state(&supervisor, &path, "web", "running");
    assert_eq!(mode(&directory), 0o700);
    supervisor.end();
    assert!(!path.exists());
}

#[test]
fn an_unusable_default_is_reported_once_and_supervision_goes_on() {
    if missing(&[Need::Root]) {
        return;
    }
    for make in [
        |scene: &Scene| {
            scene.write("run/procsched", "");
        },
        |scene: &Scene| {
            scene.mkdir("run/procsched");
        },
        |scene: &Scene| scene.chmod("run", 0o555),
    ] {
        let mut scene = Scene::new();
        scene.add("web", "hold");
        scene.mkdir("run");
        scene.chmod("run", 0o777);
        make(&scene);
        let supervisor = start_as_user(&mut scene);
        supervisor.wait_started("web", 1);
        let notices = supervisor.messages_with(&["no control socket: ", "\"control\""]);
        assert_eq!(notices.len(), 1, "{}", supervisor.said());
        supervisor.end();
    }
}
