//! The sides take turns: a repetition is one measurement of each, in order.

use crate::run::Outcome;
use crate::side::Side;
use crate::table::{Cell, Table};
use crate::tools::Tools;

/// How many times more often few programs are measured, and how many are few.
const OFTEN: usize = 3;
const FEW: usize = 100;

/// What a theme is given.
pub struct Turns {
    pub sides: Vec<Side>,
    pub tools: Tools,
    pub repetitions: usize,
    /// Then what is measured takes account of their delays.
    pub with_peers: bool,
    pub table: Table,
}

impl Turns {
    /// Adds rows, of figures that one measurement yields together.
    pub fn compare<const N: usize>(
        &mut self,
        rows: [String; N],
        once: impl FnMut(&Side, &Tools) -> Outcome<[f64; N]>,
    ) -> [Vec<Cell>; N] {
        let sides = self.sides.clone();
        self.compare_sides(&sides, self.repetitions, rows, once)
    }

    /// The same, more often where that is cheap: few programs vary more, and take less time.
    pub fn compare_often<const N: usize>(
        &mut self,
        count: usize,
        rows: [String; N],
        once: impl FnMut(&Side, &Tools) -> Outcome<[f64; N]>,
    ) -> [Vec<Cell>; N] {
        let sides = self.sides.clone();
        let often = if count > FEW || self.with_peers {
            1
        } else {
            OFTEN
        };
        self.compare_sides(&sides, self.repetitions * often, rows, once)
    }

    /// The same, with other sides under the same heads. A side that fails is not tried again.
    pub fn compare_sides<const N: usize>(
        &mut self,
        sides: &[Side],
        repetitions: usize,
        rows: [String; N],
        mut once: impl FnMut(&Side, &Tools) -> Outcome<[f64; N]>,
    ) -> [Vec<Cell>; N] {
        let mut samples = vec![Vec::new(); sides.len()];
        let mut failures: Vec<Option<String>> = vec![None; sides.len()];
        for _ in 0..repetitions {
            for (index, side) in sides.iter().enumerate() {
                if side.is_absent() || failures[index].is_some() {
                    continue;
                }
                match once(side, &self.tools) {
                    Ok(figures) => samples[index].push(figures),
                    Err(failure) => failures[index] = Some(failure),
                }
            }
        }
        for (side, failure) in sides.iter().zip(&failures) {
            if let Some(failure) = failure {
                let about = format!("{}, {}: FAILED: {failure}", rows[0], side.name);
                self.table.remark(about);
            }
        }
        let cell = |row: usize, side: usize| match &failures[side] {
            Some(_) => Cell::Failed,
            None if samples[side].is_empty() => Cell::Absent,
            None => Cell::Samples(samples[side].iter().map(|figures| figures[row]).collect()),
        };
        let cells: [Vec<Cell>; N] =
            std::array::from_fn(|row| (0..sides.len()).map(|side| cell(row, side)).collect());
        for (name, cells) in rows.into_iter().zip(&cells) {
            self.table.row(name, cells.clone());
        }
        cells
    }
}
