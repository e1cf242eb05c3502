//! The sources of this repository, for tests that look at them: as text, and as tokens, so that
//! comments and strings are not mistaken for code.

use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// A file of Rust.
pub struct Source {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    pub text: String,
    pub tokens: Vec<TokenTree>,
}

/// Where the repository is.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// All of it below a directory.
pub fn sources_below(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory)
            .expect("a directory of sources")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                // The fuzzer builds into a directory of its own.
                left.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let stream: TokenStream = text.parse().expect("Rust");
                let path = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .to_owned();
                found.push(Source {
                    path,
                    text,
                    tokens: flatten(stream),
                });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {directory}");
    found
}

/// Tokens without their groups.
pub fn flatten(stream: TokenStream) -> Vec<TokenTree> {
    let mut flat = Vec::new();
    for token in stream {
        match token {
            TokenTree::Group(group) => flat.extend(flatten(group.stream())),
            other => flat.push(other),
        }
    }
    flat
}
