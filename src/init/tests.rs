use super::*;

fn options(init: Init) -> Options {
    init.options
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    for code in 0..=255 {
        assert_eq!(i32::from(exit_code(Exit::Code(code))), code);
    }
    for signal in 1..=64 {
        let exit = Exit::Signal {
            signal,
            core_dumped: false,
        };
        assert_eq!(i32::from(exit_code(exit)), 128 + signal);
    }
    assert_eq!(exit_code(Exit::Unknown), 125);
    let options = options(Init::new(["x"]).success_code(143).success_code(3));
    assert_eq!(
        [0, 3, 4, 143].map(|code| options.mapped(code)),
        [0, 0, 4, 0]
    );
}

#[test]
fn the_last_rule_for_a_signal_counts() {
    let options = options(
        Init::new(["x"])
            .rewrite(libc::SIGTERM, libc::SIGQUIT)
            .rewrite(libc::SIGINT, 0)
            .rewrite(libc::SIGUSR1, libc::SIGKILL)
            .rewrite(libc::SIGUSR1, libc::SIGUSR2)
            .rewrite(libc::SIGTTOU, libc::SIGTSTP),
    );
    let table = [
        (libc::SIGTERM, Some(libc::SIGQUIT)),
        (libc::SIGQUIT, Some(libc::SIGQUIT)),
        (libc::SIGINT, None),
        (libc::SIGUSR1, Some(libc::SIGUSR2)),
        (libc::SIGTTOU, Some(libc::SIGTSTP)),
        (libc::SIGTTIN, None),
        (34, Some(34)),
        (64, Some(64)),
    ];
    for (signal, sent) in table {
        assert_eq!(options.rewritten(signal), sent, "{signal}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let problem = |init: Init| init.check().map_err(|error| error.to_string());
    let new = || Init::new(["x"]);
    let refused = |init: Init, reason: &str| {
        assert_eq!(problem(init), Err(reason.to_owned()));
    };
    assert_eq!(problem(new().rewrite(15, 9).rewrite(64, 0)), Ok(()));
    refused(Init::new([""; 0]), "the command is empty");
    let never = |name| format!("failed to rewrite {name}: it is never passed on");
    for signal in [9, 19, 17, 11, 7, 8, 4, 5, 31, 6] {
        refused(new().rewrite(signal, 15), &never(signal_name(signal)));
    }
    for number in [i32::MIN, -1, 65] {
        let reason = format!("invalid signal {number}: expected 1 to 64");
        refused(new().rewrite(15, number), &reason);
        refused(new().rewrite(number, 15), &reason);
        refused(new().parent_death_signal(number), &reason);
    }
    refused(new().rewrite(0, 15), "invalid signal 0: expected 1 to 64");
}

#[test]
fn events_read_as_one_line() {
    let (signal, sent) = (15, 3);
    let table = [
        (InitEvent::Started { pid: 7 }, "started pid=7"),
        (
            InitEvent::Forwarded { signal, sent },
            "forwarded signal=SIGTERM as=SIGQUIT",
        ),
        (
            InitEvent::Forwarded { signal, sent: 15 },
            "forwarded signal=SIGTERM",
        ),
        (
            InitEvent::EndingBy { signal: 2 },
            "ending by signal=SIGINT, as the command did",
        ),
        (
            InitEvent::Reaped { pid: 8, code: 137 },
            "reaped pid=8 code=137",
        ),
        (
            InitEvent::Abandoned { pids: vec![8, 9] },
            "abandoned pid=8,9 not gone 5 s after SIGKILL",
        ),
    ];
    for (event, line) in table {
        assert_eq!(event.to_string(), line);
    }
    let pids = (1..=1_000).collect();
    let line = InitEvent::Abandoned { pids }.to_string();
    assert!(line.starts_with("abandoned pid=1,2,3,"), "{line}");
    let end = ",31,32 and 968 more not gone 5 s after SIGKILL";
    assert!(line.ends_with(end), "{line}");
    assert!(InitEvent::Abandoned { pids: Vec::new() }.is_problem());
    assert!(!InitEvent::Killed.is_problem());
}
