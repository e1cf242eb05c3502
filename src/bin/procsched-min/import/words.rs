//! Command lines: the words that they are, or the shell that they need.

/// What only a shell understands.
const SHELL_CHARACTERS: &[char] = &[
    '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '[', '~', '#', '\n',
];

/// What stands around the name of a variable of the environment, outside of quotes and inside.
pub const VARIABLE: char = '\u{1}';
const VARIABLE_IN_QUOTES: char = '\u{2}';
pub const VARIABLE_END: char = '\u{3}';

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
                        other => word.push(in_quotes(other)),
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
                        other => word.push(in_quotes(other)),
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

/// Returns a character as it stands in quotes.
fn in_quotes(character: char) -> char {
    match character {
        VARIABLE => VARIABLE_IN_QUOTES,
        other => other,
    }
}

/// Returns a word for a shell that expands its variables and nothing else.
pub fn quoted(word: &str) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find([VARIABLE, VARIABLE_IN_QUOTES]) {
        let (before, after) = rest.split_at(at);
        let mark = &after[..1];
        let (name, after) = after[1..].split_once(VARIABLE_END).unwrap_or_default();
        text += &literal(before);
        // Outside of quotes a value may be several words.
        text += &match mark.starts_with(VARIABLE) {
            true => format!("${{{name}}}"),
            false => format!("\"${{{name}}}\""),
        };
        rest = after;
    }
    if text.is_empty() && rest.is_empty() {
        return "''".to_owned();
    }
    text + &literal(rest)
}

/// Returns `NAME=VALUE` as the assignment of a shell, whose variables are one word each.
pub fn assignment(name: &str, value: &str) -> String {
    let value = value.replace(VARIABLE, &VARIABLE_IN_QUOTES.to_string());
    format!("{name}={}", quoted(&value))
}

/// Returns text that a shell leaves as it is.
fn literal(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=:,./@%".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
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
