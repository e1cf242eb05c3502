//! The pipe between a program and its log: whose words are whose, and who waits for whom.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::{Gate, Hold, Tracer};
use crate::common::{Need, Pattern, Report, Scene, alive, missing, process, tools, wait_for};

/// The first `length` bytes of a pattern, as a probe's `spew` writes them.
pub fn spewed(pattern: Pattern, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    pattern.fill(0, &mut bytes);
    bytes
}

#[test]
fn m63_a_death_is_told_although_somebody_holds_the_pipe() {
    let mut scene = Scene::new();
    let quick = json!({"backoff": {"initial": "100ms", "max": "100ms"}});
    let member = "fork { append members %p\\n ; hold } ; wait-file members ; exit 1";
    scene.add_with("member", member, quick.clone());
    let escaped = "anonymous ; escape { append escaped %p\\n ; hold } ; wait-file escaped ; exit 2";
    scene.add_with("escaped", escaped, quick);
    let supervisor = scene.start();
    for (name, code) in [("member", 1), ("escaped", 2)] {
        let report = supervisor.wait_report(name, 2);
        assert_eq!(
            (report.code(), report.count("restarts")),
            (code, 1),
            "{report:?}"
        );
    }
    let pid = |file: &str| scene.wait_lines(file, 1)[0].parse::<i32>().expect("a pid");
    let member = pid("members");
    wait_for("the member to be killed", || !alive(member));
    assert!(alive(pid("escaped")), "what is nobody's is left alone");
    supervisor.end();
}

#[test]
fn the_rest_of_a_group_is_killed_and_the_next_start_waits_until_it_is_gone() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let quick = json!({"backoff": {"initial": 0, "max": 0}});
    let script = "once first { fork { ignore TERM ; pid member ; hold } ; gate gate ; exit 3 } ; \
                  pid second ; hold";
    scene.add_with("p", script, quick);
    let supervisor = scene.start();
    let member = scene.wait_pid("member");
    // It will be killed, and yet stay: not a zombie, and not gone.
    let hold = Hold::on(&scene, member);
    gate.open();
    let report = supervisor.wait_report("p", 1);
    assert_eq!((report.code(), report.retry_in()), (3, Some(0.0)));
    hold.wait_dying();
    // Longer than any patience that is meant for zombies of others.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(
        supervisor.started("p").len(),
        1,
        "started beside a live member"
    );
    assert!(!scene.path("second").exists());
    hold.release();
    supervisor.wait_started("p", 2);
    scene.wait_pid("second");
    supervisor.end();
}

#[test]
fn m64_pipes_of_old_runs_do_not_pile_up() {
    let runs = tools::whole(100, 500);
    let mut scene = Scene::new();
    let quick = json!({"backoff": {"initial": "1ms", "max": "1ms"}});
    // What is nobody's, so far as one can tell, is left alone until the end.
    let script = "anonymous ; unless done { escape { hold } ; exit 1 } ; touch up ; hold";
    scene.add_with("p", script, quick);
    let supervisor = scene.start();
    supervisor.wait_reports(3);
    let before = process::descriptors(supervisor.pid()).len();
    supervisor.wait_reports(runs);
    scene.write("done", "");
    scene.wait_file("up");
    let after = process::descriptors(supervisor.pid()).len();
    assert!(after <= before + 2, "{before} descriptors became {after}");
    // One of an earlier run is kept; the others were closed, and that was said.
    assert!(!supervisor.messages_with(&["p", "warning"]).is_empty());
    assert!(
        supervisor.descendants().len() > runs,
        "nobody was left behind: no point"
    );
    supervisor.end();
}

#[test]
fn m65_a_report_has_the_words_of_its_own_run_alone() {
    let mut scene = Scene::new();
    let quick = json!({"backoff": {"initial": "50ms", "max": "50ms"}});
    // A straggler of each run writes into that run's pipe until long after the next start.
    let straggler = "anonymous ; escape { repeat 30 { say late%n\\n ; sleep 5 } }";
    let script =
        format!("count runs ; say run%n\\n ; {straggler} ; sleep 20 ; say end%n\\n ; exit 1");
    scene.add_with("p", &script, quick);
    let mut supervisor = scene.start();
    let reports = supervisor.wait_reports(12);
    assert_eq!(supervisor.stop(), 0);
    for report in &reports {
        let run = report.count("restarts") + 1;
        let data = String::from_utf8(report.data()).expect("text");
        assert!(data.starts_with(&format!("run{run}\n")), "{data:?}");
        assert!(data.contains(&format!("end{run}\n")), "{data:?}");
        let own = [
            format!("run{run}"),
            format!("late{run}"),
            format!("end{run}"),
        ];
        assert!(
            data.lines().all(|line| own.contains(&line.to_owned())),
            "run {run}: {data:?}"
        );
    }
    // What came after its run's end went into the log all the same.
    let log = String::from_utf8_lossy(&scene.log("p")).into_owned();
    let after_start_of_2 = log.split_once("run2\n").expect("a second run").1;
    assert!(after_start_of_2.contains("late1\n"), "{log}");
}

#[test]
fn m66_the_last_words_are_in_the_log_and_in_the_report() {
    let runs = tools::whole(300, 1000);
    let mut scene = Scene::new();
    // So few bytes that all reports fit into the queue in front of a slow reader.
    let keys = json!({"backoff": {"initial": 0, "max": 0}, "report_bytes": 1000});
    scene.add_with(
        "p",
        "unless done { spew 60000 lines ; say LAST\\n ; exit 9 } ; touch held ; hold",
        keys,
    );
    let supervisor = scene.start();
    (1..=10).for_each(|part| _ = supervisor.wait_reports(runs * part / 10));
    scene.write("done", "");
    scene.wait_file("held");
    let mut expected = spewed(Pattern::Lines, 60_000);
    expected.extend(b"LAST\n");
    let tail = &expected[expected.len() - 1000..];
    let reports = supervisor.end();
    let crashes: Vec<&Report> = reports.iter().filter(|report| report.code() == 9).collect();
    assert!(crashes.len() >= runs);
    for (run, report) in crashes.iter().enumerate() {
        assert!(
            report.data() == tail,
            "run {run} has {} bytes",
            report.data().len()
        );
        assert_eq!(report.count("log_offset"), (run * expected.len()) as u64);
        assert_eq!(report.count("data_omitted"), (expected.len() - 1000) as u64);
    }
    assert!(scene.log("p") == expected.repeat(crashes.len()));
}

#[test]
fn m67_what_is_written_while_stopping_is_kept() {
    let mut scene = Scene::new();
    let keys = json!({"report_bytes": 300_000});
    scene.add_with(
        "p",
        "trap TERM ; touch up ; await TERM ; spew 204800 binary ; exit 0",
        keys,
    );
    let supervisor = scene.start();
    scene.wait_file("up");
    let reports = supervisor.end();
    assert_eq!((reports[0].code(), reports[0].stopping()), (0, true));
    let expected = spewed(Pattern::Binary, 204_800);
    assert!(
        scene.log("p") == expected,
        "the log has {} bytes",
        scene.log("p").len()
    );
    assert!(
        reports[0].data() == expected,
        "the report has {} bytes",
        reports[0].data().len()
    );
}

#[test]
fn m68_nobody_blocks_on_a_full_pipe() {
    let bytes = tools::whole(3 << 20, 10 << 20);
    let mut scene = Scene::new();
    for index in 0..20 {
        let script = format!("spew {bytes} lines");
        let keys = json!({"restart": "never", "report_bytes": 1000});
        scene.add_with(&format!("p{index}"), &script, keys);
    }
    let reports = scene.start().ends_with(0);
    assert_eq!(reports.len(), 20);
    let expected = spewed(Pattern::Lines, bytes);
    for report in reports {
        assert_eq!(report.code(), 0, "{report:?}");
        assert!(scene.log(report.name()) == expected, "{report:?}");
        assert_eq!(report.count("data_omitted"), (bytes - 1000) as u64);
    }
}

#[test]
fn m70_noisy_programs_hold_up_nobody() {
    let mut scene = Scene::new();
    scene
        .add("noisy1", "endless lines")
        .add("noisy2", "endless lines");
    scene.add("quiet", "stamp starts ; say words\\n ; stamp ends ; exit 1");
    let mut supervisor = scene.start();
    let written = |name: &str| {
        let pid = supervisor.started(name)[0];
        let io = std::fs::read_to_string(process::directory(pid).join("io")).expect("it runs");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("wchar: "))
            .expect("wchar");
        line.parse::<u64>().expect("a number")
    };
    // The logs are kept short: O_APPEND goes on at the new end.
    wait_for("the quiet one's second start", || {
        for name in ["noisy1", "noisy2"] {
            let log = std::fs::OpenOptions::new()
                .write(true)
                .open(scene.log_path(name));
            log.and_then(|log| log.set_len(0)).unwrap_or_default();
        }
        scene.lines("starts").len() >= 2
    });
    let (first, second) = (written("noisy1"), written("noisy2"));
    let moment = |file: &str, line: usize| scene.lines(file)[line].parse::<u64>().expect("ns");
    let gap = Duration::from_nanos(moment("starts", 1) - moment("ends", 0));
    assert!(gap >= Duration::from_secs(1), "the delay was {gap:?}");
    assert!(
        gap < Duration::from_secs(3),
        "the delay of 1 s became {gap:?}"
    );
    assert!(
        first > 1 << 20 && second > 1 << 20,
        "they wrote {first} and {second} bytes"
    );
    let share = first as f64 / (first + second) as f64;
    assert!(
        (0.3..0.7).contains(&share),
        "one had {share} of the attention"
    );
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the stop took {:?}",
        start.elapsed()
    );
}

#[test]
fn m71_what_is_in_the_pipe_at_the_hang_up_is_kept() {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add_with(
        "p",
        "gate gate ; spew 65536 binary",
        json!({"restart": "never"}),
    );
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    supervisor.signal(libc::SIGSTOP);
    gate.open();
    wait_for("it to be dead", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'Z')
    });
    supervisor.signal(libc::SIGCONT);
    let reports = supervisor.ends_with(0);
    let expected = spewed(Pattern::Binary, 65_536);
    assert!(reports[0].data() == expected, "{:?}", reports[0]);
    assert!(scene.log("p") == expected);
}

#[test]
fn m123_a_stop_does_not_wait_for_the_end_of_a_pipe() {
    let mut scene = Scene::new();
    let script = "escape { ignore TERM ; pid orphan ; forever { sleep 10 ; say x } } ; \
                  wait-file orphan ; hold";
    scene.add_with("p", script, json!({"stop_timeout": "300ms"}));
    let supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    let start = Instant::now();
    // It holds the pipe until its SIGKILL, which comes with that of the programs.
    supervisor.end();
    assert!(!alive(orphan), "it is stopped with the rest");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

#[test]
fn the_words_are_in_the_log_while_the_program_runs() {
    let mut scene = Scene::new();
    scene.add(
        "p",
        "say no\\sline\\send ; touch said ; wait-file go ; say \\0\\xff\\n ; hold",
    );
    let supervisor = scene.start();
    wait_for("the words", || scene.log("p") == b"no line end");
    scene.write("go", "");
    wait_for("the other words", || {
        scene.log("p") == b"no line end\0\xff\n"
    });
    supervisor.end();
}

/// The system had no memory for one read of a pipe. That counted as the end of what the program
/// had to say: its last words were in no log and no report, and its next ones killed it.
#[test]
fn a_pipe_that_refuses_to_be_read_is_read_again_and_what_is_lost_is_counted() {
    if missing(&[Need::Strace]) {
        return;
    }
    for (fails, is_lost) in [("when=1..3", false), ("when=1+", true)] {
        let mut scene = Scene::new();
        let mut gate = Gate::new(&scene, "gate");
        scene.add("p", "gate gate ; say hello\\n ; hold");
        let mut supervisor = scene.start();
        supervisor.wait_started("p", 1);
        let inject = format!("inject=read:error=ENOMEM:{fails}");
        let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
        gate.open();
        if is_lost {
            supervisor.wait_message(&["p", "warning", "failed to read its stderr: "]);
        } else {
            wait_for("the word in the log", || scene.log("p") == b"hello\n");
            assert!(tracer.injected() >= 3, "{}", tracer.injected());
        }
        drop(tracer);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
        let dropped = supervisor.messages_with(&["p", "dropped", "bytes=6"]);
        assert_eq!(dropped.len(), usize::from(is_lost), "{}", supervisor.said());
    }
}
