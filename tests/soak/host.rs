//! The library in a host that is no model: its handlers panic at times and are slow at times.
//! It says what the binary would say, as far as the books need it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use procsched::config::Config;
use procsched::{Event, EventKind};

/// Of so many reports one is followed by a panic, and of so many by a while of nothing. Primes,
/// so that all come together at times.
const REPORT_PANIC_EVERY: u64 = 17;
const REPORT_SLOW_EVERY: u64 = 101;
const EVENT_PANIC_EVERY: u64 = 43;
const EVENT_SLOW_EVERY: u64 = 307;

/// Of each report it keeps so many bytes for ever, if it is told to: the leak of `--plant`.
pub const PLANT: &str = "PROCSCHED_SOAK_PLANT";

const SLOW: Duration = Duration::from_millis(120);

/// Supervises what the config says until SIGTERM; gives the code to exit with.
pub fn run(config: &Path) -> u8 {
    // A panic on purpose needs no backtrace, and tells who handles events by an event.
    std::panic::set_hook(Box::new(|_| {}));
    let config = Config::load(config).expect("a config");
    let plant = std::env::var(PLANT).map_or(0, |bytes| bytes.parse().expect("bytes"));
    let (mut reports, mut events) = (0, 0);
    let mut scheduler = config
        .into_builder()
        .error_handler(move |_, report| {
            say(&mut std::io::stdout(), &report.to_json());
            std::mem::forget(std::hint::black_box(vec![b'x'; plant]));
            misbehave(&mut reports, REPORT_PANIC_EVERY, REPORT_SLOW_EVERY);
        })
        .on_event(move |event| {
            if let Some(line) = line(event) {
                say(&mut std::io::stderr(), &line);
            }
            misbehave(&mut events, EVENT_PANIC_EVERY, EVENT_SLOW_EVERY);
        })
        .on_stray(|_, _| {})
        .on_signals([libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2], |_, _| {})
        .stop_on_signals([libc::SIGTERM])
        .subreaper()
        .build()
        .expect("a scheduler");
    let ended = scheduler.start();
    if let Err(error) = &ended {
        say(&mut std::io::stderr(), &format!("- host abandoned {error}"));
    }
    u8::from(ended.is_err())
}

fn misbehave(count: &mut u64, panic_every: u64, slow_every: u64) {
    *count += 1;
    if count.is_multiple_of(slow_every) {
        std::thread::sleep(SLOW);
    }
    assert!(
        !count.is_multiple_of(panic_every),
        "number {count} is too much"
    );
}

/// One write, so that a line stays whole.
fn say(to: &mut impl Write, line: &str) {
    to.write_all(format!("{line}\n").as_bytes())
        .expect("somebody reads");
}

fn line(event: &Event) -> Option<String> {
    let said = match event.kind() {
        EventKind::Started { pid, .. } => format!("started pid={pid}"),
        EventKind::Exited { pid, .. } => format!("exited pid={pid}"),
        EventKind::StartFailed { error, .. } => format!("failed {error}"),
        EventKind::BytesDropped { bytes, .. } => format!("dropped bytes={bytes}"),
        EventKind::Abandoned { pid, .. } => format!("abandoned pid={pid}"),
        EventKind::HandlerPanicked { message, .. } => {
            format!("warning a handler panicked: {message}")
        }
        EventKind::Warning { error, .. } => format!("warning {error}"),
        _ => return None,
    };
    let name = Some(event.program()).filter(|name| !name.is_empty());
    Some(format!("- {} {said}", name.unwrap_or("host")))
}
