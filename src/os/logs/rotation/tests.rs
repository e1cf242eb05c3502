use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::Flaws;
use super::*;
use crate::machine::Moment;
use crate::spec::{LogOptions, StdStream};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("p.stderr.log")
    }

    /// An open log that is kept like this; not even the least size holds here.
    fn log(&self, options: LogOptions) -> Log {
        let directory = Arc::new(self.0.path().to_owned());
        let mut log = Log::new(directory, "p".into(), StdStream::Stderr);
        log.set_options(options);
        log.open(&mut Flaws::default()).expect("a log");
        log
    }

    /// What is in the files, the oldest first.
    fn files(&self) -> Vec<Vec<u8>> {
        let path = self.path();
        let rotated = (1..).map(|number| fs::read(numbered(&path, number)).ok());
        let mut files: Vec<Vec<u8>> = rotated.take_while(Option::is_some).flatten().collect();
        files.reverse();
        files.push(fs::read(path).expect("a log"));
        files
    }
}

fn lines(count: usize) -> Vec<u8> {
    let lines = (0..count).map(|number| format!("line {number:05}\n"));
    lines.collect::<String>().into_bytes()
}

/// A rotation tore the line that was just being written.
#[test]
fn lines_stay_whole_wherever_a_piece_of_output_ends() {
    const MOST: usize = 100;
    const LINE: usize = 11;
    let all = lines(80);
    for piece in 1..=3 * MOST {
        let place = Place::new();
        let mut log = place.log(LogOptions::new().max_bytes(MOST as u64).keep(100));
        all.chunks(piece).for_each(|chunk| log.write(chunk));
        let files = place.files();
        assert_eq!(files.concat(), all, "pieces of {piece}");
        assert_eq!(log.rotations(), files.len() as u64 - 1);
        for file in &files {
            assert!(file.ends_with(b"\n"), "pieces of {piece}: a torn line");
            // A line that has begun is ended.
            assert!(
                file.len() < MOST + LINE,
                "{} in pieces of {piece}",
                file.len()
            );
        }
        assert!(
            files.len() <= all.len() / (MOST - LINE) + 1,
            "{}",
            files.len()
        );
    }
}

/// Nothing is there at whose end a file could end: it has its size all the same.
#[test]
fn without_line_feeds_a_file_has_little_more_than_its_size() {
    const MOST: usize = 1000;
    let all = vec![b'x'; 100_000];
    for piece in [1, 7, 999, 1000] {
        let place = Place::new();
        let mut log = place.log(LogOptions::new().max_bytes(MOST as u64).keep(100));
        all.chunks(piece).for_each(|chunk| log.write(chunk));
        let files = place.files();
        assert!(files.concat() == all, "pieces of {piece}");
        let most = MOST + LINE_BYTES_MAX as usize;
        assert!(files.iter().all(|file| file.len() <= most));
        assert!(files.len() > 100_000 / most);
    }
}

#[test]
fn as_many_are_kept_as_are_wanted() {
    let all = lines(1000);
    for keep in [0, 1, 2, 5] {
        let place = Place::new();
        let mut log = place.log(LogOptions::new().max_bytes(110).keep(keep));
        all.chunks(64).for_each(|chunk| log.write(chunk));
        let files = place.files();
        assert_eq!(files.len(), keep as usize + 1);
        assert!(all.ends_with(&files.concat()), "keep {keep}");
        assert!(files[..keep as usize].iter().all(|file| file.len() == 110));
    }
}

#[test]
fn the_times_of_lines_count() {
    let place = Place::new();
    let options = LogOptions::new().max_bytes(1000).keep(100);
    let mut log = place.log(options.timestamps(true));
    let all = lines(500);
    all.chunks(333).for_each(|chunk| log.write(chunk));
    let files = place.files();
    assert!(files.iter().all(|file| file.len() <= 1000));
    let text = String::from_utf8(files.concat()).expect("text");
    let bare: String = text
        .lines()
        .map(|line| format!("{}\n", &line[STAMP_BYTES..]))
        .collect();
    assert_eq!(bare.as_bytes(), all);
    assert!(text.lines().all(|line| &line[23..25] == "Z "), "{text}");
}

/// What is in the way of a rotation is reported once, and nothing is lost to it.
#[test]
fn a_rotation_that_is_refused_is_reported_once_and_the_file_grows() {
    let place = Place::new();
    let mut log = place.log(LogOptions::new().max_bytes(110).keep(1));
    let in_the_way = numbered(&place.path(), 1);
    fs::create_dir_all(in_the_way.join("full")).expect("a directory");
    let all = lines(100);
    let mut warnings = Vec::new();
    for chunk in all.chunks(22) {
        log.write(chunk);
        warnings.extend(log.take_warning(Moment::default()));
    }
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let text = warnings[0].to_string();
    assert!(text.starts_with("failed to rotate log"), "{text}");
    assert!(fs::read(place.path()).expect("it") == all);
    fs::remove_dir_all(&in_the_way).expect("it goes");
    log.write(&lines(30));
    assert!(log.rotations() > 0, "it is tried again");
    assert_eq!(log.take_unreported(true), None);
}

/// Our own lines were not counted: the log of a program that writes nothing and ends again and again
/// grew without end.
#[test]
fn our_own_lines_are_rotated_as_others_are() {
    for timestamps in [false, true] {
        let place = Place::new();
        let options = LogOptions::new().max_bytes(200).keep(100).marks(true);
        let mut log = place.log(options.timestamps(timestamps));
        for number in 0..50 {
            match number % 5 {
                0 => log.remark(&format_args!("remark {number:05}")),
                1 => log.record_unreadable(10, nix::errno::Errno::EIO),
                _ => log.mark(&format_args!("mark {number:05}")),
            }
        }
        log.mark(&"the end");
        let files = place.files();
        assert!(files.len() > 5 && log.rotations() == files.len() as u64 - 1);
        for file in &files {
            assert!(file.len() <= 200 && file.ends_with(b"\n"), "{}", file.len());
        }
        let text = String::from_utf8(files.concat()).expect("text");
        let count = |word: &str| text.matches(word).count();
        assert_eq!((count("remark "), count(" mark ")), (10, 30));
        assert_eq!(count("10 bytes of stderr were lost here"), 10);
        if timestamps {
            assert!(text.lines().all(|line| &line[23..25] == "Z "), "{text}");
        }
    }
}

/// The file that was found at the path was taken for an empty one.
#[test]
fn a_full_file_that_another_process_has_put_there_is_rotated_at_once() {
    let place = Place::new();
    let mut log = place.log(LogOptions::new().max_bytes(110).keep(9));
    log.write(&lines(10));
    fs::rename(place.path(), place.path().with_extension("aside")).expect("a rename");
    fs::write(place.path(), lines(10)).expect("a file");
    log.write(&lines(9));
    assert_eq!(place.files(), [lines(10), lines(9)]);
}

/// Copied and emptied by another process (copytruncate): the size is that of the file.
#[test]
fn a_file_that_was_emptied_is_not_rotated_before_it_is_full_again() {
    let place = Place::new();
    let mut log = place.log(LogOptions::new().max_bytes(110).keep(9));
    log.write(&lines(9));
    fs::File::create(place.path()).expect("it can be emptied");
    log.write(&lines(9));
    assert_eq!(log.rotations(), 0);
    assert_eq!(place.files(), [lines(9)]);
}

/// Writes numbered lines while another thread does this to the directory, and returns the numbers
/// of those that are there at the end. None is torn.
fn race(keep: u32, flip: impl Fn(&Path, usize) + Sync) -> BTreeSet<usize> {
    const LINES: usize = 20_000;
    let place = Place::new();
    let path = place.path();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !over.load(Ordering::Relaxed) {
                flip(&path, round);
                round += 1;
                std::thread::yield_now();
            }
        });
        let mut log = place.log(LogOptions::new().max_bytes(1100).keep(keep));
        for chunk in lines(LINES).chunks(77) {
            log.write(chunk);
            if log.file.is_none() {
                let _ = log.open(&mut Flaws::default());
            }
        }
        log.close();
        over.store(true, Ordering::Relaxed);
    });
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(place.0.path()).expect("a directory") {
        let path = entry.expect("an entry").path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for line in text.split_inclusive('\n') {
            let number = line
                .strip_prefix("line ")
                .and_then(|rest| rest.strip_suffix('\n'));
            let number = number.and_then(|number| number.parse().ok());
            assert!(found.insert(number.expect(line)), "{line:?} is there twice");
        }
    }
    assert!(found.last().is_none_or(|last| *last < LINES));
    found
}

/// Between any two calls of a rotation the log is renamed, and something else is in its place.
#[test]
fn nothing_is_lost_where_another_process_renames_the_log() {
    let found = race(5000, |path, round| {
        let aside = path.with_extension(format!("aside{round}"));
        let _ = fs::rename(path, aside);
        let _ = fs::create_dir(path);
        let _ = fs::remove_dir(path);
        std::thread::sleep(std::time::Duration::from_micros(200));
    });
    assert_eq!(found.len(), 20_000);
}

#[test]
fn no_line_is_torn_where_another_process_removes_logs() {
    race(3, |path, _| {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(numbered(path, 1));
        let _ = fs::remove_file(numbered(path, 2));
        std::thread::sleep(std::time::Duration::from_micros(200));
    });
}
