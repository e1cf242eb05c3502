//! The last bytes of a stream: a ring that grows to its limit and not beyond, however much
//! passes through it.

/// The last `limit` bytes of everything that was pushed. Of a silent program there may be ten
/// thousand, so nothing is allocated before the first byte.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: u32,
    kept: Option<Box<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    ring: Vec<u8>,
    /// Where the oldest byte stands, once the ring is full.
    oldest: usize,
    total: u64,
}

impl Tail {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, kept: None }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let kept = self.kept.get_or_insert_default();
        kept.push(bytes, self.limit as usize);
    }

    /// The kept bytes in order, and how many were pushed before them.
    pub(crate) fn into_bytes(self) -> (Vec<u8>, u64) {
        let Some(mut kept) = self.kept else {
            return (Vec::new(), 0);
        };
        kept.ring.rotate_left(kept.oldest);
        let omitted = kept.total - kept.ring.len() as u64;
        (kept.ring, omitted)
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8], limit: usize) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let mut rest = &bytes[bytes.len().saturating_sub(limit)..];
        let room = limit - self.ring.len();
        if room > 0 {
            let (now, later) = rest.split_at(rest.len().min(room));
            self.reserve(now.len(), limit);
            self.ring.extend_from_slice(now);
            rest = later;
        }
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(limit - self.oldest));
            self.ring[self.oldest..self.oldest + now.len()].copy_from_slice(now);
            self.oldest = (self.oldest + now.len()) % limit;
            rest = later;
        }
    }

    /// Doubles, but never beyond the limit.
    fn reserve(&mut self, more: usize, limit: usize) {
        let needed = self.ring.len() + more;
        if needed > self.ring.capacity() {
            let target = needed.next_power_of_two().min(limit);
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
                let mut tail = Tail::new(u32::try_from(limit).unwrap());
                for chunk in stream.chunks(piece) {
                    tail.push(chunk);
                    let room = tail.kept.as_ref().map(|kept| kept.ring.capacity());
                    assert!(room <= Some(limit.max(8)), "limit {limit}");
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
