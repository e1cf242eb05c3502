//! Many plays: which, several at a time, and the tables of how they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::fault::{Fault, Side};
use super::judge::Verdict;
use super::pinned::PINNED;
use super::play::Record;
use super::subject::{Catalogue, SIDES, disturbed};
use crate::common::second_run;

/// How many are chosen for a sample.
const SAMPLE: usize = 40;

/// Played at a time: they sleep more than they work.
const JOBS: usize = 6;

/// How often a play that failed is played again: a machine that is busy enough can make every
/// deadline pass. Only what fails twice has failed.
const TRIES: usize = 2;

/// All that can happen.
struct Programme {
    sites: usize,
    faults: Vec<Fault>,
}

fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").expect("stdout takes a line");
}

/// Lists what there is, of which one part is kept.
fn programme(parts: &[&str]) -> Result<Programme, String> {
    let mut programme = Programme {
        sites: 0,
        faults: Vec::new(),
    };
    for side in SIDES {
        if !Catalogue::is_asked(side, parts) {
            continue;
        }
        let catalogue = Catalogue::of(side);
        programme.sites += catalogue.sites;
        programme.faults.extend(catalogue.faults);
        if std::env::var_os("FAULTS_PURPOSES").is_some() {
            catalogue.purposes.iter().for_each(|purpose| say(purpose));
        }
    }
    programme.faults.retain(|fault| {
        let name = fault.to_string();
        parts.is_empty() || parts.iter().any(|part| name.contains(part))
    });
    if programme.faults.is_empty() {
        return Err(format!("no fault has one of {parts:?} in its name"));
    }
    Ok(programme)
}

/// Prints the names.
pub fn list(parts: &[&str]) -> Result<bool, String> {
    let programme = programme(parts)?;
    for fault in &programme.faults {
        say(&fault.to_string());
    }
    say(&format!(
        "{} faults at {} call sites",
        programme.faults.len(),
        programme.sites
    ));
    Ok(true)
}

/// Everything, or a part of it.
pub fn sweep(parts: &[&str], resume: bool) -> Result<bool, String> {
    let mut programme = programme(parts)?;
    let (all, journal) = (programme.faults.len(), Journal::open(resume));
    programme
        .faults
        .retain(|fault| !journal.passed.contains(&fault.to_string()));
    let left = programme.faults.len();
    say(&format!(
        "{left} of {all} faults at {} call sites",
        programme.sites
    ));
    Ok(perform(&programme, Some(&journal)))
}

/// What once failed, and a few that the commit chooses.
pub fn sample() -> bool {
    let mut programme = programme(&[]).expect("there are calls that can fail");
    let commit = commit();
    let mut chosen = std::mem::take(&mut programme.faults);
    let order = |fault: &Fault| {
        let mut hasher = DefaultHasher::new();
        (&commit, fault.to_string()).hash(&mut hasher);
        hasher.finish()
    };
    let count = chosen.len();
    chosen.sort_by_key(order);
    chosen.truncate(SAMPLE);
    let pinned = PINNED.iter().map(|name| name.parse().expect("a name"));
    let pinned: Vec<Fault> = pinned.collect();
    say(&format!(
        "{} of {count} faults, chosen by {commit}:",
        chosen.len()
    ));
    chosen.iter().for_each(|fault| say(&format!("  {fault}")));
    say(&format!("and {} that once found something", pinned.len()));
    chosen.retain(|fault| !pinned.contains(fault));
    programme.faults = pinned.into_iter().chain(chosen).collect();
    perform(&programme, None)
}

/// One or a few, told in full.
pub fn named(names: &[&str]) -> Result<bool, String> {
    let faults: Result<Vec<Fault>, String> = names.iter().map(|name| name.parse()).collect();
    let faults = match faults {
        Ok(faults) => faults,
        // A filter for the tests of other files, as in `cargo test museum`.
        Err(problem) if !names.iter().any(|name| name.contains(':')) => {
            say(&format!("no fault is played: {problem}"));
            return Ok(true);
        }
        Err(problem) => return Err(problem),
    };
    let mut is_well = true;
    for fault in faults {
        let (mut record, mut verdict) = disturbed(&fault, true);
        if matches!(verdict, Verdict::Failed(_)) {
            (record, verdict) = disturbed(&fault, false);
        }
        say(&format!("{fault}: {verdict:#?}"));
        say(&format!("code {:?} after {:?}", record.code, record.lasted));
        say(&record.messages.join("\n"));
        for report in &record.reports {
            say(&format!("{report:?}"));
        }
        if std::env::var_os("FAULTS_TRACE").is_some() {
            say(&record.trace);
        }
        is_well &= !matches!(verdict, Verdict::Failed(_));
    }
    Ok(is_well)
}

fn commit() -> String {
    if let Ok(given) = std::env::var("FAULTS_COMMIT") {
        return given;
    }
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = git.output().ok().filter(|output| output.status.success());
    let hash = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    hash.unwrap_or_else(|| "no commit".to_owned())
}

/// Plays them all, and tells how they ended. Whether none has failed.
fn perform(programme: &Programme, journal: Option<&Journal>) -> bool {
    let began = Instant::now();
    let jobs = std::env::var("FAULTS_JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok());
    let next = AtomicUsize::new(0);
    let ends = Mutex::new(Vec::new());
    // A play that panics is told with the others.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(JOBS) {
            scope.spawn(|| {
                while let Some(fault) = programme.faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = verdict(fault);
                    if let Some(journal) = journal {
                        journal.note(fault, &verdict);
                    }
                    if let Verdict::Failed(defects) = &verdict {
                        say(&format!("FAILED {fault}: {}", defects.join("; ")));
                        say(&format!("  cargo test --test faults -- {fault}"));
                    }
                    let mut ends = ends.lock().expect("no panic while it is locked");
                    ends.push((fault, verdict));
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let ends = ends.into_inner().expect("no panic while it was locked");
    summarise(&ends);
    let failed = ends
        .iter()
        .filter(|(_, end)| matches!(end, Verdict::Failed(_)))
        .count();
    let seconds = began.elapsed().as_secs();
    say(&format!(
        "{} plays in {seconds} s, {failed} failed",
        ends.len()
    ));
    failed == 0
}

fn verdict(fault: &Fault) -> Verdict {
    let mut verdict = Verdict::NotMet;
    for tried in 0..TRIES {
        let judged = AssertUnwindSafe(|| {
            let (record, verdict) = disturbed(fault, tried == 0);
            if let Verdict::Failed(defects) = &verdict {
                keep(fault, defects, &record);
            }
            verdict
        });
        verdict = catch_unwind(judged).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Verdict::Failed(vec![text.unwrap_or_else(|| "the play panicked".to_owned())])
        });
        if !matches!(verdict, Verdict::Failed(_) | Verdict::NotMet) {
            break;
        }
    }
    verdict
}

/// Keeps what there is to be known of a play that failed, as the next one may not.
fn keep(fault: &Fault, defects: &[String], record: &Record) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.failed");
    let parts = [
        defects,
        &record.messages,
        std::slice::from_ref(&record.trace),
    ];
    let text = parts.map(|lines| lines.join("\n")).join("\n\n");
    let kept = std::fs::create_dir_all(&place);
    let kept = kept.and_then(|()| std::fs::write(place.join(fault.to_string()), text));
    kept.unwrap_or_else(|error| say(&format!("nothing is kept of {fault}: {error}")));
}

/// By call, and by what happened there: how many ended how.
fn summarise(ends: &[(&Fault, Verdict)]) {
    const COLUMNS: [&str; 5] = ["ok", "said", "refused", "not met", "FAILED"];
    let mut rows: BTreeMap<(String, String), BTreeMap<&str, usize>> = BTreeMap::new();
    for (fault, verdict) in ends {
        let call = match fault.side {
            Side::Own => fault.call.clone(),
            side => format!("{side}: {}", fault.call),
        };
        for (call, column) in [(call, fault.column()), ("all".into(), String::new())] {
            let row = rows.entry((call, column)).or_default();
            *row.entry(verdict.word()).or_default() += 1;
        }
    }
    let head: String = COLUMNS.map(|column| format!("{column:>9}")).concat();
    say(&format!("{:<24}{:<18}{head}", "call", "what happens"));
    for ((call, column), counts) in rows {
        let cell = |column: &str| format!("{:>9}", counts.get(column).copied().unwrap_or(0));
        say(&format!(
            "{call:<24}{column:<18}{}",
            COLUMNS.map(cell).concat()
        ));
    }
}

/// What was played with this very binary so far.
struct Journal {
    file: Mutex<File>,
    passed: BTreeSet<String>,
}

impl Journal {
    fn open(resume: bool) -> Self {
        let binary = second_run::binary();
        let (path, head) = (Self::path(binary), head(binary));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        let is_same = resume && lines.next() == Some(&*head);
        let passed = lines.filter_map(|line| {
            let (name, word) = line.split_once('\t')?;
            // What was not met may be met the next time.
            let is_left = ["FAILED", Verdict::NotMet.word()];
            (!is_left.iter().any(|left| word.starts_with(left))).then(|| name.to_owned())
        });
        let passed = if is_same {
            passed.collect()
        } else {
            BTreeSet::new()
        };
        let mut options = OpenOptions::new();
        options
            .create(true)
            .append(is_same)
            .write(true)
            .truncate(!is_same);
        let mut file = options.open(&path).expect("a journal can be written");
        if !is_same {
            writeln!(file, "{head}").expect("a journal can be written");
        }
        Self {
            file: Mutex::new(file),
            passed,
        }
    }

    /// Each binary has its own, so that several may be swept in turn or at once.
    fn path(binary: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        binary.hash(&mut hasher);
        let name = format!("faults-{:016x}.journal", hasher.finish());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    }

    fn note(&self, fault: &Fault, verdict: &Verdict) {
        let details = match verdict {
            Verdict::Failed(why) | Verdict::Said(why) => why.join("; "),
            _ => String::new(),
        };
        let line = format!("{fault}\t{} {details}", verdict.word());
        let mut file = self.file.lock().expect("no panic while it is locked");
        writeln!(file, "{}", line.replace('\n', " ")).expect("a journal can be written");
    }
}

/// What tells one build from another.
fn head(binary: &Path) -> String {
    let metadata = binary.metadata().expect("the binary is there");
    let modified = metadata.modified().expect("a time");
    format!("{} {} {modified:?}", binary.display(), metadata.len())
}
