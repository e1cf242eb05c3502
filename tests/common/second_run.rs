//! The scenarios' second run, against a static binary in an empty root.
//!
//! | variable | |
//! |---|---|
//! | `PROCSCHED_TEST_BINARY` | the binary to test, instead of the one that cargo has built |
//! | `PROCSCHED_TEST_PROBE` | the probe to use; static too, if the binary is to be PID 1 |
//! | `PROCSCHED_TEST_PID1=1` | every supervisor is PID 1 of a namespace ([`namespace`]) |
//!
//! The few scenarios that can mean nothing in there run with that binary on the host. They are
//! in one table here, with the reason; at the end both kinds are counted and told on stderr.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{namespace, tools};

const INIT: &str = "it is PID 1 of places that the scenario makes itself, or none on purpose";

/// Scenarios that run on the host in any case, and why. A star stands for a whole module.
pub const ON_THE_HOST: &[(&str, &str)] = &[
    (
        "abandon::m117_what_cannot_die_is_named_and_left_behind",
        "the end of PID 1 itself waits for whoever is left, and that one cannot die",
    ),
    (
        "calls::*",
        "strace wraps the supervisor from its first instruction on",
    ),
    (
        "chatter::*",
        "it is about programs that a shell makes slow in the right way",
    ),
    (
        "client_answers::a_listing_of_ten_thousand_programs_takes_little_memory",
        "how much memory it takes is read by its number outside",
    ),
    (
        "demo::the_demo_shows_everything_and_ends_by_itself",
        "the demo shows programs of /bin/sh",
    ),
    (
        "escapes::what_the_demo_tells_is_escaped",
        "the demo shows programs of /bin/sh",
    ),
    (
        "harness::a_process_that_outlives_its_supervisor_fails_the_test_unless_it_is_spared",
        "nobody outlives PID 1",
    ),
    (
        "hostile::newer_system_calls_may_be_missing",
        "strace wraps the supervisor from its first instruction on, and a program is a shell",
    ),
    (
        "identity::a_check_warns_of_what_is_not_permitted",
        "the privileges of a process are in /proc, which is not there",
    ),
    (
        "identity::a_check_warns_of_what_could_not_be_stopped",
        "the privileges of a process are in /proc, which is not there",
    ),
    (
        "identity::a_program_of_another_user_is_heard",
        "what another user was given is in /proc, which is not there",
    ),
    (
        "identity::another_user_gets_no_capability_of_ours",
        "what another user was given is in /proc, which is not there",
    ),
    (
        "identity::m12_a_step_that_is_refused_is_a_failed_start_with_its_name",
        "a score is in /proc, which is not there",
    ),
    (
        "identity::every_attribute_is_what_the_program_gets",
        "what another user was given is in /proc, which is not there",
    ),
    (
        "inheritance::m25_a_pipeline_of_the_shell_ends_without_a_word",
        "it is about a pipeline of the shell",
    ),
    ("init::*", INIT),
    ("init_outputs::*", INIT),
    ("init_places::*", INIT),
    ("init_rest::*", INIT),
    ("init_terminal::*", INIT),
    (
        "operator::the_default_socket_is_found_by_the_config_alone",
        "the root is read-only, and has no place for the default socket",
    ),
    (
        "orphan_starts::m116_who_comes_home_during_the_look_is_killed_before_the_start_too",
        "a tracer knows the path of the list by the numbers of its own namespace",
    ),
    (
        "real_programs::python_node_shell_and_a_compiled_server_are_kept_alive",
        "it is about Python, Node.js and a shell",
    ),
    (
        "real_stack::*",
        "it is about PostgreSQL, redis, nginx and Python",
    ),
    (
        "reaping::m48_a_tracer_that_delays_the_wait_confuses_nobody",
        "the program is strace, with a probe below it",
    ),
    (
        "security::a_check_by_root_looks_at_both_sides_of_a_symlink",
        "what a symlink leads to is found in /proc, which is not there",
    ),
    (
        "security::a_check_by_root_looks_at_the_directory_of_a_relative_link_that_is_the_config",
        "its config names a shell",
    ),
    (
        "security::a_program_that_reads_its_own_pipe_harms_nobody_else",
        "the program finds its pipe in /proc, which is not there",
    ),
    (
        "shutdown_deadline::what_cannot_die_is_abandoned_in_time",
        "the end of PID 1 itself waits for whoever is left, and that one cannot die",
    ),
    (
        "start_injection::m53_without_a_session_of_its_own_nothing_is_executed",
        "the supervisor shares its process group with a bystander, who is no PID 1's",
    ),
    (
        "stuck_outputs::*",
        "strace wraps the supervisor from its first instruction on",
    ),
];

/// How a scenario has run; the later one counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ran {
    Not(String),
    OnHost,
    AsPid1,
}

/// The scenarios of this process so far.
static TALLY: Mutex<BTreeMap<String, Ran>> = Mutex::new(BTreeMap::new());

fn path_of(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    let found = path.canonicalize();
    Some(found.unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

/// The binary under test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_procsched-min"));
        path_of("PROCSCHED_TEST_BINARY").unwrap_or_else(built)
    })
}

/// The probe, if it is given.
pub fn given_probe() -> Option<PathBuf> {
    path_of("PROCSCHED_TEST_PROBE")
}

/// The scenario that asks: libtest names its threads so.
fn scenario() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("a thread without name").to_owned()
}

fn reason(scenario: &str) -> Option<&'static str> {
    let entry = ON_THE_HOST
        .iter()
        .find(|(name, _)| is_meant(name, scenario));
    entry.map(|(_, reason)| *reason)
}

fn is_meant(name: &str, scenario: &str) -> bool {
    match name.strip_suffix('*') {
        Some(module) => scenario.starts_with(module),
        None => name == scenario,
    }
}

fn is_asked() -> bool {
    std::env::var_os("PROCSCHED_TEST_PID1").is_some_and(|value| value == "1")
}

/// Whether the supervisors of this scenario are PID 1.
pub fn is_pid1() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    is_asked() && *WORKS.get_or_init(works) && reason(&scenario()).is_none()
}

/// Notes how this scenario runs.
pub fn note(ran: Ran) {
    static AT_EXIT: OnceLock<()> = OnceLock::new();
    if !is_asked() {
        return;
    }
    AT_EXIT.get_or_init(|| {
        // SAFETY: the function takes nothing, and stays.
        unsafe { libc::atexit(tell) };
    });
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    let known = tally.entry(scenario()).or_insert_with(|| ran.clone());
    *known = ran.max(known.clone());
}

/// Tries whether a probe can be PID 1 here. If not it says so, whatever captures the test's
/// output; where `CI` is `true` it fails.
fn works() -> bool {
    let mut command = Command::new(tools::probe_path());
    command.arg("exit 0");
    let shown = [tools::probe_path().to_owned(), "/dev/null".into()];
    let tried = namespace::spawn(&mut command, &shown, |_| ())
        .and_then(|(mut child, _namespace)| child.wait());
    let works = tried.as_ref().is_ok_and(|status| status.success());
    if !works {
        let problem = format!(
            "no supervisor can be PID 1 here, all of them run on the host: {tried:?} (needs root, \
             a static probe and binary, and a kernel.pid_max of 4194304, which before Linux 6.14 \
             is that of the whole machine)"
        );
        let _ = writeln!(std::io::stderr(), "{problem}");
        assert!(!tools::is_ci(), "{problem}");
    }
    works
}

/// At the end of the test process: how many ran how.
extern "C" fn tell() {
    let tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    let count = |wanted: fn(&Ran) -> bool| tally.values().filter(|ran| wanted(ran)).count();
    let mut text = format!(
        "{} scenarios ran as PID 1 of a namespace, {} with the same binary on the host, {} not:\n",
        count(|ran| *ran == Ran::AsPid1),
        count(|ran| *ran == Ran::OnHost),
        count(|ran| matches!(ran, Ran::Not(_))),
    );
    for (name, ran) in &*tally {
        let line = match ran {
            Ran::AsPid1 => continue,
            Ran::OnHost => reason(name).unwrap_or("nothing can be PID 1 here"),
            Ran::Not(reason) => reason,
        };
        text.push_str(&format!("  {name}: {line}\n"));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
