//! Where one measurement takes place: a directory with the config, the logs, the shared page,
//! and the gate, a FIFO that has a writer once the children may write.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::page::Page;

/// Memory, for all that is not about throughput to a disk: creating files on some file systems
/// is slow for a while after many were removed, which would charge one run for the last one.
const MEMORY: &str = "/dev/shm";

/// The delay of the programs that crash beside one that stays: the processors have time for more.
const CRASH_DELAY: &str = "500ms";

/// What the programs do.
#[derive(Clone, Copy)]
pub enum Work {
    /// Stay.
    Stay,
    /// End at once, with 1.
    Crash,
    /// The same, but for the first, which stays; each again after [`CRASH_DELAY`].
    CrashAllButFirst,
    /// The same, and the last sends this many messages a second instead (`ready: notify`, `watchdog`).
    CrashBesideMessages { rate: u64 },
    /// The first `writers` write `total` bytes, `bytes` in each write, when the gate opens. All
    /// stay.
    Write {
        bytes: usize,
        total: u64,
        writers: usize,
    },
}

/// Which stream the programs write to, and where that goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// stderr, to a log each.
    Stderr,
    /// stdout, to a log each.
    Stdout,
    /// stdout, to a log each that is rotated at [`ROTATED_BYTES`].
    Rotated,
    /// stdout, to the supervisor's own.
    Inherited,
}

/// The size at which a log is rotated.
pub const ROTATED_BYTES: u64 = 10 * 1024 * 1024;

/// How many rotated logs are kept: more than there are, as all of them are compared.
pub const ROTATED_MAX: usize = 30;

/// What the programs wait for before they start.
#[derive(Clone, Copy)]
pub enum Links {
    None,
    /// Each for the one before.
    Chain,
    /// All for the first.
    Fan,
}

/// One directory, removed at the end.
pub struct Place {
    directory: TempDir,
    pub page: Page,
    /// How many programs take part.
    pub count: usize,
    work: Work,
    route: Route,
    links: Links,
    /// How often the definition of the first program was changed.
    changes: Cell<usize>,
}

impl Place {
    pub fn in_memory(count: usize, work: Work) -> Self {
        let memory = Path::new(MEMORY);
        if memory.is_dir() {
            Self::new(memory, count, work)
        } else {
            Self::on_disk(count, work)
        }
    }

    /// On the file system of temporary files.
    pub fn on_disk(count: usize, work: Work) -> Self {
        Self::new(&std::env::temp_dir(), count, work)
    }

    fn new(root: &Path, count: usize, work: Work) -> Self {
        let directory = TempDir::with_prefix_in("procsched-bench-", root).expect("a directory");
        let path = |name| directory.path().join(name);
        mkfifo(&path("gate"), Mode::S_IRWXU).expect("a FIFO");
        std::fs::create_dir(path("logs")).expect("a directory of logs");
        let page = Page::create(&path("page"), count);
        Self {
            page,
            directory,
            count,
            work,
            route: Route::Stderr,
            links: Links::None,
            changes: Cell::new(0),
        }
    }

    /// The same place, with programs that wait for others.
    pub fn linked(self, links: Links) -> Self {
        Self { links, ..self }
    }

    /// The same place, with programs that write there.
    pub fn routed(self, route: Route) -> Self {
        Self { route, ..self }
    }

    /// Where the programs write.
    pub fn route(&self) -> Route {
        self.route
    }

    /// A file of the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same, for texts.
    pub fn text(&self, name: &str) -> String {
        let path = self.path(name).into_os_string().into_string();
        path.expect("paths of UTF-8")
    }

    /// Changes the definition of the first program, for whoever writes a configuration next.
    pub fn change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// What a program executes.
    pub fn command(&self, child: &Path, index: usize) -> Vec<String> {
        let child = child.to_str().expect("paths of UTF-8").to_owned();
        let directory = self.text("").trim_end_matches('/').to_owned();
        let (mode, numbers) = match self.work {
            Work::CrashBesideMessages { rate } if self.notifies(index) => ("notify", vec![rate]),
            Work::CrashAllButFirst | Work::CrashBesideMessages { .. } if index > 0 => {
                ("crash", Vec::new())
            }
            Work::Stay | Work::CrashAllButFirst | Work::CrashBesideMessages { .. } => {
                ("run", Vec::new())
            }
            Work::Crash => ("crash", Vec::new()),
            Work::Write {
                bytes,
                total,
                writers,
            } => {
                let descriptor = match self.route {
                    Route::Stderr => 2,
                    Route::Stdout | Route::Rotated | Route::Inherited => 1,
                };
                let numbers = vec![bytes as u64, total, writers as u64, descriptor];
                ("write", numbers)
            }
        };
        let numbers = numbers.iter().map(ToString::to_string);
        let change = self.changes.get();
        let change = (index == 0 && change > 0).then(|| format!("change-{change}"));
        [child, mode.to_owned(), directory, index.to_string()]
            .into_iter()
            .chain(numbers)
            .chain(change)
            .collect()
    }

    /// The delay before a program's restart, if it has one.
    pub fn delay(&self, index: usize) -> Option<&'static str> {
        let crashes = matches!(
            self.work,
            Work::CrashAllButFirst | Work::CrashBesideMessages { .. }
        );
        let is_delayed = crashes && index > 0 && !self.notifies(index);
        is_delayed.then_some(CRASH_DELAY)
    }

    /// True if a program sends messages to its supervisor.
    pub fn notifies(&self, index: usize) -> bool {
        matches!(self.work, Work::CrashBesideMessages { .. }) && index + 1 == self.count
    }

    /// The program that has to be up before this one.
    pub fn required(&self, index: usize) -> Option<usize> {
        match self.links {
            Links::None => None,
            Links::Chain => index.checked_sub(1),
            Links::Fan => (index > 0).then_some(0),
        }
    }

    /// Lets the children write, as long as the file is kept.
    pub fn open_gate(&self) -> File {
        let gate = File::options().write(true).open(self.path("gate"));
        gate.expect("the gate")
    }

    /// What the supervisor said last, for whoever looks for the cause of a failure.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.path("messages")).unwrap_or_default();
        said.lines().last().unwrap_or("nothing").to_owned()
    }
}

/// The name of a program. Names sort as they count.
pub fn name(index: usize) -> String {
    format!("p{index:05}")
}
