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

/// An event of a program, and the time from the begin to it.
pub type Entry = (Duration, String, Mark);

/// Draws a row for each program under a time axis. The entries are in the order of their times.
pub fn draw(names: &[String], entries: &[Entry]) -> String {
    let length = entries.last().map_or(Duration::ZERO, |(at, ..)| *at);
    let scale = Scale::new(length);
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let (labels, ticks) = scale.axis();
    let mut out = format!("  {:<width$}  {labels}\n  {:<width$}  {ticks}\n", "", "");
    for name in names {
        let own = entries.iter().filter(|(_, program, _)| program == name);
        let own: Vec<_> = own.map(|(at, _, mark)| (*at, *mark)).collect();
        let line = format!("  {name:<width$}  {}", scale.cells(&own));
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
        let mut scale = Self { column, columns: 0 };
        scale.columns = scale.at(length) + 1;
        scale
    }

    fn at(&self, moment: Duration) -> usize {
        (moment.as_nanos() / self.column.as_nanos()) as usize
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

    fn drawn(names: &[&str], entries: &[(u64, &str, Mark)]) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let entry = |&(ms, name, mark): &(u64, &str, Mark)| {
            (Duration::from_millis(ms), name.to_owned(), mark)
        };
        draw(&names, &Vec::from_iter(entries.iter().map(entry)))
    }

    #[test]
    fn runs_waits_and_ends_are_drawn_under_their_times() {
        use Mark::{Died, Killed, Started, Stopped};
        let entries = [
            (0, "fine", Started),
            (0, "crash", Started),
            (0, "deaf", Started),
            (1_000, "crash", Died),
            (2_000, "crash", Started),
            (3_000, "crash", Died),
            (8_100, "fine", Stopped),
            (10_200, "deaf", Killed),
            (10_200, "deaf", Stopped),
        ];
        let expected = concat!(
            "         0s        2s        4s        6s        8s        10s\n",
            "         |         |         |         |         |         |\n",
            "  fine   ########################################s\n",
            "  crash  #####x....#####x....................................\n",
            "  deaf   ###################################################K\n",
            "  late\n",
        );
        assert_eq!(
            drawn(&["fine", "crash", "deaf", "late"], &entries),
            expected
        );
    }

    #[test]
    fn waiting_ends_with_a_start() {
        use Mark::{Died, Started};
        let end = (1_000, "y", Started);
        let marks = [(0, "x", Died), (500, "x", Started), (600, "x", Died)];
        let text = drawn(&["x"], &[&marks[..], &[(900, "x", Started), end]].concat());
        assert!(text.ends_with("  x  x....#x..##\n"), "{text}");
        let text = drawn(&["x"], &[(0, "y", Started), (300, "x", Died), end]);
        assert!(text.ends_with("  x     x.......\n"), "{text}");
    }

    #[test]
    fn any_length_fits() {
        for length in [0, 1, 999, 5_999, 6_000, 25_000, 299_999, 1 << 40] {
            let text = drawn(
                &["x"],
                &[(0, "x", Mark::Started), (length, "x", Mark::Killed)],
            );
            let is_short = |line: &str| line.len() <= 80;
            assert!(text.lines().all(is_short), "{length}: {text}");
        }
    }
}
