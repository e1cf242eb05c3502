//! The allocator of a supervisor, in a process that gets no more memory. It stands behind this
//! whole process, harness and all, so the one test here is alone in it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[global_allocator]
static MEMORY: procsched::Reserve = procsched::Reserve;

/// What a piece may have at most, and how many of these are laid by.
const PIECE: usize = 65_520;
const PIECES: usize = 4;

fn limit(bytes: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).expect("a limit");
    setrlimit(Resource::RLIMIT_DATA, bytes.min(hard), hard).expect("a lower limit");
}

/// Pieces of that many bytes, each filled with its number, until there are no more.
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

#[test]
fn where_the_system_refuses_everything_it_serves_what_is_small_for_ever() {
    procsched::Reserve::fill().expect("memory");
    procsched::Reserve::fill().expect("nothing to do");
    // 0 would be no limit.
    limit(4096);
    for round in 0..50 {
        let mut pieces = take_all(PIECE);
        assert!(pieces.len() >= PIECES, "round {round}: {}", pieces.len());
        assert!(pieces.len() < 1_000, "round {round}: there is no limit");
        assert!(are_whole(&pieces), "round {round}");
        // What was used before is zero all the same.
        pieces.truncate(PIECES / 2);
        let zeroes = vec![0_u8; PIECE / 4];
        assert!(zeroes.iter().all(|byte| *byte == 0), "round {round}");
        drop(zeroes);
        drop(pieces);
        // From the heap to the reserve and from size to size, byte by byte.
        let mut grown = Vec::new();
        (0..PIECE / 2).for_each(|number| grown.push(number as u8));
        let expected = |(number, byte): (usize, &u8)| *byte == number as u8;
        assert!(grown.iter().enumerate().all(expected), "round {round}");
        assert!(grown.try_reserve_exact(1 << 20).is_err(), "round {round}");
        assert!(grown.iter().enumerate().all(expected), "round {round}");
    }
    limit(u64::MAX);
    let mut large: Vec<u8> = Vec::new();
    assert!(large.try_reserve_exact(1 << 24).is_ok(), "as before");
}
