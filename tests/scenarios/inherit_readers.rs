//! Each way of a program's output to the supervisor's own, beside each kind of reader: what arrives is
//! what was written, byte for byte, or it is counted.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::pty::Pty;
use crate::common::{Pattern, Scene, Supervisor, process, scene, wait_for};

/// How long a reader is stopped that is still waited for.
const STOP: Duration = Duration::from_secs(1);

/// The length of a line of [`Pattern::Lines`].
const LINE_BYTES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Stdout,
    Stderr,
    /// stdout, through the pipe of stderr.
    StdoutAsStderr,
    Json,
}

const ROUTES: [Route; 4] = [
    Route::Stdout,
    Route::Stderr,
    Route::StdoutAsStderr,
    Route::Json,
];

impl Route {
    /// A scene whose programs have it, without reports.
    fn scene(self) -> Scene {
        let mut scene = Scene::new();
        let stdout = match self {
            Self::StdoutAsStderr => "stderr",
            _ => "inherit",
        };
        let defaults = json!({"stdout": stdout, "stderr": "inherit", "restart": "never"});
        scene
            .set("defaults", defaults)
            .set("reports", json!("none"));
        if self == Self::Json {
            scene.set("output", json!("json"));
        }
        scene
    }

    /// The descriptor that the programs write to.
    fn fd(self) -> i32 {
        match self {
            Self::Stderr => 2,
            _ => 1,
        }
    }

    fn spew(self, bytes: usize, pattern: Pattern) -> String {
        let pattern = format!("{pattern:?}").to_lowercase();
        format!("spew {bytes} {pattern} {}", self.fd())
    }

    /// Starts it with this as the output that the lines come to, and a file as the other one.
    fn start(self, scene: &Scene, end: impl Into<Stdio>) -> Supervisor {
        let other = File::create(scene.path("other")).expect("a file");
        let mut command = scene.command();
        match self {
            Self::Stdout | Self::Json => command.stdout(end).stderr(other),
            Self::Stderr | Self::StdoutAsStderr => command.stderr(end).stdout(other),
        };
        scene.launch_as_is(command)
    }

    /// Returns what a program has written, each line behind a line feed, out of all that was passed on.
    fn text_of(self, out: &[u8], name: &str) -> Vec<u8> {
        let mut text = Vec::new();
        for line in out.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("a whole line");
            if let Some((part, is_continued)) = self.line_of(line, name) {
                text.extend_from_slice(if is_continued { b"" } else { b"\n" });
                text.extend_from_slice(&part);
            }
        }
        text
    }

    /// Returns what is in a line of this program, and whether it continues the one before.
    fn line_of(self, line: &[u8], name: &str) -> Option<(Vec<u8>, bool)> {
        if self != Self::Json {
            let rest = line.strip_prefix(name.as_bytes())?;
            let parts = [(b" | ", false), (b" + ", true)];
            return parts.iter().find_map(|(mark, is_continued)| {
                let part = rest.strip_prefix(*mark)?;
                Some((part.to_vec(), *is_continued))
            });
        }
        let line: Value = serde_json::from_slice(line).expect("JSON");
        if line["program"] != json!(name) || line["stream"].is_null() {
            return None;
        }
        let text = line["line"].as_str().map(|text| text.as_bytes().to_vec());
        let decoded = || STANDARD.decode(line["line_b64"].as_str().expect("a line"));
        let text = text.unwrap_or_else(|| decoded().expect("Base64"));
        Some((text, line["continued"] == json!(true)))
    }
}

/// What was written, as [`Route::text_of`] has it.
fn written(pattern: Pattern, length: usize) -> Vec<u8> {
    let mut bytes = vec![b'\n'; 1 + length];
    pattern.fill(0, &mut bytes[1..]);
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    bytes
}

/// Reads what is passed on until there is no more, with a pause before each read.
struct Reader {
    shown: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(mut pipe: File, pause: Duration) -> Self {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&shown);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                std::thread::sleep(pause);
                let count = pipe.read(&mut buffer).expect("a read");
                if count == 0 {
                    return;
                }
                let mut shown = read.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..count]);
            }
        });
        Self { shown, thread }
    }

    fn so_far(&self) -> Vec<u8> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    fn all(self) -> Vec<u8> {
        self.thread.join().expect("no panic");
        Arc::try_unwrap(self.shown)
            .expect("no other")
            .into_inner()
            .expect("no panic")
    }
}

fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (File::from(OwnedFd::from(reader)), writer.into())
}

/// The length of what each program of a flood writes: it ends in the midst of a line.
const FLOOD_BYTES: usize = (1 << 20) + 13;

const FLOODS: [(&str, Pattern); 3] = [
    ("lines", Pattern::Lines),
    ("binar", Pattern::Binary),
    ("flats", Pattern::Flat),
];

/// A scene with a program of each flood.
fn flood(route: Route) -> Scene {
    let mut scene = route.scene();
    for (name, pattern) in FLOODS {
        let spew = route.spew(FLOOD_BYTES, pattern);
        scene.add(name, &format!("{spew} ; touch done-{name} ; exit 1"));
    }
    scene
}

#[track_caller]
fn assert_flood(route: Route, out: &[u8]) {
    for (name, pattern) in FLOODS {
        let is_same = route.text_of(out, name) == written(pattern, FLOOD_BYTES);
        assert!(is_same, "{name} differs, {route:?}");
    }
}

fn read_flood(pause: Duration) {
    for route in ROUTES {
        let scene = flood(route);
        let (reader, end) = pipe();
        let supervisor = route.start(&scene, end);
        let reader = Reader::start(reader, pause);
        supervisor.ends_with(1);
        assert_flood(route, &reader.all());
    }
}

#[test]
fn each_route_is_byte_for_byte_for_a_fast_reader() {
    read_flood(Duration::ZERO);
}

#[test]
fn each_route_is_byte_for_byte_for_a_slow_reader() {
    read_flood(Duration::from_millis(1));
}

/// A process that reads, and is killed at the end of the test.
struct Cat(Child);

impl Cat {
    /// Starts one that is stopped.
    fn stopped(pipe: File, file: File) -> Self {
        let mut command = Command::new("cat");
        command.stdin(pipe).stdout(file);
        let cat = Self(scene::spawn(&mut command).expect("cat can be started"));
        process::signal(cat.pid(), libc::SIGSTOP);
        wait_for("cat to be stopped", || {
            process::stat(cat.pid()).is_some_and(|stat| stat.state == 'T')
        });
        cat
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid fits")
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its queue is full and its programs wait; then all of it comes.
#[test]
fn each_route_is_byte_for_byte_for_a_reader_that_was_stopped() {
    for route in ROUTES {
        let scene = flood(route);
        let (reader, end) = pipe();
        let file = File::create(scene.path("out")).expect("a file");
        let mut cat = Cat::stopped(reader, file);
        let supervisor = route.start(&scene, end);
        std::thread::sleep(STOP);
        let is_done = |(name, _): &(&str, Pattern)| scene.path(format!("done-{name}")).exists();
        assert!(!FLOODS.iter().any(is_done), "no writer waited, {route:?}");
        process::signal(cat.pid(), libc::SIGCONT);
        supervisor.ends_with(1);
        assert!(cat.0.wait().expect("its end").success());
        assert_flood(route, &fs::read(scene.path("out")).expect("it"));
    }
}

/// Returns how many lines were dropped, as these messages say.
fn dropped(messages: &str) -> usize {
    let counts = messages.split("dropped ").filter_map(|rest| {
        rest.split_once(" lines of programs")?
            .0
            .parse::<usize>()
            .ok()
    });
    counts.sum()
}

/// One that reads nothing for too long is waited for no more. Each line is there or counted.
#[test]
fn each_route_counts_what_a_reader_did_not_take_that_was_stopped_for_long() {
    const LINES: usize = 60_000;
    let start = |route: Route| {
        let mut scene = route.scene();
        let spew = route.spew(LINES * LINE_BYTES, Pattern::Lines);
        scene.add("web", &format!("{spew} ; touch done ; hold"));
        let (reader, end) = pipe();
        let supervisor = route.start(&scene, end);
        (route, scene, supervisor, reader)
    };
    for (route, scene, supervisor, reader) in ROUTES.map(start) {
        scene.wait_file("done");
        let reader = Reader::start(reader, Duration::ZERO);
        let said = || {
            let out = String::from_utf8_lossy(&reader.so_far()).into_owned();
            out + &scene.read("other")
        };
        let count = || said().matches("web").count();
        wait_for("the count", || dropped(&said()) > 0);
        let mut before = 0;
        // All that was queued.
        wait_for("silence", || {
            std::thread::sleep(Duration::from_millis(50));
            std::mem::replace(&mut before, count()) == before
        });
        supervisor.end();
        let number = dropped(&(String::from_utf8_lossy(&reader.so_far()) + &*scene.read("other")));
        let out = reader.all();
        let text = route.text_of(&out, "web");
        let lines = text.len() / LINE_BYTES;
        assert_eq!(lines + number, LINES, "there or counted, {route:?}");
        let expected = written(Pattern::Lines, LINES * LINE_BYTES);
        assert!(expected.starts_with(&text), "lines are torn, {route:?}");
    }
}

/// It is said once on the other output, and the programs go on.
#[test]
fn each_route_goes_on_without_a_reader() {
    for route in ROUTES {
        let mut scene = route.scene();
        let spew = route.spew(5_000_000, Pattern::Lines);
        scene.add("web", &format!("touch up ; wait-file go ; {spew} ; exit 3"));
        let (reader, end) = pipe();
        let supervisor = route.start(&scene, end);
        scene.wait_file("up");
        drop(reader);
        scene.write("go", "");
        supervisor.ends_with(1);
        let other = scene.read("other");
        assert_eq!(other.matches("is switched off").count(), 1, "{other}");
    }
}

/// Ctrl-S stops the terminal and nothing else. After Ctrl-Q all of it comes.
#[test]
fn each_route_comes_to_a_terminal_that_was_stopped() {
    const LINES: usize = 1_000;
    for route in ROUTES {
        let mut scene = route.scene();
        let spew = route.spew(LINES * LINE_BYTES, Pattern::Lines);
        scene.add("web", &format!("{spew} ; touch done ; hold"));
        let again = json!({"restart": "always", "backoff": {"initial": "10ms", "max": "10ms"}});
        scene.add_with("o", "append runs . ; exit 1", again);
        let pty = Pty::open();
        let end = pty.end();
        pty.keys("\x13");
        let supervisor = route.start(&scene, end);
        pty.watch_screen();
        scene.wait_file("done");
        let runs = scene.read("runs").len();
        wait_for("restarts", || scene.read("runs").len() > runs + 2);
        assert_eq!(lines_on(&pty, route).len(), 0, "it was not stopped");
        pty.keys("\x11");
        wait_for("every line", || lines_on(&pty, route).len() >= LINES);
        let text = lines_on(&pty, route).concat();
        let expected = written(Pattern::Lines, LINES * LINE_BYTES);
        let expected: Vec<u8> = expected.into_iter().filter(|&byte| byte != b'\n').collect();
        assert!(text.into_bytes() == expected, "lines differ, {route:?}");
        supervisor.end();
    }
}

/// The lines of the program that are on the screen.
fn lines_on(pty: &Pty, route: Route) -> Vec<String> {
    let screen = pty.screen();
    let whole = screen.rfind("\r\n").map_or("", |end| &screen[..end]);
    let lines = whole.split("\r\n").filter(|line| !line.is_empty());
    let lines = lines.filter_map(|line| {
        let line = line.strip_suffix("\x1b[0m").unwrap_or(line);
        let (part, _) = route.line_of(line.as_bytes(), "web")?;
        String::from_utf8(part).ok()
    });
    lines.collect()
}

/// Whatever comes without a line feed is in memory in parts only.
#[test]
fn each_route_holds_little_of_a_line_without_an_end() {
    const BYTES: usize = 100_000_000;
    const MEMORY_KIB_MAX: u64 = 3 * 1024;
    for route in ROUTES {
        let mut scene = route.scene();
        let spew = route.spew(BYTES, Pattern::Flat);
        scene.add(
            "web",
            &format!("touch up ; wait-file go ; {spew} ; touch done ; hold"),
        );
        let (reader, end) = pipe();
        let supervisor = route.start(&scene, end);
        let reader = Reader::start(reader, Duration::ZERO);
        let peak = || process::status_number(supervisor.pid(), "VmHWM").expect("a peak");
        scene.wait_file("up");
        let before = peak();
        scene.write("go", "");
        scene.wait_file("done");
        let more = peak() - before;
        assert!(more <= MEMORY_KIB_MAX, "{more} KiB more, {route:?}");
        supervisor.end();
        let text = route.text_of(&reader.all(), "web");
        assert!(
            text == written(Pattern::Flat, BYTES),
            "it differs, {route:?}"
        );
    }
}
