//! A validator of JSON Schema that is not ours: the one of Python.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::tools::lacks;

/// Checks the schema itself, then says of each line on stdin whether it fits: `1` or `0`.
const SCRIPT: &str = r#"
import json, sys
from jsonschema import Draft7Validator
lines = sys.stdin.buffer.read().decode().rstrip("\n").split("\n")
schema = json.loads(lines[0])
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
for line in lines[1:]:
    print("1" if validator.is_valid(json.loads(line)) else "0")
"#;

/// Whether it is there. Says so if not, and fails in CI.
#[track_caller]
pub fn is_missing() -> bool {
    let mut python = Command::new("python3");
    python
        .args(["-c", "import jsonschema"])
        .stderr(Stdio::null());
    let is_there = python.status().is_ok_and(|status| status.success());
    if !is_there {
        lacks("needs Python with the package jsonschema (python3-jsonschema)");
    }
    !is_there
}

/// Says of each text, which is JSON on one line, whether the schema accepts it.
pub fn accepts(schema: &str, texts: &[String]) -> Vec<bool> {
    let schema: serde_json::Value = serde_json::from_str(schema).expect("the schema is JSON");
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]);
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("Python can be run");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut input = format!("{schema}\n");
    for text in texts {
        assert!(!text.contains('\n'), "{text}");
        input.extend([text, "\n"]);
    }
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it ends").expect("all is read");
    assert!(output.status.success(), "the schema is not valid");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: Vec<bool> = said.lines().map(|line| line == "1").collect();
    assert_eq!(said.len(), texts.len());
    said
}
