//! The second scenario: `procsched-min init` with a command that leaves orphans behind, of which
//! one stays, has a member in its group, waits for SIGUSR1 and ends as it likes on SIGTERM.

use std::time::Instant;

use super::fault::{Fault, Kind};
use super::judge::{Verdict, is_met, more_than, rests, tidies};
use super::play::{self, Manner, PATIENCE, Record, SHORT_PATIENCE, wait};
use crate::common::init::{init_of, probe_text};
use crate::common::{Scene, Supervisor};

const SCRIPT: &str = "escape { exit 3 } ; escape { ignore TERM ; touch stays ; hold } ; \
    fork { ignore USR1 ; trap TERM ; touch member ; await TERM ; exit 0 } ; wait-file stays ; \
    wait-file member ; trap USR1 ; trap TERM ; touch up ; await USR1 ; touch told ; \
    await TERM ; exit 7";

/// How the command ends when it is asked to.
const CODE: i32 = 7;

/// Plays it under strace.
pub fn play(manner: &Manner<'_>) -> Record {
    let scene = Scene::new();
    let trace = scene.path("trace");
    let trace = trace.to_str().expect("UTF-8");
    let mut wrapper = vec!["strace", "-D", "-qq", "-s", "0", "-o", trace];
    wrapper.extend(manner.arguments.iter().map(String::as_str));
    let mut command = init_of(&scene, &wrapper, &[], &[probe_text(), SCRIPT]);
    command.env_remove("LD_LIBRARY_PATH");
    let began = Instant::now();
    let mut supervisor = scene.launch(command);
    supervisor.spare_all();
    let mut record = Record::default();
    run(&scene, &mut supervisor, &mut record, manner);
    play::stop(&mut supervisor, &mut record);
    record.lasted = began.elapsed();
    play::close(&scene, &supervisor, &mut record);
    record
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
    wait(SHORT_PATIENCE, || {
        record.descriptors = play::descriptors(scene, supervisor);
        let more = more_than(&record.descriptors, manner.descriptors);
        manner.descriptors.is_empty() || more.is_empty()
    });
    supervisor.signal(libc::SIGUSR1);
    record.has_told_state = wait(patience, || scene.path("told").exists());
    record.ticks = play::ticks(supervisor);
}

/// Judges a play by an undisturbed one.
pub fn judge(fault: Option<&Fault>, record: &Record, usual: &Record) -> Verdict {
    let mut defects = Vec::new();
    let words: Vec<&String> = record.messages.iter().collect();
    survives(fault, record, &mut defects);
    rests(record, usual, &mut defects);
    tidies(fault, record, usual, &mut defects);
    // Who could not be killed may live, and to say so takes a description of stderr.
    let is_powerless = fault.is_some_and(|fault| fault.call == "kill" && fault.for_ever);
    let is_excused = |defect: &String| {
        (is_powerless && defect.starts_with("left running"))
            || (!words.is_empty() && *defect == "descriptors left open: [\"pipe\"]")
    };
    defects.retain(|defect| !is_excused(defect));
    if !defects.is_empty() {
        return Verdict::Failed(defects);
    }
    if fault.is_some_and(|fault| !is_met(fault, record)) {
        return Verdict::NotMet;
    }
    if record.ended_early && !record.not_up.is_empty() && record.code != Some(CODE) {
        return Verdict::Refused;
    }
    let is_asked_by_fault = fault.is_some_and(|fault| matches!(fault.kind, Kind::Signal(_)));
    let mut losses = record.not_up.clone();
    if !record.has_told_state && !is_asked_by_fault {
        losses.push("SIGUSR1 was not forwarded".to_owned());
    }
    if record.code != Some(CODE) && !is_asked_by_fault {
        losses.push(format!("ended with {:?}", record.code));
    }
    let is_mute = fault.is_some_and(|fault| fault.call == "write" && fault.for_ever);
    match (losses.is_empty(), words.is_empty()) {
        (true, true) => Verdict::Fine,
        (false, true) if !is_mute => Verdict::Failed(losses),
        _ => Verdict::Said(losses),
    }
}

/// No crash, and an end that fits: the command's own; ours, with a word; that of a signal which
/// came before or to the command.
fn survives(fault: Option<&Fault>, record: &Record, defects: &mut Vec<String>) {
    let has_said = !record.messages.is_empty();
    let signal = match fault.map(|fault| &fault.kind) {
        Some(Kind::Signal(name)) => match &**name {
            "HUP" => libc::SIGHUP,
            "TERM" => libc::SIGTERM,
            "USR1" => libc::SIGUSR1,
            _ => 0,
        },
        _ => 0,
    };
    // What is not delivered cannot be obeyed, and only the command ends init; and who never hears
    // a signal has nothing to deliver.
    let may_stay = fault.is_some_and(|fault| fault.call == "kill");
    let is_deaf = fault.is_some_and(|fault| fault.call == "rt_sigtimedwait" && fault.for_ever);
    match record.code {
        Some(CODE) => {}
        Some(code) if signal != 0 && code == 128 + signal => {}
        Some(125..=127) if has_said => {}
        None if may_stay || is_deaf => {}
        None => defects.push("hangs: SIGTERM does not end it".to_owned()),
        Some(code) => defects.push(format!("ended with {code}")),
    }
    let strange = |line: &&String| line.contains("panicked") || line.starts_with("strace: ");
    let strange = record.messages.iter().find(strange);
    defects.extend(strange.map(|line| format!("a strange word: {line}")));
}
