//! The supervisor on a terminal, in its foreground, in its background, and after its end.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::common::pty::Pty;
use crate::common::{Need, Scene, missing, process, second_run, tools};
use crate::stop::recorded;

/// The terminal signals its foreground group, in which no program is.
#[test]
fn m59_control_c_reaches_the_programs_once_and_as_a_stop() {
    let terminal = Pty::open();
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1h"});
    scene.add_with(
        "p",
        "fork { record member TERM INT } ; record program TERM INT",
        keys,
    );
    let mut command = scene.command();
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_lines("program", 1);
    scene.wait_lines("member", 1);
    terminal.keys("\x03");
    scene.wait_lines("program", 2);
    scene.wait_lines("member", 2);
    // A second one that comes earlier is the same request, and later it kills.
    std::thread::sleep(Duration::from_millis(250));
    terminal.keys("\x03");
    assert_eq!(supervisor.wait_exit(), 0);
    for file in ["program", "member"] {
        assert_eq!(recorded(&scene, file), [libc::SIGTERM], "{file}");
    }
    terminal.wait_screen("stopped code=0");
}

#[test]
fn m60_a_program_that_wants_the_terminal_is_not_frozen() {
    let terminal = Pty::open();
    terminal.stop_background_writers();
    let mut scene = Scene::new();
    scene.add("p", "slurp input ; say x 1 ; say y 2 ; pid up ; hold");
    let mut command = scene.command();
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    // It gets there only if it read an end of file, and wrote.
    let program = scene.wait_pid("up");
    assert_ne!(process::stat(program).map(|stat| stat.state), Some('T'));
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(scene.log("p"), b"y");
}

/// In the background of a terminal on which that is forbidden, it writes all the same, and is
/// not stopped.
#[test]
fn m61_its_own_messages_do_not_stop_it_in_the_background() {
    if second_run::is_pid1() {
        return tools::skip("a shell with job control puts it into the background");
    }
    let terminal = Pty::open();
    terminal.stop_background_writers();
    let mut scene = Scene::new();
    scene.add("p", "pid up ; hold");
    let mut command = scene.wrapped(&["sh", "-mc", "\"$@\" & wait $!", "sh"]);
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    supervisor.look_behind_wrapper();
    scene.wait_pid("up");
    let group = process::stat(supervisor.pid()).expect("it runs");
    assert_ne!(
        group.pgid, group.sid,
        "no point: it is not in the background"
    );
    supervisor.signal(libc::SIGUSR1);
    terminal.wait_screen("p running");
    assert_ne!(
        process::stat(supervisor.pid()).map(|stat| stat.state),
        Some('T')
    );
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}

/// Its SIGHUP is that of the kernel: neither an end nor a stop, and no reload either.
#[test]
fn m62_supervision_outlives_its_terminal() {
    if missing(&[Need::Root]) {
        return;
    }
    let terminal = Pty::open();
    let mut scene = Scene::new();
    let backoff = json!({"backoff": {"initial": "50ms", "max": "50ms"}});
    scene.add_with("crasher", "append runs x\\n ; exit 1", backoff);
    scene.add("p", "record program TERM HUP");
    let mut command = scene.command();
    terminal.hold(&mut command);
    // Where its end would be told of that of stderr, which is no report.
    command.stdout(Stdio::null());
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_lines("program", 1);
    scene.remove("crasher");
    scene.write("procsched.json", scene.config());
    terminal.hang_up();
    let runs = scene.lines("runs").len();
    scene.wait_lines("runs", runs + 5);
    assert_eq!(recorded(&scene, "program"), [0; 0]);
    assert!(supervisor.is_running(), "it did not outlive its terminal");
    // The program obeys nobody; a second signal kills.
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("program", 2);
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}

/// The contract stands: every disposition is the default, SIGHUP's too.
#[test]
fn m26_under_nohup_the_supervisor_is_protected_and_programs_are_as_ever() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; record program HUP TERM");
    let mut command = scene.command();
    // SAFETY: a disposition that is valid for this signal.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut supervisor = scene.launch(command);
    let dump = scene.wait_dump("dump");
    assert_eq!(dump["status"]["SigIgn"], "0000000000000000");
    scene.wait_lines("program", 1);
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["reload  = 1 unchanged"]);
    assert_eq!(recorded(&scene, "program"), [0; 0]);
    process::signal(supervisor.wait_started("p", 1), libc::SIGHUP);
    scene.wait_lines("program", 2);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("program", 3);
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0);
}
