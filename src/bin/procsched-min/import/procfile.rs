//! A Procfile, as foreman(1), honcho and Heroku read it: `NAME: COMMAND`, a line each.

use std::path::Path;

use serde_json::json;

use super::document::{Document, Program};
use super::words;

/// The port of the first process, and what lies between two (foreman).
const PORT_FIRST: usize = 5000;
const PORT_STEP: usize = 100;

/// What is run before a deployment and does not go on (Heroku).
const RELEASE: &str = "release";

pub fn import(path: &Path, text: &str) -> Result<Document, String> {
    let mut document = Document::default();
    let defaults = json!({"stdout": "inherit", "stderr": "inherit"});
    document.settings.set("defaults", defaults);
    let directory = path.parent().unwrap_or(Path::new(""));
    if directory.join(".env").is_file() {
        document.settings.set_in("defaults", "env_file", ".env");
    }
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (file, number) = (path.display(), index + 1);
        let parts = line.split_once(':');
        let parts = parts.filter(|(_, command)| !command.trim().is_empty());
        let (name, command) = parts.ok_or_else(|| {
            format!("{file}:{number}: invalid line {line:?}: expected NAME: COMMAND")
        })?;
        let port = PORT_FIRST + PORT_STEP * document.programs.len();
        document
            .programs
            .push(program(name.trim(), command.trim(), port));
    }
    match document.programs.is_empty() {
        true => Err(format!(
            "{}: nothing to import: expected NAME: COMMAND",
            path.display()
        )),
        false => Ok(document),
    }
}

fn program(name: &str, command: &str, port: usize) -> Program {
    let mut program = Program {
        name: name.to_owned(),
        ..Program::default()
    };
    let keys = &mut program.keys;
    keys.set("command", words::of_shell(command));
    if command.contains("$PORT") || command.contains("${PORT") {
        keys.set("env", json!({"PORT": port}));
    }
    if name == RELEASE {
        keys.set("oneshot", true);
        keys.set("autostart", false);
    }
    program
}
