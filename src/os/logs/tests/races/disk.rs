//! A disk that fills up in the midst of lines, notes and rotations, and has room again later.

use std::collections::BTreeSet;
use std::ffi::CStr;

use super::*;
use crate::spec::LogOptions;

const PAGE: usize = 4096;

/// The disk's.
const PAGES: usize = 16;

/// Of each log: a little more than two pages, so that rotations are at no page's end.
const MOST: u64 = 10_000;

const BYTES: usize = 40_000;

const NOTE: &str = "\nprocsched: ";

/// A disk of a few pages in this thread's view of the file system, which goes with the thread.
fn mount(place: &Path) {
    let path = c_path(place);
    let options = c_path(Path::new(&format!("size={}", PAGES * PAGE)));
    let done = |status: i32, what: &str| {
        assert_eq!(status, 0, "{what}: {}", std::io::Error::last_os_error());
    };
    let tmpfs: &CStr = c"tmpfs";
    let (none, root) = (std::ptr::null(), c"/");
    // SAFETY: live strings and plain numbers.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS), "unshare");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let status = libc::mount(none, root.as_ptr(), none, private, none.cast());
        done(status, "private mounts");
        let (tmpfs, options) = (tmpfs.as_ptr(), options.as_ptr().cast());
        done(
            libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, options),
            "tmpfs",
        );
    }
}

fn unmount(place: &Path) {
    let path = c_path(place);
    // SAFETY: a live string and a plain number.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}

fn words() -> Vec<u8> {
    let lines = (0..).flat_map(|number| format!("line {number:05}\n").into_bytes());
    lines.take(BYTES).collect()
}

/// The files of the log, the oldest first.
fn text_of(directory: &Path) -> Vec<u8> {
    let path = |number: u32| directory.join(format!("p.stderr.log.{number}"));
    let older = (1..).map_while(|number| fs::read(path(number)).ok());
    let mut files: Vec<Vec<u8>> = older.collect();
    files.reverse();
    files.push(fs::read(directory.join("p.stderr.log")).unwrap_or_default());
    files.concat()
}

/// Where the words may go on after this text, which begins at one of these places: words, and then
/// starts of notes that the disk had no room for.
fn places_after(text: &str, before: &BTreeSet<usize>, words: &[u8]) -> BTreeSet<usize> {
    let is_torn = |rest: &str| {
        let mut starts = rest.split_inclusive('\n').filter(|it| *it != "\n");
        rest.is_empty()
            || rest.starts_with('\n')
                && starts.all(|start| {
                    let (start, note) = (start.trim_end_matches('\n'), &NOTE[1..]);
                    note.starts_with(start) || start.starts_with(note)
                })
    };
    let mut after = BTreeSet::new();
    for &begin in before {
        let same = text.bytes().zip(&words[begin.min(words.len())..]);
        let most = same.take_while(|(one, other)| one == *other).count();
        let ends = (0..=most).filter(|&end| is_torn(&text[end..]));
        after.extend(ends.map(|end| begin + end));
    }
    after
}

/// All words are in the text in their order, or are missing where it says so; how many are missing
/// at its end.
fn judge(text: &[u8], words: &[u8]) -> BTreeSet<(u64, usize)> {
    let text = std::str::from_utf8(text).expect("text");
    let mut pieces: Vec<(Option<u64>, String)> = vec![(None, String::new())];
    for piece in text.split(NOTE) {
        let note = piece.split_once('\n').and_then(|(note, rest)| {
            let (number, why) = note.split_once(" bytes of stderr were lost here: ")?;
            let is_whole = why == "No space left on device";
            Some((number.parse().ok().filter(|_| is_whole)?, rest))
        });
        match note {
            Some((number, rest)) => pieces.push((Some(number), rest.to_owned())),
            // The start of a note, or what stands before the first.
            None if pieces.len() == 1 && pieces[0].1.is_empty() => pieces[0].1.push_str(piece),
            None => {
                let last = pieces.last_mut().expect("one at least");
                last.1.push_str(NOTE);
                last.1.push_str(piece);
            }
        }
    }
    let (mut places, mut noted) = (BTreeSet::from([0]), 0);
    for (missing, piece) in pieces {
        let missing = missing.unwrap_or_default();
        noted += missing;
        let begins = places.into_iter().map(|at| at + missing as usize).collect();
        places = places_after(&piece, &begins, words);
    }
    let rest = |at: usize| words.len().checked_sub(at);
    let ends = places.into_iter().filter_map(|at| Some((noted, rest(at)?)));
    ends.collect()
}

/// What was lost is counted to the byte, wherever the disk is full: in a line, in a note, at a
/// rotation that needs a page for the new file.
#[test]
fn a_disk_that_fills_up_at_a_rotation_costs_nothing_that_is_not_counted() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().to_owned();
    // The mounts are this thread's alone.
    let played = std::thread::spawn(move || {
        let mut lost_at_all = 0;
        for free in 0..=PAGES {
            for piece in [LINE_AND_MORE, 1000, PAGE] {
                mount(&directory);
                lost_at_all += play(&directory, free, piece);
                unmount(&directory);
            }
        }
        lost_at_all
    });
    assert!(played.join().expect("each play is well") > 0, "no point");
}

const LINE_AND_MORE: usize = 13;

fn play(directory: &Path, free: usize, piece: usize) -> u64 {
    let filler = directory.join("filler");
    let words = words();
    let mut log = log_in(directory);
    log.set_options(LogOptions::new().max_bytes(MOST).keep(99));
    log.open(&mut Flaws::default()).expect("a log");
    fs::write(&filler, vec![0; (PAGES - free) * PAGE]).expect("a file");
    for (index, chunk) in words.chunks(piece).enumerate() {
        log.write(chunk);
        if index * piece >= BYTES * 3 / 4 && filler.exists() {
            fs::remove_file(&filler).expect("it goes");
        }
    }
    let reported = log.take_unreported(true).unwrap_or_default();
    let ends = judge(&text_of(directory), &words);
    assert!(
        ends.iter()
            .any(|(noted, rest)| noted + *rest as u64 == reported),
        "{free} pages, pieces of {piece}: {reported} bytes were reported as lost, and in the log are \
         {ends:?}"
    );
    reported
}
