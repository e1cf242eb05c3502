//! Bytes that both sides can compute: the probe writes them, a test compares what arrived.
//!
//! Each byte depends on its position alone, so a byte that is missing, doubled or moved
//! shows, and the tail of a large output is known without the rest of it.

/// What the bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Printable ASCII, never a line feed.
    Flat,
    /// The same with a line feed as each 64th byte.
    Lines,
    /// Line feeds alone.
    Empty,
    /// All 256 values, so invalid UTF-8, and a NUL as each seventh byte.
    Binary,
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "flat" => Ok(Self::Flat),
            "lines" => Ok(Self::Lines),
            "empty" => Ok(Self::Empty),
            "binary" => Ok(Self::Binary),
            _ => Err(format!("no such pattern: {name:?}")),
        }
    }
}

impl Pattern {
    /// The byte at this position.
    pub fn byte(self, at: u64) -> u8 {
        let raw = mix(at / 8).to_le_bytes()[(at % 8) as usize];
        match self {
            Self::Flat => printable(raw),
            Self::Lines if at % 64 == 63 => b'\n',
            Self::Lines => printable(raw),
            Self::Empty => b'\n',
            Self::Binary if at % 7 == 6 => 0,
            Self::Binary => raw,
        }
    }

    /// Fills `buffer` with the bytes from position `at` on.
    pub fn fill(self, at: u64, buffer: &mut [u8]) {
        for (position, byte) in (at..).zip(buffer) {
            *byte = self.byte(position);
        }
    }
}

/// The line of this number, which differs from all others in text and from its neighbours in length.
pub fn numbered(number: u64) -> String {
    format!("line {number:08} {}\n", ".".repeat((number % 61) as usize))
}

/// 64 well-mixed bits for a position (the finaliser of splitmix64).
fn mix(position: u64) -> u64 {
    let mut bits = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn printable(raw: u8) -> u8 {
    b'!' + raw % 94
}
