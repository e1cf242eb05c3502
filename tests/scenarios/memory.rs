//! Memory does not grow with what programs write.

use std::fs::File;
use std::io::Read;

use serde_json::json;

use crate::common::levers::Gate;
use crate::common::operator::{Operator, control};
use crate::common::{Pattern, Scene, process, tools, wait_for};

/// More than this may not be added by any amount of stderr: one program's tail, its report
/// and the buffers on their way, in kB.
const GROWTH_KB_MAX: u64 = 1536;

/// The most memory that a process ever had, in kB.
fn peak(pid: i32) -> u64 {
    process::status_number(pid, "VmHWM").expect("it runs")
}

/// Whether the file is `length` bytes of the pattern and then `end`, without reading it whole.
fn is_pattern(file: File, pattern: Pattern, length: u64, end: &[u8]) -> bool {
    let mut file = std::io::BufReader::with_capacity(1 << 20, file);
    let (mut found, mut wanted) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < length {
        let part = (length - at).min(1 << 20) as usize;
        if file.read_exact(&mut found[..part]).is_err() {
            return false;
        }
        pattern.fill(at, &mut wanted[..part]);
        if found[..part] != wanted[..part] {
            return false;
        }
        at += part as u64;
    }
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).is_ok() && rest == end
}

#[test]
fn m80_m84_a_hundred_megabytes_without_a_newline_cost_no_memory() {
    let bytes = tools::whole(100 << 20, 2 << 30) as u64;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let script = format!("gate gate ; spew {bytes} flat ; say X\\n ; exit 1");
    scene.add_with("p", &script, json!({"restart": "never"}));
    scene.add("steady", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let before = peak(supervisor.pid());
    gate.open();
    let written = || scene.log_path("p").metadata().map_or(0, |log| log.len());
    for part in 1..=32 {
        supervisor.wait("a part of it", || written() >= bytes / 32 * part);
    }
    let report = supervisor.wait_report("p", 1);
    let grown = peak(supervisor.pid()) - before;
    assert!(grown <= GROWTH_KB_MAX, "memory grew by {grown} kB");
    let data = report.data();
    assert_eq!(data.len(), 65_536);
    assert!(data.ends_with(b"X\n"));
    assert_eq!(report.count("data_omitted"), bytes + 2 - 65_536);
    let mut tail = vec![0; 65_534];
    Pattern::Flat.fill(bytes - 65_534, &mut tail);
    assert!(data[..65_534] == tail, "the report has not the last bytes");
    let log = File::open(scene.log_path("p")).expect("a log");
    assert!(
        is_pattern(log, Pattern::Flat, bytes, b"X\n"),
        "the log differs"
    );
    supervisor.end();
}

#[test]
fn the_memory_of_a_report_is_given_back() {
    const PROGRAMS: usize = 40;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    for index in 0..PROGRAMS {
        // Written slowly enough one after the other that stdout takes each report in time.
        let script = format!("gate gate ; sleep {} ; spew 600000 flat", index * 20);
        let keys = json!({"restart": "never", "report_bytes": 524_288});
        scene.add_with(&format!("p{index}"), &script, keys);
    }
    scene.add("steady", "hold");
    let supervisor = scene.start();
    (0..PROGRAMS).for_each(|index| _ = supervisor.wait_started(&format!("p{index}"), 1));
    gate.open();
    supervisor.wait(&format!("{PROGRAMS} ends"), || {
        supervisor.messages_with(&["exited"]).len() >= PROGRAMS
    });
    // 40 tails of 512 KiB would be 20 MiB.
    wait_for("memory to be given back", || {
        process::status_number(supervisor.pid(), "RssAnon").is_some_and(|kb| kb < 8 << 10)
    });
    supervisor.end();
}

/// Each refused reload left the memory of all definitions in the heap until the next good one.
#[test]
fn the_memory_of_a_refused_reload_is_given_back() {
    /// A config of this size takes twenty times as much while it is read.
    const PROGRAMS: usize = 5_000;
    let mut scene = Scene::new();
    let path = control(&mut scene);
    for index in 0..PROGRAMS {
        let keys = json!({"command": ["true"], "autostart": false});
        scene.add_raw(&format!("p{index}"), keys);
    }
    let supervisor = scene.start();
    wait_for("a control socket", || path.exists());
    let resident = || process::status_number(supervisor.pid(), "VmRSS").expect("it runs");
    let reload = json!({"v": 1, "command": "reload"});
    Operator::ask_once(&path, &reload).fine();
    let before = resident();
    let good = scene.config();
    // Refused by the reader, which names a place, and by the scheduler; and not carried out.
    let bad = good.replacen("\"autostart\":false", "\"autostart\":7", 1);
    let other = good.replacen("\"err_dir\": \"", "\"err_dir\": \"other-", 1);
    assert!(bad != good && other != good);
    for config in [bad, other, good] {
        let is_good = config == scene.config();
        scene.write("procsched.json", config);
        for _ in 0..3 {
            let dry = json!({"v": 1, "command": "reload", "dry_run": is_good});
            let answer = Operator::ask_once(&path, &dry);
            assert_eq!(answer.last["ok"], is_good, "{answer:?}");
        }
        let grown = resident().saturating_sub(before);
        assert!(grown <= GROWTH_KB_MAX, "memory grew by {grown} kB");
    }
    supervisor.end();
}
