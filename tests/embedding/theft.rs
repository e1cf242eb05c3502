//! Another part of the host reaps one of ours: that run ends with an unknown status, counts as
//! a failure, and costs neither a spin nor a panic nor a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procsched::{Builder, ProcessScheduler, ProgramState, Reap, Restart};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse_pidfds;
use crate::process;

pub const TESTS: &[Test] = tests![
    m41_a_stolen_status_is_an_end_without_a_status,
    m41_a_stolen_status_is_an_end_without_a_status_without_pidfds,
    m41_a_stolen_status_is_an_end_without_a_status_where_all_are_reaped,
    m41_a_stolen_status_is_noticed_among_other_deaths,
    m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else,
    m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else_without_pidfds,
    m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else_where_all_are_reaped,
    m41_a_thief_without_prey_makes_no_turn,
    m41_statuses_that_are_thrown_away_are_unknown,
];

/// How long an idle scheduler is watched.
pub const IDLE_TIME: Duration = Duration::from_millis(300);

const SETTLING_TURNS_MAX: usize = 12;

/// The thief comes first, as no turn is taken meanwhile.
fn a_theft_between_two_turns(reap: Reap) {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let web = kit::churner("web", MILLISECOND, "echo words >&2; exec sleep 1000");
    let builder = kit::own(&dir)
        .reap(reap)
        .program(web.restart(Restart::OnFailure));
    let builder = builder.program(kit::sleeper("other")).safety_sweep(false);
    let mut scheduler = kit::built(builder.error_handler(handler));
    kit::turn_until(&mut scheduler, "it has spoken", |_| {
        kit::log_of(&dir, "web") == b"words\n"
    });
    let pid = kit::pid(&scheduler, "web").expect("a pid");
    process::signal(pid, libc::SIGKILL);
    kit::ended(pid);
    kit::turn_until(&mut scheduler, "it was started again", |scheduler| {
        kit::status(scheduler, "web").restarts() == 1
            && kit::pid(scheduler, "web").is_some_and(|new| new != pid)
            && kit::log_of(&dir, "web") == b"words\nwords\n"
    });
    let report = reports.items()[0].clone();
    assert_eq!((report.return_code(), report.pid()), (125, Some(pid)));
    assert_eq!(report.stderr(), b"words\n");
    let error = report.error().expect("why there is no status");
    assert!(error.starts_with("exit status unknown: "), "{error}");
    assert_idle(&mut scheduler);
    kit::end(&mut scheduler);
    assert_eq!(reports.len(), 3);
}

/// Fails unless the scheduler is soon idle: two turns in a row find nothing to do. Recent events may
/// take some turns to settle, more on a busy machine.
#[track_caller]
pub fn assert_idle(scheduler: &mut ProcessScheduler) {
    let mut idle = 0;
    for _ in 0..SETTLING_TURNS_MAX {
        let begin = Instant::now();
        kit::turn(scheduler, IDLE_TIME);
        idle = if begin.elapsed() < IDLE_TIME {
            0
        } else {
            idle + 1
        };
        if idle == 2 {
            return;
        }
    }
    panic!("{SETTLING_TURNS_MAX} turns, and never two idle ones in a row");
}

fn m41_a_stolen_status_is_an_end_without_a_status() {
    host(|| a_theft_between_two_turns(Reap::Own));
}

fn m41_a_stolen_status_is_an_end_without_a_status_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        a_theft_between_two_turns(Reap::Own);
    });
}

fn m41_a_stolen_status_is_an_end_without_a_status_where_all_are_reaped() {
    host(|| a_theft_between_two_turns(Reap::All));
}

/// The death of another program in the same turn once hid the theft.
fn m41_a_stolen_status_is_noticed_among_other_deaths() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let builder = kit::own(&dir).reap(reap).safety_sweep(false);
            let sleeper = |name| kit::sleeper(name).restart(Restart::Never);
            let builder = builder.programs([sleeper("stolen"), sleeper("other")]);
            let mut scheduler = kit::built(builder);
            kit::all_up(&mut scheduler);
            let [stolen, other] = ["stolen", "other"].map(|name| {
                let pid = kit::pid(&scheduler, name).expect("a pid");
                process::signal(pid, libc::SIGKILL);
                pid
            });
            // The other one stays a zombie for the turn.
            process::wait_for("a zombie", || {
                process::stat(other).is_some_and(|stat| stat.state == 'Z')
            });
            kit::ended(stolen);
            kit::turn_until(&mut scheduler, "both deaths are known", |scheduler| {
                let codes = ["stolen", "other"].map(|name| kit::code(scheduler, name));
                codes == [Some(125), Some(-libc::SIGKILL)]
            });
            kit::end(&mut scheduler);
        }
    });
}

/// A thread that reaps whatever it can.
struct Thief {
    rest: Arc<AtomicBool>,
    stolen: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Thief {
    fn start() -> Self {
        let rest = Arc::new(AtomicBool::new(false));
        let stolen = Arc::new(AtomicUsize::new(0));
        let (resting, count) = (rest.clone(), stolen.clone());
        let thread = thread::spawn(move || {
            while !resting.load(Ordering::SeqCst) {
                // SAFETY: a status is not asked for. Without children it fails at once.
                let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
                if pid > 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Self {
            rest,
            stolen,
            thread,
        }
    }

    fn stop(self) -> usize {
        self.rest.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic");
        self.stolen.load(Ordering::SeqCst)
    }
}

fn a_thief_in_the_house(builder: Builder) {
    let (reports, handler) = kit::reports();
    let churn = |i| kit::churner(&format!("churn{i}"), 5 * MILLISECOND, "exit 7");
    let builder = builder.programs((0..10).map(churn)).error_handler(handler);
    let mut scheduler = kit::built(builder.safety_sweep(false));
    let thief = Thief::start();
    let unknown = |report: &procsched::ErrorReport| report.return_code() == 125;
    kit::turn_until(
        &mut scheduler,
        "every program was robbed, and lives on",
        |scheduler| {
            let stolen = reports
                .items()
                .iter()
                .filter(|report| unknown(report))
                .count();
            let programs = scheduler.programs();
            stolen >= 10 && programs.iter().all(|program| program.restarts() >= 5)
        },
    );
    let codes: Vec<_> = reports
        .items()
        .iter()
        .map(|r| (r.return_code(), r.restarts()))
        .collect();
    assert!(
        codes.iter().all(|(code, _)| [7, 125].contains(code)),
        "{codes:?}"
    );
    kit::end(&mut scheduler);
    assert!(thief.stop() >= 10);
    for program in scheduler.programs() {
        assert_eq!(program.state(), ProgramState::Stopped, "{program:?}");
        let told = reports.items();
        let told = told
            .iter()
            .filter(|r| r.process() == program.name())
            .count() as u64;
        assert_eq!(
            told,
            program.restarts() + 1,
            "{}: each run once",
            program.name()
        );
    }
}

fn m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else() {
    host(|| a_thief_in_the_house(kit::own(&kit::directory())));
}

fn m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        a_thief_in_the_house(kit::own(&kit::directory()));
    });
}

fn m41_a_thief_robs_programs_of_their_codes_and_of_nothing_else_where_all_are_reaped() {
    host(|| a_thief_in_the_house(kit::all(&kit::directory())));
}

/// While nothing dies, a thief makes no work.
fn m41_a_thief_without_prey_makes_no_turn() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir)
            .program(kit::sleeper("web"))
            .safety_sweep(false);
        let mut scheduler = kit::built(builder);
        kit::all_up(&mut scheduler);
        let thief = Thief::start();
        assert_idle(&mut scheduler);
        thief.stop();
        kit::end(&mut scheduler);
    });
}

/// Somebody sets SIGCHLD to "ignore" while programs run: from then on the system throws every
/// status away, which is a theft like any other.
fn m41_statuses_that_are_thrown_away_are_unknown() {
    host(|| {
        let dir = kit::directory();
        let (reports, handler) = kit::reports();
        // One that is gone before its start has returned is found at the safety sweep.
        let web = kit::churner("web", MILLISECOND, "sleep .05; exit 7");
        let builder = kit::own(&dir).program(web).error_handler(handler);
        let mut scheduler = kit::built(builder.safety_sweep(false));
        kit::turn_until(&mut scheduler, "there were deaths", |_| reports.len() >= 3);
        kit::handle(libc::SIGCHLD, libc::SIG_IGN, 0);
        let unknown = |report: &procsched::ErrorReport| report.return_code() == 125;
        kit::turn_until(&mut scheduler, "they die, and are started again", |_| {
            reports
                .items()
                .iter()
                .filter(|report| unknown(report))
                .count()
                >= 10
        });
        kit::handle(libc::SIGCHLD, libc::SIG_DFL, 0);
        kit::end(&mut scheduler);
    });
}
