//! The hundred programs: every way in which a program behaves or does not, each a probe.
//!
//! In a script `R` is a rest, in milliseconds, that makes all programs together come to the
//! wanted number of restarts, and `#` is the program's own number, for names of files.

use serde_json::{Value, json};

use crate::common::{Scene, tools};
use crate::model::rng::Rng;

/// The sum over all programs is 100.
const MODES: [Mode; 34] = [
    mode("plain", 8, "say some\\swords\\n ; sleep R ; exit 3"),
    mode("fine", 4, "sleep R"),
    mode("segv", 3, "sleep R ; sig SEGV"),
    mode("kill", 3, "sleep R ; sig KILL"),
    mode("realtime", 2, "sleep R ; sig 40"),
    mode("abort", 2, "sleep R ; abort"),
    // Thirty runs as fast as can be, then a rest that is as long as theirs would have been.
    mode(
        "burst",
        10,
        "every 30 burst.# { repeat 30 { sleep R } } ; say x\\n ; exit 1",
    ),
    mode(
        "exact",
        6,
        "spew 3000 flat ; sleep R ; spew 77 flat ; exit 4",
    ),
    mode("binary", 4, "spew 9000 binary ; sleep R ; exit 5"),
    mode(
        "flood",
        4,
        "sleep R ; sleep R ; sleep R ; spew 2500000 flat ; exit 6",
    ),
    mode(
        "chatter",
        3,
        "repeat 300 { say x ; sleep 3 } ; sleep R ; exit 7",
    ),
    // Only SIGKILL ends it, from the operator's stormy hand or at the end.
    mode(
        "ignorant",
        4,
        "ignore TERM ; ignore INT ; ignore HUP ; say no\\n ; hold",
    ),
    mode(
        "members",
        6,
        "fork { hold } ; fork { ignore TERM ; hold } ; sleep R ; exit 1",
    ),
    mode(
        "latecomer",
        2,
        "fork { repeat 50 { say late\\n ; sleep 2 } } ; sleep R ; exit 1",
    ),
    mode("escapee", 5, "escape { hold } ; sleep R ; exit 1"),
    mode(
        "voice",
        2,
        "escape { repeat 100 { say x\\n ; sleep 20 } } ; sleep R ; exit 2",
    ),
    mode("group", 2, "fork { setpgid ; hold } ; sleep R ; exit 1"),
    mode(
        "anonymous",
        2,
        "escape { anonymous ; close 2 ; sleep 800 } ; sleep R ; exit 1",
    ),
    mode("silent", 3, "close 2 ; sleep R ; exit 8"),
    mode("headless", 4, "dead-leader R 3"),
    mode(
        "orphans",
        2,
        "repeat 8 { fork { escape { sleep 300 } } } ; sleep R",
    ),
    mode("sigpipe", 2, "sleep R ; unread-pipe"),
    mode("frozen", 2, "stop-self ; sleep R ; exit 1"),
    mode(
        "polite",
        3,
        "trap TERM ; say up\\n ; await TERM ; say bye\\n",
    ),
    mode("steady", 2, "say up\\n ; hold"),
    mode("server", 1, "serve port.#"),
    mode("recorder", 1, "record signals.# HUP USR1 USR2"),
    mode("random", 1, "urandom 5000 random.# ; sleep R ; exit 1"),
    mode("dumper", 1, "dump dump.# ; sleep R ; exit 1"),
    // What is left of its group writes as fast as it can until it is killed with the group.
    mode(
        "endless",
        1,
        "repeat 8 { sleep R } ; fork { endless lines } ; sleep 20 ; exit 1",
    ),
    mode("missing", 2, ""),
    mode("forbidden", 1, ""),
    mode("once", 1, "exit 1"),
    mode("content", 1, "exit 0"),
];

/// Modes whose every byte is accounted for, in reports and logs: each is one process alone,
/// and what it writes has no line feed, so that the supervisor's own words are found in it.
pub const ACCOUNTED: [&str; 2] = ["exact", "chatter"];

/// Code and bytes of a run that came to its own end.
const WHOLE_RUNS: [(&str, i64, u64); 5] = [
    ("exact", 4, 3077),
    ("binary", 5, 9000),
    ("flood", 6, 2_500_000),
    ("chatter", 7, 300),
    ("silent", 8, 0),
];

/// How long a program may take to stop. The end of the whole waits for those that refuse.
pub const STOP_TIMEOUT_SECONDS: u64 = 3;

struct Mode {
    name: &'static str,
    count: usize,
    script: &'static str,
}

const fn mode(name: &'static str, count: usize, script: &'static str) -> Mode {
    Mode {
        name,
        count,
        script,
    }
}

/// The mode of a program, from its name.
pub fn mode_of(program: &str) -> &str {
    program.trim_end_matches(|char: char| char.is_ascii_digit())
}

/// What a run of this program writes that ends with this code, if that is known.
pub fn bytes_of_run(program: &str, code: i64) -> Option<u64> {
    let known = WHOLE_RUNS.iter();
    let mut known = known.filter(|(mode, ..)| *mode == mode_of(program));
    known.find(|(_, end, _)| *end == code).map(|run| run.2)
}

/// Fills a scene with the programs, for so many restarts per second. Gives their names.
pub fn fill(scene: &mut Scene, per_second: f64, rng: &mut Rng) -> Vec<String> {
    scene.set(
        "defaults",
        json!({
            "backoff": {"initial": "1ms", "max": "4ms"},
            "stop_timeout": STOP_TIMEOUT_SECONDS,
        }),
    );
    scene.write("forbidden", "not to be executed");
    // How many restarts all of them make while one rest goes by.
    let weight = |mode: &Mode| match mode.script.matches(" R").count() {
        0 => 0.0,
        // A burst rests for thirty runs, and the endless one for eight.
        _ if mode.name == "endless" => 1.0 / 8.0,
        rests => mode.count as f64 / rests as f64,
    };
    let rest = MODES.iter().map(weight).sum::<f64>() / per_second * 1000.0;
    let mut names = Vec::new();
    for mode in &MODES {
        for number in 0..mode.count {
            let name = format!("{}{number}", mode.name);
            // Nobody beats time.
            let rest = rest * (700 + rng.below(600)) as f64 / 1000.0;
            let script = mode.script.replace(" R", &format!(" {}", rest as u64));
            let script = script.replace('#', &number.to_string());
            scene.add_raw(&name, program(mode.name, &script));
            names.push(name);
        }
    }
    assert_eq!(names.len(), 100, "a hundred programs");
    names
}

/// No report is so large that two of them fill the queue in front of stdout: then one would be
/// dropped, and said so, as it should be; here every start is to have its report.
fn program(mode: &str, script: &str) -> Value {
    let command = match mode {
        "missing" => json!(["/nonexistent/program"]),
        "forbidden" => json!(["./forbidden"]),
        _ => json!([tools::probe_path(), script]),
    };
    let mut program = json!({"command": command});
    match mode {
        "missing" | "forbidden" => program["backoff"] = json!({"initial": "3s", "max": "3s"}),
        "once" => program["restart"] = json!("never"),
        "content" => program["restart"] = json!("on-failure"),
        "binary" => program["report_bytes"] = json!(100),
        _ => {}
    }
    program
}

/// The operator's command for each report: it fails, it dies, it is slow, and at times it hangs
/// for longer than it may. The reports themselves are read now and then.
pub fn error_handler() -> Value {
    let script = "every 23 handler.slurp { slurp handler.reports } ; \
                  every 97 handler.slow { sleep 700 } ; every 211 handler.dead { sig KILL } ; \
                  every 307 handler.left { escape { sleep 900 } } ; \
                  every 5003 handler.hung { ignore TERM ; sleep 45000 } ; \
                  every 5 handler.failed { exit 1 }";
    json!([tools::probe_path(), script])
}
