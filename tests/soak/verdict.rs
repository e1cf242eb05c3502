//! The end of a soak: the table, and whether all was well.

use std::fmt::Write;

use crate::soak::cast;
use crate::soak::figures::{self, Figures};
use crate::soak::run::Soak;
use crate::soak::slope::{Allowance, Verdict, slope};

/// By so much of its first value a cost may grow over the series before it is called growth:
/// others use the machine as well.
const COST_GROWTH: f64 = 0.5;

/// A cost is taken over such a part of the looks.
const COST_PARTS: usize = 60;

/// Of fewer restarts there may be too little to lay a line through.
const RESTARTS_TO_JUDGE: u64 = 1000;

/// Tells all of it on stdout; true if all was well.
pub fn tell(soak: &Soak) -> bool {
    check_books(soak);
    write_series(soak).expect("the file of --series");
    let mut table = String::new();
    head(soak, &mut table).expect("a string takes it");
    figures(soak, &mut table).expect("a string takes it");
    tail(soak, &mut table).expect("a string takes it");
    let _ = std::io::Write::write_all(&mut std::io::stdout(), table.as_bytes());
    soak.ledger.books().complaint_count == 0
}

/// Writes the looks down, where that is asked for: to be looked at, and to be judged again.
fn write_series(soak: &Soak) -> std::io::Result<()> {
    let Some(file) = &soak.arguments.series else {
        return Ok(());
    };
    let mut text = "seconds restarts".to_owned();
    for (name, ..) in figures::STOCKS {
        text += &format!("\t{name}");
    }
    for (seconds, restarts, seen) in &soak.series {
        text += &format!("\n{seconds:.2} {restarts}");
        for (_, get, _) in figures::STOCKS {
            text += &format!("\t{}", get(seen));
        }
    }
    std::fs::write(file, text + "\n")
}

/// Every start has its report, every byte is somewhere.
fn check_books(soak: &Soak) {
    let mut books = soak.ledger.books();
    for ((name, pid), count) in std::mem::take(&mut books.open) {
        let what = if count > 0 {
            "starts without report"
        } else {
            "reports without start"
        };
        books.complain(format!("{name} {pid}: {} {what}", count.abs()));
    }
    if books.failed_starts != books.failed_reports {
        let (starts, reports) = (books.failed_starts, books.failed_reports);
        books.complain(format!("{starts} failed starts, {reports} reports of them"));
    }
    for name in &soak.programs {
        if !cast::ACCOUNTED.contains(&cast::mode_of(name)) {
            continue;
        }
        let number = |of: &std::collections::BTreeMap<String, u64>| of.get(name).copied();
        let reported = number(&books.reported).unwrap_or(0);
        let dropped = number(&books.dropped).unwrap_or(0);
        let logged = soak.weather.disk.bytes_of(name);
        if logged + dropped != reported {
            books.complain(format!(
                "{name}: {reported} bytes reported, {logged} in logs, {dropped} said to be lost"
            ));
        }
    }
}

fn head(soak: &Soak, table: &mut String) -> std::fmt::Result {
    let (restarts, books) = (soak.restarts(), soak.ledger.books());
    let arguments = &soak.arguments;
    writeln!(
        table,
        "variant        {:?}, seed {}",
        arguments.variant, arguments.seed
    )?;
    let hourly = restarts as f64 / soak.time.as_secs_f64() * 3600.0;
    writeln!(table, "time           {:.0} s", soak.time.as_secs_f64())?;
    writeln!(
        table,
        "restarts       {restarts}, {hourly:.0} an hour, of {} programs",
        soak.programs.len()
    )?;
    let (starts, reports) = (books.starts, books.reports);
    writeln!(
        table,
        "starts         {starts}, and {} that failed",
        books.failed_starts
    )?;
    writeln!(
        table,
        "reports        {reports}, and {}",
        books.failed_reports
    )?;
    let mib = books.stderr_bytes as f64 / f64::from(1 << 20);
    writeln!(
        table,
        "stderr         {mib:.0} MiB; {} bytes said to be lost",
        books.dropped_bytes
    )?;
    writeln!(
        table,
        "whole runs     {}, of which every byte was counted",
        books.whole_runs
    )?;
    let accounted = soak
        .programs
        .iter()
        .filter(|name| cast::ACCOUNTED.contains(&cast::mode_of(name)));
    let accounted: u64 = accounted.filter_map(|name| books.reported.get(name)).sum();
    writeln!(
        table,
        "accounted      {accounted} bytes, in logs or said to be lost"
    )?;
    weather(soak, table)
}

/// What befell it, and who was hurt.
fn weather(soak: &Soak, table: &mut String) -> std::fmt::Result {
    let counts = &soak.weather.counts;
    writeln!(
        table,
        "signals        {} to programs; {} times the supervisor stood still",
        counts.signals, counts.freezes
    )?;
    let full = if soak.weather.disk.is_small() {
        counts.full.to_string()
    } else {
        "skipped, needs root".to_owned()
    };
    writeln!(
        table,
        "disk full      {full}; {} times the logs were elsewhere",
        counts.away
    )?;
    writeln!(table, "zombies        {} that lasted", soak.lasting_zombies)?;
    let (met, hurt) = soak.strangers;
    writeln!(table, "strangers      {met} met, {hurt} hurt")?;
    writeln!(
        table,
        "end            code {:?} after {:.1} s",
        soak.code,
        soak.end_time.as_secs_f64()
    )
}

/// The lines through the figures.
fn figures(soak: &Soak, table: &mut String) -> std::fmt::Result {
    writeln!(
        table,
        "\n{:<22}{:>10}{:>10}{:>12}{:>24}  verdict",
        "figure", "first", "last", "per 1,000", "99 %"
    )?;
    for (name, get, allowed) in figures::STOCKS {
        let series = soak.series.iter();
        let series: Vec<(f64, f64)> = series.map(|(_, at, seen)| (*at, get(seen))).collect();
        line(soak, table, name, &series, allowed)?;
    }
    for (name, get, chance) in figures::COSTS {
        let series = costs(&soak.series, get);
        let first = series.get(series.len() / 4).map_or(0.0, |(_, cost)| *cost);
        let in_all = chance + first * COST_GROWTH;
        let allowed = Allowance {
            per_thousand: 0.0,
            in_all,
            quantile: 0.0,
            no_step: in_all / 4.0,
            in_short: None,
        };
        line(soak, table, &format!("{name}/restart"), &series, allowed)?;
    }
    Ok(())
}

/// What a restart has cost, over some looks at a time.
fn costs(series: &[(f64, f64, Figures)], get: fn(&Figures) -> f64) -> Vec<(f64, f64)> {
    let looks = (series.len() / COST_PARTS).max(1);
    let pairs = series.iter().zip(series.iter().skip(looks));
    let cost =
        |((_, begin, before), (_, end, after)): (&(f64, f64, Figures), &(f64, f64, Figures))| {
            (end > begin).then(|| (*end, (get(after) - get(before)) / (end - begin)))
        };
    pairs.filter_map(cost).collect()
}

fn line(
    soak: &Soak,
    table: &mut String,
    name: &str,
    series: &[(f64, f64)],
    allowed: Allowance,
) -> std::fmt::Result {
    let Some(slope) = slope(series, allowed.quantile) else {
        if soak.restarts() < RESTARTS_TO_JUDGE {
            return writeln!(table, "{name:<66}  too short to tell");
        }
        let complaint = format!("too little was seen of {name}");
        soak.ledger.complain(complaint);
        return writeln!(table, "{name:<66}  too little was seen");
    };
    let interval = format!("{:.3} to {:.3}", slope.low, slope.high);
    // Memcheck keeps what was freed for a while, and grows by that: it judges itself.
    let verdict = if soak.arguments.variant.is_memcheck() {
        "memcheck judges".to_owned()
    } else {
        let verdict = slope.verdict(allowed);
        if matches!(verdict, Verdict::Grows(_)) {
            soak.ledger.complain(format!("{name} grows: {slope:?}"));
        }
        verdict.to_string()
    };
    writeln!(
        table,
        "{name:<22}{:>10.2}{:>10.2}{:>12.3}{interval:>24}  {verdict}",
        slope.first, slope.last, slope.slope
    )
}

fn tail(soak: &Soak, table: &mut String) -> std::fmt::Result {
    let books = soak.ledger.books();
    writeln!(table, "\nwarnings, by their words:")?;
    for (kind, count) in &books.warnings {
        writeln!(table, "{count:>8}  {kind}")?;
    }
    if let (Some(last), true) = (soak.series.last(), soak.time.as_secs() > 0) {
        let share = last.2.cpu_seconds / soak.time.as_secs_f64() * 100.0;
        writeln!(
            table,
            "CPU            {:.1} s, {share:.1} % of the time",
            last.2.cpu_seconds
        )?;
    }
    let crowded = books.crowded_out;
    writeln!(
        table,
        "crowded out    {crowded} starts and forks for which the machine had no process left"
    )?;
    writeln!(table, "\n{} complaints", books.complaint_count)
}
