//! What a reload does about a change of each key is what the table says.

use std::process::{Command, Output};

use procsched::config::{Key, Reload, keys};
use serde_json::{Value, json};

use super::sample::{self, Home};
use crate::common::Scene;
use crate::common::second_run::binary;

/// Asks the supervisor.
fn ask(scene: &Scene, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(words).args(["--socket", "control.sock"]);
    command.current_dir(scene.directory());
    command.output().expect("the binary can be run")
}

/// What a reload of this config would do.
fn plan(scene: &Scene, config: &Value) -> Output {
    scene.write("procsched.json", config.to_string());
    ask(scene, &["reload", "--dry-run"])
}

/// The config with what the supervisor was started with.
fn with_settings(scene: &Scene, mut config: Value) -> Value {
    for (name, path) in [("err_dir", "first-logs"), ("control", "control.sock")] {
        let object = config.as_object_mut().expect("an object");
        object
            .entry(name)
            .or_insert_with(|| json!(scene.path(path)));
    }
    config
}

/// An example that this machine has, where the one of the table is for any.
fn example(key: &Key) -> Value {
    match key.name() {
        "base_dir" => json!("/"),
        _ => sample::value(key.example()),
    }
}

/// The class that the lines of a plan show for a key.
fn class_of(key: &Key, output: &Output) -> Option<Reload> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if err.contains(&format!(
        "{}: a change needs a restart of the supervisor",
        key.name()
    )) {
        return Some(Reload::Supervisor);
    }
    let object = key.place().0;
    let is_named = |keys: &str| {
        let mut keys = keys.split([',', ';']).map(str::trim);
        keys.any(|name| {
            let inner = name.split('.').next().unwrap_or_default();
            [name, inner].contains(&key.name())
                || !object.is_empty() && name == object
                || key.name() == "base_dir" && name == "cwd"
                || key.name() == "env_file" && inner == "env"
        })
    };
    for line in out.lines() {
        if let Some((_, keys)) = line.split_once("will be restarted: ")
            && is_named(keys)
        {
            return Some(Reload::Restart);
        }
        if let Some((_, keys)) = line.split_once("changes in place: ")
            && is_named(keys)
        {
            return Some(Reload::Live);
        }
        let setting = line.strip_prefix("* ");
        let setting = setting.and_then(|rest| rest.strip_suffix(" changes in place"));
        if setting.is_some_and(|name| [key.name(), object].contains(&name.trim_end())) {
            return Some(Reload::Live);
        }
        // A change of the number adds and removes, and what is there runs on.
        if key.name() == "instances" && line.starts_with("+ web@") {
            return Some(Reload::Live);
        }
    }
    None
}

#[test]
fn a_reload_does_what_the_table_says() {
    let mut scene = Scene::new();
    scene.write("local.env", "FROM_FILE=1\n");
    let base = with_settings(&scene, sample::base());
    for name in ["err_dir", "control"] {
        scene.set(name, base[name].clone());
    }
    for (name, program) in base["programs"].as_object().expect("programs") {
        scene.add_raw(name, program.clone());
    }
    let supervisor = scene.start();
    let socket = scene.path("control.sock");
    supervisor.wait("a socket", || socket.exists());
    let waited = ask(&scene, &["wait", "--timeout", "30s", "web", "db", "cache"]);
    assert!(waited.status.success(), "{waited:?}");
    let keys = keys();
    let mut tried = 0;
    for key in keys.iter().filter(|key| key.reload() != Reload::Inside) {
        let changed = sample::with(&keys, key, Home::Program, example(key));
        let output = plan(&scene, &with_settings(&scene, changed));
        assert_eq!(
            class_of(key, &output),
            Some(key.reload()),
            "{}: {output:?}",
            key.name()
        );
        tried += 1;
    }
    assert!(tried > 50, "{tried}");
    let output = plan(&scene, &base);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "= 3 unchanged\n");
    supervisor.end();
}
