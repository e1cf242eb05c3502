//! Users, limits, and what else a program does not inherit.

use super::program;
use super::programs::{check_keys, check_values};
use super::refused::check;
use crate::signal::SignalTo;
use crate::spec::attributes::UNLIMITED;
use crate::spec::{ChildSpec, Resource, User};

fn web() -> ChildSpec {
    ChildSpec::new("web", ["a"])
}

/// The program with these keys.
fn with(keys: &str) -> ChildSpec {
    program("{}", &format!(r#"{{"command": ["a"], {keys}}}"#))
}

#[test]
fn each_attribute_in_each_form() {
    let root = || User::named("root").expect("it is in every /etc/passwd");
    let both = |resource, value| web().limit(resource, value, value);
    for (keys, expected) in [
        (r#""user": "root""#, web().user(root())),
        (r#""user": 0"#, web().user(root())),
        (
            r#""user": 3999999, "group": 7"#,
            web().user(User::numbered(3_999_999).unwrap()).group(7),
        ),
        (r#""group": "root""#, web().group(0)),
        (r#""groups": ["root", 50]"#, web().groups([0, 50])),
        (r#""groups": []"#, web().groups([])),
        (r#""umask": "027""#, web().umask(0o27)),
        (r#""umask": "0""#, web().umask(0)),
        (r#""umask": "0777""#, web().umask(0o777)),
        (r#""nice": -20"#, web().nice(-20)),
        (r#""oom_score_adj": 1000"#, web().oom_score_adj(1000)),
        (
            r#""limits": {"nofile": 65536}"#,
            both(Resource::Nofile, 65_536),
        ),
        (r#""limits": {"as": "64M"}"#, both(Resource::As, 64 << 20)),
        (
            r#""limits": {"core": "unlimited"}"#,
            both(Resource::Core, UNLIMITED),
        ),
        (
            r#""limits": {"core": "0:infinity", "stack": "8M:1G"}"#,
            web()
                .limit(Resource::Stack, 8 << 20, 1 << 30)
                .limit(Resource::Core, 0, UNLIMITED),
        ),
        (
            r#""no_new_privileges": true"#,
            web().no_new_privileges(true),
        ),
        (r#""clear_env": true"#, web().clear_env(true)),
        (r#""stdin": "in/put""#, web().stdin("in/put")),
        (r#""stdin": "./null""#, web().stdin("./null")),
        (r#""stop_to": "main""#, web().stop_to(SignalTo::Main)),
        (r#""stop_to": "group""#, web()),
    ] {
        assert_eq!(with(keys), expected, "{keys}");
    }
    assert_eq!(with(r#""stdin": "null""#).problems(), []);
}

#[test]
fn limits_merge_one_by_one() {
    let defaults = r#"{"limits": {"nofile": 1024, "core": 0}, "nice": 5, "stdin": "x"}"#;
    let own = r#"{"command": ["a"], "limits": {"core": 7, "cpu": 9}, "stdin": "null"}"#;
    let merged = program(defaults, own);
    let limits = [
        (Resource::Core, [7, 7]),
        (Resource::Cpu, [9, 9]),
        (Resource::Nofile, [1024, 1024]),
    ];
    let attributes = merged.attributes.expect("it has some");
    assert_eq!(attributes.limits, limits);
    assert_eq!((attributes.nice, &attributes.stdin), (Some(5), &None));
}

#[test]
fn what_is_refused_of_users_and_masks() {
    check_values(
        "user",
        r#"
        null => expected the name of a user, or its number, got null
        -1 => expected the name of a user, or its number, got -1
        4294967295 => invalid user 4294967295: expected a smaller number
        3999999 => user 3999999 is not in /etc/passwd: give a "group", too
        "no such" => no user "no such" in /etc/passwd: use a number, and a "group"
        "0" => no user "0" in /etc/passwd: write 0 without the quotes"#,
    );
    check_values(
        "group",
        r#"
        true => expected the name of a group, or its number, got true
        4294967295 => invalid group 4294967295: expected a smaller number
        "no such" => no group "no such" in /etc/group: use its number"#,
    );
    check_values(
        "groups",
        r#"
        "adm" => expected an array of groups such as ["adm", 50], got "adm""#,
    );
    check_values(
        "umask",
        r#"
        27 => expected octal digits in quotes such as "027", got 27
        "" => invalid umask "": expected octal digits in quotes such as "027"
        "+27" => invalid umask "+27": expected octal digits in quotes such as "027"
        "u=rwx" => invalid umask "u=rwx": expected octal digits in quotes such as "027"
        "028" => invalid umask "028": expected octal digits in quotes such as "027"
        "1000" => invalid umask 1000: expected 000 to 777"#,
    );
}

#[test]
fn what_is_refused_of_numbers_and_words() {
    check_values(
        "nice",
        r#"
        20 => invalid nice 20: expected -20 to 19
        -21 => invalid nice -21: expected -20 to 19
        1.5 => expected a whole number from -20 to 19, got 1.5
        "5" => expected a whole number from -20 to 19, got "5""#,
    );
    check_values(
        "oom_score_adj",
        "1001 => invalid oom_score_adj 1001: expected -1000 to 1000",
    );
    check_values(
        "limits",
        "7 => expected an object such as {\"nofile\": 65536}, got 7",
    );
    check_values("no_new_privileges", "1 => expected true or false, got 1");
    check_values(
        "clear_env",
        "\"yes\" => expected true or false, got \"yes\"",
    );
    check_values(
        "stdin",
        r#"
        null => expected "null", or the path of a file, got null
        "" => the path is an empty string"#,
    );
    check_values(
        "stop_to",
        r#"
        "grup" => unknown value "grup" (did you mean "group"?)
        "all of them" => unknown value "all of them": use "group" or "main"
        7 => expected "group" or "main", got 7"#,
    );
    check_keys(
        r#"
        "groups": [1, "no such"] => 2:15: programs.web.groups[1]: no group "no such" in /etc/group: use its number
        "limits": {"nofiles": 7} => 2:12: programs.web.limits.nofiles: unknown key (did you mean "nofile"?)
        "limits": {"nofile": "7:3"} => 2:22: programs.web.limits.nofile: invalid limit "7:3": the soft one cannot be above the hard one
        "limits": {"nofile": "many"} => 2:22: programs.web.limits.nofile: invalid limit "many": expected a limit such as 65536, "64M", "1024:65536" or "unlimited"
        "limits": {"as": "64MB"} => 2:18: programs.web.limits.as: invalid limit "64MB": expected a limit such as 65536, "64M", "1024:65536" or "unlimited"
        "limits": {"cpu": -1} => 2:19: programs.web.limits.cpu: expected a limit such as 65536, "64M", "1024:65536" or "unlimited", got -1
        "ready": {"fd": 9}, "limits": {"nofile": 9} => 2:42: programs.web.limits.nofile: 9 leaves no descriptor 9 for "ready": raise it"#,
    );
    let text = r#"{"programs": {"a": ["a"], "b": ["b"]}, "defaults": {"user": 3999999}}"#;
    let expected =
        r#"1:61: defaults.user: user 3999999 is not in /etc/passwd: give a "group", too"#;
    check(text, &[expected]);
}
