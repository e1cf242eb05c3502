//! What the supervisor asks of the kernel, call by call: rules that hold for every call that it
//! ever makes, and that no outcome would show on most days.

use serde_json::json;

use crate::common::{Need, Scene, missing};

/// One system call, or one end of a call that another process's came between.
struct Call {
    pid: i32,
    name: String,
    /// The whole line, with arguments and result.
    line: String,
}

/// A whole life, traced from the first instruction on: several restarts of a program, one that
/// cannot be executed, a status line, a stop. `None` if nothing can be traced here.
fn trace(options: &[&str]) -> Option<(i32, Vec<Call>)> {
    if missing(&[Need::Strace]) {
        return None;
    }
    let mut scene = Scene::new();
    let backoff = json!({"initial": "20ms", "max": "20ms"});
    scene.add_with("p", "say words\\n ; exit 1", json!({"backoff": backoff}));
    scene.add_raw("no", json!({"command": ["./no"], "backoff": backoff}));
    scene.add("steady", "hold");
    let output = scene.path("strace");
    let mut wrapper = vec!["strace", "-o", output.to_str().expect("UTF-8")];
    wrapper.extend(options);
    let mut supervisor = scene.launch(scene.wrapped(&wrapper));
    supervisor.look_behind_wrapper();
    supervisor.wait_reports_of("p", 4);
    supervisor.wait_reports_of("no", 2);
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["steady", "running"]);
    let pid = supervisor.pid();
    supervisor.end();
    let text = scene.read("strace");
    let calls = text.lines().filter_map(|line| call(line, pid)).collect();
    Some((pid, calls))
}

/// Reads `[PID ]name(arguments) = result` or `PID <... name resumed>...`. Without `-f` there is
/// no number in front.
fn call(line: &str, only: i32) -> Option<Call> {
    let (pid, rest) = match line.split_once(' ') {
        Some((word, rest)) if word.parse::<i32>().is_ok() => (word.parse().ok()?, rest.trim()),
        _ => (only, line),
    };
    let (name, _) = rest.split_once('(')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let line = line.to_owned();
    (is_name && !name.is_empty()).then(|| Call {
        pid,
        name: name.to_owned(),
        line,
    })
}

/// A descriptor that is marked in a second call is one that a child of another thread may get.
/// And a terminal that the leader of a session opens without a word becomes its own: a config
/// that was read from one was enough, and the end of that terminal told of a SIGHUP from then on.
#[test]
fn m14_m61_every_descriptor_is_close_on_exec_from_birth_and_no_terminal_is_taken() {
    let made = "trace=open,openat,creat,pipe,pipe2,dup,dup2,dup3,socket,socketpair,accept,accept4,\
                epoll_create,epoll_create1,eventfd,eventfd2,signalfd,signalfd4,timerfd_create,\
                inotify_init,inotify_init1,memfd_create,fcntl";
    let Some((_, calls)) = trace(&["-e", made]) else {
        return;
    };
    let mut seen = 0;
    for Call { name, line, .. } in &calls {
        // This one copies a descriptor only if it is asked to; and a pidfd is always marked.
        if name == "fcntl" && !line.contains("F_DUPFD") {
            continue;
        }
        let is_marked = line.contains("CLOEXEC");
        assert!(is_marked, "not close-on-exec: {line}");
        // Libraries, and what the kernel shows, are no terminals.
        let harmless = ["\"/proc/", "\"/sys/", ".so"];
        let opens = name.starts_with("open") && !harmless.iter().any(|place| line.contains(place));
        if opens && !line.contains("O_DIRECTORY") {
            assert!(line.contains("O_NOCTTY"), "may take a terminal: {line}");
            seen += 1;
        }
    }
    let logs = calls
        .iter()
        .filter(|call| call.line.contains(".stderr.log"));
    assert!(seen >= 3 && logs.count() >= 2, "no point: {seen} opens");
}

/// What a child may ask for between its birth and its exec. There is no futex in it, no mmap and
/// no brk: a lock or an allocation there waits for a thread that does not exist in the child.
const BEFORE_EXEC: [&str; 14] = [
    "setsid",
    "rt_sigaction",
    "rt_sigprocmask",
    "chdir",
    "dup2",
    "dup3",
    "close",
    "close_range",
    "getrlimit",
    "setrlimit",
    "prlimit64",
    "unshare",
    "write",
    "execve",
];

/// The calls of each child before it has become its program.
fn children(supervisor: i32, calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut all: Vec<Vec<Call>> = Vec::new();
    let mut done: Vec<i32> = Vec::new();
    for call in calls {
        if call.pid == supervisor || done.contains(&call.pid) {
            continue;
        }
        // One that says nothing of a result has to wait for its program to begin.
        if call.name == "execve" && !call.line.contains("= -1") || call.name.starts_with("exit") {
            done.push(call.pid);
        }
        match all.iter_mut().find(|child| child[0].pid == call.pid) {
            Some(child) => child.push(call),
            None => all.push(vec![call]),
        }
    }
    all
}

#[test]
fn m11_between_fork_and_exec_are_system_calls_of_a_short_list() {
    let Some((supervisor, calls)) = trace(&["-f"]) else {
        return;
    };
    let children = children(supervisor, calls);
    assert!(children.len() >= 7, "no point: {} children", children.len());
    for Call { name, line, .. } in children.iter().flatten() {
        let is_listed = BEFORE_EXEC.contains(&&**name) || name.starts_with("exit");
        assert!(is_listed, "not in the list: {line}");
    }
}

/// A child that had called setsid already could not have its group set by its parent, and its
/// start failed. Here the child alone does it, by one call.
#[test]
fn m58_one_call_of_the_child_alone_makes_its_session_and_its_group() {
    let Some((supervisor, calls)) = trace(&["-f"]) else {
        return;
    };
    let own = ["setsid", "setpgid", "setpgrp"];
    let of_parent = calls.iter().filter(|call| call.pid == supervisor);
    let meddled: Vec<&str> = of_parent
        .filter(|call| own.contains(&&*call.name))
        .map(|call| &*call.line)
        .collect();
    assert_eq!(meddled, [""; 0]);
    let children = children(supervisor, calls);
    assert!(children.len() >= 7, "no point: {} children", children.len());
    for child in &children {
        let done: Vec<&str> = child
            .iter()
            .map(|call| &*call.name)
            .filter(|name| own.contains(name))
            .collect();
        assert_eq!(done, ["setsid"]);
    }
}

/// PID 1 loses what it does not hold: so signals are held before anything that takes time. They
/// are others for PID 1 than here, at the same place.
#[test]
fn m126_signals_are_held_among_its_first_calls() {
    const BEFORE_MAX: usize = 20;
    let Some((_, calls)) = trace(&[]) else {
        return;
    };
    let place = |what: &str, holds: &dyn Fn(&Call) -> bool| {
        let found = calls.iter().position(holds);
        found.unwrap_or_else(|| panic!("no call is {what}"))
    };
    let held = place("a block", &|call| {
        call.line.contains("rt_sigprocmask(SIG_BLOCK")
    });
    let config = place("the config's", &|call| {
        call.line.contains("procsched.json\", O_")
    });
    assert!(held < config, "the config is read before signals are held");
    // Rust's runtime takes care of a stack that overflows, and then comes our main.
    let is_runtime = |call: &Call| call.line.contains("rt_sigaction(SIGBUS, {");
    let main = place("the runtime's last", &is_runtime);
    assert!((main..=main + BEFORE_MAX).contains(&held), "{main} {held}");
}
