use super::*;

#[test]
fn a_set_has_what_was_put_in_and_nothing_else() {
    for signal in 1..=SIGNAL_MAX {
        let set = SignalSet::of([signal]);
        let members: Vec<i32> = (-1..=66).filter(|&other| set.has(other)).collect();
        assert_eq!(members, [signal]);
        assert!(SignalSet::FULL.has(signal) && !SignalSet::EMPTY.has(signal));
    }
    let without = SignalSet::FULL.without([libc::SIGINT, 64]);
    assert!(!without.has(libc::SIGINT) && !without.has(64) && without.has(63));
    assert_eq!(SignalSet::of([i32::MIN, -1, 0, 65]), SignalSet::EMPTY);
}

/// In its own thread, which has its own mask and gets the signals.
#[test]
fn what_is_held_is_taken_in_full_number() {
    let thread = std::thread::spawn(|| {
        let before = set_mask(libc::SIG_BLOCK, &SignalSet::EMPTY);
        hold();
        let now = set_mask(libc::SIG_BLOCK, &SignalSet::EMPTY);
        for signal in 1..=SIGNAL_MAX {
            assert_eq!(now.has(signal), takeable().has(signal), "{signal}");
        }
        assert_eq!(next(Some(Duration::ZERO)), None);
        for signal in [40, libc::SIGTERM, 40, libc::SIGTERM, 33] {
            // SAFETY: plain numbers; the target is this very thread, which blocks them.
            unsafe { libc::syscall(libc::SYS_tkill, libc::gettid(), signal) };
        }
        let taken: Vec<Taken> = std::iter::from_fn(|| next(Some(Duration::ZERO))).collect();
        let signals: Vec<i32> = taken.iter().map(|taken| taken.signal).collect();
        assert_eq!(signals, [libc::SIGTERM, 33, 40, 40]);
        assert!(taken.iter().all(|taken| !taken.is_from_kernel), "{taken:?}");
        set_mask(libc::SIG_SETMASK, &before);
    });
    thread.join().expect("no panic");
}

#[test]
fn the_runtime_ignores_sigpipe_and_nothing_else() {
    let found: Vec<i32> = (1..=SIGNAL_MAX).filter(|&s| ignored().has(s)).collect();
    assert!(found.contains(&libc::SIGPIPE), "{found:?}");
    assert!(!found.contains(&libc::SIGTERM), "{found:?}");
}
