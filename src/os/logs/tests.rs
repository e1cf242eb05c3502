mod races;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::spec::name_problem;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    /// Names were cleaned until two of them led to one file. Here nothing is cleaned: two names
    /// that may be are two files, of this directory and of no other.
    #[test]
    fn museum_87_names_that_differ_have_logs_that_differ(
        one in "[aA0._@/ é\u{301}e-]{1,4}",
        other in "[aA0._@/ é\u{301}e-]{1,4}",
    ) {
        let directory = Path::new("/var/log");
        let path = |name: &str| log_path(directory, name, StdStream::Stderr);
        let may_be = |name: &str| name_problem(name).is_none();
        if may_be(&one) {
            let file = format!("{one}.stderr.log");
            let log = path(&one);
            prop_assert_eq!((log.parent(), log.file_name()), (Some(directory), Some(file.as_ref())));
            prop_assert!(one == other || !may_be(&other) || log != path(&other));
        }
    }
}

/// A disk was full for a moment; from then on every start was accompanied by a warning that the
/// log could not be written, until the program wrote again, which a silent one never does.
#[test]
fn what_was_lost_once_is_warned_of_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let new = || {
        Log::new(
            Arc::new(directory.path().to_owned()),
            "web".into(),
            StdStream::Stderr,
        )
    };
    let at = |seconds| Moment::from_origin(Duration::from_secs(seconds));
    let mut log = Log {
        file: Some(File::create("/dev/full").expect("a disk that is full")),
        ..new()
    };
    log.write(b"x");
    assert!(log.take_warning(at(0)).is_some());
    assert!(log.take_warning(at(60)).is_none(), "nothing is new");
    log.write(b"x");
    assert!(log.take_warning(at(120)).is_some());
    log.write(b"x");
    assert!(log.take_warning(at(121)).is_none(), "a moment ago");
    assert!(log.take_warning(at(180)).is_some());
}

/// The largest size that a file may have here.
fn most_bytes(file: &File) -> u64 {
    let (mut fits, mut is_too_much) = (0, 1 << 63);
    while is_too_much - fits > 1 {
        let size = fits + (is_too_much - fits) / 2;
        match file.set_len(size) {
            Ok(()) => fits = size,
            Err(_) => is_too_much = size,
        }
    }
    fits
}

/// Returns a file that takes this number of bytes more, and where these begin.
fn almost_full(directory: &Path, room: u64) -> (File, u64) {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    let path = directory.join("full");
    let file = options.open(path).expect("a file");
    let begin = most_bytes(&file) - room;
    file.set_len(begin).expect("a sparse file");
    (file, begin)
}

/// A disk filled up in the midst of a note about lost words; then a start failed, and what was said
/// of that stood on the same line, as it did behind every program whose last word had no line end.
#[test]
fn what_is_said_in_a_log_is_on_a_line_of_its_own() {
    const REMARK: &str = "failed to start: no such file";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let new = || {
        Log::new(
            Arc::new(directory.path().to_owned()),
            "web".into(),
            StdStream::Stderr,
        )
    };
    for room in 0..150 {
        let (file, begin) = almost_full(directory.path(), 0);
        let mut log = Log {
            file: Some(file),
            ..new()
        };
        log.write(b"lost");
        let (file, from) = almost_full(directory.path(), room);
        log.file = Some(file.try_clone().expect("a descriptor"));
        log.remark(&REMARK);
        let mut text = vec![0; usize::try_from(begin - from).expect("a few")];
        let count = file.read_at(&mut text, from).expect("it can be read");
        text.truncate(count);
        // There is room again.
        log.file = Some(
            File::create(log_path(directory.path(), "web", StdStream::Stderr)).expect("a file"),
        );
        log.remark(&REMARK);
        log.write(b"no line end");
        log.remark(&REMARK);
        text.extend(
            std::fs::read(log_path(directory.path(), "web", StdStream::Stderr)).expect("a log"),
        );

        let text = String::from_utf8(text).expect("words");
        let is_begin = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
        let mut ours = text.match_indices("procsched: ");
        assert!(ours.all(|(at, _)| is_begin(at)), "room {room}: {text:?}");
        let count = |line: &str| text.split('\n').filter(|other| *other == line).count();
        let note = "procsched: 4 bytes of stderr were lost here: File too large";
        // One may be torn before its line end.
        let notes = 1 + usize::from(room == note.len() as u64 + 1);
        assert_eq!(count(note), notes, "room {room}: {text:?}");
        let remarks = count(&format!("procsched: {REMARK}"));
        assert!((2..=3).contains(&remarks), "room {room}: {text:?}");
        // A note that is torn is followed by one that is whole, and by nothing else.
        let first = text.find(note).expect("counted above");
        let before = text[..first].split('\n').filter(|line| !line.is_empty());
        assert!(
            before.into_iter().all(|line| note.starts_with(line)),
            "room {room}: {text:?}"
        );
    }
}

/// The log was closed before there was another: what a program wrote until the next look was lost.
#[test]
fn a_log_that_was_renamed_is_written_until_there_is_another() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (logs, away) = (place.path().join("logs"), place.path().join("away"));
    std::fs::create_dir(&logs).expect("a directory");
    let mut log = Log::new(Arc::new(logs.clone()), "web".into(), StdStream::Stderr);
    let mut flaws = Flaws::default();
    log.open(&mut flaws).expect("a log");
    log.write(b"one\n");
    std::fs::rename(&logs, &away).expect("a rename");
    let error = log.open(&mut flaws).expect_err("no directory");
    assert_eq!(log.refusal(), Some(&error));
    assert_eq!(log.path(), None, "it is not at its path");
    log.write(b"two\n");
    assert_eq!(log.open(&mut flaws), Ok(0), "the reason is known");
    assert_eq!(log.refusal(), Some(&error));
    let read = |directory: &Path| {
        std::fs::read_to_string(log_path(directory, "web", StdStream::Stderr)).expect("a log")
    };
    assert_eq!(read(&away), "one\ntwo\n");

    // Back at its place it is the same file, whose lock is ours.
    std::fs::rename(&away, &logs).expect("a rename");
    assert_eq!(log.open(&mut flaws), Ok(8));
    assert_eq!(log.refusal(), None);
    std::fs::rename(&logs, &away).expect("a rename");
    assert!(log.open(&mut flaws).is_err(), "it is said again");
    std::fs::create_dir(&logs).expect("a directory");
    assert_eq!(log.open(&mut flaws), Ok(0));
    assert_eq!(log.refusal(), None);
    log.write(b"three\n");
    assert_eq!((&*read(&away), &*read(&logs)), ("one\ntwo\n", "three\n"));
    assert_eq!(log.take_unreported(true), None);

    // What a removed one is given could never be read.
    std::fs::remove_dir_all(&logs).expect("it goes");
    assert!(log.open(&mut flaws).is_err());
    log.write(b"four\n");
    assert_eq!(log.take_unreported(true), Some(5));
}

/// The first line after a restart of the supervisor had no time.
#[test]
fn the_first_line_behind_what_is_there_has_its_time() {
    for before in ["", "old\n", "torn"] {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = log_path(place.path(), "web", StdStream::Stderr);
        std::fs::write(&path, before).expect("a file");
        let mut log = Log::new(
            Arc::new(place.path().to_owned()),
            "web".into(),
            StdStream::Stderr,
        );
        let options = LogOptions::new().timestamps(true).marks(true);
        log.set_options(options);
        log.open(&mut Flaws::default()).expect("a log");
        log.mark(&"started");
        log.write(b"one\n");
        let text = std::fs::read_to_string(&path).expect("a log");
        let new = text.strip_prefix(before).expect("what was there");
        let new = new.strip_prefix(if before == "torn" { "\n" } else { "" });
        let new: Vec<&str> = new.expect("a line end").lines().collect();
        assert!(new[0].ends_with("Z --- started"), "{text:?}");
        assert!(new[1].ends_with("Z one") && new.len() == 2, "{text:?}");
        // As after a reload that asks for them.
        log.set_options(LogOptions::new());
        log.write(b"two\n");
        log.is_line_over = false;
        log.set_options(options);
        log.write(b"three\n");
        let text = std::fs::read_to_string(&path).expect("a log");
        assert!(text.ends_with("Z three\n"), "{text:?}");
    }
}
