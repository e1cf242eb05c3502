//! What clients cost the programs: how late a death is restarted while hostile clients do what they
//! can, and while a status of every program is listed; and the memory that such a listing takes.
//!
//! The clients run in this process and take processor time from everyone. What they take by that
//! alone shows beside another supervisor, to which they do the same.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};

use crate::place::{Place, Work};
use crate::proc;
use crate::run::{Outcome, Run, milliseconds, now};
use crate::side::{CONTROL_SOCKET, Side};
use crate::table::{programs, quantile};
use crate::tools::Tools;
use crate::turns::Turns;

/// Programs that end as soon as they run, twice a second; one more stays, and is killed.
pub const CRASHING: usize = 200;

/// As many as a supervisor takes.
const HOSTILE: usize = 16;

const DEATHS: usize = 300;

/// A death takes longer where the processors are busy.
const TIME_MAX: Duration = Duration::from_secs(20);

pub const SETTLING: Duration = Duration::from_secs(1);

/// How long a hostile client waits for what does not come, before it sees that it is to end.
const NAP: Duration = Duration::from_millis(50);

/// The most programs that are listed, what each takes, and what is left for all else.
const LISTED_MAX: usize = 10_000;
const DESCRIPTORS_EACH: usize = 2;
const DESCRIPTORS_LEFT: usize = 100;

const LISTINGS: usize = 10;

const STATUS: &[u8] = b"{\"v\":1,\"command\":\"status\"}\n";
const EVENTS: &[u8] = b"{\"v\":1,\"command\":\"events\"}\n";

pub fn measure(turns: &mut Turns) {
    turns.table.remark(format!(
        "clients: a restart is that of one program, {DEATHS} times; {HOSTILE} hostile clients send \
         half lines and garbage, follow events without reading, ask for a status again and again, \
         and connect and go"
    ));
    let ours: Vec<Side> = turns.sides.iter().map(only_ours).collect();
    for victim in [None, Some(Victim::Another), Some(Victim::Measured)] {
        let whose = match victim {
            None => "no clients",
            Some(Victim::Another) => "hostile clients of another supervisor",
            Some(Victim::Measured) => "hostile clients",
        };
        let about = format!("{} crash twice a second, {whose}", programs(CRASHING));
        let row = |part| format!("{about}: restart of another, {part}, ms");
        let rows = [row("p50"), row("p99"), row("longest")];
        turns.compare_sides(&ours, turns.repetitions, rows, |side, tools| {
            storm(side, tools, victim)
        });
    }
    let count = fitting(LISTED_MAX);
    let row = |what| format!("status of {}: {what}", programs(count));
    let rows = [
        row("time, ms"),
        row("the client's memory at its peak, KiB"),
        row("the supervisor's memory before, KiB"),
        row("the supervisor's memory at its peak, KiB"),
        row("longest restart meanwhile, ms"),
        row("longest restart without, ms"),
    ];
    turns.compare_sides(&ours, turns.repetitions, rows, |side, tools| {
        listing(side, tools, count)
    });
}

/// The side if it is ours, else none.
pub fn only_ours(side: &Side) -> Side {
    match side.is_ours() {
        true => side.clone(),
        false => side.absent(),
    }
}

/// Returns how many programs there are descriptors for, if not `most`.
pub fn fitting(most: usize) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let hard = usize::try_from(hard).unwrap_or(usize::MAX);
    let fit = hard.saturating_sub(DESCRIPTORS_LEFT) / DESCRIPTORS_EACH;
    fit.clamp(1, most)
}

/// Whose clients the hostile ones are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Another,
    Measured,
}

/// Restarts of one program in a storm of others, beside hostile clients if there is a victim.
fn storm(side: &Side, tools: &Tools, victim: Option<Victim>) -> Outcome<[f64; 3]> {
    let settled = |work| {
        let place = Place::in_memory(CRASHING + 1, work);
        Run::settled(side, tools, place, SETTLING)
    };
    let another = match victim {
        Some(Victim::Another) => Some(settled(Work::Stay)?),
        _ => None,
    };
    let run = settled(Work::CrashAllButFirst)?;
    let is_over = AtomicBool::new(false);
    let socket = another.as_ref().unwrap_or(&run).place.path(CONTROL_SOCKET);
    let times = std::thread::scope(|scope| {
        for index in (0..HOSTILE).take_while(|_| victim.is_some()) {
            let (socket, is_over) = (&socket, &is_over);
            scope.spawn(move || Kind::of(index).play(socket, is_over));
        }
        let times = restarts(&run);
        is_over.store(true, Ordering::Relaxed);
        times
    })?;
    // What runs is ended with its handles, as a stop would wait for both.
    Ok([0.50, 0.99, 1.0].map(|part| quantile(&times, part)))
}

/// Kills the first program, and again when it runs: the milliseconds that each took.
pub fn restarts(run: &Run<'_>) -> Outcome<Vec<f64>> {
    let end = Instant::now() + TIME_MAX;
    let mut times = Vec::new();
    while times.len() < DEATHS && Instant::now() < end {
        times.push(run.restart(0)?);
    }
    Ok(times)
}

/// What a hostile client does until the measurement ends.
#[derive(Clone, Copy)]
enum Kind {
    /// Sends a part of a request, and waits to be closed.
    HalfLine,
    /// Follows events and never reads them.
    Deaf,
    /// Asks for a status again as soon as it has one.
    Greedy,
    /// Connects and goes.
    Restless,
    /// Sends what is no request.
    Garbage,
}

impl Kind {
    fn of(index: usize) -> Self {
        use Kind::{Deaf, Garbage, Greedy, HalfLine, Restless};
        let kinds = [HalfLine, Deaf, Greedy, Restless, Garbage];
        kinds[index % kinds.len()]
    }

    /// Does it again and again. Whatever fails is what the supervisor does against it.
    fn play(self, socket: &Path, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let Ok(mut stream) = UnixStream::connect(socket) else {
                std::thread::sleep(NAP);
                continue;
            };
            for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
                set(&stream, Some(NAP)).expect("a timeout");
            }
            let bytes = match self {
                Self::HalfLine => &STATUS[..STATUS.len() / 2],
                Self::Deaf => EVENTS,
                Self::Greedy => STATUS,
                Self::Restless => continue,
                Self::Garbage => b"\0\xff{\"v\":[[[[\n",
            };
            if stream.write_all(bytes).is_err() {
                continue;
            }
            match self {
                Self::Deaf => wait_end(&stream, is_over),
                Self::HalfLine => drop(read(&mut stream, is_over, b"\n")),
                _ => {
                    while read(&mut stream, is_over, b"\"ok\":") && stream.write_all(bytes).is_ok()
                    {
                    }
                }
            }
        }
    }
}

/// Waits until the other side has closed.
fn wait_end(stream: &UnixStream, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        // poll(2) reports a hang-up even if no event is requested.
        let mut waiting = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(NAP).expect("a short time");
        match poll(&mut waiting, timeout) {
            Ok(0) => {}
            _ => return,
        }
    }
}

/// Reads up to the line with this in it; false at the end.
fn read(stream: &mut UnixStream, is_over: &AtomicBool, wanted: &[u8]) -> bool {
    let mut buffer = [0; 4096];
    let mut last = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => last.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return false,
        }
        if last.ends_with(b"\n") && last.windows(wanted.len()).any(|part| part == wanted) {
            return true;
        }
        // The last line is short, and may have come in two pieces.
        let kept = last.len().saturating_sub(buffer.len());
        last.drain(..kept);
    }
    false
}

/// Asks for the status of all programs repeatedly, and restarts one of them meanwhile.
fn listing(side: &Side, tools: &Tools, count: usize) -> Outcome<[f64; 6]> {
    let place = Place::in_memory(count, Work::Stay);
    let run = Run::settled(side, tools, place, SETTLING)?;
    run.wait_quiet()?;
    let longest = |times: &[f64]| quantile(times, 1.0);
    let without = restarts(&run)?;
    let before = run.peak_memory();
    let (mut times, mut meanwhile) = (Vec::new(), Vec::new());
    let mut of_client = 0.0_f64;
    for _ in 0..LISTINGS {
        let began = now();
        let client = Client::start(tools, run.place.path("config"))?;
        while !client.has_listed()? {
            meanwhile.push(run.restart(0)?);
        }
        of_client = of_client.max(client.peak_memory());
        client.end(count)?;
        times.push(milliseconds(now() - began));
    }
    let after = run.peak_memory();
    run.stop()?;
    Ok([
        quantile(&times, 0.5),
        of_client,
        before,
        after,
        longest(&meanwhile),
        longest(&without),
    ])
}

/// A `status` whose table is not read until it is all there: it waits for its reader then.
struct Client(Child);

impl Client {
    fn start(tools: &Tools, config: PathBuf) -> Outcome<Self> {
        let mut command = Command::new(&tools.ours);
        command.args(["status", "-c"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| error.to_string())?;
        Ok(Self(child))
    }

    fn has_listed(&self) -> Outcome<bool> {
        let stdout = self.0.stdout.as_ref().ok_or("no pipe")?;
        let mut waiting = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::ZERO);
        ready
            .map(|count| count > 0)
            .map_err(|error| error.to_string())
    }

    fn peak_memory(&self) -> f64 {
        proc::peak_memory(i32::try_from(self.0.id()).expect("pids are small"))
    }

    fn end(mut self, count: usize) -> Outcome<()> {
        let mut text = String::new();
        let mut stdout = self.0.stdout.take().ok_or("no pipe")?;
        let read = stdout.read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        self.0.wait().map_err(|error| error.to_string())?;
        match text.lines().count() {
            lines if lines == count + 1 => Ok(()),
            lines => Err(format!("{lines} lines of {count} programs")),
        }
    }
}
