//! A number of bytes, or of other things: whole, or with a unit of 1024.

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Reads a size as `from_text` of [`Item::whole_or`](super::item::Item::whole_or). `None` if it is none.
pub(super) fn from_text(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(*unit));
    let (digits, shift) = match unit {
        Some((_, shift)) => (&text[..text.len() - 1], *shift),
        None => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_whole_and_may_have_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("64K", Some(65_536)),
            ("10M", Some(10_485_760)),
            ("1G", Some(1 << 30)),
            ("2T", Some(2 << 40)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777216T", None),
            ("", None),
            ("K", None),
            ("1k", None),
            ("1KB", None),
            ("1.5M", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
        ] {
            assert_eq!(from_text(text), expected, "{text:?}");
        }
    }
}
