//! The table: figure, ours, each other side; and the ratio to each floor.

use std::io::Write;

use crate::side::Side;

/// What stands in a row under a side's name.
#[derive(Clone)]
pub enum Cell {
    Samples(Vec<f64>),
    /// It could not do it. A remark says why.
    Failed,
    Absent,
}

impl Cell {
    pub fn median(&self) -> Option<f64> {
        match self {
            Self::Samples(samples) => Some(median(samples)),
            Self::Failed | Self::Absent => None,
        }
    }

    /// Returns how many times as much the second is, by the medians.
    pub fn ratio(first: &Self, second: &Self) -> Self {
        match first.median().zip(second.median()) {
            Some((first, second)) => Self::Samples(vec![second / first]),
            None => second.clone(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Samples(samples) => text(samples),
            Self::Failed => "failed".to_owned(),
            Self::Absent => "-".to_owned(),
        }
    }
}

/// All rows and remarks so far.
#[derive(Default)]
pub struct Table {
    /// The sides, ours first, and whether the ratio of ours to it is shown.
    sides: Vec<(&'static str, bool)>,
    rows: Vec<Vec<String>>,
    remarks: Vec<String>,
}

impl Table {
    pub fn columns(&mut self, sides: &[Side]) {
        let column = |side: &Side| (side.name, side.is_floor());
        self.sides = sides.iter().map(column).collect();
    }

    /// A figure of each side. The unit belongs to the name.
    pub fn row(&mut self, name: String, cells: Vec<Cell>) {
        let ours = cells.first().and_then(Cell::median);
        let mut row = vec![name];
        for (index, (_, with_ratio)) in self.sides.iter().enumerate() {
            let cell = cells.get(index).unwrap_or(&Cell::Absent);
            row.push(cell.text());
            if *with_ratio {
                let ratio = ours.zip(cell.median()).map(|(ours, floor)| ours / floor);
                let ratio = ratio.filter(|ratio| ratio.is_finite());
                row.push(ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
            }
        }
        let _ = writeln!(std::io::stderr(), "{}", row.join(" | "));
        self.rows.push(row);
    }

    /// A figure of ours alone.
    pub fn tell(&mut self, name: impl Into<String>, ours: &[f64]) {
        self.row(name.into(), vec![Cell::Samples(ours.to_vec())]);
    }

    /// Something that the reader must know.
    pub fn remark(&mut self, remark: String) {
        let _ = writeln!(std::io::stderr(), "note: {remark}");
        self.remarks.push(remark);
    }

    /// On stdout. While it is filled, rows appear on stderr.
    pub fn print(&self, markdown: bool) {
        let head = self.head();
        let lines = if markdown {
            self.markdown(&head)
        } else {
            self.plain(&head)
        };
        let _ = writeln!(std::io::stdout(), "\n{}", lines.join("\n"));
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec!["median (min-max)".to_owned()];
        for (name, with_ratio) in &self.sides {
            head.push((*name).to_owned());
            head.extend(with_ratio.then(|| "ratio".to_owned()));
        }
        head
    }

    fn plain(&self, head: &Vec<String>) -> Vec<String> {
        let rows = || [head].into_iter().chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(text, width)| format!("{text:<width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        let mut lines = vec![machine()];
        lines.extend(rows().map(line));
        lines.push("ratio: ours / the floor to its left, medians".to_owned());
        lines.extend(self.remarks.iter().map(|remark| format!("note: {remark}")));
        lines
    }

    fn markdown(&self, head: &[String]) -> Vec<String> {
        let line = |row: &[String]| format!("| {} |", row.join(" | "));
        let mut lines = vec![
            format!("{}. Ratio: ours / the floor to its left.", machine()),
            String::new(),
        ];
        lines.push(line(head));
        lines.push(line(&vec!["---".to_owned(); head.len()]));
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.push(String::new());
        lines.extend(self.remarks.iter().map(|remark| format!("- {remark}")));
        lines
    }
}

/// "1 program", "10,000 programs".
pub fn programs(count: usize) -> String {
    let text = if count < 1000 {
        count.to_string()
    } else {
        format!("{},{:03}", count / 1000, count % 1000)
    };
    format!("{text} program{}", if count == 1 { "" } else { "s" })
}

/// The middle one, or what lies between the middle two.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    (sorted[last / 2] + sorted[last - last / 2]) / 2.0
}

/// The sample below which this part of all lies.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * sorted.len() as f64) as usize;
    sorted[index.min(sorted.len() - 1)]
}

fn text(samples: &[f64]) -> String {
    let [least, most] = [0.0, 1.0].map(|part| number(quantile(samples, part)));
    if least == most {
        return least;
    }
    format!("{} ({least}-{most})", number(median(samples)))
}

/// Three digits that matter.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        below if below < 1.0 => 3,
        below if below < 10.0 => 2,
        below if below < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// What the figures were taken on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{processors} x {model}, Linux {}, load at the end {load}",
        kernel.trim()
    )
}
