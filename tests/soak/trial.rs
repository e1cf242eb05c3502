//! The judge is tried before it judges, on series of which the verdict is known.

use std::collections::BTreeMap;

use crate::model::rng::Rng;
use crate::soak::figures::{MEMORY, NUMBER};
use crate::soak::slope::{Verdict, slope};

const SEEDS: u64 = 200;

/// Steps of the size of the noise may be judged wrongly, of so many series one.
const WRONG_IN: usize = 50;

/// Panics if it judges any of them wrongly, or more than may be of those that noise hides.
pub fn run() {
    assert!(slope(&[], 0.0).is_none() && slope(&[(1.0, 1.0); 5], 0.0).is_none());
    let mut wrong = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut note = |what: &'static str, is_right: bool| {
            if !is_right {
                wrong.entry(what).or_insert_with(Vec::new).push(seed);
            }
        };
        try_hours(seed, &mut note);
        try_stairs(seed, &mut note);
        try_short(seed);
    }
    for (what, seeds) in wrong {
        let is_rare = seeds.len() * WRONG_IN <= SEEDS as usize;
        assert!(is_rare, "{what}: wrong for the seeds {seeds:?}");
    }
    try_numbers();
}

/// An hour: 100,000 restarts, a look each second. Pages of 4 KiB, with noise of ten of
/// them, peaks, and a level that drifts up and down for a while.
fn hour(seed: u64, shape: impl Fn(f64) -> f64) -> Verdict {
    let mut rng = Rng::new(seed);
    let mut drift: f64 = 0.0;
    let look = |second: u32| {
        let restarts = f64::from(second) * 100_000.0 / 3600.0;
        drift = drift * 0.98 + (rng.below(9) as f64 - 4.0);
        let peak = if rng.one_in(50) { 600.0 } else { 0.0 };
        let noise = rng.below(11) as f64 * 4.0 + drift + peak;
        let value = 2000.0 + noise + shape(restarts);
        (restarts, (value / 4.0).floor() * 4.0)
    };
    let looks: Vec<(f64, f64)> = (0..3600).map(look).collect();
    let line = slope(&looks, MEMORY.quantile).expect("enough");
    line.verdict(MEMORY)
}

fn grows(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Grows(_))
}

fn try_hours(seed: u64, note: &mut impl FnMut(&'static str, bool)) {
    assert_eq!(hour(seed, |_| 0.0), Verdict::Flat, "noise, seed {seed}");
    let leak = hour(seed, |restarts| restarts * 2.0 / 1000.0);
    note("2 KiB each 1,000 restarts", grows(leak));
    let leak = hour(seed, |restarts| restarts * 4.0 / 1000.0);
    assert!(grows(leak), "4 KiB each 1,000, seed {seed}: {leak}");
    let warm_up = hour(seed, |restarts| restarts.min(20_000.0) / 10.0);
    assert_eq!(warm_up, Verdict::Flat, "warm-up, seed {seed}");
    let shrinking = hour(seed, |restarts| -restarts / 100.0);
    assert_eq!(shrinking, Verdict::Flat, "shrinking, seed {seed}");
    // A need that comes and goes, each time a little longer or shorter.
    let waves = hour(seed, |restarts| (restarts / 9000.0).sin().max(0.0) * 200.0);
    assert!(!grows(waves), "waves, seed {seed}: {waves}");
}

/// Steps of an allocator: 68 KiB are a tail of stderr and what comes with it.
fn try_stairs(seed: u64, note: &mut impl FnMut(&'static str, bool)) {
    let stairs = |height: f64, at: &[f64]| {
        let at = at.to_vec();
        let climbed = move |restarts: f64| at.iter().filter(|step| restarts > **step).count();
        hour(seed, move |restarts| height * climbed(restarts) as f64)
    };
    // Wherever its first stair is.
    let begin = seed as f64 * 10_000.0 / SEEDS as f64;
    let every = |restarts: f64| -> Vec<f64> {
        let stairs = (0..10).map(|n| begin + f64::from(n) * restarts);
        stairs.collect()
    };
    note("a stair in 10,000", grows(stairs(68.0, &every(10_000.0))));
    note("a stair in 20,000", grows(stairs(68.0, &every(20_000.0))));
    let late = [70_000.0, 77_000.0, 84_000.0, 91_000.0];
    note("stairs that begin late", grows(stairs(68.0, &late)));
    // One and two, wherever they are, far from one another and near.
    let mut rng = Rng::new(seed);
    let [one, two] = [0; 2].map(|_| 30_000.0 + rng.below(65_000) as f64);
    note("one stair", !grows(stairs(68.0, &[one])));
    note("two stairs", !grows(stairs(68.0, &[one, two])));
    note("two large ones", !grows(stairs(300.0, &[one, two])));
    let told = stairs(300.0, &[60_000.0]);
    let is_told = matches!(told, Verdict::Stepped(steps) if steps.up > 0 && steps.down == 0);
    assert!(is_told, "one large step, seed {seed}: {told}");
}

/// A quarter of a minute at four times the rate, as seen: 1,400 restarts, of which 200 come in
/// the first second, and 75 looks, less those for which the machine had no time; one in fifteen
/// sees a peak.
fn short(seed: u64, shape: impl Fn(f64) -> f64) -> Verdict {
    let mut rng = Rng::new(seed);
    let mut looks = Vec::new();
    let mut restarts = 0.0;
    for look in 0..75 {
        restarts += if look < 5 { 40.0 } else { rng.below(35) as f64 };
        let peak = if rng.one_in(15) { rng.below(400) } else { 0 };
        let value = 350.0 + (rng.below(12) * 4 + peak) as f64 + shape(restarts);
        if !rng.one_in(8) {
            looks.push((restarts, (value / 4.0).floor() * 4.0));
        }
    }
    let line = slope(&looks, MEMORY.quantile).expect("enough");
    line.verdict(MEMORY)
}

/// As a supervisor warms up, seen so, and leaks of a size that a quarter of a minute must tell.
fn try_short(seed: u64) {
    let mut rng = Rng::new(seed);
    let told = short(seed, |_| 0.0);
    assert_eq!(told, Verdict::TooShort, "noise, seed {seed}");
    // All at once, and until the end.
    let pace = 50.0 + rng.below(600) as f64;
    let warm_up = |restarts: f64| 1000.0 * (1.0 - (-restarts / pace).exp());
    let told = short(seed, warm_up);
    assert_eq!(told, Verdict::TooShort, "warm-up by {pace}, seed {seed}");
    let told = short(seed, |restarts| restarts * 2.0);
    assert!(grows(told), "2 KiB each restart, seed {seed}: {told}");
    let told = short(seed, |restarts| restarts * 2.0 + warm_up(restarts));
    assert!(grows(told), "2 KiB and warm-up, seed {seed}: {told}");
    // By the pieces in which an allocator takes it: each of them a few large reports.
    let at = [rng.below(1400) as f64, rng.below(1400) as f64];
    let steps = |restarts| at.iter().filter(|at| restarts > **at).count() as f64 * 400.0;
    let told = short(seed, steps);
    assert_eq!(told, Verdict::TooShort, "steps at {at:?}, seed {seed}");
    let step = |restarts| if restarts > at[0] { 320.0 } else { 0.0 };
    let told = short(seed, |restarts| restarts * 2.0 + step(restarts));
    assert!(grows(told), "2 KiB and a step, seed {seed}: {told}");
}

/// Whole numbers that are mostly equal: a descriptor in 4,000 restarts is found, and in a quarter
/// of a minute one in 20.
fn try_numbers() {
    let count = |looks: u32, each: f64, leak: f64| {
        let look = |number| {
            let restarts = f64::from(number) * each;
            (restarts, 300.0 + (restarts * leak).floor())
        };
        let looks: Vec<(f64, f64)> = (0..looks).map(look).collect();
        let line = slope(&looks, NUMBER.quantile).expect("enough");
        line.verdict(NUMBER)
    };
    assert!(grows(count(3600, 28.0, 1.0 / 4000.0)));
    assert_eq!(count(3600, 28.0, 0.0), Verdict::Flat);
    assert!(grows(count(75, 18.0, 1.0 / 20.0)));
    assert_eq!(count(75, 18.0, 0.0), Verdict::Flat);
    // Seen so: a machine that is busy at first has room for fewer programs in most looks.
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut look = |second: u32| {
            let missing = if second < 400 { 90 } else { 20 };
            let value = 205.0 - rng.below(missing) as f64 * f64::from(u8::from(rng.one_in(2)));
            (f64::from(second) * 28.0, value)
        };
        let looks: Vec<(f64, f64)> = (0..720).map(&mut look).collect();
        let line = slope(&looks, NUMBER.quantile).expect("enough");
        let told = line.verdict(NUMBER);
        assert!(!grows(told), "a busy machine, seed {seed}: {told}");
    }
}
