//! The allocator of a supervisor in a process that gets no more memory: small allocations succeed,
//! however often. It serves the whole process, so this one test is alone in it, without the threads
//! of a harness.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[global_allocator]
static MEMORY: procsched::EmergencyHeap = procsched::EmergencyHeap;

/// The size of a large piece, and how many of these fit into the reserved memory.
const PIECE: usize = 65_520;
const PIECES: usize = 4;

fn limit(bytes: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).expect("a limit");
    setrlimit(Resource::RLIMIT_DATA, bytes.min(hard), hard).expect("a lower limit");
}

/// Allocates pieces of that size, each filled with its number, until there are no more.
fn take_all(size: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::with_capacity(1_000);
    while all.len() < all.capacity() {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(size).is_err() {
            break;
        }
        piece.resize(size, all.len() as u8);
        all.push(piece);
    }
    all
}

fn are_whole(pieces: &[Vec<u8>]) -> bool {
    let mut numbers = (0..=255).cycle();
    let mut is_whole = |piece: &Vec<u8>| {
        let number: u8 = numbers.next().expect("they go round");
        piece.iter().all(|byte| *byte == number)
    };
    pieces.iter().all(&mut is_whole)
}

/// A failure is reported when there is memory again.
fn serve() -> Result<(), &'static str> {
    let holds = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    let mut pieces = take_all(PIECE);
    holds(pieces.len() >= PIECES, "less than was reserved")?;
    holds(pieces.len() < pieces.capacity(), "there is no limit")?;
    holds(are_whole(&pieces), "pieces overlap")?;
    pieces.truncate(PIECES / 2);
    let zeroes = vec![0_u8; PIECE / 4];
    holds(zeroes.iter().all(|byte| *byte == 0), "remains of others")?;
    drop((zeroes, pieces));
    // From the heap to the reserved memory and from size to size, byte by byte.
    let mut grown = Vec::new();
    (0..PIECE / 2).for_each(|number| grown.push(number as u8));
    let expected = |(number, byte): (usize, &u8)| *byte == number as u8;
    holds(grown.iter().enumerate().all(expected), "grown otherwise")?;
    let more = grown.try_reserve_exact(1 << 20);
    holds(more.is_err(), "more than was reserved")?;
    holds(
        grown.iter().enumerate().all(expected),
        "refused and changed",
    )
}

fn main() {
    procsched::EmergencyHeap::reserve().expect("memory");
    procsched::EmergencyHeap::reserve().expect("nothing to do");
    // 0 would be no limit.
    limit(4096);
    let served = (0..50).try_for_each(|_| serve());
    limit(u64::MAX);
    assert_eq!(served, Ok(()));
    let mut large: Vec<u8> = Vec::new();
    assert!(large.try_reserve_exact(1 << 24).is_ok(), "as before");
}
