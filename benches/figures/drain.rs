//! The programs of a run write, until all of it is in their logs, or was passed on.

use std::process::Command;
use std::thread::sleep;

use crate::page::Slot;
use crate::run::{LOOK_INTERVAL, LOOK_INTERVAL_SHORT, Outcome, QUIET, Run, now};

const MIB: f64 = 1024.0 * 1024.0;

/// What moving everybody's bytes took.
pub struct Written {
    pub mib_per_second: f64,
    /// Seconds of processor time a GiB.
    pub cpu: f64,
    /// The same of those who wrote.
    pub writers_cpu: f64,
    /// Seconds a GiB that each writer took, on average.
    pub writers_wall: f64,
}

impl Run<'_> {
    /// Lets the first programs write, this many bytes each, until all is where it should be.
    pub fn write(&self, writers: usize, total: u64) -> Outcome<Written> {
        let cpu_before = self.cpu();
        let gate = self.place.open_gate();
        self.wait_until(LOOK_INTERVAL, || match self.place.page.done() {
            done if done >= writers as u64 => Ok(()),
            done => Err(format!("{done} of {writers} programs wrote everything")),
        })?;
        let mut left: Vec<usize> = (0..writers).collect();
        self.wait_until(LOOK_INTERVAL_SHORT, || {
            left.retain(|&index| !self.is_there(index, total));
            let is_all = left.is_empty();
            is_all
                .then_some(())
                .ok_or_else(|| format!("the output of {} is not complete", left.len()))
        })?;
        let end = now();
        drop(gate);
        sleep(QUIET); // what it does after the last byte counts, too
        let cpu = self.cpu() - cpu_before;
        let slots: Vec<_> = self.place.page.slots().take(writers).collect();
        if slots.iter().any(|slot| slot.errors > 0) {
            return Err("a write failed".to_owned());
        }
        let first = slots
            .iter()
            .map(|slot| slot.first_write_at)
            .min()
            .unwrap_or(end);
        let mib = total as f64 * writers as f64 / MIB;
        let sum = |part: fn(&Slot) -> u64| slots.iter().map(part).sum::<u64>() as f64 / 1e9;
        Ok(Written {
            mib_per_second: mib / ((end - first) as f64 / 1e9),
            cpu: cpu.as_secs_f64() / (mib / 1024.0),
            writers_cpu: sum(|slot| slot.cpu) / (mib / 1024.0),
            writers_wall: sum(|slot| slot.done_at - slot.first_write_at) / (mib / 1024.0),
        })
    }

    /// True if this many bytes of a program have come to their end.
    fn is_there(&self, index: usize, total: u64) -> bool {
        if let Some(reader) = &self.reader {
            return reader.bytes() >= self.side.passed_on(total);
        }
        let size = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        let logs = self.side.logs(&self.place, index).into_iter();
        logs.map(size).sum::<u64>() >= total
    }

    /// Compares every log with what was written, byte for byte; of what was passed on the length.
    pub fn verify(&self, writers: usize, total: u64) -> Outcome<()> {
        if let Some(reader) = &self.reader {
            let (bytes, expected) = (reader.bytes(), self.side.passed_on(total));
            return match bytes == expected {
                true => Ok(()),
                false => Err(format!("{bytes} bytes were passed on, not {expected}")),
            };
        }
        for index in 0..writers {
            let mut verify = Command::new(&self.tools.child);
            verify.arg("verify").arg(total.to_string());
            let status = verify.args(self.side.logs(&self.place, index)).status();
            if !status.is_ok_and(|status| status.success()) {
                return Err(format!("log {index} is not what was written"));
            }
        }
        Ok(())
    }
}
