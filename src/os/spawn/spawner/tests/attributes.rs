//! What a child sets, however it is made.

use super::*;
use crate::spec::attributes::{Attribute, UNLIMITED};
use crate::spec::{ChildSpec, Resource, User};

/// What these attributes come to in a child, by a shell.
fn with(spec: ChildSpec, mut bench: Bench, script: &str) -> Result<i32, Failure> {
    bench.attributes = spec.attributes;
    bench.run(script)
}

fn spec() -> ChildSpec {
    ChildSpec::new("web", ["./web"])
}

/// However the child is made.
#[test]
fn attributes_are_what_the_program_has() {
    for case in CASES {
        for (spec, script) in [
            (spec().umask(0o027), "test $(umask) = 0027"),
            (
                spec().limit(Resource::Nofile, 7, 9),
                "test $(ulimit -Sn) = 7 && test $(ulimit -Hn) = 9",
            ),
            (spec().limit(Resource::Core, 0, 0), "test $(ulimit -Hc) = 0"),
            (
                spec().limit(Resource::Stack, 1 << 20, 1 << 22),
                "test $(ulimit -Ss) = 1024 && test $(ulimit -Hs) = 4096",
            ),
            (
                spec().no_new_privileges(true),
                "grep -q '^NoNewPrivs:.1' /proc/self/status",
            ),
            (
                spec().nice(19),
                "read -r stat < /proc/self/stat; set -- $stat; test ${19} = 19",
            ),
            (
                spec().oom_score_adj(1000),
                "read -r score < /proc/self/oom_score_adj; test $score = 1000",
            ),
        ] {
            let attributes = format!("{:?}", spec.attributes);
            let code = with(spec, Bench::new(case), script);
            assert_eq!(code, Ok(0), "{case:?}: {attributes}");
        }
    }
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").expect("a score");
    assert_ne!(score.trim(), "1000", "it was the child's alone");
}

/// The name and the number of what is refused come back, however the child is made.
#[test]
fn what_is_refused_is_named() {
    for case in CASES {
        // More than the kernel lets any process have.
        let spec = spec().limit(Resource::Nofile, UNLIMITED, UNLIMITED);
        let failure = with(spec, Bench::new(case), "exit 0").expect_err("too many");
        let attribute = Attribute::Limit(Resource::Nofile);
        assert_eq!(failure.step, Step::Attribute, "{case:?}");
        assert_eq!(failure.which, attribute.number(), "{case:?}");
        assert_eq!(failure.errno, libc::EPERM, "{case:?}");
    }
}

/// A child on our memory that becomes another user makes that memory undumpable.
#[test]
fn our_memory_stays_dumpable_when_a_child_becomes_another_user() {
    // SAFETY: plain numbers; the calls only ask.
    let (is_root, before) = unsafe { (libc::geteuid() == 0, libc::prctl(libc::PR_GET_DUMPABLE)) };
    if !is_root {
        return;
    }
    for case in CASES {
        let user = User::numbered(64_329).expect("a number");
        let spec = spec().user(user).group(64_329);
        let script = "test $(id -u):$(id -g):$(id -G) = 64329:64329:64329";
        assert_eq!(with(spec, Bench::new(case), script), Ok(0), "{case:?}");
        // SAFETY: a plain number; the call only asks.
        let after = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        assert_eq!(after, before, "{case:?}");
    }
}
