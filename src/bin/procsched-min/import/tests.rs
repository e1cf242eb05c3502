use std::fs;

use procsched::config::Config;
use serde_json::json;

use super::{expand, import, words};

/// What a file with this name and text comes to, and how much of it is missing.
fn imported(name: &str, text: &str) -> (String, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    fs::write(&path, text).expect("it can be written");
    let found = import(&path).unwrap_or_else(|problem| panic!("{problem}"));
    let parsed = Config::parse(found.text.as_bytes(), "imported", directory.path());
    if let Err(errors) = parsed {
        panic!("{errors}\n{}", found.text);
    }
    (found.text, found.remarks)
}

fn refused(text: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("f");
    fs::write(&path, text).expect("it can be written");
    let problem = import(&path).expect_err("it is refused");
    problem.replace(&*directory.path().to_string_lossy(), "")
}

#[test]
fn a_supervisord_conf() {
    let text = "\
; a comment
[supervisord]
nodaemon=true
logfile=/var/log/s.log ; its own
environment=MODE=\"prod\",LANG='C'

[unix_http_server]
file = /run/app.sock
chown=root:games

[program:web]
command=/usr/bin/web --name \"a b\" --port 80%(process_num)02d
process_name=%(program_name)s_%(process_num)02d
numprocs=2
autorestart=true
stdout_logfile=/dev/stdout
redirect_stderr=true
stopsignal=QUIT
stopwaitsecs=30
[program:db]
command=db
  --fast
priority=1
startretries=5
startsecs=10
exitcodes=0,2
environment=A=1,B=\"x,y\"
stdout_logfile_maxbytes=10MB
";
    let (text, remarks) = imported("supervisord.conf", text);
    let expected = r#"{
  "defaults": {"env":{"LANG":"C","MODE":"prod"},"log":{"keep":10,"max_bytes":"50M"},"stop_to":"main"},
  "control": "/run/app.sock",
  "control_group": "games",
  "programs": {
    "db": {
      "command": ["db","--fast"],
      "env": {"A":"1","B":"x,y"},
      "ready": {"delay":10},
      "backoff": {"reset_after":10},
      "max_restarts": 5,
      "restart": "on-failure",
      "success_codes": [2],
      "stdout": "log",
      "log": {"max_bytes":"10M"},
    },
    "web_00": {
      "command": ["/usr/bin/web","--name","a b","--port","8000"],
      "stop_signal": "QUIT",
      "stop_timeout": 30,
      "stdout": "inherit",
      "stderr": "inherit",
    },
    "web_01": {
      "command": ["/usr/bin/web","--name","a b","--port","8001"],
      "stop_signal": "QUIT",
      "stop_timeout": 30,
      "stdout": "inherit",
      "stderr": "inherit",
    },
  },
}
"#;
    assert_eq!((text.as_str(), remarks), (expected, 0));
}

#[test]
fn what_has_no_equal_is_a_comment() {
    let text = "\
[inet_http_server]
port=127.0.0.1:9001
[eventlistener:mail]
command=crashmail
[program:a]
command=run %(ENV_HOME)s/x
directory=%(ENV_HOME)s
stderr_logfile=/var/log/a.err
autorestart=false
";
    let (text, remarks) = imported("s.conf", text);
    assert_eq!(remarks, 4, "{text}");
    for line in [
        "  // s.conf:2: port=127.0.0.1:9001 of inet_http_server: orders come through the control socket alone",
        "  // s.conf:3: [eventlistener:mail] is not taken over: use error_handler, or follow \"events --json\"",
        "      // s.conf:7: directory=%(ENV_HOME)s: nothing is expanded here: write out the value",
        "      // s.conf:8: stderr_logfile=/var/log/a.err: it is logged in err_dir, as a.stderr.log",
        "      \"command\": [\"sh\",\"-c\",\"exec run ${HOME}/x\"],",
        "      \"restart\": \"never\",",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn what_it_includes_comes_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("conf.d")).expect("a directory");
    fs::write(
        at("main.conf"),
        "[include]\nfiles = conf.d/*.conf none/*.ini\n",
    )
    .expect("written");
    for name in ["b", "a"] {
        let text = format!("[program:{name}]\ncommand={name}\n");
        fs::write(at(&format!("conf.d/{name}.conf")), text).expect("written");
    }
    fs::write(at("conf.d/c.txt"), "[program:c]\ncommand=c\n").expect("written");
    let found = import(&at("main.conf")).expect("it can be imported").text;
    let place = |name: &str| found.find(&format!("\"{name}\": {{"));
    assert!(place("a") < place("b") && place("a").is_some(), "{found}");
    assert_eq!(place("c"), None);
}

/// The lines of a program in what a supervisord.conf comes to, and all its comments.
fn program_of(keys: &str) -> (String, String) {
    let text = format!("[program:p]\ncommand=p\n{keys}\n");
    let (text, _) = imported("s.conf", &text);
    let is_comment = |line: &&str| line.starts_with("// ");
    let inside = text.split_once("\"programs\": {").expect("programs").1;
    let lines = inside.lines().skip(2).map(str::trim);
    let (comments, keys): (Vec<_>, Vec<_>) = lines
        .take_while(|line| *line != "},")
        .filter(|line| *line != r#""restart": "on-failure","#)
        .partition(is_comment);
    (keys.join(" "), comments.join(" "))
}

#[test]
fn what_a_program_asks_for_is_what_it_gets() {
    let command = r#""command": ["p"],"#;
    let logged = r#""stdout": "log","#;
    let both = r#""stdout": "inherit", "stderr": "inherit","#;
    let table = [
        // Without `stopasgroup`, which the defaults say, its own process alone is asked to stop.
        ("stopasgroup=true", r#""stop_to": "group","#, logged),
        ("user=1000", r#""user": 1000,"#, logged),
        ("stopsignal=15", r#""stop_signal": 15,"#, logged),
        ("stopsignal=SIGQUIT", r#""stop_signal": "SIGQUIT","#, logged),
        // A run that was longer than `startsecs` is no retry.
        (
            "startretries=5",
            r#""max_restarts": 5, "backoff": {"reset_after":1},"#,
            logged,
        ),
        ("startsecs=0\nstartretries=0", "", logged),
        (
            "autorestart=false\nstartretries=0",
            r#""max_restarts": 0, "backoff": {"reset_after":1}, "restart": "never","#,
            logged,
        ),
        // A size is that of a log that there is.
        (
            "stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0",
            "",
            r#""stdout": "inherit","#,
        ),
        (
            "redirect_stderr=true\nstdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0",
            "",
            both,
        ),
        (
            "stdout_logfile_maxbytes=0\nstderr_logfile_maxbytes=1MB",
            "",
            r#""stdout": "log", "log": {"max_bytes":"1M"},"#,
        ),
        // Nothing listens to these.
        (
            "stdout_events_enabled=true\nstderr_capture_maxbytes=1MB",
            "",
            logged,
        ),
    ];
    for (keys, before, after) in table {
        let (found, comments) = program_of(keys);
        let expected = [command, before, after];
        let expected: Vec<&str> = expected
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        assert_eq!(
            (found, comments),
            (expected.join(" "), String::new()),
            "{keys}"
        );
    }
}

#[test]
fn a_comment_names_the_log_that_there_is() {
    let table = [
        (
            "stdout_logfile=/v/a.log\nstderr_logfile=/v/b.log\nprocess_name=p%(process_num)d",
            "// s.conf:3: stdout_logfile=/v/a.log: it is logged in err_dir, as p0.stdout.log \
             // s.conf:4: stderr_logfile=/v/b.log: it is logged in err_dir, as p0.stderr.log",
        ),
        (
            "stdout_logfile=/v/a.log\nredirect_stderr=true\nstderr_logfile=/v/b.log",
            "// s.conf:3: stdout_logfile=/v/a.log: it is logged in err_dir, as p.stderr.log",
        ),
        (
            "stdout_logfile=/v/a.log\nstderr_logfile=/v/a.log",
            "// s.conf:3: stdout_logfile=/v/a.log: it is logged in err_dir, as p.stderr.log",
        ),
        (
            "stdout_logfile=%(ENV_D)s/a.log",
            "// s.conf:3: stdout_logfile=%(ENV_D)s/a.log: it is logged in err_dir, as p.stdout.log",
        ),
        (
            "stdout_logfile_maxbytes=1KB",
            "// s.conf:3: stdout_logfile_maxbytes=1KB: 65536 is the least",
        ),
        (
            "startretries=0",
            "// s.conf:3: startretries=0: a short run is followed by a restart here, or set \
             max_restarts",
        ),
        (
            "autorestart=%(ENV_A)s",
            "// s.conf:3: autorestart=%(ENV_A)s: nothing is expanded here: write out the value",
        ),
    ];
    for (keys, expected) in table {
        assert_eq!(program_of(keys).1, expected, "{keys}");
    }
    assert!(
        program_of("stdout_logfile=/v/a\nstderr_logfile=/v/a")
            .0
            .contains(r#""stdout": "stderr""#)
    );
    assert!(!program_of("autorestart=%(ENV_A)s").0.contains("restart"));
}

#[test]
fn a_shell_expands_variables_and_nothing_else() {
    let table = [
        ("run %(ENV_A)s", "", "exec run ${A}"),
        (
            "bash -c \"x; c=$?; kill `cat %(ENV_F)s`\"",
            "",
            "exec bash -c 'x; c=$?; kill `cat '\"${F}\"'`'",
        ),
        (
            "run \"it's\" '' %(ENV_A)s",
            "",
            "exec run 'it'\\''s' '' ${A}",
        ),
        (
            "run *",
            "B=1,PATH=\"/my dir:%(ENV_PATH)s\"",
            "PATH='/my dir:'\"${PATH}\" exec run '*'",
        ),
    ];
    for (command, environment, expected) in table {
        let text = format!("[program:p]\ncommand={command}\nenvironment={environment}\n");
        let (text, remarks) = imported("s.conf", &text);
        assert_eq!(remarks, 0, "{text}");
        let expected = json!(["sh", "-c", expected]).to_string();
        let line = format!("\"command\": {expected},");
        assert!(text.contains(&line), "{line}\n{text}");
        let has_env = text.contains(r#""env": {"B":"1"}"#);
        assert_eq!(has_env, environment.starts_with('B'), "{text}");
    }
}

#[test]
fn what_concerns_all_programs_is_expanded_or_told() {
    let text = "\
[supervisord]
childlogdir=%(ENV_LOGS)s
directory=%(here)s/x
logfile=%(ENV_LOGS)s/s.log
[include]
files=conf.d/*.conf /none/*.ini
[program:p]
command=%(here)s/run
";
    let (text, remarks) = imported("s.conf", text);
    assert_eq!(remarks, 2, "{text}");
    for line in [
        "  // s.conf:2: childlogdir=%(ENV_LOGS)s: nothing is expanded here: write out the value",
        "  // s.conf:6: files=conf.d/*.conf /none/*.ini of include: no file matches here: import those as well",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("err_dir\":"), "{text}");
    assert!(
        text.contains("/x\",") && text.contains("\"command\": [\"/"),
        "{text}"
    );
    assert!(
        !text.contains("\"/x\"") && !text.contains("\"/run\""),
        "{text}"
    );
}

#[test]
fn a_port_is_counted_from_that_of_the_variables() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("Procfile");
    fs::write(&path, "web: a\nother: b\n").expect("written");
    fs::write(directory.path().join(".env"), "A=1\nPORT=3000\n").expect("written");
    let text = import(&path).expect("it can be imported").text;
    assert!(text.contains(r#"{"PORT":3000}"#), "{text}");
    assert!(text.contains(r#"{"PORT":3100}"#), "{text}");
}

#[test]
fn a_procfile() {
    let text = "\
# of a shop
web: PORT=$PORT bundle exec puma -C config/puma.rb
worker: python3 worker.py --queue 'a b'
both: cd app && ./start
release: ./migrate
";
    let (text, remarks) = imported("Procfile", text);
    let expected = r#"{
  "defaults": {"stderr":"inherit","stdout":"inherit"},
  "programs": {
    "web": {
      "command": ["sh","-c","PORT=$PORT exec bundle exec puma -C config/puma.rb"],
      "env": {"PORT":5000},
    },
    "worker": {
      "command": ["python3","worker.py","--queue","a b"],
      "env": {"PORT":5100},
    },
    "both": {
      "command": ["sh","-c","cd app && ./start"],
      "env": {"PORT":5200},
    },
    "release": {
      "command": ["./migrate"],
      "oneshot": true,
      "autostart": false,
    },
  },
}
"#;
    assert_eq!((text.as_str(), remarks), (expected, 0));
}

#[test]
fn what_is_neither_is_refused_with_its_place() {
    let table = [
        ("", "/f: nothing to import: expected NAME: COMMAND"),
        (
            "web\n",
            "/f:1: invalid line \"web\": expected NAME: COMMAND",
        ),
        (
            "[supervisord]\n",
            "/f: nothing to import: there is no [program:NAME]",
        ),
        (
            "[include]\nfiles=/none/*.conf\n",
            "/f: nothing to import: there is no [program:NAME], and no file matches /none/*.conf",
        ),
        (
            "x=1\n[program:x]\n",
            "/f:1: invalid line \"x=1\": expected a [SECTION] before it",
        ),
        (
            "[program:x\n",
            "/f:1: invalid line \"[program:x\": expected [SECTION]",
        ),
        (
            "[program:x]\nfoo\n",
            "/f:2: invalid line \"foo\": expected KEY = VALUE",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn words_are_those_of_a_shell() {
    let table = [
        ("a  b", Some(json!(["a", "b"]))),
        (
            r#"a "b \" \n" 'c "d"' e\ f"#,
            Some(json!(["a", "b \" \\n", "c \"d\"", "e f"])),
        ),
        ("a '' \"\"", Some(json!(["a", "", ""]))),
        ("a 'b", None),
        ("a \\", None),
    ];
    for (line, expected) in table {
        assert_eq!(
            words::split(line).map(|words| json!(words)),
            expected,
            "{line}"
        );
    }
    for (line, expected) in [
        ("a b", "a b"),
        ("a $B", "sh -c exec a $B"),
        ("A=1 b", "sh -c A=1 exec b"),
        ("A='1 2' B=3 b > c", "sh -c A='1 2' B=3 exec b > c"),
        ("a | b", "sh -c a | b"),
        ("exec a $B", "sh -c exec a $B"),
        ("a --b=c", "a --b=c"),
    ] {
        assert_eq!(words::of_shell(line).join(" "), expected, "{line}");
    }
}

#[test]
fn expansions_are_those_of_supervisord() {
    let names = expand::Names {
        here: "/etc",
        program: "web",
        number: Some(7),
        count: 9,
    };
    let of = |text: &str| names.expand(text).map(|expanded| expanded.text);
    for (text, expected) in [
        ("%(here)s/x", Ok("/etc/x")),
        (
            "%(program_name)s-%(process_num)02d of %(numprocs)d",
            Ok("web-07 of 9"),
        ),
        ("100%%", Ok("100%")),
        ("%(process_num)3d|%(process_num)s", Ok("  7|7")),
        ("%(ENV_HOME)s", Ok("\u{1}HOME\u{3}")),
        ("%(host_node_name)s", Err("%(host_node_name)")),
        ("50%", Err("a lone %")),
    ] {
        assert_eq!(
            of(text),
            expected.map(str::to_owned).map_err(str::to_owned),
            "{text}"
        );
    }
}
