//! What the soak is told.

use std::path::PathBuf;
use std::time::Duration;

/// Restarts per hour.
const RATE: f64 = 100_000.0;

/// Under memcheck it is so much less, and a minute or two is as good as an hour.
const MEMCHECK_SCALE: f64 = 4.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Binary,
    Library,
    Valgrind,
    ValgrindLibrary,
}

impl Variant {
    pub fn is_library(self) -> bool {
        matches!(self, Self::Library | Self::ValgrindLibrary)
    }

    pub fn is_memcheck(self) -> bool {
        matches!(self, Self::Valgrind | Self::ValgrindLibrary)
    }
}

#[derive(Debug, Clone)]
pub struct Arguments {
    pub time: Duration,
    pub variant: Variant,
    pub restarts_per_second: f64,
    pub seed: u64,
    /// Where to write down what was seen, look by look.
    pub series: Option<PathBuf>,
    /// What the host keeps for ever of each report, in bytes: a leak to be found.
    pub plant: usize,
}

impl Arguments {
    /// `None` if nobody says for how long: then whatever else is there is the test harness's.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let words: Vec<String> = words.collect();
        if !words.iter().any(|word| word == "--for") {
            return Ok(None);
        }
        let mut time = Duration::ZERO;
        let (mut variant, mut rate, mut seed) = (Variant::Binary, None, 1);
        let (mut series, mut plant) = (None, 0);
        for pair in words.chunks(2) {
            let [key, value] = pair else {
                return Err(format!("{} needs a value", pair[0]));
            };
            let bad = || format!("{key} {value}: not understood; see the head of tests/soak.rs");
            match key.as_str() {
                "--for" => time = duration(value).ok_or_else(bad)?,
                "--rate" => rate = Some(value.parse::<f64>().map_err(|_| bad())?),
                "--seed" => seed = value.parse().map_err(|_| bad())?,
                "--series" => series = Some(PathBuf::from(value)),
                "--plant" => plant = value.parse().map_err(|_| bad())?,
                "--variant" => variant = variant_of(value).ok_or_else(bad)?,
                _ => return Err(bad()),
            }
        }
        if plant > 0 && !variant.is_library() {
            return Err("--plant needs a host, as of --variant library".to_owned());
        }
        let scale = if variant.is_memcheck() {
            MEMCHECK_SCALE
        } else {
            1.0
        };
        Ok(Some(Self {
            time,
            variant,
            restarts_per_second: rate.unwrap_or(RATE / scale) / 3600.0,
            seed,
            series,
            plant,
        }))
    }
}

fn variant_of(word: &str) -> Option<Variant> {
    Some(match word {
        "binary" => Variant::Binary,
        "library" => Variant::Library,
        "valgrind" => Variant::Valgrind,
        "valgrind-library" => Variant::ValgrindLibrary,
        _ => return None,
    })
}

fn duration(word: &str) -> Option<Duration> {
    let unit = word.find(|char: char| !char.is_ascii_digit())?;
    let seconds = match &word[unit..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let number: u64 = word[..unit].parse().ok()?;
    Some(Duration::from_secs(number * seconds))
}
