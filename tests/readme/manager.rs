//! A systemd of the test's own: PID 1 of a namespace, with a cgroup, a `/run` and units of its own.
//! Its programs are those of the machine, and so is the rest of its root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::scene::{self, Scene};
use crate::common::{second_run, wait_until};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Names a directory into which the packages of another systemd were unpacked.
const UNPACKED: &str = "PROCSCHED_TEST_SYSTEMD";

/// Places the test's files where the unit expects them, and becomes systemd. `/usr/local/bin` has
/// the binary alone, `app` is a user, and the settings of the kernel, which systemd raises, stay.
/// The journal is there before, as if it had been started in an initramfs.
const BOOT: &str = r#"
set -eu
place=$1 binary=$2
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for directory in /run /var/log /usr/local/bin; do
    mount -t tmpfs -o mode=755 tmpfs "$directory"
done
cp -L "$binary" /usr/local/bin/procsched-min
for file in passwd group; do
    mount --bind "$place/$file" "/etc/$file"
done
mkdir -p /run/systemd/journal
/usr/lib/systemd/systemd-journald &
export container=procsched-test SYSTEMD_UNIT_PATH="$place/units"
export SYSTEMD_GENERATOR_PATH="$place/none" SYSTEMD_ENVIRONMENT_GENERATOR_PATH="$place/none"
exec env LD_LIBRARY_PATH="$LIBRARIES" "$SYSTEMD" --system --unit=idle.target --log-target=console --show-status=no
"#;

/// Targets that a service refers to.
const TARGETS: [&str; 6] = [
    "basic",
    "idle",
    "multi-user",
    "network",
    "shutdown",
    "sysinit",
];

/// A systemd that can be run.
pub struct Systemd {
    program: PathBuf,
    /// Where its libraries are, if they are not the machine's.
    libraries: OsString,
}

impl Systemd {
    /// The machine's own.
    pub fn of_machine() -> Self {
        Self {
            program: SYSTEMD.into(),
            libraries: OsString::new(),
        }
    }

    /// One of this version or a newer one: the machine's own, or that which was unpacked.
    pub fn at_least(version: u32) -> Option<Self> {
        let unpacked = std::env::var_os(UNPACKED).map(PathBuf::from);
        let unpacked = unpacked.map(|root| Self::unpacked(&root));
        let mut all = [Self::of_machine()].into_iter().chain(unpacked);
        all.find(|systemd| systemd.version() >= Some(version))
    }

    fn unpacked(root: &Path) -> Self {
        // Those of an architecture are in a directory of their own.
        let entries = std::fs::read_dir(root.join("usr/lib"))
            .into_iter()
            .flatten();
        let libraries = entries.flatten().map(|entry| entry.path());
        let libraries = libraries.flat_map(|lib| [lib.join("systemd"), lib]);
        Self {
            program: root.join("lib/systemd/systemd"),
            libraries: std::env::join_paths(libraries).expect("plain paths"),
        }
    }

    fn version(&self) -> Option<u32> {
        let mut command = Command::new(&self.program);
        command.arg("--version");
        if !self.libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        let said = String::from_utf8(command.output().ok()?.stdout).ok()?;
        said.split_whitespace().nth(1)?.parse().ok()
    }
}

/// A running systemd; it and all that it has started end with this.
pub struct Manager {
    child: Child,
    /// The process that is PID 1 inside.
    pid: i32,
    cgroup: PathBuf,
}

/// Returns where a cgroup of version 2 can be made for a systemd, if there is one.
pub fn cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mut places = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
    let place = PathBuf::from(places.next()?[1]);
    let is_there = Path::new(SYSTEMD).exists();
    // Several tests may ask at a time.
    let thread = std::thread::current().id();
    let probe = place.join(format!("procsched-probe-{}-{thread:?}", std::process::id()));
    let is_writable = is_there && std::fs::create_dir(&probe).is_ok();
    (is_writable && std::fs::remove_dir(&probe).is_ok()).then_some(place)
}

impl Manager {
    /// Starts one in the directory of a scene, with this unit.
    #[track_caller]
    pub fn start(systemd: &Systemd, scene: &Scene, cgroups: &Path, name: &str, unit: &str) -> Self {
        scene.chmod("", 0o755);
        scene.mkdir("units");
        for target in TARGETS {
            let text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
            scene.write(format!("units/{target}.target"), text);
        }
        scene.write(format!("units/{name}"), unit);
        for (file, line) in [
            ("passwd", "app:x:4711:4711::/:/bin/false"),
            ("group", "app:x:4711:"),
        ] {
            let known = std::fs::read_to_string(format!("/etc/{file}")).expect("users and groups");
            scene.write(file, format!("{known}{line}\n"));
        }
        let cgroup = cgroups.join(format!("procsched-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&cgroup).expect("a cgroup");
        let enter = "echo 0 >\"$0/cgroup.procs\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-euc", enter])
            .arg(&cgroup)
            .args([
                "unshare", "--cgroup", "--mount", "--pid", "--ipc", "--uts", "--fork",
            ])
            .args(["--kill-child", "sh", "-c", BOOT, "sh"])
            .arg(scene.directory())
            .arg(second_run::binary())
            .env("SYSTEMD", &systemd.program)
            .env("LIBRARIES", &systemd.libraries)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = scene::spawn(&mut command).expect("a shell");
        let mut manager = Self {
            child,
            pid: 0,
            cgroup,
        };
        manager.pid = wait_until("systemd", || manager.find());
        wait_until("systemd to be ready", || {
            let (_, out, _) = manager.systemctl(&["is-system-running"]);
            (out.trim() == "running").then_some(())
        });
        manager
    }

    /// Returns the child of `unshare` once it is systemd.
    fn find(&self) -> Option<i32> {
        let parent = i32::try_from(self.child.id()).ok()?;
        let children = crate::common::process::children(parent);
        let is_it = |pid: &i32| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program.ends_with("systemd/systemd"))
        };
        children.into_iter().find(is_it)
    }

    /// Runs a command inside: whether it was fine, and its outputs.
    pub fn run(&self, words: &[&str]) -> (bool, String, String) {
        let pid = self.pid.to_string();
        let mut command = Command::new("timeout");
        command.args(["60", "nsenter", "-m", "-p", "-C", "-t", &pid]);
        let output = command.args(words).stdin(Stdio::null()).output();
        let output = output.expect("a command in the namespace");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let is_fine = output.status.success();
        (is_fine, text(&output.stdout), text(&output.stderr))
    }

    pub fn systemctl(&self, words: &[&str]) -> (bool, String, String) {
        self.run(&[&["systemctl"], words].concat())
    }

    /// Runs `systemctl`, which has to be fine.
    #[track_caller]
    pub fn order(&self, words: &[&str]) {
        let (is_fine, out, err) = self.systemctl(words);
        assert!(is_fine, "systemctl {words:?}: {out}{err}");
    }

    /// Returns a property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let (_, out, _) = self.systemctl(&["show", "--value", "-p", property, unit]);
        out.trim().to_owned()
    }

    /// Waits for a value of a property.
    #[track_caller]
    pub fn wait(&self, unit: &str, property: &str, value: &str) {
        let mut last = String::new();
        let mut holds = || {
            last = self.property(unit, property);
            last == value
        };
        let what = format!("{property} of {unit} to be {value:?}");
        wait_until(&what, || holds().then_some(()));
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // PID 1 dies with it, and with that all that is inside.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut remove = Command::new("find");
        remove.arg(&self.cgroup);
        remove.args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
        remove.stderr(Stdio::null());
        // A cgroup is empty only once the last process in it was reaped.
        let is_gone = || {
            let _ = remove.status();
            !self.cgroup.exists()
        };
        crate::common::wait_for("the cgroup to be empty", is_gone);
    }
}
