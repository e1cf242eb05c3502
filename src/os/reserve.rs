//! Memory that is laid by for the moment when the system has no more: from it supervision goes
//! on, does without what it can do without, and says so.
//!
//! A program that cannot get memory ends, in Rust as elsewhere, at whatever place it has come to;
//! and a supervisor that ends leaves its programs to themselves. So what is large and can be
//! left out asks whether there is memory (last words, reports, what waits for a slow reader); and
//! all that is small and cannot be left out comes from here then. It was the system's promise
//! from the beginning, so that no limit, and no neighbour's greed, can take it back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use super::pages::Pages;

/// How much is laid by. Never touched, it costs address space only, but is counted by what limits
/// that: RLIMIT_AS, RLIMIT_DATA, and the system where it does not overcommit.
const LENGTH: usize = 256 * 1024;

/// What every piece of malloc is aligned to. What wants more is rare, and does without the reserve.
const ALIGNMENT: usize = align_of::<libc::max_align_t>();

/// Pieces are powers of two, from this one on. Each begins with the place of its size in the
/// list of sizes, for as many bytes as an alignment needs.
const SMALLEST: usize = 2 * HEAD;
const HEAD: usize = 16;

/// How many sizes there are. What is larger than the largest can be left out.
const SIZES: usize = 12;

static SHELF: Locked = Locked {
    is_taken: AtomicBool::new(false),
    shelf: UnsafeCell::new(Shelf::EMPTY),
};

/// Since the reserve was needed, the system was not seen to have memory again.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// The system's allocator, with 256 KiB laid by for when it has no more memory.
///
/// For programs that supervise and do nothing else; `procsched-min` is one. Once it is used up,
/// an allocation fails as it does without it (see [`std::alloc::handle_alloc_error`]). Each turn
/// of a [`ProcessScheduler`](crate::ProcessScheduler) looks whether there is memory again, and
/// warns once if there is none.
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
        let pages = Pages::new(LENGTH);
        let pages = pages.map_err(|errno| io::Error::from_raw_os_error(errno as i32))?;
        SHELF.with(|shelf| shelf.fill(pages));
        Ok(())
    }
}

/// Whether memory was short, and is not known to be there again.
pub(crate) fn is_needed() -> bool {
    IS_SHORT.load(Ordering::Relaxed)
}

/// The same after a look whether the system has as much as is laid by.
pub(crate) fn is_needed_still() -> bool {
    if is_needed() && Pages::new(LENGTH).is_ok() {
        IS_SHORT.store(false, Ordering::Relaxed);
    }
    is_needed()
}

/// A piece of the reserve, or null.
fn take(size: usize) -> *mut u8 {
    let piece = SHELF.with(|shelf| shelf.take(size));
    if !piece.is_null() {
        IS_SHORT.store(true, Ordering::Relaxed);
    }
    piece
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
    // SAFETY: by the caller's promise; what is not from the shelf is from malloc.
    unsafe {
        if !SHELF.with(|shelf| shelf.put_back(bytes)) {
            libc::free(bytes.cast());
        }
    }
}

/// # Safety
///
/// They are from one of these functions, and unless null is returned, nobody uses them any more.
#[inline(never)]
unsafe fn reallocate(bytes: *mut u8, size: usize) -> *mut u8 {
    let on_shelf = SHELF.with(|shelf| shelf.size_of(bytes));
    let length = match on_shelf {
        Some(length) => length,
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
    if !moved.is_null() {
        // SAFETY: both are of that length at least, and a new piece overlaps no other.
        unsafe {
            ptr::copy_nonoverlapping(bytes, moved, length.min(size));
            free(bytes);
        }
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

/// The shelf, for one thread at a time. Whoever has it makes a few steps without a system call.
struct Locked {
    is_taken: AtomicBool,
    shelf: UnsafeCell<Shelf>,
}

// SAFETY: the cell is looked into by whoever holds the lock only.
unsafe impl Sync for Locked {}

impl Locked {
    fn with<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        while self.is_taken.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: nobody else is here before the lock is given back, and `work` cannot come here
        // again, as it allocates nothing.
        let done = work(unsafe { &mut *self.shelf.get() });
        self.is_taken.store(false, Ordering::Release);
        done
    }
}

/// Pieces of some pages: each size has a list of those that came back, every one of which begins
/// with the address of the next. A size goes on with what it had, and takes nothing from another.
struct Shelf {
    base: *mut u8,
    /// How much was cut into pieces.
    used: usize,
    back: [*mut u8; SIZES],
}

impl Shelf {
    const EMPTY: Self = Self {
        base: ptr::null_mut(),
        used: 0,
        back: [ptr::null_mut(); SIZES],
    };

    /// Has these pages from now on, unless it has some.
    fn fill(&mut self, pages: Pages) {
        if self.base.is_null() {
            self.base = pages.into_base().as_ptr();
        }
    }

    /// Where the piece begins whose bytes these are, if they are on this shelf.
    fn head(&self, bytes: *mut u8) -> Option<*mut usize> {
        let offset = (bytes as usize).wrapping_sub(self.base as usize);
        let is_here = !self.base.is_null() && offset < LENGTH;
        is_here.then(|| bytes.wrapping_sub(HEAD).cast())
    }

    /// How many bytes are there, if they are on this shelf.
    fn size_of(&self, bytes: *mut u8) -> Option<usize> {
        // SAFETY: the head of a piece was written when it was cut, and is aligned.
        let index = |head: *mut usize| unsafe { head.read() };
        Some((SMALLEST << index(self.head(bytes)?)) - HEAD)
    }

    fn take(&mut self, size: usize) -> *mut u8 {
        let whole = size.saturating_add(HEAD).max(SMALLEST);
        let index = (whole.div_ceil(SMALLEST).next_power_of_two()).trailing_zeros() as usize;
        let Some(back) = self.back.get_mut(index) else {
            return ptr::null_mut();
        };
        let Some(bytes) = NonNull::new(*back) else {
            return self.cut(index);
        };
        // SAFETY: what came back is nobody's, and begins with the next one's address; it is
        // aligned for that.
        *back = unsafe { bytes.cast().read() };
        bytes.as_ptr()
    }

    fn cut(&mut self, index: usize) -> *mut u8 {
        let size = SMALLEST << index;
        if self.base.is_null() || size > LENGTH - self.used {
            return ptr::null_mut();
        }
        let piece = self.base.wrapping_add(self.used);
        self.used += size;
        // SAFETY: within the pages, as was just asked; every size is a multiple of the alignment.
        unsafe { piece.cast::<usize>().write(index) };
        piece.wrapping_add(HEAD)
    }

    /// Whether they were on this shelf, and now are again.
    ///
    /// # Safety
    ///
    /// If they were, nobody uses them any more.
    unsafe fn put_back(&mut self, bytes: *mut u8) -> bool {
        let Some(head) = self.head(bytes) else {
            return false;
        };
        // SAFETY: the head is as it was written when the piece was cut. There are as many bytes
        // as an address needs at least, aligned for it, and they are ours alone now.
        unsafe {
            let back = &mut self.back[head.read()];
            bytes.cast::<*mut u8>().write(*back);
            *back = bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled() -> Shelf {
        let mut shelf = Shelf::EMPTY;
        shelf.fill(Pages::new(LENGTH).expect("some pages"));
        shelf
    }

    /// Gives back the pages.
    fn clear(shelf: Shelf) {
        let base = NonNull::new(shelf.base).expect("its pages");
        // SAFETY: from `filled`, and nobody uses its pieces any more.
        drop(unsafe { Pages::from_base(base, LENGTH) });
    }

    #[test]
    fn without_pages_there_is_nothing() {
        let mut shelf = Shelf::EMPTY;
        assert!(shelf.take(8).is_null());
        assert!(shelf.size_of(ptr::null_mut()).is_none());
        let mut stranger = 0_u64;
        // SAFETY: it is not on this shelf.
        assert!(!unsafe { shelf.put_back((&raw mut stranger).cast()) });
    }

    #[test]
    fn what_is_large_is_refused_and_what_is_not_is_there_until_all_is_used_up() {
        let mut shelf = filled();
        for size in [65_521, 65_536, 1 << 40, usize::MAX] {
            assert!(shelf.take(size).is_null(), "{size}");
        }
        for round in 0..4 {
            let bytes = shelf.take(65_520);
            assert_eq!(shelf.size_of(bytes), Some(65_520), "round {round}");
        }
        assert!(shelf.take(1).is_null());
        clear(shelf);
    }

    #[test]
    fn the_same_pieces_serve_for_ever() {
        let mut shelf = filled();
        for turn in 0..100_000 {
            let bytes = shelf.take(1 + turn * 7 % 9000);
            assert!(!bytes.is_null(), "turn {turn}");
            // SAFETY: they were just taken.
            assert!(unsafe { shelf.put_back(bytes) });
        }
        clear(shelf);
    }

    proptest! {
        /// What is in use at once keeps what was written to it.
        #[test]
        fn no_piece_touches_another(
            steps in proptest::collection::vec((any::<bool>(), 1..3000_usize), 1..300),
        ) {
            let mut shelf = filled();
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
                    prop_assert!(shelf.size_of(bytes) >= Some(size));
                    prop_assert_eq!(bytes as usize % ALIGNMENT, 0);
                    // SAFETY: taken with this size.
                    unsafe { bytes.write_bytes(number as u8, size) };
                    held.push((bytes, size, number as u8));
                } else {
                    let piece = held.swap_remove(size % held.len());
                    prop_assert!(is_whole(&piece));
                    // SAFETY: it is on this shelf, and forgotten now.
                    let is_back = unsafe { shelf.put_back(piece.0) };
                    prop_assert!(is_back);
                }
            }
            prop_assert!(held.iter().all(is_whole));
            clear(shelf);
        }
    }
}
