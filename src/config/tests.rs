use super::*;
#[test]
fn explore() {
    let show = |text: &[u8]| match Config::parse(text, "f", Path::new("/srv/shop")) {
        Ok(c) => eprintln!("{:?} -> OK {c:?}\n", String::from_utf8_lossy(text)),
        Err(e) => eprintln!("{:?}\n   -> {e}\n", String::from_utf8_lossy(text)),
    };
    for t in [
        "", " \r\n", "\u{feff}", "{", "{\n", "{\"a\": tru}", "{\"programs\": {\"w\": [\"a\"]}} x", "{\"a\": 1,}", "[1,]",
        "{ // x\n}", "{\"a\": 'x'}", "{\"a\":1e999}", "{\"a\": \"\\ud800\"}", "{\"a\": \"x\ny\"}", "{\"é\": tru}", "{\"é\" 5}", "\"abc", "{\"a\": 01}", "nul", "{\"a\": -}", "{\"a\": 1 \"b\": 2}",
        "{\r\n\"a\": 1\r\n\"b\": 2}", "# x", "a = b", "{\"a\":\n\n", "\u{2028}", "{\"a\": \"\\x\"}", "{\"a\": \"\\u12", "{\"a\":}", "{\"a\"\n", "{\"programs\": {\"w\": [\"a\"]}}}",
        r#"{"programs": {"w": {"command": ["a"], "backoff": {"initial": 120}}}}"#,
        r#"{"programs": {"w": {"command": ["a"], "stop_timeout": 18446744073709551616}}}"#,
        r#"{"base_dir": "..", "programs": {"w": ["a"]}}"#,
        r#"{"base_dir": "x/./y/", "err_dir": "../log/", "programs": {"w": ["a"]}}"#,
    ] { show(t.as_bytes()); }
    show(b"\xff\xfe{\0");
    show(b"{\"a\": \"\xc3\xa9\xff\"}");
    show(("[".repeat(130)).as_bytes());
    show(("[".repeat(127)+&"]".repeat(127)).as_bytes());
    show(("[".repeat(128)+&"]".repeat(128)).as_bytes());
    show(b"\x7fELF\x02\x01");
    show(b"{\"a\":\x001}");
    let e = Config::parse(br#"{"programs": {"w": ["a"]}}"#, "f", Path::new("")).unwrap();
    eprintln!("{e:?}");
    panic!();
}
