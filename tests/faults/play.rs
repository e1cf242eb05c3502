//! The scenario, from its start to its end, under strace; and what is left of it to judge.
//!
//! Every program says who it is on its stderr, and only then, in a file, that it has said so:
//! what a file tells must be in the log, or be counted as lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fault::Fault;
use super::judge::more_than;
use super::losses::{NO_STDERR, NO_STDOUT};
use super::subject::Subject;
use super::{asked, host, memory};
use crate::common::{Report, Scene, Supervisor, probe};
use crate::process;

/// The programs that say something, each with its number of runs where nothing fails.
pub const NAMES: [&str; 9] = [
    "steady", "crashy", "missing", "leaver", ESCAPER, "stubborn", ROLLER, EMPTIER, SPEAKER,
];

/// Who needs a supervisor that is a subreaper.
const ESCAPER: &str = "escaper";

/// Whose log is rotated: it is renamed, or emptied.
pub const ROLLER: &str = "roller";
pub const EMPTIER: &str = "emptier";

/// What they write, in bytes: two files, and more.
pub const ROLLED: usize = 150_016;
const EMPTIED: usize = 100_032;

/// How many rotated logs are kept: more than there are.
const KEPT: u32 = 5;

/// Whose output goes where the supervisor's goes.
pub const SPEAKER: &str = "speaker";

/// Reports before the stop where nothing fails: three crashes, one who cannot be executed, one
/// who leaves a member behind, and one who leaves an escapee.
const REPORTS_BEFORE_STOP: usize = 6;

/// How long a condition may take that only a broken run does not meet.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The same where something fails for ever, and it is likely that it will not be met.
pub const SHORT_PATIENCE: Duration = Duration::from_millis(1500);

/// The same for what follows when it was not met.
pub const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// How long the end may take from SIGTERM on. Who cannot be killed is waited for 5 s, and the
/// command for reports as long; all of it is slower under strace, and among others.
pub const END_MAX: Duration = Duration::from_secs(60);

/// How long what has ended may take to be gone from proc(5).
pub const REMAINS_MAX: Duration = Duration::from_secs(3);

/// How often is looked for it.
const REMAINS_INTERVAL: Duration = Duration::from_millis(100);

const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What is left to be judged.
#[derive(Default)]
pub struct Record {
    /// `None` if it did not end: then it was killed.
    pub code: Option<i32>,
    /// It had ended before it was asked to.
    pub ended_early: bool,
    /// What should be up and was not when everything should have been.
    pub not_up: Vec<String>,
    /// Who was left by a first run, and lived on beside the second; of `init`, who lived on when
    /// it had ended.
    pub relics: Vec<String>,
    /// Its descriptors when everything was up.
    pub descriptors: Vec<String>,
    pub has_told_state: bool,
    /// How often it had to be asked to end; of `init` alone.
    pub asked: u32,
    /// Children that were dead and not reaped while it lived; of `init` alone.
    pub zombies: Vec<i32>,
    pub messages: Vec<String>,
    pub reports: Vec<Report>,
    /// Lines of stdout that are no reports.
    pub strangers: Vec<String>,
    /// Lines of stdout that are a program's.
    pub inherited: Vec<String>,
    /// The program whose log is rotated has written all that it has to.
    pub has_rolled: bool,
    /// By program: who has said who it is, by its number.
    pub said: BTreeMap<&'static str, Vec<String>>,
    pub logs: BTreeMap<&'static str, String>,
    /// What the command for reports was given.
    pub handled: Vec<String>,
    /// Processes that were left when it had ended.
    pub left: Vec<String>,
    pub lasted: Duration,
    /// How long the end took from the first SIGTERM on.
    pub stop: Duration,
    /// CPU time of the supervisor until the stop, in ticks of 10 ms.
    pub ticks: u64,
    /// Whether its control socket answered; `None` if there was none to ask.
    pub answered: Option<bool>,
    /// Files of the control socket that were left when it had ended.
    pub left_files: Vec<String>,
    pub trace: String,
    /// The scene's directory, as it stands in the trace.
    pub directory: String,
}

/// What a program has that its child sets: ids that it has already, and the like.
fn attributes(subject: Subject) -> Value {
    if subject != Subject::Run {
        return json!({});
    }
    // SAFETY: no arguments, cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    json!({
        "user": uid, "group": gid, "groups": [], "nice": 1, "oom_score_adj": 1000, "umask": "022",
        "limits": {"core": 0, "nofile": 64}, "no_new_privileges": true, "stdin": "procsched.json",
    })
}

fn stage(subject: Subject) -> Scene {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("slurp handled"));
    let backoff = json!({"initial": "20ms", "max": "80ms"});
    scene.set(
        "defaults",
        json!({"backoff": backoff, "stop_timeout": "1s"}),
    );
    let told = |name: &str, rest: &str| {
        format!("say {name}-%p\\n ; append {name}.said %p\\n ; {rest} ; touch {name}.up ; hold")
    };
    let steady = "touch steady.up ; wait-file go ; say again-%p\\n ; append again.said %p\\n";
    scene.add("steady", &told("steady", steady));
    let crashes = "once c1 { exit 3 } ; once c2 { exit 3 } ; once c3 { exit 3 }";
    let mut script = told("crashy", crashes);
    if subject == Subject::Memory {
        script = format!("spew {} lines ; {script}", memory::WORDS);
    }
    scene.add_with("crashy", &script, attributes(subject));
    scene.add_raw(
        "missing",
        json!({"command": ["./missing"], "restart": "never"}),
    );
    let leaves = "once l1 { fork { ignore TERM ; pid member ; hold } ; wait-file member ; exit 4 }";
    // At the stop a member ignores SIGTERM: the group outlives its leader.
    let stays = "fork { ignore TERM ; touch deaf ; hold } ; wait-file deaf";
    let script = told("leaver", &format!("{leaves} ; {stays}"));
    scene.add_with("leaver", &script, json!({"stop_timeout": "200ms"}));
    let escapes =
        "once e1 { escape { ignore TERM ; pid escapee ; hold } ; wait-file escapee ; exit 5 }";
    if is_played(ESCAPER, subject) {
        scene.add(ESCAPER, &told(ESCAPER, escapes));
    }
    // What is said after all that is in the report, and in the last file.
    let rolls = format!("spew {ROLLED} lines ; {}", told(ROLLER, "touch roller.up"));
    let keys = json!({"log": {"max_bytes": "64K", "keep": KEPT, "marks": true}});
    let empties = format!(
        "spew {EMPTIED} lines ; {}",
        told(EMPTIER, "touch emptier.up")
    );
    let emptied = json!({"log": {"max_bytes": "64K", "keep": 0, "timestamps": true}});
    let spoken = told(SPEAKER, "say spoken-%p\\n 1 ; append spoken.said %p\\n");
    let inherits = json!({"stdout": "inherit", "stderr": "inherit"});
    for (name, script, keys) in [
        (ROLLER, &rolls, keys),
        (EMPTIER, &empties, emptied),
        (SPEAKER, &spoken, inherits),
    ] {
        if is_played(name, subject) {
            scene.add_with(name, script, keys);
        }
    }
    let stubborn = told("stubborn", "touch stubborn.up");
    let script = format!("ignore TERM ; {stubborn}");
    scene.add_with("stubborn", &script, json!({"stop_timeout": "200ms"}));
    scene
}

/// Who takes part: a host prints what it inherits by itself, and where there is no memory it is asked
/// for by few.
fn is_played(name: &str, subject: Subject) -> bool {
    match name {
        ESCAPER => subject != Subject::Host,
        SPEAKER => subject == Subject::Run,
        ROLLER | EMPTIER => subject != Subject::Memory,
        _ => true,
    }
}

/// The log of a program, with what was rotated before it.
fn whole_log(scene: &Scene, name: &str) -> String {
    let path = scene.log_path(name);
    let rotated = (1..=KEPT).rev();
    let rotated =
        rotated.filter_map(|number| fs::read(format!("{}.{number}", path.display())).ok());
    let mut log: Vec<u8> = rotated.flatten().collect();
    log.extend(scene.log(name));
    String::from_utf8_lossy(&log).into_owned()
}

/// How a play is played.
#[derive(Default)]
pub struct Manner<'a> {
    pub subject: Subject,
    pub fault: Option<&'a Fault>,
    /// More words for strace.
    pub arguments: &'a [&'a str],
    /// It is likely that the programs will not all be up.
    pub hurry: bool,
    /// The descriptors that are open as a rule when everything is up.
    pub descriptors: &'a [String],
}

/// Plays it under strace.
pub fn play(manner: &Manner<'_>) -> Record {
    let scene = stage(manner.subject);
    let trace = scene.path("trace");
    let mut words: Vec<&str> = vec!["strace", "-D", "-qq", "-s", "0", "-o"];
    words.push(trace.to_str().expect("UTF-8"));
    let injected = manner.fault.map(Fault::arguments).unwrap_or_default();
    words.extend(manner.arguments);
    words.extend(injected.iter().map(String::as_str));
    let began = Instant::now();
    let mut command = match manner.subject {
        Subject::Host => host::command(&scene, &words),
        _ => scene.wrapped(&words),
    };
    // cargo sets it, and each of its directories is a call more that the loader makes.
    command.env_remove("LD_LIBRARY_PATH");
    if manner.subject == Subject::Memory {
        command.env(memory::HEAP.0, memory::HEAP.1);
    }
    let mut supervisor = scene.launch(command);
    // What is left is for the judge.
    supervisor.spare_all();
    let mut record = Record::default();
    run(&scene, &mut supervisor, &mut record, manner);
    stop(&mut supervisor, &mut record);
    record.lasted = began.elapsed();
    close(&scene, &supervisor, &mut record);
    for name in NAMES.into_iter().chain(["again", "spoken"]) {
        let said = scene.lines(&format!("{name}.said"));
        record.said.insert(name, said);
        record.logs.insert(name, whole_log(&scene, name));
    }
    let lines = record.messages.iter().chain(&record.inherited);
    let spoken = lines.filter_map(|line| line.strip_prefix(SPEAKER)?.split_once("| "));
    let spoken = spoken.map(|(_, text)| format!("{text}\n")).collect();
    record.logs.insert(SPEAKER, spoken);
    record.has_rolled = scene.path(format!("{ROLLER}.up")).exists();
    record.handled = scene.lines("handled");
    record
}

/// What is left when it has ended, and what it has said.
pub fn close(scene: &Scene, supervisor: &Supervisor, record: &mut Record) {
    record.left = remains(supervisor);
    wait(REMAINS_MAX, || supervisor.has_said_all());
    record.messages = supervisor.messages();
    record.reports = supervisor.reports();
    let is_inherited = |line: &String| line.starts_with(SPEAKER);
    (record.inherited, record.strangers) =
        supervisor.strangers().into_iter().partition(is_inherited);
    record.trace = scene.read("trace");
    record.directory = canonical(scene.directory());
    record.left_files = asked::remove_left_files(&record.trace);
}

/// Until everything is up, and a little further.
fn run(scene: &Scene, supervisor: &mut Supervisor, record: &mut Record, manner: &Manner<'_>) {
    let patience = if manner.hurry {
        SHORT_PATIENCE
    } else {
        PATIENCE
    };
    wait(patience, || {
        let missing = missing(scene, supervisor, manner.subject);
        // A report that was lost with stdout does not come later.
        let is_lost = missing == ["missing"] && !supervisor.messages_with(&[NO_STDOUT]).is_empty();
        !supervisor.is_running() || missing.is_empty() || is_lost
    });
    if !supervisor.is_running() {
        record.ended_early = true;
        return;
    }
    record.not_up = missing(scene, supervisor, manner.subject);
    let patience = match (&*record.not_up, manner.hurry) {
        ([], false) => PATIENCE,
        ([], true) => SHORT_PATIENCE,
        _ => LAST_PATIENCE,
    };
    wait(patience.min(SHORT_PATIENCE), || {
        has_reported(scene, supervisor, manner.subject)
    });
    record.relics = relics(scene);
    record.answered = asked::has_answered(scene, supervisor, manner);
    if !supervisor.is_running() {
        record.ended_early = true;
        return;
    }
    supervisor.signal(libc::SIGUSR1);
    let has_told = || {
        let state = supervisor.messages_with(&["steady", "restarts="]);
        !state.is_empty()
    };
    wait(patience, || {
        let strangers = supervisor.strangers();
        has_told() || strangers.iter().any(|line| line.contains(NO_STDERR))
    });
    record.has_told_state = has_told();
    // By now it has done with the last start, too. What strace has not let it close stays open.
    let is_close = manner.fault.is_some_and(|fault| fault.call == "close");
    wait(if is_close { LAST_PATIENCE } else { patience }, || {
        record.descriptors = descriptors(scene, supervisor);
        let more = more_than(&record.descriptors, manner.descriptors);
        manner.descriptors.is_empty() || more.is_empty()
    });
    scene.write("go", "");
    wait(patience, || {
        !scene.lines("again.said").is_empty() && has_said_again(scene)
    });
    record.ticks = ticks(supervisor);
}

/// CPU time so far.
pub fn ticks(supervisor: &Supervisor) -> u64 {
    process::stat(supervisor.pid()).map_or(0, |stat| stat.ticks)
}

fn has_said_again(scene: &Scene) -> bool {
    String::from_utf8_lossy(&scene.log("steady")).contains("again-")
}

fn missing(scene: &Scene, supervisor: &Supervisor, subject: Subject) -> Vec<String> {
    let is_there = |name: &str| is_played(name, subject);
    let is_up = |name: &str| name == "missing" || scene.path(format!("{name}.up")).exists();
    let is_missing = |name: &&&str| is_there(name) && !is_up(name);
    let mut missing: Vec<String> = NAMES
        .iter()
        .filter(is_missing)
        .map(|name| (*name).to_owned())
        .collect();
    if supervisor.reports_of("missing").is_empty() {
        missing.push("missing".to_owned());
    }
    missing
}

fn relics(scene: &Scene) -> Vec<String> {
    let lives_on = |relic: &str, up: &str| {
        let pid = scene.read(relic).trim().parse();
        scene.path(up).exists() && pid.is_ok_and(process::alive)
    };
    let pairs = [("member", "leaver.up"), ("escapee", "escaper.up")];
    let relics = pairs.iter().filter(|(relic, up)| lives_on(relic, up));
    relics.map(|(relic, _)| (*relic).to_owned()).collect()
}

fn has_reported(scene: &Scene, supervisor: &Supervisor, subject: Subject) -> bool {
    let wanted = REPORTS_BEFORE_STOP - usize::from(subject == Subject::Host);
    scene.lines("handled").len() >= wanted && supervisor.report_count() >= wanted
}

/// Kinds of what is open while it does nothing.
pub fn descriptors(scene: &Scene, supervisor: &Supervisor) -> Vec<String> {
    let directory = scene.directory().to_string_lossy().into_owned();
    let kinds = process::quiet_descriptor_kinds(supervisor.pid()).into_iter();
    let kind = |kind: String| match kind.ends_with(".sock.lock") {
        // The default socket has another name in each scene.
        true => "the lock of the control socket".to_owned(),
        false => kind.replace(&directory, "DIR"),
    };
    kinds.map(kind).collect()
}

/// Asks it to end, and kills it if it does not.
fn stop(supervisor: &mut Supervisor, record: &mut Record) {
    let began = Instant::now();
    if supervisor.is_running() {
        supervisor.signal(libc::SIGTERM);
        wait(END_MAX, || !supervisor.is_running());
    }
    record.stop = began.elapsed();
    finish(supervisor, record);
}

/// Kills it if it still runs.
pub fn finish(supervisor: &mut Supervisor, record: &mut Record) {
    record.code = supervisor.code();
    if supervisor.is_running() {
        supervisor.signal(libc::SIGKILL);
        wait(END_MAX, || !supervisor.is_running());
    }
}

/// What still runs of the scene when the supervisor has ended, the tracer left out.
fn remains(supervisor: &Supervisor) -> Vec<String> {
    let words = |pid: i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ")
    };
    let left = || {
        let mut left: Vec<String> = supervisor.descendants().into_iter().map(words).collect();
        left.retain(|words| !words.starts_with("strace "));
        left
    };
    wait(REMAINS_MAX, || {
        let is_over = left().is_empty();
        if !is_over {
            // It is a look at everything that the machine runs.
            std::thread::sleep(REMAINS_INTERVAL);
        }
        is_over
    });
    left()
}

fn canonical(path: &Path) -> String {
    let path = path.canonicalize();
    path.expect("the scene is there")
        .to_string_lossy()
        .into_owned()
}

/// Waits for a condition, and says whether it was met.
pub fn wait(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
