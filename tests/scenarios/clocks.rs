//! The wall clock is for reading; every decision is by the monotonic one.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::common::scene::spawn;
use crate::common::second_run::binary;
use crate::common::{Need, Report, Scene, missing, second_run, tools};

/// A library that is loaded before the C library's and moves CLOCK_REALTIME by as many seconds
/// as the first eight bytes of a file say; all else is the kernel's own answer.
const SHIFT: &str = r#"
use std::ffi::{c_int, c_long};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

#[repr(C)]
pub struct Timespec { seconds: i64, nanos: c_long }

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn pread(fd: c_int, buffer: *mut u8, count: usize, offset: i64) -> isize;
}

static FILE: OnceLock<Option<std::fs::File>> = OnceLock::new();

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    if unsafe { syscall(NUMBER, clock, time) } != 0 {
        return -1;
    }
    let path = || std::env::var_os("CLOCK_SHIFT").and_then(|path| std::fs::File::open(path).ok());
    if let (0, Some(file)) = (clock, FILE.get_or_init(path)) {
        let mut shift = [0; 8];
        unsafe {
            if pread(file.as_raw_fd(), shift.as_mut_ptr(), 8, 0) == 8 {
                (*time).seconds += i64::from_le_bytes(shift);
            }
        }
    }
    0
}
"#;

/// Builds that library, unless the binary would not load it.
fn build_shift(scene: &Scene) -> Option<PathBuf> {
    let number = libc::SYS_clock_gettime.to_string();
    let source = scene.write("shift.rs", SHIFT.replace("NUMBER", &number));
    let library = scene.path("libshift.so");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .arg(&library)
        .arg(source);
    rustc.current_dir(scene.directory());
    let built = spawn(&mut rustc).and_then(|mut child| child.wait());
    built
        .is_ok_and(|status| status.success())
        .then_some(library)
}

const DECADE: i64 = 10 * 365 * 86_400;

#[test]
fn m89_m142_jumps_of_the_wall_clock_change_no_decision() {
    if missing(&[Need::Tool("rustc"), Need::Tool("ldd")]) {
        return;
    }
    let ldd = Command::new("ldd")
        .arg(binary())
        .output()
        .expect("ldd runs");
    if !String::from_utf8_lossy(&ldd.stdout).contains("libc.so") {
        tools::skip("a static binary loads no library that moves its clock");
        return;
    }
    let mut scene = Scene::new();
    let library = build_shift(&scene).expect("the library can be built");
    let shift = scene.write("shift", 0_i64.to_le_bytes());
    let backoff = json!({"initial": "300ms", "max": "300ms", "reset_after": "1h"});
    scene.add_with("p", "stamp starts ; exit 1", json!({"backoff": backoff}));
    scene.add_with("long", "hold", json!({"stop_timeout": "1h"}));
    let mut command = scene.command();
    command
        .env("LD_PRELOAD", &library)
        .env("CLOCK_SHIFT", &shift);
    let supervisor = scene.launch(command);
    let mut years = Vec::new();
    for (round, jump) in [0, DECADE, -DECADE, 2 * DECADE, 0].into_iter().enumerate() {
        std::fs::write(&shift, jump.to_le_bytes()).expect("the shift can be changed");
        let reports = supervisor.wait_reports_of("p", 2 * round + 2);
        years.push(reports[2 * round + 1].seconds("timestamp"));
    }
    let reports = supervisor.end();
    // The lever works: the reports of the second round are of another decade.
    assert!(years[1] - years[0] > 0.9 * DECADE as f64, "{years:?}");
    assert!(years[0] - years[2] > 0.9 * DECADE as f64, "{years:?}");
    let starts: Vec<u64> = scene
        .lines("starts")
        .iter()
        .filter_map(|line| line.parse().ok())
        .collect();
    for gap in starts.windows(2).map(|pair| pair[1] - pair[0]) {
        assert!(
            (300_000_000..5_000_000_000).contains(&gap),
            "{gap} ns between two starts"
        );
    }
    let all_short = |report: &Report| (0.0..60.0).contains(&report.seconds("uptime"));
    assert!(reports.iter().all(all_short), "{reports:?}");
}

/// A machine that has been up for a hundred and forty years, which is as far as the kernel lets
/// a clock be moved; and one on which it begins.
#[test]
fn m90_m93_a_clock_may_be_anywhere() {
    if second_run::is_pid1() {
        return tools::skip("a wrapper makes its own namespace, and needs the host");
    }
    if missing(&[Need::Root, Need::Times]) {
        return;
    }
    for seconds in ["4500000000", "86400"] {
        let wrapper = [
            "unshare",
            "-Tf",
            "--kill-child",
            "--monotonic",
            seconds,
            "--boottime",
            "7",
        ];
        let mut scene = Scene::new();
        let quick = json!({"initial": "200ms", "max": "200ms"});
        scene.add_with("p", "stamp starts ; exit 1", json!({"backoff": quick}));
        let never = json!({"backoff": {"initial": u64::MAX, "max": u64::MAX}});
        scene.add_with("far", "exit 1", never);
        let keys = json!({"stop_timeout": "300ms"});
        scene.add_with("stubborn", "ignore TERM ; touch up ; hold", keys);
        let mut supervisor = scene.launch(scene.wrapped(&wrapper));
        supervisor.look_behind_wrapper();
        supervisor.wait_reports_of("p", 4);
        supervisor.wait_report("far", 1);
        scene.wait_file("up");
        supervisor.signal(libc::SIGTERM);
        assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
        let stamps = scene.lines("starts");
        let stamps: Vec<u64> = stamps.iter().filter_map(|line| line.parse().ok()).collect();
        let begin: u64 = seconds.parse().expect("a number");
        assert!(stamps[0] / 1_000_000_000 > begin, "no point: {stamps:?}");
        for gap in stamps.windows(2).map(|pair| pair[1] - pair[0]) {
            assert!(
                (200_000_000..5_000_000_000).contains(&gap),
                "{gap} ns between two starts"
            );
        }
        let reports = supervisor.reports();
        let all_short = |report: &Report| (0.0..60.0).contains(&report.seconds("uptime"));
        assert!(reports.iter().all(all_short), "{reports:?}");
    }
}
