use super::queue::{PIECE_BYTES_MAX, TURN_BYTES_MAX, piece};
use super::*;
use crate::line::QUEUE_BYTES_MAX;
use procsched::SharedWriter;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// A pipe from which reading never blocks.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    (reader.into(), writer)
}

fn outputs(stdout: impl AsFd + Send + 'static, stderr: OwnedFd) -> Pair {
    Pair {
        stdout: Output::new(stdout),
        stderr: Output::new(stderr),
        style: Style::new([]),
        is_json: false,
        has_reports: true,
    }
}

/// Both outputs on pipes, and their readers.
fn outputs_on_pipes() -> (Pair, File, File) {
    let ((out_reader, out), (err_reader, err)) = (pipe(), pipe());
    (outputs(out, err), out_reader, err_reader)
}

/// All that is in the pipe now.
fn take(reader: &mut File) -> String {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    }
    String::from_utf8(bytes).expect("text")
}

/// Reads and pumps in turns until nothing is left in the queues.
fn take_all(outputs: &mut Pair, reader: &mut File) -> String {
    let mut text = take(reader);
    while outputs.is_pending() {
        outputs.pump();
        text += &take(reader);
    }
    text
}

fn next_piece(output: &Output) -> &[u8] {
    piece(output.queue.as_slices().0, &output.writer)
}

fn queued(outputs: &Pair) -> (usize, usize) {
    (outputs.stdout.queue.len(), outputs.stderr.queue.len())
}

/// Prints a line on stdout.
fn data(outputs: &mut Pair, line: &str) {
    outputs.data(line);
    outputs.pump();
}

/// Prints a line on stderr.
fn say(outputs: &mut Pair, line: &str) {
    outputs.say(line);
    outputs.pump();
}

#[test]
fn a_slow_reader_costs_a_queue_and_nothing_else() {
    let (mut outputs, mut out, _err) = outputs_on_pipes();
    let line = "x".repeat(9_999);
    for _ in 0..50 {
        data(&mut outputs, &line);
    }
    assert!(outputs.is_pending());
    let text = take_all(&mut outputs, &mut out);
    assert_eq!(text, format!("{line}\n").repeat(50));
    let capacity = outputs.stdout.queue.capacity();
    assert!(
        capacity <= 2 * PIECE_BYTES_MAX,
        "{capacity} bytes were not given back"
    );
}

#[test]
fn over_the_bound_whole_lines_are_dropped_and_counted() {
    let (mut outputs, mut out, mut err) = outputs_on_pipes();
    for number in 0..3_000 {
        data(&mut outputs, &format!("{number:0>999}"));
    }
    assert!(queued(&outputs).0 <= QUEUE_BYTES_MAX);
    assert_eq!(take(&mut err), "", "there is no room yet");
    let text = take_all(&mut outputs, &mut out);
    let lines = text.lines();
    let numbers: Vec<usize> = lines.map(|line| line.parse().expect("whole")).collect();
    assert!(
        (0..numbers.len()).eq(numbers.iter().copied()),
        "not the first ones"
    );
    let said = take(&mut err);
    let dropped = 3_000 - numbers.len();
    assert!(
        said.contains(&format!("dropped {dropped} reports")),
        "{said}"
    );
    data(&mut outputs, "and on");
    assert_eq!(take(&mut out), "and on\n");
    assert_eq!(take(&mut err), "", "said once");
}

#[test]
fn dropped_lines_of_stderr_are_said_on_stderr() {
    let (mut outputs, _out, mut err) = outputs_on_pipes();
    for _ in 0..2_000 {
        say(&mut outputs, &"x".repeat(999));
    }
    let text = take_all(&mut outputs, &mut err);
    let kept = text.lines().filter(|line| line.starts_with('x')).count();
    assert!(
        text.contains(&format!("dropped {} lines", 2_000 - kept)),
        "{kept}"
    );
}

#[test]
fn a_closed_output_is_said_once_on_the_other() {
    let (mut outputs, out, mut err) = outputs_on_pipes();
    drop(out);
    for _ in 0..3 {
        data(&mut outputs, "{}");
    }
    let said = take(&mut err);
    let end = "stdout is switched off, no more reports: Broken pipe\n";
    assert!(said.ends_with(end), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!outputs.is_pending());
}

#[test]
fn a_closed_stderr_is_said_once_as_json() {
    let (mut outputs, mut out, err) = outputs_on_pipes();
    drop(err);
    say(&mut outputs, "one");
    say(&mut outputs, "two");
    let why = "stderr is switched off, no more messages: Broken pipe";
    assert_eq!(take(&mut out), format!("{{\"warning\":\"{why}\"}}\n"));
}

#[test]
fn with_both_closed_there_is_nothing_left_to_do() {
    let (mut outputs, out, err) = outputs_on_pipes();
    drop((out, err));
    data(&mut outputs, "{}");
    say(&mut outputs, "one");
    assert!(!outputs.is_pending());
    outputs.flush();
}

#[test]
fn the_other_learns_when_it_has_room_again() {
    let (mut outputs, out, mut err) = outputs_on_pipes();
    for _ in 0..2_000 {
        say(&mut outputs, &"x".repeat(999));
    }
    drop(out);
    data(&mut outputs, "{}");
    let text = take_all(&mut outputs, &mut err);
    assert_eq!(text.matches("stdout is switched off").count(), 1);
}

#[test]
fn a_full_device_costs_lines_and_not_the_output() {
    let (mut err, err_writer) = pipe();
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("/dev/full");
    let mut outputs = outputs(full, err_writer);
    data(&mut outputs, "{}");
    data(&mut outputs, "{}");
    assert!(!outputs.is_pending(), "a full device must not be retried");
    let said = take(&mut err);
    let part = "they are lost: No space left on device";
    assert!(said.contains(part), "{said}");
    assert_eq!(said.lines().count(), 1, "said once: {said}");
    let (mut out, writer) = pipe();
    outputs.stdout.writer = SharedWriter::new(Box::new(writer));
    data(&mut outputs, "{}");
    assert_eq!(take(&mut out), "{}\n");
    assert!(take(&mut err).contains("dropped 2 reports"));
}

#[test]
fn a_line_that_was_cut_does_not_spoil_the_next() {
    let (mut outputs, mut out, _err) = outputs_on_pipes();
    outputs.stdout.push("cut here");
    outputs.stdout.forget(3);
    outputs.stdout.drop_queue();
    data(&mut outputs, "whole");
    assert_eq!(take(&mut out), "\nwhole\n");
}

#[test]
fn the_last_flush_ends_without_a_reader_and_says_what_is_lost() {
    let (mut outputs, _out, mut err) = outputs_on_pipes();
    for _ in 0..100 {
        data(&mut outputs, &"x".repeat(999));
    }
    outputs.flush();
    assert!(take(&mut err).contains("reports that stdout did not take"));
}

#[test]
fn an_inherited_descriptor_stays_blocking() {
    let (_reader, writer) = pipe();
    let mut output = Output::new(writer.try_clone().expect("a copy"));
    output.push("{}");
    output.pump();
    assert!(output.queue.is_empty());
    let flags = fcntl(&writer, FcntlArg::F_GETFL).expect("flags");
    assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
}

#[test]
fn what_a_turn_says_is_few_writes_of_whole_lines() {
    let (mut outputs, mut out, mut err) = outputs_on_pipes();
    for number in 0..100 {
        outputs.say(&format!("line {number:0>53}"));
        outputs.data("{}");
    }
    assert_eq!(take(&mut out) + &take(&mut err), "");
    assert_eq!(queued(&outputs), (300, 5_900));
    assert_eq!(next_piece(&outputs.stderr).len(), 5_900, "it is empty");
    outputs
        .stderr
        .writer
        .write(b"another's\n")
        .expect("an empty pipe");
    let piece = next_piece(&outputs.stderr);
    assert!(piece.ends_with(b"\n") && piece.len() > PIECE_BYTES_MAX - 59);
    assert!(
        piece.len() <= PIECE_BYTES_MAX,
        "others may write to the same pipe"
    );
    outputs.pump();
    assert_eq!(take(&mut err).lines().count(), 101);
    assert_eq!(take(&mut out), "{}\n".repeat(100));
}

/// Where the memory of the queue began anew, the line there went out in two writes, and another writer
/// to the same pipe could come between.
#[test]
fn no_line_is_torn_where_the_memory_of_the_queue_begins_anew() {
    // A write is a message there.
    let (reader, writer) = UnixDatagram::pair().expect("sockets");
    reader.set_nonblocking(true).expect("a flag");
    let mut output = Output::new(writer);
    let line = "x".repeat(999);
    output.push(&line);
    output.push(&line);
    let room = output.queue.capacity() - output.queue.len();
    output.forget(1_000);
    let more = room / 1_000 + 1;
    for _ in 0..more {
        output.push(&line);
    }
    let (first, second) = output.queue.as_slices();
    let is_torn = !first.ends_with(b"\n") && !second.is_empty();
    assert!(is_torn, "it does not begin anew");
    output.pump();
    let (mut message, mut bytes) = ([0; 2 * PIECE_BYTES_MAX], 0);
    while let Ok(count) = reader.recv(&mut message) {
        assert!(message[..count].ends_with(b"\n"), "a line is torn");
        bytes += count;
    }
    assert_eq!(bytes, (1 + more) * 1_000);
}

#[test]
fn a_long_turn_is_written_before_its_end() {
    let (mut outputs, mut out, _err) = outputs_on_pipes();
    let line = "x".repeat(999);
    for _ in 0..TURN_BYTES_MAX / 1000 {
        outputs.data(&line);
        assert_eq!(take(&mut out), "");
    }
    outputs.data(&line);
    assert_eq!(take(&mut out).lines().count(), TURN_BYTES_MAX / 1000 + 1);
}

#[test]
fn a_line_longer_than_a_promise_goes_out_in_one_write_and_a_file_takes_everything() {
    let long = "x".repeat(3 * PIECE_BYTES_MAX);
    let (mut outputs, mut out, _err) = outputs_on_pipes();
    outputs.data(&long);
    assert_eq!(next_piece(&outputs.stdout).len(), long.len() + 1);
    outputs.pump();
    assert_eq!(take(&mut out), format!("{long}\n"));
    let file = tempfile::tempfile().expect("a file");
    let mut output = Output::new(file.try_clone().expect("a copy"));
    for _ in 0..3 {
        output.push(&long);
    }
    assert_eq!(next_piece(&output).len(), 3 * (long.len() + 1));
    output.pump();
    assert!(output.queue.is_empty());
    let size = file.metadata().expect("its size").len();
    assert_eq!(size, 3 * (long.len() as u64 + 1));
    assert!(output.queue.capacity() <= 2 * PIECE_BYTES_MAX);
}
