//! The README and the guide taken apart: their fenced blocks, what stands between these, the
//! commands in shell blocks.

use std::path::Path;
use std::sync::OnceLock;

/// A page that people read.
pub struct Page {
    /// Relative to the root of the repository.
    pub path: String,
    text: String,
}

/// A fenced block. It is a file if the line before it begins with the file's name in backticks
/// and ends with a colon.
pub struct Block {
    pub page: &'static str,
    pub name: Option<String>,
    pub language: String,
    pub text: String,
    /// Where it begins, counted from 1.
    pub line: usize,
}

/// The README, then each page of the guide.
pub fn pages() -> &'static [Page] {
    static PAGES: OnceLock<Vec<Page>> = OnceLock::new();
    PAGES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(root.join("src/guide")).expect("the guide");
        let names = files.map(|file| file.expect("an entry").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let is_page = |name: &String| name.ends_with(".md") && name != "links.md";
        let mut paths: Vec<String> = names
            .filter(is_page)
            .map(|name| format!("src/guide/{name}"))
            .collect();
        paths.sort();
        paths.insert(0, "README.md".to_owned());
        let read = |path: String| Page {
            text: std::fs::read_to_string(root.join(&path)).expect("UTF-8"),
            path,
        };
        paths.into_iter().map(read).collect()
    })
}

/// The page at this path.
#[track_caller]
pub fn page(path: &str) -> &'static Page {
    let page = pages().iter().find(|page| page.path == path);
    page.unwrap_or_else(|| panic!("there is no {path}"))
}

impl Page {
    /// All blocks, and the lines between them.
    fn take_apart(&'static self) -> (Vec<Block>, Vec<&'static str>) {
        let (mut blocks, mut prose) = (Vec::new(), Vec::new());
        let mut open: Option<Block> = None;
        let mut before = "";
        for (index, line) in self.text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Block {
                        page: &self.path,
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
        assert!(open.is_none(), "{}: a block has no end", self.path);
        (blocks, prose)
    }

    pub fn text(&'static self) -> &'static str {
        &self.text
    }

    /// The lines outside of blocks.
    pub fn prose(&'static self) -> Vec<&'static str> {
        self.take_apart().1
    }

    /// What links to its headings are called: lower case, hyphens for spaces, no punctuation.
    pub fn anchors(&'static self) -> Vec<String> {
        let prose = self.prose().into_iter();
        let headings = prose.filter(|line| line.starts_with('#'));
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
}

fn file_name(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix('`')?.split_once('`')?;
    rest.ends_with(':').then(|| name.to_owned())
}

/// The blocks of all pages.
pub fn blocks() -> Vec<Block> {
    pages()
        .iter()
        .flat_map(|page| page.take_apart().0)
        .collect()
}

pub fn blocks_in(language: &str) -> Vec<Block> {
    let mut blocks = blocks();
    blocks.retain(|block| block.language == language);
    assert!(!blocks.is_empty(), "no page has {language}");
    blocks
}

/// The text of the file with this name.
#[track_caller]
pub fn file(name: &str) -> String {
    let blocks = blocks();
    let named = |block: &&Block| block.name.as_deref() == Some(name);
    let found: Vec<&Block> = blocks.iter().filter(named).collect();
    assert_eq!(found.len(), 1, "the pages have one {name}");
    found[0].text.clone()
}

/// The one span of code in the pages that begins like this.
#[track_caller]
pub fn span(begin: &str) -> &'static str {
    let spans = |line: &'static str| line.split('`').skip(1).step_by(2);
    let prose = pages().iter().flat_map(Page::prose);
    let mut found: Vec<&str> = prose.flat_map(spans).collect();
    found.retain(|span| span.starts_with(begin));
    assert_eq!(found.len(), 1, "the pages have one span with {begin}");
    found[0]
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
            (None, '>') => lexer.redirect(),
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
    /// True if the next word is the file of a redirection, and no word of the command.
    is_redirected: bool,
}

impl Lexer {
    fn push(&mut self, char: char) {
        self.word.get_or_insert_default().push(char);
    }

    fn end_word(&mut self) {
        let word = self.word.take();
        if word.is_some() && std::mem::take(&mut self.is_redirected) {
            return;
        }
        self.words.extend(word);
    }

    fn redirect(&mut self) {
        // A number in front is the descriptor.
        let is_number = |word: &mut String| word.chars().all(|char| char.is_ascii_digit());
        self.word.take_if(is_number);
        self.end_word();
        self.is_redirected = true;
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}
