use super::*;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// A pipe from which reading never blocks.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    (reader.into(), writer)
}

/// Both outputs on pipes, and their readers.
fn outputs_on_pipes() -> (Outputs, File, File) {
    let ((out_reader, out), (err_reader, err)) = (pipe(), pipe());
    let outputs = Outputs::new(Output::new(out), Output::new(err), Style::new([]));
    (outputs, out_reader, err_reader)
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
fn take_all(outputs: &Outputs, reader: &mut File) -> String {
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

fn queued(outputs: &Outputs) -> (usize, usize) {
    let pair = outputs.lock();
    (pair.stdout.queue.len(), pair.stderr.queue.len())
}

/// As a report gets there, but for its words.
fn data_in_turn(outputs: &Outputs, line: &str) {
    let mut pair = outputs.lock();
    pair.stdout.push(line);
    pair.pump_if_much();
}

#[test]
fn lines_go_out_at_once() {
    let (outputs, mut out, mut err) = outputs_on_pipes();
    outputs.data("{}");
    outputs.say("hello");
    assert_eq!(take(&mut out) + &take(&mut err), "{}\nhello\n");
    assert!(!outputs.is_pending());
}

#[test]
fn a_slow_reader_costs_a_queue_and_nothing_else() {
    let (outputs, mut out, _err) = outputs_on_pipes();
    let line = "x".repeat(9_999);
    for _ in 0..50 {
        outputs.data(&line);
    }
    assert!(outputs.is_pending());
    let text = take_all(&outputs, &mut out);
    assert_eq!(text, format!("{line}\n").repeat(50));
    let capacity = outputs.lock().stdout.queue.capacity();
    assert!(
        capacity <= 2 * PIECE_BYTES_MAX,
        "{capacity} bytes were not given back"
    );
}

#[test]
fn over_the_bound_whole_lines_are_dropped_and_counted() {
    let (outputs, mut out, mut err) = outputs_on_pipes();
    for number in 0..3_000 {
        outputs.data(&format!("{number:0>999}"));
    }
    assert!(queued(&outputs).0 <= QUEUE_BYTES_MAX);
    assert_eq!(take(&mut err), "", "there is no room yet");
    let text = take_all(&outputs, &mut out);
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
    outputs.data("and on");
    assert_eq!(take(&mut out), "and on\n");
    assert_eq!(take(&mut err), "", "said once");
}

#[test]
fn dropped_lines_of_stderr_are_said_on_stderr() {
    let (outputs, _out, mut err) = outputs_on_pipes();
    for _ in 0..2_000 {
        outputs.say(&"x".repeat(999));
    }
    let text = take_all(&outputs, &mut err);
    let kept = text.lines().filter(|line| line.starts_with('x')).count();
    assert!(
        text.contains(&format!("dropped {} lines", 2_000 - kept)),
        "{kept}"
    );
}

#[test]
fn a_closed_output_is_said_once_on_the_other() {
    let (outputs, out, mut err) = outputs_on_pipes();
    drop(out);
    for _ in 0..3 {
        outputs.data("{}");
    }
    let said = take(&mut err);
    let end = "stdout is switched off, no more reports: Broken pipe\n";
    assert!(said.ends_with(end), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!outputs.is_pending());
}

#[test]
fn a_closed_stderr_is_said_once_as_json() {
    let (outputs, mut out, err) = outputs_on_pipes();
    drop(err);
    outputs.say("one");
    outputs.say("two");
    let why = "stderr is switched off, no more messages: Broken pipe";
    assert_eq!(take(&mut out), format!("{{\"warning\":\"{why}\"}}\n"));
}

#[test]
fn with_both_closed_there_is_nothing_left_to_do() {
    let (outputs, out, err) = outputs_on_pipes();
    drop((out, err));
    outputs.data("{}");
    outputs.say("one");
    assert!(!outputs.is_pending());
    outputs.flush();
}

#[test]
fn the_other_learns_when_it_has_room_again() {
    let (outputs, out, mut err) = outputs_on_pipes();
    for _ in 0..2_000 {
        outputs.say(&"x".repeat(999));
    }
    drop(out);
    outputs.data("{}");
    let text = take_all(&outputs, &mut err);
    assert_eq!(text.matches("stdout is switched off").count(), 1);
}

#[test]
fn a_full_device_costs_lines_and_not_the_output() {
    let (mut err, err_writer) = pipe();
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("/dev/full");
    let outputs = Outputs::new(Output::new(full), Output::new(err_writer), Style::new([]));
    outputs.data("{}");
    outputs.data("{}");
    assert!(!outputs.is_pending(), "a full device must not be retried");
    let said = take(&mut err);
    let part = "they are lost: No space left on device";
    assert!(said.contains(part), "{said}");
    assert_eq!(said.lines().count(), 1, "said once: {said}");
    let (mut out, writer) = pipe();
    outputs.lock().stdout.writer = SharedWriter::new(Box::new(writer));
    outputs.data("{}");
    assert_eq!(take(&mut out), "{}\n");
    assert!(take(&mut err).contains("dropped 2 reports"));
}

#[test]
fn a_line_that_was_cut_does_not_spoil_the_next() {
    let (outputs, mut out, _err) = outputs_on_pipes();
    {
        let mut pair = outputs.lock();
        pair.stdout.push("cut here");
        pair.stdout.forget(3);
        pair.stdout.drop_queue();
    }
    outputs.data("whole");
    assert_eq!(take(&mut out), "\nwhole\n");
}

#[test]
fn the_last_flush_ends_without_a_reader_and_says_what_is_lost() {
    let (outputs, _out, mut err) = outputs_on_pipes();
    for _ in 0..100 {
        outputs.data(&"x".repeat(999));
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
    let (outputs, mut out, mut err) = outputs_on_pipes();
    for number in 0..100 {
        outputs.say_in_turn(&format!("line {number:0>53}"));
        data_in_turn(&outputs, "{}");
    }
    assert_eq!(take(&mut out) + &take(&mut err), "");
    assert_eq!(queued(&outputs), (300, 5_900));
    let piece = {
        let pair = outputs.lock();
        String::from_utf8(next_piece(&pair.stderr).to_vec()).expect("text")
    };
    assert!(piece.ends_with('\n') && piece.len() > PIECE_BYTES_MAX - 59);
    assert!(
        piece.len() <= PIECE_BYTES_MAX,
        "others may write to the same pipe"
    );
    outputs.pump();
    assert_eq!(take(&mut err).lines().count(), 100);
    assert_eq!(take(&mut out), "{}\n".repeat(100));
}

#[test]
fn a_long_turn_is_written_before_its_end() {
    let (outputs, mut out, _err) = outputs_on_pipes();
    let line = "x".repeat(999);
    for _ in 0..TURN_BYTES_MAX / 1000 {
        data_in_turn(&outputs, &line);
        assert_eq!(take(&mut out), "");
    }
    data_in_turn(&outputs, &line);
    assert_eq!(take(&mut out).lines().count(), TURN_BYTES_MAX / 1000 + 1);
}

#[test]
fn a_line_longer_than_a_promise_goes_out_in_one_write_and_a_file_takes_everything() {
    let long = "x".repeat(3 * PIECE_BYTES_MAX);
    let (outputs, mut out, _err) = outputs_on_pipes();
    data_in_turn(&outputs, &long);
    assert_eq!(next_piece(&outputs.lock().stdout).len(), long.len() + 1);
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
