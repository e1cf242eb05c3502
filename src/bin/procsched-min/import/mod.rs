//! Configs of others, as one of ours: supervisord.conf and Procfile. What has no equal here stands
//! in the result as a comment, with its file and line, so that nothing is lost unseen.

mod document;
mod expand;
mod files;
mod ini;
mod procfile;
mod supervisord;
mod words;

use std::fs;
use std::path::Path;

use procsched::text::error_text;

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A config of ours, and how much of the other one is missing in it.
#[derive(Debug)]
pub struct Imported {
    pub text: String,
    pub remarks: usize,
}

/// Reads a file of others, or returns what is wrong with it.
pub fn import(path: &Path) -> Result<Imported, String> {
    let text = read(path)?;
    let is_ini = text
        .lines()
        .map(str::trim_start)
        .any(|line| line.starts_with('['));
    let document = match is_ini {
        true => supervisord::import(path, &text)?,
        false => procfile::import(path, &text)?,
    };
    Ok(Imported {
        remarks: document.remarks(),
        text: document.text(),
    })
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |cause: String| format!("failed to read {path:?}: {cause}");
    let size = fs::metadata(path)
        .map_err(|error| failed(error_text(&error)))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!(
            "it has {size} bytes; expected at most {FILE_BYTES_MAX}"
        )));
    }
    let bytes = fs::read(path).map_err(|error| failed(error_text(&error)))?;
    String::from_utf8(bytes).map_err(|_| failed("expected UTF-8".to_owned()))
}

/// A place in a file of others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    line: usize,
}

impl Place {
    fn new(path: &Path, line: usize) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            file: name.to_string_lossy().into_owned(),
            line,
        }
    }
}

#[cfg(test)]
mod tests;
