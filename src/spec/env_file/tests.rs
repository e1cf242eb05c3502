//! Lines that are read, and lines that are refused.

mod readers;

use super::*;

fn read_text(text: &[u8]) -> std::result::Result<Variables, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("env");
    std::fs::write(&path, text).expect("a file");
    read(&path).map_err(|error| error.replace(&format!("{path:?}"), "FILE"))
}

#[test]
fn lines_are_variables_comments_or_empty() {
    let text = "# a comment; with = and \"quotes\nA=plain\n\n \t\n  B='it costs $5 # \"'\n\
        C=\"a\\n\\tb\\\"\\\\ 'x' # y\"  \nD=\nE=''\nF=\"\"\nG=a=b#c*?[x]{y}%-+./:,@^!\n_1=\u{e9}\t\nA=again";
    let expected = [
        ("A", "plain"),
        ("B", "it costs $5 # \""),
        ("C", "a\n\tb\"\\ 'x' # y"),
        ("D", ""),
        ("E", ""),
        ("F", ""),
        ("G", "a=b#c*?[x]{y}%-+./:,@^!"),
        ("_1", "\u{e9}"),
        ("A", "again"),
    ];
    let expected = expected.map(|(key, value)| (key.into(), value.into()));
    assert_eq!(read_text(text.as_bytes()), Ok(expected.to_vec()));
    assert_eq!(read_text(b""), Ok(Vec::new()));
}

#[test]
fn what_others_read_differently_is_refused_with_its_line() {
    for (line, what) in [
        ("A=a #b", "' '"),
        ("A= b", "' '"),
        ("A=a b", "' '"),
        ("A=#b", "'#'"),
        ("A=$B", "'$'"),
        ("A=a\"b\"", "'\"'"),
        ("A=it's", "'\\''"),
        ("A=a\\", "'\\\\'"),
        ("A=a;b", "';'"),
        ("A=~", "'~'"),
    ] {
        let problem = format!(
            "A: systemd, compose and a shell read {what} differently: put the value into single \
             quotes"
        );
        assert_refused(line, &problem);
    }
    for character in ['$', '`'] {
        let problem = read_text(format!("A=\"{character}B\"").as_bytes()).unwrap_err();
        let words = "in double quotes differently";
        assert!(problem.contains(words), "{problem}");
    }
    let problem = read_text(b"A='\\'").unwrap_err();
    let words = "before another or before a single quote differently";
    assert!(problem.contains(words), "{problem}");
    let problem = read_text(b"# a \\\nA=b").unwrap_err();
    assert!(problem.contains("line 1: systemd may"), "{problem}");
}

#[track_caller]
fn assert_refused(line: &str, problem: &str) {
    let text = format!("# first\n{line}\nB=c\n");
    let expected = format!("FILE, line 2: {problem}");
    assert_eq!(read_text(text.as_bytes()), Err(expected), "{line:?}");
}

#[test]
fn what_is_no_variable_is_refused_with_its_line() {
    let behind = "A: there is text after the closing quote: quote the whole value";
    for (line, problem) in [
        ("A='a' #b", behind),
        ("A=\"a\"b", behind),
        ("A='a", "A: the single quote has no end in this line"),
        ("A=\"a\\\"", "A: the double quote has no end in this line"),
        (
            "A=\"\\x\"",
            "A: only n, t, \" and \\ can follow a backslash",
        ),
        ("export A=b", "\"export\" is a word of shells: leave it out"),
        (
            "1A=b",
            "invalid name before the \"=\": use letters, digits and _, and no digit first",
        ),
        (
            "A =b",
            "invalid name before the \"=\": use letters, digits and _, and no digit first",
        ),
        (
            "=b",
            "invalid name before the \"=\": use letters, digits and _, and no digit first",
        ),
        (
            "A",
            "no \"=\": expected KEY=VALUE, an empty line, or # and a comment",
        ),
        (
            "A=b\r",
            "'\\r' cannot be in it; a line ends with a line feed alone",
        ),
        (
            "A=\0",
            "'\\0' cannot be in it; a line ends with a line feed alone",
        ),
    ] {
        assert_refused(line, problem);
    }
}

/// What was meant for a value may stand in any of these places.
#[test]
fn an_error_has_no_text_of_the_file_but_a_name() {
    for line in [
        "hunter2",
        "hunter2/=",
        "hunter2 =x",
        "hunter-2=x",
        "A=hunter2 x",
        "A='hunter2",
        "A='x'hunter2",
        "A=\"hunter2",
        "A=\"\\hunter2\"",
        "A=\"$hunter2\"",
        "export hunter2",
        "# hunter2\\",
        "hunter2\r",
    ] {
        let problem = read_text(line.as_bytes()).expect_err(line);
        assert!(problem.starts_with("FILE, line 1: "), "{problem}");
        assert!(!problem.contains("hunter"), "{problem}");
    }
}

#[test]
fn what_is_no_short_text_file_is_refused() {
    let line = [b"A=".as_slice(), &[b'x'; 65_534]].concat();
    assert_eq!(line.len(), 65_536);
    assert!(read_text(&line).is_ok());
    let longer = [line.as_slice(), b"x"].concat();
    let expected = "failed to read FILE: it is longer than 64 KiB";
    assert_eq!(read_text(&longer), Err(expected.to_owned()));
    let expected = "failed to read FILE: it is not UTF-8";
    assert_eq!(read_text(b"A=\xff"), Err(expected.to_owned()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let expected = format!("failed to read {path:?}: it is not a regular file");
    assert_eq!(read(path), Err(expected));
    let missing = path.join("missing");
    let expected = format!("failed to read {missing:?}: No such file or directory");
    assert_eq!(read(&missing), Err(expected));
    assert!(is_missing(&missing) && !is_missing(path));
    let fifo = path.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let expected = format!("failed to read {fifo:?}: it is not a regular file");
    assert_eq!(read(&fifo), Err(expected));
}
