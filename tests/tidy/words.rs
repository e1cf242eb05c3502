//! Words that are no longer used in `src/`: in comments, in messages, in names and in the guide.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::TokenTree;

use crate::sources::{root, sources_below};

/// A word or several, and what to write instead. They are found whole, in any case, and over the
/// end of a line.
const BANNED: &[(&str, &str)] = &[
    ("household", "orphans"),
    ("nobody", "no process, no caller"),
    ("nobodys", "None"),
    ("somebody", "a process, a caller, another part of the host"),
    ("anybody", "any process"),
    ("everybody", "every process"),
    ("whoever", "the process that"),
    ("whom", "that"),
    ("wish", "request, command"),
    ("wishes", "requests, commands"),
    ("wished", "requested"),
    ("come home", "is reparented to us"),
    ("comes home", "is reparented to us"),
    ("came home", "was reparented to us"),
    ("coming home", "reparenting"),
    ("lay by", "reserve"),
    ("lays by", "reserves"),
    ("laid by", "reserved"),
    ("laying by", "reserving"),
    ("for want of", "because there is no; out of memory"),
    ("so many", "the number, the bound"),
    ("is told", "receives, is notified"),
    ("are told", "receive, are notified"),
    ("was told", "received, was notified"),
    ("were told", "received, were notified"),
    ("be told", "be notified, be reported"),
    ("been told", "been notified, been reported"),
    ("untold", "unreported"),
    ("unnoted", "unlogged"),
    ("met a fact", "internal error: unexpected"),
    ("news", "notice, event"),
    ("in vain", "spurious, without result"),
    ("is deaf", "lost_events"),
    ("hopeless", "SPURIOUS_MAX"),
    ("obey", "apply, on_command"),
    ("lingering", "GroupProbes"),
    ("lookout", "Reaper"),
    ("chatter", "ReadCoalescer"),
    ("talker", "PipeRate"),
];

/// A word with the line that it is in.
struct Word {
    line: usize,
    text: String,
}

/// The words of a file. What is no letter parts them, so that a phrase is found in a comment of
/// several lines, and each part of a name as `can_be_told`.
fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let parts = line.split(|letter: char| !letter.is_ascii_alphabetic());
        words.extend(parts.filter(|part| !part.is_empty()).map(|part| Word {
            line: index + 1,
            text: part.to_ascii_lowercase(),
        }));
    }
    words
}

/// Adds where a text has one of the words.
fn look_for_old_words(path: &Path, text: &str, offenders: &mut BTreeSet<String>) {
    let words = words_of(text);
    for (phrase, instead) in BANNED {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        for found in words.windows(phrase.len()) {
            if found
                .iter()
                .zip(&phrase)
                .all(|(one, other)| one.text == **other)
            {
                let (path, line) = (path.display(), found[0].line);
                let phrase = phrase.join(" ");
                offenders.insert(format!("{path}:{line}: \"{phrase}\": better {instead}"));
            }
        }
    }
}

#[test]
fn no_word_of_the_old_vocabulary() {
    let mut offenders = BTreeSet::new();
    for source in sources_below("src") {
        look_for_old_words(&source.path, &source.text, &mut offenders);
    }
    assert!(offenders.is_empty(), "{}", list(offenders));
}

/// Names of tests, in spans of code, may have them, and so may what is printed between markers:
/// `<!-- keys -->`.
#[test]
fn no_word_of_the_old_vocabulary_in_the_guide() {
    let guide = root().join("src/guide");
    let mut offenders = BTreeSet::new();
    let mut pages = 0;
    for file in std::fs::read_dir(guide).expect("the guide").flatten() {
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        pages += 1;
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let mut is_printed = false;
        let prose = |line: &str| {
            if let Some(marker) = line.strip_prefix("<!-- ") {
                is_printed = ["keys -->", "commands -->"].contains(&marker);
            }
            let words: Vec<&str> = line.split('`').step_by(2).collect();
            if is_printed {
                String::new()
            } else {
                words.join("`")
            }
        };
        let prose: Vec<String> = text.lines().map(prose).collect();
        let path = path.strip_prefix(root()).expect("below the root");
        look_for_old_words(path, &prose.join("\n"), &mut offenders);
    }
    assert!(pages > 15, "{pages} pages");
    assert!(offenders.is_empty(), "{}", list(offenders));
}

/// Bad input is `invalid X: expected Y`. "There is no X" may be said.
#[test]
fn no_message_says_what_something_is_not() {
    let mut offenders = BTreeSet::new();
    for source in sources_below("src") {
        if source.is_test() {
            continue;
        }
        for (index, token) in source.tokens.iter().enumerate() {
            let TokenTree::Literal(literal) = token else {
                continue;
            };
            let text = literal.to_string();
            // A doc comment is an attribute with a literal.
            let is_doc = index >= 2 && source.tokens[index - 2].to_string() == "doc";
            if is_doc || !text.starts_with(['"', 'r']) {
                continue;
            }
            let has_it = text
                .match_indices("is no ")
                .any(|(at, _)| !text[..at].to_ascii_lowercase().ends_with("there "));
            if has_it {
                let (path, line) = (source.path.display(), literal.span().start().line);
                offenders.insert(format!("{path}:{line}: {text}"));
            }
        }
    }
    assert!(offenders.is_empty(), "{}", list(offenders));
}

fn list(offenders: BTreeSet<String>) -> String {
    let count = offenders.len();
    let lines: Vec<String> = offenders.into_iter().collect();
    format!("{count} places:\n  {}", lines.join("\n  "))
}
