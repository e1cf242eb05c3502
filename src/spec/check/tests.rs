use super::*;

#[test]
fn an_address_is_literal_or_a_path() {
    let tcp = |text: &str| Ok(Address::Tcp(text.parse().expect("an address")));
    for text in ["127.0.0.1:1", "[::1]:65535", "0.0.0.0:80", "[fe80::1%2]:80"] {
        assert_eq!(text.parse::<Address>(), tcp(text), "{text}");
    }
    for text in ["/run/a.sock", "./a", "a/b:80", "/"] {
        assert_eq!(text.parse::<Address>(), Ok(Address::Unix(text.into())));
    }
    let longest = format!("/{}", "p".repeat(SOCKET_PATH_BYTES_MAX - 1));
    assert!(longest.parse::<Address>().is_ok());
}

#[test]
fn what_is_wrong_with_an_address_is_said_with_what_is_right() {
    let long = format!("/{}", "p".repeat(SOCKET_PATH_BYTES_MAX));
    let expected = "expected an address such as \"127.0.0.1:8080\" or \"[::1]:80\", or a path \
                    with a slash such as \"/run/web.sock\"";
    let name = "host names are not looked up: write";
    let table = [
        ("", expected.to_owned()),
        ("web.sock", expected.to_owned()),
        ("web:http", expected.to_owned()),
        (
            "8080",
            "the address is missing: write \"127.0.0.1:8080\"".into(),
        ),
        (
            ":80",
            "the address is missing: write \"127.0.0.1:80\"".into(),
        ),
        (
            "localhost:80",
            format!("{name} \"127.0.0.1:80\" or \"[::1]:80\""),
        ),
        (
            "db.local:5432",
            format!("{name} the address, such as \"10.0.0.1:5432\""),
        ),
        (
            "127.0.0.1",
            "the port is missing: write \"127.0.0.1:8080\" with the right port".into(),
        ),
        (
            "::1",
            "an IPv6 address needs brackets, and a port behind them, as in \"[::1]:80\"".into(),
        ),
        (
            "[::1]",
            "the port is missing: write \"[::1]:8080\" with the right port".into(),
        ),
        ("127.0.0.1:0", PORT_EXPECTED.into()),
        ("[::1]:0", PORT_EXPECTED.into()),
        ("127.0.0.1:65536", PORT_EXPECTED.into()),
        ("127.0.0.1:http", PORT_EXPECTED.into()),
        ("127.0.0.1:", PORT_EXPECTED.into()),
        ("a\0/b", "a path cannot have a NUL byte in it".into()),
        (
            &long,
            "the path has 108 bytes; a socket path can have 107".into(),
        ),
    ];
    for (text, problem) in table {
        let error = text.parse::<Address>().unwrap_err().to_string();
        let expected = format!("invalid address {}: {problem}", quoted(text));
        assert_eq!(error, expected, "{text:?}");
    }
    let url = "http://127.0.0.1:80/".parse::<Address>().unwrap_err();
    assert!(
        url.to_string().contains("a URL cannot be connected to"),
        "{url}"
    );
}

#[test]
fn an_address_of_ipv6_needs_brackets() {
    let error = "fe80::1:99999".parse::<Address>().unwrap_err();
    assert!(error.to_string().ends_with(PORT_EXPECTED), "{error}");
    let error = "1:2:3:4:5:6:7:8:80".parse::<Address>().unwrap_err();
    let end = "write \"[1:2:3:4:5:6:7:8]:80\"";
    assert!(error.to_string().ends_with(end), "{error}");
}

#[test]
fn what_can_be_set_wrongly_is_found() {
    let zero = Duration::ZERO;
    let health = Health::command(["true"]);
    assert_eq!(health.problem(), None);
    let wrong = [
        health.clone().interval(zero),
        health.clone().timeout(zero),
        health.retries(0),
        Health::command([""]),
        Health::new(Check::Connect(Address::Tcp(([127, 0, 0, 1], 0).into()))),
        Health::new(Check::Connect(Address::Unix("".into()))),
    ];
    for health in wrong {
        assert!(health.problem().is_some(), "{health:?}");
    }
    assert!(Probe::command(["true"]).interval(zero).problem().is_some());
    let socket = Check::Connect("run/web.sock".parse().expect("a path"));
    assert_eq!(socket.problem_at(Path::new("/srv")), None);
    let deep = "/d".repeat(50);
    assert!(socket.problem_at(Path::new(&deep)).is_some());
}
