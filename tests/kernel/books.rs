//! Every byte accounted for: what was read of a program's pipes is in its logs, in order, or was
//! counted as lost, in the log where it is missing, and to the host. A log that was rotated is one
//! with those that were rotated.

use std::path::Path;

use crate::kernel::world::{Kernel, Program, rotated};
use crate::spec::{StdStream, log_path};

const OURS: &str = "procsched: ";
const MARK: &str = "--- ";

/// A part of a log.
#[derive(Debug)]
enum Part<'a> {
    /// The program's.
    Bytes(&'a [u8]),
    /// The supervisor's: so many bytes are missing here.
    Missing(u64),
}

/// Compares a log with what was read, and what the host was told of.
pub fn check(
    kernel: &Kernel,
    program: &Program,
    stream: StdStream,
    log: &[u8],
    told_as_lost: u64,
) -> Result<(), String> {
    let name = format!("{}, {stream}", program.name);
    let drained = program.drained[stream as usize].iter();
    let drained = drained.flat_map(|&(pipe, from, count)| {
        (from..from + count).map(move |at| kernel.byte_of(pipe, at))
    });
    let drained: Vec<u8> = drained.collect();
    let (mut at, mut lost) = (0_usize, 0_u64);
    if !program.has_marks && is_marked(log) {
        return Err(format!("{name}: the log has marks"));
    }
    for part in parts(stream, log)? {
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

fn is_marked(log: &[u8]) -> bool {
    let mut lines = log.split(|&byte| byte == b'\n');
    lines.any(|line| line.starts_with(MARK.as_bytes()))
}

/// The program's bytes are never ASCII here, and the supervisor's words are nothing else.
fn parts(stream: StdStream, log: &[u8]) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    for chunk in log.chunk_by(|one, other| one.is_ascii() == other.is_ascii()) {
        if !chunk[0].is_ascii() {
            parts.push(Part::Bytes(chunk));
            continue;
        }
        let text = std::str::from_utf8(chunk).map_err(|error| error.to_string())?;
        parts.extend(notes(stream, text).into_iter().map(Part::Missing));
    }
    Ok(parts)
}

/// The numbers of all whole notes: one that the disk had no room for was begun anew, with its
/// line feed first, and does not count.
fn notes(stream: StdStream, text: &str) -> Vec<u64> {
    let what = format!(" bytes of {stream} were lost here: ");
    let mut numbers = Vec::new();
    let mut lines = text.split('\n').peekable();
    // What stands before the first line feed is a remark, or the rest of one.
    lines.next();
    while let Some(line) = lines.next() {
        let Some((number, why)) = line
            .strip_prefix(OURS)
            .and_then(|rest| rest.split_once(&what))
        else {
            continue;
        };
        assert!(!why.contains(OURS), "two remarks on one line: {line}");
        // The line feed at its end, if it is not that of the next try.
        let is_whole = lines.peek().is_some_and(|next| !next.contains(&what));
        if let (true, Ok(number)) = (is_whole, number.parse()) {
            numbers.push(number);
        }
    }
    numbers
}

/// The log of a stream of the program of this name, with those that were rotated.
pub fn log_of(directory: &Path, name: &str, stream: StdStream) -> Vec<u8> {
    let mut files: Vec<_> = rotated(directory, name, stream).collect();
    files.reverse();
    files.push(log_path(directory, name, stream));
    let files = files
        .into_iter()
        .filter_map(|path| std::fs::read(path).ok());
    files.flatten().collect()
}
