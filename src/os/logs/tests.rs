mod races;

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
        let path = |name: &str| LogPlace { directory, name }.path();
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
    let place = LogPlace {
        directory: directory.path(),
        name: "web",
    };
    let at = |seconds| Moment::from_origin(Duration::from_secs(seconds));
    let mut log = Log {
        file: Some(File::create("/dev/full").expect("a disk that is full")),
        ..Log::default()
    };
    log.write(place, b"x");
    assert!(log.take_warning(at(0), place).is_some());
    assert!(log.take_warning(at(60), place).is_none(), "nothing is new");
    log.write(place, b"x");
    assert!(log.take_warning(at(120), place).is_some());
    log.write(place, b"x");
    assert!(log.take_warning(at(121), place).is_none(), "a moment ago");
    assert!(log.take_warning(at(180), place).is_some());
}
