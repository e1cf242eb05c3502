//! What Docker, the kubelet or a kernel would make of the README's files: a root with nothing in
//! it but what they put there, and the binary as PID 1 of a namespace in it.
//!
//! The binary and the probe are the static ones, where `PROCSCHED_STATIC_BINARY` and
//! `PROCSCHED_STATIC_PROBE` name them. Those that cargo has built need libraries, which are laid
//! beside them; nothing else of this machine is in there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use crate::common::{Scene, Supervisor, scene, second_run, tools};

/// Where the interpreter of the programs' stand-ins is.
const PROBE: &str = "/probe";

/// As PID 1 of its namespace: mounts what is asked for, and moves in.
const MOVE_IN: &str = r#"
set -eu
root=$1 user=$2 access=$3 volumes=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
if [ "$access" != bare ]; then
    mount -t proc proc "$root/proc"
    mount --bind /dev/null "$root/dev/null"
    mount -o "remount,bind,$access" "$root"
fi
for volume in $volumes; do
    mount -t tmpfs -o mode=777 tmpfs "$root$volume"
done
exec chroot --userspec="$user" "$root" "$@"
"#;

/// The binary, and programs of these names that do what the probe does with these scripts, in
/// the directory of the scene.
pub fn furnish(scene: &Scene, programs: &[(&str, &str)]) {
    let binary = fs::read(binary()).expect("the binary is there");
    scene.write_executable("procsched-min", binary);
    for (name, script) in programs {
        // All that follows the interpreter's name is one argument: execve(2).
        let text = format!("#!{PROBE} {script}\n");
        assert!(text.len() < 255, "{name} is too long for a first line");
        scene.write_executable(name, text);
    }
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn binary() -> PathBuf {
    given("PROCSCHED_STATIC_BINARY").unwrap_or_else(|| second_run::binary().to_owned())
}

fn probe() -> PathBuf {
    given("PROCSCHED_STATIC_PROBE").unwrap_or_else(|| tools::probe_path().to_owned())
}

/// Who is PID 1 of a room, and what it may do there.
pub struct Tenant {
    pub user: u64,
    pub read_only: bool,
    /// Directories that are empty file systems, which all may write to.
    pub volumes: Vec<String>,
    /// Without `/proc`, and without a device but those of the room.
    pub bare: bool,
}

impl Tenant {
    pub const ROOT: Self = Self {
        user: 0,
        read_only: false,
        volumes: Vec::new(),
        bare: false,
    };

    fn access(&self) -> &str {
        match (self.bare, self.read_only) {
            (true, _) => "bare",
            (_, true) => "ro",
            (_, false) => "rw",
        }
    }
}

/// A root file system below the directory of a scene.
pub struct Room<'a> {
    scene: &'a Scene,
    root: PathBuf,
}

impl<'a> Room<'a> {
    /// Nothing but what the stand-ins need.
    pub fn new(scene: &'a Scene, name: &str) -> Self {
        let room = Self {
            root: scene.mkdir(name),
            scene,
        };
        room.copy(&probe(), PROBE);
        for library in [binary(), probe()].iter().flat_map(|path| libraries(path)) {
            room.copy(&library, &library.to_string_lossy());
        }
        room
    }

    /// With the files of an image, which come from the directory of the scene.
    pub fn of(scene: &'a Scene, image: &Image) -> Self {
        assert!(
            image.is_whole,
            "the Dockerfile does not say what it begins with"
        );
        let room = Self::new(scene, "root");
        for (sources, target) in &image.copies {
            for source in sources {
                let name = match target.ends_with('/') {
                    true => format!("{target}{source}"),
                    false => target.clone(),
                };
                room.copy(&scene.path(source), &name);
            }
        }
        room
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// By a program of its own: a file that is open for writing here could not be executed.
    fn copy(&self, source: &Path, target: &str) {
        let target = self.path(target);
        fs::create_dir_all(target.parent().expect("it is below the root")).expect("a directory");
        run(Command::new("cp").arg("-L").arg(source).arg(target));
    }

    /// Starts PID 1.
    pub fn start(&self, command: &[String], tenant: &Tenant) -> Supervisor {
        if !tenant.bare {
            // The places for what is mounted, as a container's runtime makes them.
            for place in tenant
                .volumes
                .iter()
                .map(String::as_str)
                .chain(["proc", "dev"])
            {
                fs::create_dir_all(self.path(place)).expect("a directory");
            }
            fs::write(self.path("dev/null"), "").expect("a place for the device");
        }
        let mut words: Vec<PathBuf> = ["sh", "-c", MOVE_IN, "sh"].map(PathBuf::from).into();
        words.push(self.root.clone());
        words.push(format!("{0}:{0}", tenant.user).into());
        words.push(tenant.access().into());
        words.push(tenant.volumes.join(" ").into());
        words.extend(command.iter().map(PathBuf::from));
        let mut starter = self.scene.marked(&words);
        let (variable, value) = self
            .scene
            .mark()
            .split_once('=')
            .expect("a mark has a value");
        starter
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = std::thread::scope(|scope| {
            // A thread, since both namespaces change for who asks, and for nobody else.
            let started = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).expect("namespaces");
                scene::spawn(&mut starter).expect("PID 1 can be started")
            });
            started.join().expect("the starting thread does not panic")
        });
        Supervisor::adopt(child, None, self.scene.mark())
    }
}

/// Runs it to its end, which has to be a good one; returns its stdout and its stderr.
#[track_caller]
pub fn run(command: &mut Command) -> (String, String) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = scene::spawn(command);
    let child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let output = child.wait_with_output().expect("it can be waited for");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    (out, err)
}

/// What an executable needs beside it; nothing if it is static.
fn libraries(executable: &Path) -> Vec<PathBuf> {
    let mut ldd = Command::new("ldd");
    ldd.arg(executable)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = scene::spawn(&mut ldd).expect("ldd can be run");
    let output = child.wait_with_output().expect("it can be waited for");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths
        .filter(|path| !path.ends_with(':'))
        .map(PathBuf::from)
        .collect()
}

/// What a Dockerfile says, as far as the README's go.
#[derive(Debug, Default)]
pub struct Image {
    /// It says what it begins with; else it is a part of somebody's Dockerfile.
    is_whole: bool,
    copies: Vec<(Vec<String>, String)>,
    pub entrypoint: Vec<String>,
    pub arguments: Vec<String>,
}

impl Image {
    /// Knows nothing but an empty base, copies, and commands without a shell.
    #[track_caller]
    pub fn parse(dockerfile: &str) -> Self {
        let mut image = Self::default();
        for line in dockerfile.lines() {
            let (instruction, rest) = line.split_once(' ').expect("an instruction");
            let words = || serde_json::from_str(rest).expect("an array of strings");
            match instruction {
                "FROM" => {
                    assert_eq!(rest, "scratch", "an empty base");
                    image.is_whole = true;
                }
                "COPY" => {
                    let mut sources: Vec<String> = rest.split(' ').map(str::to_owned).collect();
                    let target = sources.pop().expect("a target");
                    assert!(sources.len() == 1 || target.ends_with('/'), "{line}");
                    image.copies.push((sources, target));
                }
                "ENTRYPOINT" => image.entrypoint = words(),
                "CMD" => image.arguments = words(),
                _ => panic!("the test does not know what Docker makes of {line:?}"),
            }
        }
        image
    }

    /// What is executed if nobody says anything else.
    pub fn command(&self) -> Vec<String> {
        [&*self.entrypoint, &*self.arguments].concat()
    }
}
