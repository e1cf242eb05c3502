//! The README taken apart: its fenced blocks, its links, the commands in its shell blocks.

/// A fenced block. It is a file if the line before it begins with the file's name in backticks
/// and ends with a colon.
pub struct Block {
    pub name: Option<String>,
    pub language: String,
    pub text: String,
    /// Where it begins, counted from 1.
    pub line: usize,
}

pub fn readme() -> &'static str {
    include_str!("../../README.md")
}

/// All blocks, and what stands between them.
fn taken_apart() -> (Vec<Block>, Vec<&'static str>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    let mut before = "";
    for (index, line) in readme().lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    name: file_name(before),
                    language: language.to_owned(),
                    text: String::new(),
                    line: index + 1,
                });
            }
            (Some(_), Some(_)) => {
                blocks.extend(open.take());
                before = "";
            }
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, None) => {
                prose.push(line);
                if !line.is_empty() {
                    before = line;
                }
            }
        }
    }
    assert!(open.is_none(), "a block has no end");
    (blocks, prose)
}

fn file_name(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix('`')?.split_once('`')?;
    rest.ends_with(':').then(|| name.to_owned())
}

pub fn blocks() -> Vec<Block> {
    taken_apart().0
}

pub fn blocks_in(language: &str) -> Vec<Block> {
    let mut blocks = blocks();
    blocks.retain(|block| block.language == language);
    assert!(!blocks.is_empty(), "the README has no {language}");
    blocks
}

/// The text of the file with this name.
#[track_caller]
pub fn file(name: &str) -> String {
    let blocks = blocks();
    let named = |block: &&Block| block.name.as_deref() == Some(name);
    let found: Vec<&Block> = blocks.iter().filter(named).collect();
    assert_eq!(found.len(), 1, "the README has one {name}");
    found[0].text.clone()
}

/// The one span of code in the text that begins like this.
#[track_caller]
pub fn span(begin: &str) -> &'static str {
    let spans = |line: &'static str| line.split('`').skip(1).step_by(2);
    let mut found: Vec<&str> = taken_apart().1.into_iter().flat_map(spans).collect();
    found.retain(|span| span.starts_with(begin));
    assert_eq!(found.len(), 1, "the README has one span with {begin}");
    found[0]
}

/// Where links lead to.
pub fn links() -> Vec<&'static str> {
    let targets = |line: &'static str| {
        let behind = line.split("](").skip(1);
        behind.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
    };
    taken_apart().1.into_iter().flat_map(targets).collect()
}

/// What a link to a heading is called: lower case, hyphens for spaces, no punctuation.
pub fn anchors() -> Vec<String> {
    let headings = taken_apart().1.into_iter();
    let headings = headings.filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let kept = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_');
    let letter = move |char: char| match char {
        ' ' => Some('-'),
        other => kept(other).then_some(other),
    };
    headings
        .map(|heading| heading.to_lowercase().chars().filter_map(letter).collect())
        .collect()
}

/// The simple commands of a shell script, in words: enough of sh(1) for what a README shows.
pub fn commands(script: &str) -> Vec<Vec<String>> {
    let mut lexer = Lexer::default();
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match (lexer.quote, char) {
            (Some(quote), char) if char == quote => lexer.quote = None,
            (None, '\'' | '"') => {
                lexer.quote = Some(char);
                lexer.word.get_or_insert_default();
            }
            (Some('\''), char) => lexer.push(char),
            (_, '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => lexer.push(escaped),
            },
            (Some(_), char) => lexer.push(char),
            (None, '#') if lexer.word.is_none() => while chars.next_if(|&c| c != '\n').is_some() {},
            (None, '\n' | ';' | '|' | '&' | '(' | ')') => lexer.end_command(),
            (None, ' ' | '\t') => lexer.end_word(),
            (None, char) => lexer.push(char),
        }
    }
    assert_eq!(lexer.quote, None, "a quote has no end in {script:?}");
    lexer.end_command();
    lexer.commands
}

#[derive(Default)]
struct Lexer {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    quote: Option<char>,
}

impl Lexer {
    fn push(&mut self, char: char) {
        self.word.get_or_insert_default().push(char);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}
