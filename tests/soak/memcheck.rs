//! A supervisor under valgrind: every invalid access is an error, and so is a block that nobody
//! points to any more.
//!
//! The binary leaves the scheduler to the end of its process, which gives all back at once: so
//! it is asked for lost blocks while it runs. The library's host drops its scheduler, so that at
//! its end nothing may be lost, and nothing open but what it was given.

use std::path::PathBuf;
use std::process::Command;

use crate::common::Scene;
use crate::soak::arguments::Variant;

pub struct Memcheck {
    variant: Variant,
    scene: PathBuf,
}

impl Memcheck {
    pub fn new(scene: &Scene, variant: Variant) -> Option<Self> {
        let memcheck = Self {
            variant,
            scene: scene.directory().to_owned(),
        };
        variant.is_memcheck().then_some(memcheck)
    }

    /// What stands in front of the command.
    pub fn wrapper(&self) -> Vec<String> {
        let log = self.scene.join("memcheck.%p");
        let at_end = if self.variant.is_library() {
            "full"
        } else {
            "no"
        };
        vec![
            "valgrind".to_owned(),
            "--tool=memcheck".to_owned(),
            "--track-fds=yes".to_owned(),
            "--vgdb=yes".to_owned(),
            format!("--vgdb-prefix={}", self.scene.join("vgdb").display()),
            "--errors-for-leak-kinds=definite,indirect".to_owned(),
            format!("--leak-check={at_end}"),
            format!("--log-file={}", log.display()),
        ]
    }

    /// What is wrong while it runs.
    pub fn ask(&self, pid: i32) -> Vec<String> {
        let prefix = format!("--vgdb-prefix={}", self.scene.join("vgdb").display());
        let mut command = Command::new("vgdb");
        command.args([&prefix, &format!("--pid={pid}")]);
        command.args([
            "leak_check",
            "full",
            "kinds",
            "definite,indirect,possible",
            "any",
        ]);
        let answer = command.output().expect("vgdb is where valgrind is");
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let lost = ["definitely lost:", "indirectly lost:", "possibly lost:"];
        lost.iter()
            .filter_map(|kind| complaint(&text, kind))
            .collect()
    }

    /// What its log says of the whole of it.
    pub fn judge(&self, pid: i32) -> Vec<String> {
        let log = self.scene.join(format!("memcheck.{pid}"));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut wrong = Vec::new();
        if !text.contains("ERROR SUMMARY: 0 errors") {
            wrong.push(format!("memcheck found errors:\n{text}"));
        }
        let count = |what: &str| text.matches(what).count();
        let open = count("Open file descriptor") - count("<inherited from parent>");
        if self.variant.is_library() && (open > 0 || count("FILE DESCRIPTORS:") == 0) {
            wrong.push(format!("memcheck found open descriptors:\n{text}"));
        }
        wrong
    }
}

/// The line of this kind must be there and say that it is nothing. One block that is possibly
/// lost is the standard library's: its handle of the first thread, of which it keeps a pointer
/// into the middle.
fn complaint(text: &str, kind: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains(kind));
    let harmless = |line: &str| {
        let is_handle = kind == "possibly lost:" && line.ends_with(" 48 bytes in 1 blocks");
        is_handle || line.contains(&format!("{kind} 0 "))
    };
    let is_none = line.is_some_and(harmless);
    // Where nothing is lost at all it may say only that.
    let is_none = is_none || text.contains("no leaks are possible");
    (!is_none).then(|| format!("memcheck, while it runs: {}", line.unwrap_or(text)))
}
