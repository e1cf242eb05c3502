//! Every byte accounted for: what was read of a program's pipes is in its log, in order, or was
//! counted as lost, in the log where it is missing, and to the host.

use std::path::Path;

use crate::kernel::world::{Program, byte_of};

const OURS: &str = "procsched: ";
const NOTE: &str = " bytes of stderr were lost here: ";

/// A part of a log.
#[derive(Debug)]
enum Part<'a> {
    /// The program's.
    Bytes(&'a [u8]),
    /// The supervisor's: so many bytes are missing here.
    Missing(u64),
}

/// Compares a log with what was read, and what the host was told of.
pub fn check(program: &Program, log: &[u8], told_as_lost: u64) -> Result<(), String> {
    let name = &program.name;
    let drained = program
        .drained
        .iter()
        .flat_map(|&(pipe, from, count)| (from..from + count).map(move |at| byte_of(pipe, at)));
    let drained: Vec<u8> = drained.collect();
    let (mut at, mut lost) = (0_usize, 0_u64);
    for part in parts(log)? {
        match part {
            Part::Bytes(bytes) => {
                if drained.get(at..at + bytes.len()) != Some(bytes) {
                    return Err(format!(
                        "{name}: the log has other bytes than those that were read, from byte {at} on"
                    ));
                }
                at += bytes.len();
            }
            Part::Missing(count) => {
                at += count as usize;
                lost += count;
            }
        }
    }
    let Some(rest) = drained.len().checked_sub(at) else {
        return Err(format!(
            "{name}: the log says that more is missing than there was"
        ));
    };
    lost += rest as u64;
    if lost != told_as_lost {
        return Err(format!(
            "{name}: {lost} bytes are not in the log, and the host was told of {told_as_lost}"
        ));
    }
    Ok(())
}

/// The program's bytes are never ASCII here, and the supervisor's words are nothing else.
fn parts(log: &[u8]) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    for chunk in log.chunk_by(|one, other| one.is_ascii() == other.is_ascii()) {
        if !chunk[0].is_ascii() {
            parts.push(Part::Bytes(chunk));
            continue;
        }
        let text = std::str::from_utf8(chunk).map_err(|error| error.to_string())?;
        parts.extend(notes(text).into_iter().map(Part::Missing));
    }
    Ok(parts)
}

/// The numbers of all whole notes: one that the disk had no room for was begun anew, with its
/// line feed first, and does not count.
fn notes(text: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut lines = text.split('\n').peekable();
    // What stands before the first line feed is a remark, or the rest of one.
    lines.next();
    while let Some(line) = lines.next() {
        let Some((number, why)) = line
            .strip_prefix(OURS)
            .and_then(|rest| rest.split_once(NOTE))
        else {
            continue;
        };
        assert!(!why.contains(OURS), "two remarks on one line: {line}");
        // The line feed at its end, if it is not that of the next try.
        let is_whole = lines.peek().is_some_and(|next| !next.contains(NOTE));
        if let (true, Ok(number)) = (is_whole, number.parse()) {
            numbers.push(number);
        }
    }
    numbers
}

pub fn log_of(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(format!("{name}.stderr.log"))).unwrap_or_default()
}
