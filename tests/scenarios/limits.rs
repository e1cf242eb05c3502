//! Limits of the system that are too low for the config: what fits runs, what does not is told
//! with the limit, and when there is room again it is found.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::Resource;
use serde_json::json;

use crate::common::levers::{Gate, Helper};
use crate::common::scene::spawn;
use crate::common::setting::Setting;
use crate::common::{
    Need, Pattern, Scene, Supervisor, missing, namespace, process, second_run, tools, wait_for,
};

/// A number of a user that is nobody's on any machine of these tests; each test that counts
/// processes of a user has one of its own.
const USER: u32 = 64_330;

/// A scene whose supervisor may not raise a hard limit.
fn scene_of(user: u32) -> Option<Scene> {
    if missing(&[Need::Root]) {
        return None;
    }
    let mut scene = Scene::new();
    scene.setting.user(user);
    scene.chmod("", 0o777);
    Some(scene)
}

fn name(index: usize) -> String {
    format!("p{index:02}")
}

fn add_many(scene: &mut Scene, count: usize, script: &str) {
    for index in 0..count {
        let keys = json!({"backoff": {"initial": "100ms", "max": "100ms"}});
        scene.add_with(&name(index), script, keys);
    }
}

fn running(supervisor: &Supervisor, count: usize) -> usize {
    let is_up = |index: &usize| !supervisor.started(&name(*index)).is_empty();
    (0..count).filter(is_up).count()
}

/// The descriptors of its logs that it has open.
fn open_logs(supervisor: &Supervisor) -> usize {
    let kinds = process::descriptor_kinds(supervisor.pid());
    let is_log = |kind: &&String| kind.ends_with(".stderr.log");
    kinds.iter().filter(is_log).count()
}

/// Sets its soft limit, as its own user may; `limit` is a word for prlimit(1).
fn set_limit(supervisor: &Supervisor, user: u32, limit: &str) {
    let pid = namespace::outer(supervisor.pid()).expect("it runs");
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), limit]);
    let mut same = Setting::default();
    // The one more process of that user must not be what is too many.
    same.limit(Resource::RLIMIT_NPROC, 1000, 1000);
    same.user(user);
    same.apply(&mut command, false);
    let status = spawn(&mut command).and_then(|mut child| child.wait());
    assert!(status.expect("prlimit runs").success());
}

/// Even where not all programs fit, the logs of the first are open and locked: a second supervisor
/// with the same config is refused.
#[test]
fn a_second_supervisor_is_refused_where_logs_do_not_fit_too() {
    if second_run::is_pid1() {
        return tools::skip("two supervisors of one scene, each PID 1 of a place of its own");
    }
    let Some(mut scene) = scene_of(USER) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NOFILE, 60, 60);
    add_many(&mut scene, 40, "hold");
    let first = scene.start();
    first.wait_message(&["RLIMIT_NOFILE=60 is too low", "of 40 programs cannot start"]);
    wait_for("the first programs", || running(&first, 40) > 10);
    let mut second = scene.start();
    assert_eq!(second.wait_exit(), 1);
    let said = second.messages_with(&["another supervisor is writing to it"]);
    assert_eq!(said.len(), 1, "{}", second.said());
    assert_eq!(second.report_count(), 0);
    first.end();
}

/// The number in this text that follows on these words.
fn number(text: &str, after: &str) -> u64 {
    let rest = text.split(after).nth(1).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// One line says at the start what does not fit and how to raise it; each program that cannot
/// be started is told with the limit, its value, and the value needed; and nothing spins.
#[test]
fn too_few_descriptors_are_told_as_a_whole_and_one_by_one() {
    const COUNT: usize = 60;
    let Some(mut scene) = scene_of(USER) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NOFILE, 50, 50);
    add_many(&mut scene, COUNT, "append up x\\n ; hold");
    let mut supervisor = scene.start();
    let told = supervisor.wait_message(&["RLIMIT_NOFILE=50 is too low", "of 60 programs", "need "]);
    assert!(told.contains("LimitNOFILE="), "{told}");
    let failed = supervisor.wait_reports(1).swap_remove(0);
    assert_eq!(failed.code(), 125, "{failed:?}");
    let error = failed.error();
    let needed = number(error, "RLIMIT_NOFILE is 50, and ");
    assert_eq!(needed, number(&told, "cannot start; need "));
    // Those that cannot be started are tried ten times a second: that is no spin.
    let ticks = || process::stat(supervisor.pid()).expect("it runs").ticks;
    let (before, reports) = (ticks(), supervisor.report_count());
    supervisor.wait_reports(reports + 100);
    let spent = ticks() - before;
    assert!(spent < 50, "{spent} ticks for 100 failed starts");
    let up = running(&supervisor, COUNT);
    assert!(
        (10..25).contains(&up),
        "{up} programs run with 50 descriptors"
    );
    assert_eq!(supervisor.stop(), 0);

    // It said how many have no room, give or take those descriptors that come and go.
    let left_out = number(&told, "is too low: about ");
    let expected = u64::try_from(COUNT - up).expect("a few");
    assert!(
        left_out.abs_diff(expected) <= 3,
        "{up} run, and it said {told}"
    );
}

/// The number that a program asks for may be more than it may have.
#[test]
fn a_number_above_the_limit_is_told_as_such() {
    let Some(mut scene) = scene_of(USER) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NOFILE, 60, 60);
    let keys = json!({"ready": {"fd": 63}, "restart": "never"});
    scene.add_with("high", "hold", keys).add("other", "hold");
    let supervisor = scene.start();
    let failed = supervisor.wait_report("high", 1);
    let why = "failed to pass descriptor 63: RLIMIT_NOFILE has to be above it";
    assert!(failed.error().starts_with(why), "{failed:?}");
    assert_eq!(failed.code(), 125);
    supervisor.end();
}

/// The last descriptors are for a look into `/proc` and the like: no program has them for its
/// readiness. A program takes three, and of as many limits in a row one would let it.
#[test]
fn no_socket_takes_the_last_descriptors() {
    const COUNT: usize = 30;
    const LEFT_MIN: i32 = 4;
    for limit in [48, 49, 50] {
        let Some(mut scene) = scene_of(USER) else {
            return;
        };
        scene.setting.limit(Resource::RLIMIT_NOFILE, limit, limit);
        for index in 0..COUNT {
            let keys = json!({"ready": "notify", "restart": "never"});
            scene.add_with(&name(index), "hold", keys);
        }
        let mut supervisor = scene.start();
        wait_for("an answer of each", || {
            running(&supervisor, COUNT) + supervisor.reports().len() >= COUNT
        });
        for report in supervisor.reports() {
            let why = format!("RLIMIT_NOFILE is {limit}, and ");
            assert!(report.error().contains(&why), "{report:?}");
        }
        let open = process::descriptors(supervisor.pid());
        let sockets = open.iter().filter(|(_, what)| what.starts_with("socket:"));
        let last = sockets.map(|(number, _)| *number).max().expect("sockets");
        let limit = i32::try_from(limit).expect("a few");
        assert!((limit - 10..limit - LEFT_MIN).contains(&last), "{open:?}");
        assert_eq!(supervisor.stop(), 0);
    }
}

/// A supervisor of so many programs that has no descriptors but its own and so many may be open:
/// one that was inherited would be one less.
fn start_alone(count: usize, limit: u64) -> Option<(Scene, Supervisor)> {
    let mut scene = scene_of(USER)?;
    scene.setting.limit(Resource::RLIMIT_NOFILE, limit, limit);
    add_many(&mut scene, count, "hold");
    let mut command = scene.command();
    let close_others = || {
        for fd in 3..1024 {
            // SAFETY: plain numbers, which need not be open.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: system calls with plain numbers; nothing is allocated.
    unsafe { command.pre_exec(close_others) };
    let supervisor = scene.launch(command);
    Some((scene, supervisor))
}

/// More was said to be needed than was: what is to spare.
#[test]
fn what_is_said_to_be_needed_is_enough_and_one_less_is_not() {
    for (count, too_low) in [(60, 50), (2, 12), (1, 12)] {
        let Some((_scene, mut supervisor)) = start_alone(count, too_low) else {
            return;
        };
        let start = |limit| start_alone(count, limit).expect("root, as a moment ago");
        let told = supervisor.wait_message(&["RLIMIT_NOFILE=", "is too low"]);
        assert_eq!(supervisor.stop(), 0);
        let needed = number(&told, "cannot start; need ");

        let (_scene, mut supervisor) = start(needed - 1);
        supervisor.wait_message(&[&format!("about 1 of {count} programs cannot start")]);
        supervisor.wait_message(&["failed", &format!("and {needed} are needed")]);
        assert_eq!(supervisor.stop(), 0);

        let (_scene, mut supervisor) = start(needed);
        wait_for("all programs", || running(&supervisor, count) == count);
        assert_eq!(supervisor.messages_with(&["RLIMIT_NOFILE"]), [""; 0]);
        assert_eq!(open_logs(&supervisor), count);
        assert_eq!(supervisor.stop(), 0);
    }
}

/// A limit that is lowered while all run hurts who is started then, and is forgotten when it
/// is raised again.
#[test]
fn a_limit_that_comes_back_is_noticed_with_the_next_backoff() {
    const COUNT: usize = 60;
    let user = USER + 2;
    let Some(mut scene) = scene_of(user) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NOFILE, 200, 200);
    let mut gate = Gate::new(&scene, "gate");
    scene.chmod("gate", 0o666);
    add_many(&mut scene, COUNT - 1, "gate gate ; say words\\n ; hold");
    // Without a delay it is not looked first for what has left its group.
    let at_once = json!({"backoff": {"initial": 0, "max": 0}});
    scene.add_with(&name(COUNT - 1), "hold", at_once);
    let mut supervisor = scene.start();
    wait_for("all programs", || running(&supervisor, COUNT) == COUNT);
    set_limit(&supervisor, user, "--nofile=5:200");
    let last = name(COUNT - 1);
    process::signal(supervisor.started(&last)[0], libc::SIGKILL);
    let failed = supervisor.wait_report(&last, 2);
    assert!(
        failed.error().contains("RLIMIT_NOFILE is 5, and "),
        "{failed:?}"
    );
    // Nobody who runs has lost its log to that.
    gate.open();
    wait_for("the words of all others", || {
        (0..COUNT - 1).all(|index| scene.log(&name(index)) == b"words\n")
    });
    set_limit(&supervisor, user, "--nofile=200:200");
    supervisor.wait_started(&last, 2);
    assert_eq!(supervisor.stop(), 0);
}

/// As many processes as a user may have; the others are told why not.
#[test]
fn m4_too_few_processes_are_told_with_the_limit_and_noticed_when_they_come() {
    const COUNT: usize = 20;
    let user = USER + 1;
    let Some(mut scene) = scene_of(user) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NPROC, 10, 100);
    add_many(&mut scene, COUNT, "append up x\\n ; hold");
    let mut supervisor = scene.start();
    let failed = supervisor.wait_reports(1).swap_remove(0);
    assert_eq!(failed.code(), 125, "{failed:?}");
    let error = failed.error();
    assert!(error.starts_with("failed to create a process: "), "{error}");
    let limit = format!("RLIMIT_NPROC is 10 for uid {user}, and at least 21 are needed");
    assert!(error.ends_with(&limit), "{error}");
    wait_for("some programs", || running(&supervisor, COUNT) > 0);
    let up = running(&supervisor, COUNT);
    assert!(up < 10, "{up} programs run");
    set_limit(&supervisor, user, "--nproc=100:100");
    wait_for("all programs", || running(&supervisor, COUNT) == COUNT);
    scene.wait_lines("up", COUNT);
    assert_eq!(supervisor.stop(), 0);
}

/// A cgroup of this test's own for so many processes, in whichever hierarchy there is.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(processes: u32) -> Option<Self> {
        let name = format!("procsched-test-{}", std::process::id());
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let group = places.iter().find_map(|place| {
            let group = Path::new(place).join(&name);
            std::fs::create_dir(&group).ok()?;
            let group = Self(group);
            let limited = std::fs::write(group.0.join("pids.max"), processes.to_string());
            limited.is_ok().then_some(group)
        });
        if group.is_none() {
            tools::skip("no cgroup with a limit on processes can be made here");
        }
        group
    }

    /// Has a command run in it.
    fn hold(&self, command: &mut Command) {
        let members = File::options()
            .write(true)
            .open(self.0.join("cgroup.procs"));
        let members = members.expect("a list of members");
        let enter = move || match nix::unistd::write(&members, b"0") {
            Ok(_) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        // SAFETY: a write to a descriptor that is open; nothing is allocated.
        unsafe { command.pre_exec(enter) };
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A container had room for a few processes, and the message blamed the system's pid_max, which
/// had room for millions: where cgroups are those of v1 they were not looked at.
#[test]
fn m4_too_few_processes_of_a_cgroup_are_told_with_its_limit() {
    const COUNT: usize = 20;
    if missing(&[Need::Root]) {
        return;
    }
    if second_run::is_pid1() {
        return tools::skip("without /proc nothing tells which cgroup is ours");
    }
    let Some(cgroup) = Cgroup::new(10) else {
        return;
    };
    let mut scene = Scene::new();
    add_many(&mut scene, COUNT, "append up x\\n ; hold");
    let mut command = scene.command();
    cgroup.hold(&mut command);
    let mut supervisor = scene.launch(command);
    let failed = supervisor.wait_reports(1).swap_remove(0);
    assert_eq!(failed.code(), 125, "{failed:?}");
    let error = failed.error();
    assert!(error.starts_with("failed to create a process: "), "{error}");
    let path = cgroup.0.join("pids.max");
    let limit = format!("{path:?} is 10, and at least 21 are needed");
    assert!(error.ends_with(&limit), "{error}");
    std::fs::write(&path, "100").expect("a cgroup");
    wait_for("all programs", || running(&supervisor, COUNT) == COUNT);
    scene.wait_lines("up", COUNT);
    assert_eq!(supervisor.stop(), 0);
}

/// Root may raise the hard limit as well; a program gets back both.
#[test]
fn a_hard_limit_that_is_too_low_is_raised_where_that_is_allowed_and_given_back() {
    if missing(&[Need::Root]) {
        return;
    }
    if !may_raise_limits() {
        // Not even every CI has it, as its machines may be containers.
        return tools::skip("this root may not raise limits (CAP_SYS_RESOURCE)");
    }
    let mut scene = Scene::new();
    scene.setting.limit(Resource::RLIMIT_NOFILE, 40, 50);
    scene.add("dump", "dump dump ; hold");
    add_many(&mut scene, 60, "hold");
    let mut supervisor = scene.start();
    wait_for("all programs", || running(&supervisor, 60) == 60);
    assert_eq!(supervisor.report_count(), 0);
    let dump = scene.wait_dump("dump");
    let limits = dump["limits"]
        .as_str()
        .expect("the text of /proc/self/limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.expect("the limit").split_whitespace().collect();
    assert_eq!(words[3..5], ["40", "50"], "{limits}");
    assert_eq!(supervisor.stop(), 0);
}

fn may_raise_limits() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = u64::from_str_radix(line.expect("capabilities").trim(), 16).expect("a set");
    set >> CAP_SYS_RESOURCE & 1 == 1
}

/// How many bytes a program's pipe takes, as long as nobody reads it.
fn capacity(supervisor: &Supervisor, program: i32) -> i32 {
    let pipe = &process::descriptors(program)[&2];
    let ours = process::descriptors(supervisor.pid());
    let number = ours.iter().find(|(_, target)| *target == pipe);
    let number = number.expect("the other end").0.to_string();
    let path = process::directory(supervisor.pid()).join("fd").join(number);
    let file = File::open(path).expect("root may look");
    // SAFETY: F_GETPIPE_SZ takes no argument.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETPIPE_SZ) }
}

/// A user's pipes beyond the first thousand have room for two pages instead of sixteen, and may
/// not be made larger: what was written before anybody listened, and what a handler of signals
/// wrote, had counted on more. On a busy host, and nowhere else, it hung.
#[test]
fn m23_pipes_with_room_for_two_pages_hold_up_nobody_and_lose_nothing() {
    let user = USER + 3;
    let Some(mut scene) = scene_of(user) else {
        return;
    };
    scene.setting.limit(Resource::RLIMIT_NOFILE, 4096, 4096);
    let mut hoarder = Command::new(tools::probe_path());
    hoarder.arg("pipes 1100 ; touch full ; hold");
    hoarder.current_dir(scene.directory());
    scene.setting.apply(&mut hoarder, false);
    let _hoarder = Helper::start(&mut hoarder);
    scene.wait_file("full");

    scene.add("quiet", "pid quiet ; hold");
    scene.add("talker", "spew 20480 lines ; touch answered ; hold");
    // Small reports, as a slow reader of ours must not be what loses something.
    let at_once = json!({"backoff": {"initial": 0, "max": 0}, "report_bytes": 100});
    let script = "unless done { spew 9000 flat ; exit 3 } ; append held x\\n ; hold";
    for index in 0..20 {
        scene.add_with(&name(index), script, at_once.clone());
    }
    let mut supervisor = scene.start();
    let room = capacity(&supervisor, scene.wait_pid("quiet"));
    assert!(room <= 8192, "no point: a pipe takes {room} bytes");
    scene.wait_file("answered");
    let count = tools::whole(400, 2000);
    supervisor.wait("a storm of deaths", || supervisor.report_count() >= count);
    scene.write("done", "");
    scene.wait_lines("held", 20);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["warning"]), [""; 0]);
    let tail: Vec<u8> = (8900..9000).map(|at| Pattern::Flat.byte(at)).collect();
    let reports = supervisor.reports();
    for report in reports.iter().filter(|report| !report.stopping()) {
        assert_eq!(report.code(), 3, "{report:?}");
        assert_eq!(
            (report.data(), report.count("data_omitted")),
            (tail.clone(), 8900)
        );
        assert_eq!(report.count("log_offset") % 9000, 0, "{report:?}");
    }
    assert_eq!(scene.log("talker").len(), 20_480);
}

/// The plan counts each pipe and each log.
#[test]
fn descriptors_are_planned_for_the_streams_that_are_there() {
    let mut needed = Vec::new();
    for stdout in ["null", "log", "stderr"] {
        let Some(mut scene) = scene_of(USER) else {
            return;
        };
        scene.setting.limit(Resource::RLIMIT_NOFILE, 50, 50);
        scene.set("defaults", json!({"stdout": stdout}));
        add_many(&mut scene, 60, "hold");
        let supervisor = scene.start();
        let told = supervisor.wait_message(&["RLIMIT_NOFILE=50 is too low", "need "]);
        needed.push(number(&told, "cannot start; need "));
        supervisor.end();
    }
    assert_eq!(needed, [needed[0], needed[0] + 2 * 60, needed[0]]);
}
