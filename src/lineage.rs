//! Finds the program that a process belongs to. A variable in its environment names the programs
//! that it descends from, that of the outermost supervisor first:
//!
//! ```text
//! PROCSCHED_CHAIN=site:3c0f1d2ab4e59687/db:97d20c65be41f803
//! ```
//!
//! A supervisor appends its program to the chain that it inherited, so that nested supervisors all
//! find theirs. Each name is followed by a code: a hash of the name with a random secret of that
//! supervisor. So programs of the same name are distinct on every level, and processes of an
//! earlier supervisor match nothing. To claim another program, a process would have to read its
//! environment, which the kernel allows only to those that may trace it, and so kill it.
//!
//! A process without a code of this supervisor belongs to no program.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;

use crate::os::secret;

/// The variable with the program's own name.
pub(crate) const PROGRAM_VARIABLE: &str = "PROCSCHED_PROGRAM";

pub(crate) const CHAIN_VARIABLE: &str = "PROCSCHED_CHAIN";

/// The longest inherited chain that is passed on, in bytes: 50 levels and more. A supervisor that
/// starts itself would otherwise exceed the limit of exec.
const INHERITED_BYTES_MAX: usize = 4096;

const SEPARATOR: u8 = b'/';

/// The length of a code, in hexadecimal digits.
const CODE_BYTES: usize = 16;

/// The inherited chain of one supervisor, and its secret.
pub(crate) struct Lineage {
    secret: [u64; 2],
    /// The inherited variable, or its key without a value.
    inherited: Vec<u8>,
    is_outermost: bool,
}

/// Hides the secret.
impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage").finish_non_exhaustive()
    }
}

impl Lineage {
    /// Returns a lineage with a new secret, below the chain that this process inherited.
    pub(crate) fn new() -> Self {
        let inherited = std::env::var_os(CHAIN_VARIABLE).unwrap_or_default();
        Self::below(&inherited, secret::random_bits())
    }

    fn below(inherited: &OsStr, secret: [u64; 2]) -> Self {
        let inherited = innermost(inherited.as_bytes());
        Self {
            secret,
            inherited: [CHAIN_VARIABLE.as_bytes(), b"=", inherited].concat(),
            is_outermost: inherited.is_empty(),
        }
    }

    /// Returns the variable for a program, or, with an empty name, for a process that belongs to no
    /// program of this supervisor: then it is the inherited chain, if there is one.
    pub(crate) fn variable_of(&self, name: &str) -> Option<CString> {
        // With two separators and the NUL: one allocation for each start.
        let bytes = self.inherited.len() + name.len() + CODE_BYTES + 3;
        let mut text = Vec::with_capacity(bytes);
        text.extend(&self.inherited);
        if !name.is_empty() {
            if !self.is_outermost {
                text.push(SEPARATOR);
            }
            text.extend(name.as_bytes());
            text.push(b':');
            text.extend(self.code_of(name.as_bytes()));
        } else if self.is_outermost {
            return None;
        }
        CString::new(text).ok()
    }

    /// Returns the name of this supervisor's program in a process's chain.
    pub(crate) fn program_in<'a>(&self, chain: &'a [u8]) -> Option<&'a [u8]> {
        let mut items = chain.split(|&byte| byte == SEPARATOR);
        items.find_map(|item| {
            let (rest, code) = item.split_last_chunk::<CODE_BYTES>()?;
            let name = rest.strip_suffix(b":")?;
            (self.code_of(name) == *code).then_some(name)
        })
    }

    fn code_of(&self, name: &[u8]) -> [u8; CODE_BYTES] {
        // The only keyed hash of the standard library.
        #[allow(deprecated)]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write(name);
        let code = hasher.finish();
        std::array::from_fn(|index| {
            let digit = (code >> (60 - 4 * index)) & 0xf;
            b"0123456789abcdef"[digit as usize]
        })
    }
}

/// Returns as many whole items from the end of a chain as may be passed on.
fn innermost(chain: &[u8]) -> &[u8] {
    if chain.len() <= INHERITED_BYTES_MAX {
        return chain;
    }
    // With the byte before it, which may be the separator.
    let tail = &chain[chain.len() - INHERITED_BYTES_MAX - 1..];
    let end = tail.iter().position(|&byte| byte == SEPARATOR);
    end.map_or(b"", |end| &tail[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(inherited: &str, secret: u64) -> Lineage {
        Lineage::below(inherited.as_ref(), [secret, !secret])
    }

    fn value(lineage: &Lineage, name: &str) -> String {
        let variable = lineage.variable_of(name).expect("a variable");
        let variable = variable.into_string().expect("text");
        let value = variable.strip_prefix("PROCSCHED_CHAIN=");
        value.expect("its key").to_owned()
    }

    fn found(lineage: &Lineage, chain: &str) -> Option<String> {
        let name = lineage.program_in(chain.as_bytes())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    #[test]
    fn each_supervisor_finds_its_own_program_in_a_chain() {
        let outer = below("", 1);
        let inner = below(&value(&outer, "site"), 2);
        let chain = value(&inner, "db");
        assert_eq!(found(&outer, &chain).as_deref(), Some("site"));
        assert_eq!(found(&inner, &chain).as_deref(), Some("db"));
        // Equal names are two programs.
        let chain = value(&below(&value(&outer, "db"), 2), "db");
        assert_eq!(chain.matches("db:").count(), 2);
        assert_eq!(found(&inner, &chain).as_deref(), Some("db"));
        assert_eq!(found(&inner, &value(&outer, "db")), None);
    }

    #[test]
    fn a_name_without_its_code_is_no_claim() {
        let lineage = below("", 7);
        let web = value(&lineage, "web");
        assert_eq!(web.len(), "web:".len() + CODE_BYTES);
        let forged = web.replace("web", "db");
        let upper = web.to_uppercase().replace("WEB", "web");
        let (short, long) = (&web[..web.len() - 1], format!("{web}0"));
        let codeless = "web:".to_owned();
        let of_another = value(&below("", 8), "web");
        for chain in [
            "",
            "web",
            "/",
            ":",
            &codeless,
            &forged,
            short,
            &long,
            &of_another,
        ] {
            assert_eq!(found(&lineage, chain), None, "{chain:?}");
        }
        assert!(upper == web || found(&lineage, &upper).is_none());
        assert_eq!(
            found(&lineage, &format!("x//{web}/y")).as_deref(),
            Some("web")
        );
        // What a program puts behind its own item is not of our level.
        let other = value(&lineage, "other");
        let both = format!("{other}/{web}");
        assert_eq!(found(&lineage, &both).as_deref(), Some("other"));
    }

    #[test]
    fn what_is_of_no_program_carries_what_was_inherited() {
        assert_eq!(below("", 1).variable_of(""), None);
        assert_eq!(value(&below("site:1", 1), ""), "site:1");
    }

    #[test]
    fn a_chain_without_end_is_passed_on_in_part() {
        let item = "x".repeat(63);
        let long = vec![&*item; 100].join("/");
        for cut in 0..130 {
            let passed_on = innermost(&long.as_bytes()[cut..]);
            let bytes = passed_on.len();
            assert!((INHERITED_BYTES_MAX - 64..=INHERITED_BYTES_MAX).contains(&bytes));
            assert!(
                passed_on
                    .split(|&byte| byte == SEPARATOR)
                    .all(|item| item.len() == 63)
            );
        }
        assert!(innermost(&[b'x'; INHERITED_BYTES_MAX + 1]).is_empty());
        let whole = [b'x'; INHERITED_BYTES_MAX];
        assert!(innermost(&whole) == whole);
        let after = [&b"y/"[..], &whole].concat();
        assert!(innermost(&after) == whole);
    }
}
