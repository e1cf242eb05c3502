//! Memory that is laid by for the moment when the system has no more: from it supervision goes
//! on, does without what it can do without, and says so.
//!
//! A program that cannot get memory ends, in Rust as elsewhere, at whatever place it has come to;
//! and a supervisor that ends leaves its programs to themselves. So what can be left out asks
//! whether there is memory, and gets none from here (last words, reports, what waits for a slow
//! reader; see [`Reserve::spare`]); and all that cannot be left out comes from here then. It is
//! asked for at the beginning, so that what is limited by RLIMIT_AS, by RLIMIT_DATA or by a system
//! that does not overcommit cannot run out later. It is not touched before it is needed: against
//! a killer of processes (oom_kill, memory.max of a cgroup) it is no help.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use nix::errno::Errno;

use super::pages::Pages;

/// How much is laid by at first. It costs address space only.
const LENGTH: usize = 256 * 1024;

/// How much more for each program: what a turn notes of all of them at once, in lists that double,
/// and what is told of each.
const LENGTH_OF_PROGRAM: usize = 4096;

/// What every piece of malloc is aligned to. What wants more is rare, and does without the reserve.
const ALIGNMENT: usize = 2 * size_of::<usize>();

/// Pieces are powers of two, from this one on. Each begins with the place of its size in the
/// list of sizes, for as many bytes as an alignment needs.
const SMALLEST: usize = 2 * HEAD;
const HEAD: usize = 16;

/// How many sizes there are: the largest is more than any shelf has.
const SIZES: usize = 26;

/// What is laid by at first, and what is for the programs.
static SHELVES: [Shelf; 2] = [const { Shelf::new() }; 2];

/// The system had nothing, and this was not told yet.
static WAS_SHORT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What this thread asks for now can be left out.
    static SPARES: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, with 256 KiB laid by for when it has no more memory.
///
/// For programs that supervise and do nothing else; `procsched-min` is one. Once it is used up,
/// an allocation fails as it does without it (see [`std::alloc::handle_alloc_error`]). The first
/// [`Builder::build`](crate::Builder::build) lays by 4 KiB more for each program, 256 KiB at least.
/// A [`ProcessScheduler`](crate::ProcessScheduler) warns when memory is short, once a minute at
/// most.
///
/// ```
/// #[global_allocator]
/// static MEMORY: procsched::Reserve = procsched::Reserve;
///
/// fn main() -> std::io::Result<()> {
///     procsched::Reserve::fill()
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Reserve;

impl Reserve {
    /// How much is laid by, in bytes.
    pub const BYTES: usize = LENGTH;

    /// Lays it by; before this there is none. To do it again changes nothing. It allocates
    /// nothing, so that it can be the first thing that a program does.
    ///
    /// # Errors
    ///
    /// If the system has no 256 KiB for it (mmap(2): RLIMIT_AS, RLIMIT_DATA, overcommitment).
    pub fn fill() -> io::Result<()> {
        let filled = SHELVES[0].fill(LENGTH);
        filled.map_err(|errno| io::Error::from_raw_os_error(errno as i32))
    }

    /// Does what can be left undone, and gets nothing of the reserve for it: `try_reserve` fails
    /// there, as it does without a reserve, when the system has no more. What cannot fail
    /// (`push`, `clone`) has no place in it.
    pub fn spare<T>(attempt: impl FnOnce() -> T) -> T {
        let _until_the_end = Sparing(SPARES.replace(true));
        attempt()
    }
}

/// Puts back how it was before, after a panic too.
struct Sparing(bool);

impl Drop for Sparing {
    fn drop(&mut self) {
        SPARES.set(self.0);
    }
}

/// Lays by what so many programs need, if something was laid by at all.
pub(crate) fn fill_for(programs: usize) -> Result<(), Errno> {
    if SHELVES[0].base().is_none() {
        return Ok(());
    }
    SHELVES[1].fill(programs.saturating_mul(LENGTH_OF_PROGRAM).max(LENGTH))
}

/// Takes note that the system had nothing.
pub(crate) fn note_shortage() {
    WAS_SHORT.store(true, Ordering::Relaxed);
}

/// Whether there is such a note.
pub(crate) fn is_shortage_noted() -> bool {
    WAS_SHORT.load(Ordering::Relaxed)
}

/// It was told of.
pub(crate) fn forget_shortage() {
    WAS_SHORT.store(false, Ordering::Relaxed);
}

/// A piece of the reserve, or null.
fn take(size: usize) -> *mut u8 {
    note_shortage();
    if SPARES.get() {
        return ptr::null_mut();
    }
    let piece = SHELVES[0].take(size);
    if piece.is_null() {
        SHELVES[1].take(size)
    } else {
        piece
    }
}

fn shelf_of(bytes: *mut u8) -> Option<&'static Shelf> {
    SHELVES.iter().find(|shelf| shelf.has(bytes))
}

#[inline(never)]
fn allocate(size: usize) -> *mut u8 {
    // SAFETY: malloc may be asked for any number of bytes.
    let bytes: *mut u8 = unsafe { libc::malloc(size) }.cast();
    if bytes.is_null() { take(size) } else { bytes }
}

#[inline(never)]
fn allocate_zeroed(size: usize) -> *mut u8 {
    // SAFETY: calloc may be asked for any number of bytes.
    let bytes: *mut u8 = unsafe { libc::calloc(size, 1) }.cast();
    if !bytes.is_null() {
        return bytes;
    }
    let piece = take(size);
    if !piece.is_null() {
        // SAFETY: it was taken for so many bytes, and may have been used before.
        unsafe { piece.write_bytes(0, size) };
    }
    piece
}

/// # Safety
///
/// They are from one of these functions, and nobody uses them any more.
#[inline(never)]
unsafe fn free(bytes: *mut u8) {
    // SAFETY: by the caller's promise; what is not from a shelf is from malloc.
    unsafe {
        match shelf_of(bytes) {
            Some(shelf) => shelf.put_back(bytes),
            None => libc::free(bytes.cast()),
        }
    }
}

/// # Safety
///
/// They are from one of these functions, and unless null is returned, nobody uses them any more.
#[inline(never)]
unsafe fn reallocate(bytes: *mut u8, size: usize) -> *mut u8 {
    let length = match shelf_of(bytes) {
        // SAFETY: a piece of this shelf, by the caller's promise.
        Some(_) => unsafe { Shelf::size_of(bytes) },
        None => {
            // SAFETY: by the caller's promise they are from malloc.
            let moved: *mut u8 = unsafe { libc::realloc(bytes.cast(), size) }.cast();
            if !moved.is_null() {
                return moved;
            }
            // SAFETY: refused, realloc has left them as they were.
            unsafe { libc::malloc_usable_size(bytes.cast()) }
        }
    };
    let moved = allocate(size);
    if moved.is_null() {
        // Where there is room enough, nothing has to be moved.
        return if size <= length { bytes } else { moved };
    }
    // SAFETY: both are of that length at least, and a new piece overlaps no other.
    unsafe {
        ptr::copy_nonoverlapping(bytes, moved, length.min(size));
        free(bytes);
    }
    moved
}

// Each decides by the alignment alone, which is known at each of a thousand places that allocate,
// so that what is left there is as short as a call of malloc.
//
// SAFETY: pieces come from malloc or, when that has none, from a shelf whose pieces do not
// overlap and are as large and aligned as malloc's. Each goes back to where it came from.
unsafe impl GlobalAlloc for Reserve {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            return allocate(layout.size());
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            return allocate_zeroed(layout.size());
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same, and the alignment tells whose it is.
        unsafe {
            if layout.align() <= ALIGNMENT {
                free(bytes);
            } else {
                System.dealloc(bytes, layout);
            }
        }
    }

    #[inline(always)]
    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same, and the alignment tells whose it is.
        unsafe {
            if layout.align() <= ALIGNMENT {
                reallocate(bytes, size)
            } else {
                System.realloc(bytes, layout, size)
            }
        }
    }
}

/// Pieces of some pages: each size has a list of those that came back, every one of which begins
/// with the address of the next. A size goes on with what it had, and takes nothing from another.
///
/// Whether bytes are of its pages is asked at every free, and so without a lock: its pages are
/// set once. Whoever takes or puts back has the lock for a few steps without a system call.
struct Shelf {
    base: AtomicPtr<u8>,
    length: AtomicUsize,
    is_locked: AtomicBool,
    pieces: UnsafeCell<Pieces>,
}

struct Pieces {
    /// How much was cut into pieces.
    used: usize,
    /// What came back of each size.
    back: [*mut u8; SIZES],
}

// SAFETY: the cell is looked into by whoever holds the lock only.
unsafe impl Sync for Shelf {}

impl Shelf {
    const fn new() -> Self {
        Self {
            base: AtomicPtr::new(ptr::null_mut()),
            length: AtomicUsize::new(0),
            is_locked: AtomicBool::new(false),
            pieces: UnsafeCell::new(Pieces {
                used: 0,
                back: [ptr::null_mut(); SIZES],
            }),
        }
    }

    fn base(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.base.load(Ordering::Acquire))
    }

    /// Has as many bytes from now on, unless it has some.
    fn fill(&self, length: usize) -> Result<(), Errno> {
        if self.base().is_some() {
            return Ok(());
        }
        let pages = Pages::new(length)?;
        self.locked(|_| {
            if self.base().is_none() {
                // In this order, as who sees the base believes the length.
                self.length.store(length, Ordering::Relaxed);
                self.base
                    .store(pages.into_base().as_ptr(), Ordering::Release);
            }
        });
        Ok(())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Pieces) -> T) -> T {
        while self.is_locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: nobody else is here before the lock is given back, and `work` cannot come here
        // again, as it allocates nothing.
        let done = work(unsafe { &mut *self.pieces.get() });
        self.is_locked.store(false, Ordering::Release);
        done
    }

    fn has(&self, bytes: *mut u8) -> bool {
        self.base().is_some_and(|base| {
            let offset = (bytes as usize).wrapping_sub(base.as_ptr() as usize);
            offset < self.length.load(Ordering::Relaxed)
        })
    }

    /// A piece of at least that size, or null.
    fn take(&self, size: usize) -> *mut u8 {
        let whole = size.saturating_add(HEAD).div_ceil(SMALLEST);
        let index = whole.next_power_of_two().trailing_zeros() as usize;
        if self.base().is_none() || index >= SIZES {
            return ptr::null_mut();
        }
        self.locked(|pieces| {
            let Some(bytes) = NonNull::new(pieces.back[index]) else {
                return self.cut(pieces, index);
            };
            // SAFETY: what came back is nobody's, and begins with the next one's address; it is
            // aligned for that.
            pieces.back[index] = unsafe { bytes.cast().read() };
            bytes.as_ptr()
        })
    }

    fn cut(&self, pieces: &mut Pieces, index: usize) -> *mut u8 {
        let size = SMALLEST << index;
        if size > self.length.load(Ordering::Relaxed) - pieces.used {
            return ptr::null_mut();
        }
        let piece = self.base.load(Ordering::Relaxed).wrapping_add(pieces.used);
        pieces.used += size;
        // SAFETY: within the pages, as was just asked; every size is a multiple of the alignment.
        unsafe { piece.cast::<usize>().write(index) };
        piece.wrapping_add(HEAD)
    }

    /// How many bytes there are.
    ///
    /// # Safety
    ///
    /// They are a piece of a shelf.
    unsafe fn size_of(bytes: *mut u8) -> usize {
        // SAFETY: its head was written when it was cut, and is aligned.
        (SMALLEST << unsafe { bytes.wrapping_sub(HEAD).cast::<usize>().read() }) - HEAD
    }

    /// # Safety
    ///
    /// They are a piece of this shelf, and nobody uses it any more.
    unsafe fn put_back(&self, bytes: *mut u8) {
        // SAFETY: the head is as it was written when the piece was cut. There are as many bytes
        // as an address needs at least, aligned for it, and they are ours alone now.
        self.locked(|pieces| unsafe {
            let index = bytes.wrapping_sub(HEAD).cast::<usize>().read();
            bytes.cast::<*mut u8>().write(pieces.back[index]);
            pieces.back[index] = bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One of its own for a test; its pages are never given back.
    fn filled() -> Shelf {
        let shelf = Shelf::new();
        shelf.fill(LENGTH).expect("some pages");
        shelf.fill(2 * LENGTH).expect("nothing to do");
        assert_eq!(shelf.length.load(Ordering::Relaxed), LENGTH);
        shelf
    }

    #[test]
    fn without_pages_there_is_nothing() {
        let shelf = Shelf::new();
        assert!(shelf.take(8).is_null());
        assert!(!shelf.has(ptr::null_mut()));
        assert!(!shelf.has((&raw const shelf).cast_mut().cast()));
    }

    #[test]
    fn what_is_there_is_there_until_all_is_used_up() {
        let shelf = filled();
        for size in [LENGTH - HEAD + 1, LENGTH, 1 << 40, usize::MAX] {
            assert!(shelf.take(size).is_null(), "{size}");
        }
        for round in 0..4 {
            let bytes = shelf.take(65_520);
            // SAFETY: a piece of this shelf.
            assert_eq!(unsafe { Shelf::size_of(bytes) }, 65_520, "round {round}");
        }
        assert!(shelf.take(1).is_null());
    }

    #[test]
    fn the_same_pieces_serve_for_ever() {
        let shelf = filled();
        for turn in 0..100_000 {
            let bytes = shelf.take(1 + turn * 7 % 9000);
            assert!(!bytes.is_null() && shelf.has(bytes), "turn {turn}");
            // SAFETY: they were just taken.
            unsafe { shelf.put_back(bytes) };
        }
    }

    proptest! {
        /// What is in use at once keeps what was written to it.
        #[test]
        fn no_piece_touches_another(
            steps in proptest::collection::vec((any::<bool>(), 1..3000_usize), 1..300),
        ) {
            let shelf = filled();
            let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
            let is_whole = |&(bytes, size, mark): &(*mut u8, usize, u8)| {
                // SAFETY: taken with this size, written, and not given back.
                let bytes = unsafe { std::slice::from_raw_parts(bytes, size) };
                bytes.iter().all(|byte| *byte == mark)
            };
            for (number, (takes, size)) in steps.into_iter().enumerate() {
                if takes || held.is_empty() {
                    let bytes = shelf.take(size);
                    if bytes.is_null() {
                        continue;
                    }
                    // SAFETY: a piece of this shelf.
                    let length = unsafe { Shelf::size_of(bytes) };
                    prop_assert!(length >= size);
                    prop_assert_eq!(bytes as usize % ALIGNMENT, 0);
                    // SAFETY: taken with this size.
                    unsafe { bytes.write_bytes(number as u8, size) };
                    held.push((bytes, size, number as u8));
                } else {
                    let piece = held.swap_remove(size % held.len());
                    prop_assert!(is_whole(&piece));
                    // SAFETY: it is on this shelf, and forgotten now.
                    unsafe { shelf.put_back(piece.0) };
                }
            }
            prop_assert!(held.iter().all(is_whole));
        }
    }
}
