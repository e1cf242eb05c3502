//! A reload: reads the config anew, and takes over what has changed. Either all of it is refused,
//! with all errors, or all of it is begun.

use std::path::Path;

use nix::errno::Errno;
use procsched::config::Config;
use procsched::text::{error_text, escaped};
use procsched::{
    ApplyOptions, EmergencyHeap, Error, ErrorKind, Plan, PlannedChange, ProcessScheduler,
};

use crate::control::StoppedBy;
use crate::messages::Level;
use crate::output::Outputs;
use crate::upward::Upward;

/// The memory that a reload needs at most for each byte of the file, while it is read: most have a
/// tenth of this.
const MEMORY_PER_BYTE: u64 = 64;

/// The memory that a reload of a small file needs.
const MEMORY_BYTES_MIN: u64 = 1024 * 1024;

/// How a reload is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Only says what would be done.
    pub dry_run: bool,
    /// Restarts what cannot change while it runs; without, that waits for its next start.
    pub restart: bool,
}

/// Why a reload was refused. Nothing has changed then.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The errors of the config, each a line with its place.
    Invalid(Vec<String>),
    /// Everything is being stopped.
    Stopping(String),
}

/// What a reload is compared with.
pub struct Reloader {
    /// The config that the supervisor was started with, without its programs: where it is, and what
    /// cannot change.
    settings: Config,
    upward: Upward,
}

impl Reloader {
    pub fn new(config: &mut Config, upward: Upward) -> Self {
        let programs = std::mem::take(&mut config.programs);
        let settings = config.clone();
        config.programs = programs;
        Self { settings, upward }
    }

    /// Reads the config anew and takes it over, or says what that would do. The result is on stderr,
    /// too, unless it is a dry run.
    pub fn reload(
        &self,
        scheduler: &mut ProcessScheduler,
        outputs: &Outputs,
        stopped_by: Option<&StoppedBy>,
        options: Options,
    ) -> Result<Plan, Refusal> {
        let notified = (!options.dry_run).then(|| self.upward.reloading());
        let result = self.take_over(scheduler, outputs, options);
        drop(notified);
        if options.dry_run || result.is_err() {
            // As after one that is carried out: all definitions were read, and are freed by now.
            scheduler.trim_memory();
        }
        if !options.dry_run {
            let lines = result.as_ref();
            let lines = lines.map(|plan| lines_of(plan, scheduler, stopped_by));
            self.announce(outputs, lines);
        }
        result
    }

    fn take_over(
        &self,
        scheduler: &mut ProcessScheduler,
        outputs: &Outputs,
        options: Options,
    ) -> Result<Plan, Refusal> {
        // Nothing is read then: a file system that does not answer would hold up the end.
        if scheduler.is_stopping() {
            let refused = scheduler.plan(&[]);
            refused.map_err(|error| self.refusal(&error, &self.settings))?;
        }
        if let Some(path) = &self.settings.path {
            check_memory(path).map_err(|problem| self.invalid(&problem))?;
        }
        let config = self.settings.reload();
        let mut config = config.map_err(|errors| {
            let lines = errors.to_string();
            Refusal::Invalid(lines.lines().map(str::to_owned).collect())
        })?;
        let obstacles = config.obstacles();
        if !obstacles.is_empty() {
            let lines = obstacles.iter();
            let lines = lines.map(|(key, error)| self.line(&format!("{key}: {error}")));
            return Err(Refusal::Invalid(lines.collect()));
        }
        let apply = ApplyOptions::new()
            .base_dir(config.base_dir.clone())
            .error_command(config.error_handler.take())
            .shutdown_timeout(config.shutdown_timeout)
            .restart(options.restart);
        let form = (config.output, config.reports);
        let old = outputs.lock().form();
        let note_form = |mut plan: Plan| {
            if form.0 != old.0 {
                plan.add_setting("output");
            }
            if form.1 != old.1 {
                plan.add_setting("reports");
            }
            plan
        };
        if options.dry_run {
            let plan = scheduler.plan_with(&config.programs, &apply);
            let plan = plan.map(note_form);
            return plan.map_err(|error| self.refusal(&error, &config));
        }
        let names = config.programs.iter().map(|program| program.name().len());
        let new = names.max().unwrap_or(0);
        let programs = std::mem::take(&mut config.programs);
        let plan = scheduler.apply_with(programs, &apply).map(note_form);
        let plan = plan.map_err(|error| self.refusal(&error, &config))?;
        outputs.lock().set_form(form);
        // What is removed is heard of until it is gone.
        let old = plan.changes().iter().map(|change| change.program().len());
        outputs.lock().fit_names(old.max().unwrap_or(0).max(new));
        Ok(plan)
    }

    /// Returns an error with its place in what was read for this config.
    fn refusal(&self, error: &Error, config: &Config) -> Refusal {
        match error.kind() {
            ErrorKind::Stopping => Refusal::Stopping(error.to_string()),
            _ => match config.locate(error) {
                Some(errors) => Refusal::Invalid(vec![errors.to_string()]),
                None => self.invalid(&error.to_string()),
            },
        }
    }

    fn invalid(&self, problem: &str) -> Refusal {
        Refusal::Invalid(vec![self.line(problem)])
    }

    /// Returns the line of an error that has no place in the file.
    fn line(&self, problem: &str) -> String {
        let path = self.settings.path.as_deref().unwrap_or(Path::new("config"));
        let (path, problem) = (path.to_string_lossy(), escaped(problem));
        format!("{}: error: {problem}", escaped(&path))
    }

    fn announce(&self, outputs: &Outputs, result: Result<Vec<String>, &Refusal>) {
        let mut outputs = outputs.lock();
        match result {
            Ok(lines) => {
                for line in lines {
                    outputs.say_own(Level::Info, "reload", &line);
                }
            }
            Err(Refusal::Invalid(lines)) => {
                lines.iter().for_each(|line| outputs.say(line));
                let count = match lines.len() {
                    1 => "1 error".to_owned(),
                    count => format!("{count} errors"),
                };
                let text = format!("config not reloaded: {count}");
                outputs.say_own(Level::Error, "warning", &text);
            }
            Err(Refusal::Stopping(why)) => {
                let text = format!("config not reloaded: {why}");
                outputs.say_own(Level::Warning, "warning", &text);
            }
        }
    }
}

/// Returns the lines of a plan, with the users that have stopped what stays so.
fn lines_of(
    plan: &Plan,
    scheduler: &ProcessScheduler,
    stopped_by: Option<&StoppedBy>,
) -> Vec<String> {
    let reason = |change: &PlannedChange| stopped_by?.reason_in_plan(change, scheduler);
    let text = plan.to_string();
    let settings = plan.settings().iter().map(|_| None);
    let reasons = settings.chain(plan.changes().iter().map(reason));
    let reasons = reasons.chain(std::iter::repeat_with(|| None));
    let lines = text.lines().zip(reasons);
    lines
        .map(|(line, reason)| match reason {
            Some(reason) => format!("{line}, {reason}"),
            None => line.to_owned(),
        })
        .collect()
}

/// Checks that there is memory to read a file of this length and to take it over: refused
/// memory must not end what runs.
fn check_memory(path: &Path) -> Result<(), String> {
    // What cannot be read is reported by the reader.
    let length = std::fs::metadata(path).map_or(0, |found| found.len());
    let bytes = length
        .saturating_mul(MEMORY_PER_BYTE)
        .saturating_add(MEMORY_BYTES_MIN);
    let mut probe: Vec<u8> = Vec::new();
    let bytes = usize::try_from(bytes.min(u64::from(u32::MAX))).unwrap_or(usize::MAX);
    let reserved = EmergencyHeap::optional(|| probe.try_reserve_exact(bytes));
    reserved.map_err(|_| {
        let cause = error_text(&Errno::ENOMEM.into());
        format!("failed to reserve {} KiB of memory: {cause}", bytes / 1024)
    })
}
