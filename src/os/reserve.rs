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
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use super::pages::Pages;
use crate::error::{Error, Result};

/// How much is laid by. Never touched, it costs address space only, but is counted by what limits
/// that: RLIMIT_AS, RLIMIT_DATA, and the system where it does not overcommit.
const LENGTH: usize = 256 * 1024;

/// Pieces are powers of two, from this one on.
const SMALLEST: usize = 16;

/// What is larger than so many of the smallest does without the reserve: it can be left out.
const SIZES: usize = 13;

/// The largest alignment, which is that of the whole.
const PAGE: usize = 4096;

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
/// fn main() -> procsched::Result<()> {
///     procsched::Reserve::fill()
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Reserve;

impl Reserve {
    /// Lays it by; before this there is none. To do it again changes nothing.
    ///
    /// # Errors
    ///
    /// If the system has no 256 KiB for it (mmap(2): RLIMIT_AS, RLIMIT_DATA, overcommitment).
    pub fn fill() -> Result<()> {
        let what = || format!("failed to lay by {} KiB of memory", LENGTH / 1024);
        let pages = Pages::new(LENGTH).map_err(|errno| Error::os(what(), errno as i32))?;
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
fn take(layout: Layout) -> *mut u8 {
    let piece = SHELF.with(|shelf| shelf.take(layout));
    if !piece.is_null() {
        IS_SHORT.store(true, Ordering::Relaxed);
    }
    piece
}

// SAFETY: pieces come from the system's allocator or, when that has none, from a shelf whose
// pieces do not overlap, and are as large and aligned as the layout wants. Each goes back to
// where it came from.
unsafe impl GlobalAlloc for Reserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        let bytes = unsafe { System.alloc(layout) };
        if bytes.is_null() { take(layout) } else { bytes }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        let bytes = unsafe { System.alloc_zeroed(layout) };
        if !bytes.is_null() {
            return bytes;
        }
        let piece = take(layout);
        if !piece.is_null() {
            // SAFETY: it was taken for this layout, and may have been used before.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise nobody uses the piece any more.
        if !SHELF.with(|shelf| unsafe { shelf.put_back(bytes, layout) }) {
            // SAFETY: the same, and it is not from the shelf.
            unsafe { System.dealloc(bytes, layout) };
        }
    }

    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !SHELF.with(|shelf| shelf.has(bytes)) {
            // SAFETY: the caller's promises are the same, and it is not from the shelf.
            let moved = unsafe { System.realloc(bytes, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: a size that is not zero, and does not overflow when rounded up to the alignment,
        // is the caller's promise; refused, the system has left the old piece as it was.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both are of that length at least, and a new piece overlaps no other.
            unsafe {
                ptr::copy_nonoverlapping(bytes, moved, layout.size().min(size));
                self.dealloc(bytes, layout);
            }
        }
        moved
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

/// Pieces of some pages: each size has a list of those that came back, every one of which holds
/// the address of the next. A size goes on with what it had, and takes nothing from another.
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

    fn has(&self, piece: *mut u8) -> bool {
        !self.base.is_null() && (piece as usize).wrapping_sub(self.base as usize) < LENGTH
    }

    /// The place of a size in the lists, if it has one.
    fn index(layout: Layout) -> Option<usize> {
        let size = layout.size().max(layout.align()).max(SMALLEST);
        let index = (size.checked_next_power_of_two()? / SMALLEST).trailing_zeros() as usize;
        (index < SIZES && layout.align() <= PAGE).then_some(index)
    }

    fn take(&mut self, layout: Layout) -> *mut u8 {
        let Some(index) = Self::index(layout) else {
            return ptr::null_mut();
        };
        let Some(piece) = NonNull::new(self.back[index]) else {
            return self.cut(SMALLEST << index);
        };
        // SAFETY: a piece that came back is nobody's, and begins with the next one's address; it
        // is aligned for that, as every power of two from 16 on is.
        self.back[index] = unsafe { piece.cast::<*mut u8>().read() };
        piece.as_ptr()
    }

    fn cut(&mut self, size: usize) -> *mut u8 {
        let begin = self.used.next_multiple_of(size.min(PAGE));
        if self.base.is_null() || begin + size > LENGTH {
            return ptr::null_mut();
        }
        self.used = begin + size;
        self.base.wrapping_add(begin)
    }

    /// Whether it was one of these pieces.
    ///
    /// # Safety
    ///
    /// If it was, it was taken for this layout, and nobody uses it any more.
    unsafe fn put_back(&mut self, piece: *mut u8, layout: Layout) -> bool {
        let (true, Some(index)) = (self.has(piece), Self::index(layout)) else {
            return false;
        };
        // SAFETY: it has 16 bytes at least, is aligned for an address, and is ours alone now.
        unsafe { piece.cast::<*mut u8>().write(self.back[index]) };
        self.back[index] = piece;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled() -> Shelf {
        let mut shelf = Shelf::EMPTY;
        shelf.fill(Pages::new(LENGTH).unwrap());
        shelf
    }

    fn free(shelf: Shelf) {
        let base = NonNull::new(shelf.base).unwrap();
        // SAFETY: from `filled`, and nobody uses its pieces any more.
        drop(unsafe { Pages::from_base(base, LENGTH) });
    }

    #[test]
    fn without_pages_there_is_nothing() {
        let mut shelf = Shelf::EMPTY;
        let layout = Layout::new::<u64>();
        assert!(shelf.take(layout).is_null());
        assert!(!shelf.has(ptr::null_mut()));
        // SAFETY: it is no piece of this shelf.
        assert!(!unsafe { shelf.put_back(ptr::null_mut(), layout) });
    }

    #[test]
    fn what_is_large_or_wants_a_rare_place_is_refused() {
        let mut shelf = filled();
        for (size, align) in [(65_537, 1), (1 << 40, 8), (8, 8192)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            assert!(shelf.take(layout).is_null(), "{size} at {align}");
        }
        assert!(
            !shelf
                .take(Layout::from_size_align(65_536, 4096).unwrap())
                .is_null()
        );
        free(shelf);
    }

    #[test]
    fn the_same_pieces_serve_for_ever() {
        let mut shelf = filled();
        for turn in 0..100_000_usize {
            let layout = Layout::from_size_align(1 + turn * 7 % 9000, 8).unwrap();
            let piece = shelf.take(layout);
            assert!(!piece.is_null(), "turn {turn}");
            // SAFETY: it was just taken for this.
            assert!(unsafe { shelf.put_back(piece, layout) });
        }
        free(shelf);
    }

    proptest! {
        /// Pieces that are in use at once keep what was written to them.
        #[test]
        fn no_piece_touches_another(
            steps in proptest::collection::vec((any::<bool>(), 1..3000_usize, 0..9_u32), 1..300),
        ) {
            let mut shelf = filled();
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            let check = |(piece, layout, mark): &(*mut u8, Layout, u8)| {
                // SAFETY: taken for this layout, written, and not given back.
                let bytes = unsafe { std::slice::from_raw_parts(*piece, layout.size()) };
                bytes.iter().all(|byte| byte == mark)
            };
            for (number, (takes, size, align)) in steps.into_iter().enumerate() {
                if takes || held.is_empty() {
                    let layout = Layout::from_size_align(size, 1 << align).unwrap();
                    let piece = shelf.take(layout);
                    if piece.is_null() {
                        continue;
                    }
                    prop_assert!(shelf.has(piece));
                    prop_assert_eq!(piece as usize % layout.align(), 0);
                    // SAFETY: taken for this layout.
                    unsafe { piece.write_bytes(number as u8, size) };
                    held.push((piece, layout, number as u8));
                } else {
                    let piece = held.swap_remove(size % held.len());
                    prop_assert!(check(&piece));
                    // SAFETY: it was taken for this layout, and is forgotten now.
                    let is_back = unsafe { shelf.put_back(piece.0, piece.1) };
                    prop_assert!(is_back);
                }
            }
            prop_assert!(held.iter().all(check));
            free(shelf);
        }
    }
}
