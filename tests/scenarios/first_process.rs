//! The supervisor as the first process of a namespace, and where it is less welcome: without
//! `/proc`, without `/dev/null`, with children that it never had.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::MsFlags;
use serde_json::json;

use crate::common::levers::Helper;
use crate::common::scene::spawn;
use crate::common::{
    Need, Scene, Supervisor, alive, missing, process, second_run, tools, wait_for,
};
use crate::orphans::is_blind;
use crate::stop::{recorded, stop_recorders};

/// PID 1 of a namespace with its own `/proc`.
const FIRST: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// The same with the `/proc` of another namespace.
const ABROAD: [&str; 4] = ["unshare", "--pid", "--fork", "--kill-child"];

const HIDE_PROC: &str = "mount -t tmpfs none /proc && exec \"$@\"";

/// Whether this cannot be tried here: wrappers need the host, and namespaces root.
#[track_caller]
fn cannot_wrap() -> bool {
    if second_run::is_pid1() {
        tools::skip("a wrapper makes its own namespace, and needs the host");
        return true;
    }
    missing(&[Need::Root, Need::Pids, Need::Mounts, Need::Tool("unshare")])
}

#[track_caller]
fn start_wrapped(scene: &Scene, wrapper: &[&str]) -> Supervisor {
    let mut supervisor = scene.launch(scene.wrapped(wrapper));
    supervisor.look_behind_wrapper();
    supervisor
}

/// Whether this process holds SIGTERM back, or handles it.
fn minds_sigterm(pid: i32) -> bool {
    let status = std::fs::read_to_string(process::directory(pid).join("status"));
    let status = status.unwrap_or_default();
    let set = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
    };
    let bit = 1 << (libc::SIGTERM - 1);
    ["SigBlk:", "SigCgt:"]
        .iter()
        .any(|key| set(key).is_some_and(|set| set & bit != 0))
}

/// The kernel drops what PID 1 does not handle. So the first thing that it does is to hold its
/// signals, and what comes after that is heard, whenever it comes.
#[test]
fn m126_a_stop_in_the_first_milliseconds_is_heard() {
    if !second_run::is_pid1() && cannot_wrap() {
        return;
    }
    const ROUNDS: u64 = 40;
    for round in 0..ROUNDS {
        let mut scene = Scene::new();
        scene.add("p", "escape { hold } ; hold");
        let supervisor = match second_run::is_pid1() {
            true => scene.start(),
            false => start_wrapped(&scene, &FIRST),
        };
        supervisor.wait("SIGTERM to be minded", || minds_sigterm(supervisor.pid()));
        std::thread::sleep(Duration::from_micros(round * round % 31 * 700));
        let reports = supervisor.end();
        assert!(reports.len() <= 1, "{reports:?}");
    }
}

#[test]
fn m126_a_stop_while_the_config_is_being_read_starts_nothing() {
    if cannot_wrap() || missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "touch started ; hold");
    let config = scene.config_path();
    let config = config.to_str().expect("UTF-8");
    let output = scene.path("strace");
    let output = output.to_str().expect("UTF-8");
    let mut wrapper = FIRST.to_vec();
    // -D: the tracer is the child, so that the supervisor is PID 1.
    wrapper.extend(["strace", "-D", "-o", output, "-P", config]);
    wrapper.extend(["-e", "inject=openat:delay_enter=1500000"]);
    let supervisor = start_wrapped(&scene, &wrapper);
    supervisor.wait("SIGTERM to be minded", || minds_sigterm(supervisor.pid()));
    assert!(!scene.path("started").exists());
    supervisor.signal(libc::SIGTERM);
    let reports = supervisor.ends_with(0);
    assert_eq!(reports.len(), 0, "{reports:?}");
    assert!(scene.read("strace").contains("(DELAYED)"), "no point");
    assert!(
        !scene.path("started").exists(),
        "it was started after the stop"
    );
}

/// Everything that a start and a stop do about orphans, by a PID 1 that is not root.
#[test]
fn pid_1_may_be_any_user() {
    if cannot_wrap() || missing(&[Need::Tool("setpriv")]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    let first = "escape { ignore TERM ; close 2 ; pid killed ; hold } ; wait-file killed ; exit 3";
    let second = "escape { ignore TERM ; pid left ; hold } ; hold";
    let script = format!("once first {{ {first} }} ; {second}");
    let keys = json!({"backoff": {"initial": "50ms", "max": "50ms"}, "stop_timeout": "300ms"});
    scene.add_with("p", &script, keys);
    let mut wrapper = FIRST.to_vec();
    wrapper.extend([
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ]);
    let supervisor = start_wrapped(&scene, &wrapper);
    supervisor.wait_started("p", 2);
    scene.wait_pid("left");
    supervisor.wait_message(&["p", "killed", "had left its group"]);
    let reports = supervisor.end();
    assert_eq!(reports.len(), 2, "{reports:?}");
}

#[test]
fn without_proc_a_subreaper_says_so_once_and_waits_for_nobody() {
    if cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    let script = "once first { escape { close 2 ; record orphan TERM } } ; wait-file orphan ; \
                  exit 1";
    let keys = json!({"backoff": {"initial": "20ms", "max": "20ms"}, "stop_timeout": "1h"});
    scene.add_with("p", script, keys);
    let wrapper = ["unshare", "--mount", "sh", "-c", HIDE_PROC, "sh"];
    let mut supervisor = scene.launch(scene.wrapped(&wrapper));
    supervisor.wait_reports(5);
    supervisor.spare_all();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    let said = supervisor.messages_with(&["without /proc", "left alone"]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(recorded(&scene, "orphan"), [0; 0]);
    assert!(!supervisor.descendants().is_empty(), "it was killed");
}

/// The `/proc` of another namespace is as good as none: its numbers are those of strangers.
#[test]
fn without_proc_pid_1_stops_everybody_at_the_end() {
    if cannot_wrap() {
        return;
    }
    let mut hidden = ABROAD.to_vec();
    hidden.extend(["--mount", "sh", "-c", HIDE_PROC, "sh"]);
    for wrapper in [hidden, ABROAD.to_vec()] {
        let mut scene = Scene::new();
        let first = "escape { close 2 ; record orphan TERM CONT } ; wait-file orphan ; exit 1";
        let backoff = json!({"initial": "20ms", "max": "20ms"});
        let keys = json!({"backoff": backoff, "stop_timeout": "1h"});
        scene.add_with(
            "p",
            &format!("once first {{ {first} }} ; pid up ; hold"),
            keys,
        );
        let bystander = Helper::probe(&scene, "hold");
        let mut supervisor = start_wrapped(&scene, &wrapper);
        scene.wait_pid("up");
        assert_eq!(recorded(&scene, "orphan"), [0; 0], "nothing before the end");
        stop_recorders(&scene, &mut supervisor, &["orphan"], 3);
        assert_eq!(recorded(&scene, "orphan"), [libc::SIGTERM, libc::SIGCONT]);
        for signal in ["SIGTERM", "SIGKILL"] {
            let said = supervisor.messages_with(&[signal, "every process that is left"]);
            assert_eq!(said.len(), 1, "{}", supervisor.said());
        }
        assert_eq!(
            supervisor.messages_with(&["warning"]),
            [""; 0],
            "nothing is amiss"
        );
        assert!(alive(bystander.pid()), "everybody means everybody of ours");
    }
}

/// A shell starts two processes, and becomes the supervisor: its children, whom it never had.
fn with_inherited(scene: &Scene, wrapper: &[&str]) -> Supervisor {
    let inherited = scene.path("inherited");
    let script = format!(
        "\"$0\" 'record {} TERM CONT' >/dev/null 2>&1 & \"$0\" 'exit 3' & exec \"$@\"",
        inherited.display()
    );
    let probe = tools::probe_path().to_str().expect("UTF-8");
    let words = [wrapper, &["sh", "-c", &script, probe]].concat();
    let mut supervisor = scene.launch(scene.wrapped(&words));
    if !wrapper.is_empty() {
        supervisor.look_behind_wrapper();
    }
    scene.wait_lines("inherited", 1);
    supervisor.wait_started("p", 1);
    wait_for("what it inherited to be reaped", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    supervisor
}

#[test]
fn who_was_there_before_is_reaped_and_left_alone() {
    if cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with("p", "hold", json!({"stop_timeout": "1h"}));
    let mut supervisor = with_inherited(&scene, &[]);
    supervisor.spare_all();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(recorded(&scene, "inherited"), [0; 0]);
    assert_eq!(supervisor.descendants().len(), 1, "it runs on");
    assert_eq!(supervisor.messages_with(&["had left"]), [""; 0]);
}

#[test]
fn who_was_there_before_pid_1_is_stopped_at_the_end() {
    if cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with("p", "hold", json!({"stop_timeout": "1h"}));
    let mut supervisor = with_inherited(&scene, &FIRST);
    assert_eq!(recorded(&scene, "inherited"), [0; 0]);
    stop_recorders(&scene, &mut supervisor, &["inherited"], 3);
    assert_eq!(
        recorded(&scene, "inherited"),
        [libc::SIGTERM, libc::SIGCONT]
    );
}

/// A child that died before the supervisor was there: no signal tells of it. It was once a zombie
/// until some other child died.
#[test]
fn who_died_before_is_reaped_although_no_signal_tells() {
    if cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "hold");
    let mut command = scene.command();
    // SAFETY: system calls on plain numbers and on a live local.
    unsafe {
        command.pre_exec(|| {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(3);
            }
            let mut info = std::mem::zeroed::<libc::siginfo_t>();
            let options = libc::WEXITED | libc::WNOWAIT;
            match libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, options) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let supervisor = scene.launch(command);
    supervisor.wait_started("p", 1);
    wait_for("what died before to be reaped", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    supervisor.end();
}

#[test]
fn m131_without_dev_null_nothing_starts_and_the_reason_is_said() {
    if missing(&[Need::Root, Need::Mounts]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "touch started ; hold");
    scene
        .setting
        .mount(Path::new("/dev"), "mode=755", MsFlags::empty());
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    supervisor.wait_message(&["failed to open \"/dev/null\"", "No such file"]);
    assert!(!scene.path("started").exists());
}

#[test]
fn m131_a_regular_file_is_no_dev_null() {
    if cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "touch started ; hold");
    let replace = "mount -t tmpfs none /dev && echo secret >/dev/null && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", replace, "sh"];
    let mut supervisor = scene.launch(scene.wrapped(&wrapper));
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    supervisor.wait_message(&["/dev/null"]);
    assert!(!scene.path("started").exists());
}

/// What it was started in can be unmounted while it runs; all paths are those of the start.
#[test]
fn m132_it_stays_in_no_directory() {
    let mut scene = Scene::new();
    scene.add("p", "pid up ; say words\\n ; hold");
    let _ = scene.command();
    let words = [
        second_run::binary().to_owned(),
        "run".into(),
        PathBuf::from("procsched.json"),
    ];
    let mut command = scene.marked(&words);
    command.current_dir(scene.directory());
    let supervisor = scene.launch(command);
    scene.wait_pid("up");
    let place = std::fs::read_link(process::directory(supervisor.pid()).join("cwd"));
    assert_eq!(place.expect("it runs"), Path::new("/"));
    supervisor.end();
    assert_eq!(scene.log("p"), b"words\n");
}

/// Like all else that was not asked for, it is handed on as it came.
#[test]
fn m134_what_the_oom_killer_thinks_of_it_is_inherited() {
    let mut scene = Scene::new();
    scene.add("p", "pid up ; hold");
    let mut command = scene.command();
    // SAFETY: three system calls on a literal and live locals; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
            let written = libc::write(file, c"300".as_ptr().cast(), 3);
            libc::close(file);
            match written {
                3 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let supervisor = scene.launch(command);
    let pids = [supervisor.pid(), scene.wait_pid("up")];
    for pid in pids {
        let file = process::directory(pid).join("oom_score_adj");
        let score = std::fs::read_to_string(file).expect("it runs");
        assert_eq!(score.trim(), "300");
    }
    supervisor.end();
}

/// Documented so: nothing kills programs because their supervisor was killed; but the end of
/// PID 1 is the end of everybody.
#[test]
fn m136_m137_programs_outlive_a_supervisor_that_is_killed() {
    let mut scene = Scene::new();
    scene.add("p", "escape { record orphan TERM } ; record program TERM");
    let mut supervisor = scene.start();
    let program = supervisor.wait_started("p", 1);
    scene.wait_lines("program", 1);
    scene.wait_lines("orphan", 1);
    supervisor.spare_all();
    supervisor.signal(libc::SIGKILL);
    assert_eq!(supervisor.wait_exit(), 128 + libc::SIGKILL);
    assert_eq!(alive(program), !second_run::is_pid1());
    for file in ["program", "orphan"] {
        assert_eq!(recorded(&scene, file), [0; 0], "{file}");
    }
}

/// A child of nobody's that leaves its group and hides whose it is gets no peace from PID 1.
#[test]
fn m130_pid_1_is_the_last_to_leave() {
    if is_blind() || cannot_wrap() {
        return;
    }
    let mut scene = Scene::new();
    let script = "escape { anonymous ; escape { anonymous ; ignore TERM ; pid deep ; hold } ; \
                  record nobody TERM } ; wait-file deep ; wait-file nobody ; wait-file found ; \
                  exit 0";
    scene.add_with(
        "p",
        script,
        json!({"restart": "never", "stop_timeout": "2s"}),
    );
    let supervisor = start_wrapped(&scene, &FIRST);
    // It would be over before it is found among very many processes.
    scene.write("found", "");
    let reports = supervisor.ends_with(0);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(recorded(&scene, "nobody"), [libc::SIGTERM]);
}

/// The place it was started in is taken away while it runs, as an administrator does it.
#[test]
fn m132_where_it_was_started_can_be_unmounted() {
    if cannot_wrap() || missing(&[Need::Tool("nsenter")]) {
        return;
    }
    let mut scene = Scene::new();
    let place = scene.mkdir("place");
    let place = place.to_str().expect("UTF-8");
    scene.add("p", "pid up ; hold");
    let enter = format!("mount -t tmpfs none {place} && cd {place} && exec \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &enter, "sh"];
    let supervisor = scene.launch(scene.wrapped(&wrapper));
    scene.wait_pid("up");
    let target = supervisor.pid().to_string();
    let umount = |options: &[&str]| {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &target, "-m", "umount"])
            .args(options)
            .arg(place);
        spawn(&mut command)
            .and_then(|mut child| child.wait())
            .expect("nsenter runs")
    };
    assert!(umount(&[]).success(), "somebody stays in it");
    assert!(!umount(&[]).success(), "no point: it was not mounted");
    supervisor.end();
}
