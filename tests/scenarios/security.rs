//! Programs that mean harm: to the supervisor, to each other, to whoever is near.

use std::os::unix::fs::symlink;

use nix::sys::resource::Resource;
use serde_json::{Value, json};

use crate::command_line::{run, run_in};
use crate::common::levers::Helper;
use crate::common::{
    Need, Pattern, Scene, Supervisor, alive, missing, process, second_run, wait_for,
};
use crate::stderr_pipe::spewed;

/// The first of three users that are nobody's, each with the processes of one test alone.
const USER: u32 = 64_323;

/// Two more, whose programs are started as theirs.
const LOUD: u32 = 64_338;
const QUIET: u32 = 64_339;
/// Not one that another test has.
const TWIN: u32 = 64_348;

fn quick() -> Value {
    json!({"backoff": {"initial": "5ms", "max": "5ms"}})
}

/// Everything that a bystander may be sent by mistake.
const RECORDED: &str = "HUP INT QUIT USR1 USR2 TERM CONT";

const CALM_BYTES: usize = 300_000;

/// Two neighbours who only want to work: one writes, one writes down what it is sent.
fn add_neighbours(scene: &mut Scene) {
    scene.add(
        "calm",
        &format!("spew {CALM_BYTES} lines ; touch said ; hold"),
    );
    let keys = json!({"stop_timeout": "100ms"});
    scene.add_with("target", &format!("record signals {RECORDED}"), keys);
}

/// They were started once, were sent nothing, and not a byte of theirs is missing.
#[track_caller]
fn assert_unharmed(scene: &Scene, supervisor: &Supervisor) {
    scene.wait_file("said");
    for name in ["calm", "target"] {
        // It may be quicker to work than its start is told.
        supervisor.wait_started(name, 1);
        let started = supervisor.started(name);
        assert_eq!(started.len(), 1, "{name}: {}", supervisor.said());
        assert!(alive(started[0]), "{name}: {}", supervisor.said());
    }
    assert_eq!(
        scene.lines("signals"),
        ["ready"],
        "a neighbour was signalled"
    );
    let expected = spewed(Pattern::Lines, CALM_BYTES);
    wait_for("the log of a neighbour", || {
        scene.log("calm").len() >= CALM_BYTES
    });
    assert!(
        scene.log("calm") == expected,
        "the log of a neighbour is not whole"
    );
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait("an answer", || {
        let lines = supervisor.messages_with(&["calm", "running"]);
        !lines.is_empty()
    });
}

/// A process near the supervisor that is none of its own.
fn bystander(scene: &Scene) -> Helper {
    let helper = Helper::probe(scene, &format!("record bystander {RECORDED}"));
    scene.wait_file("bystander");
    helper
}

/// It takes bytes out of its own pipe, makes that one page, packets and not blocking: the words
/// are its own, and so is the loss. The next run has a pipe of its own.
#[test]
fn a_program_that_reads_its_own_pipe_harms_nobody_else() {
    let mut scene = Scene::new();
    add_neighbours(&mut scene);
    let script = "once thief { steal 2000000 ; touch stolen ; hold } ; spew 200000 flat ; hold";
    let mut keys = quick();
    // The last report fits into a pipe: beside storms of forks nobody may read for a second.
    keys["report_bytes"] = json!(16384);
    scene.add_with("thief", script, keys);
    let supervisor = scene.start();
    scene.wait_file("stolen");
    assert_unharmed(&scene, &supervisor);
    // The pipe is empty, has two readers, and is no reason to wake up.
    let ticks = || process::stat(supervisor.pid()).expect("it runs").ticks;
    wait_for("a supervisor that rests", || {
        let before = ticks();
        std::thread::sleep(std::time::Duration::from_millis(200));
        ticks() <= before + 1
    });
    process::signal(supervisor.wait_started("thief", 1), libc::SIGKILL);
    supervisor.wait_started("thief", 2);
    let expected = spewed(Pattern::Flat, 200_000);
    wait_for("the words of the next run", || {
        scene.log("thief").ends_with(&expected)
    });
    supervisor.end();
}

/// Storms of processes that change group and session at random, close everything, die at once;
/// an endless flood; a program that ends at once for ever; one that empties and locks logs.
#[test]
fn programs_without_manners_harm_nobody_else() {
    let mut scene = Scene::new();
    add_neighbours(&mut scene);
    let none = json!({"backoff": {"initial": 0, "max": 0}, "report_bytes": 0});
    scene.add_with("chaos", "append chaos x\\n ; chaos", none.clone());
    scene.add_with("nothing", "exit 1", none);
    scene.add_with(
        "flood",
        "say begin\\n ; repeat 400 { spew 65536 binary } ; touch flooded ; hold",
        quick(),
    );
    scene.add_with(
        "escapes",
        "forever { say \\x1b]0;x\\x07\\x1b[2J ; sleep 1 }",
        quick(),
    );
    let (own, other) = ("logs/locks.stderr.log", "logs/calm.stderr.log");
    scene.add(
        "locks",
        &format!("say x\\n ; lock {own} locks ; lock {other} locks ; hold"),
    );
    let bystander = bystander(&scene);
    let mut supervisor = scene.start();
    supervisor.wait("400 ends of nothing", || {
        supervisor.reports_of("nothing").len() >= 400
    });
    scene.wait_lines("chaos", 20);
    scene.wait_file("flooded");
    assert_eq!(
        scene.wait_lines("locks", 2),
        ["false", "false"],
        "both are the supervisor's"
    );
    assert_unharmed(&scene, &supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(scene.lines("bystander"), ["ready"]);
    assert!(alive(bystander.pid()));
    let codes = |name: &str| {
        supervisor
            .reports_of(name)
            .iter()
            .map(|report| report.code())
            .max()
    };
    assert_eq!(codes("nothing"), Some(1));
}

/// Signals, traces, limits and looks are refused among programs of different users, and to the
/// supervisor: to one that was started as another user, and to one that has become one.
#[test]
fn programs_of_different_users_may_do_nothing_to_each_other() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o777);
    add_neighbours(&mut scene);
    let of = |user: u32| json!({"user": user, "group": user});
    scene.add_with("quiet", "pid quiet ; hold", of(QUIET));
    let attack = "attack quiet started ; attack-parent started ; kill-user ; exit 3";
    let mut keys = of(LOUD);
    keys["restart"] = json!("never");
    scene.add_with("started", attack, keys);
    let attack = "attack quiet became ; attack-parent became ; hold";
    scene.add("became", &format!("become {USER} ; {attack}"));
    // What is refused to others is not refused to all.
    scene.add_with("twin", "pid twin ; hold", of(TWIN));
    let mut once = of(TWIN);
    once["restart"] = json!("never");
    scene.add_with("brother", "attack twin brother.done ; exit 0", once);
    let supervisor = scene.start();
    let done = scene.wait_lines("brother.done", 1);
    // In an empty root there is no /proc to read it in.
    let environ = (!second_run::is_pid1()).then_some("environ");
    for what in ["prlimit", "kill", "killpg"].into_iter().chain(environ) {
        assert!(done[0].contains(&format!("{what:?}")), "{what}: {done:?}");
    }
    let quiet = scene.wait_pid("quiet");
    let others = [quiet, supervisor.inner_pid()];
    for file in ["started", "became"] {
        let nothing = others.map(|pid| format!("to {pid}: []"));
        assert_eq!(scene.wait_lines(file, 2), nothing, "{file}");
    }
    // It has killed what is its own, and that is itself at most.
    supervisor.wait_report("started", 1);
    assert_eq!(supervisor.wait_started("quiet", 1), quiet);
    let runs = supervisor.started("quiet").len();
    assert_eq!(runs, 1, "{}", supervisor.said());
    assert_unharmed(&scene, &supervisor);
    assert_eq!(
        supervisor.messages_with(&["reserved"]),
        [""; 0],
        "a signal came through"
    );
    supervisor.end();
}

/// With a hundred, every other test on two cores once waited for a minute.
const BOMB_PROCESSES: usize = 30;

/// A program that forks without end, as a user of its own whose processes are limited in number
/// (RLIMIT_NPROC); without that the machine is lost, supervised or not.
struct Bomb {
    scene: Scene,
    user: u32,
}

impl Bomb {
    fn new(how: &str, user: u32) -> Self {
        let mut scene = Scene::new();
        scene.chmod("", 0o777);
        add_neighbours(&mut scene);
        let processes = BOMB_PROCESSES as u64;
        scene
            .setting
            .limit(Resource::RLIMIT_NPROC, processes, processes);
        let script = format!("ignore TERM ; become {user} ; touch bomb ; bomb {how}");
        scene.add_with("bomb", &script, json!({"stop_timeout": "200ms"}));
        Self { scene, user }
    }

    /// Starts it, and waits until there are as many processes as may be.
    fn start(&self) -> Supervisor {
        let supervisor = self.scene.start();
        self.scene.wait_file("bomb");
        wait_for("its processes", || self.count() >= BOMB_PROCESSES - 4);
        assert_unharmed(&self.scene, &supervisor);
        supervisor
    }

    /// How many processes the user has, dead ones left out.
    fn count(&self) -> usize {
        let is_its = |pid: &&i32| {
            process::status_number(**pid, "Uid") == Some(self.user.into()) && alive(**pid)
        };
        process::all("/proc").iter().filter(is_its).count()
    }
}

#[test]
fn a_program_that_forks_without_end_is_ended_with_all_that_it_made() {
    if missing(&[Need::Root]) {
        return;
    }
    let bomb = Bomb::new("staying", USER + 1);
    bomb.start().end();
    assert_eq!(bomb.count(), 0);
}

/// Each of them has a session of its own, so that no signal reaches two, and whoever is killed
/// sends others home. Nothing but the end of a PID namespace is faster than that: so the stop ends
/// in time, and says that it has left somebody behind. PID 1 reaches all of them at once.
#[test]
fn a_stop_ends_although_forks_leave_their_group_without_end() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut bomb = Bomb::new("leaving", USER + 2);
    bomb.scene.set("defaults", json!({"stop_timeout": "200ms"}));
    let mut supervisor = bomb.start();
    supervisor.spare_all();
    let code = supervisor.stop();
    let _end = Helper::probe(&bomb.scene, &format!("become {} ; kill-user", bomb.user));
    let abandoned = supervisor.messages_with(&["abandoned"]).len();
    let is_told = [(0, false), (1, true)].contains(&(code, abandoned > 0));
    let is_told = is_told && (code == 0 || !second_run::is_pid1());
    assert!(is_told, "{code}: {}", supervisor.said());
    wait_for("the end of the forks", || bomb.count() == 0);
}

/// What `check` says of this scene.
fn checked(scene: &Scene) -> (Option<i32>, String) {
    let said = run(scene, &["check"]);
    (said.code, said.err)
}

/// What somebody did to a scene.
type Change = fn(&Scene);

fn give(scene: &Scene, name: &str) {
    std::os::unix::fs::chown(scene.path(name), Some(USER), None).expect("root may chown");
}

fn give_to_group(scene: &Scene, name: &str, mode: u32) {
    std::os::unix::fs::chown(scene.path(name), None, Some(USER)).expect("root may chown");
    scene.chmod(name, mode);
}

/// What was changed, and which key is warned of then, if any is.
const CHANGES: [(&str, Change, &str); 15] = [
    ("nothing", |_| (), ""),
    ("a sticky directory", |scene| scene.chmod("bin", 0o1777), ""),
    (
        "the file",
        |scene| give(scene, "bin/tool"),
        "programs.p.command",
    ),
    (
        "its mode",
        |scene| scene.chmod("bin/tool", 0o757),
        "programs.p.command",
    ),
    (
        "its directory",
        |scene| give(scene, "bin"),
        "programs.p.command",
    ),
    (
        "the mode of that",
        |scene| scene.chmod("bin", 0o777),
        "programs.p.command",
    ),
    (
        "the handler",
        |scene| give(scene, "handler"),
        "error_handler",
    ),
    (
        "the config",
        |scene| scene.chmod("procsched.json", 0o666),
        ": programs: ",
    ),
    ("the logs", |scene| give(scene, "logs"), "err_dir"),
    (
        "its variables",
        |scene| give(scene, "app.env"),
        "programs.p.env_file",
    ),
    (
        "what it reads",
        |scene| scene.chmod("in/text", 0o666),
        "programs.p.stdin",
    ),
    (
        "the directory of that",
        |scene| give(scene, "in"),
        "programs.p.stdin",
    ),
    (
        "a group",
        |scene| give_to_group(scene, "bin", 0o775),
        "programs.p.command",
    ),
    (
        "a group that may not write",
        |scene| give_to_group(scene, "bin", 0o755),
        "",
    ),
    ("root's group", |scene| scene.chmod("bin", 0o775), ""),
];

/// sudo, cron and sshd read nothing that others can write, and execute nothing. A supervisor
/// that root runs is the same door; since in containers such owners are common, it is said by
/// `check` and refused by nobody.
#[test]
fn a_check_by_root_warns_of_what_others_can_change() {
    if missing(&[Need::Root]) {
        return;
    }
    for (what, change, key) in CHANGES {
        let mut scene = Scene::new();
        let _ = ["bin", "in", "logs"].map(|name| scene.mkdir(name));
        scene.copy_probe("bin/tool");
        scene.copy_probe("handler");
        scene.write("app.env", "A=1\n");
        scene.write("in/text", "text");
        scene.set("error_handler", json!(["./handler"]));
        let keys = json!({"command": ["bin/tool"], "env_file": "app.env", "stdin": "in/text"});
        scene.add_raw("p", keys);
        scene.write("procsched.json", scene.config());
        change(&scene);
        let (code, said) = checked(&scene);
        if key.is_empty() {
            assert_eq!((code, &*said), (Some(0), ""), "{what}");
        } else {
            assert_eq!((code, said.lines().count()), (Some(1), 1), "{what}: {said}");
            let is_told = said.contains(key) && said.contains("others than root can change");
            assert!(is_told, "{what}: {said}");
        }
    }
}

/// Neither the way that is named nor the one that it leads to may be open to others.
#[test]
fn a_check_by_root_looks_at_both_sides_of_a_symlink() {
    if missing(&[Need::Root]) {
        return;
    }
    for (link, file) in [("open", "kept"), ("kept", "open")] {
        let mut scene = Scene::new();
        let _ = ["open", "kept"].map(|name| scene.mkdir(name));
        scene.chmod("open", 0o777);
        let tool = scene.copy_probe(&format!("{file}/tool"));
        symlink(tool, scene.path(format!("{link}/link"))).expect("a symlink");
        scene.add_raw("p", json!([format!("{link}/link")]));
        scene.write("procsched.json", scene.config());
        let (code, said) = checked(&scene);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("mode 777"), "{said}");
    }
}

/// A config that was named without a directory had none to look at: whoever may write to the one
/// that the command is given in can put another file, or link, into its place.
#[test]
fn a_check_by_root_looks_at_the_directory_of_a_relative_link_that_is_the_config() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    let [here, _] = ["here", "kept"].map(|name| scene.mkdir(name));
    scene.set("base_dir", json!("/"));
    scene.set("err_dir", json!("/no-logs-are-made"));
    scene.add_raw("p", json!(["bin/sh"]));
    scene.write("kept/real.json", scene.config());
    symlink("../kept/real.json", here.join("link.json")).expect("a symlink");
    for (mode, code) in [(0o755, 0), (0o777, 1)] {
        scene.chmod("here", mode);
        for config in ["link.json", "./link.json", "../here/link.json"] {
            let said = run_in(&scene, &here, &["check", config]);
            assert_eq!(said.code, Some(code), "{config}: {}{}", said.out, said.err);
            let is_told = said.err.contains(": programs: others than root can change")
                && said.err.contains("here\" (uid 0, gid 0, mode 777)");
            assert_eq!(is_told, code == 1, "{config}: {}", said.err);
        }
    }
}
