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
  "defaults": {"env":{"LANG":"C","MODE":"prod"},"log":{"keep":10,"max_bytes":"50M"}},
  "control": "/run/app.sock",
  "control_group": "games",
  "programs": {
    "db": {
      "command": ["db","--fast"],
      "max_restarts": 5,
      "ready": {"delay":10},
      "backoff": {"reset_after":10},
      "env": {"A":"1","B":"x,y"},
      "log": {"max_bytes":"10M"},
      "restart": "on-failure",
      "success_codes": [2],
      "stdout": "log",
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
        "      // s.conf:7: directory=${HOME}: nothing is expanded here: write out the value",
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
    },
    "both": {
      "command": ["sh","-c","cd app && ./start"],
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
        ("%(ENV_HOME)s", Ok("${HOME}")),
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
