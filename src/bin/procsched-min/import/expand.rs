//! What supervisord expands in a value: `%(program_name)s`, `%(process_num)02d`, `%%`.

use super::words::{VARIABLE, VARIABLE_END};

/// What stands for a name in an expansion.
#[derive(Debug, Default)]
pub struct Names<'a> {
    pub here: &'a str,
    pub program: &'a str,
    pub number: Option<usize>,
    pub count: usize,
}

/// A value with its expansions.
#[derive(Debug, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// True if it has variables of the environment, which stand in it between the marks of `words`.
    pub has_variables: bool,
}

impl Names<'_> {
    /// Expands a value, or returns the expansion that is unknown.
    pub fn expand(&self, value: &str) -> Result<Expanded, String> {
        let mut text = String::new();
        let mut has_variables = false;
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('%') {
            text += before;
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, after) = after
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'))
                .ok_or("a lone %")?;
            let end = after
                .find(['s', 'd'])
                .ok_or("an expansion without its s or d")?;
            let (format, after) = after.split_at(end);
            rest = &after[1..];
            if let Some(variable) = name.strip_prefix("ENV_") {
                text.push(VARIABLE);
                text += variable;
                text.push(VARIABLE_END);
                has_variables = true;
                continue;
            }
            text += &self
                .value(name, format)
                .ok_or_else(|| format!("%({name})"))?;
        }
        text += rest;
        Ok(Expanded {
            text,
            has_variables,
        })
    }

    fn value(&self, name: &str, format: &str) -> Option<String> {
        let number = match name {
            "here" => return Some(self.here.to_owned()),
            "program_name" | "group_name" => return Some(self.program.to_owned()),
            "process_num" => self.number.unwrap_or(0),
            "numprocs" => self.count,
            _ => return None,
        };
        let width = format.parse().unwrap_or(0);
        Some(match format.starts_with('0') {
            true => format!("{number:0width$}"),
            false => format!("{number:width$}"),
        })
    }
}
