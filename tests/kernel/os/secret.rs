//! What no process of the simulated system can guess, and the same in each life of one seed.

pub(crate) fn random_bits() -> [u64; 2] {
    [4711, 4712]
}
