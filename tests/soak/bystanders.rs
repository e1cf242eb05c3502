//! Strangers, whom nothing of the supervisor's may ever touch: of the same user, with numbers
//! between those of its programs, since new ones come while it runs.
//!
//! Every second one would die of a signal; the others write down each that reaches them.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::common::{Scene, scene, tools};
use crate::soak::ledger::Ledger;

/// As many live at a time.
const COUNT: usize = 24;

const SIGNALS: &str = "HUP INT QUIT USR1 USR2 TERM CONT 40";

pub struct Bystanders {
    living: Vec<Stranger>,
    ledger: Ledger,
    pub met: usize,
    pub dead: usize,
}

struct Stranger {
    child: Child,
    /// Where it writes down what reaches it.
    records: Option<std::path::PathBuf>,
}

impl Drop for Stranger {
    /// However the soak ends, nobody stays.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bystanders {
    pub fn new(scene: &Scene, ledger: &Ledger) -> Self {
        let mut bystanders = Self {
            living: Vec::new(),
            ledger: ledger.clone(),
            met: 0,
            dead: 0,
        };
        (0..COUNT).for_each(|_| bystanders.add(scene));
        bystanders
    }

    /// One goes, by our own hand, and another comes.
    pub fn renew(&mut self, scene: &Scene) {
        let oldest = self.living.remove(0);
        self.part(oldest);
        self.add(scene);
    }

    fn add(&mut self, scene: &Scene) {
        let number = self.met;
        self.met += 1;
        let file = scene.path(format!("stranger.{number}"));
        let records = number.is_multiple_of(2).then_some(file);
        let script = match &records {
            Some(file) => format!("record {} {SIGNALS}", file.display()),
            None => "hold".to_owned(),
        };
        let mut command = Command::new(tools::probe_path());
        command.arg(script).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if !number.is_multiple_of(3) {
            command.process_group(0);
        }
        if number.is_multiple_of(4) {
            // What makes an orphan a program's makes no program of a stranger.
            command.env("PROCSCHED_PROGRAM", "steady0");
            command.env("PROCSCHED_CHAIN", "steady0:0123456789abcdef");
        }
        let child = scene::spawn(&mut command).expect("a stranger can be started");
        self.living.push(Stranger { child, records });
    }

    /// Ends one, and looks whether anybody else has been at it.
    fn part(&mut self, mut stranger: Stranger) {
        let pid = stranger.child.id();
        let ended = stranger.child.try_wait().expect("our child");
        if let Some(status) = ended {
            self.dead += 1;
            self.ledger
                .complain(format!("stranger {pid} died: {status}"));
        }
        let _ = stranger.child.kill();
        let _ = stranger.child.wait();
        let Some(file) = stranger.records.take() else {
            return;
        };
        let said = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        // One that had no time to begin has written nothing.
        if said.lines().any(|line| line != "ready") {
            self.dead += 1;
            self.ledger
                .complain(format!("stranger {pid} got signals: {said:?}"));
        }
    }

    /// The end: says how many there were, and how many were hurt.
    pub fn end(mut self) -> (usize, usize) {
        while let Some(stranger) = self.living.pop() {
            self.part(stranger);
        }
        (self.met, self.dead)
    }
}
