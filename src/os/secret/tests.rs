#[allow(dead_code, clippy::duplicate_mod)] // Tests of whole hosts and of others here use it, too.
#[path = "../../../tests/embedding/refusals.rs"]
mod refusals;

use super::*;

#[test]
fn no_two_are_equal_with_and_without_getrandom() {
    let mut all = vec![random_bits(), random_bits()];
    for errno in [libc::ENOSYS, libc::EPERM, libc::EAGAIN] {
        let refused = std::thread::spawn(move || {
            refusals::refuse(&[libc::SYS_getrandom], errno);
            [random_bits(), random_bits()]
        });
        all.extend(refused.join().expect("no panic"));
    }
    let mut halves: Vec<u64> = all.into_iter().flatten().collect();
    let count = halves.len();
    halves.sort_unstable();
    halves.dedup();
    assert_eq!((halves.len(), halves.contains(&0)), (count, false));
}
