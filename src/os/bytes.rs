//! Searches in bytes by the C library, which looks at many of them at a time where an iterator looks at
//! one.

/// Returns where this byte is first.
pub(crate) fn position(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (start, length) = (bytes.as_ptr(), bytes.len());
    // SAFETY: the pointer is to live bytes of this length.
    let found = unsafe { libc::memchr(start.cast(), byte.into(), length) };
    (!found.is_null()).then(|| found as usize - start as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_found_inside_only() {
        let bytes = b"ab\ncd\n";
        assert_eq!(position(b'\n', bytes), Some(2));
        assert_eq!(position(b'\n', &bytes[3..]), Some(2));
        assert_eq!(position(b'\n', &bytes[3..5]), None);
        assert_eq!(position(b'\n', b""), None);
        assert_eq!(position(0xff, &[0, 0xff]), Some(1));
    }
}
