//! The format of supervisord.conf: sections, `key = value`, continued lines, comments.

use std::path::Path;

use super::Place;

/// A section with its keys, in their order.
#[derive(Debug)]
pub struct Section {
    pub name: String,
    /// The directory of its file, from the root.
    pub here: String,
    pub place: Place,
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub place: Place,
}

/// Reads a file, or returns the first line that is none of it.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Section>, String> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let here = whole.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let mut sections: Vec<Section> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let place = Place::new(path, index + 1);
        let line = without_comment(raw);
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |expected: &str| {
            let (file, line) = (path.display(), index + 1);
            Err(format!(
                "{file}:{line}: invalid line {:?}: expected {expected}",
                raw.trim()
            ))
        };
        if let Some(rest) = line.trim_start().strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                return wrong("[SECTION]");
            };
            sections.push(Section {
                name: name.trim().to_owned(),
                here: here.clone().into_owned(),
                place,
                entries: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return wrong("a [SECTION] before it");
        };
        if line.starts_with([' ', '\t'])
            && let Some(last) = section.entries.last_mut()
        {
            last.value += &format!("\n{}", line.trim());
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return wrong("KEY = VALUE");
        };
        section.entries.push(Entry {
            key: key.trim().to_lowercase(),
            value: value.trim().to_owned(),
            place,
        });
    }
    Ok(sections)
}

/// Returns a line without its comment, which begins the line, or follows a space.
fn without_comment(line: &str) -> &str {
    let starts = |(at, _): &(usize, char)| *at == 0 || line[..*at].ends_with([' ', '\t']);
    let mut marks = line
        .char_indices()
        .filter(|(_, character)| [';', '#'].contains(character));
    match marks.find(starts) {
        Some((at, _)) => &line[..at],
        None => line,
    }
}
