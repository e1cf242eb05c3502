//! A part of a file of the repository that is made of something else.

use std::path::Path;

/// Compares the part of a file between two lines with what it has to be. With `PROCSCHED_WRITE=1`
/// it is written there instead.
pub fn check(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).expect("the file is there");
    let is_page = path.extension().is_some_and(|extension| extension == "md");
    let [begin, end] = ["", "/"].map(|slash| match is_page {
        true => format!("<!-- {slash}{name} -->\n"),
        false => format!("# <{slash}{name}>\n"),
    });
    let missing = |mark: &str| panic!("{file} has no line {mark}");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| missing(&begin));
    let (part, after) = rest.split_once(&end).unwrap_or_else(|| missing(&end));
    // An empty line parts a table from a comment.
    let expected = match is_page {
        true => format!("\n{expected}\n"),
        false => expected.to_owned(),
    };
    if std::env::var_os("PROCSCHED_WRITE").is_some() {
        let whole = format!("{before}{begin}{expected}{end}{after}");
        std::fs::write(path, whole).expect("it can be written");
        return;
    }
    assert_eq!(
        part, expected,
        "{file} differs in \"{name}\": run this test with PROCSCHED_WRITE=1, and look at the change"
    );
}
