//! `Reap::Own`: a host with children of its own, which the scheduler never waits for, whether
//! it has a pidfd for each run or none.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use procsched::{EventKind, Health, HealthStatus, Probe, ProcessScheduler, Ready};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse_pidfds;
use crate::process;
use crate::tools::whole;

pub const TESTS: &[Test] = tests![
    m39_the_host_gets_its_own_statuses,
    m39_the_host_gets_its_own_statuses_in_every_thread,
    m39_the_host_gets_its_own_statuses_without_pidfds,
    m39_zombies_of_the_host_neither_spin_nor_hide_a_death,
    m39_zombies_of_the_host_neither_spin_nor_hide_a_death_without_pidfds,
    refused_pidfds_are_no_failed_start,
    m20_where_descriptors_are_scarce_nobody_is_lost,
    m39_waits_for_a_process_group_of_the_host_are_its_own,
    checks_are_reaped_beside_children_of_the_host,
    checks_are_reaped_beside_children_of_the_host_without_pidfds,
];

/// How a kernel, a sandbox and a full table of descriptors refuse a pidfd.
const REFUSALS: [i32; 3] = [libc::ENOSYS, libc::EPERM, libc::EMFILE];

/// How long an idle scheduler is watched.
const IDLE_TIME: Duration = Duration::from_millis(300);

fn exit_42() -> Option<i32> {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep .05; exit 42"]);
    command.status().expect("the host's own child").code()
}

/// Every wait of the host gives what its child said, while 20 programs die and start.
fn waits_beside_churn(threads: usize, waits: usize) {
    let dir = kit::directory();
    let churn = |i| kit::churner(&format!("churn{i}"), 20 * MILLISECOND, "exit 7");
    let (reports, handler) = kit::reports();
    let builder = kit::own(&dir)
        .programs((0..20).map(churn))
        .error_handler(handler);
    let mut scheduler = kit::built(builder);
    let wait = move || (0..waits).for_each(|_| assert_eq!(exit_42(), Some(42)));
    let hosts: Vec<_> = (0..threads).map(|_| thread::spawn(wait)).collect();
    kit::turn_until(&mut scheduler, "the host has waited for all", |_| {
        hosts.iter().all(thread::JoinHandle::is_finished)
    });
    for host in hosts {
        host.join().expect("each wait gave 42");
    }
    assert!(
        reports.len() >= 100,
        "only {} deaths of programs",
        reports.len()
    );
    let codes = reports.items();
    let codes: Vec<i32> = codes
        .iter()
        .map(procsched::ErrorReport::return_code)
        .collect();
    assert!(codes.iter().all(|&code| code == 7), "{codes:?}");
    kit::end(&mut scheduler);
}

fn m39_the_host_gets_its_own_statuses() {
    host(|| waits_beside_churn(1, 100));
}

fn m39_the_host_gets_its_own_statuses_in_every_thread() {
    host(|| waits_beside_churn(whole(4, 16), 125));
}

fn m39_the_host_gets_its_own_statuses_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        waits_beside_churn(4, 125);
    });
}

/// A command of a check is a child of ours like a program, and its status is what counts.
fn checks_beside_a_child() {
    let dir = kit::directory();
    let script = "echo x >> tries; test $(wc -l < tries) -ge 3";
    let ready = Probe::command(["sh", "-c", script]).interval(MILLISECOND);
    let health = Health::command(["sh", "-c", "echo x >> checks"]).interval(MILLISECOND);
    let web = kit::sleeper("web")
        .ready(Ready::Probe(ready))
        .health(health);
    let mut own = Command::new("true").spawn().expect("a child of the host");
    let mut scheduler = kit::built(kit::own(&dir).program(web));
    let lines = |name: &str| {
        let text = std::fs::read_to_string(dir.path().join(name));
        text.unwrap_or_default().lines().count()
    };
    kit::turn_until(&mut scheduler, "it was checked often", |_| {
        lines("checks") >= 20
    });
    let status = kit::status(&scheduler, "web");
    assert_eq!(status.health(), Some(HealthStatus::Healthy));
    assert_eq!(lines("tries"), 3, "it is up at the first that succeeds");
    kit::end(&mut scheduler);
    assert!(own.wait().expect("it was not reaped").success());
    assert!(!has_children(), "every check is reaped");
}

fn has_children() -> bool {
    // SAFETY: null where nothing is wanted.
    let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    waited != -1
}

fn checks_are_reaped_beside_children_of_the_host() {
    host(checks_beside_a_child);
}

fn checks_are_reaped_beside_children_of_the_host_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        checks_beside_a_child();
    });
}

/// The turns that a scheduler takes while nothing happens.
fn idle_turns(scheduler: &mut ProcessScheduler) -> usize {
    let end = Instant::now() + IDLE_TIME;
    let mut turns = 0;
    while Instant::now() < end {
        kit::turn(scheduler, IDLE_TIME);
        turns += 1;
    }
    turns
}

/// It is the first that any look at all children finds, and it never goes.
fn zombies_of_the_host() {
    let dir = kit::directory();
    let mut zombies: Vec<_> = (0..20)
        .map(|_| {
            Command::new("sh")
                .args(["-c", "exit 42"])
                .spawn()
                .expect("a child")
        })
        .collect();
    for zombie in &zombies {
        let pid = i32::try_from(zombie.id()).expect("a pid");
        process::wait_for("a zombie", || {
            process::stat(pid).is_some_and(|s| s.state == 'Z')
        });
    }
    let programs = (0..10).map(|i| kit::sleeper(&format!("web{i}")));
    let builder = kit::own(&dir).programs(programs).safety_sweep(false);
    let mut scheduler = kit::built(builder);
    for pid in kit::all_up(&mut scheduler) {
        process::signal(pid, libc::SIGUSR1);
    }
    kit::turn_until(&mut scheduler, "every death is seen", |scheduler| {
        let programs = scheduler.programs();
        programs
            .iter()
            .all(|p| p.last_return_code() == Some(-libc::SIGUSR1))
    });
    let builder = kit::own(&dir)
        .program(kit::sleeper("quiet"))
        .err_dir("more");
    let mut scheduler = kit::built(builder);
    kit::all_up(&mut scheduler);
    idle_turns(&mut scheduler);
    let turns = idle_turns(&mut scheduler);
    assert!(turns <= 3, "{turns} turns for nothing");
    kit::end(&mut scheduler);
    for zombie in &mut zombies {
        assert_eq!(zombie.wait().expect("our zombie").code(), Some(42));
    }
}

fn m39_zombies_of_the_host_neither_spin_nor_hide_a_death() {
    host(zombies_of_the_host);
}

fn m39_zombies_of_the_host_neither_spin_nor_hide_a_death_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        zombies_of_the_host();
    });
}

/// Whatever the refusal: programs start, die, are seen and stop.
fn refused_pidfds_are_no_failed_start() {
    host(|| {
        for errno in REFUSALS {
            // A filter stays, so that each has a thread of its own.
            let life = thread::spawn(move || {
                refuse_pidfds(errno);
                let dir = kit::directory();
                let (reports, handler) = kit::reports();
                let builder = kit::own(&dir).program(kit::once("web", "exit 5"));
                let builder = builder.program(kit::sleeper("other")).safety_sweep(false);
                let mut scheduler = kit::built(builder.error_handler(handler));
                kit::turn_until(&mut scheduler, "the death is seen", |scheduler| {
                    kit::code(scheduler, "web") == Some(5)
                });
                assert!(kit::pid(&scheduler, "other").is_some());
                scheduler.stop();
                kit::end(&mut scheduler);
                assert_eq!(reports.len(), 2);
            });
            life.join().expect("a whole life without pidfds");
        }
    });
}

fn limit_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: 4096,
    };
    // SAFETY: the pointer is to a live structure.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(status, 0);
}

/// Where descriptors are scarce some programs have a pidfd, some have none, and some cannot be
/// started. Nobody is lost, and with more of them all are well.
fn m20_where_descriptors_are_scarce_nobody_is_lost() {
    host(|| {
        let dir = kit::directory();
        let (tell, told) = mpsc::channel();
        let program = |i| kit::churner(&format!("web{i}"), 200 * MILLISECOND, "exec sleep 1000");
        let builder = kit::own(&dir)
            .programs((0..30).map(program))
            .safety_sweep(false);
        let mut scheduler = kit::built(builder.on_event(move |event| {
            if matches!(event.kind(), EventKind::StartFailed { .. }) {
                tell.send(()).ok();
            }
        }));
        limit_descriptors(kit::descriptors().len() as u64 + 24);
        let running = |scheduler: &ProcessScheduler| {
            let programs = scheduler.programs();
            programs
                .iter()
                .filter_map(procsched::ProgramStatus::pid)
                .collect::<Vec<_>>()
        };
        kit::turn_until(&mut scheduler, "some run, and some cannot", |scheduler| {
            running(scheduler).len() >= 5 && told.try_iter().count() > 0
        });
        for pid in running(&scheduler) {
            process::signal(pid, libc::SIGKILL);
        }
        limit_descriptors(4096);
        let first = kit::all_up(&mut scheduler);
        for &pid in &first {
            process::signal(pid, libc::SIGKILL);
        }
        kit::turn_until(&mut scheduler, "all were started again", |scheduler| {
            let now = running(scheduler);
            now.len() == 30 && now.iter().all(|pid| !first.contains(pid))
        });
        kit::end(&mut scheduler);
    });
}

/// A host that waits in another thread for everything that it has, while none of it is ours.
fn m39_waits_for_a_process_group_of_the_host_are_its_own() {
    host(|| {
        use std::os::unix::process::CommandExt;
        let dir = kit::directory();
        let churn = kit::churner("churn", 5 * MILLISECOND, "exit 7");
        let mut scheduler = kit::built(kit::own(&dir).program(churn));
        let (tell, told) = mpsc::channel();
        let host = thread::spawn(move || {
            for _ in 0..50 {
                let mut command = Command::new("sh");
                command.args(["-c", "exit 42"]).process_group(0);
                // Waited for below, as a group.
                #[allow(clippy::zombie_processes)]
                let child = command.spawn().expect("a child of the host");
                let pid = i32::try_from(child.id()).expect("a pid");
                let mut status = 0;
                // SAFETY: the pointer is to a live integer.
                let waited = unsafe { libc::waitpid(-pid, &raw mut status, 0) };
                tell.send((waited == pid, libc::WEXITSTATUS(status)))
                    .expect("a host");
            }
        });
        let mut codes = Vec::new();
        kit::turn_until(&mut scheduler, "the host has waited for all", |_| {
            codes.extend(told.try_iter());
            codes.len() == 50
        });
        host.join().expect("no panic");
        assert_eq!(codes, [(true, 42); 50]);
        kit::end(&mut scheduler);
    });
}
