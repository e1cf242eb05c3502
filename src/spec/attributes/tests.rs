use super::*;

fn web() -> ChildSpec {
    ChildSpec::new("web", ["./web"])
}

#[test]
fn each_attribute_has_a_number_and_a_text_of_its_own() {
    let user = User::numbered(3_999_999).expect("a number");
    let spec = web()
        .user(user)
        .group(7)
        .groups([8, 9])
        .nice(-5)
        .oom_score_adj(-500)
        .limit(Resource::Nofile, 65_536, 65_536)
        .limit(Resource::Core, 0, UNLIMITED);
    let attributes = spec.attributes.as_deref().expect("they are set");
    for (attribute, expected) in [
        (
            Attribute::OomScoreAdj,
            "failed to set oom_score_adj to -500",
        ),
        (Attribute::Nice, "failed to set nice to -5"),
        (
            Attribute::Limit(Resource::Nofile),
            "failed to set RLIMIT_NOFILE to 65536",
        ),
        (
            Attribute::Limit(Resource::Core),
            "failed to set RLIMIT_CORE to 0:unlimited",
        ),
        (Attribute::Groups, "failed to set groups to 8, 9"),
        (Attribute::Group, "failed to set gid to 7"),
        (Attribute::User, "failed to set uid to 3999999"),
        (
            Attribute::NoNewPrivileges,
            "failed to set no_new_privileges",
        ),
    ] {
        let number = attribute.number();
        assert_eq!(attributes.explain(number), expected);
        assert_eq!(Attribute::of_number(number), Some(attribute));
    }
    for (index, resource) in Resource::ALL.into_iter().enumerate() {
        assert_eq!(resource as usize, index);
        let limit = Attribute::Limit(resource);
        assert_eq!(Attribute::of_number(limit.number()), Some(limit));
    }
    assert_eq!(Attribute::of_number(Attribute::OTHERS.len() + 16), None);
}

#[test]
fn what_cannot_be_is_found_with_its_key() {
    let unknown = || User::numbered(3_999_999).expect("a number");
    for (spec, key, expected) in [
        (
            web().user(unknown()),
            "user",
            "user 3999999 is not in /etc/passwd: give a \"group\", too",
        ),
        (
            web().group(u32::MAX),
            "group",
            "invalid group 4294967295: expected a smaller number",
        ),
        (
            web().groups([1, u32::MAX]),
            "groups",
            "invalid group 4294967295: expected a smaller number",
        ),
        (
            web().groups(0..65_537),
            "groups",
            "65537 groups are too many: use at most 65536",
        ),
        (
            web().umask(0o1000),
            "umask",
            "invalid umask 1000: expected 000 to 777",
        ),
        (
            web().nice(20),
            "nice",
            "invalid nice 20: expected -20 to 19",
        ),
        (
            web().oom_score_adj(-1001),
            "oom_score_adj",
            "invalid oom_score_adj -1001: expected -1000 to 1000",
        ),
        (
            web().limit(Resource::Stack, UNLIMITED, 7),
            "limits.stack",
            "invalid limit \"unlimited:7\": the soft one cannot be above the hard one",
        ),
        (
            web().limit(Resource::Nofile, 3, 9).ready(Ready::Fd(3)),
            "limits.nofile",
            "3 leaves no descriptor 3 for \"ready\": raise it",
        ),
        (web().stdin(""), "stdin", "the path is an empty string"),
    ] {
        assert_eq!(spec.problems(), [(key, expected.to_owned())]);
    }
    for spec in [
        web().user(unknown()).group(1),
        web().umask(0).nice(-20).oom_score_adj(1000),
        web().limit(Resource::Nofile, 4, 4).ready(Ready::Fd(3)),
        web().limit(Resource::Nofile, 3, 9),
    ] {
        assert_eq!(spec.problems(), []);
    }
}

#[test]
fn the_groups_of_a_user_begin_with_the_group_whichever_is_set_first() {
    let root = || User::named("root").expect("root");
    let groups = |spec: ChildSpec| {
        let attributes = spec.attributes.expect("attributes");
        attributes.groups().map(<[u32]>::to_vec)
    };
    let own = groups(web().user(root())).expect("groups");
    let first = groups(web().group(64_335).user(root())).expect("groups");
    let second = groups(web().user(root()).group(64_335)).expect("groups");
    assert_eq!((own[0], first[0]), (0, 64_335));
    assert_eq!(first, second);
    assert_eq!(
        groups(web().user(root()).group(1).groups([7])),
        Some(vec![7])
    );
    assert_eq!(groups(web().group(1)), None);
}

#[test]
fn another_definition_differs_by_its_keys() {
    let of = |spec: ChildSpec| spec.attributes.as_deref().cloned().unwrap_or_default();
    let none = Attributes::default();
    assert_eq!(none.differences(&none), [""; 0]);
    for (spec, key) in [
        (web().user(User::named("root").expect("root")), "user"),
        (web().group(1), "group"),
        (web().groups([]), "groups"),
        (web().umask(0), "umask"),
        (web().nice(0), "nice"),
        (web().oom_score_adj(0), "oom_score_adj"),
        (web().limit(Resource::Cpu, 1, 2), "limits.cpu"),
        (web().no_new_privileges(true), "no_new_privileges"),
        (web().clear_env(true), "clear_env"),
    ] {
        assert_eq!(none.differences(&of(spec.clone())), [key]);
        assert_eq!(of(spec).differences(&none), [key]);
    }
}
