//! `init` on a terminal: who has the foreground, and what Ctrl-C, Ctrl-Z, `fg` and `bg` do.

use std::path::PathBuf;
use std::process::Command;

use crate::common::init::{AS_PID_1, binary_text, init, init_of, probe_text};
use crate::common::pty::{Pty, Session};
use crate::common::{Need, Scene, alive, missing, process, wait_for, wait_until};

/// A shell with job control on a terminal, and how `init` is called there.
pub struct Shell {
    pub pty: Pty,
    session: Session,
}

impl Shell {
    pub fn start(scene: &Scene) -> Self {
        let words = ["bash", "--norc", "--noprofile", "-i"].map(PathBuf::from);
        let mut command = scene.marked(&words);
        command
            .current_dir(scene.directory())
            .env("PS1", "ready> ")
            .env("TERM", "dumb")
            .env("HISTFILE", "")
            .env("INIT", format!("{} init", binary_text()))
            .env("PROBE", probe_text());
        let (pty, session) = Pty::start(command);
        pty.wait_screen("ready> ");
        Self { pty, session }
    }

    pub fn pid(&self) -> i32 {
        self.session.pid()
    }

    /// Leaves the shell, which must be in the foreground.
    #[track_caller]
    pub fn leave(mut self, scene: &Scene) {
        self.pty.wait_foreground(self.pid());
        self.pty.keys("exec true\n");
        self.session.wait_exit();
        wait_for("the end of it all", || {
            process::marked(scene.mark()).is_empty()
        });
    }
}

#[track_caller]
pub fn wait_state(pid: i32, state: char) {
    let reached = || process::stat(pid).is_some_and(|stat| stat.state == state);
    wait_for(&format!("{pid} in state {state}"), reached);
}

/// The init above the command.
#[track_caller]
pub fn init_above(pid: i32) -> i32 {
    process::stat(pid).expect("the command runs").ppid
}

#[test]
fn the_foreground_is_the_command_s_and_comes_back() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("$INIT $PROBE 'pid pid ; await USR1 ; exit 7' ; echo code=$?\n");
    let pid = scene.wait_pid("pid");
    shell.pty.wait_foreground(pid);
    process::signal(pid, libc::SIGUSR1);
    shell.pty.wait_screen("code=7");
    shell.leave(&scene);
}

/// Without job control in the shell above, nobody but init could give the terminal back.
#[test]
fn it_is_given_back_within_one_group_of_a_script() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("sh -c '$INIT $PROBE \"pid pid ; await USR1\" ; exec $PROBE \"pid next ; hold\"'\n");
    let pid = scene.wait_pid("pid");
    shell.pty.wait_foreground(pid);
    process::signal(pid, libc::SIGUSR1);
    let next = scene.wait_pid("next");
    assert_eq!(
        shell.pty.foreground(),
        process::stat(next).expect("it runs").pgid
    );
    shell.pty.keys("\x03");
    shell.leave(&scene);
}

#[test]
fn a_failed_start_gives_the_terminal_back() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("sh -c '$INIT /no/such/file ; exec $PROBE \"pid next ; hold\"'\n");
    let next = scene.wait_pid("next");
    assert_eq!(
        shell.pty.foreground(),
        process::stat(next).expect("it runs").pgid
    );
    shell.pty.keys("\x03");
    shell.leave(&scene);
}

/// A shell with job control moves the foreground to its jobs, and takes it along when it is
/// killed: whoever comes after init must be able to read.
#[test]
fn the_terminal_comes_back_from_a_group_that_is_gone() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let script = format!(
        "PS1='inner> ' {} init -- bash --norc --noprofile -i; echo after; read word; echo got=$word",
        binary_text()
    );
    let words = ["bash", "--norc", "--noprofile", "-c", &script].map(PathBuf::from);
    let mut command = scene.marked(&words);
    command
        .current_dir(scene.directory())
        .env("TERM", "dumb")
        .env("HISTFILE", "")
        .env("PROBE", probe_text());
    let (pty, mut session) = Pty::start(command);
    pty.wait_screen("inner> ");
    pty.keys("$PROBE 'pid job ; hold'\n");
    let job = scene.wait_pid("job");
    pty.wait_foreground(job);
    process::signal(init_above(job), libc::SIGKILL);
    pty.wait_screen("after");
    assert_eq!(pty.foreground(), session.pid());
    pty.keys("hello\n");
    pty.wait_screen("got=hello");
    session.wait_exit();
}

#[test]
fn m59_control_c_reaches_the_command_once() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("$INIT -v $PROBE 'pid pid ; record signals INT USR1'\n");
    scene.wait_lines("signals", 1);
    let pid = scene.wait_pid("pid");
    shell.pty.wait_foreground(pid);
    shell.pty.keys("\x03");
    scene.wait_lines("signals", 2);
    // In order after it, if init had forwarded another.
    process::signal(init_above(pid), libc::SIGUSR1);
    let lines = scene.wait_lines("signals", 3);
    assert!(
        lines[1].starts_with("2 ") && lines[2].starts_with("10 "),
        "{lines:?}"
    );
    assert!(
        !shell.pty.screen().contains("forwarded signal=SIGINT"),
        "{}",
        shell.pty.screen()
    );
    process::signal(pid, libc::SIGKILL);
    shell.leave(&scene);
}

#[test]
fn control_z_gives_the_shell_the_terminal_and_fg_takes_it_again() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("$INIT $PROBE 'pid pid ; await USR1 ; exit 7' ; echo code=$?\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    for _ in 0..3 {
        shell.pty.wait_foreground(pid);
        shell.pty.keys("\x1a");
        wait_state(pid, 'T');
        wait_state(init, 'T');
        shell.pty.wait_foreground(shell.pid());
        shell.pty.keys("fg\n");
        shell.pty.wait_foreground(pid);
        wait_state(pid, 'S');
        wait_state(init, 'S');
    }
    shell.pty.keys("\x1a");
    shell.pty.wait_foreground(shell.pid());
    shell.pty.keys("bg\n");
    wait_state(pid, 'S');
    assert_eq!(
        shell.pty.foreground(),
        shell.pid(),
        "bg leaves the terminal alone"
    );
    process::signal(pid, libc::SIGUSR1);
    wait_for("the command's end", || !alive(init));
    shell.leave(&scene);
}

/// The job is the script, and init a part of it.
#[test]
fn control_z_stops_the_script_that_calls_it() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("sh -c '$INIT $PROBE \"pid pid ; await USR1 ; exit 7\" ; echo code=$?'\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    for _ in 0..3 {
        shell.pty.wait_foreground(pid);
        shell.pty.keys("\x1a");
        wait_state(init, 'T');
        shell.pty.wait_foreground(shell.pid());
        shell.pty.keys("fg\n");
        shell.pty.wait_foreground(pid);
        wait_state(pid, 'S');
        wait_state(init, 'S');
    }
    process::signal(pid, libc::SIGUSR1);
    shell.pty.wait_screen("code=7");
    shell.leave(&scene);
}

#[test]
fn a_stopped_job_can_be_killed() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell.pty.keys("$INIT $PROBE 'pid pid ; hold'\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    shell.pty.wait_foreground(pid);
    shell.pty.keys("\x1a");
    wait_state(init, 'T');
    shell.pty.wait_foreground(shell.pid());
    shell.pty.keys("kill %1\n");
    wait_for("the command's end", || !alive(pid) && !alive(init));
    shell.leave(&scene);
}

#[test]
fn started_in_the_background_it_leaves_the_terminal_alone() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell.pty.stop_background_writers();
    shell.pty.keys("$INIT -v $PROBE 'pid pid ; await USR1' &\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    assert_eq!(shell.pty.foreground(), shell.pid());
    // Museum 60: it speaks from the background, and is not stopped for it.
    shell.pty.wait_screen("procsched-min started pid=");
    wait_state(init, 'S');
    process::signal(pid, libc::SIGUSR1);
    wait_for("init's end", || !alive(init));
    shell.leave(&scene);
}

/// `fg` gives the terminal to init's group, and sends no SIGCONT to a job that runs.
#[test]
fn a_background_job_that_reads_is_stopped_and_gets_the_terminal_by_fg() {
    if missing(&[Need::Tool("bash")]) {
        return;
    }
    let scene = Scene::new();
    let shell = Shell::start(&scene);
    shell
        .pty
        .keys("$INIT sh -c 'echo $$ >pid; read word; echo got=$word' &\n");
    let pid = scene.wait_pid("pid");
    let init = init_above(pid);
    wait_state(init, 'T');
    shell.pty.keys("fg\n");
    shell.pty.wait_foreground(pid);
    shell.pty.keys("hello\n");
    shell.pty.wait_screen("got=hello");

    std::fs::remove_file(scene.path("pid")).expect("a file");
    shell.pty.wait_foreground(shell.pid());
    shell.pty.keys(
        "$INIT sh -c 'echo $$ >pid; while [ ! -e go ]; do sleep 0.01; done; \
                    read word; echo then=$word' &\n",
    );
    let pid = scene.wait_pid("pid");
    shell.pty.keys("fg\n");
    shell
        .pty
        .wait_foreground(process::stat(init_above(pid)).expect("init").pgid);
    scene.write("go", "");
    shell.pty.wait_foreground(pid);
    shell.pty.keys("again\n");
    shell.pty.wait_screen("then=again");
    shell.leave(&scene);
}

/// A leader of a session has nobody who would continue it, and neither has PID 1.
#[track_caller]
fn control_z_does_not_last(scene: &Scene, command: Command) {
    let (pty, mut session) = Pty::start(command);
    scene.wait_lines("signals", 1);
    let pid = wait_until("the foreground", || {
        let group = pty.foreground();
        process::stat(group)
            .is_some_and(|stat| stat.pgid != stat.sid)
            .then_some(group)
    });
    for count in 2..5 {
        pty.keys("\x1a");
        scene.wait_lines("signals", count);
    }
    assert!(
        scene
            .lines("signals")
            .iter()
            .skip(1)
            .all(|line| line.starts_with("18 "))
    );
    assert_eq!(pty.foreground(), pid);
    pty.keys("\x03");
    assert_eq!(session.wait_exit(), 128 + libc::SIGINT);
}

#[test]
fn where_nobody_could_continue_it_control_z_does_not_last() {
    let scene = Scene::new();
    control_z_does_not_last(&scene, init(&scene, &[], "record signals CONT"));
}

/// In the session of whoever started the namespace, whose groups have no number inside, and in
/// one of its own, as a container has it.
#[test]
fn control_z_does_not_last_under_pid_1() {
    if missing(&[Need::Root, Need::Pids, Need::Tool("setsid")]) {
        return;
    }
    let own_session = [&AS_PID_1[..], &["setsid", "-c"]].concat();
    for wrapper in [&AS_PID_1[..], &own_session] {
        let scene = Scene::new();
        let command = [probe_text(), "record signals CONT"];
        control_z_does_not_last(&scene, init_of(&scene, wrapper, &[], &command));
    }
}

#[test]
fn a_stop_by_hand_is_left_alone_where_nobody_controls_jobs() {
    let scene = Scene::new();
    let (pty, mut session) = Pty::start(init(&scene, &["-v"], "pid pid ; hold"));
    let pid = scene.wait_pid("pid");
    process::signal(pid, libc::SIGSTOP);
    pty.wait_screen("stopped signal=SIGSTOP");
    wait_state(pid, 'T');
    assert!(process::stat(session.pid()).is_some_and(|stat| stat.state == 'S'));
    process::signal(session.pid(), libc::SIGCONT);
    pty.wait_screen("continued");
    wait_state(pid, 'S');
    pty.keys("\x03");
    assert_eq!(session.wait_exit(), 128 + libc::SIGINT);
}
