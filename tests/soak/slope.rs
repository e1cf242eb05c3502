//! Whether a figure grows: by the slope of a robust line, not by a threshold.
//!
//! The first part of a series is left out: memory that is touched once is no leak. The rest is
//! cut into blocks of equal restarts, and of each only the lowest value counts, since what is
//! needed for a moment is no leak either. Through these points goes the line of Theil and Sen:
//! the median of the slopes of all pairs, whom a few odd points cannot move. Its interval is the
//! one that belongs to Kendall's test for a trend (Sen 1968), corrected for ties, at 99 %.
//! A figure leaks if even the lower end of that interval is above what the figure is allowed.
//!
//! A single step from one level to another, as an allocator makes it, would be a trend by that:
//! so both halves of the series have to grow by themselves as well.

/// What is left out as warm-up, as a part of the restarts.
const WARM_UP: f64 = 0.25;

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
}

/// A line through a series.
#[derive(Debug, Clone, Copy)]
pub struct Slope {
    /// The lowest value of the first block and of the last.
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
}

impl Slope {
    pub fn leaks(&self, allowed: Allowance) -> bool {
        let is_steady = self.halves.iter().all(|half| *half > allowed.per_thousand);
        let is_much = self.low * self.restarts / 1000.0 > allowed.in_all;
        is_steady && is_much && self.low > allowed.per_thousand
    }
}

/// The slope of a series of restarts and values, or `None` if there is too little of it.
pub fn slope(series: &[(f64, f64)]) -> Option<Slope> {
    let (begin, end) = (series.first()?.0, series.last()?.0);
    let begin = begin + (end - begin) * WARM_UP;
    let points = floors(series, begin, end);
    if points.len() < BLOCKS_MIN {
        return None;
    }
    let slopes = pair_slopes(&points);
    // How many pairs the interval leaves out at each end.
    let pairs = slopes.len() as f64;
    let spread = Z * kendall_variance(&points).sqrt();
    let out = ((pairs - spread) / 2.0).max(0.0) as usize;
    Some(Slope {
        first: points[0].1,
        last: points[points.len() - 1].1,
        slope: median(&slopes),
        low: slopes[out],
        high: slopes[slopes.len() - 1 - out],
        halves: [
            median(&pair_slopes(&points[..points.len() / 2])),
            median(&pair_slopes(&points[points.len() / 2..])),
        ],
        restarts: end - begin,
    })
}

/// The lowest value of each block, at the block's middle.
fn floors(series: &[(f64, f64)], begin: f64, end: f64) -> Vec<(f64, f64)> {
    let width = (end - begin) / BLOCKS as f64;
    let mut floors = [f64::INFINITY; BLOCKS];
    for &(at, value) in series.iter().filter(|(at, _)| *at >= begin) {
        let block = ((at - begin) / width) as usize;
        let floor = &mut floors[block.min(BLOCKS - 1)];
        *floor = floor.min(value);
    }
    let middle = |index: usize| begin + (index as f64 + 0.5) * width;
    let points = floors.iter().enumerate();
    let points = points.map(|(index, floor)| (middle(index), *floor));
    points.filter(|(_, floor)| floor.is_finite()).collect()
}

/// The slopes of all pairs, in order.
fn pair_slopes(points: &[(f64, f64)]) -> Vec<f64> {
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
