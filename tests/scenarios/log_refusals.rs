//! Logs that cannot be trusted or written: refused with the reason, and the program runs.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::process::Command;

use nix::mount::MsFlags;
use serde_json::json;

use crate::common::levers::Gate;
use crate::common::scene::spawn;
use crate::common::{
    Need, Pattern, Report, Scene, Supervisor, missing, process, second_run, tools, wait_for,
};
use crate::stderr_pipe::spewed;

const VICTIM: &str = "somebody else's words\n";

/// Starts a program that says a word, and whose log cannot be used. It must run, be drained
/// and be reported, without a log; the reason is said once.
#[track_caller]
fn assert_runs_without_log(scene: &mut Scene, reasons: &[&str]) {
    let quick = json!({"backoff": {"initial": "1ms", "max": "1ms"}});
    scene.add_with("p", "spew 200000 flat ; say end\\n ; exit 1", quick);
    scene.add("other", "say fine\\n ; hold");
    let supervisor = scene.start();
    let reports = supervisor.wait_reports_of("p", 3);
    for report in &reports {
        assert_eq!((report.code(), report.text("log")), (1, None), "{report:?}");
        assert_eq!(report.count("log_offset"), 0);
        assert!(report.data().ends_with(b"end\n"), "{report:?}");
    }
    wait_for("the other one's log", || scene.log("other") == b"fine\n");
    let log = scene.log_path("p").to_string_lossy().into_owned();
    let said = supervisor.messages_with(&["p", "warning", &log]);
    assert_eq!(said.len(), 1, "said once: {said:?}");
    for reason in reasons {
        assert!(said[0].contains(reason), "no {reason:?} in {said:?}");
    }
    supervisor.end();
}

fn scene_with_logs() -> Scene {
    let scene = Scene::new();
    scene.mkdir("logs");
    scene
}

#[test]
fn m75_a_symlink_is_not_followed() {
    let mut scene = scene_with_logs();
    let victim = scene.write("victim", VICTIM);
    symlink(&victim, scene.log_path("p")).expect("a link");
    assert_runs_without_log(&mut scene, &["symbolic link"]);
    assert_eq!(scene.read("victim"), VICTIM);
}

#[test]
fn a_dangling_symlink_makes_no_file() {
    let mut scene = scene_with_logs();
    symlink(scene.path("made"), scene.log_path("p")).expect("a link");
    assert_runs_without_log(&mut scene, &["symbolic link"]);
    assert!(!scene.path("made").exists());
}

#[test]
fn a_hard_link_is_refused() {
    let mut scene = scene_with_logs();
    let victim = scene.write("victim", VICTIM);
    std::fs::hard_link(&victim, scene.log_path("p")).expect("a link");
    assert_runs_without_log(&mut scene, &["link"]);
    assert_eq!(scene.read("victim"), VICTIM);
}

#[test]
fn a_directory_is_refused() {
    let mut scene = scene_with_logs();
    scene.mkdir("logs/p.stderr.log");
    assert_runs_without_log(&mut scene, &["directory"]);
}

#[test]
fn a_fifo_is_refused_with_and_without_a_reader() {
    for with_reader in [false, true] {
        let mut scene = scene_with_logs();
        let path = CString::new(scene.log_path("p").as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: `path` is a NUL-terminated path.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let mut options = std::fs::OpenOptions::new();
        let reader = with_reader.then(|| options.read(true).write(true).open(scene.log_path("p")));
        assert_runs_without_log(&mut scene, &["regular file"]);
        drop(reader);
        let kind = scene
            .log_path("p")
            .metadata()
            .expect("it is there")
            .file_type();
        assert!(kind.is_fifo(), "it was replaced");
    }
}

#[test]
fn somebody_elses_file_is_refused() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = scene_with_logs();
    scene.write("logs/p.stderr.log", VICTIM);
    std::os::unix::fs::chown(scene.log_path("p"), Some(12_345), None).expect("root may chown");
    assert_runs_without_log(&mut scene, &["12345"]);
    assert_eq!(scene.read("logs/p.stderr.log"), VICTIM);
}

#[test]
fn a_refused_log_is_used_as_soon_as_it_can_be() {
    let mut scene = scene_with_logs();
    scene.mkdir("logs/p.stderr.log");
    let quick = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
    scene.add_with("p", "say words\\n ; exit 1", quick);
    let supervisor = scene.start();
    supervisor.wait_reports(3);
    std::fs::remove_dir(scene.log_path("p")).expect("rmdir");
    wait_for("words in the log", || scene.log("p").ends_with(b"words\n"));
    let before = supervisor.report_count();
    let report = supervisor.wait_reports(before + 2).pop().expect("a report");
    assert!(report.text("log").is_some(), "{report:?}");
    supervisor.end();
}

/// A supervisor on a file system that answers so to flock(2), and to no fchmod(2).
fn start_without_locks(scene: &Scene, errno: &str) -> Supervisor {
    let inject = format!("inject=flock:error={errno}");
    let strace = ["strace", "-o", "/dev/null", "-e", "trace=flock,fchmod"];
    let faults = ["-e", &inject, "-e", "inject=fchmod:error=EPERM"];
    let umask = ["sh", "-c", "umask 077 && exec \"$@\"", "sh"];
    let wrapper: Vec<&str> = umask.into_iter().chain(strace).chain(faults).collect();
    scene.launch(scene.wrapped(&wrapper))
}

/// A file server without a lock daemon: every log stayed empty for ever, as the lock that only
/// tells two supervisors apart was taken for a condition. Ten thousand programs say it once.
#[test]
fn a_file_system_without_locks_or_modes_has_logs_all_the_same() {
    if second_run::is_pid1() {
        return tools::skip("strace wraps the supervisor from its first instruction on");
    }
    if missing(&[Need::Root, Need::Strace]) {
        return;
    }
    for errno in ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EIO"] {
        const COUNT: usize = 40;
        let mut scene = scene_with_logs();
        let quick = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
        let names: Vec<String> = (0..COUNT).map(|number| format!("p{number}")).collect();
        for name in &names {
            let script = format!("once {name} {{ say one\\n ; exit 1 }} ; say two\\n ; hold");
            scene.add_with(name, &script, quick.clone());
        }
        let mut supervisor = start_without_locks(&scene, errno);
        supervisor.look_behind_wrapper();
        for name in &names {
            wait_for("a log of two runs", || scene.log(name) == b"one\ntwo\n");
        }
        for what in ["failed to lock log", "failed to set mode 0640 of log"] {
            let said = supervisor.messages_with(&["procsched-min warning", what]);
            assert_eq!(said.len(), 1, "{errno}: {what}: {}", supervisor.said());
        }
        assert_eq!(supervisor.messages_with(&["warning"]).len(), 2, "{errno}");
        let mode = scene.log_path("p0").metadata().expect("a log").mode();
        assert_eq!(mode & 0o777, 0o600, "as it was created");
        supervisor.end();
    }
}

#[test]
fn a_log_that_another_supervisor_has_locked_is_refused_all_the_same() {
    if second_run::is_pid1() {
        return tools::skip("strace wraps the supervisor from its first instruction on");
    }
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = scene_with_logs();
    // Its lock is refused, too.
    scene.set("control", json!(false));
    scene.add("p", "touch started ; hold");
    let supervisor = start_without_locks(&scene, "EAGAIN");
    assert_starts_nothing(&scene, supervisor, &["p.stderr.log", "another supervisor"]);
}

/// Nothing was started, the place is named, and the code is 1.
#[track_caller]
fn assert_starts_nothing(scene: &Scene, mut supervisor: Supervisor, words: &[&str]) {
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    assert_eq!(supervisor.report_count(), 0);
    let said = supervisor.messages().join("\n");
    assert!(
        words.iter().all(|word| said.contains(word)),
        "no {words:?} in {said:?}"
    );
    assert!(!scene.path("started").exists());
}

#[test]
fn m82_an_unusable_log_directory_at_the_start_starts_nothing() {
    // The system says "Not", and the supervisor itself may say "not".
    let places = [("file", "ot a directory"), ("file/below", "ot a directory")];
    for (place, word) in places {
        let mut scene = Scene::new();
        scene.write("file", "");
        scene.set("err_dir", json!(place));
        scene.add("p", "touch started ; hold");
        assert_starts_nothing(&scene, scene.start(), &[place, word]);
    }
    let mut scene = Scene::new();
    scene.set("err_dir", json!("/proc/no/such/place"));
    scene.add("p", "touch started ; hold");
    // In an empty root it would have to be made, and that root is read-only.
    let reason = match second_run::is_pid1() {
        true => "Read-only file system",
        false => "No such file or directory",
    };
    assert_starts_nothing(&scene, scene.start(), &["/proc/no", reason]);
}

#[test]
fn m82_a_read_only_log_directory_at_the_start_starts_nothing() {
    if missing(&[Need::Root, Need::Mounts]) {
        return;
    }
    let mut scene = scene_with_logs();
    scene.add("p", "touch started ; hold");
    let logs = scene.path("logs");
    scene.setting.mount(&logs, "size=64k", MsFlags::MS_RDONLY);
    let words = [&*logs.to_string_lossy(), "Read-only file system"];
    assert_starts_nothing(&scene, scene.start(), &words);
}

#[test]
fn m82_a_log_directory_without_permission_at_the_start_starts_nothing() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = scene_with_logs();
    scene.add("p", "touch started ; hold");
    scene.chmod("", 0o755);
    scene.chmod("logs", 0o500);
    let logs = scene.path("logs").to_string_lossy().into_owned();
    scene.setting.user(65_534);
    assert_starts_nothing(&scene, scene.start(), &[&logs, "Permission denied"]);
}

#[test]
fn m72_a_full_disk_costs_bytes_that_are_counted_and_said() {
    if missing(&[Need::Root, Need::Mounts]) {
        return;
    }
    const BYTES: usize = 50 << 20;
    /// One program's tail, its report, and the buffers on their way.
    const GROWTH_KB_MAX: u64 = 1536;
    let mut scene = scene_with_logs();
    let mut gate = Gate::new(&scene, "gate");
    let script =
        format!("once first {{ gate gate ; spew {BYTES} lines ; exit 0 }} ; say again\\n ; hold");
    scene.add_with(
        "p",
        &script,
        json!({"backoff": {"initial": "2s", "max": "2s"}}),
    );
    let place = scene.path("logs");
    let flags = MsFlags::empty();
    scene.setting.mount(&place, "size=256k,mode=755", flags);
    let logs = place.to_string_lossy().into_owned();
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let peak = || process::status_number(supervisor.pid(), "VmHWM").expect("it runs");
    let before = peak();
    gate.open();
    let report = supervisor.wait_report("p", 1);
    assert_eq!(report.code(), 0, "the program was not held up");
    let grown = peak() - before;
    assert!(grown <= GROWTH_KB_MAX, "memory grew by {grown} kB");
    assert_eq!(
        report.data().len(),
        65_536,
        "its tail is told though it is not in the log"
    );
    // The same file, seen in the supervisor's own mount namespace.
    let log = format!("/proc/{}/root{logs}/p.stderr.log", supervisor.pid());
    let written = std::fs::metadata(&log).expect("a log").len() as usize;
    assert!(
        written > 0 && written <= 256 << 10,
        "{written} bytes on 256 KiB"
    );
    let lost = (BYTES - written).to_string();
    let said = format!(" dropped bytes={lost} of its stderr are not in its log");
    supervisor.wait_message(&["p", &said]);
    supervisor.wait_message(&["p", "No space left on device"]);
    let said = supervisor.messages_with(&["No space left on device"]).len();
    assert!(
        said <= 10,
        "one every ten seconds at most, and it was said {said} times"
    );
    // What there is, is the beginning of what was said.
    let head = std::fs::read(&log).expect("a log");
    let expected = spewed(Pattern::Lines, head.len());
    assert!(head == expected);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .expect("a log");
    file.set_len(0).expect("it can be truncated");
    supervisor.wait_started("p", 2);
    let text = || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    wait_for("the new words", || text().ends_with("again\n"));
    assert!(
        text().contains(&lost),
        "the log says how much is missing: {:?}",
        text()
    );
    supervisor.end();
}

/// Nobody but the owner of a directory minds what happens to it, and that may be at any time.
#[test]
fn m82_a_log_directory_that_loses_its_permission_costs_the_log_alone() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = scene_with_logs();
    scene.chmod("", 0o755);
    let user = 65_534;
    std::os::unix::fs::chown(scene.path("logs"), Some(user), None).expect("root may chown");
    scene.setting.user(user);
    let quick = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
    scene.add_with("p", "say words\\n ; spew 200000 lines ; exit 1", quick);
    let supervisor = scene.start();
    let is_logged = |report: &Report| report.text("log").is_some();
    assert!(is_logged(&supervisor.wait_report("p", 1)));
    scene.chmod("logs", 0);
    supervisor.wait("a run without a log", || {
        !supervisor.reports().iter().all(is_logged)
    });
    let count = supervisor.report_count();
    let later = supervisor.wait_reports(count + 5).pop().expect("a report");
    assert_eq!(
        (later.text("log"), later.data().len()),
        (None, 65_536),
        "{later:?}"
    );
    let said = supervisor.messages_with(&["p", "warning", "Permission denied"]);
    assert_eq!(said.len(), 1, "said once: {said:?}");
    scene.chmod("logs", 0o755);
    let count = supervisor.report_count();
    assert!(is_logged(&supervisor.wait_reports(count + 3)[count + 2]));
    supervisor.end();
}

/// Something else comes to lie where the logs are, and it is read-only.
#[test]
fn m82_a_log_directory_that_turns_read_only_costs_the_log_alone() {
    if second_run::is_pid1() {
        return tools::skip("a mount from outside, and its tools, need the host");
    }
    if missing(&[Need::Root, Need::Mounts, Need::Tool("nsenter")]) {
        return;
    }
    let mut scene = scene_with_logs();
    let logs = scene.path("logs");
    scene.setting.mount(&logs, "size=1m", MsFlags::empty());
    let quick = json!({"backoff": {"initial": "20ms", "max": "20ms"}});
    scene.add_with("p", "say words\\n ; exit 1", quick);
    let supervisor = scene.start();
    supervisor.wait_reports(3);
    let there = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        let pid = supervisor.pid().to_string();
        command.args(["-t", &pid, "-m"]).args(words).arg(&logs);
        let status = spawn(&mut command).and_then(|mut child| child.wait());
        assert!(status.expect("nsenter runs").success(), "{words:?}");
    };
    there(&["mount", "-t", "tmpfs", "-o", "ro", "none"]);
    let is_logged = |report: &Report| report.text("log").is_some();
    supervisor.wait("a run without a log", || {
        !supervisor.reports().iter().all(is_logged)
    });
    let count = supervisor.report_count();
    let later = supervisor.wait_reports(count + 3).pop().expect("a report");
    assert_eq!(
        (later.text("log"), later.data()),
        (None, b"words\n".to_vec())
    );
    assert_eq!(
        supervisor
            .messages_with(&["p", "warning", "Read-only"])
            .len(),
        1
    );
    there(&["umount"]);
    let count = supervisor.report_count();
    assert!(is_logged(&supervisor.wait_reports(count + 3)[count + 2]));
    supervisor.end();
}
