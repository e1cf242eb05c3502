//! Finds keys of the outermost object of a file and passes over the others byte by byte, which takes
//! a fiftieth of the time that reading them takes: a client that asks about one of ten thousand
//! programs needs to know where the socket is, and nothing else of the file.
//!
//! It knows no places and tells no errors. Where a text has anything that is not as usual it finds
//! nothing, and the file is read in the other way, [`scan_keys`](super::scan::scan_keys).

/// Returns the text of an object that has these keys of the object in `text`, each as often and with
/// the value that it has there, and no other keys.
pub(super) fn only(text: &str, keys: &[&str]) -> Option<String> {
    let mut skimmer = Skimmer {
        bytes: text.as_bytes(),
        at: 0,
    };
    let mut found = String::from("{");
    if skimmer.after_space()? != b'{' {
        return None;
    }
    skimmer.at += 1;
    loop {
        match skimmer.after_space()? {
            b',' => skimmer.at += 1,
            b'"' => {
                let start = skimmer.at;
                let is_wanted = skimmer.entry(keys)?;
                if is_wanted {
                    found.extend([&text[start..skimmer.at], ","]);
                }
            }
            b'}' => break,
            _ => return None,
        }
    }
    // What follows is ignored, unless it is a comment that may have no end.
    let rest = &text[skimmer.at..];
    found.push('}');
    (!rest.contains("/*")).then_some(found)
}

struct Skimmer<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Skimmer<'_> {
    /// Passes over a key and its value; true if the key is one of these.
    fn entry(&mut self, keys: &[&str]) -> Option<bool> {
        let start = self.at + 1;
        self.string()?;
        let key = self.bytes.get(start..self.at - 1)?;
        // It may be one of them in disguise, or no JSON.
        if key.iter().any(|&byte| byte == b'\\' || byte < b' ') {
            return None;
        }
        if self.after_space()? != b':' {
            return None;
        }
        self.at += 1;
        self.value()?;
        Some(keys.iter().any(|wanted| wanted.as_bytes() == key))
    }

    /// Passes over a value.
    fn value(&mut self) -> Option<()> {
        match self.after_space()? {
            b'"' => self.string(),
            b'[' | b'{' => self.nested(),
            _ => self.scalar(),
        }
    }

    /// Passes over a number or a word. What else it may be, where this is no JSON, is not known.
    fn scalar(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest.iter().position(|byte| !is_part(byte))?;
        self.at += length;
        let ends = b" \t\r\n,]}/".contains(&rest[length]);
        (length > 0 && ends).then_some(())
    }

    /// Passes over an array or an object. Nothing in it matters but where it ends.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => self.at += 1,
                b'"' => self.string()?,
                b'/' => self.comment()?,
                b'[' | b'{' => {
                    self.at += 1;
                    depth += 1;
                }
                b']' | b'}' => {
                    self.at += 1;
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => self.scalar()?,
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let length = quote_or_backslash(rest)?;
            let is_end = rest[length] == b'"';
            // The byte after a backslash, or the first of its character, does not end the string.
            self.at += length + if is_end { 1 } else { 2 };
            if is_end {
                return Some(());
            }
        }
    }

    /// Passes over white space and comments, and returns the next byte.
    fn after_space(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'/' => self.comment()?,
                byte => return Some(byte),
            }
        }
    }

    fn comment(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let length = match rest.get(1)? {
            b'/' => rest.iter().position(|&byte| byte == b'\n')?,
            b'*' => 4 + rest[2..].windows(2).position(|pair| pair == b"*/")?,
            _ => return None,
        };
        self.at += length;
        Some(())
    }
}

/// Finds the first of both: eight bytes at a time, as most of a file is strings.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = EACH << 7;
    // The lowest bit that is set is that of the first byte that is 0; what is above it tells nothing.
    let zeros = |word: u64| word.wrapping_sub(EACH) & !word & HIGH_BITS;
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found =
            zeros(word ^ (EACH * u64::from(b'"'))) | zeros(word ^ (EACH * u64::from(b'\\')));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| b"\"\\".contains(byte))?;
    Some(words.len() * 8 + found)
}

#[cfg(test)]
mod tests {
    use super::{only, quote_or_backslash};

    #[test]
    fn the_first_of_both_is_found_wherever_it_is() {
        // Bytes that differ from what is sought, or from nothing, in one bit.
        let others = [
            0, 1, b'!', b'#', b'[', b']', b'\xa2', b'\xdc', 0x7f, 0x80, 0xff,
        ];
        for length in 0..40 {
            for other in others {
                let mut bytes = vec![other; length];
                assert_eq!(quote_or_backslash(&bytes), None, "{length} of {other}");
                for at in (0..length).rev() {
                    bytes[at] = [b'"', b'\\'][at % 2];
                    assert_eq!(quote_or_backslash(&bytes), Some(at), "{length} of {other}");
                }
            }
        }
    }

    #[test]
    fn keys_are_found_and_others_passed_over() {
        let keys = ["control", "base_dir"];
        for (text, expected) in [
            ("{}", "{}"),
            (" { \"a\" : 1 , } what follows", "{}"),
            ("{\"control\": false, \"a\": tru}", "{\"control\": false,}"),
            (
                "{\"a\": {\"control\": 1, \"}\\\"\": [\"{\\\\\"]}, \"control\": \"é\\\"\"}",
                "{\"control\": \"é\\\"\",}",
            ),
            (
                "/* { */ {\"control\" // :\n : /* } */ 1/**/, \"b\":[1 2 {]}, \"control\": [{}]}",
                "{\"control\" // :\n : /* } */ 1,\"control\": [{}],}",
            ),
            (
                "{\"a\": [\"//\"], \"base_dir\": \"/*\"}",
                "{\"base_dir\": \"/*\",}",
            ),
        ] {
            assert_eq!(only(text, &keys).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_as_usual_is_left_to_the_other_way() {
        for text in [
            "",
            "[]",
            "{",
            "{\"control\"}",
            "{\"control\": }",
            "{\"a\": 1",
            "{\"contr\\u006fl\": 1}",
            "{\"a\n\": 1}",
            "{\"a\": 1\"control\": 2}",
            "{\"a\": [tr\"ue]}",
            "{\"a\": [1[2]}",
            "{\"a\": [1], /* }",
            "{\"a\": [1 / 2]}",
            "{\"a\": 1} /* what follows",
            "{\"a\": \"1}",
            "{\"a\": \"1\\",
        ] {
            assert_eq!(only(text, &["control"]), None, "{text}");
        }
    }
}
