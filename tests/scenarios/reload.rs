//! A config that changes while its programs run: what a SIGHUP does to each of them, and what it
//! leaves alone.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::common::second_run::binary;
use crate::common::{Scene, Supervisor, alive, probe, process, wait_for};

/// Writes the config of the scene, and returns the plan of its reload.
#[track_caller]
fn reload(scene: &Scene, supervisor: &Supervisor) -> Vec<String> {
    hang_up(scene, supervisor, &["reload", "= "]);
    let said = supervisor.messages();
    let lines = said
        .iter()
        .rev()
        .filter_map(|line| line.split_once(" reload  "));
    let mut plan: Vec<String> = Vec::new();
    for (_, line) in lines {
        if !plan.is_empty() && line.starts_with("= ") {
            break;
        }
        plan.push(line.to_owned());
    }
    plan.reverse();
    plan
}

/// Writes the config of the scene, sends SIGHUP, and waits for one more line with these parts.
#[track_caller]
fn hang_up(scene: &Scene, supervisor: &Supervisor, parts: &[&str]) {
    scene.write("procsched.json", scene.config());
    let before = supervisor.messages_with(parts).len();
    supervisor.signal(libc::SIGHUP);
    supervisor.wait(&format!("one more line with {parts:?}"), || {
        supervisor.messages_with(parts).len() > before
    });
}

/// Asks for the lines of all programs, and returns that of this one, without its columns.
#[track_caller]
fn status(supervisor: &Supervisor, name: &str) -> String {
    let parts = [&*format!(" {name} "), "restarts=", "last_exit="];
    let before = supervisor.messages_with(&parts).len();
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait("a status line", || {
        supervisor.messages_with(&parts).len() > before
    });
    supervisor
        .messages_with(&parts)
        .pop()
        .expect("it was there")
}

/// Waits until a program is gone that a plan has removed.
#[track_caller]
fn wait_removed(supervisor: &Supervisor, name: &str) {
    let is_removal = |line: &String| line.split_whitespace().skip(1).eq([name, "removed"]);
    supervisor.wait(&format!("the removal of {name}"), || {
        supervisor.messages().iter().any(is_removal)
    });
}

fn never() -> Value {
    json!({"restart": "never"})
}

/// Ends with 1, and waits for an hour.
fn crash_once() -> Value {
    json!({"backoff": {"initial": "1h", "max": "1h"}})
}

/// Everything was restarted by a reload, or what it knew was lost.
#[test]
fn m152_what_is_unchanged_is_left_alone() {
    let mut scene = Scene::new();
    scene.add("stays", "record signals HUP TERM CONT");
    scene.add_with("waits", "count runs ; exit 1", crash_once());
    let supervisor = scene.start();
    let pid = supervisor.wait_started("stays", 1);
    supervisor.wait_report("waits", 1);
    scene.wait_lines("signals", 1);
    scene.add("new", "hold");
    let plan = reload(&scene, &supervisor);
    assert_eq!(plan, ["+ new  new, will be started", "= 2 unchanged"]);
    supervisor.wait_started("new", 1);
    assert!(status(&supervisor, "stays").contains(&format!("running pid={pid}")));
    let waits = status(&supervisor, "waits");
    assert!(
        waits.contains("backoff") && waits.contains("restarts=0"),
        "{waits}"
    );
    assert_eq!(scene.read("runs"), ".", "its delay is as it was");
    assert_eq!(scene.lines("signals").len(), 1, "it was signalled");
    assert_eq!(reload(&scene, &supervisor), ["= 3 unchanged"]);
    scene.remove("new");
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        ["- new  will be stopped and removed", "= 2 unchanged"]
    );
    wait_removed(&supervisor, "new");
    assert_eq!(scene.lines("signals").len(), 1, "it was signalled");
    process::signal(pid, libc::SIGKILL);
    supervisor.wait_started("stays", 2);
    supervisor.signal(libc::SIGTERM);
    supervisor.wait_message(&["stays", "stopping"]);
    process::signal(supervisor.started("stays")[1], libc::SIGKILL);
    supervisor.ends_with(0);
}

/// It is stopped and started with its new definition; what requires it goes before and comes after.
#[test]
fn what_cannot_change_in_place_is_restarted_with_what_requires_it() {
    let mut scene = Scene::new();
    let keys = |mode: &str| json!({"env": {"MODE": mode, "SAME": 1}});
    scene.add_with("web", "dump one ; hold", keys("old"));
    scene.add_with("api", "hold", json!({"requires": ["web"]}));
    scene.add_with("log", "hold", json!({"after": ["web"]}));
    let supervisor = scene.start();
    let web = supervisor.wait_started("web", 1);
    let api = supervisor.wait_started("api", 1);
    let log = supervisor.wait_started("log", 1);
    scene.remove("web");
    scene.add_with("web", "dump two ; hold", keys("new"));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        [
            "~ api  will be restarted: requires web",
            "~ web  will be restarted: command, env.MODE",
            "= 1 unchanged"
        ]
    );
    supervisor.wait_started("api", 2);
    let dump = scene.wait_dump("two");
    assert_eq!(
        (&dump["env"]["MODE"], &dump["env"]["SAME"]),
        (&json!("new"), &json!("1"))
    );
    assert!(!alive(web) && !alive(api) && alive(log));
    let reports = supervisor.wait_reports(2);
    let causes = reports
        .iter()
        .map(|report| (report.name(), report.get("cause")));
    let expected = [("api", &json!("requirement")), ("web", &json!("reload"))];
    assert!(causes.eq(expected), "{reports:?}");
    assert!(
        status(&supervisor, "web").contains("restarts=1"),
        "it counts on"
    );
    supervisor.end();
}

#[test]
fn what_can_change_in_place_does() {
    let mut scene = Scene::new();
    scene.add_with(
        "worker",
        "hold",
        json!({"essential": true, "restart": "on-failure"}),
    );
    scene.add_with("waits", "exit 1", crash_once());
    let supervisor = scene.start();
    let pid = supervisor.wait_started("worker", 1);
    supervisor.wait_report("waits", 1);
    scene.remove("worker").remove("waits");
    let live = json!({
        "restart": "never", "essential": false, "stop_timeout": "1m", "stop_signal": "INT",
        "success_codes": [3], "permanent_failure_codes": [78], "max_restarts": 5,
        "backoff": {"reset_after": "1m"}, "report_bytes": 7, "after": ["waits"]
    });
    scene.add_with("worker", "hold", live);
    scene.add_with(
        "waits",
        "exit 1",
        json!({"backoff": {"initial": "1ms", "max": "1ms"}}),
    );
    let plan = reload(&scene, &supervisor);
    let keys = "restart, essential, backoff.reset_after, max_restarts, success_codes, \
                permanent_failure_codes, stop_signal, stop_timeout, report_bytes, after";
    assert_eq!(
        plan,
        [
            &*format!("* worker  changes in place: {keys}"),
            "* waits   changes in place: backoff.initial, backoff.max",
            "= 0 unchanged"
        ]
    );
    // A delay that has begun is not computed anew.
    assert!(status(&supervisor, "waits").contains("retry_in=59m"));
    assert!(status(&supervisor, "worker").contains(&format!("pid={pid}")));
    supervisor.signal(libc::SIGTERM);
    supervisor.wait_message(&["worker", "stopping", "signal=SIGINT timeout=1m"]);
    supervisor.ends_with(0);
}

/// What has failed starts if anything of it differs, what waits if it would start otherwise.
#[test]
fn what_is_down_starts_if_the_change_may_mend_it() {
    let mut scene = Scene::new();
    let oneshot = |keys: Value| {
        let mut all = json!({"oneshot": true});
        let all_keys = all.as_object_mut().expect("an object");
        all_keys.extend(keys.as_object().expect("an object").clone());
        all
    };
    scene.add_with("broken", "count broken ; exit 1", never());
    scene.add_with("same", "count same ; exit 1", never());
    scene.add_with("waits", "count waits ; exit 1", crash_once());
    scene.add_with("once", "count once", oneshot(json!({})));
    scene.add_with("again", "count again", oneshot(json!({})));
    scene.add("holds", "hold");
    let supervisor = scene.start();
    supervisor.wait_reports(5);
    for name in ["broken", "waits", "once", "again"] {
        scene.remove(name);
    }
    scene.add_with(
        "broken",
        "count broken ; exit 1",
        json!({"restart": "never", "stop_timeout": 3}),
    );
    let mut changed = crash_once();
    changed["env"] = json!({"A": "1"});
    scene.add_with("waits", "count waits ; exit 1", changed);
    scene.add_with("once", "count once", oneshot(json!({"stop_timeout": 3})));
    scene.add_with("again", "count again", oneshot(json!({"env": {"A": true}})));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        [
            "~ broken  will be started: stop_timeout",
            "~ waits   will be started: env.A",
            "* once    changes in place: stop_timeout",
            "~ again   will be started: env.A",
            "= 2 unchanged"
        ]
    );
    supervisor.wait_reports(8);
    let runs = ["broken", "same", "waits", "once", "again"].map(|name| scene.read(name).len());
    assert_eq!(runs, [2, 1, 2, 1, 2]);
    supervisor.end();
}

/// Begins to start by itself, or ceases to; and a program that begins to require one starts it.
#[test]
fn autostart_and_a_new_requirement_start_what_is_not_wanted_yet() {
    let mut scene = Scene::new();
    scene.add_with("report", "hold", json!({"autostart": false}));
    scene.add_with("db", "hold", json!({"autostart": false}));
    scene.add("web", "hold");
    scene.add("cron", "hold");
    let supervisor = scene.start();
    let web = supervisor.wait_started("web", 1);
    let cron = supervisor.wait_started("cron", 1);
    assert!(status(&supervisor, "report").contains("stopped pid=-"));
    scene.remove("report").remove("web").remove("cron");
    scene.add("report", "hold");
    scene.add_with("web", "hold", json!({"requires": ["db"]}));
    scene.add_with("cron", "hold", json!({"autostart": false}));
    scene.add_with("rare", "hold", json!({"autostart": false}));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        [
            "~ report  will be started: autostart",
            "* web     changes in place: requires",
            "* cron    changes in place: autostart",
            "+ rare    new, does not start by itself",
            "~ db      will be started: web requires it",
            "= 1 unchanged"
        ]
    );
    supervisor.wait_started("report", 1);
    supervisor.wait_started("db", 1);
    assert!(status(&supervisor, "web").contains(&format!("running pid={web}")));
    assert!(status(&supervisor, "cron").contains(&format!("running pid={cron}")));
    assert!(status(&supervisor, "rare").contains("stopped pid=-"));
    supervisor.end();
}

/// Blue and green: what has the port has to be gone first.
#[test]
fn a_renamed_program_starts_when_its_former_self_is_gone() {
    let mut scene = Scene::new();
    scene.add_with(
        "blue",
        "trap TERM ; touch up ; await TERM ; wait-file go",
        json!({"stop_timeout": "1h"}),
    );
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let stays = supervisor.wait_started("stays", 1);
    scene.wait_file("up");
    scene.remove("blue");
    scene.add("green", "hold");
    let plan = reload(&scene, &supervisor);
    let expected = [
        "+ green  new, will be started",
        "- blue   will be stopped and removed",
        "= 1 unchanged",
    ];
    assert_eq!(plan, expected);
    supervisor.wait_message(&["blue", "stopping"]);
    let green = status(&supervisor, "green");
    assert!(green.contains("pending"), "{green}");
    scene.write("go", "");
    supervisor.wait_started("green", 1);
    let lines = supervisor.messages();
    let place = |parts: [&str; 2]| {
        let has = |line: &String| parts.iter().all(|part| line.contains(part));
        lines
            .iter()
            .position(has)
            .unwrap_or_else(|| panic!("{parts:?}: {lines:?}"))
    };
    assert!(place(["blue", " exited  pid="]) < place(["green", " started pid="]));
    assert!(alive(stays));
    supervisor.end();
}

/// The second reload is compared with the first, which is not done yet.
#[test]
fn what_is_added_back_before_it_is_gone_is_restarted() {
    let mut scene = Scene::new();
    let slow = "trap TERM ; touch up ; await TERM ; wait-file go";
    scene.add_with("slow", slow, json!({"stop_timeout": "1h"}));
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("slow", 1);
    scene.wait_file("up");
    supervisor.wait_started("stays", 1);
    scene.remove("slow");
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        ["- slow  will be stopped and removed", "= 1 unchanged"]
    );
    supervisor.wait_message(&["slow", "stopping"]);
    assert_eq!(reload(&scene, &supervisor), ["= 1 unchanged"]);
    scene.add_with("slow", "hold", json!({"stop_timeout": "1h"}));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        ["~ slow  will be restarted: command", "= 1 unchanged"]
    );
    assert!(alive(pid), "it was killed");
    scene.write("go", "");
    supervisor.wait_started("slow", 2);
    // The first plan alone speaks of it.
    assert_eq!(supervisor.messages_with(&["slow", "removed"]).len(), 1);
    supervisor.end();
}

/// A typo, or a change that needs another supervisor: all of it is said, and nothing is done.
#[test]
fn m152_a_config_with_errors_changes_nothing() {
    let mut scene = Scene::new();
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("stays", 1);
    let path = scene.config_path();
    let refused = |config: &str, expected: &[&str]| {
        let before = supervisor.messages().len();
        scene.write("procsched.json", config);
        supervisor.signal(libc::SIGHUP);
        let said = || {
            let said = supervisor.messages().split_off(before);
            said.into_iter()
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
        };
        supervisor.wait("the errors", || {
            said()
                .iter()
                .any(|line| line.contains("config not reloaded: "))
        });
        let said = said();
        let (last, errors) = said.split_last().expect("lines");
        let expected: Vec<String> = expected
            .iter()
            .map(|line| format!("{}{line}", path.display()))
            .collect();
        assert_eq!(errors, expected, "{config}");
        let count = format!("warning config not reloaded: {} error", errors.len());
        assert!(last.contains(&count), "{last}");
    };
    refused(
        "{",
        &[":1:1: error: cannot be read as JSON: EOF while parsing an object"],
    );
    refused(
        "{\"err_dir\": \"other\", \"control\": \"c.sock\", // more\n\"control_group\": 0, \"programs\": {\"new\": [\"touch\", \"new\"],\n\"b\": {\"command\": []}}}",
        &[
            ":1:13: error: err_dir: a change needs a restart of the supervisor",
            ":1:33: error: control: a change needs a restart of the supervisor",
            ":2:18: error: control_group: a change needs a restart of the supervisor",
            ":3:18: error: programs.b.command: the command is empty: give at least the program",
        ],
    );
    let gone = "{\"err_dir\": \"logs\", \"base_dir\": \"gone\", \"programs\": {\"new\": [\"touch\", \"new\"]}}";
    refused(
        gone,
        &[":1:13: error: err_dir: a change needs a restart of the supervisor"],
    );
    fs::remove_file(&path).expect("it is there");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["error: failed to read the file: No such file or directory"]);
    assert!(!scene.path("new").exists() && alive(pid));
    // The next that is right is taken.
    scene.add("new", "hold");
    assert_eq!(reload(&scene, &supervisor).len(), 2);
    supervisor.wait_started("new", 1);
    assert_eq!(supervisor.started("stays"), [pid]);
    supervisor.end();
}

/// The path counts: a deployment replaces the file, or the directory behind a link.
#[test]
fn a_config_is_found_by_its_path_from_where_the_supervisor_was_started() {
    let scene = Scene::new();
    let releases = ["one", "two"].map(|release| {
        scene.mkdir(release);
        let config = format!(
            "// release {release}\n{{\"err_dir\": \"{}\", \"programs\": {{\"{release}\": {},}},}}\n",
            scene.path("logs").display(),
            probe("touch here ; hold")
        );
        scene.write(format!("{release}/procsched.jsonc"), config);
        scene.path(release)
    });
    let link = scene.path("current");
    std::os::unix::fs::symlink(&releases[0], &link).expect("a link");
    let mut command = scene.marked(&[binary().to_owned(), "run".into()]);
    command.current_dir(&link);
    // Where a shell is, the start directory has the name of the link; a process has the real one.
    let path = link.join("procsched.jsonc");
    let mut by_path = scene.marked(&[binary().to_owned(), "run".into(), path]);
    by_path.current_dir("/");
    for (command, second) in [(command, "one"), (by_path, "two")] {
        let supervisor = scene.launch(command);
        supervisor.wait_started("one", 1);
        scene.wait_file("one/here");
        let new = scene.path("new");
        std::os::unix::fs::symlink(&releases[1], &new).expect("a link");
        fs::rename(&new, &link).expect("replaced at once");
        supervisor.signal(libc::SIGHUP);
        supervisor.wait_message(&["reload  = "]);
        if second == "two" {
            supervisor.wait_started("two", 1);
            wait_removed(&supervisor, "one");
        } else {
            supervisor.wait_message(&["reload  = 1 unchanged"]);
        }
        supervisor.end();
        fs::remove_file(&link).expect("the link");
        std::os::unix::fs::symlink(&releases[0], &link).expect("a link");
    }
}

/// What comes through a pipe cannot be read again.
#[test]
fn a_config_that_is_no_file_cannot_be_reloaded() {
    let mut scene = Scene::new();
    scene.add("p", "hold");
    let path = scene.path("fifo");
    let text = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
    // SAFETY: `text` is a NUL-terminated path.
    let made = unsafe { libc::mkfifo(text.as_ptr(), 0o600) };
    assert_eq!(made, 0, "mkfifo {path:?}");
    scene.set("base_dir", json!(scene.directory()));
    let config = scene.config();
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || fs::write(path, config))
    };
    let supervisor = scene.launch(scene.marked(&[binary().to_owned(), "run".into(), path]));
    writer.join().expect("no panic").expect("it was read");
    let pid = supervisor.wait_started("p", 1);
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["the config was not read from a file"]);
    supervisor.wait_message(&["config not reloaded: 1 error"]);
    assert!(alive(pid));
    supervisor.end();
}

#[test]
fn during_a_shutdown_nothing_is_reloaded() {
    let mut scene = Scene::new();
    scene.add_with("deaf", "record signals TERM", json!({"stop_timeout": "1h"}));
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    let pid = supervisor.wait_started("deaf", 1);
    supervisor.signal(libc::SIGTERM);
    supervisor.wait_message(&["deaf", "stopping"]);
    scene.add("new", "touch new");
    hang_up(
        &scene,
        &supervisor,
        &["warning config not reloaded: everything is being stopped"],
    );
    process::signal(pid, libc::SIGKILL);
    assert_eq!(supervisor.wait_exit(), 0);
    assert!(!scene.path("new").exists());
}

/// Its end is none for good: everything else goes on.
#[test]
fn an_essential_program_can_be_removed() {
    let mut scene = Scene::new();
    scene.add_with(
        "vital",
        "hold",
        json!({"essential": true, "restart": "never"}),
    );
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("stays", 1);
    supervisor.wait_started("vital", 1);
    scene.remove("vital");
    reload(&scene, &supervisor);
    wait_removed(&supervisor, "vital");
    assert!(status(&supervisor, "stays").contains(&format!("running pid={pid}")));
    supervisor.end();
}

/// Reports go to the new command, those of runs that began before as well.
#[test]
fn the_error_handler_changes_in_place() {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("append first x\\n"));
    let crash = |file: &str| format!("wait-file {file} ; exit 1");
    scene.add_with("a", &crash("a"), never());
    scene.add_with("b", &crash("b"), never());
    scene.add_with("c", &crash("c"), never());
    scene.add("stays", "hold");
    let supervisor = scene.start();
    scene.write("a", "");
    scene.wait_lines("first", 1);
    scene.set("error_handler", probe("append second x\\n"));
    let plan = reload(&scene, &supervisor);
    assert_eq!(plan, ["* error_handler  changes in place", "= 4 unchanged"]);
    scene.write("b", "");
    scene.wait_lines("second", 1);
    let command = probe("append second x\\n");
    scene.set(
        "error_handler",
        json!({"command": command, "when": "failure"}),
    );
    let plan = reload(&scene, &supervisor);
    assert_eq!(plan, ["* error_handler  changes in place", "= 4 unchanged"]);
    scene.unset("error_handler");
    let plan = reload(&scene, &supervisor);
    assert_eq!(plan, ["* error_handler  changes in place", "= 4 unchanged"]);
    scene.write("c", "");
    supervisor.wait_report("c", 1);
    let counts = (scene.lines("first").len(), scene.lines("second").len());
    supervisor.end();
    assert_eq!(counts, (1, 1));
    assert_eq!(
        (scene.lines("first").len(), scene.lines("second").len()),
        (1, 1)
    );
}

/// Through what they mean for each program.
#[test]
fn the_base_directory_and_defaults_change_the_programs_that_they_concern() {
    let mut scene = Scene::new();
    scene.mkdir("sub");
    scene.set("err_dir", json!(scene.path("logs")));
    scene.set("defaults", json!({"stop_timeout": 5, "env": {"A": "1"}}));
    scene.add("moves", "dump cwd ; hold");
    scene.add_with(
        "fixed",
        "hold",
        json!({"cwd": scene.directory(), "stop_timeout": 7}),
    );
    let supervisor = scene.start();
    let fixed = supervisor.wait_started("fixed", 1);
    scene.wait_dump("cwd");
    scene.set("base_dir", json!("sub"));
    scene.set("defaults", json!({"stop_timeout": 6, "env": {"A": "1"}}));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        [
            "~ moves  will be restarted: cwd, stop_timeout",
            "= 1 unchanged"
        ]
    );
    supervisor.wait_started("moves", 2);
    let dump = scene.wait_dump("sub/cwd");
    let sub = scene.path("sub").canonicalize().expect("it exists");
    assert_eq!(dump["cwd"], sub.to_string_lossy().as_ref());
    assert_eq!(supervisor.started("fixed"), [fixed]);
    scene.set("base_dir", json!("gone"));
    let problem = "error: base_dir: failed to use the base directory";
    hang_up(&scene, &supervisor, &[problem, "No such file or directory"]);
    supervisor.end();
}

/// Also where no program runs in it. The next start, and the next check, use what the plan has said.
#[test]
fn each_path_from_another_base_directory_is_another() {
    let mut scene = Scene::new();
    scene.set("err_dir", json!(scene.path("logs")));
    for name in ["one", "two"] {
        scene.mkdir(name);
        scene.copy_probe(&format!("{name}/tool"));
        scene.write(format!("{name}/text"), name);
    }
    scene.set("base_dir", json!("one"));
    let cwd = scene.directory().to_owned();
    let tool = |script: &str| json!(["./tool", script]);
    let keys = json!({"cwd": cwd, "stdin": "text"});
    scene.add_with("reads", "slurp read ; hold", keys);
    let command = tool("count runs ; hold");
    scene.add_raw("runs", json!({"cwd": cwd, "command": command}));
    let ready = json!({"command": tool("exit 0")});
    let health = json!({"command": tool("count checks"), "interval": "20ms", "retries": 3});
    let keys = json!({"cwd": cwd, "ready": ready, "health": health});
    scene.add_with("checked", "hold", keys);
    scene.add_with("fixed", "hold", json!({"cwd": cwd}));
    let supervisor = scene.start();
    wait_for("what is begun", || {
        scene.read("read") == "one\n" && !scene.read("checks").is_empty()
    });
    let checked = supervisor.wait_started("checked", 1);
    let fixed = supervisor.wait_started("fixed", 1);
    supervisor.wait_started("runs", 1);
    scene.set("base_dir", json!("two"));
    let plan = reload(&scene, &supervisor);
    assert_eq!(
        plan,
        [
            "~ reads    will be restarted: stdin",
            "~ runs     will be restarted: command",
            "* checked  changes in place: ready, health",
            "= 1 unchanged",
        ]
    );
    wait_for("the other file", || scene.read("read") == "one\ntwo\n");
    supervisor.wait_started("runs", 2);
    fs::remove_dir_all(scene.path("one")).expect("it is there");
    let before = scene.read("checks").len();
    wait_for("more checks", || scene.read("checks").len() > before + 2);
    assert_eq!(supervisor.started("checked"), [checked]);
    assert_eq!(supervisor.started("fixed"), [fixed]);
    assert!(reload(&scene, &supervisor) == ["= 4 unchanged"]);
    supervisor.end();
}

/// Messages of names that came later stood askew.
#[test]
fn the_columns_follow_the_names() {
    let mut scene = Scene::new();
    scene.add("p", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let long = "a-name-that-is-longer-than-that-of-the-supervisor";
    scene.add(long, "hold");
    reload(&scene, &supervisor);
    supervisor.wait_started(long, 1);
    let column = |line: &str, word: &str| line.find(word).expect("the word");
    let new = column(
        &supervisor.wait_message(&[long, " started pid="]),
        " started",
    );
    supervisor.signal(libc::SIGUSR1);
    let status = supervisor.wait_message(&[" p ", " running pid=", "restarts=0"]);
    assert_eq!(column(&status, " running"), new, "{status}");
    supervisor.end();
}
