//! A handler that somebody replaces behind our back, and what is lost with it: the safety
//! sweep finds it, within 15 s. These are the only tests that wait for a clock.

use std::time::{Duration, Instant};

use procsched::{Builder, ProcessScheduler};

use super::host::{Test, host};
use super::kit::{self, List};
use super::refusals::refuse_pidfds;
use crate::process;

pub const TESTS: &[Test] = tests![
    m35_m41_what_no_signal_told_is_found_at_the_sweep,
    m35_what_no_signal_told_is_found_at_the_sweep_where_all_are_reaped,
    m35_more_missed_deaths_than_a_turn_may_take_are_found_at_one_sweep,
    m35_more_missed_deaths_than_a_turn_may_take_are_found_at_one_sweep_where_all_are_reaped,
    m35_with_pidfds_a_replaced_handler_hides_no_death,
    the_sweep_is_timed_only_while_programs_run,
];

/// The longest that a lost death stays unnoticed, as the documentation has it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// More than one turn takes.
const MANY: usize = 300;

// Its address is compared: without this each unit of code may get a copy of its own.
#[inline(never)]
extern "C" fn deaf(_: libc::c_int) {}

struct Deafened {
    scheduler: ProcessScheduler,
    warnings: List<(String, String)>,
    _dir: tempfile::TempDir,
}

/// Three programs run, and SIGCHLD goes to somebody who passes nothing on.
fn deafened(builder: impl FnOnce(&tempfile::TempDir) -> Builder) -> Deafened {
    deafened_with(&["one", "two", "three"].map(str::to_owned), builder)
}

fn deafened_with(
    names: &[String],
    builder: impl FnOnce(&tempfile::TempDir) -> Builder,
) -> Deafened {
    let dir = kit::directory();
    let (warnings, handler) = kit::warnings();
    // A pipe that hangs up would tell of a death as well.
    let program = |name: &String| kit::once(name, "exec sleep 1000 2>&-");
    let programs = names.iter().map(program);
    let mut scheduler = kit::built(builder(&dir).programs(programs).on_event(handler));
    for pid in kit::all_up(&mut scheduler) {
        process::wait_for("a closed pipe", || {
            !process::descriptors(pid).contains_key(&2)
        });
    }
    while kit::readable(&scheduler, kit::MILLISECOND) {
        kit::turn(&mut scheduler, Duration::ZERO);
    }
    kit::handle(libc::SIGCHLD, deaf as *const () as usize, libc::SA_RESTART);
    Deafened {
        scheduler,
        warnings,
        _dir: dir,
    }
}

impl Deafened {
    fn kill(&self, name: &str) -> i32 {
        let pid = kit::pid(&self.scheduler, name).expect("a pid");
        process::signal(pid, libc::SIGKILL);
        pid
    }

    /// Turns as a host with a reactor would: only when the descriptor or the deadline says so.
    fn until(&mut self, name: &str, code: i32) {
        let start = Instant::now();
        while kit::code(&self.scheduler, name) != Some(code) {
            assert!(start.elapsed() < process::PATIENCE, "{name} is not noticed");
            let deadline = self
                .scheduler
                .next_deadline()
                .expect("a sweep is due some time");
            let time = deadline.saturating_duration_since(Instant::now());
            assert!(time <= SWEEP_INTERVAL, "the next sweep is in {time:?}");
            let soon = time.min(Duration::from_millis(50)) + kit::MILLISECOND;
            if kit::readable(&self.scheduler, soon) || deadline <= Instant::now() {
                kit::turn(&mut self.scheduler, Duration::ZERO);
            }
        }
    }

    fn assert_warned_once(&self) {
        let warnings = self.warnings.items();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].0, "", "it is no program's fault");
        assert!(warnings[0].1.contains("SIGCHLD"), "{warnings:?}");
    }
}

/// Without pidfds: a death, and a theft that no signal told of, are found at the sweep; the
/// replaced handler is said then, and not again at the next.
fn m35_m41_what_no_signal_told_is_found_at_the_sweep() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        let mut host = deafened(kit::own);
        let ours = deaf as *const () as usize;
        host.kill("one");
        kit::ended(host.kill("two"));
        host.until("one", -libc::SIGKILL);
        host.until("two", 125);
        host.assert_warned_once();
        host.kill("three");
        host.until("three", -libc::SIGKILL);
        host.assert_warned_once();
        drop(host);
        let left = kit::action(libc::SIGCHLD).expect("an action").0;
        assert_eq!(left, ours, "it was not ours to put back");
    });
}

fn m35_what_no_signal_told_is_found_at_the_sweep_where_all_are_reaped() {
    host(|| {
        let mut host = deafened(kit::all);
        host.kill("one");
        host.until("one", -libc::SIGKILL);
        host.assert_warned_once();
        kit::end(&mut host.scheduler);
    });
}

/// A machine with hundreds of programs lost most of them at once, and SIGCHLD to a library. The
/// sweep found as many as one turn may take, and took itself for done: the rest were dead for
/// another 15 s, or, as they were more, another 30.
fn many_are_missed(builder: impl FnOnce(&tempfile::TempDir) -> Builder) {
    let names: Vec<String> = (0..MANY).map(|i| format!("web{i}")).collect();
    let mut host = deafened_with(&names, builder);
    let pids: Vec<i32> = names.iter().map(|name| host.kill(name)).collect();
    for &pid in &pids {
        process::wait_for("a zombie", || {
            process::stat(pid).is_some_and(|stat| stat.state == 'Z')
        });
    }
    // The last of them is stolen: it is looked for by nothing but the sweep.
    kit::ended(pids[MANY - 1]);
    let told = |scheduler: &ProcessScheduler| {
        let programs = scheduler.programs();
        let ended = |p: &&procsched::ProgramStatus| p.last_return_code().is_some();
        programs.iter().filter(ended).count()
    };
    let start = Instant::now();
    while told(&host.scheduler) == 0 {
        assert!(start.elapsed() < process::PATIENCE, "no sweep");
        kit::turn(&mut host.scheduler, process::PATIENCE);
    }
    // No more than these fit between two deadlines of one sweep.
    for _ in 0..3 {
        kit::turn(&mut host.scheduler, Duration::ZERO);
    }
    assert_eq!(told(&host.scheduler), MANY);
    let stolen = &names[MANY - 1];
    assert_eq!(kit::code(&host.scheduler, stolen), Some(125));
}

fn m35_more_missed_deaths_than_a_turn_may_take_are_found_at_one_sweep() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        many_are_missed(kit::own);
    });
}

fn m35_more_missed_deaths_than_a_turn_may_take_are_found_at_one_sweep_where_all_are_reaped() {
    host(|| many_are_missed(kit::all));
}

/// With pidfds nobody needs SIGCHLD: with the sweep off, a death is noticed all the same.
fn m35_with_pidfds_a_replaced_handler_hides_no_death() {
    host(|| {
        let mut host = deafened(|dir| kit::own(dir).safety_sweep(false));
        for name in ["one", "two", "three"] {
            host.kill(name);
            kit::turn_until(&mut host.scheduler, "a death is noticed", |scheduler| {
                kit::code(scheduler, name) == Some(-libc::SIGKILL)
            });
        }
        assert_eq!(host.warnings.len(), 0, "nobody looked");
    });
}

/// While nothing runs there is nothing to look for.
fn the_sweep_is_timed_only_while_programs_run() {
    host(|| {
        let dir = kit::directory();
        let web = kit::shell("web", "exit 1").backoff(procsched::Backoff {
            initial: Duration::from_secs(60),
            ..procsched::Backoff::default()
        });
        let mut scheduler = kit::built(kit::own(&dir).program(web));
        kit::turn_until(&mut scheduler, "it waits for its restart", |scheduler| {
            let next = scheduler.next_deadline();
            next.is_some_and(|at| at > Instant::now() + SWEEP_INTERVAL * 2)
        });
        kit::end(&mut scheduler);
    });
}
