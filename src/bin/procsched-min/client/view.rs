//! How `status` shows programs: as a table or as metrics when the last one is there, or as JSON as
//! they arrive.

use procsched::terminal_columns;
use serde_json::Value;

use super::answer::raw;
use super::failure::Failure;
use super::metrics::Metrics;
use super::options::Options;
use super::out::Out;
use super::program::Program;
use super::table::Table;

/// Moves the cursor to the start of an empty screen (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// One look at the programs.
pub struct View {
    out: Out,
    format: Format,
    has_color: bool,
    is_screen: bool,
}

/// What is shown so far, or is to be shown.
pub enum Format {
    Table(Table),
    Metrics(Metrics),
    /// What stands before the next program.
    Json(&'static str),
}

/// What stands before the first program in JSON.
const JSON_START: &str = r#"{"v":1,"programs":["#;

impl Format {
    pub fn json() -> Self {
        Self::Json(JSON_START)
    }
}

impl View {
    pub fn new(options: &Options, format: Format, is_screen: bool) -> Self {
        Self {
            out: Out::new(),
            format,
            has_color: options.has_color,
            is_screen,
        }
    }

    /// Adds a program, with its line of the answer.
    pub fn add(&mut self, program: &Value, line: &str) -> Result<(), Failure> {
        match &mut self.format {
            Format::Table(table) => table.push(Program(program)),
            Format::Metrics(metrics) => metrics.push(Program(program)),
            Format::Json(before) => {
                self.out.write(*before)?;
                *before = ",";
                self.out.write(&*raw(line, "program", program))?;
            }
        }
        Ok(())
    }

    /// Shows what is not shown yet.
    pub fn end(mut self, supervisor: &Value) -> Result<(), Failure> {
        if self.is_screen {
            self.out.write(CLEAR)?;
        }
        let text = match self.format {
            Format::Table(table) => {
                let width = terminal_columns(std::io::stdout());
                table.text(self.has_color, width)
            }
            Format::Metrics(metrics) => metrics.text(supervisor),
            Format::Json(before) => {
                let start = if before == JSON_START { before } else { "" };
                format!("{start}],\"supervisor\":{supervisor}}}\n")
            }
        };
        self.out.write(text)?;
        self.out.flush()
    }
}
