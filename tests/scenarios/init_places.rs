//! `init` in places where little is left: PID 1, no `/proc`, an empty `/dev`, nothing to write
//! on, another user.

use std::os::unix::process::CommandExt;

use crate::common::init::{binary_text, init_as_pid_1, init_of, probe_text, start_as_pid_1};
use crate::common::{Need, Scene, alive, missing, process, wait_for, wait_until};

/// In a mount namespace after these commands, and then what follows.
fn shell(commands: &str) -> [String; 6] {
    let script = format!("{commands} exec \"$@\"");
    let words = ["unshare", "-pfm", "sh", "-ec", &script, "sh"];
    words.map(str::to_owned)
}

fn parts(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Whether this signal is blocked there, or waited for, which the kernel shows as not blocked;
/// it is when the command runs. From then on it cannot be lost.
fn holds(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0) || !process::children(pid).is_empty()
}

/// The kernel throws away what PID 1 neither blocks nor handles, and so what comes before the
/// first system call of ours is nobody's; all that comes after it counts.
#[test]
fn m126_a_term_in_the_first_milliseconds_of_pid_1_is_not_lost() {
    if missing(&[Need::Root, Need::Pids]) {
        return;
    }
    for _ in 0..200 {
        let scene = Scene::new();
        let mut supervisor = start_as_pid_1(&scene, init_as_pid_1(&scene, &[], "hold"));
        let pid = supervisor.pid();
        while !holds(pid, libc::SIGTERM) {
            std::hint::spin_loop();
        }
        assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
    }
}

#[test]
fn pid_1_without_proc_reaps_and_stops_everything() {
    if missing(&[Need::Root, Need::Pids, Need::Mounts]) {
        return;
    }
    let scene = Scene::new();
    let wrapper = shell("mount -t tmpfs none /proc;");
    let script = "escape { record escaped TERM } ; fork { record member TERM } ; \
        wait-file escaped ; wait-file member ; touch ready ; wait-file go ; exit 5";
    let command = [probe_text(), script];
    let command = init_of(&scene, &parts(&wrapper), &["-v"], &command);
    let mut supervisor = start_as_pid_1(&scene, command);
    scene.wait_file("ready");
    scene.write("go", "");
    assert_eq!(supervisor.wait_exit(), 5);
    for file in ["escaped", "member"] {
        assert_eq!(scene.lines(file).len(), 2, "{file} is told once");
    }
    assert_eq!(supervisor.messages_with(&["warning"]), [""; 0]);
}

#[test]
fn a_subreaper_without_proc_says_what_it_cannot_do() {
    if missing(&[Need::Root, Need::Mounts]) {
        return;
    }
    let scene = Scene::new();
    let wrapper = [
        "unshare",
        "-m",
        "sh",
        "-ec",
        "mount -t tmpfs none /proc; exec \"$@\"",
        "sh",
    ];
    let script = "escape { close 1 ; close 2 ; record escaped TERM } ; \
        fork { record member TERM } ; wait-file escaped ; wait-file member ; exit 5";
    let mut supervisor = scene.launch(init_of(&scene, &wrapper, &[], &[probe_text(), script]));
    supervisor.spare_all();
    assert_eq!(supervisor.wait_exit(), 5);
    let said = supervisor.messages();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("\"/proc\": what leaves the command's group is reaped"),
        "{said:?}"
    );
    assert_eq!(scene.lines("member").len(), 2, "the group is stopped");
    assert_eq!(scene.lines("escaped").len(), 1, "who left it is not");
}

/// The command covers `/proc` after its start: what is left in its group is killed all the same.
#[test]
fn a_proc_that_goes_away_does_not_save_the_group_from_the_kill() {
    if missing(&[Need::Root, Need::Mounts]) {
        return;
    }
    let scene = Scene::new();
    let probe = probe_text();
    let script = format!(
        "{probe} 'ignore TERM ; touch deaf ; hold' & until [ -e deaf ]; do sleep 0.01; done; \
         mount -t tmpfs none /proc; exit 5"
    );
    let command = ["sh", "-ec", &script];
    let mut supervisor = scene.launch(init_of(&scene, &["unshare", "-m"], &[], &command));
    assert_eq!(supervisor.wait_exit(), 5);
    let said = supervisor.messages();
    assert!(said.len() == 1 && said[0].contains("\"/proc\""), "{said:?}");
}

#[test]
fn m131_an_empty_dev_and_nothing_to_write_on() {
    if missing(&[Need::Root, Need::Pids, Need::Mounts]) {
        return;
    }
    let scene = Scene::new();
    let place = scene.directory().display();
    let wrapper = shell(&format!(
        "mount --make-rprivate /; mount -t proc none /proc; mount -t tmpfs none /dev; \
         mount --bind {place} {place}; mount -o remount,bind,ro /; cd {place};"
    ));
    let script = "fork { fork { exit 0 } } ; touch started ; hold";
    let command = init_of(&scene, &parts(&wrapper), &[], &[probe_text(), script]);
    let mut supervisor = start_as_pid_1(&scene, command);
    scene.wait_file("started");
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
    assert_eq!(supervisor.messages(), [""; 0]);
}

#[test]
fn anybody_may_run_it() {
    if missing(&[Need::Root]) {
        return;
    }
    let scene = Scene::new();
    scene.chmod("", 0o777);
    let binary = std::fs::read(binary_text()).expect("the binary");
    let local = [
        scene.copy_probe("probe"),
        scene.write_executable("init", binary),
    ];
    let script = "escape { record escaped TERM } ; wait-file escaped ; exit 5";
    let words = [&local[1], &"init".into(), &local[0], &script.into()].map(Clone::clone);
    let mut command = scene.marked(&words);
    command
        .current_dir(scene.directory())
        .uid(65_534)
        .gid(65_534);
    let mut supervisor = scene.launch(command);
    assert_eq!(supervisor.wait_exit(), 5);
    assert_eq!(scene.lines("escaped").len(), 2);
}

/// An executable with the set-user-ID bit makes somebody else of its process.
#[test]
fn who_may_not_be_signalled_is_said_and_not_called_undying() {
    if missing(&[Need::Root]) {
        return;
    }
    let scene = Scene::new();
    scene.chmod("", 0o777);
    scene.copy_probe("root");
    scene.chmod("root", 0o4755);
    let binary = std::fs::read(binary_text()).expect("the binary");
    scene.write_executable("init", binary);
    let script = "./root 'become 0 ; close 1 ; close 2 ; pid pid ; hold' & \
        until [ -s pid ]; do sleep 0.01; done; exit 4";
    let words = ["init", "sh", "-c", script].map(std::path::PathBuf::from);
    let mut command = scene.marked(&[&[scene.path("init")][..], &words].concat());
    command
        .current_dir(scene.directory())
        .uid(65_534)
        .gid(65_534);
    let mut supervisor = scene.launch(command);
    let pid = scene.wait_pid("pid");
    supervisor.spare(pid);
    assert_eq!(supervisor.wait_exit(), 4);
    let line = format!("failed to send SIGKILL to process {pid}: Operation not permitted");
    let said = supervisor.messages();
    assert!(said.len() == 1 && said[0].contains(&line), "{said:?}");
    assert!(alive(pid), "no point");
    process::signal(pid, libc::SIGKILL);
}

/// A filter of system calls may forbid to become a subreaper: that is said, and the rest works.
#[test]
fn m128_without_permission_to_be_a_subreaper_it_says_so_and_goes_on() {
    if missing(&[Need::Strace]) {
        return;
    }
    let scene = Scene::new();
    let trace = scene.path("trace").display().to_string();
    let inject = "--inject=prctl:error=EPERM";
    let wrapper = ["strace", "-o", &trace, "-e", "trace=prctl", inject];
    let script = "fork { record member TERM } ; wait-file member ; exit 5";
    let mut supervisor = scene.launch(init_of(&scene, &wrapper, &[], &[probe_text(), script]));
    assert_eq!(supervisor.wait_exit(), 5);
    supervisor.wait_message(&["failed to become a child subreaper: Operation not permitted"]);
    supervisor.wait_message(&["neither reaped nor stopped"]);
    wait_for("the group's end", || {
        process::marked(scene.mark()).is_empty()
    });
    assert_eq!(scene.lines("member").len(), 2);
}

/// A reader of stderr that takes nothing holds up nothing.
#[test]
fn a_full_stderr_does_not_hold_it_up() {
    let scene = Scene::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = init_of(
        &scene,
        &[],
        &["-v"],
        &[probe_text(), "touch started ; hold"],
    );
    command.stdout(std::process::Stdio::null()).stderr(writer);
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_file("started");
    // Each is a line; the pipe takes 64 KiB.
    for _ in 0..2_000 {
        supervisor.signal(libc::SIGWINCH);
        wait_until("the signal to be taken", || {
            (!is_pending(supervisor.pid(), libc::SIGWINCH)).then_some(())
        });
    }
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
    drop(reader);
}

fn is_pending(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set & (1 << (signal - 1)) != 0)
}
