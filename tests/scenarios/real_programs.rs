//! Programs as people have them: supervised together, killed, and back at work.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::common::{Need, Scene, alive, missing, signal, wait_for, wait_until};

const PYTHON: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"python {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open("python.tmp", "w") as file:
    file.write(str(server.server_port))
os.rename("python.tmp", "python.port")
server.serve_forever()
"#;

const NODE: &str = r#"
const http = require("http"), fs = require("fs");
const server = http.createServer((request, response) => {
    response.end(`node ${process.pid}\n`);
});
server.listen(0, "127.0.0.1", () => {
    console.error("node listens");
    fs.writeFileSync("node.tmp", String(server.address().port));
    fs.renameSync("node.tmp", "node.port");
});
"#;

const SHELL: &str = "#!/bin/sh\n\
    echo \"shell says hello\" >&2\n\
    while :; do\n\
    echo \"shell $$\" > shell.tmp && mv shell.tmp shell.answer\n\
    sleep 0.05\n\
    done\n";

/// Asks the server that told its port in this file; `None` while it does not answer.
fn ask(scene: &Scene, file: &str) -> Option<String> {
    get(scene.read(file).trim().parse().ok()?)
}

/// Asks the server at this port; `None` unless it answers, and well.
pub fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.trim().to_owned())
}

/// What each program says when it is asked: its kind and its pid.
fn answer(scene: &Scene, name: &str) -> Option<String> {
    match name {
        "shell" => {
            Some(scene.read("shell.answer").trim().to_owned()).filter(|text| !text.is_empty())
        }
        name => ask(scene, &format!("{name}.port")),
    }
}

#[test]
fn python_node_shell_and_a_compiled_server_are_kept_alive() {
    if missing(&[Need::Tool("python3"), Need::Tool("node")]) {
        return;
    }
    const NAMES: [&str; 4] = ["python", "node", "shell", "compiled"];
    let mut scene = Scene::new();
    scene.write("server.py", PYTHON);
    scene.write("server.js", NODE);
    scene.write_executable("loop.sh", SHELL);
    scene.set(
        "defaults",
        json!({"backoff": {"initial": "200ms"}, "stop_timeout": "20s"}),
    );
    scene.add_raw("python", json!(["python3", "server.py"]));
    scene.add_raw("node", json!(["node", "server.js"]));
    scene.add_raw("shell", json!(["./loop.sh"]));
    scene.add(
        "compiled",
        "say compiled\\slistens\\n ; serve compiled.port",
    );
    let supervisor = scene.start();
    for round in 1..=2 {
        for name in NAMES {
            let pid = supervisor.wait_started(name, round);
            // A shim, as version managers have it, may stand before the interpreter.
            let text = wait_until(&format!("the answer of {name} {pid}"), || {
                answer(&scene, name).filter(|text| *text == format!("{name} {pid}"))
            });
            assert!(alive(pid), "{text}");
        }
        if round == 1 {
            for name in NAMES {
                let pid = supervisor.started(name)[0];
                signal(pid, libc::SIGKILL);
                let report = supervisor.wait_report(name, 1);
                assert_eq!(
                    (report.pid(), report.signal()),
                    (Some(pid), Some("SIGKILL"))
                );
                assert_eq!(report.retry_in(), Some(0.2), "{report:?}");
            }
        }
    }
    wait_for("the shell's words", || {
        scene.log("shell") == b"shell says hello\n".repeat(2)
    });
    wait_for("the log of requests, which goes to stderr", || {
        let log = scene.log("python");
        String::from_utf8_lossy(&log).matches("GET /").count() >= 2
    });
    assert_eq!(scene.log("node"), b"node listens\n".repeat(2));
    assert_eq!(scene.log("compiled"), b"compiled listens\n".repeat(2));
    let reports = supervisor.end();
    assert_eq!(reports.len(), 8, "two ends of each: {reports:?}");
    assert!(
        reports[4..].iter().all(|report| report.stopping()),
        "{reports:?}"
    );
}
