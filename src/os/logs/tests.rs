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
