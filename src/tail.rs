//! The last bytes of a stream: a ring that grows to its limit and not beyond, however much
//! passes through it.

/// The last `limit` bytes of everything that was pushed.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: usize,
    ring: Vec<u8>,
    /// Where the oldest byte stands, once the ring is full.
    oldest: usize,
    total: u64,
}

impl Tail {
    /// Allocates nothing yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            ring: Vec::new(),
            oldest: 0,
            total: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let mut rest = &bytes[bytes.len().saturating_sub(self.limit)..];
        let room = self.limit - self.ring.len();
        if room > 0 {
            let (now, later) = rest.split_at(rest.len().min(room));
            self.reserve(now.len());
            self.ring.extend_from_slice(now);
            rest = later;
        }
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.limit - self.oldest));
            self.ring[self.oldest..self.oldest + now.len()].copy_from_slice(now);
            self.oldest = (self.oldest + now.len()) % self.limit;
            rest = later;
        }
    }

    /// The kept bytes in order, and how many were pushed before them.
    pub(crate) fn into_bytes(mut self) -> (Vec<u8>, u64) {
        self.ring.rotate_left(self.oldest);
        let omitted = self.total - self.ring.len() as u64;
        (self.ring, omitted)
    }

    /// Doubles, but never beyond the limit.
    fn reserve(&mut self, more: usize) {
        let needed = self.ring.len() + more;
        if needed > self.ring.capacity() {
            let target = needed.next_power_of_two().min(self.limit);
            self.ring.reserve_exact(target - self.ring.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn keeps_exactly_the_last_bytes_however_they_come() {
        let stream: Vec<u8> = (0..=255)
            .cycle()
            .take(1000)
            .map(|n: u8| n.wrapping_mul(7))
            .collect();
        for limit in [0, 1, 2, 3, 7, 64, 100, 999, 1000, 1001] {
            for piece in [1, 2, 3, 5, 63, 64, 65, 500, 1000] {
                let mut tail = Tail::new(limit);
                for chunk in stream.chunks(piece) {
                    tail.push(chunk);
                    assert!(tail.ring.capacity() <= limit.max(8), "limit {limit}");
                }
                let (bytes, omitted) = tail.into_bytes();
                let kept = limit.min(stream.len());
                assert_eq!(
                    bytes,
                    stream[stream.len() - kept..],
                    "limit {limit}, pieces of {piece}"
                );
                assert_eq!(omitted, (stream.len() - kept) as u64);
            }
        }
    }

    #[test]
    fn an_empty_one_has_nothing() {
        assert_eq!(Tail::new(10).into_bytes(), (Vec::new(), 0));
    }
}
