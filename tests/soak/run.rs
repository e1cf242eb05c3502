//! One soak, from the first start to the last look at what is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Scene, process, scene, wait_for};
use crate::eprintln;
use crate::model::rng::Rng;
use crate::soak::arguments::Arguments;
use crate::soak::bystanders::Bystanders;
use crate::soak::disk::{self, Disk};
use crate::soak::figures::{self, Figures};
use crate::soak::ledger::Ledger;
use crate::soak::memcheck::Memcheck;
use crate::soak::weather::Weather;
use crate::soak::{cast, host, verdict};

/// Tells this executable that it is the host, and of which config.
pub const HOST: &str = "PROCSCHED_SOAK_HOST";

/// A short soak is looked at more often, so that it has enough looks.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
const LOOKS: u32 = 75;
const COUNT_EVERY: Duration = Duration::from_secs(1);
const RENEW_EVERY: Duration = Duration::from_secs(5);
const TELL_EVERY: Duration = Duration::from_secs(60);
const BREATH: Duration = Duration::from_millis(20);

/// A zombie that is seen in so many looks one after the other is one that lasts. None of ours
/// stands still for that long.
const ZOMBIE_LOOKS: u32 = 10;

/// From SIGTERM to the end: the patience for programs that refuse, for what cannot die, for
/// the commands that are told of it, for the outputs, and as much again for a busy machine.
const END_TIME_MAX: Duration = Duration::from_secs(2 * (cast::STOP_TIMEOUT_SECONDS + 5 + 5 + 1));

/// For so long it is tried at the end to get rid of what is left: more does not help against what
/// cannot die.
const REMAINS_TIME_MAX: Duration = Duration::from_secs(30);

/// What has been written by then is read in less.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// All that is known at the end.
pub struct Soak {
    pub arguments: Arguments,
    pub ledger: Ledger,
    pub weather: Weather,
    pub programs: Vec<String>,
    /// When, after how many restarts, and what was seen.
    pub series: Vec<(f64, f64, Figures)>,
    pub time: Duration,
    pub lasting_zombies: usize,
    pub strangers: (usize, usize),
    pub end_time: Duration,
    pub code: Option<i32>,
}

/// However this ends, nothing of it may stay and disturb others.
struct Remains {
    supervisor: i32,
    mark: String,
}

impl Drop for Remains {
    fn drop(&mut self) {
        let begin = Instant::now();
        while let marked @ [_, ..] = &*process::marked(&self.mark) {
            if begin.elapsed() > REMAINS_TIME_MAX {
                return eprintln(&format!("cannot be killed, and stay: {marked:?}"));
            }
            // The supervisor first, so that it starts nothing any more.
            let order = std::iter::once(&self.supervisor).chain(marked);
            let left = order.filter(|pid| marked.contains(pid));
            left.for_each(|&pid| process::signal(pid, libc::SIGKILL));
            std::thread::sleep(BREATH);
        }
    }
}

/// Soaks, tells how it was, and whether all was well.
pub fn run(arguments: &Arguments) -> bool {
    let is_small = disk::prepare();
    if !is_small {
        eprintln("the disk is never full: that needs root");
    }
    let mut scene = Scene::new();
    scene.set("err_dir", json!("disk/logs"));
    if !arguments.variant.is_library() {
        scene.set("error_handler", cast::error_handler());
    }
    let mut rng = Rng::new(arguments.seed);
    let programs = cast::fill(&mut scene, arguments.restarts_per_second, &mut rng);
    let disk = Disk::new(&scene, is_small);
    let ledger = Ledger::default();
    let bystanders = Bystanders::new(&scene, &ledger);
    let memcheck = Memcheck::new(&scene, arguments.variant);
    let mut command = command(&scene, arguments, memcheck.as_ref());
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = scene::spawn(&mut command).expect("the supervisor can be started");
    let pid = child.id() as i32;
    let remains = Remains {
        supervisor: pid,
        mark: scene.mark().to_owned(),
    };
    let readers = [
        ledger.read_reports(child.stdout.take().expect("its stdout")),
        ledger.read_messages(child.stderr.take().expect("its stderr")),
    ];
    eprintln(&format!(
        "supervisor {pid} in {}",
        scene.directory().display()
    ));
    wait_for("the first start", || ledger.books().starts > 0);
    let weather = Weather::new(rng.next(), pid, &scene, &ledger, disk);
    let mut soak = Soak {
        arguments: arguments.clone(),
        ledger,
        weather,
        programs,
        series: Vec::new(),
        time: Duration::ZERO,
        lasting_zombies: 0,
        strangers: (0, 0),
        end_time: Duration::ZERO,
        code: None,
    };
    let bystanders = soak.live(&mut child, &scene, bystanders);
    soak.weather.clear();
    let asked = memcheck.as_ref().map(|memcheck| memcheck.ask(pid));
    soak.end(&mut child, &scene);
    // Who is left would hold the outputs open, and who cannot die holds them even so.
    drop(remains);
    let read_until = Instant::now() + READ_TIME_MAX;
    while !readers.iter().all(JoinHandle::is_finished) && Instant::now() < read_until {
        std::thread::sleep(BREATH);
    }
    for reader in readers {
        match reader.is_finished() {
            true => reader.join().expect("a reader"),
            false => soak.ledger.complain("an output is open still".to_owned()),
        }
    }
    soak.strangers = bystanders.end();
    let judged = memcheck.as_ref().map(|memcheck| memcheck.judge(pid));
    for complaint in asked.into_iter().chain(judged).flatten() {
        soak.ledger.complain(complaint);
    }
    verdict::tell(&soak)
}

fn command(scene: &Scene, arguments: &Arguments, memcheck: Option<&Memcheck>) -> Command {
    let wrapper = memcheck.map(Memcheck::wrapper).unwrap_or_default();
    if !arguments.variant.is_library() {
        let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        return scene.wrapped(&words);
    }
    scene.write("procsched.json", scene.config());
    let mut words: Vec<PathBuf> = wrapper.iter().map(PathBuf::from).collect();
    words.push(std::env::current_exe().expect("our own path"));
    let mut command = scene.marked(&words);
    command.env(HOST, scene.config_path());
    command.env(host::PLANT, arguments.plant.to_string());
    command
}

impl Soak {
    /// The time for which it was told to.
    fn live(&mut self, child: &mut Child, scene: &Scene, mut strangers: Bystanders) -> Bystanders {
        let pid = child.id() as i32;
        let begin = Instant::now();
        let look_every = (self.arguments.time / LOOKS).clamp(LOOK_EVERY[0], LOOK_EVERY[1]);
        let (mut look_at, mut count_at) = (begin, begin);
        let (mut renew_at, mut tell_at) = (begin, begin + TELL_EVERY);
        let mut zombies: BTreeMap<i32, u32> = BTreeMap::new();
        while begin.elapsed() < self.arguments.time {
            let now = Instant::now();
            if let Some(status) = child.try_wait().expect("our child") {
                self.ledger
                    .complain(format!("the supervisor ended: {status}"));
                break;
            }
            self.weather.blow();
            if now >= renew_at {
                renew_at = now + RENEW_EVERY;
                strangers.renew(scene);
            }
            if now >= look_at {
                look_at = now + look_every;
                self.look(pid, begin);
            }
            if now >= count_at {
                count_at = now + COUNT_EVERY;
                self.count_zombies(pid, &mut zombies);
            }
            if now >= tell_at {
                tell_at = now + TELL_EVERY;
                self.tell_progress(begin);
            }
            std::thread::sleep(BREATH);
        }
        self.time = begin.elapsed();
        strangers
    }

    /// Starts beyond the first of each, failed ones too.
    pub fn restarts(&self) -> u64 {
        let books = self.ledger.books();
        (books.starts + books.failed_starts).saturating_sub(self.programs.len() as u64)
    }

    fn look(&mut self, pid: i32, begin: Instant) {
        let restarts = self.restarts() as f64;
        if let Some(figures) = figures::look(pid) {
            self.series
                .push((begin.elapsed().as_secs_f64(), restarts, figures));
        }
    }

    fn count_zombies(&mut self, pid: i32, seen: &mut BTreeMap<i32, u32>) {
        let mut zombies = process::zombies(pid);
        // The first thread alone may be over, which looks the same.
        zombies.retain(|&zombie| threads(zombie) <= 1);
        seen.retain(|pid, _| zombies.contains(pid));
        for zombie in zombies {
            let looks = seen.entry(zombie).or_default();
            *looks += 1;
            if *looks == ZOMBIE_LOOKS {
                self.lasting_zombies += 1;
                self.ledger.complain(format!("{zombie} stays a zombie"));
            }
        }
    }

    fn tell_progress(&self, begin: Instant) {
        let (restarts, books) = (self.restarts(), self.ledger.books());
        let Some((.., figures)) = self.series.last() else {
            return;
        };
        eprintln(&format!(
            "{} s: {restarts} restarts, {} reports, {} MiB of stderr, {figures:?}, {} complaints",
            begin.elapsed().as_secs(),
            books.reports + books.failed_reports,
            books.stderr_bytes >> 20,
            books.complaint_count,
        ));
    }

    /// SIGTERM, and a look at what is left.
    fn end(&mut self, child: &mut Child, scene: &Scene) {
        let pid = child.id() as i32;
        let asked = Instant::now();
        process::signal(pid, libc::SIGTERM);
        let status = loop {
            match child.try_wait().expect("our child") {
                Some(status) => break Some(status),
                None if asked.elapsed() > END_TIME_MAX => break None,
                None => std::thread::sleep(BREATH),
            }
        };
        self.end_time = asked.elapsed();
        self.code = status.and_then(|status| status.code());
        if self.code != Some(0) {
            self.ledger
                .complain(format!("its end: {status:?}, after {:?}", self.end_time));
        }
        let left = process::marked(scene.mark());
        if !left.is_empty() {
            self.ledger.complain(format!("left behind: {left:?}"));
        }
    }
}

/// How many threads a process has, dead ones too.
fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}
