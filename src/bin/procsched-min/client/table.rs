//! The table of `status`: a row for each program, every cell as wide as the widest of its column.
//!
//! The rows are kept until the last one is there, as their widths are not known before: a few
//! hundred bytes each.

use std::fmt::Write;

use procsched::text::escaped;

use super::program::{Program, painted, rounded};
use procsched::text::duration;

const COLUMNS: usize = 7;

const HEADS: [&str; COLUMNS] = [
    "NAME",
    "STATE",
    "PID",
    "FOR",
    "RESTARTS",
    "LAST EXIT",
    "NOTE",
];

/// The column whose numbers line up at their end.
const RESTARTS: usize = 4;

const STATE: usize = 1;

/// The least of a note that a narrow terminal leaves, in characters.
const NOTE_CHARS_MIN: usize = 20;

/// The rows so far.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[Box<str>; COLUMNS]>,
}

impl Table {
    /// Adds a program.
    pub fn push(&mut self, program: Program<'_>) {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let time = program.state_time().map(|time| duration(rounded(time)));
        let restarts = program.0["restarts"].as_u64();
        let cells = [
            escaped(program.name()).into_owned(),
            escaped(program.state()).into_owned(),
            or_none(program.pid().map(|pid| pid.to_string())),
            or_none(time),
            or_none(restarts.map(|restarts| restarts.to_string())),
            or_none(program.last_exit()),
            program.note(),
        ];
        self.rows.push(cells.map(String::into_boxed_str));
    }

    /// Returns the text. Where there is a width, notes are cut off at it.
    pub fn text(&self, has_color: bool, width: Option<usize>) -> String {
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| self.width(column));
        let before_note: usize = widths[..COLUMNS - 1].iter().map(|width| width + 2).sum();
        let note = width.map(|width| width.saturating_sub(before_note).max(NOTE_CHARS_MIN));
        let mut text = String::new();
        push_row(&mut text, &HEADS, &widths, None, note);
        for row in &self.rows {
            let cells = std::array::from_fn(|column| &*row[column]);
            push_row(
                &mut text,
                &cells,
                &widths,
                has_color.then_some(cells[STATE]),
                note,
            );
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    }
}

/// Adds a line. The state has its colour if one is given.
fn push_row(
    text: &mut String,
    cells: &[&str; COLUMNS],
    widths: &[usize; COLUMNS],
    painted_state: Option<&str>,
    note_width: Option<usize>,
) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = width - cell.chars().count();
        let _ = match (column, painted_state) {
            (RESTARTS, _) => write!(text, "{:gap$}{cell}  ", ""),
            (STATE, Some(state)) => {
                let cell = painted(cell, state, true);
                write!(text, "{cell}{:gap$}  ", "")
            }
            (6, _) => write!(text, "{}", shortened(cell, note_width)),
            _ => write!(text, "{cell}{:gap$}  ", ""),
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// Returns a text cut off with an ellipsis if it is wider.
fn shortened(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if text.chars().count() > width => {
            let kept: String = text.chars().take(width.saturating_sub(1)).collect();
            kept + "…"
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn programs() -> [Value; 4] {
        [
            json!({"name": "db", "state": "running", "pid": 4711, "state_seconds": 11_520.4,
                "restarts": 0, "status_text": "accepting connections"}),
            json!({"name": "web", "state": "backoff", "pid": null, "state_seconds": 12.0,
                "restarts": 5, "retry_in": 4.0,
                "last_exit": {"return_code": 1, "last_line": "no database"}}),
            json!({"name": "report", "state": "stopped", "state_seconds": 3600, "restarts": 0,
                "last_exit": {"return_code": -15}, "reason": "by uid 0"}),
            json!({"name": "odd\n"}),
        ]
    }

    fn table() -> Table {
        let mut table = Table::default();
        programs()
            .iter()
            .for_each(|program| table.push(Program(program)));
        table
    }

    #[test]
    fn columns_line_up() {
        let expected = "\
NAME    STATE    PID   FOR    RESTARTS  LAST EXIT  NOTE
db      running  4711  3h12m         0  -          accepting connections
web     backoff  -     12s           5  1          starts in 4s: \"no database\"
report  stopped  -     1h            0  SIGTERM    by uid 0
odd\\n   unknown  -     -             -  -
";
        assert_eq!(table().text(false, None), expected);
    }

    #[test]
    fn it_fits_a_terminal_and_has_colours_for_states_alone() {
        let text = table().text(true, Some(72));
        assert!(text.contains("\x1b[32mrunning\x1b[0m  4711"), "{text}");
        assert!(text.contains("starts in 4s: \"no da…\n"), "{text}");
        let plain = text
            .replace("\x1b[32m", "")
            .replace("\x1b[33m", "")
            .replace("\x1b[2m", "");
        let plain = plain.replace("\x1b[0m", "");
        assert!(!plain.contains('\x1b'), "{plain:?}");
        assert!(
            plain.lines().all(|line| line.chars().count() <= 72),
            "{plain}"
        );
    }

    #[test]
    fn a_narrow_terminal_leaves_a_part_of_the_note() {
        let text = table().text(false, Some(10));
        assert!(text.contains("accepting connectio…\n"), "{text}");
    }

    /// Ten thousand programs are a few megabytes.
    #[test]
    fn a_row_is_small() {
        let table = table();
        let row = &table.rows[1];
        let bytes: usize = row.iter().map(|cell| cell.len()).sum();
        assert!(size_of_val(row) + bytes < 256);
    }
}
