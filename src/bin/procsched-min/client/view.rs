//! How `status` shows programs: as a table when the last one is there, or as JSON as they arrive.

use procsched::terminal_columns;
use serde_json::Value;

use super::answer::raw;
use super::failure::Failure;
use super::options::Options;
use super::out::Out;
use super::program::Program;
use super::table::Table;

/// Moves the cursor to the start of an empty screen (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// One look at the programs.
pub struct View {
    out: Out,
    json: Option<Json>,
    table: Table,
    has_color: bool,
    is_screen: bool,
}

/// What stands before the next program.
struct Json(&'static str);

/// What stands before the first one.
const JSON_START: Json = Json(r#"{"v":1,"programs":["#);

impl View {
    pub fn new(options: &Options, is_screen: bool) -> Self {
        Self {
            out: Out::new(),
            json: options.is_json.then_some(JSON_START),
            table: Table::default(),
            has_color: options.has_color,
            is_screen,
        }
    }

    /// Adds a program, with its line of the answer.
    pub fn add(&mut self, program: &Value, line: &str) -> Result<(), Failure> {
        let Some(json) = &mut self.json else {
            self.table.push(Program(program));
            return Ok(());
        };
        self.out.write(json.0)?;
        json.0 = ",";
        self.out.write(&*raw(line, "program", program))
    }

    /// Shows what is not shown yet.
    pub fn end(mut self, supervisor: &Value) -> Result<(), Failure> {
        if let Some(json) = self.json {
            if json.0 == JSON_START.0 {
                self.out.write(json.0)?;
            }
            self.out
                .line(&format!(r#"],"supervisor":{supervisor}}}"#))?;
            return self.out.flush();
        }
        let width = terminal_columns(std::io::stdout());
        let text = self.table.text(self.has_color, width);
        if self.is_screen {
            self.out.write(CLEAR)?;
        }
        self.out.write(text)?;
        self.out.flush()
    }
}
