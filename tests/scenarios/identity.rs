//! The users and limits that programs run with: what they really got, and what is refused.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::resource::Resource;
use serde_json::{Map, Value, json};

use crate::command_line::run;
use crate::common::levers::{Gate, Tracer};
use crate::common::operator::{Operator, control, order, status, wait_state};
use crate::common::{Need, Scene, alive, missing, probe, process, wait_for};
use crate::readiness::reload;
use crate::start_failures::assert_failed_start;

/// Numbers of users and groups that exist on none of the machines of these tests.
const USER: u32 = 64_335;
const OTHER: u32 = 64_336;
const THIRD: u32 = 64_337;

/// Our own limit on core files where programs are given limits.
const CORE_MAX: u64 = 100;

/// Capabilities (capabilities(7)).
const KILL: u8 = 5;
const SETGID: u8 = 6;
const SETUID: u8 = 7;

/// What becomes of a program.
enum Fate {
    /// It has this as its `Uid`, `Gid`, `Groups`, `Umask`, `NoNewPrivs` and the like, or as the line of
    /// a limit, or by the name of another part of its dump.
    Has(&'static str, String),
    /// Its start fails, with these words.
    Fails(String),
}

use Fate::{Fails, Has};

struct Row {
    keys: Value,
    as_root: Fate,
    as_user: Fate,
}

fn four(id: u32) -> String {
    format!("{id}\t{id}\t{id}\t{id}")
}

fn denied(what: &str) -> Fate {
    Fails(format!("failed to set {what}: Permission denied"))
}

fn not_permitted(what: &str) -> Fate {
    Fails(format!("failed to set {what}: Operation not permitted"))
}

/// True if this process, as root, may raise limits and lower scores.
fn has_resource_capability() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = u64::from_str_radix(line.expect("capabilities").trim(), 16);
    capabilities.expect("a number") >> 24 & 1 == 1
}

/// The groups of root, as a message has them.
fn groups_of_root() -> String {
    let text = std::fs::read_to_string("/etc/group").expect("the groups");
    let mut all = vec!["0"];
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, gid, members] = *fields
            && members.split(',').any(|member| member == "root")
            && !all.contains(&gid)
        {
            all.push(gid);
        }
    }
    all.join(", ")
}

/// A key whose value comes out the same for all.
fn same(keys: Value, what: &'static str, value: &str) -> Row {
    Row {
        keys,
        as_root: Has(what, value.to_owned()),
        as_user: Has(what, value.to_owned()),
    }
}

fn credentials() -> Vec<Row> {
    let other = json!({"user": OTHER, "group": THIRD, "groups": [7, 8]});
    let own = json!({"user": USER, "group": USER, "groups": [7]});
    let number = || Has("Uid", four(OTHER));
    let of_root = format!("groups to {}", groups_of_root());
    vec![
        Row {
            keys: other.clone(),
            as_root: number(),
            as_user: not_permitted("groups to 7, 8"),
        },
        Row {
            keys: other.clone(),
            as_root: Has("Gid", four(THIRD)),
            as_user: not_permitted("groups to 7, 8"),
        },
        Row {
            keys: other,
            as_root: Has("Groups", "7 8".to_owned()),
            as_user: not_permitted("groups to 7, 8"),
        },
        Row {
            keys: json!({"user": OTHER, "group": OTHER}),
            as_root: Has("Groups", String::new()),
            as_user: not_permitted("groups to none"),
        },
        Row {
            keys: own.clone(),
            as_root: Has("Groups", "7".to_owned()),
            // Its own ids, and groups that it may not set.
            as_user: Has("Groups", String::new()),
        },
        same(own, "Uid", &four(USER)),
        Row {
            keys: json!({"group": THIRD}),
            as_root: Has("Gid", four(THIRD)),
            as_user: not_permitted(&format!("gid to {THIRD}")),
        },
        same(json!({"groups": []}), "Groups", ""),
        Row {
            keys: json!({"user": "root", "clear_env": true}),
            as_root: Has("env.HOME", "/root".to_owned()),
            as_user: not_permitted(&of_root),
        },
        Row {
            keys: json!({"user": "root", "clear_env": true}),
            as_root: Has("env.LOGNAME", "root".to_owned()),
            as_user: not_permitted(&of_root),
        },
        Row {
            keys: json!({"user": "root"}),
            as_root: Has("Groups", groups_of_root().replace(',', "")),
            as_user: not_permitted(&of_root),
        },
        Row {
            keys: json!({"user": "root", "groups": []}),
            as_root: Has("Groups", String::new()),
            as_user: not_permitted("groups to none"),
        },
        Row {
            keys: json!({"user": "root", "clear_env": true, "env": {"USER": "own"}}),
            as_root: Has("env.USER", "own".to_owned()),
            as_user: not_permitted(&of_root),
        },
    ]
}

fn others() -> Vec<Row> {
    let raised = if has_resource_capability() {
        Has("oom_score_adj", "-500".to_owned())
    } else {
        denied("oom_score_adj to -500")
    };
    // What may be set without root begins at what these tests run with.
    let ours = process::stat(std::process::id() as i32)
        .expect("our own")
        .nice;
    let (nicer, ruder) = ((ours + 7).min(19), (ours - 7).max(-20));
    vec![
        same(json!({"umask": "027"}), "Umask", "0027"),
        same(json!({"umask": "777"}), "Umask", "0777"),
        same(json!({"nice": nicer}), "nice", &nicer.to_string()),
        Row {
            keys: json!({"nice": ruder}),
            as_root: Has("nice", ruder.to_string()),
            as_user: denied(&format!("nice to {ruder}")),
        },
        same(json!({"oom_score_adj": 700}), "oom_score_adj", "700"),
        Row {
            keys: json!({"oom_score_adj": -500}),
            as_root: raised,
            as_user: denied("oom_score_adj to -500"),
        },
        same(json!({"no_new_privileges": true}), "NoNewPrivs", "1"),
        same(json!({"no_new_privileges": false}), "NoNewPrivs", "0"),
        same(json!({"clear_env": true}), "env.PATH", ""),
        same(json!({"clear_env": true, "env": {"A": 1}}), "env.A", "1"),
    ]
}

fn limits() -> Vec<Row> {
    let lowered = [
        (
            "as",
            "8G:16G",
            "Max address space",
            "8589934592 17179869184",
        ),
        ("core", "0:100", "Max core file size", "0 100"),
        ("cpu", "100:1000", "Max cpu time", "100 1000"),
        ("data", "4G", "Max data size", "4294967296 4294967296"),
        ("fsize", "1G", "Max file size", "1073741824 1073741824"),
        ("locks", "77", "Max file locks", "77 77"),
        ("memlock", "64K", "Max locked memory", "65536 65536"),
        ("msgqueue", "1000", "Max msgqueue size", "1000 1000"),
        ("nice", "0", "Max nice priority", "0 0"),
        ("nofile", "17:19", "Max open files", "17 19"),
        ("nproc", "2000", "Max processes", "2000 2000"),
        (
            "rss",
            "1G:unlimited",
            "Max resident set",
            "1073741824 unlimited",
        ),
        ("rtprio", "0", "Max realtime priority", "0 0"),
        (
            "rttime",
            "1000000",
            "Max realtime timeout",
            "1000000 1000000",
        ),
        ("sigpending", "100", "Max pending signals", "100 100"),
        ("stack", "4M:8M", "Max stack size", "4194304 8388608"),
    ];
    let rows = lowered
        .into_iter()
        .map(|(key, value, line, expected)| same(json!({"limits": {key: value}}), line, expected));
    // More than fs.nr_open allows to anyone.
    let too_many = json!({"limits": {"nofile": "unlimited"}});
    let refused = || not_permitted("RLIMIT_NOFILE to unlimited");
    let more = CORE_MAX + 1;
    let raised = || match has_resource_capability() {
        true => Has("Max core file size", format!("{more} {more}")),
        false => not_permitted(&format!("RLIMIT_CORE to {more}")),
    };
    let not_raised = || not_permitted(&format!("RLIMIT_CORE to {more}"));
    rows.chain([
        Row {
            keys: too_many,
            as_root: refused(),
            as_user: refused(),
        },
        Row {
            keys: json!({"limits": {"core": more}}),
            as_root: raised(),
            as_user: not_raised(),
        },
        // It is raised before the user is another one.
        Row {
            keys: json!({"limits": {"core": more}, "user": OTHER, "group": OTHER}),
            as_root: raised(),
            as_user: not_raised(),
        },
    ])
    .collect()
}

/// A part of a dump as the table has it.
fn part(dump: &Map<String, Value>, what: &str) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    if let Some(variable) = what.strip_prefix("env.") {
        return text(&dump["env"][variable]);
    }
    if what.starts_with("Max ") {
        let lines = dump["limits"].as_str().expect("limits");
        let line = lines.lines().find_map(|line| line.strip_prefix(what));
        let words = line.expect("a limit").split_whitespace().take(2);
        return words.collect::<Vec<_>>().join(" ");
    }
    text(dump.get(what).unwrap_or(&dump["status"][what]))
}

fn play(rows: &[Row], mut scene: Scene, fate: fn(&Row) -> &Fate) {
    scene.chmod("", 0o777);
    let core = Resource::RLIMIT_CORE;
    scene.setting.limit(core, CORE_MAX, CORE_MAX);
    for (index, row) in rows.iter().enumerate() {
        let script = format!("dump dump{index} ; hold");
        scene.add_with(&format!("p{index}"), &script, row.keys.clone());
    }
    let supervisor = scene.start();
    for (index, row) in rows.iter().enumerate() {
        match fate(row) {
            Has(what, value) => {
                let dump = scene.wait_dump(&format!("dump{index}"));
                assert_eq!(part(&dump, what), *value, "{what} of {}", row.keys);
            }
            Fails(words) => {
                let report = supervisor.wait_report(&format!("p{index}"), 1);
                assert_failed_start(&report, 125, &[words]);
            }
        }
    }
    supervisor.end();
}

/// A table of each attribute, by a supervisor that runs as root and by one that does not.
#[test]
fn every_attribute_is_what_the_program_gets() {
    if missing(&[Need::Root]) {
        return;
    }
    let rows = [credentials(), others(), limits()].into_iter().flatten();
    let rows: Vec<Row> = rows.collect();
    play(&rows, Scene::new(), |row| &row.as_root);
    let mut scene = Scene::new();
    scene.setting.user(USER);
    play(&rows, scene, |row| &row.as_user);
}

/// What a tracer refuses, and what is said of it.
fn refusals() -> [(Value, &'static [&'static str], &'static str); 10] {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let user = || json!({"user": OTHER, "group": THIRD, "groups": [7, 8]});
    [
        (
            json!({"oom_score_adj": 7}),
            &["-P", SCORE, "-e", "inject=openat:error=ENOENT"],
            "failed to set oom_score_adj to 7: No such file or directory",
        ),
        (
            json!({"nice": 7}),
            &["-e", "inject=setpriority:error=EACCES"],
            "failed to set nice to 7: Permission denied",
        ),
        (
            json!({"limits": {"core": "0:7"}}),
            &["-e", "inject=prlimit64:error=EPERM"],
            "failed to set RLIMIT_CORE to 0:7: Operation not permitted",
        ),
        (
            json!({"limits": {"nofile": 64}}),
            &["-e", "inject=prlimit64:error=EPERM"],
            "failed to set RLIMIT_NOFILE to 64: Operation not permitted",
        ),
        (
            user(),
            &["-e", "inject=setgroups:error=EPERM"],
            "failed to set groups to 7, 8: Operation not permitted",
        ),
        (
            user(),
            &["-e", "inject=setresgid:error=EPERM"],
            "failed to set gid to 64337: Operation not permitted",
        ),
        (
            user(),
            &["-e", "inject=prctl:error=EPERM"],
            "failed to set uid to 64336: Operation not permitted",
        ),
        (
            user(),
            &["-e", "inject=setresuid:error=EAGAIN"],
            "failed to set uid to 64336: Resource temporarily unavailable",
        ),
        (
            user(),
            &["-e", "inject=setresuid:retval=0"],
            "failed to set uid to 64336: Operation not permitted",
        ),
        (
            json!({"no_new_privileges": true}),
            &["-e", "inject=prctl:error=EINVAL"],
            "failed to set no_new_privileges: Invalid argument",
        ),
    ]
}

/// Each call of a child that sets something is refused once; one that says that it has set the user,
/// and has not, is found out.
#[test]
fn m12_a_step_that_is_refused_is_a_failed_start_with_its_name() {
    if missing(&[Need::Root, Need::Strace]) {
        return;
    }
    for (mut keys, inject, words) in refusals() {
        let mut scene = Scene::new();
        scene.chmod("", 0o777);
        let mut gate = Gate::new(&scene, "gate");
        scene.chmod("gate", 0o666);
        keys["backoff"] = json!({"initial": "100ms", "max": "100ms"});
        scene.add_with("p", "gate gate ; count runs ; exit 1", keys);
        let supervisor = scene.start();
        supervisor.wait_started("p", 1);
        let tracer = Tracer::attach(&scene, supervisor.pid(), &[&["-f"], inject].concat());
        gate.open();
        for report in &supervisor.wait_reports_of("p", 3)[1..] {
            assert_failed_start(report, 125, &[words]);
        }
        assert_eq!(scene.read("runs"), ".", "only the first was executed");
        tracer.detach();
        supervisor.wait_started("p", 2);
        supervisor.end();
    }
}

/// The directory is entered as the user, and a limit on descriptors leaves room for what it has to say.
#[test]
fn a_directory_that_the_user_may_not_enter_is_a_failed_start() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    scene.mkdir("closed");
    scene.chmod("closed", 0o700);
    let user = json!({"user": OTHER, "group": OTHER, "cwd": "closed"});
    scene.add_with("p", "hold", user);
    scene.add_with("root", "touch in ; hold", json!({"cwd": "closed"}));
    let supervisor = scene.start();
    let words = [
        "failed to change the directory to",
        "closed",
        "Permission denied",
    ];
    assert_failed_start(&supervisor.wait_report("p", 1), 125, &words);
    scene.wait_file("closed/in");
    supervisor.end();
}

/// What a program of another user says is heard: on its socket, its descriptor and its stderr, which
/// it may open by its name.
#[test]
fn a_program_of_another_user_is_heard() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.chmod("", 0o777);
    let with = |mut keys: Value| {
        keys["user"] = json!(OTHER);
        keys["group"] = json!(OTHER);
        keys
    };
    let keys = with(json!({"ready": "notify", "watchdog": "1h"}));
    scene.add_with(
        "notify",
        "append /dev/stderr by-name ; notify READY=1 ; hold",
        keys,
    );
    let keys = with(json!({"ready": {"fd": 3}}));
    scene.add_with("fd", "say \\n 3 ; hold", keys);
    let command = probe("dump ready");
    let keys = with(json!({"ready": {"command": command}}));
    scene.add_with("ready", "hold", keys);
    let command = probe("dump healthy");
    let health = json!({"command": command, "interval": "50ms"});
    scene.add_with("health", "hold", with(json!({"health": health})));
    let supervisor = scene.start();
    for name in ["notify", "fd", "ready", "health"] {
        wait_state(&supervisor, &path, name, "running");
    }
    for checked in ["ready", "healthy"] {
        let dump = scene.wait_dump(checked);
        assert_eq!(part(&dump, "Uid"), four(OTHER), "{checked}");
        assert_eq!(part(&dump, "Groups"), "", "{checked}");
    }
    wait_for("the word in the log", || scene.log("notify") == b"by-name");
    supervisor.end();
}

/// `check` says before what this process may not set.
#[test]
fn a_check_warns_of_what_is_not_permitted() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    let keys = json!({
        "user": OTHER, "group": OTHER, "nice": -7, "oom_score_adj": -1000,
        "limits": {"nofile": "unlimited"}, "stdin": "missing",
    });
    scene.add_with("web", "hold", keys);
    scene.add_with(
        "own",
        "hold",
        json!({"user": USER, "group": USER, "nice": 19}),
    );
    scene.setting.user(USER);
    scene.write("procsched.json", scene.config());
    let said = run(&scene, &["check", "procsched.json"]);
    let only = |capability: &str| format!("only root, or a process with {capability}, may do that");
    for (key, words) in [
        (
            "user",
            format!("failed to set groups to none: {}", only("CAP_SETGID")),
        ),
        (
            "user",
            format!("failed to set uid to {OTHER}: {}", only("CAP_SETUID")),
        ),
        (
            "nice",
            format!("failed to set nice to -7: {}", only("CAP_SYS_NICE")),
        ),
        (
            "oom_score_adj",
            format!(
                "failed to set oom_score_adj to -1000: unless ours was as low before, {}",
                only("CAP_SYS_RESOURCE")
            ),
        ),
        (
            "limits.nofile",
            "to raise it, only root, or a process with CAP_SYS_RESOURCE".to_owned(),
        ),
        ("stdin", "No such file or directory".to_owned()),
    ] {
        let what = match key {
            "oom_score_adj" => "a start may fail",
            _ => "no start would succeed",
        };
        let start = format!("warning: programs.web.{key}: {what}: ");
        let mut lines = said.err.lines();
        let found = lines.any(|line| line.contains(&start) && line.contains(&words));
        assert!(found, "{key}, {words}: {}", said.err);
    }
    assert_eq!(said.code, Some(1));
    assert!(!said.err.contains("programs.own"), "{}", said.err);
}

/// It may become another user, and not signal what it has started as that.
#[test]
fn a_check_warns_of_what_could_not_be_stopped() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    scene.add_with("web", "hold", json!({"user": OTHER, "group": OTHER}));
    scene.set("control", json!(false));
    scene.add_with("own", "hold", json!({"user": USER, "group": USER}));
    scene.write("procsched.json", scene.config());
    scene.setting.user(USER);
    scene.setting.keep(&[SETGID, SETUID]);
    let said = run(&scene, &["check", "procsched.json"]);
    let expected = format!(
        "procsched.json: warning: programs.web.user: no stop would succeed: failed to signal \
         processes of uid {OTHER}: only root, or a process with CAP_KILL, may do that\n"
    );
    assert_eq!((said.code, said.err), (Some(1), expected));
    scene.setting.keep(&[KILL, SETGID, SETUID]);
    let said = run(&scene, &["check", "procsched.json"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
}

/// What a supervisor without root was given for itself is not for programs of other users.
#[test]
fn another_user_gets_no_capability_of_ours() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    scene.setting.user(USER);
    scene.setting.keep(&[KILL, SETGID, SETUID]);
    for (name, user) in [("web", OTHER), ("own", USER)] {
        let keys = json!({"user": user, "group": user});
        scene.add_with(name, &format!("dump {name}.given ; hold"), keys);
    }
    let supervisor = scene.start();
    for (name, user, capabilities) in [("web", OTHER, 0), ("own", USER, 0xe0)] {
        let dump = scene.wait_dump(&format!("{name}.given"));
        assert_eq!(part(&dump, "Uid"), four(user));
        for set in ["CapPrm", "CapEff", "CapAmb"] {
            let found = u64::from_str_radix(&part(&dump, set), 16);
            assert_eq!(found, Ok(capabilities), "{name}, {set}");
        }
    }
    // What cannot be dumped is root's.
    let pid = supervisor.inner_pid();
    let memory = std::fs::metadata(format!("/proc/{pid}/mem")).expect("it runs");
    assert_eq!(memory.uid(), USER, "our memory can be dumped as before");
    supervisor.end();
}

/// The stop signal is for the first process alone, if that is wanted; KILL is for all. The first process
/// ends when the other one has had its signal, or has looked whether one waits for it. That one stays
/// until it is killed.
#[test]
fn a_stop_is_for_the_group_or_the_first_process() {
    let mut scene = Scene::new();
    for (to, other) in [
        (
            "main",
            "wait-file main.asked ; dump main.given ; touch main.done",
        ),
        ("group", "await TERM ; touch group.done"),
    ] {
        let script = format!(
            "trap TERM ; fork {{ touch {to}.other ; {other} ; hold }} ; wait-file {to}.other ; \
             touch {to}.up ; await TERM ; touch {to}.asked ; wait-file {to}.done ; exit 0"
        );
        scene.add_with(to, &script, json!({"stop_to": to, "stop_timeout": "1h"}));
    }
    let mut supervisor = scene.start();
    scene.wait_file("main.up");
    scene.wait_file("group.up");
    supervisor.signal(libc::SIGTERM);
    for name in ["main", "group"] {
        assert_eq!(supervisor.wait_report(name, 1).code(), 0, "{name}");
    }
    // Within 200 ms it would be the same request.
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
    let given = scene.wait_dump("main.given");
    let waiting = u64::from_str_radix(&part(&given, "ShdPnd"), 16).expect("a set of signals");
    assert_eq!(waiting >> (libc::SIGTERM - 1) & 1, 0, "{waiting:x}");
    assert_eq!(supervisor.descendants(), [0; 0]);
}

/// A file, and a FIFO that has no writer; what is not there is a failed start.
#[test]
fn a_program_reads_its_stdin() {
    let mut scene = Scene::new();
    scene.write("text", "line\n");
    let _gate = Gate::new(&scene, "fifo");
    for (name, stdin) in [("file", "text"), ("fifo-reader", "fifo"), ("none", "null")] {
        scene.add_with(
            name,
            &format!("slurp got-{name} ; hold"),
            json!({"stdin": stdin}),
        );
    }
    scene.add_with("missing", "touch ran ; hold", json!({"stdin": "missing"}));
    let supervisor = scene.start();
    for (name, expected) in [("file", "line\n\n"), ("fifo-reader", "\n"), ("none", "\n")] {
        let file = format!("got-{name}");
        scene.wait_file(&file);
        wait_for("all of it", || scene.read(&file) == expected);
    }
    let words = [
        "failed to open its stdin",
        "missing",
        "No such file or directory",
    ];
    assert_failed_start(&supervisor.wait_report("missing", 1), 125, &words);
    // Nothing stays open of it.
    let open = process::quiet_descriptor_kinds(supervisor.pid());
    assert!(!open.iter().any(|kind| kind.ends_with("text")), "{open:?}");
    assert!(!scene.path("ran").exists());
    supervisor.end();
}

/// What is the process's own is changed by a restart, and whom the stop is for in place.
#[test]
fn a_reload_restarts_what_runs_otherwise() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let set = |scene: &mut Scene, keys: Value| {
        scene.remove("web").add_with("web", "hold", keys);
    };
    set(
        &mut scene,
        json!({"umask": "022", "limits": {"nofile": 99}}),
    );
    let supervisor = scene.start();
    let first = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    set(
        &mut scene,
        json!({"umask": "022", "limits": {"nofile": 99}, "stop_to": "main"}),
    );
    let plan = reload(&scene, &path, &[]);
    assert!(plan.contains("changes in place: stop_to"), "{plan}");
    set(
        &mut scene,
        json!({"umask": "027", "limits": {"nofile": 98, "core": 0}, "stop_to": "main"}),
    );
    let plan = reload(&scene, &path, &[]);
    let expected = "will be restarted: umask, limits.core, limits.nofile";
    assert!(plan.contains(expected), "{plan}");
    let web = wait_state(&supervisor, &path, "web", "running");
    assert_ne!(web["pid"], first);
    let pid = web["pid"].as_i64().expect("a pid");
    assert!(alive(i32::try_from(pid).expect("a pid")));
    supervisor.end();
}

/// The numbers of the instances are in their commands and environments, a name stands for all, and a
/// reload with another number leaves the others alone.
#[test]
fn instances_are_programs_of_their_own() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let set = |scene: &mut Scene, count: u32| {
        let keys = json!({"instances": count, "env": {"PORT": "80%i"}});
        scene
            .remove("web")
            .add_with("web", "dump given%i ; hold", keys);
    };
    set(&mut scene, 2);
    scene.add_with("front", "hold", json!({"requires": ["web"]}));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "front", "running");
    for (number, port) in [("1", "801"), ("2", "802")] {
        let dump = scene.wait_dump(&format!("given{number}"));
        assert_eq!(part(&dump, "env.PORT"), port);
        assert_eq!(part(&dump, "env.PROCSCHED_INSTANCE"), number);
        assert_eq!(
            part(&dump, "env.PROCSCHED_PROGRAM"),
            format!("web@{number}")
        );
    }
    let pid = |name: &str| status(&path, name)["pid"].clone();
    let (first, front) = (pid("web@1"), pid("front"));
    set(&mut scene, 3);
    let plan = reload(&scene, &path, &[]);
    assert!(plan.contains("+ web@3"), "{plan}");
    assert!(plan.contains("* front"), "{plan}");
    assert!(plan.contains("= 2 unchanged"), "{plan}");
    wait_state(&supervisor, &path, "web@3", "running");
    assert_eq!((pid("web@1"), pid("front")), (first.clone(), front));
    let all = Operator::ask_once(&path, &order("status", &["web@*"])).fine();
    assert_eq!(all.programs().len(), 3);
    set(&mut scene, 1);
    let plan = reload(&scene, &path, &[]);
    for removed in ["- web@2", "- web@3"] {
        assert!(plan.contains(removed), "{plan}");
    }
    wait_for("those that are gone", || {
        let all = Operator::ask_once(&path, &order("status", &["web@*"])).fine();
        all.programs().len() == 1
    });
    assert_eq!(pid("web@1"), first);
    supervisor.end();
}

/// What is in a file is there, a change of it restarts the program, and a file that is gone has the
/// reload refused.
#[test]
fn a_file_of_variables_is_read_with_the_config() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.write("web.env", "A=file\nB='it costs $5'\n");
    let keys = json!({"env_file": ["web.env", "-local.env"], "env": {"A": "own"}});
    scene.add_with("web", "dump given ; hold", keys);
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    let dump = scene.wait_dump("given");
    assert_eq!(part(&dump, "env.A"), "own");
    assert_eq!(part(&dump, "env.B"), "it costs $5");
    let pid = || status(&path, "web")["pid"].clone();
    let first = pid();
    std::fs::remove_file(scene.path("web.env")).expect("it is there");
    let reloading = json!({"v": 1, "command": "reload"});
    let refused = Operator::ask_once(&path, &reloading);
    assert_eq!(
        refused.last["error"]["code"], "invalid-config",
        "{:?}",
        refused.last
    );
    let said = supervisor.wait_message(&["programs.web.env_file[0]", "web.env"]);
    assert!(said.contains("No such file or directory"), "{said}");
    assert_eq!(pid(), first);
    scene.write("web.env", "A=file\nB=other\n");
    scene.write("local.env", "C=new\n");
    let plan = reload(&scene, &path, &[]);
    assert!(plan.contains("will be restarted: env.B, env.C"), "{plan}");
    wait_state(&supervisor, &path, "web", "running");
    assert_ne!(pid(), first);
    supervisor.end();
}
