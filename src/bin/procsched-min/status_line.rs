//! The answer to SIGUSR1: one line a program, in columns.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    running   pid=4711 uptime=2m05s restarts=3 last_exit=1 retry_in=-
//! ```

use std::time::Duration;

use procsched::ProgramStatus;

use crate::clock;
use crate::messages::{Level, Style};
use crate::values::{duration, exit_label};

type Cells = [String; 6];

/// Returns a line for each program, in their order.
pub fn lines(style: &Style, programs: &[ProgramStatus]) -> Vec<String> {
    let row = |program: &ProgramStatus| {
        cells(
            &program.state().to_string(),
            program.pid(),
            program.state_for(),
            program.restarts(),
            program.last_return_code(),
            program.next_start(),
        )
    };
    let rows: Vec<Cells> = programs.iter().map(row).collect();
    let at = clock::wall();
    let lines = programs.iter().zip(columns(&rows));
    lines
        .map(|(program, text)| style.line(at, program.name(), Level::Info, &text, ""))
        .collect()
}

fn cells(
    state: &str,
    pid: Option<i32>,
    state_for: Duration,
    restarts: u64,
    last: Option<i32>,
    next: Option<Duration>,
) -> Cells {
    let none = || "-".to_owned();
    [
        state.to_owned(),
        format!("pid={}", pid.map_or_else(none, |pid| pid.to_string())),
        format!("uptime={}", duration(state_for)),
        format!("restarts={restarts}"),
        format!(
            "last_exit={}",
            last.map_or_else(none, |code| exit_label(code).1)
        ),
        format!("retry_in={}", next.map_or_else(none, duration)),
    ]
}

/// Joins the cells of each row, every cell as wide as the widest of its column.
fn columns(rows: &[Cells]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
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
    fn columns_line_up_and_say_everything() {
        let seconds = |n| Duration::from_secs(n);
        let rows = [
            cells("running", Some(4711), seconds(125), 0, None, None),
            cells("waiting", None, seconds(3), 12, Some(-9), Some(seconds(5))),
            cells("stopped", None, seconds(7_200), 0, Some(3), None),
        ];
        assert_eq!(
            columns(&rows),
            [
                "running pid=4711 uptime=2m05s restarts=0  last_exit=-       retry_in=-",
                "waiting pid=-    uptime=3s    restarts=12 last_exit=SIGKILL retry_in=5s",
                "stopped pid=-    uptime=2h    restarts=0  last_exit=3       retry_in=-",
            ]
        );
    }
}
