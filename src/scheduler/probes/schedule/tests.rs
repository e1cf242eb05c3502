use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Moment {
    Moment::from_origin(Duration::from_millis(ms))
}

fn run(program: u32, generation: u64) -> Run {
    Run {
        program: ProgramId(program),
        generation,
    }
}

fn probe() -> Aim {
    Aim::Ready(Probe::command(["true"]))
}

fn health(retries: u32) -> Aim {
    let health = Health::command(["true"]).interval(10 * SECOND);
    Aim::Health(health.retries(retries))
}

fn failed() -> Outcome {
    Outcome::Failed(Error::new("it is ill"))
}

impl Schedule {
    /// Takes all checks that are due and have a slot.
    fn due(&mut self, now: Moment) -> Vec<Run> {
        self.queue_due(now);
        std::iter::from_fn(|| self.take()).collect()
    }

    fn verdict(&mut self, now: Moment, run: Run, outcome: Outcome) -> Verdict {
        self.finish(now, run, outcome).0
    }
}

fn text(warning: Option<Error>) -> String {
    warning.map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_probe_is_made_at_once_and_an_interval_after_the_end_of_each_that_fails() {
    let mut schedule = Schedule::default();
    let web = run(0, 1);
    assert_eq!(
        schedule.next_deadline(),
        None,
        "without checks there is nothing to do"
    );
    schedule.begin(at(500), web, probe());
    assert_eq!(schedule.next_deadline(), Some(at(500)));
    for begun in [500, 4_500, 8_500] {
        assert_eq!(schedule.due(at(begun - 1)), []);
        assert_eq!(schedule.due(at(begun)), [web]);
        assert_eq!(schedule.next_deadline(), None, "its end is waited for");
        let ended = at(begun + 3_000);
        assert_eq!(schedule.verdict(ended, web, failed()), Verdict::Nothing);
        assert_eq!(schedule.next_deadline(), Some(at(begun + 4_000)));
    }
    assert_eq!(schedule.due(at(12_500)), [web]);
    assert_eq!(
        schedule.verdict(at(12_501), web, Outcome::Passed),
        Verdict::Ready
    );
    assert_eq!(schedule.next_deadline(), None, "no other follows");
}

#[test]
fn health_begins_an_interval_after_it_is_up_and_goes_on_as_long_as_it_is_well() {
    let mut schedule = Schedule::default();
    let web = run(0, 1);
    schedule.begin(at(0), web, health(3));
    assert_eq!(schedule.health_of(web.program), HealthStatus::Unknown);
    for begun in [10_000, 20_000, 30_000] {
        assert_eq!(schedule.next_deadline(), Some(at(begun)));
        assert_eq!(schedule.due(at(begun)), [web]);
        assert_eq!(
            schedule.verdict(at(begun), web, Outcome::Passed),
            Verdict::Nothing
        );
        assert_eq!(schedule.health_of(web.program), HealthStatus::Healthy);
    }
}

#[test]
fn only_failures_in_a_row_end_a_run() {
    let mut schedule = Schedule::default();
    let web = run(0, 1);
    schedule.begin(at(0), web, health(3));
    let mut now = 0;
    let mut check = |outcome: Outcome, verdict: Verdict, status: HealthStatus| {
        now += 10_000;
        assert_eq!(schedule.due(at(now)), [web]);
        let (got, warning) = schedule.finish(at(now), web, outcome);
        assert_eq!(got, verdict);
        assert_eq!(schedule.health_of(web.program), status);
        text(warning)
    };
    let nothing = Verdict::Nothing;
    assert_eq!(check(failed(), nothing, HealthStatus::Failing(1)), "");
    assert_eq!(check(failed(), nothing, HealthStatus::Failing(2)), "");
    assert_eq!(check(Outcome::Passed, nothing, HealthStatus::Healthy), "");
    assert_eq!(check(failed(), nothing, HealthStatus::Failing(1)), "");
    assert_eq!(check(failed(), nothing, HealthStatus::Failing(2)), "");
    assert_eq!(
        check(failed(), Verdict::Unhealthy, HealthStatus::Failing(3)),
        "unhealthy: 3 health checks in a row failed, the last: it is ill"
    );
    assert_eq!(schedule.next_deadline(), None, "it is being ended");
    schedule.begin(at(0), run(0, 2), health(1));
    assert_eq!(schedule.due(at(10_000)), [run(0, 2)]);
    let (verdict, warning) = schedule.finish(at(10_000), run(0, 2), failed());
    assert_eq!(verdict, Verdict::Unhealthy);
    assert_eq!(text(warning), "unhealthy: a health check failed: it is ill");
}

/// What fails for a reason of the supervisor's is no word about the program.
#[test]
fn a_check_that_could_not_be_made_counts_for_nothing() {
    let mut schedule = Schedule::default();
    let web = run(0, 1);
    schedule.begin(at(0), web, health(2));
    for now in [10_000, 30_000, 50_000] {
        assert_eq!(schedule.due(at(now)), [web]);
        let untried = Outcome::Untried(Error::new("no memory"));
        let (verdict, warning) = schedule.finish(at(now), web, untried);
        assert_eq!(verdict, Verdict::Nothing);
        let expected = "health check was not made: no memory";
        assert_eq!(text(warning), if now == 10_000 { expected } else { "" });
        assert_eq!(schedule.health_of(web.program), HealthStatus::Unknown);
        assert_eq!(schedule.due(at(now + 10_000)), [web]);
        schedule.put_off(at(now + 10_000), web, 10 * SECOND);
    }
    assert_eq!(schedule.due(at(70_000)), [web]);
    assert_eq!(
        schedule.verdict(at(70_000), web, failed()),
        Verdict::Nothing
    );
    assert_eq!(schedule.health_of(web.program), HealthStatus::Failing(1));
}

#[test]
fn a_fault_of_the_config_and_a_hang_are_reported_once_a_run() {
    let mut schedule = Schedule::default();
    for generation in [1, 2] {
        let web = run(0, generation);
        schedule.begin(at(0), web, probe());
        let mut warnings = Vec::new();
        let error = || Error::new("why");
        for now in 0..6_u64 {
            assert_eq!(schedule.due(at(1_000 * now)), [web]);
            let outcome = match now % 3 {
                0 => Outcome::Unexecuted(error()),
                1 => Outcome::Hung(error()),
                _ => Outcome::Failed(error()),
            };
            let (verdict, warning) = schedule.finish(at(1_000 * now), web, outcome);
            assert_eq!(verdict, Verdict::Nothing);
            warnings.extend(warning.map(|error| error.to_string()));
        }
        assert_eq!(warnings, ["readiness probe failed: why"; 2]);
        let unready = text(schedule.explain_unready(web));
        assert_eq!(
            unready,
            "not ready: 6 readiness probes in a row failed, the last: why"
        );
        assert_eq!(schedule.explain_unready(run(0, 7)), None);
    }
}

#[test]
fn sixteen_are_under_way_and_the_others_wait_without_a_failure() {
    let mut schedule = Schedule::default();
    let runs: Vec<Run> = (0..40).map(|program| run(program, 1)).collect();
    for &run in &runs {
        schedule.begin(at(0), run, probe());
    }
    let first = schedule.due(at(0));
    assert_eq!(first, runs[..UNDERWAY_MAX]);
    assert_eq!(schedule.due(at(9_000)), []);
    assert_eq!(schedule.next_deadline(), None, "no slot is free");
    // One that is over makes room, whether it has ended or its program has.
    schedule.finish(at(9_000), runs[3], failed());
    schedule.end(runs[4].program);
    assert_eq!(schedule.next_deadline(), Some(Moment::default()));
    assert_eq!(schedule.due(at(9_000)), runs[16..18]);
    // One whose program is gone meanwhile has no turn.
    schedule.end(runs[18].program);
    schedule.begin(at(9_000), run(19, 2), probe());
    schedule.finish(at(9_000), runs[5], failed());
    schedule.finish(at(9_000), runs[6], failed());
    assert_eq!(schedule.due(at(9_000)), runs[20..22]);
    // Those that failed come after those that wait.
    for &run in &runs[7..16] {
        schedule.finish(at(9_500), run, Outcome::Passed);
    }
    assert_eq!(schedule.due(at(9_500)), runs[22..31]);
}

#[test]
fn a_result_that_comes_too_late_has_no_effect() {
    let mut schedule = Schedule::default();
    let (old, new) = (run(0, 1), run(0, 2));
    let late = (Verdict::Nothing, None);
    schedule.begin(at(0), old, probe());
    assert_eq!(
        schedule.finish(at(0), old, Outcome::Passed),
        late,
        "it has not begun"
    );
    assert_eq!(schedule.due(at(0)), [old]);
    schedule.begin(at(1), new, probe());
    assert_eq!(schedule.finish(at(1), old, Outcome::Passed), late);
    assert_eq!(schedule.aim(old), None);
    assert_eq!(schedule.due(at(1)), [new]);
    schedule.rest(new);
    assert_eq!(schedule.finish(at(1), new, Outcome::Passed), late);
    assert_eq!(schedule.next_deadline(), None);
    schedule.clear();
    assert_eq!(schedule.finish(at(2), new, Outcome::Passed), late);
    assert_eq!(schedule.underway, 0);
}

#[test]
fn what_is_ended_leaves_no_deadline() {
    let mut schedule = Schedule::default();
    for round in 0..1_000 {
        let web = run(0, round);
        schedule.begin(at(round), web, health(3));
        schedule.end(web.program);
    }
    assert_eq!(schedule.next_deadline(), None);
    assert!(schedule.timers.entries() < 100);
    assert!(schedule.watched.is_empty());
}
