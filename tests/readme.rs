//! The README and the guide keep their word: their files work, so do their recipes, their commands
//! are understood, their links lead somewhere. Their programs in Rust are the crate's documentation
//! tests.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

mod readme {
    pub mod blocks;
    mod examples;
    mod hosts;
    mod journal;
    mod links;
    pub mod manager;
    mod notify_reload;
    mod recipes;
    pub mod room;
    mod sessions;
}

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::tools::lacks;
use common::{Need, Report, Scene, missing, second_run, wait_for};
use procsched::config::Config;
use readme::blocks::{self, Block, file};
use readme::manager::{self, Manager, Systemd};
use readme::room::{self, Image, Room, Tenant};
use serde_json::{Value, json};

/// How long Docker waits between TERM and KILL, in seconds.
const DOCKER_GRACE: f64 = 10.0;

/// How long what is killed may take to disappear before it is abandoned, in seconds.
const ABANDON_AFTER: f64 = 5.0;

/// A program that fails in its first run and stays in its second.
const CRASHES_ONCE: &str = "once /logs/crashed { say no\\sdatabase\\n ; exit 3 } ; hold";

/// A program that has to be killed.
const DEAF: &str = "ignore TERM ; touch /logs/deaf ; hold";

/// Mounts and namespaces, as a container's runtime makes them.
const CONTAINER: [Need; 3] = [Need::Root, Need::Mounts, Need::Pids];

/// The seconds of a duration in a config.
fn seconds(value: &Value) -> f64 {
    let Some(text) = value.as_str() else {
        return value.as_f64().expect("a number of seconds");
    };
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: f64 = digits.parse().expect("a number");
    number
        * match &text[digits.len()..] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            unit => panic!("no such unit: {unit:?}"),
        }
}

/// The longest time that a program of this config may take to stop.
fn longest_stop(config: &str) -> f64 {
    let config: Value = serde_json::from_str(config).expect("JSON");
    let by_default = &config["defaults"]["stop_timeout"];
    let programs = config["programs"].as_object().expect("programs");
    let timeouts = programs.values().map(|program| {
        let of_its_own = program.get("stop_timeout").unwrap_or(by_default);
        if of_its_own.is_null() {
            10.0
        } else {
            seconds(of_its_own)
        }
    });
    timeouts.fold(0.0, f64::max)
}

/// The scene of the container: what its Dockerfile copies, and the programs' stand-ins.
fn container_scene() -> (Scene, Image) {
    let scene = Scene::new();
    scene.write("procsched.json", file("container/procsched.json"));
    room::furnish(&scene, &[("web", CRASHES_ONCE), ("worker", DEAF)]);
    (scene, Image::parse(&file("container/Dockerfile")))
}

/// The first run of `web` is reported with its last words, and its log is there.
fn check_crash(report: &Report) {
    assert_eq!(report.code(), 3, "{report:?}");
    assert_eq!(report.data(), b"no database\n", "{report:?}");
    assert_eq!(
        report.text("log"),
        Some("/logs/web.stderr.log"),
        "{report:?}"
    );
}

#[test]
fn the_container_reports_on_stdout_and_stops_by_itself() {
    if missing(&CONTAINER) {
        return;
    }
    let (scene, image) = container_scene();
    let room = Room::of(&scene, &image);
    let mut run = room.start(&image.command(), &Tenant::ROOT);
    check_crash(&run.wait_report("web", 1));
    run.wait_started("web", 2);
    let deaf = room.path("/logs/deaf");
    run.wait("a worker that is deaf", || deaf.exists());
    assert_eq!(run.stop(), 0, "{}", run.said());
    let last = |name: &str| run.reports_of(name).pop().expect("a report");
    assert_eq!(last("web").signal(), Some("SIGTERM"));
    assert_eq!(last("worker").signal(), Some("SIGKILL"));
    assert!(last("web").stopping() && last("worker").stopping());
    let log = std::fs::read(room.path("/logs/web.stderr.log")).expect("a log");
    assert_eq!(log, b"no database\n");
}

#[test]
fn the_container_kills_before_docker_does() {
    let longest = longest_stop(&file("container/procsched.json"));
    assert!(longest < DOCKER_GRACE, "{longest}");
    assert!(
        longest_stop(r#"{"programs": {"a": ["x"]}}"#) >= DOCKER_GRACE,
        "the default is not"
    );
}

#[test]
fn the_container_of_one_program_passes_its_signals_and_its_code_on() {
    if missing(&CONTAINER) {
        return;
    }
    let scene = Scene::new();
    let script = "trap TERM ; say listening\\n ; await TERM ; say bye\\n ; exit 7";
    room::furnish(&scene, &[("web", script)]);
    let image = Image::parse(&file("init/Dockerfile"));
    let mut run = Room::of(&scene, &image).start(&image.command(), &Tenant::ROOT);
    run.wait_message(&["listening"]);
    assert_eq!(run.stop(), 7, "{}", run.said());
    assert_eq!(run.messages(), ["listening", "bye"]);
}

/// The one container of the manifest, and its Pod.
fn pod() -> Value {
    let manifest: Value = serde_norway::from_str(&file("kubernetes/app.yaml")).expect("YAML");
    assert_eq!(manifest["apiVersion"], "apps/v1");
    assert_eq!(manifest["kind"], "Deployment");
    let labels = &manifest["spec"]["selector"]["matchLabels"];
    let template = &manifest["spec"]["template"];
    assert!(labels.is_object() && *labels == template["metadata"]["labels"]);
    assert_eq!(
        template["spec"]["containers"].as_array().map(Vec::len),
        Some(1)
    );
    template["spec"].clone()
}

/// The Pod's container as the kubelet would start it.
fn tenant(pod: &Value) -> Tenant {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    let user = security["runAsUser"]
        .as_u64()
        .expect("a user by its number");
    assert!(security["runAsNonRoot"] == true && user != 0);
    let volumes = pod["volumes"].as_array().expect("volumes");
    let path = |mount: &Value| {
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        assert!(
            volume.is_some_and(|volume| volume["emptyDir"].is_object()),
            "{mount}"
        );
        mount["mountPath"].as_str().expect("a path").to_owned()
    };
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    Tenant {
        user,
        read_only: security["readOnlyRootFilesystem"] == true,
        volumes: mounts.iter().map(path).collect(),
        bare: false,
    }
}

#[test]
fn the_pod_has_time_to_stop() {
    let grace = pod()["terminationGracePeriodSeconds"]
        .as_f64()
        .expect("seconds");
    let needed = longest_stop(&file("container/procsched.json")) + ABANDON_AFTER;
    assert!(grace >= needed, "{grace} s, needed are {needed} s");
}

#[test]
fn the_pod_runs_with_a_root_that_nobody_can_write_to() {
    if missing(&CONTAINER) {
        return;
    }
    let pod = pod();
    let tenant = tenant(&pod);
    assert!(tenant.read_only);
    let (scene, image) = container_scene();
    room::furnish(&scene, &[("worker", "hold")]);
    let arguments = pod["containers"][0]["args"].as_array().expect("arguments");
    let arguments = arguments
        .iter()
        .map(|word| word.as_str().expect("a word").to_owned());
    let command: Vec<String> = image.entrypoint.iter().cloned().chain(arguments).collect();
    let room = Room::of(&scene, &image);
    let run = room.start(&command, &tenant);
    check_crash(&run.wait_report("web", 1));
    run.wait_started("web", 2);
    run.wait_started("worker", 1);
    assert_eq!(run.messages_with(&["warning"]), [""; 0]);
    assert_eq!(run.messages_with(&["no control socket"]), [""; 0]);
    run.end();
    let without = Tenant {
        volumes: vec!["/run/app".to_owned()],
        ..tenant
    };
    let refused = room.start(&command, &without);
    refused.wait_message(&["failed to use the log directory"]);
    refused.ends_with(1);
}

#[test]
fn a_container_whose_programs_inherit_needs_no_volume() {
    if missing(&CONTAINER) {
        return;
    }
    let (scene, image) = container_scene();
    scene.write("procsched.json", file("container/inherit.json"));
    room::furnish(
        &scene,
        &[("web", "say hello\\n ; hold"), ("worker", "hold")],
    );
    let tenant = Tenant {
        read_only: true,
        volumes: Vec::new(),
        ..tenant(&pod())
    };
    let mut run = Room::of(&scene, &image).start(&image.command(), &tenant);
    run.wait_message(&["web ", "| hello"]);
    run.wait_started("worker", 1);
    assert_eq!(run.messages_with(&["warning"]), [""; 0]);
    assert_eq!(run.messages_with(&["no control socket"]), [""; 0]);
    assert_eq!(run.stop(), 0, "{}", run.said());
}

/// The value of a key of the unit.
fn unit_value(key: &str) -> String {
    let unit = file("app.service");
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value
        .unwrap_or_else(|| panic!("the unit has no {key}"))
        .to_owned()
}

#[test]
fn the_unit_leaves_procsched_the_time_to_stop() {
    let given: f64 = unit_value("TimeoutStopSec").parse().expect("seconds");
    let needed = longest_stop(&file("systemd/procsched.json")) + ABANDON_AFTER;
    assert!(given > needed, "{given} s, needed are more than {needed} s");
    assert_eq!(unit_value("KillMode"), "mixed");
    assert_eq!(unit_value("Type"), "notify");
    assert_eq!(unit_value("TimeoutStartSec"), "infinity");
}

/// A config that is wrong is not tried again, and what else keeps `run` from starting not for ever.
#[test]
fn the_unit_gives_up_where_nothing_can_start() {
    /// `RestartSec`, unless the unit says something else.
    const PAUSE: f64 = 0.1;
    let mut scene = Scene::new();
    scene.set("err_dir", "procsched.json/logs".into());
    scene.add("p", "hold");
    let start = Instant::now();
    scene.start().ends_with(1);
    let took = start.elapsed().as_secs_f64();
    let number = |key| unit_value(key).parse::<f64>().expect("a number");
    let tries = number("StartLimitBurst") * (took + PAUSE);
    assert!(2.0 * tries < number("StartLimitIntervalSec"), "{tries} s");
    scene.set("err_dir", "~/logs".into());
    let code = scene.start().wait_exit();
    assert_eq!(unit_value("RestartPreventExitStatus"), code.to_string());
}

#[test]
fn the_units_are_some_for_systemd() {
    if missing(&[Need::Tool("systemd-analyze")]) {
        return;
    }
    let scene = Scene::new();
    let binary = second_run::binary().to_str().expect("a plain path");
    let start = unit_value("ExecStart");
    let installed = start.split(' ').next().expect("a program");
    for name in ["app.service", "service/app.service"] {
        let path = scene.write("app.service", file(name).replace(installed, binary));
        let verify = ["verify", "--man=no", "--recursive-errors=no"];
        let (out, err) = room::run(Command::new("systemd-analyze").args(verify).arg(path));
        assert_eq!((&*out, &*err), ("", ""), "{name}");
    }
}

/// The unit as it is, but for the place of the config and a watchdog. A start takes as long as the
/// programs take; a reload says what is wrong with the config; a supervisor that hangs is replaced.
#[test]
fn the_unit_tells_systemd_how_the_programs_are() {
    let needs = [
        Need::Root,
        Need::Mounts,
        Need::Pids,
        Need::Tool("systemctl"),
    ];
    if missing(&needs) {
        return;
    }
    let Some(cgroups) = manager::cgroups() else {
        return lacks("needs systemd, and a cgroup of version 2 of its own");
    };
    const APP: &str = "app.service";
    let scene = Scene::new();
    let config = file("systemd/procsched.json");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    let wait = "until test -e /run/app/go; do sleep 0.05; done";
    config["programs"]["migrate"] = json!({"command": ["sh", "-c", wait], "oneshot": true});
    config["programs"]["worker"] = json!({"command": ["sleep", "1000"], "requires": ["migrate"]});
    let path = scene.write("procsched.json", config.to_string());
    let unit = file(APP).replace(
        "/etc/app/procsched.json",
        path.to_str().expect("a plain path"),
    );
    let unit = unit.replace("[Service]\n", "[Service]\nWatchdogSec=5\n");
    let systemd = Systemd::of_machine();
    let manager = Manager::start(&systemd, &scene, &cgroups, APP, &unit);
    manager.order(&["start", "--no-block", APP]);
    manager.wait(
        APP,
        "StatusText",
        "1 running, 1 starting: migrate, 1 pending: worker",
    );
    assert_eq!(manager.property(APP, "ActiveState"), "activating");
    assert!(manager.run(&["touch", "/run/app/go"]).0);
    manager.order(&["start", APP]);
    assert_eq!(manager.property(APP, "ActiveState"), "active");
    manager.wait(APP, "StatusText", "2 running, 1 exited");

    config["programs"]["cache"] = json!(["sleep", "1000"]);
    scene.write("procsched.json", config.to_string());
    manager.order(&["reload", APP]);
    manager.wait(APP, "StatusText", "3 running, 1 exited");
    scene.write("procsched.json", "{");
    assert!(!manager.systemctl(&["reload", APP]).0, "a wrong config");
    assert_eq!(manager.property(APP, "ActiveState"), "active");
    scene.write("procsched.json", config.to_string());

    let pid = |manager: &Manager| manager.property(APP, "MainPID");
    let first = pid(&manager);
    assert!(manager.run(&["kill", "-STOP", &first]).0);
    manager.wait(APP, "NRestarts", "1");
    wait_for("another supervisor", || {
        !["0", &*first].contains(&&*pid(&manager))
    });
    manager.wait(APP, "SubState", "start");
    // The directory has gone with the first.
    wait_for("the way to be free", || {
        manager.run(&["touch", "/run/app/go"]).0
    });
    manager.wait(APP, "SubState", "running");
    manager.wait(APP, "StatusText", "3 running, 1 exited");
    manager.order(&["stop", APP]);
    let end = ["ActiveState", "Result"].map(|property| manager.property(APP, property));
    assert_eq!(end, ["inactive", "success"]);
}

#[test]
fn the_initramfs_is_built_and_its_init_gets_the_kernels_words() {
    if missing(&[Need::Root, Need::Mounts, Need::Pids, Need::Tool("cpio")]) {
        return;
    }
    let scene = Scene::new();
    scene.write("procsched.json", file("initramfs/procsched.json"));
    room::furnish(&scene, &[("web", CRASHES_ONCE)]);
    let script = scene.write("build.sh", file("initramfs/build.sh"));
    let shell = |words: &[&str]| {
        room::run(
            Command::new("sh")
                .args(words)
                .current_dir(scene.directory()),
        );
    };
    shell(&["-eu", &script.to_string_lossy()]);
    shell(&[
        "-euc",
        "mkdir machine && gzip -dc initramfs.gz | (cd machine && cpio -idm)",
    ]);
    let boot = blocks::commands(&file("initramfs/boot.sh")).remove(0);
    let append = boot
        .iter()
        .position(|word| word == "-append")
        .expect("a command line");
    // Otherwise the kernel would reboot at Ctrl-Alt-Del, and ask nobody.
    assert!(boot[append + 1].contains(" sysctl.kernel.ctrl-alt-del=0 -- "));
    let words = boot[append + 1]
        .split(' ')
        .skip_while(|word| *word != "--")
        .skip(1);
    let command: Vec<String> = ["/init"]
        .into_iter()
        .chain(words)
        .map(str::to_owned)
        .collect();
    let machine = Tenant {
        bare: true,
        ..Tenant::ROOT
    };
    let mut run = Room::new(&scene, "machine").start(&command, &machine);
    check_crash(&run.wait_report("web", 1));
    run.wait_started("web", 2);
    run.signal(libc::SIGINT); // what Ctrl-Alt-Del is then
    assert_eq!(run.wait_exit(), 0, "{}", run.said());
}

#[test]
fn every_json_block_is_a_config() {
    let blocks = ["json", "jsonc"].map(blocks::blocks_in);
    for Block {
        page, text, line, ..
    } in blocks.into_iter().flatten()
    {
        let source = format!("{page}, the block at line {line}");
        if let Err(errors) = Config::parse(text.as_bytes(), &source, Path::new("/")) {
            panic!("{errors}");
        }
    }
}

/// What follows the binary's name in a command of a shell block.
fn arguments(words: &[String]) -> Option<&[String]> {
    let is_assignment = |word: &String| {
        word.split('=').next().is_some_and(|name| {
            word.contains('=')
                && name
                    .chars()
                    .all(|char| char.is_ascii_uppercase() || char == '_')
        })
    };
    let first = words.iter().position(|word| !is_assignment(word))?;
    let words = &words[first..];
    match &*words[0] {
        "cargo" if words.get(1).is_some_and(|word| word == "run") => {
            Some(&words[words.iter().position(|word| word == "--")? + 1..])
        }
        // Behind the -- is the command in the container.
        "kubectl" => arguments(&words[words.iter().position(|word| word == "--")? + 1..]),
        program => (program.rsplit('/').next() == Some("procsched-min")).then_some(&words[1..]),
    }
}

/// Where `--help` has to stand in a command line so that all that comes before it is read.
fn asks_for_help(arguments: &[String]) -> Vec<&str> {
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.first() == Some(&"init") {
        let end = words.iter().position(|word| *word == "--");
        let end = end.unwrap_or_else(|| panic!("no -- before the command: {words:?}"));
        assert!(end + 1 < words.len(), "init needs a command: {words:?}");
        words.truncate(end);
    }
    if words.first() == Some(&"completions") {
        words.truncate(1); // Behind the shell everything is a word to complete.
    }
    words.push("--help");
    words
}

/// Lines of shell blocks, of Dockerfiles, of the manifest, and of the unit.
#[test]
fn every_command_line_of_the_binary_is_understood() {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for block in blocks::blocks_in("sh") {
        let commands = blocks::commands(&block.text);
        lines.extend(
            commands
                .iter()
                .filter_map(|words| arguments(words))
                .map(<[_]>::to_vec),
        );
    }
    assert!(lines.len() >= 4, "{lines:?}");
    for dockerfile in blocks::blocks_in("dockerfile") {
        lines.push(Image::parse(&dockerfile.text).command()[1..].to_vec());
    }
    for key in ["ExecStart", "ExecReload"] {
        for unit in blocks::commands(&unit_value(key)) {
            lines.push(unit[1..].to_vec());
        }
    }
    for line in lines {
        let words = asks_for_help(&line);
        let (out, err) = room::run(Command::new(second_run::binary()).args(&words));
        assert!(out.starts_with("Usage: procsched-min "), "{words:?}: {out}");
        assert_eq!(err, "", "{words:?}");
    }
}

/// A promise without a test is a wish.
#[test]
fn every_promise_of_security_names_a_test_that_exists() {
    let security = blocks::page("src/guide/security.md").text();
    let (promised, _) = security
        .split_once("\n## Not promised\n")
        .expect("two sections");
    let rows: Vec<&str> = promised
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert!(rows.len() > 5, "{rows:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [
        "src/os/logs/tests",
        "src/os/spawn/spawner/tests",
        "tests/scenarios",
    ];
    let sources = places.map(|place| {
        let files = std::fs::read_dir(root.join(place)).expect("a directory");
        let paths = files.map(|file| file.expect("an entry").path());
        // A module's directory has its parts, which no promise names.
        let sources = paths.filter(|path| path.is_file());
        let read = |path| std::fs::read_to_string(path).expect("a source");
        sources.map(read).collect::<String>()
    });
    for row in rows.iter().filter(|row| **row != "| promise | tests |") {
        let (_, tests) = row
            .trim_end_matches(" |")
            .rsplit_once(" | ")
            .expect("two cells");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row} is tried by nobody");
        for name in names {
            let test = format!("#[test]\nfn {name}() {{");
            assert!(
                sources.iter().any(|text| text.contains(&test)),
                "{name} is no test"
            );
        }
    }
}
