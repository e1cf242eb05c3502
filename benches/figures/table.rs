//! The table: figure, ours, floor, ratio.

use std::io::Write;

/// Which way a figure is better.
#[derive(Clone, Copy)]
pub enum Better {
    /// As for milliseconds.
    Less,
    /// As for MiB a second.
    More,
}

/// All rows and remarks so far.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    remarks: Vec<String>,
}

impl Table {
    /// A figure of both sides, of one or more samples each. The unit belongs to the name. The
    /// ratio says how many times the floor's cost ours is, also for speeds.
    pub fn compare(
        &mut self,
        name: impl Into<String>,
        better: Better,
        ours: &[f64],
        floor: &[f64],
    ) {
        let (mine, least) = (median(ours), median(floor));
        let ratio = match better {
            Better::Less => mine / least,
            Better::More => least / mine,
        };
        self.push([name.into(), text(ours), text(floor), format!("{ratio:.2}")]);
    }

    /// A figure without a floor.
    pub fn tell(&mut self, name: impl Into<String>, ours: &[f64]) {
        self.push([name.into(), text(ours), "-".to_owned(), "-".to_owned()]);
    }

    /// Something that the reader must know.
    pub fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// On stdout. While it is filled, rows appear on stderr.
    pub fn print(&self) {
        let head = [
            "figure: median (min-max)",
            "procsched-min",
            "floor",
            "ratio",
        ];
        let head = head.map(str::to_owned);
        let width = |column: usize| {
            self.rows
                .iter()
                .chain([&head])
                .map(|row| row[column].len())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut lines = vec![machine()];
        for row in [&head].into_iter().chain(&self.rows) {
            let cell = |(text, width): (&String, &usize)| format!("{text:<width$}");
            let cells: Vec<String> = row.iter().zip(&widths).map(cell).collect();
            lines.push(cells.join("  ").trim_end().to_owned());
        }
        lines.push(
            "ratio: ours in terms of the floor's cost; 1 is the floor, less is better".into(),
        );
        lines.extend(self.remarks.iter().map(|remark| format!("note: {remark}")));
        let _ = writeln!(std::io::stdout(), "\n{}", lines.join("\n"));
    }

    fn push(&mut self, row: [String; 4]) {
        let _ = writeln!(
            std::io::stderr(),
            "{}: {} | {} | {}",
            row[0],
            row[1],
            row[2],
            row[3]
        );
        self.rows.push(row);
    }
}

/// "1 program", "100 programs".
pub fn programs(count: usize) -> String {
    format!("{count} program{}", if count == 1 { "" } else { "s" })
}

/// The middle one.
fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which this part of all lies.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * sorted.len() as f64) as usize;
    sorted[index.min(sorted.len() - 1)]
}

fn text(samples: &[f64]) -> String {
    let (least, most) = (quantile(samples, 0.0), quantile(samples, 1.0));
    if least == most {
        return number(least);
    }
    format!(
        "{} ({}-{})",
        number(median(samples)),
        number(least),
        number(most)
    )
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
