//! The answer to SIGUSR1: one line a program, in columns, and at its end why it is in its state, if
//! that is not plain.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    running   pid=4711 uptime=2m05s restarts=3 last_exit=1 retry_in=-
//! ```

use procsched::ProgramStatus;

use crate::clock;
use crate::messages::{Level, Style};

/// The state, five pairs of a key and a value, and the reason.
const CELLS: usize = 7;

type Cells = [String; CELLS];

/// Returns a line for each program, in their order.
pub fn lines(
    style: &Style,
    programs: &[ProgramStatus],
    reason: impl Fn(&ProgramStatus) -> Option<String>,
) -> Vec<String> {
    let rows = programs.iter();
    let rows: Vec<Cells> = rows.map(|one| cells(one, reason(one))).collect();
    let at = clock::wall();
    let lines = programs.iter().zip(columns(&rows));
    lines
        .map(|(program, text)| style.line(at, program.name(), Level::Info, &text, ""))
        .collect()
}

/// Splits the text of a program behind its name. Only the reason, which is last, has spaces.
fn cells(program: &ProgramStatus, reason: Option<String>) -> Cells {
    let mut text = program.to_string();
    if let Some(reason) = reason {
        let own = program.reason().map(|own| format!(" reason={own:?}"));
        text.truncate(text.len() - own.map_or(0, |own| own.len()));
        text.push_str(&format!(" reason={reason:?}"));
    }
    let mut cells = text.splitn(CELLS + 1, ' ').skip(1).map(str::to_owned);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// Joins the cells of each row, every cell as wide as the widest of its column.
fn columns(rows: &[Cells]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; CELLS] = std::array::from_fn(width);
    let pad = |row: &Cells| {
        let cells = row.iter().zip(widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join(" ").trim_end().to_owned()
    };
    rows.iter().map(pad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            [
                "running",
                "pid=4711",
                "uptime=2m05s",
                "restarts=0",
                "last_exit=-",
                "retry_in=-",
                "",
            ],
            [
                "backoff",
                "pid=-",
                "uptime=3s",
                "restarts=12",
                "last_exit=SIGKILL",
                "retry_in=5s",
                "",
            ],
            [
                "pending",
                "pid=-",
                "uptime=3s",
                "restarts=0",
                "last_exit=-",
                "retry_in=-",
                "reason=\"requires db: failed\"",
            ],
        ];
        let lines = columns(&rows.map(|row| row.map(str::to_owned)));
        let expected = [
            "running pid=4711 uptime=2m05s restarts=0  last_exit=-       retry_in=-",
            "backoff pid=-    uptime=3s    restarts=12 last_exit=SIGKILL retry_in=5s",
            "pending pid=-    uptime=3s    restarts=0  last_exit=-       retry_in=-  \
             reason=\"requires db: failed\"",
        ];
        assert_eq!(lines, expected);
    }
}
