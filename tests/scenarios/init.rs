//! `init`: what the command is given, what it is told, and what becomes of its code.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::init::{binary_text, init, init_of, probe_text};
use crate::common::scene::spawn;
use crate::common::{Need, Scene, Supervisor, alive, missing, process, second_run, wait_for};

/// Runs it to its end, which must come by itself.
#[track_caller]
fn code_of(scene: &Scene, command: Command) -> i32 {
    scene.launch(command).wait_exit()
}

/// Runs `init` with these words, and returns its code and its stderr.
#[track_caller]
fn output_of(words: &[&str]) -> (i32, String) {
    let output = Command::new(binary_text()).arg("init").args(words).output();
    let output = output.expect("init can be started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("a code"), stderr)
}

/// Starts it, and waits until the probe's `record FILE ...` takes signals.
#[track_caller]
fn start_recording(scene: &Scene, options: &[&str], script: &str, file: &str) -> Supervisor {
    let supervisor = scene.launch(init(scene, options, script));
    scene.wait_lines(file, 1);
    supervisor
}

/// The signals that a `record` has written down.
fn recorded(scene: &Scene, file: &str) -> Vec<i32> {
    let number = |line: &String| line.split(' ').next()?.parse().ok();
    scene.lines(file).iter().filter_map(number).collect()
}

#[test]
fn every_exit_code_is_passed_on() {
    let scene = Scene::new();
    for code in 0..=255 {
        let command = init(&scene, &[], &format!("exit {code}"));
        assert_eq!(code_of(&scene, command), code);
    }
}

#[test]
fn every_deadly_signal_is_128_and_its_number() {
    let scene = Scene::new();
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    for signal in (1..=64).filter(|signal| !harmless.contains(signal)) {
        let command = init(&scene, &[], &format!("sig {signal}"));
        assert_eq!(code_of(&scene, command), 128 + signal);
    }
}

#[test]
fn success_codes_become_0_and_others_stay() {
    let scene = Scene::new();
    let options = ["-e", "143", "--success-code=3"];
    for (script, code) in [("exit 3", 0), ("sig TERM", 0), ("exit 4", 4), ("exit 0", 0)] {
        assert_eq!(
            code_of(&scene, init(&scene, &options, script)),
            code,
            "{script}"
        );
    }
}

#[test]
fn a_command_that_cannot_be_started_is_126_or_127_with_the_reason() {
    let scene = Scene::new();
    scene.write("plain", "x");
    scene.write_executable("orphan", "#!/no/such/interpreter\n");
    let path = |name: &str| scene.path(name).to_string_lossy().into_owned();
    let table = [
        ("no-such-command".to_owned(), 127, "not found in PATH"),
        (path("missing"), 127, "No such file or directory"),
        (
            path("orphan"),
            127,
            "its interpreter \"/no/such/interpreter\"",
        ),
        (path("plain"), 126, "Permission denied"),
        (path(""), 126, "Permission denied"),
        (String::new(), 127, "not found in PATH"),
    ];
    for (command, code, reason) in table {
        let (found, said) = output_of(&["--", &command]);
        assert_eq!(found, code, "{command}: {said}");
        assert!(said.contains(reason), "{command}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_not_understood_is_2_and_says_what_would_be() {
    let table: [(&[&str], &str); 12] = [
        (&[], "missing command for init"),
        (&["-v"], "missing command for init"),
        (&["--"], "missing command for init"),
        (&["--rewrit", "1:2", "x"], "(did you mean \"--rewrite\"?)"),
        (
            &["-g", "x"],
            "unknown option \"-g\": signals go to the group",
        ),
        (&["-r", "TERM", "x"], "expected FROM:TO"),
        (
            &["-r", "TREM:QUIT", "x"],
            "unknown signal \"TREM\" (did you mean \"TERM\"?)",
        ),
        (&["-r", "KILL:TERM", "x"], "SIGKILL: it is never passed on"),
        (&["-r"], "\"-r\" needs a value"),
        (
            &["-e", "256", "x"],
            "invalid exit code \"256\": expected 0 to 255",
        ),
        (&["--single=yes", "x"], "\"--single\" takes no value"),
        (&["-p", "65", "x"], "invalid signal 65: expected 1 to 64"),
    ];
    for (words, problem) in table {
        let (code, said) = output_of(words);
        assert_eq!(code, 2, "{words:?}: {said}");
        assert!(said.contains(problem), "{words:?}: {said}");
    }
}

#[test]
fn options_end_where_the_command_begins() {
    let scene = Scene::new();
    for options in [
        &["-cv"][..],
        &["-cve3"],
        &["-r", "TERM:0", "-rINT:15", "-v"],
    ] {
        let words = [&["init"], options, &[probe_text(), "exit 0", "-e", "-x"]].concat();
        let output = Command::new(binary_text())
            .args(&words)
            .output()
            .expect("init");
        assert!(output.status.success(), "{output:?}");
    }
    let command = init_of(&scene, &[], &[], &[probe_text(), "dump dump", "--", "-v"]);
    assert_eq!(code_of(&scene, command), 0);
    let argv = &scene.wait_dump("dump")["argv"];
    assert_eq!((&argv[2], &argv[3]), (&"--".into(), &"-v".into()), "{argv}");
}

/// 32 and 33 are the C library's own, and so cannot be recorded by a probe that uses one; to
/// musl, which another probe may be made with, 34 is, too.
#[test]
fn every_signal_that_can_be_caught_is_forwarded() {
    let scene = Scene::new();
    let kept = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCHLD,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
        32,
        33,
    ];
    let is_musl = second_run::given_probe().is_some();
    let is_recorded = |signal: &i32| !(kept.contains(signal) || is_musl && *signal == 34);
    let all: Vec<i32> = (1..=64).filter(is_recorded).collect();
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    let script = format!("record signals {}", names.join(" "));
    let mut supervisor = start_recording(&scene, &[], &script, "signals");
    for (index, &signal) in all.iter().enumerate() {
        supervisor.signal(signal);
        scene.wait_lines("signals", index + 2);
    }
    assert_eq!(recorded(&scene, "signals"), all);
    // What is queued for us is queued for the command.
    process::signal(supervisor.pid(), libc::SIGSTOP);
    for _ in 0..5 {
        supervisor.signal(40);
    }
    process::signal(supervisor.pid(), libc::SIGCONT);
    scene.wait_lines("signals", all.len() + 1 + 5 + 1);
    let later = recorded(&scene, "signals").split_off(all.len());
    assert_eq!(
        later.iter().filter(|&&signal| signal == 40).count(),
        5,
        "{later:?}"
    );
    for signal in [libc::SIGTTIN, libc::SIGTTOU, libc::SIGCHLD, 33] {
        supervisor.signal(signal);
    }
    assert_eq!(supervisor.wait_exit(), 128 + 33);
    assert_eq!(recorded(&scene, "signals").len(), all.len() + 6);
}

#[test]
fn signals_are_rewritten() {
    let scene = Scene::new();
    let options = ["-r", "SIGTERM:quit", "--rewrite=2:0", "-rUSR1:RTMIN+6"];
    let script = "record signals TERM QUIT INT USR1 40";
    let mut supervisor = start_recording(&scene, &options, script, "signals");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
        supervisor.signal(signal);
        if signal != libc::SIGINT {
            let count = 1 + usize::from(signal == libc::SIGUSR1);
            scene.wait_lines("signals", 1 + count);
        }
    }
    assert_eq!(recorded(&scene, "signals"), [libc::SIGQUIT, 40]);
    supervisor.signal(libc::SIGUSR2);
    assert_eq!(supervisor.wait_exit(), 128 + libc::SIGUSR2);
}

#[test]
fn a_signal_goes_to_the_group_or_to_the_process_alone() {
    for (options, is_told) in [(&[][..], true), (&["--single"][..], false)] {
        let scene = Scene::new();
        let script = "fork { pid pid ; record child USR1 USR2 } ; wait-file child ; \
            record leader USR1";
        let mut supervisor = start_recording(&scene, options, script, "leader");
        scene.wait_lines("child", 1);
        supervisor.signal(libc::SIGUSR1);
        scene.wait_lines("leader", 2);
        // Taken after the other one, if both have come.
        process::signal(scene.wait_pid("pid"), libc::SIGUSR2);
        let ended_by = |line: &String| line.starts_with("12 ");
        wait_for("the mark", || {
            scene.lines("child").last().is_some_and(ended_by)
        });
        let (told, mark) = (libc::SIGUSR1, libc::SIGUSR2);
        let expected = if is_told {
            vec![told, mark]
        } else {
            vec![mark]
        };
        assert_eq!(recorded(&scene, "child"), expected);
        supervisor.signal(libc::SIGTERM);
        assert_eq!(supervisor.wait_exit(), 128 + libc::SIGTERM);
    }
}

/// It is about signals; the end is the same.
#[test]
fn single_stops_what_is_left_too() {
    for options in [&[][..], &["--single"][..]] {
        let scene = Scene::new();
        let script = "fork { pid pid ; hold } ; wait-file pid ; exit 3";
        assert_eq!(code_of(&scene, init(&scene, options, script)), 3);
        assert!(!alive(scene.wait_pid("pid")), "{options:?}");
    }
}

/// What is stopped takes no SIGTERM before it is continued.
#[test]
fn a_command_stopped_by_hand_is_continued_for_a_term() {
    let scene = Scene::new();
    let mut supervisor = scene.launch(init(&scene, &["-v"], "pid pid ; hold"));
    let pid = scene.wait_pid("pid");
    process::signal(pid, libc::SIGSTOP);
    supervisor.wait_message(&["stopped signal=SIGSTOP"]);
    assert_eq!(
        process::stat(pid).map(|stat| stat.state),
        Some('T'),
        "left alone"
    );
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

#[test]
fn a_stopped_command_is_continued_for_whatever_asks_it_to_end() {
    for (rewrite, signal, sent) in [
        ("TERM:QUIT", libc::SIGTERM, libc::SIGQUIT),
        ("TERM:USR1", libc::SIGTERM, libc::SIGUSR1),
        ("USR2:INT", libc::SIGUSR2, libc::SIGINT),
        ("TERM:TERM", libc::SIGHUP, libc::SIGHUP),
        ("TERM:TERM", libc::SIGINT, libc::SIGINT),
    ] {
        let scene = Scene::new();
        let options = ["-v", "-r", rewrite];
        let mut supervisor = scene.launch(init(&scene, &options, "pid pid ; hold"));
        process::signal(scene.wait_pid("pid"), libc::SIGSTOP);
        supervisor.wait_message(&["stopped signal=SIGSTOP"]);
        supervisor.signal(signal);
        assert_eq!(supervisor.wait_exit(), 128 + sent, "{rewrite}");
    }
}

/// It may, and then the number of its old group is nobody's.
#[test]
fn a_command_that_has_left_its_group_gets_its_signals() {
    let scene = Scene::new();
    let script = "fork { setpgid ; pid other ; hold } ; wait-file other ; join other ; \
        record signals USR1";
    let mut supervisor = scene.launch(init(&scene, &[], script));
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGUSR1);
    scene.wait_lines("signals", 2);
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

/// The standard library still needs one of its own between fork and exec.
fn set_close_on_exec(fd: i32) {
    // SAFETY: plain numbers; a number that is no descriptor is refused.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[test]
fn the_command_gets_what_init_was_given() {
    let scene = Scene::new();
    let mut command = init(&scene, &[], "dump dump ; hold");
    command.env("NOTIFY_SOCKET", "/x").env("LISTEN_FDS", "1");
    let file = std::fs::File::create(scene.path("inherited")).expect("a file");
    let fd = file.as_raw_fd();
    // SAFETY: system calls on plain numbers.
    unsafe {
        command.pre_exec(move || {
            libc::dup2(fd, 7);
            // It may have been that number, and then keeps its flag.
            libc::fcntl(7, libc::F_SETFD, 0);
            (3..7).chain(8..1_024).for_each(set_close_on_exec);
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            libc::umask(0o077);
            Ok(())
        });
    }
    let mut supervisor = scene.launch(command);
    let dump = scene.wait_dump("dump");
    let (ours, theirs) = (supervisor.pid(), dump["pid"].as_i64());
    assert_eq!(dump["ppid"], ours);
    assert_eq!(dump["pgid"].as_i64(), theirs, "a group of its own");
    let session = process::stat(ours).map(|stat| stat.sid);
    assert_eq!(
        dump["sid"].as_i64().map(|sid| sid as i32),
        session,
        "our session"
    );
    assert_eq!(dump["cwd"], scene.directory().to_str().expect("UTF-8"));
    assert_eq!(dump["env"]["NOTIFY_SOCKET"], "/x");
    assert_eq!(dump["env"]["LISTEN_FDS"], "1");
    assert_eq!(dump["status"]["Umask"], "0077");
    assert_eq!(dump["status"]["SigBlk"], "0000000000000000");
    assert_eq!(
        dump["status"]["SigIgn"], "0000000000000001",
        "HUP alone, as under nohup"
    );
    let fds = dump["fds"].as_object().expect("descriptors");
    let found: Vec<&str> = fds.keys().map(String::as_str).collect();
    assert_eq!(found, ["0", "1", "2", "7"]);
    let open = process::descriptors(ours);
    for number in 0..3 {
        assert_eq!(
            fds[&number.to_string()],
            *open[&number],
            "the same stream {number}"
        );
    }
    // Museum 132: nothing of the command's is held.
    wait_for("init to let go", || process::descriptors(ours).len() == 3);
    let cwd = std::fs::read_link(format!("/proc/{ours}/cwd")).expect("its directory");
    assert_eq!(cwd, std::path::Path::new("/"));
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

#[test]
fn m11_m24_it_works_whatever_is_blocked_or_ignored() {
    let scene = Scene::new();
    let mut command = init(&scene, &[], "touch started ; hold");
    // SAFETY: async-signal-safe calls on live locals; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut supervisor = scene.launch(command);
    scene.wait_file("started");
    assert_eq!(supervisor.stop(), 128 + libc::SIGTERM);
}

#[test]
fn it_works_with_all_streams_closed() {
    let scene = Scene::new();
    let mut command = init(&scene, &["-v"], "dump dump ; exit 3");
    // SAFETY: system calls on plain numbers.
    unsafe {
        command.pre_exec(|| {
            (0..3).for_each(|fd| _ = libc::close(fd));
            (3..1_024).for_each(set_close_on_exec);
            Ok(())
        });
    }
    let mut child = spawn(&mut command).expect("init can be started");
    assert_eq!(child.wait().expect("its end").code(), Some(3));
    let fds = scene.wait_dump("dump")["fds"].clone();
    let found: Vec<&String> = fds.as_object().expect("descriptors").keys().collect();
    assert_eq!(found, ["0", "1", "2"], "the runtime puts /dev/null there");
}

/// Museum 136 and 137: without the option the command outlives whoever started init.
#[test]
fn m136_m137_the_death_of_the_parent_is_a_signal_if_asked_for() {
    let scene = Scene::new();
    let shell = |options: &str| {
        let (binary, probe) = (binary_text(), probe_text());
        let script = "'pid pid ; record signals USR1 TERM'";
        format!("{binary} init {options} -- {probe} {script} & wait")
    };
    let words = ["sh", "-c", &shell("-p USR1")].map(std::path::PathBuf::from);
    let mut command = scene.marked(&words);
    command.current_dir(scene.directory());
    let mut parent = scene.launch(command);
    scene.wait_lines("signals", 1);
    let pid = scene.wait_pid("pid");
    parent.spare_all();
    parent.signal(libc::SIGKILL);
    wait_for("the parent's end", || !parent.is_running());
    scene.wait_lines("signals", 2);
    assert_eq!(recorded(&scene, "signals"), [libc::SIGUSR1]);
    process::signal(pid, libc::SIGKILL);
    wait_for("the end of it all", || {
        process::marked(scene.mark()).is_empty()
    });
}

/// The parent may die while init asks for that signal: it has nobody to come from then.
#[test]
fn m137_a_parent_that_dies_while_its_death_is_asked_for_is_a_signal_too() {
    if missing(&[Need::Strace]) {
        return;
    }
    let scene = Scene::new();
    let (binary, probe, trace) = (binary_text(), probe_text(), scene.path("trace"));
    // The tracer is nobody's parent here, and leaves a moment to kill the shell in.
    let tracer = format!(
        "strace -D -o {} -e trace=getppid,prctl -e inject=prctl:delay_enter=1500000",
        trace.display()
    );
    let shell = format!("{tracer} {binary} init -v -p USR1 -- {probe} hold & wait");
    let words = ["sh", "-c", &shell].map(std::path::PathBuf::from);
    let mut command = scene.marked(&words);
    command.current_dir(scene.directory());
    let mut parent = scene.launch(command);
    wait_for("init to ask who its parent is", || {
        let trace = std::fs::read_to_string(&trace).unwrap_or_default();
        trace.contains("getppid() ")
    });
    parent.spare_all();
    parent.signal(libc::SIGKILL);
    wait_for("the parent's end", || !parent.is_running());
    // The signal ends the command, and that ends init.
    parent.wait_message(&["forwarded signal=SIGUSR1"]);
    wait_for("the end of it all", || {
        process::marked(scene.mark()).is_empty()
    });
}

#[test]
fn verbose_says_what_is_done_and_quiet_says_nothing() {
    let scene = Scene::new();
    let script = "fork { escape { exit 9 } } ; trap TERM ; touch ready ; await TERM ; exit 0";
    for (options, lines) in [(&["-v"][..], 5), (&[][..], 0)] {
        let mut supervisor = scene.launch(init(&scene, options, script));
        scene.wait_file("ready");
        if lines > 0 {
            // It has come home, and is gone.
            supervisor.wait_message(&["reaped pid=", "code=9"]);
        }
        assert_eq!(supervisor.stop(), 0);
        let said = supervisor.messages();
        assert!(
            said.len() >= lines && (lines > 0 || said.is_empty()),
            "{said:?}"
        );
        if lines > 0 {
            supervisor.wait_message(&["procsched-min started pid="]);
            supervisor.wait_message(&["forwarded signal=SIGTERM"]);
            supervisor.wait_message(&["ended pid=", "code=0"]);
        }
        std::fs::remove_file(scene.path("ready")).expect("a file");
    }
}
