//! The answer to SIGUSR1: one line a program, in columns.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    running   pid=4711 for=2m05s restarts=3 last_exit=1 next_start=-
//! ```

use std::time::Duration;

use procsched::ProgramStatus;

use crate::clock;
use crate::messages::{Style, Tone, duration, how};

/// What is shown of one program, as text.
struct Row {
    name: String,
    cells: [String; 6],
}

/// One line for each program, in their order.
pub fn lines(style: &Style, programs: &[ProgramStatus]) -> Vec<String> {
    let rows: Vec<Row> = programs.iter().map(row).collect();
    let at = clock::wall();
    rows.iter()
        .zip(columns(&rows))
        .map(|(row, text)| style.line(at, &row.name, Tone::Plain, &text, ""))
        .collect()
}

fn row(program: &ProgramStatus) -> Row {
    Row {
        name: program.name().to_owned(),
        cells: cells(
            &program.state().to_string(),
            program.pid(),
            program.state_for(),
            program.restarts(),
            program.last_return_code(),
            program.next_start(),
        ),
    }
}

fn cells(
    state: &str,
    pid: Option<i32>,
    state_for: Duration,
    restarts: u64,
    last: Option<i32>,
    next: Option<Duration>,
) -> [String; 6] {
    let none = || "-".to_owned();
    [
        state.to_owned(),
        format!("pid={}", pid.map_or_else(none, |pid| pid.to_string())),
        format!("for={}", duration(state_for)),
        format!("restarts={restarts}"),
        format!("last_exit={}", last.map_or_else(none, |code| how(code).1)),
        format!("next_start={}", next.map_or_else(none, duration)),
    ]
}

/// Each row's cells, every cell as wide as the widest in its column.
fn columns(rows: &[Row]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row.cells[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let pad = |row: &Row| {
        let cells = row.cells.iter().zip(widths);
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
    fn columns_line_up_and_say_everything() {
        let seconds = |n| Duration::from_secs(n);
        let rows = [
            Row {
                name: "web".to_owned(),
                cells: cells("running", Some(4711), seconds(125), 0, None, None),
            },
            Row {
                name: "worker".to_owned(),
                cells: cells("waiting", None, seconds(3), 12, Some(-9), Some(seconds(5))),
            },
            Row {
                name: "once".to_owned(),
                cells: cells("stopped", None, seconds(7_200), 0, Some(3), None),
            },
        ];
        assert_eq!(
            columns(&rows),
            [
                "running pid=4711 for=2m05s restarts=0  last_exit=-       next_start=-",
                "waiting pid=-    for=3s    restarts=12 last_exit=SIGKILL next_start=5s",
                "stopped pid=-    for=2h    restarts=0  last_exit=3       next_start=-",
            ]
        );
    }

    #[test]
    fn no_program_is_no_line() {
        assert!(columns(&[]).is_empty());
    }
}
