//! The levels that a series stands on, one after the other, and how it goes from each to the
//! next.
//!
//! An allocator takes memory by the piece, so that a figure that will never grow again may have
//! gone up once, and a line through it has a slope. What leaks goes up again and again: along a
//! line, which is many small steps, or by a staircase.

use crate::soak::slope::pair_slopes;

/// By so many of its usual changes from block to block a figure moves without leaving its level.
const NOISE: f64 = 4.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub up: usize,
    pub down: usize,
}

/// A level that is nearer to the last than this part of what is noise is that one still.
const SAME: f64 = 2.0 / 3.0;

/// Counts the steps of a series that are more than noise, and more than `least`.
pub fn steps(values: &[f64], least: f64) -> Steps {
    let values = without_outliers(values);
    let mut changes: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    changes.sort_by(f64::total_cmp);
    let usual = changes.get(changes.len() / 2).copied().unwrap_or(0.0);
    let width = least.max(NOISE * usual);
    let levels = levels(&values, width);
    let mut steps = Steps { up: 0, down: 0 };
    let mut stand = levels.first().copied().unwrap_or(0.0);
    for level in levels {
        if (level - stand).abs() < width * SAME {
            continue;
        }
        match level > stand {
            true => steps.up += 1,
            false => steps.down += 1,
        }
        stand = level;
    }
    steps
}

/// How a series goes beside its steps, if two of them tell better than a line how it goes as a
/// whole, by what is left over: the median slope between points that no step divides.
pub fn slope_beside_steps(points: &[(f64, f64)], line: f64) -> f64 {
    let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    let level: Vec<f64> = points
        .iter()
        .map(|(at, value)| value - line * at / 1000.0)
        .collect();
    let mut best = (left_over(&level), line);
    for first in 0..points.len() {
        for second in first..points.len() {
            let parts = [0..first, first..second, second..points.len()];
            let over = parts.clone().map(|part| left_over(&values[part]));
            let over = over.iter().sum();
            if over < best.0 {
                let mut slopes = Vec::new();
                for part in parts {
                    slopes.extend(pair_slopes(&points[part]));
                }
                best = (over, median(&mut slopes));
            }
        }
    }
    best.1
}

/// How far the values are from their median, all together.
fn left_over(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let level = median(&mut values.to_vec());
    values.iter().map(|value| (value - level).abs()).sum()
}

/// Of each three that follow one another the middle one: what is odd alone is gone, and steps
/// stay.
fn without_outliers(values: &[f64]) -> Vec<f64> {
    let middle = |three: &[f64]| {
        let mut three = three.to_vec();
        median(&mut three)
    };
    values.windows(3).map(middle).collect()
}

/// The fewest levels on each of which the values are no further than `width` from one another:
/// their medians.
fn levels(values: &[f64], width: f64) -> Vec<f64> {
    let mut levels = Vec::new();
    let mut level: Vec<f64> = Vec::new();
    for &value in values {
        let is_near = |other: &f64| (value - other).abs() <= width;
        if !level.iter().all(is_near) {
            levels.push(median(&mut level));
            level.clear();
        }
        level.push(value);
    }
    if !level.is_empty() {
        levels.push(median(&mut level));
    }
    levels
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
