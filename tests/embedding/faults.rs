//! Faults on purpose: a host whose own handlers may touch memory that is not there yet, and
//! that makes it in its handler for SIGSEGV, as virtual machines and collectors of garbage do.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use procsched::Reap;

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};

pub const TESTS: &[Test] = tests![a_handler_of_the_host_may_cause_a_fault_and_mend_it,];

const PAGE_BYTES: usize = 4096;

static PAGE: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
static MENDED: AtomicU32 = AtomicU32::new(0);

fn protect(access: libc::c_int) {
    // SAFETY: the page is a mapping of ours that nobody but `touch` uses.
    let status = unsafe { libc::mprotect(PAGE.load(Ordering::SeqCst), PAGE_BYTES, access) };
    assert_eq!(status, 0, "mprotect");
}

extern "C" fn mend(_: libc::c_int) {
    MENDED.fetch_add(1, Ordering::SeqCst);
    protect(libc::PROT_READ | libc::PROT_WRITE);
}

extern "C" fn touch(_: libc::c_int) {
    let page = PAGE.load(Ordering::SeqCst).cast::<u8>();
    // SAFETY: the page is mapped; where it may not be written, `mend` sees to that.
    unsafe { page.write_volatile(1) };
}

/// The virtual machine of a host counts its threads' steps in its SIGCHLD handler, in memory
/// that it protects while it moves objects; its SIGSEGV handler waits for that and lets the
/// write go on. From the day that a scheduler lived there it was killed by SIGSEGV: our handler
/// called the old one with every signal blocked, and a fault that is blocked is deadly.
fn a_handler_of_the_host_may_cause_a_fault_and_mend_it() {
    host(|| {
        let access = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new mapping, wherever the kernel likes.
        let page = unsafe { libc::mmap(nowhere, PAGE_BYTES, libc::PROT_NONE, access, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        PAGE.store(page, Ordering::SeqCst);
        kit::handle(libc::SIGSEGV, mend as *const () as usize, 0);
        for signal in [libc::SIGCHLD, libc::SIGTERM] {
            kit::handle(signal, touch as *const () as usize, libc::SA_RESTART);
        }
        kit::raise(libc::SIGCHLD);
        assert_eq!(MENDED.load(Ordering::SeqCst), 1, "the host alone");
        let mut expected = 1;
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let builder = kit::own(&dir).reap(reap).program(kit::sleeper("web"));
            let mut scheduler = kit::built(builder.stop_on_signals([libc::SIGTERM]));
            kit::all_up(&mut scheduler);
            for signal in [libc::SIGCHLD, libc::SIGTERM] {
                protect(libc::PROT_NONE);
                kit::raise(signal);
                expected += 1;
                assert_eq!(MENDED.load(Ordering::SeqCst), expected, "{reap:?} {signal}");
            }
            kit::turn_until(&mut scheduler, "TERM stops it", |s| s.is_stopping());
            while kit::turn(&mut scheduler, 10 * MILLISECOND) == procsched::Status::Running {}
        }
    });
}
