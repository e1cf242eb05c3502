//! Signals of the host: what was there before is called, put back when nobody needs it any
//! more, and only if it is still ours to put back.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use procsched::{Handle, ProcessScheduler, Reap, Status};

use super::answers::{Condition, answer_if};
use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use crate::process;

pub const TESTS: &[Test] = tests![
    a_handler_with_info_from_before_is_called_with_it_and_put_back,
    a_plain_handler_from_before_is_called_and_put_back,
    odd_flags_of_a_handler_from_before_do_no_harm,
    signal_hook_from_before_and_from_after_goes_on,
    signal_hook_on_top_of_ours_passes_deaths_on,
    what_is_not_ours_any_more_is_not_put_back,
    m147_a_signal_is_put_back_by_the_last_who_wanted_it,
    a_chain_through_us_never_becomes_a_circle,
    an_ignored_sigchld_is_an_error_for_own_and_taken_over_for_all,
    m28_signals_that_were_blocked_before_arrive,
    nothing_is_written_into_a_descriptor_of_somebody_else,
    those_who_are_covered_too_often_say_so,
    a_handler_of_the_host_may_stop_it,
    a_stray_signal_that_nobody_may_handle_is_left_out,
];

static CALLS: AtomicU32 = AtomicU32::new(0);
static LAST_PID: AtomicI32 = AtomicI32::new(0);
static LAST_CODE: AtomicI32 = AtomicI32::new(0);

extern "C" fn plain(_: libc::c_int) {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn with_info(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel, or who called us in its place, gives a live siginfo_t; for SIGCHLD
    // these fields are the active ones.
    unsafe {
        LAST_PID.store((*info).si_pid(), Ordering::SeqCst);
        LAST_CODE.store((*info).si_code, Ordering::SeqCst);
    }
    CALLS.fetch_add(1, Ordering::SeqCst);
}

fn plain_address() -> usize {
    plain as *const () as usize
}

fn with_info_address() -> usize {
    with_info as *const () as usize
}

fn calls() -> u32 {
    CALLS.load(Ordering::SeqCst)
}

fn program_dies(scheduler: &mut ProcessScheduler) -> i32 {
    let pid = kit::all_up(scheduler)[0];
    process::signal(pid, libc::SIGKILL);
    kit::turn_until(scheduler, "the death is told", |scheduler| {
        let program = &scheduler.programs()[0];
        program.pid() != Some(pid) && program.last_return_code() == Some(-libc::SIGKILL)
    });
    pid
}

fn a_handler_with_info_from_before_is_called_with_it_and_put_back() {
    host(|| {
        for (round, reap) in [(1, Reap::Own), (2, Reap::All)] {
            let flags = libc::SA_SIGINFO | libc::SA_RESTART;
            kit::handle(libc::SIGCHLD, with_info_address(), flags);
            let before = kit::actions();
            let dir = kit::directory();
            let builder = kit::own(&dir).reap(reap).program(kit::sleeper("web"));
            let mut scheduler = kit::built(builder);
            let pid = program_dies(&mut scheduler);
            assert_eq!(calls(), round, "{reap:?}");
            assert_eq!(LAST_PID.load(Ordering::SeqCst), pid);
            assert_eq!(LAST_CODE.load(Ordering::SeqCst), libc::CLD_KILLED);
            drop(scheduler);
            assert_eq!(kit::actions(), before);
        }
    });
}

fn a_plain_handler_from_before_is_called_and_put_back() {
    host(|| {
        kit::handle(libc::SIGCHLD, plain_address(), 0);
        kit::handle(libc::SIGTERM, plain_address(), libc::SA_RESTART);
        let before = kit::actions();
        let dir = kit::directory();
        let builder = kit::own(&dir).program(kit::sleeper("web"));
        let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGTERM]));
        program_dies(&mut scheduler);
        assert_eq!(calls(), 1);
        kit::raise(libc::SIGTERM);
        assert_eq!(calls(), 2);
        assert_eq!(kit::turn(&mut scheduler, 10 * MILLISECOND), Status::Stopped);
        drop(scheduler);
        assert_eq!(kit::actions(), before);
        kit::raise(libc::SIGTERM);
        assert_eq!(calls(), 3, "it is the host's again");
    });
}

/// Flags of an old handler that must neither break the chain nor get lost. One that was to be
/// called once is called once, and is used up, as it would have been without us.
fn odd_flags_of_a_handler_from_before_do_no_harm() {
    host(|| {
        let odd = [
            libc::SA_NODEFER,
            libc::SA_NOCLDSTOP | libc::SA_SIGINFO,
            libc::SA_ONSTACK | libc::SA_NODEFER,
            libc::SA_RESETHAND,
            libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_SIGINFO,
        ];
        for flags in odd {
            let is_for_once = flags & libc::SA_RESETHAND != 0;
            let has_info = flags & libc::SA_SIGINFO != 0;
            let handler = if has_info {
                with_info_address()
            } else {
                plain_address()
            };
            kit::handle(libc::SIGCHLD, handler, flags);
            let before = kit::action(libc::SIGCHLD).expect("an action");
            let dir = kit::directory();
            let churn = kit::churner("web", MILLISECOND, "exec sleep 1000");
            let mut scheduler = kit::built(kit::own(&dir).program(churn));
            let called = calls();
            for _ in 0..3 {
                program_dies(&mut scheduler);
            }
            let expected = if is_for_once { 1 } else { 3 };
            assert_eq!(calls() - called, expected, "flags {flags:x}");
            kit::end(&mut scheduler);
            drop(scheduler);
            let after = kit::action(libc::SIGCHLD).expect("an action");
            if is_for_once {
                assert_eq!(after.0, libc::SIG_DFL, "flags {flags:x}");
            } else {
                assert_eq!(after, before, "flags {flags:x}");
            }
        }
    });
}

fn signal_hook_from_before_and_from_after_goes_on() {
    host(|| {
        let register = || {
            let flag = Arc::new(AtomicBool::new(false));
            let id = signal_hook::flag::register(libc::SIGCHLD, flag.clone());
            id.expect("a registration");
            flag
        };
        let dir = kit::directory();
        let early = register();
        let builder = kit::own(&dir).program(kit::churner("web", MILLISECOND, "exec sleep 1000"));
        let mut scheduler = kit::built(builder);
        program_dies(&mut scheduler);
        assert!(early.swap(false, Ordering::SeqCst));
        let late = register();
        program_dies(&mut scheduler);
        assert!(early.swap(false, Ordering::SeqCst) && late.swap(false, Ordering::SeqCst));
        kit::end(&mut scheduler);
        drop(scheduler);
        early.store(false, Ordering::SeqCst);
        late.store(false, Ordering::SeqCst);
        kit::raise(libc::SIGCHLD);
        assert!(early.load(Ordering::SeqCst) && late.load(Ordering::SeqCst));
    });
}

/// signal-hook takes SIGCHLD over while a scheduler has it, and calls ours in its turn.
fn signal_hook_on_top_of_ours_passes_deaths_on() {
    host(|| {
        for round in 0..3 {
            let dir = kit::directory();
            let mut scheduler = kit::built(kit::all(&dir).program(kit::sleeper("web")));
            let flag = Arc::new(AtomicBool::new(false));
            let id = signal_hook::flag::register(libc::SIGCHLD, flag.clone());
            program_dies(&mut scheduler);
            assert!(flag.load(Ordering::SeqCst), "round {round}");
            signal_hook::low_level::unregister(id.expect("a registration"));
        }
    });
}

fn what_is_not_ours_any_more_is_not_put_back() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir).program(kit::once("web", "exit 0"));
        let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGTERM]));
        scheduler.start().expect("a clean end");
        kit::handle(libc::SIGTERM, with_info_address(), libc::SA_SIGINFO);
        kit::handle(libc::SIGCHLD, libc::SIG_IGN, 0);
        drop(scheduler);
        let now = |signal| kit::action(signal).expect("an action").0;
        assert_eq!(
            (now(libc::SIGTERM), now(libc::SIGCHLD)),
            (with_info_address(), libc::SIG_IGN)
        );
    });
}

/// Each signal goes back when the last scheduler goes that wanted it.
fn m147_a_signal_is_put_back_by_the_last_who_wanted_it() {
    host(|| {
        let before = kit::actions();
        let signals = [
            vec![libc::SIGTERM, libc::SIGUSR1],
            vec![libc::SIGUSR1],
            vec![],
        ];
        let dirs = [(); 3].map(|()| kit::directory());
        let build = |index: usize| {
            let builder = kit::own(&dirs[index]).program(kit::sleeper("web"));
            let mut scheduler = kit::built(builder.stop_on_signals(signals[index].clone()));
            kit::all_up(&mut scheduler);
            scheduler
        };
        let (mut first, mut second, mut third) = (build(0), build(1), build(2));
        kit::raise(libc::SIGTERM);
        kit::turn_until(
            &mut first,
            "TERM stops the first",
            ProcessScheduler::is_stopping,
        );
        kit::end(&mut first);
        kit::turn(&mut second, 10 * MILLISECOND);
        assert!(!second.is_stopping(), "it did not want TERM");
        drop(first);
        let is_back = |signal| kit::actions()[&signal] == before[&signal];
        assert!(is_back(libc::SIGTERM) && !is_back(libc::SIGUSR1) && !is_back(libc::SIGCHLD));
        kit::raise(libc::SIGUSR1);
        kit::turn_until(
            &mut second,
            "USR1 stops the second",
            ProcessScheduler::is_stopping,
        );
        kit::end(&mut second);
        drop(second);
        assert!(is_back(libc::SIGUSR1) && !is_back(libc::SIGCHLD));
        program_dies(&mut third);
        drop(third);
        assert_eq!(kit::actions(), before);
    });
}

/// The handler below the one on top.
static BELOW: AtomicUsize = AtomicUsize::new(0);

/// As every library does it that calls who was there before.
extern "C" fn on_top(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    let below = BELOW.load(Ordering::SeqCst);
    if below > 1 {
        // SAFETY: it was installed for this signal with SA_SIGINFO, or takes less than it gets.
        unsafe {
            let below: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute(below);
            below(signal, info, context);
        }
    }
}

/// Ours, a library's over it, ours gone, ours again over the library's: each calls who was
/// there before, and the library's still calls ours.
fn a_chain_through_us_never_becomes_a_circle() {
    host(|| {
        let dir = kit::directory();
        let program = || kit::churner("web", MILLISECOND, "exec sleep 1000");
        let first = kit::built(kit::own(&dir).program(program()));
        let ours = kit::action(libc::SIGCHLD).expect("an action").0;
        BELOW.store(ours, Ordering::SeqCst);
        let flags = libc::SA_SIGINFO | libc::SA_RESTART;
        kit::handle(libc::SIGCHLD, on_top as *const () as usize, flags);
        drop(first);
        kit::raise(libc::SIGCHLD);
        assert_eq!(calls(), 1, "the library's own");
        for round in 0..3 {
            let mut scheduler = kit::built(kit::own(&dir).program(program()));
            CALLS.store(0, Ordering::SeqCst);
            kit::raise(libc::SIGCHLD);
            assert_eq!(calls(), 1, "round {round}: once for each signal");
            program_dies(&mut scheduler);
            program_dies(&mut scheduler);
            assert_eq!(calls(), 3, "round {round}");
            kit::end(&mut scheduler);
        }
    });
}

/// Statuses of our own programs would never arrive.
fn an_ignored_sigchld_is_an_error_for_own_and_taken_over_for_all() {
    host(|| {
        for (handler, flags) in [(libc::SIG_IGN, 0), (plain_address(), libc::SA_NOCLDWAIT)] {
            kit::handle(libc::SIGCHLD, handler, flags);
            let before = kit::actions();
            let dir = kit::directory();
            let error = kit::own(&dir).program(kit::once("web", "exit 5")).build();
            let error = error.expect_err("no status would ever arrive").to_string();
            assert!(
                error.contains("SIGCHLD") && error.contains("ignore"),
                "{error}"
            );
            assert_eq!(kit::actions(), before);
            let mut scheduler = kit::built(kit::all(&dir).program(kit::once("web", "exit 5")));
            scheduler.start().expect("a clean end");
            assert_eq!(kit::code(&scheduler, "web"), Some(5));
            drop(scheduler);
            assert_eq!(kit::actions(), before);
        }
    });
}

/// Who started us left them blocked, and nobody else would unblock them.
fn m28_signals_that_were_blocked_before_arrive() {
    host(|| {
        kit::block(&[libc::SIGTERM, libc::SIGCHLD, libc::SIGINT, libc::SIGUSR1]);
        let before = kit::masks();
        let dir = kit::directory();
        let builder = kit::all(&dir)
            .program(kit::sleeper("web"))
            .safety_sweep(false);
        let builder = builder.program(kit::sleeper("other"));
        let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGTERM]));
        program_dies(&mut scheduler);
        kit::raise(libc::SIGTERM);
        kit::turn_until(
            &mut scheduler,
            "TERM stops it",
            ProcessScheduler::is_stopping,
        );
        kit::end(&mut scheduler);
        assert_eq!(kit::code(&scheduler, "other"), Some(-libc::SIGTERM));
        drop(scheduler);
        assert_eq!(kit::masks(), before);
    });
}

/// A handler that stays installed under another's, and the number of its pipe in new hands.
fn nothing_is_written_into_a_descriptor_of_somebody_else() {
    host(|| {
        let dir = kit::directory();
        let before = kit::descriptors();
        let builder = kit::own(&dir).program(kit::once("web", "exit 0"));
        let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGUSR1]));
        let handle = scheduler.handle();
        scheduler.start().expect("a clean end");
        let ours = kit::action(libc::SIGUSR1).expect("an action").0;
        BELOW.store(ours, Ordering::SeqCst);
        for signal in [libc::SIGCHLD, libc::SIGUSR1] {
            kit::handle(signal, on_top as *const () as usize, libc::SA_SIGINFO);
        }
        let during = kit::descriptors();
        drop(scheduler);
        let numbers = during.keys().filter(|fd| !before.contains_key(fd));
        let last = *numbers.max().expect("descriptors of a scheduler");
        let names: Vec<_> = (0..=last)
            .map(|i| dir.path().join(format!("{i}")))
            .collect();
        let open = |path| std::fs::File::create(path).expect("a file");
        let files: Vec<_> = names.iter().map(open).collect();
        for _ in 0..1000 {
            kit::raise(libc::SIGCHLD);
            kit::raise(libc::SIGUSR1);
            handle.stop();
            handle.kill();
        }
        assert!(calls() >= 2000);
        drop(files);
        for name in &names {
            assert_eq!(
                std::fs::metadata(name).expect("a file").len(),
                0,
                "{name:?}"
            );
        }
    });
}

/// Others put a handler over ours again and again, and pass nothing on. There is an end to how
/// often we come back; it is an error, and nothing else.
fn those_who_are_covered_too_often_say_so() {
    host(|| {
        let dir = kit::directory();
        let build = || kit::own(&dir).program(kit::sleeper("web")).build();
        let mut lives = 0;
        let error = loop {
            match build() {
                Ok(mut scheduler) => {
                    program_dies(&mut scheduler);
                    kit::handle(libc::SIGCHLD, plain_address(), 0);
                    lives += 1;
                }
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            lives >= 2 && error.contains("has replaced the handler"),
            "{lives}: {error}"
        );
        assert_eq!(
            kit::action(libc::SIGCHLD).expect("an action").0,
            plain_address()
        );
        kit::raise(libc::SIGCHLD);
    });
}

static HANDLE: OnceLock<Handle> = OnceLock::new();

/// Between any two instructions of the scheduler, also while it allocates.
extern "C" fn stop_it(_: libc::c_int) {
    if let Some(handle) = HANDLE.get() {
        handle.stop();
    }
}

fn a_handler_of_the_host_may_stop_it() {
    host(|| {
        kit::handle(libc::SIGALRM, stop_it as *const () as usize, 0);
        let dir = kit::directory();
        let churn = |i| kit::churner(&format!("churn{i}"), MILLISECOND, "echo x >&2; exit 1");
        let builder = kit::own(&dir).programs((0..10).map(churn));
        let (reports, handler) = kit::reports();
        let mut scheduler = kit::built(builder.error_handler(handler));
        HANDLE.set(scheduler.handle()).expect("the first");
        kit::turn_until(&mut scheduler, "there were deaths", |_| reports.len() >= 20);
        // It ends a wait, or a piece of work, some time from now.
        // SAFETY: all zero is a valid itimerval, and the pointer is to a live one.
        let armed = unsafe {
            let mut once: libc::itimerval = std::mem::zeroed();
            once.it_value.tv_usec = 10_000;
            libc::setitimer(libc::ITIMER_REAL, &raw const once, std::ptr::null_mut())
        };
        assert_eq!(armed, 0);
        let start = std::time::Instant::now();
        while kit::turn(&mut scheduler, process::PATIENCE) == Status::Running {
            assert!(start.elapsed() < process::PATIENCE, "the stop was lost");
        }
        assert!(scheduler.handle().is_stopped());
    });
}

/// Under valgrind, which keeps the last signal to itself, the binary ended at once: it handles
/// whatever could end it.
fn a_stray_signal_that_nobody_may_handle_is_left_out() {
    host(|| {
        answer_if(
            libc::SYS_rt_sigaction,
            &[Condition::is(0, 64)],
            libc::EINVAL,
        );
        let dir = kit::directory();
        let heard = kit::List::new();
        let tell = heard.clone();
        let builder = kit::own(&dir).program(kit::sleeper("web"));
        let mut scheduler = kit::built(builder.on_signals([63, 64], move |it, _| tell.push(it)));
        kit::all_up(&mut scheduler);
        kit::raise(63);
        kit::turn_until(&mut scheduler, "the other is heard", |_| heard.len() == 1);
        assert_eq!(heard.items(), [63]);
        kit::end(&mut scheduler);
        drop(scheduler);
        let refused = kit::own(&dir).stop_on_signals([64]).build();
        let error = refused.expect_err("who asks for it is told").to_string();
        assert!(error.starts_with("failed to handle signal 64: "), "{error}");
    });
}
