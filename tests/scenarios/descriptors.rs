//! Who has which file descriptor, and for how long.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::resource::Resource;
use serde_json::json;

use crate::common::levers::{Gate, Tracer};
use crate::common::{Need, Scene, missing, probe, process, second_run, tools, wait_for};

/// The descriptors of a dump, as a sorted list of numbers.
fn numbers(dump: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    dump["fds"]
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn m13_nobody_inherits_what_the_supervisor_inherited() {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("dump handler ; exit 0"));
    // One that outlives the supervisor, as it leaves its group.
    let script = "dump child ; escape { pid orphan ; close 2 ; hold } ; hold";
    scene
        .add("p", script)
        .add_raw("no", json!({"command": ["./no"], "restart": "never"}));
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = scene.command();
    let number = writer.as_raw_fd();
    // SAFETY: two system calls on plain numbers. A number that it has already keeps its flag.
    unsafe {
        command.pre_exec(
            move || match libc::dup2(number, 9) | libc::fcntl(9, libc::F_SETFD, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            },
        );
    }
    let mut supervisor = scene.launch(command);
    drop(writer);
    let orphan = scene.wait_pid("orphan");
    assert_eq!(numbers(&scene.wait_dump("child")), ["0", "1", "2"]);
    assert_eq!(numbers(&scene.wait_dump("handler")), ["0", "1", "2"]);
    assert!(
        process::descriptors(supervisor.pid()).contains_key(&9),
        "the test has no point"
    );
    // A stop would end the orphan as well.
    supervisor.spare_all();
    supervisor.signal(libc::SIGKILL);
    assert_eq!(supervisor.wait_exit(), 128 + libc::SIGKILL);
    // Nobody has told it to end; but the end of PID 1 is the end of everybody.
    assert_eq!(process::alive(orphan), !second_run::is_pid1());
    let mut end = Vec::new();
    reader
        .read_to_end(&mut end)
        .expect("the launcher sees the end of the file");
}

#[test]
fn m16_a_high_limit_makes_no_start_slow() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add_with(
        "first",
        "gate gate",
        json!({"backoff": {"initial": 0, "max": 0}}),
    );
    // The binary raises its own limit to the hard one: as high as this machine allows.
    let supervisor = scene.start();
    supervisor.wait_started("first", 1);
    let calls = ["-f", "-e", "trace=close,execve"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &calls);
    gate.open();
    supervisor.wait_reports(20);
    drop(gate);
    let lines = tracer.detach();
    let execs = lines.iter().filter(|line| line.contains("execve(")).count();
    assert!(execs >= 20, "{execs} executions were seen");
    // Before its execve a child has no business with more than its own few descriptors.
    let mut closes = std::collections::BTreeMap::<&str, usize>::new();
    for line in &lines {
        let pid = line.split_whitespace().next().unwrap_or("");
        if line.contains("execve(") {
            let before = closes.insert(pid, 0).unwrap_or(0);
            assert!(before < 10, "{before} close calls before {line}");
        } else if line.contains("close(") {
            *closes.entry(pid).or_default() += 1;
        }
    }
    supervisor.end();
}

#[test]
fn m17_m157_thousands_of_restarts_leave_no_descriptor_and_no_memory() {
    const PROGRAMS: usize = 4;
    /// What a thousand restarts may cost, in kB, and what comes and goes.
    const GROWTH_KB_MAX: u64 = 1;
    const SWAY_KB_MAX: u64 = 96;
    let cycles = tools::whole(4000, 20_000);
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = "unless done { say crashed\\n ; gate gate ; exit 1 } ; append held x\\n ; hold";
    for index in 0..PROGRAMS {
        let delay = if index % 2 == 0 {
            json!(0)
        } else {
            json!("1ms")
        };
        let keys = json!({"backoff": {"initial": delay, "max": delay}, "report_bytes": 16});
        scene.add_with(&format!("p{index}"), script, keys);
    }
    let supervisor = scene.start();
    for index in 0..PROGRAMS {
        supervisor.wait_started(&format!("p{index}"), 1);
    }
    wait_for("the pipes of all", || {
        let kinds = process::descriptor_kinds(supervisor.pid());
        kinds
            .iter()
            .filter(|kind| kind.ends_with(".stderr.log"))
            .count()
            == PROGRAMS
    });
    let before = process::descriptor_kinds(supervisor.pid());
    gate.open();
    let memory = || process::status_number(supervisor.pid(), "RssAnon").expect("it runs");
    let wait_restarts = |count: usize| {
        supervisor.wait("restarts", || supervisor.report_count() >= count);
    };
    // What is needed once is there by then.
    wait_restarts(cycles / 10);
    let at_first = memory();
    (11..=100).for_each(|part| wait_restarts(cycles * part / 100));
    let grown = memory().saturating_sub(at_first);
    let allowed = SWAY_KB_MAX + GROWTH_KB_MAX * cycles as u64 / 1000;
    assert!(grown <= allowed, "{cycles} restarts cost {grown} kB");
    scene.write("done", "");
    scene.wait_lines("held", PROGRAMS);
    wait_for("the same descriptors as before", || {
        process::descriptor_kinds(supervisor.pid()) == before
    });
    assert_eq!(process::zombies(supervisor.pid()), [0; 0]);
    for report in &supervisor.end()[..cycles] {
        assert_eq!(
            (report.code(), report.data()),
            (1, b"crashed\n".to_vec()),
            "{report:?}"
        );
    }
}

#[test]
fn m19_a_closed_stderr_costs_nothing() {
    let mut scene = Scene::new();
    scene.add_with("p", "close 2 ; pid up ; hold", json!({"restart": "never"}));
    let supervisor = scene.start();
    let pid = scene.wait_pid("up");
    // The one sleep that is measured: a spin would show as time used, whatever else runs here.
    let supervisor_pid = supervisor.pid();
    let ticks = || process::stat(supervisor_pid).expect("it runs").ticks;
    let switches = || process::status_number(supervisor_pid, "voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_millis(200));
    let (ticks_before, switches_before) = (ticks(), switches().expect("it runs"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        ticks() - ticks_before <= 5,
        "it used {} ticks",
        ticks() - ticks_before
    );
    let woken = switches().expect("it runs") - switches_before;
    assert!(woken <= 10, "it woke {woken} times in 2 s");
    process::signal(pid, libc::SIGKILL);
    let report = supervisor.wait_report("p", 1);
    assert_eq!((report.code(), report.pid()), (-9, Some(pid)));
    supervisor.ends_with(1);
}

#[test]
fn m20_out_of_descriptors_is_a_failed_start_and_passes() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    // Root may raise the hard limit as well.
    scene.setting.user(64_329);
    scene.chmod("", 0o777);
    scene.setting.limit(Resource::RLIMIT_NOFILE, 40, 40);
    let backoff = json!({"initial": "200ms", "max": "200ms"});
    for index in 0..60 {
        let script = format!("append up {index}\\n ; hold");
        scene.add_with(&format!("p{index}"), &script, json!({"backoff": backoff}));
    }
    let mut supervisor = scene.start();
    let all_answered = || {
        let answered = |index| {
            let name = format!("p{index}");
            !supervisor.started(&name).is_empty() || !supervisor.reports_of(&name).is_empty()
        };
        (0..60).all(answered)
    };
    wait_for("an answer of each", all_answered);
    let failed = supervisor.reports();
    assert!(failed.len() > 10, "{failed:?}");
    for report in &failed {
        assert_eq!(report.code(), 125, "{report:?}");
        // The C library's words for EMFILE: glibc's or musl's.
        let words = ["Too many open files", "No file descriptors available"];
        let is_said = words.iter().any(|words| report.error().contains(words));
        assert!(is_said, "{report:?}");
    }
    let first: Vec<i32> = (0..60)
        .flat_map(|i| supervisor.started(&format!("p{i}")))
        .collect();
    let up = first.len();
    assert!(
        (10..50).contains(&up),
        "{up} were started with 40 descriptors"
    );
    scene.wait_lines("up", up);
    // Others take the place of those that end.
    let first = &first[..up.min(20)];
    first
        .iter()
        .for_each(|&pid| process::signal(pid, libc::SIGKILL));
    scene.wait_lines("up", up + first.len());
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn the_supervisor_starts_with_closed_standard_descriptors() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; hold");
    let mut command = scene.command();
    // SAFETY: three system calls on plain numbers.
    unsafe {
        command.pre_exec(|| {
            (0..3).for_each(|fd| _ = libc::close(fd));
            Ok(())
        });
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut supervisor = scene.launch_as_is(command);
    let dump = scene.wait_dump("dump");
    assert_eq!(numbers(&dump), ["0", "1", "2"]);
    assert_eq!(
        (&dump["fds"]["0"], &dump["fds"]["1"]),
        (&json!("/dev/null"), &json!("/dev/null"))
    );
    assert!(
        dump["fds"]["2"]
            .as_str()
            .is_some_and(|target| target.starts_with("pipe:"))
    );
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_childs_stderr_is_an_ordinary_blocking_pipe() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; hold");
    let supervisor = scene.start();
    let dump = scene.wait_dump("dump");
    assert_eq!(numbers(&dump), ["0", "1", "2"]);
    let target = dump["fds"]["2"].as_str().expect("a string");
    assert!(target.starts_with("pipe:"), "{target}");
    let flags = |fd: &str| dump["flags"][fd].as_i64().expect("a number") as i32;
    assert_eq!(flags("2") & libc::O_ACCMODE, libc::O_WRONLY);
    assert_eq!(
        flags("2") & (libc::O_NONBLOCK | libc::O_APPEND | libc::O_DIRECT),
        0
    );
    for fd in ["0", "1"] {
        assert_eq!(dump["fds"][fd], "/dev/null");
        assert_eq!(flags(fd) & libc::O_NONBLOCK, 0);
    }
    supervisor.end();
}

#[test]
fn the_inherited_outputs_stay_blocking() {
    let mut scene = Scene::new();
    scene.add_with("p", "say words\\n ; exit 1", json!({"restart": "never"}));
    let pipes = [
        std::io::pipe().expect("a pipe"),
        std::io::pipe().expect("a pipe"),
    ];
    let [(out, out_writer), (err, err_writer)] = pipes;
    let copy = |writer: &std::io::PipeWriter| OwnedFd::from(writer.try_clone().expect("a copy"));
    let mut command = scene.command();
    command.stdout(copy(&out_writer)).stderr(copy(&err_writer));
    let mut supervisor = scene.launch_as_is(command);
    assert_eq!(supervisor.wait_exit(), 1);
    for writer in [&out_writer, &err_writer] {
        // SAFETY: F_GETFL takes no argument.
        let flags = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "others share this description");
    }
    drop((out_writer, err_writer));
    for mut reader in [out, err] {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert!(text.contains('p'), "{text:?}");
    }
}
