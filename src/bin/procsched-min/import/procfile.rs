//! A Procfile, as foreman(1), honcho and Heroku read it: `NAME: COMMAND`, a line each.

use std::path::Path;

use serde_json::json;

use super::document::{Document, Program};
use super::words;

/// The port of the first process, unless `.env` has one, and what lies between two (foreman). Each
/// process gets its own, whether its command line has it or not.
const PORT_FIRST: usize = 5000;
const PORT_STEP: usize = 100;

/// What is run before a deployment and does not go on (Heroku).
const RELEASE: &str = "release";

pub fn import(path: &Path, text: &str) -> Result<Document, String> {
    let mut document = Document::default();
    let defaults = json!({"stdout": "inherit", "stderr": "inherit"});
    document.settings.set("defaults", defaults);
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut first = PORT_FIRST;
    if directory.join(".env").is_file() {
        document.settings.set_in("defaults", "env_file", ".env");
        first = port(&super::read(&directory.join(".env"))?).unwrap_or(first);
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
        let port = first + PORT_STEP * document.programs.len();
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

/// Returns the port that a file of variables has.
fn port(text: &str) -> Option<usize> {
    let port = text.lines().find_map(|line| line.strip_prefix("PORT="))?;
    let port: u16 = port.trim().trim_matches(['"', '\'']).parse().ok()?;
    Some(port.into())
}

fn program(name: &str, command: &str, port: usize) -> Program {
    let mut program = Program {
        name: name.to_owned(),
        ..Program::default()
    };
    let keys = &mut program.keys;
    keys.set("command", words::of_shell(command));
    if name == RELEASE {
        keys.set("oneshot", true);
        keys.set("autostart", false);
    } else {
        keys.set("env", json!({"PORT": port}));
    }
    program
}
