//! Command lines: the words that they are, or the shell that they need.

/// What only a shell understands.
const SHELL_CHARACTERS: &[char] = &[
    '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '[', '~', '#', '\n',
];

/// Returns the words of a line by the quoting of a POSIX shell, which expands nothing; `None` if a
/// quote is left open.
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => match rest.next()? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Returns the command of a line that is given to a shell: its words, or a shell with it.
pub fn of_shell(line: &str) -> Vec<String> {
    let line = line.trim();
    let has_assignment = assignments(line) > 0;
    let is_plain = !line.contains(SHELL_CHARACTERS) && !has_assignment;
    if is_plain && let Some(words) = split(line) {
        return words;
    }
    vec!["sh".to_owned(), "-c".to_owned(), with_exec(line)]
}

/// Returns the line so that the shell becomes the program, if it is one command alone.
pub fn with_exec(line: &str) -> String {
    let starts_itself = ["exec ", "cd ", ". ", "source ", "export ", "set ", "eval "];
    let is_compound = line.contains(['|', ';', '&', '(', '`', '\n']) || line.contains("$(");
    if is_compound || starts_itself.iter().any(|word| line.starts_with(word)) {
        return line.to_owned();
    }
    let (before, command) = line.split_at(assignments(line));
    format!("{before}exec {command}")
}

/// Returns how many bytes of the line are assignments before a command: `PORT=80 `.
fn assignments(line: &str) -> usize {
    let mut length = 0;
    while let Some((name, _)) = line[length..].split_once('=') {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            break;
        }
        // A quoted value may have spaces; what it is matters to the shell alone.
        let Some(end) = end_of_word(&line[length..]) else {
            break;
        };
        length += end;
    }
    length
}

/// Returns where the word after the first one begins.
fn end_of_word(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ' ' | '\t') => return Some(text.len() - text[at..].trim_start().len()),
            _ => {}
        }
    }
    None
}
