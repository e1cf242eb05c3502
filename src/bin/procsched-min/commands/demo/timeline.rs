//! A timeline of runs as text: one row a program, time from left to right.
//!
//! ```text
//!             0s      2s      4s      6s
//!             |       |       |       |
//!   healthy   #######################s
//!   crashing  ####x...####x.......###s
//!   stubborn  #########################K
//! ```

use std::time::Duration;

/// The width of the time axis.
const COLUMNS_MAX: usize = 60;

/// The least distance of two ticks, which leaves space for their labels.
const TICK_COLUMNS_MIN: usize = 6;

/// The meaning of each sign.
pub const LEGEND: &str = "# running   . waiting for its next start   x died   s stopped   K killed";

/// An event of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Started,
    /// Exited by itself.
    Died,
    /// Exited after a stop signal.
    Stopped,
    Killed,
}

/// The events of one program, in their order.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub marks: Vec<(Duration, Mark)>,
}

/// Draws the rows under a time axis.
pub fn draw(rows: &[Row], length: Duration) -> String {
    let scale = Scale::new(length);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let (labels, ticks) = scale.axis();
    let mut out = format!("  {:<width$}  {labels}\n  {:<width$}  {ticks}\n", "", "");
    for row in rows {
        let cells = scale.cells(&row.marks);
        let line = format!("  {:<width$}  {cells}", row.name);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The time that a column stands for.
struct Scale {
    column: Duration,
    columns: usize,
}

impl Scale {
    /// Returns the finest round scale at which everything fits.
    fn new(length: Duration) -> Self {
        let fits = |column: &Duration| *column * COLUMNS_MAX as u32 > length;
        let steps = [100, 200, 250, 500, 1_000, 2_000, 5_000].map(Duration::from_millis);
        let longer = length / COLUMNS_MAX as u32 + Duration::from_nanos(1);
        let column = steps.into_iter().find(fits).unwrap_or(longer);
        let mut scale = Self {
            column,
            columns: COLUMNS_MAX,
        };
        scale.columns = scale.at(length) + 1;
        scale
    }

    fn at(&self, moment: Duration) -> usize {
        let index = moment.as_nanos() / self.column.as_nanos();
        usize::try_from(index).map_or(self.columns - 1, |index| index.min(self.columns - 1))
    }

    /// Returns the labels, and the ticks under their first letters.
    fn axis(&self) -> (String, String) {
        let far_enough = |step: &Duration| self.column * TICK_COLUMNS_MIN as u32 <= *step;
        let steps = [1, 2, 5, 10, 30, 60].map(Duration::from_secs);
        let step = steps.into_iter().find(far_enough);
        let step = step.unwrap_or(self.column * 10);
        let (mut labels, mut ticks, mut moment) = (String::new(), String::new(), Duration::ZERO);
        while self.at(moment) < self.columns - 1 || moment.is_zero() {
            let column = self.at(moment);
            labels.push_str(&" ".repeat(column.saturating_sub(labels.len())));
            ticks.push_str(&" ".repeat(column.saturating_sub(ticks.len())));
            labels.push_str(&format!("{}s", moment.as_secs()));
            ticks.push('|');
            moment += step;
        }
        (labels, ticks)
    }

    /// Returns a sign for each column. Where two events share one, the higher [`rank`] is shown.
    fn cells(&self, marks: &[(Duration, Mark)]) -> String {
        let mut cells = vec![' '; self.columns];
        let mut fill = |from: usize, to: usize, sign: char| {
            for cell in &mut cells[from..=to] {
                if rank(sign) > rank(*cell) {
                    *cell = sign;
                }
            }
        };
        for (index, &(moment, mark)) in marks.iter().enumerate() {
            let (sign, next_sign) = match mark {
                Mark::Started => ('#', '#'),
                Mark::Died => ('x', '.'),
                Mark::Stopped => ('s', ' '),
                Mark::Killed => ('K', ' '),
            };
            let now = self.at(moment);
            let next = marks.get(index + 1).map(|(next, _)| self.at(*next));
            fill(now, now, sign);
            fill(now, next.unwrap_or(self.columns - 1), next_sign);
        }
        cells.into_iter().collect::<String>().trim_end().to_owned()
    }
}

/// The exit of a run hides its running, and SIGKILL the exit that it causes.
fn rank(sign: char) -> Option<usize> {
    " .#sxK".find(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, marks: &[(u64, Mark)]) -> Row {
        let marks = marks.iter();
        let marks = marks.map(|&(ms, mark)| (Duration::from_millis(ms), mark));
        Row {
            name: name.to_owned(),
            marks: marks.collect(),
        }
    }

    #[test]
    fn runs_waits_and_ends_are_drawn_under_their_times() {
        use Mark::{Died, Killed, Started, Stopped};
        let rows = [
            row("fine", &[(0, Started), (8_100, Stopped)]),
            row(
                "crash",
                &[(0, Started), (1_000, Died), (2_000, Started), (3_000, Died)],
            ),
            row("deaf", &[(0, Started), (10_200, Killed), (10_200, Stopped)]),
            row("late", &[]),
        ];
        let drawn = draw(&rows, Duration::from_millis(10_500));
        let expected = concat!(
            "         0s        2s        4s        6s        8s        10s\n",
            "         |         |         |         |         |         |\n",
            "  fine   ########################################s\n",
            "  crash  #####x....#####x.....................................\n",
            "  deaf   ###################################################K\n",
            "  late\n",
        );
        assert_eq!(drawn, expected);
    }

    #[test]
    fn waiting_ends_with_a_start() {
        use Mark::{Died, Started};
        let marks = [(0, Died), (500, Started), (600, Died), (900, Started)];
        let rows = [row("x", &marks)];
        let drawn = draw(&rows, Duration::from_secs(1));
        assert!(drawn.ends_with("  x  x....#x..##\n"), "{drawn}");
        let drawn = draw(&[row("x", &[(300, Died)])], Duration::from_secs(1));
        assert!(drawn.ends_with("  x     x.......\n"), "{drawn}");
    }

    #[test]
    fn any_length_fits() {
        let lengths = [0, 1, 999, 5_999, 6_000, 25_000, 299_999, 1 << 40];
        for length in lengths {
            let marks = [
                (0, Mark::Started),
                (length, Mark::Killed),
                (length * 2, Mark::Died),
            ];
            let rows = [row("x", &marks)];
            let drawn = draw(&rows, Duration::from_millis(length));
            assert!(
                drawn.lines().all(|line| line.len() <= 80),
                "{length}: {drawn}"
            );
        }
    }
}
