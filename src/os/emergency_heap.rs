//! Memory reserved at startup for when the system has no more.
//!
//! Rust aborts when an allocation fails, and a supervisor that aborts abandons its programs. So
//! what the system refuses is allocated from here. Data that can be dropped (tails, reports, lines
//! that wait for a slow reader) never is: its `try_reserve` goes through [`EmergencyHeap::optional`], fails
//! as it would without this heap, and the data is counted as dropped.
//!
//! The memory is mapped at startup, so that RLIMIT_AS, RLIMIT_DATA and strict overcommit cannot
//! refuse it later. Its pages are not touched before they are needed, so it is no help against the
//! OOM killer or a cgroup's memory.max.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::TryReserveError;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;

use super::pages::Pages;

/// The size of the first arena. It costs address space only.
const STARTUP_BYTES: usize = 256 * 1024;

/// What a turn may need for each program: its entries in lists that double, and its messages.
const PROGRAM_BYTES: usize = 4096;

/// Blocks are aligned like malloc's. An allocation that needs more is rare, and gets none.
const ALIGNMENT: usize = 2 * size_of::<usize>();

/// The largest block, and the number of sizes from the smallest to that.
const BLOCK_BYTES_MAX: usize = 1 << 30;
const BLOCK_SIZES: usize = (BLOCK_BYTES_MAX / ALIGNMENT).trailing_zeros() as usize + 1;

/// The first is mapped at startup, the second when the number of programs is known, and each of the
/// others when there are twice as many: enough for a million, if they come one by one.
static ARENAS: [Arena; ARENAS_MAX] = [const { Arena::new() }; ARENAS_MAX];
const ARENAS_MAX: usize = 16;

/// The system has refused memory, and no warning has been given yet.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// This thread is allocating data that can be dropped.
    static IS_OPTIONAL: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, with 256 KiB reserved for when it has no more memory.
///
/// Once they are used up, an allocation fails as it does without them (see
/// [`std::alloc::handle_alloc_error`]).
#[derive(Debug, Clone, Copy, Default)]
#[doc(hidden)]
pub struct EmergencyHeap;

impl EmergencyHeap {
    /// How much is reserved at startup, in bytes.
    pub const BYTES: usize = STARTUP_BYTES;

    /// Reserves the memory; before this there is none. Does nothing the second time. Allocates
    /// nothing, so that it can be the first call of a program.
    ///
    /// # Errors
    ///
    /// Those of mmap(2): RLIMIT_AS, RLIMIT_DATA or strict overcommit forbid it.
    pub fn reserve() -> io::Result<()> {
        Ok(ARENAS[0].map(STARTUP_BYTES)?)
    }

    /// Makes an allocation for data that can be dropped: it fails when the system refuses it, and
    /// gets nothing of the reserved memory.
    ///
    /// # Errors
    ///
    /// Those of the attempt.
    pub fn optional(
        attempt: impl FnOnce() -> Result<(), TryReserveError>,
    ) -> Result<(), TryReserveError> {
        // No guard puts it back: `try_reserve` does not panic.
        IS_OPTIONAL.set(true);
        let reserved = attempt();
        IS_OPTIONAL.set(false);
        reserved
    }
}

/// Reserves what that many programs need, if anything was reserved at startup.
pub(crate) fn reserve_for(programs: usize) -> Result<(), Errno> {
    if ARENAS[0].pages.get().is_none() {
        return Ok(());
    }
    let wanted = programs.saturating_mul(PROGRAM_BYTES).max(STARTUP_BYTES);
    grow(&ARENAS[1..], wanted)
}

/// Notes that the system has refused memory.
pub(crate) fn note_shortage() {
    IS_SHORT.store(true, Ordering::Relaxed);
}

/// True if the system has refused memory since this was asked last.
pub(crate) fn take_shortage() -> bool {
    IS_SHORT.swap(false, Ordering::Relaxed)
}

// SAFETY: memory comes from the system or, if it has none, from an arena, whose blocks do not
// overlap and are as large and aligned as asked for. It goes back to where it came from.
unsafe impl GlobalAlloc for EmergencyHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        let bytes = unsafe { System.alloc(layout) };
        if bytes.is_null() { take(layout) } else { bytes }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        match arena_of(bytes) {
            Some(arena) => arena.put_back(bytes, layout.size()),
            // SAFETY: the caller's promises are the same, and no arena has it.
            None => unsafe { System.dealloc(bytes, layout) },
        }
    }

    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if arena_of(bytes).is_none() {
            // SAFETY: the caller's promises are the same, and no arena has it.
            let moved = unsafe { System.realloc(bytes, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises a valid size; refused, realloc has left the bytes alone. The
        // new block overlaps no other.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if moved.is_null() {
                // To shrink, nothing has to be moved.
                return if size <= layout.size() { bytes } else { moved };
            }
            ptr::copy_nonoverlapping(bytes, moved, layout.size().min(size));
            self.dealloc(bytes, layout);
            moved
        }
    }
}

/// Returns a block of an arena, or null.
#[cold]
fn take(layout: Layout) -> *mut u8 {
    note_shortage();
    if IS_OPTIONAL.get() || layout.align() > ALIGNMENT {
        return ptr::null_mut();
    }
    let block = mapped(&ARENAS).find_map(|arena| arena.take(layout.size()));
    block.unwrap_or(ptr::null_mut())
}

fn arena_of(bytes: *mut u8) -> Option<&'static Arena> {
    mapped(&ARENAS).find(|arena| arena.has(bytes))
}

/// Returns the arenas with pages, which come first.
fn mapped(arenas: &[Arena]) -> impl Iterator<Item = &Arena> {
    arenas
        .iter()
        .take_while(|arena| arena.pages.get().is_some())
}

/// Maps another arena, unless the pages of these are enough. It is at least as large as they are,
/// so that a few do for any number of programs.
fn grow(arenas: &[Arena], wanted: usize) -> Result<(), Errno> {
    let lengths = mapped(arenas).filter_map(|arena| arena.pages.get().map(Pages::len));
    let (count, length) = lengths.fold((0, 0), |(count, sum), length| (count + 1, sum + length));
    if length >= wanted {
        return Ok(());
    }
    let arena = arenas.get(count).ok_or(Errno::ENOMEM)?;
    arena.map((wanted - length).max(length))
}

/// Pages cut into blocks. The size of a block is a power of two; a freed one is used again for the
/// same size only.
struct Arena {
    /// Set once, as each `dealloc` looks at it without a lock.
    pages: OnceLock<Pages>,
    blocks: Mutex<Blocks>,
}

struct Blocks {
    /// How many bytes have been cut into blocks.
    used: usize,
    /// For each size the freed blocks: the offset of the first plus 1, or 0. A freed block begins
    /// with the same of the next.
    freed: [usize; BLOCK_SIZES],
}

impl Arena {
    const fn new() -> Self {
        let freed = [0; BLOCK_SIZES];
        Self {
            pages: OnceLock::new(),
            blocks: Mutex::new(Blocks { used: 0, freed }),
        }
    }

    /// Maps the pages, unless there are some.
    fn map(&self, length: usize) -> Result<(), Errno> {
        if self.pages.get().is_none() {
            // If another thread is faster, these are unmapped.
            let _ = self.pages.set(Pages::new(length)?);
        }
        Ok(())
    }

    fn has(&self, bytes: *mut u8) -> bool {
        let offset = |pages: &Pages| (bytes as usize).wrapping_sub(pages.base() as usize);
        let pages = self.pages.get();
        pages.is_some_and(|pages| offset(pages) < pages.len())
    }

    /// Returns a block of at least that size, if there is room.
    fn take(&self, size: usize) -> Option<*mut u8> {
        let pages = self.pages.get()?;
        let size = block_size(size);
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = &mut *blocks;
        let first = blocks.freed.get_mut(size_index(size))?;
        if let Some(offset) = first.checked_sub(1) {
            let block = pages.base().wrapping_add(offset);
            // SAFETY: a freed block is ours, aligned, and begins with the number of the next.
            *first = unsafe { block.cast::<usize>().read() };
            return Some(block);
        }
        if size > pages.len() - blocks.used {
            return None;
        }
        let block = pages.base().wrapping_add(blocks.used);
        blocks.used += size;
        Some(block)
    }

    /// Takes back a block of this arena that was taken with this size, or a larger one.
    fn put_back(&self, block: *mut u8, size: usize) {
        let Some(pages) = self.pages.get() else {
            return;
        };
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = blocks.freed.get_mut(size_index(block_size(size))) else {
            return;
        };
        // SAFETY: the block is ours again, aligned, and has room for a number.
        unsafe { block.cast::<usize>().write(*first) };
        *first = block as usize - pages.base() as usize + 1;
    }
}

fn block_size(size: usize) -> usize {
    // A `Layout` is never so large that this is not a number.
    size.max(ALIGNMENT).next_power_of_two()
}

/// Returns the place of a block's size among all of them.
fn size_index(block_size: usize) -> usize {
    (block_size / ALIGNMENT).trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapped() -> Arena {
        let arena = Arena::new();
        arena.map(STARTUP_BYTES).expect("some pages");
        arena.map(2 * STARTUP_BYTES).expect("nothing to do");
        assert_eq!(arena.pages.get().map(Pages::len), Some(STARTUP_BYTES));
        arena
    }

    #[test]
    fn pages_grow_with_the_number_of_programs_and_are_mapped_seldom() {
        let arenas: [Arena; 4] = std::array::from_fn(|_| Arena::new());
        let lengths = |arenas: &[Arena]| -> Vec<usize> {
            super::mapped(arenas)
                .filter_map(|arena| arena.pages.get().map(Pages::len))
                .collect()
        };
        let page = 64 * 1024;
        for (wanted, expected) in [
            (page, vec![page]),
            (page, vec![page]),
            (page + 1, vec![page, page]),
            (2 * page, vec![page, page]),
            (7 * page, vec![page, page, 5 * page]),
            (8 * page, vec![page, page, 5 * page, 7 * page]),
            (14 * page, vec![page, page, 5 * page, 7 * page]),
        ] {
            assert_eq!(grow(&arenas, wanted), Ok(()));
            assert_eq!(lengths(&arenas), expected);
        }
        assert_eq!(grow(&arenas, 15 * page), Err(Errno::ENOMEM));
    }

    /// They are in memory that RLIMIT_DATA counts from the start.
    #[test]
    fn programs_that_come_one_by_one_find_an_arena() {
        assert!(size_of_val(&ARENAS) <= 4608, "{}", size_of_val(&ARENAS));
        let arenas: [Arena; ARENAS_MAX] = std::array::from_fn(|_| Arena::new());
        for programs in (1..100_000_usize).step_by(7) {
            let wanted = (programs * PROGRAM_BYTES).max(STARTUP_BYTES);
            assert_eq!(grow(&arenas[1..], wanted), Ok(()), "{programs}");
        }
    }

    #[test]
    fn without_pages_there_is_nothing() {
        let arena = Arena::new();
        assert!(arena.take(8).is_none());
        assert!(!arena.has(ptr::null_mut()));
        assert!(!arena.has((&raw const arena).cast_mut().cast()));
    }

    #[test]
    fn blocks_are_served_until_the_arena_is_used_up() {
        let arena = mapped();
        for size in [STARTUP_BYTES + 1, 1 << 40, isize::MAX as usize] {
            assert!(arena.take(size).is_none(), "{size}");
        }
        for round in 0..4 {
            assert!(arena.take(STARTUP_BYTES / 4).is_some(), "round {round}");
        }
        assert!(arena.take(1).is_none());
    }

    #[test]
    fn freed_blocks_are_used_again() {
        let arena = mapped();
        for turn in 0..100_000 {
            let size = 1 + turn * 7 % 9000;
            let block = arena.take(size).expect("a freed one");
            assert!(arena.has(block), "turn {turn}");
            arena.put_back(block, size);
        }
    }

    proptest! {
        /// Blocks that are in use at once keep what was written to them.
        #[test]
        fn no_block_touches_another(
            steps in proptest::collection::vec((any::<bool>(), 1..3000_usize), 1..300),
        ) {
            let arena = mapped();
            let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
            let is_whole = |&(block, size, mark): &(*mut u8, usize, u8)| {
                // SAFETY: taken with this size, written, and not put back.
                let bytes = unsafe { std::slice::from_raw_parts(block, size) };
                bytes.iter().all(|byte| *byte == mark)
            };
            for (number, (takes, size)) in steps.into_iter().enumerate() {
                if takes || held.is_empty() {
                    let Some(block) = arena.take(size) else {
                        continue;
                    };
                    prop_assert_eq!(block as usize % ALIGNMENT, 0);
                    // SAFETY: taken with this size.
                    unsafe { block.write_bytes(number as u8, size) };
                    held.push((block, size, number as u8));
                } else {
                    let block = held.swap_remove(size % held.len());
                    prop_assert!(is_whole(&block));
                    arena.put_back(block.0, block.1);
                }
            }
            prop_assert!(held.iter().all(is_whole));
        }
    }
}
