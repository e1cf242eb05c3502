//! Whether a figure grows: by the slope of a robust line, not by a threshold.
//!
//! The first part of a series is left out: memory that is touched once is no leak. The rest is
//! cut into blocks of equal restarts, and of each only the lowest value counts, since what is
//! needed for a moment is no leak either. (Of what each living program has some, nearly the highest
//! counts: the lowest tells how few of them a busy machine had room for.) Through these points
//! goes the line of Theil and Sen:
//! the median of the slopes of all pairs, whom a few odd points cannot move. Its interval is the
//! one that belongs to Kendall's test for a trend (Sen 1968), corrected for ties, at 99 %.
//! A figure leaks if even the lower end of that interval is above what the figure is allowed, and
//! both halves of it grow by themselves.
//!
//! A figure that goes up once or twice, as an allocator makes it, can have such an interval too,
//! and one whose staircase begins late has none: so the levels are counted that it stands on
//! (`steps`). One step or two are told and are no leak, if it does not grow beside them; three
//! more upwards than downwards are one of memory, whatever the line says.
//!
//! A short series is mostly warm-up, whatever is left out. Of memory it tells a leak only that is
//! more than all of a warm-up, and else nothing: it says so. The rest is judged as ever.

use crate::soak::steps::{Steps, slope_beside_steps, steps};

/// What is left out as warm-up, as a part of the restarts.
const WARM_UP: f64 = 0.25;

/// So many restarts are warm-up at least: by then the program that rests longest has made its
/// first one.
const WARM_UP_RESTARTS_MIN: f64 = 560.0;

/// What has fewer restarts after its warm-up tells nothing.
const RESTARTS_MIN: f64 = 300.0;

/// A series with fewer restarts after its warm-up is a short one.
const RESTARTS_SHORT: f64 = 10_000.0;

/// As many steps upwards are no leak.
const STEPS_MAX: usize = 2;

const BLOCKS: usize = 24;

/// Fewer points tell nothing at 99 %.
const BLOCKS_MIN: usize = 8;

/// The quantile of the normal distribution for 99 % between both ends.
const Z: f64 = 2.576;

/// What a figure may do.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Growth by 1,000 restarts that is not called a leak.
    pub per_thousand: f64,
    /// Growth over the whole of the series that is not called one, however short that is: what
    /// its unit cannot resolve.
    pub in_all: f64,
    /// Of the values of a block that one counts which has so great a part of them below it.
    pub quantile: f64,
    /// A change that is no step.
    pub no_step: f64,
    /// Growth over the whole of a short series that is not called one, of a figure that warms up.
    pub in_short: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Flat,
    /// It went up by a step or two, or up and down.
    Stepped(Steps),
    TooShort,
    Grows(Steps),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flat => write!(to, "flat"),
            Self::Stepped(steps) => write!(to, "{} up, {} down", steps.up, steps.down),
            Self::TooShort => write!(to, "too short to tell"),
            Self::Grows(steps) => write!(to, "GROWS, {} up, {} down", steps.up, steps.down),
        }
    }
}

/// A line through a series.
#[derive(Debug, Clone)]
pub struct Slope {
    /// The value of the first block and of the last.
    pub first: f64,
    pub last: f64,
    /// Per 1,000 restarts: the line, and the ends of its interval.
    pub slope: f64,
    pub low: f64,
    pub high: f64,
    /// The line through each half alone.
    pub halves: [f64; 2],
    /// The restarts that it was taken over.
    pub restarts: f64,
    /// The value of each block.
    pub levels: Vec<f64>,
    /// The slope beside its steps, if it goes by one or two.
    pub beside: f64,
}

impl Slope {
    pub fn verdict(&self, allowed: Allowance) -> Verdict {
        let is_short = self.restarts < RESTARTS_SHORT;
        let in_short = allowed.in_short.filter(|_| is_short);
        let in_all = in_short.unwrap_or(allowed.in_all);
        let steps = steps(&self.levels, allowed.no_step);
        let is_steady = self.halves.iter().all(|half| *half > allowed.per_thousand);
        let is_sure = self.low > allowed.per_thousand && self.low * self.restarts / 1000.0 > in_all;
        let is_climbing = steps.up > steps.down + STEPS_MAX;
        let is_beside = self.beside * self.restarts / 1000.0 > in_all;
        let is_line = is_sure && is_steady && (is_beside || is_climbing);
        let is_higher = self.last - self.first > in_all && steps.up > steps.down;
        // Only memory is taken by the piece; and what warms up makes a staircase too.
        let is_by_piece = allowed.in_short.is_some() && !is_short;
        let is_staircase = is_higher && is_climbing && is_by_piece;
        if is_line || is_staircase {
            Verdict::Grows(steps)
        } else if in_short.is_some() {
            Verdict::TooShort
        } else if is_sure || (is_higher && is_by_piece) {
            Verdict::Stepped(steps)
        } else {
            Verdict::Flat
        }
    }
}

/// The slope of a series of restarts and values, or `None` if there is too little of it.
pub fn slope(series: &[(f64, f64)], quantile: f64) -> Option<Slope> {
    let (begin, end) = (series.first()?.0, series.last()?.0);
    let begin = begin + ((end - begin) * WARM_UP).max(WARM_UP_RESTARTS_MIN);
    let points = levels(series, begin, end, quantile);
    if points.len() < BLOCKS_MIN || end - begin < RESTARTS_MIN {
        return None;
    }
    let slopes = pair_slopes(&points);
    // How many pairs the interval leaves out at each end.
    let pairs = slopes.len() as f64;
    let spread = Z * kendall_variance(&points).sqrt();
    let out = ((pairs - spread) / 2.0).max(0.0) as usize;
    let slope = median(&slopes);
    Some(Slope {
        first: points[0].1,
        last: points[points.len() - 1].1,
        slope,
        low: slopes[out],
        high: slopes[slopes.len() - 1 - out],
        halves: [
            median(&pair_slopes(&points[..points.len() / 2])),
            median(&pair_slopes(&points[points.len() / 2..])),
        ],
        restarts: end - begin,
        beside: slope_beside_steps(&points, slope),
        levels: points.iter().map(|(_, floor)| *floor).collect(),
    })
}

/// The value that counts of each block, at the block's middle.
fn levels(series: &[(f64, f64)], begin: f64, end: f64, quantile: f64) -> Vec<(f64, f64)> {
    let width = (end - begin) / BLOCKS as f64;
    let mut blocks = vec![Vec::new(); BLOCKS];
    for &(at, value) in series.iter().filter(|(at, _)| *at >= begin) {
        let block = ((at - begin) / width) as usize;
        blocks[block.min(BLOCKS - 1)].push(value);
    }
    let middle = |index: usize| begin + (index as f64 + 0.5) * width;
    let point = |(index, mut block): (usize, Vec<f64>)| {
        block.sort_by(f64::total_cmp);
        let last = block.len().checked_sub(1)?;
        let value = block[(last as f64 * quantile).round() as usize];
        Some((middle(index), value))
    };
    blocks.into_iter().enumerate().filter_map(point).collect()
}

/// The slopes of all pairs, in order.
pub fn pair_slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::new();
    for (index, one) in points.iter().enumerate() {
        for other in &points[index + 1..] {
            slopes.push((other.1 - one.1) / (other.0 - one.0) * 1000.0);
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes
}

/// The variance of Kendall's statistic where there is no trend; values that are equal say less.
fn kendall_variance(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let ties = values.chunk_by(|one, other| one == other);
    let ties: f64 = ties.map(|tie| term(tie.len() as f64)).sum();
    (term(values.len() as f64) - ties) / 18.0
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}
