//! Bytes in the place of chance: what the simulation draws is what comes next in them.
//!
//! A choice takes as few bytes as it needs, so that a byte more or less is a choice more or
//! less. When there are no more, every choice is the first one, and what is rare does not happen.

pub struct Rng {
    bytes: Vec<u8>,
    used: usize,
}

impl Rng {
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            used: 0,
        }
    }

    /// Whether every choice was made.
    pub fn is_over(&self) -> bool {
        self.used >= self.bytes.len()
    }

    /// The next bytes as they are, as many as there are at most.
    pub fn take(&mut self, count: usize) -> &[u8] {
        let from = self.used.min(self.bytes.len());
        self.used = (from + count).min(self.bytes.len());
        &self.bytes[from..self.used]
    }

    pub fn next(&mut self) -> u64 {
        self.number(8)
    }

    /// At least 0, less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let bits = u64::BITS - end.saturating_sub(1).leading_zeros();
        self.number(bits.div_ceil(8) as usize) % end
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    fn number(&mut self, bytes: usize) -> u64 {
        let number = |number, &byte: &u8| number << 8 | u64::from(byte);
        self.take(bytes).iter().fold(0, number)
    }
}
