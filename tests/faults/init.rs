//! `procsched-min init` with a command that leaves orphans behind: one that ends at once, and one
//! that stays and ignores SIGTERM. It has a member in its group, waits for SIGUSR1, and ends as it
//! likes on SIGTERM.

use std::time::{Duration, Instant};

use super::fault::{Fault, Kind};
use super::judge::{Pace, Verdict, is_met, more_than, rests};
use super::play::{self, END_MAX, Manner, PATIENCE, REMAINS_MAX, Record, SHORT_PATIENCE, wait};
use crate::common::init::{init_of, probe_text};
use crate::common::{Scene, Supervisor, process};

const SCRIPT: &str = "escape { exit 3 } ; escape { ignore TERM ; pid orphan ; hold } ; \
    fork { ignore USR1 ; trap TERM ; pid member ; await TERM ; exit 0 } ; wait-file orphan ; \
    wait-file member ; pid command ; trap USR1 ; trap TERM ; touch up ; await USR1 ; touch told ; \
    await TERM ; exit 7";

/// Who may be left, each with its number in a file of this name.
const KIN: [&str; 3] = ["orphan", "member", "command"];

/// How the command ends when it is asked to.
const CODE: i32 = 7;

/// How it ends itself when the command's code is none.
const FAILED: i32 = 125;

/// It has no program to start again, and looks at its own children alone.
const PACE: Pace = Pace {
    once: 600.0,
    per_second: 3000.0,
};

/// How long it has for a SIGTERM that it may not hear, or not pass on: longer than it looks on at
/// who does not die.
const HEARING_TIME: Duration = Duration::from_secs(10);

/// Plays it under strace.
pub fn play(manner: &Manner<'_>) -> Record {
    let scene = Scene::new();
    let trace = scene.path("trace");
    let trace = trace.to_str().expect("UTF-8");
    let mut wrapper = vec!["strace", "-D", "-qq", "-s", "0", "-o", trace];
    let injected = manner.fault.map(Fault::arguments).unwrap_or_default();
    wrapper.extend(manner.arguments);
    wrapper.extend(injected.iter().map(String::as_str));
    let mut command = init_of(&scene, &wrapper, &[], &[probe_text(), SCRIPT]);
    command.env_remove("LD_LIBRARY_PATH");
    let began = Instant::now();
    let mut supervisor = scene.launch(command);
    supervisor.spare_all();
    let mut record = Record::default();
    run(&scene, &mut supervisor, &mut record, manner);
    let asked = Instant::now();
    stop(&scene, &mut supervisor, &mut record, manner.fault);
    record.stop = asked.elapsed();
    record.lasted = began.elapsed();
    let is_alive = |name: &&&str| pid(&scene, name).is_some_and(process::alive);
    wait(REMAINS_MAX, || !KIN.iter().any(|name| is_alive(&name)));
    let alive = KIN.iter().filter(is_alive);
    record.relics = alive.map(|name| (*name).to_owned()).collect();
    play::close(&scene, &supervisor, &mut record);
    record
}

fn pid(scene: &Scene, name: &str) -> Option<i32> {
    scene.read(name).trim().parse().ok()
}

fn run(scene: &Scene, supervisor: &mut Supervisor, record: &mut Record, manner: &Manner<'_>) {
    let patience = if manner.hurry {
        SHORT_PATIENCE
    } else {
        PATIENCE
    };
    let is_up = || scene.path("up").exists();
    wait(patience, || !supervisor.is_running() || is_up());
    record.ended_early = !supervisor.is_running();
    if !is_up() {
        record.not_up.push("the command".to_owned());
    }
    if record.ended_early {
        return;
    }
    let init = supervisor.pid();
    wait(patience, || {
        record.zombies = process::zombies(init);
        record.zombies.is_empty()
    });
    wait(SHORT_PATIENCE, || {
        record.descriptors = play::descriptors(scene, supervisor);
        let more = more_than(&record.descriptors, manner.descriptors);
        manner.descriptors.is_empty() || more.is_empty()
    });
    supervisor.signal(libc::SIGUSR1);
    record.has_told_state = wait(patience, || scene.path("told").exists());
    record.ticks = play::ticks(supervisor);
}

/// Asks it to end. Where it may not hear that, or its word may not reach the command: once more,
/// and then the command itself.
fn stop(scene: &Scene, init: &mut Supervisor, record: &mut Record, fault: Option<&Fault>) {
    let may_be_deaf = fault.is_some_and(|fault| is_unheard(fault) || is_unsaid(fault));
    let patience = if may_be_deaf { HEARING_TIME } else { END_MAX };
    // The command waits for the first before it is ready for the second.
    if is_unsaid_once(fault) && !record.has_told_state && init.is_running() {
        init.signal(libc::SIGUSR1);
    }
    let asks = [(true, patience), (true, patience), (false, END_MAX)];
    for (is_by_init, patience) in asks.into_iter().take(if may_be_deaf { 3 } else { 1 }) {
        if !init.is_running() {
            break;
        }
        record.asked += 1;
        match (is_by_init, pid(scene, "command")) {
            (false, Some(command)) => {
                // It may never have got the other one, for which it waits first.
                process::signal(command, libc::SIGUSR1);
                process::signal(command, libc::SIGTERM);
            }
            _ => init.signal(libc::SIGTERM),
        }
        wait(patience, || !init.is_running());
    }
    play::finish(init, record);
}

/// Whether it may not hear a signal.
fn is_unheard(fault: &Fault) -> bool {
    fault.call == "rt_sigtimedwait" && fault.for_ever
}

/// Whether it may not be able to send one.
fn is_unsaid(fault: &Fault) -> bool {
    fault.call == "kill"
}

/// Whether strace has kept the list of its children from it, or said that there are none.
fn is_lie(fault: &Fault) -> bool {
    fault.is_lie() || fault.kind == Kind::Error("ECHILD".to_owned())
}

fn is_unsaid_once(fault: Option<&Fault>) -> bool {
    fault.is_some_and(|fault| is_unsaid(fault) && !fault.for_ever)
}

/// Whether it may not be able to reap, or to learn who has died.
fn is_unreaped(fault: &Fault) -> bool {
    fault.for_ever && matches!(&*fault.call, "rt_sigtimedwait" | "wait4" | "waitid")
}

/// Judges a play by an undisturbed one.
pub fn judge(fault: Option<&Fault>, record: &Record, usual: &Record) -> Verdict {
    let mut defects = Vec::new();
    survives(fault, record, &mut defects);
    obeys(fault, record, &mut defects);
    rests(record, usual, &PACE, &mut defects);
    tidies(fault, record, usual, &mut defects);
    if !defects.is_empty() {
        return Verdict::Failed(defects);
    }
    if fault.is_some_and(|fault| !is_met(fault, record)) {
        return Verdict::NotMet;
    }
    if record.ended_early && !record.not_up.is_empty() && record.code == Some(FAILED) {
        return Verdict::Refused;
    }
    let mut losses = Vec::new();
    if asked_by(fault).is_none() {
        losses.extend(record.not_up.clone());
        // Who hears nothing has nothing to pass on.
        if !record.has_told_state && !fault.is_some_and(is_unheard) {
            losses.push("SIGUSR1 was not forwarded".to_owned());
        }
    }
    if record.code == Some(FAILED) {
        losses.push("the command's code".to_owned());
    }
    if !fault.is_some_and(is_lie) {
        let alive = record.relics.iter();
        losses.extend(alive.map(|name| format!("the {name} lives on")));
    }
    let is_mute = fault.is_some_and(|fault| fault.call == "write" && fault.for_ever);
    match (losses.is_empty(), record.messages.is_empty()) {
        (true, true) => Verdict::Fine,
        (false, true) if !is_mute => {
            let told = |loss| format!("lost in silence: {loss}");
            Verdict::Failed(losses.into_iter().map(told).collect())
        }
        _ => Verdict::Said(losses),
    }
}

/// The signal of the fault that is passed on to the command, whatever the command knows of it by
/// then.
fn asked_by(fault: Option<&Fault>) -> Option<i32> {
    match fault.map(|fault| &fault.kind) {
        Some(Kind::Signal(name)) => match &**name {
            "HUP" => Some(libc::SIGHUP),
            "TERM" => Some(libc::SIGTERM),
            "USR1" => Some(libc::SIGUSR1),
            _ => None,
        },
        _ => None,
    }
}

/// No crash, and an end that fits: the command's own; ours, with a word; that of a signal which
/// came before or to the command.
fn survives(fault: Option<&Fault>, record: &Record, defects: &mut Vec<String>) {
    let has_said = !record.messages.is_empty();
    match record.code {
        Some(CODE) => {}
        Some(code) if asked_by(fault).is_some_and(|signal| code == 128 + signal) => {}
        Some(FAILED) if has_said => {}
        None => defects.push("hangs: SIGTERM does not end it".to_owned()),
        Some(code) => defects.push(format!("ended with {code}")),
    }
    let strange = |line: &&String| line.contains("panicked") || line.starts_with("strace: ");
    let strange = record.messages.iter().find(strange);
    defects.extend(strange.map(|line| format!("a strange word: {line}")));
}

/// One SIGTERM ends it, and whoever came home is reaped.
fn obeys(fault: Option<&Fault>, record: &Record, defects: &mut Vec<String>) {
    let asked_max = match fault {
        Some(fault) if is_unheard(fault) || (is_unsaid(fault) && fault.for_ever) => 3,
        _ if is_unsaid_once(fault) => 2,
        _ => 1,
    };
    if record.asked > asked_max {
        defects.push(format!("had to be asked to end {} times", record.asked));
    }
    if !record.zombies.is_empty() && !fault.is_some_and(is_unreaped) {
        defects.push(format!("not reaped: {:?}", record.zombies));
    }
}

/// Nobody and no descriptor is left.
fn tidies(fault: Option<&Fault>, record: &Record, usual: &Record, defects: &mut Vec<String>) {
    let has_said = |word: &str| record.messages.iter().any(|line| line.contains(word));
    // Who could not be killed may live, and who is there where strace says that nobody is. So may
    // who came home, where nobody can tell who did.
    let has_named = has_said("failed to send SIGKILL to") || has_said(" abandoned ");
    let is_denied =
        fault.is_some_and(|fault| fault.for_ever && fault.call == "waitid" && is_lie(fault));
    let is_powerless =
        is_denied || fault.is_some_and(|fault| is_unsaid(fault) && (fault.for_ever || has_named));
    let is_blind = fault.is_some_and(is_lie)
        || has_said("failed to list child processes")
        || has_said("what leaves the command's group is neither reaped nor stopped");
    let is_excused = |name: &&String| is_powerless || (is_blind && **name == "orphan");
    let left: Vec<&String> = record
        .relics
        .iter()
        .filter(|name| !is_excused(name))
        .collect();
    if !left.is_empty() && record.code.is_some() {
        defects.push(format!("left running: {left:?}"));
    }
    if record.left.len() > record.relics.len() {
        defects.push(format!("left running: {:?}", record.left));
    }
    let mut more = more_than(&record.descriptors, &usual.descriptors);
    // Only in a lie of strace's a descriptor stays open that was closed. What was inherited it
    // closes for whoever waits for that, where it finds out what there is. And to say something
    // takes a description of stderr.
    let is_at = |calls: &[&str]| fault.is_some_and(|fault| calls.contains(&&*fault.call));
    let is_close = is_at(&["close"]);
    let is_seek = is_at(&[
        "fcntl",
        "fstat",
        "getdents64",
        "newfstatat",
        "open",
        "openat",
    ]);
    more.retain(|kind| match &**kind {
        _ if is_close => false,
        "pipe" => !is_seek && record.messages.is_empty(),
        "/dev/null" => !is_seek,
        _ => true,
    });
    if !more.is_empty() {
        defects.push(format!("descriptors left open: {more:?}"));
    }
}
