//! The scenarios of other supervisors' own tests about dependencies, oneshots and limits, tried here.
//! Those about readiness and health are in `ready_peers.rs`.
//!
//! | source | scenario | here |
//! |---|---|---|
//! | dinit `igr-tests/before-after` | three scripts in order, the slowest first; again after a stop | the same |
//! | dinit `before-after2` | the order without the requirement | the same: `after` |
//! | dinit `pseudo-cycle` | `before` along a requirement | there is no `before`; the rest is the same |
//! | dinit `cycles`, `check-cycle`, `check-cycle2`; process-compose `circular` | cycles, itself | refused by `check` and `run`, with the path |
//! | dinit `dep-not-found` | a name that does not exist | refused, with a suggestion |
//! | dinit `chain-to` | each starts the next at its end | oneshots: `requires` goes on after success, `after` always |
//! | dinit `svc-start-fail` | a command that is not there | it has failed; what requires it is pending and says why |
//! | dinit `force-stop` | a stop of what others require | needs no force: these stop first (`control_orders.rs`) |
//! | dinit `add-rm-dep` | a requirement is removed | the other runs on, as nothing stops it; dinit stops it |
//! | dinit `reload1` | a new requirement that does not run | is started; dinit refuses the reload |
//! | process-compose `chain`, Horust `test_stress_test_chained_services` | a chain of ten | the same |
//! | process-compose `chain-exit` | the last of a chain fails and ends all | the same, with its code |
//! | process-compose `transitive-dep` | a failure two steps away | nothing behind it runs; code 1 |
//! | process-compose `shutdown-inorder`, Horust `test_shutdown_after_chain` | stop order of a rhombus | the same |
//! | process-compose `success-exit-codes` | 130 is a success | the same |
//! | process-compose `success-exit-on-end` | and ends everything | code 130, the program's own; there 0 |
//! | process-compose `ConcurrentRestartRaceCondition` | many restarts at once | one process at the end |
//! | process-compose `TestRestartingProcessShutDown` | a stop between two runs | the same (`stop.rs`) |
//! | Horust `test_start_after` | three in order | the same |
//! | Horust `failure strategy = "shutdown"` | the end of one ends all | `essential`: the same |
//! | Horust `kill-dependents`, `die-if-failed` | the end of one ends what needs it | `requires`: the same |
//! | Horust `test_restart_attempts` | one try, or two | `max_restarts` 0 and 1: the same |
//! | nitro `t/1601-parallel-start` | three starts by one command | the same |
//! | nitro `t/1007-once` | not started again, but by hand | `restart: never`: the same |

use serde_json::{Value, json};

use crate::common::operator::{Operator, control, order, status, wait_state};
use crate::common::{Scene, process};
use crate::config_errors::assert_refused;

fn once(more: Value) -> Value {
    let mut keys = json!({"oneshot": true});
    let object = keys.as_object_mut().expect("an object");
    object.extend(more.as_object().expect("an object").clone());
    keys
}

/// A supervisor that has nothing to do ends.
fn without_control() -> Scene {
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    scene
}

/// dinit `before-after`, Horust `test_start_after`: the slowest is the first.
#[test]
fn what_starts_after_a_oneshot_waits_for_its_end() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let last = "append order three\\n";
    scene.add_with("three", last, once(json!({"after": ["two"]})));
    let middle = "sleep 100 ; append order two\\n";
    scene.add_with("two", middle, once(json!({"after": ["one"]})));
    scene.add_with("one", "sleep 300 ; append order one\\n", once(json!({})));
    let parent = json!({"requires": ["three", "one", "two"]});
    scene.add_with("parent", "hold", parent);
    let supervisor = scene.start();
    let order_of = |count| scene.wait_lines("order", count);
    assert_eq!(order_of(3), ["one", "two", "three"]);
    wait_state(&supervisor, &socket, "parent", "running");
    // Again by hand: what it requires starts with it.
    let mut operator = Operator::connect(&socket);
    let all = ["parent", "three", "one", "two"];
    operator.ask(&order("stop", &all)).fine();
    operator.ask(&order("start", &["parent"])).fine();
    assert_eq!(order_of(6)[3..], ["one", "two", "three"]);
    supervisor.end();
}

/// dinit `before-after2`: without its requirement it still comes after it.
#[test]
fn a_requirement_that_is_removed_leaves_the_order() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let keys = |links: Value| {
        let mut keys = once(links);
        keys["autostart"] = json!(false);
        keys
    };
    let slow = "sleep 300 ; append order one\\n";
    scene.add_with("one", slow, keys(json!({})));
    let two = "append order two\\n";
    let both = json!({"requires": ["one"], "after": ["one"]});
    scene.add_with("two", two, keys(both));
    let supervisor = scene.start();
    wait_state(&supervisor, &socket, "two", "stopped");
    scene.remove("two");
    scene.add_with("two", two, keys(json!({"after": ["one"]})));
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["reload", "= 1 unchanged"]);
    let mut operator = Operator::connect(&socket);
    operator.ask(&order("start", &["one", "two"])).fine();
    assert_eq!(scene.lines("order"), ["one", "two"]);
    supervisor.end();
}

/// dinit `cycles`, `check-cycle`; process-compose `circular`.
#[test]
fn cycles_are_refused_with_their_path() {
    let config = |links: &str| {
        let programs = ["a", "b", "c"].map(|name| {
            let own = links.split(' ').find_map(|link| {
                let (from, rest) = link.split_once('>')?;
                let (key, to) = rest.split_once('>')?;
                (from == name).then(|| format!(r#", "{key}": ["{to}"]"#))
            });
            format!(
                r#""{name}": {{"command": ["true"]{}}}"#,
                own.unwrap_or_default()
            )
        });
        format!(r#"{{"programs": {{{}}}}}"#, programs.join(", "))
    };
    for (links, words) in [
        ("a>after>b b>after>a", "a cycle: a → b → a"),
        ("a>requires>b b>after>a", "a cycle: a → b → a"),
        (
            "a>requires>b b>requires>c c>after>a",
            "a cycle: a → b → c → a",
        ),
        ("b>after>b", "\"b\" cannot wait for itself"),
        ("b>requires>b", "\"b\" cannot wait for itself"),
        ("a>requires>cc", "no program \"cc\""),
    ] {
        assert_refused(&config(links), &[words]);
    }
}

/// dinit `chain-to`: a success goes on, and so does a failure where the next only comes after it.
#[test]
fn a_chain_of_oneshots_goes_on_as_its_links_say() {
    let mut scene = without_control();
    let script = |name: &str, code: u8| format!("append order {name}\\n ; exit {code}");
    scene.add_with("part1", &script("part1", 0), once(json!({})));
    let links = json!({"requires": ["part1"]});
    scene.add_with("part2", &script("part2", 0), once(links));
    let links = json!({"requires": ["part2"]});
    scene.add_with("part3", &script("part3", 1), once(links));
    let links = json!({"after": ["part3"]});
    scene.add_with("part4", &script("part4", 1), once(links));
    let links = json!({"requires": ["part4"]});
    scene.add_with("part5", &script("part5", 0), once(links));
    let supervisor = scene.start();
    // What is held for good does not keep it.
    let reports = supervisor.ends_with(1);
    assert_eq!(reports.len(), 4);
    let expected = ["part1", "part2", "part3", "part4"];
    assert_eq!(scene.lines("order"), expected);
}

/// process-compose `chain`, Horust `test_stress_test_chained_services`: the file has them the other
/// way round.
#[test]
fn a_chain_of_ten_runs_in_its_order() {
    let mut scene = without_control();
    for index in (0..10_usize).rev() {
        let requires: Vec<String> = index
            .checked_sub(1)
            .map(|i| format!("p{i}"))
            .into_iter()
            .collect();
        let script = format!("append order p{index}\\n");
        scene.add_with(
            &format!("p{index}"),
            &script,
            once(json!({"requires": requires})),
        );
    }
    scene.start().ends_with(0);
    let expected: Vec<String> = (0..10).map(|index| format!("p{index}")).collect();
    assert_eq!(scene.lines("order"), expected);
}

/// process-compose `transitive-dep` and `chain-exit`.
#[test]
fn nothing_runs_behind_a_failure() {
    for (essential, code) in [(false, 1), (true, 42)] {
        let mut scene = without_control();
        let script = "append order never\\n";
        scene.add_with("c", script, once(json!({"requires": ["b"]})));
        scene.add_with("b", script, once(json!({"requires": ["a"]})));
        scene.add_with("a", "exit 42", once(json!({"essential": essential})));
        let reports = scene.start().ends_with(code);
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(scene.lines("order"), [""; 0]);
    }
}

/// process-compose `shutdown-inorder`, Horust `test_shutdown_after_chain`.
#[test]
fn a_stop_goes_the_other_way() {
    let mut scene = Scene::new();
    let script = |name: &str| {
        format!("trap TERM ; append up x\\n ; await TERM ; sleep 50 ; append order {name}\\n")
    };
    scene.add("a", &script("a"));
    for middle in ["c", "d"] {
        scene.add_with(middle, &script(middle), json!({"requires": ["a"]}));
    }
    scene.add_with("b", &script("b"), json!({"after": ["c", "d"]}));
    let supervisor = scene.start();
    scene.wait_lines("up", 4);
    supervisor.end();
    let order = scene.lines("order");
    assert_eq!((&*order[0], &*order[3]), ("b", "a"), "{order:?}");
}

/// Horust `kill-dependents` and `die-if-failed`: what requires it stops, what comes after it does not.
#[test]
fn what_requires_a_failure_is_stopped() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let keys = json!({"restart": "never"});
    scene.add_with("a", "wait-file go ; exit 1", keys);
    let script = "trap TERM ; touch up ; await TERM ; touch stopped";
    scene.add_with("b", script, json!({"requires": ["a"]}));
    scene.add_with("c", "hold", json!({"after": ["a"]}));
    let supervisor = scene.start();
    scene.wait_file("up");
    let pid = supervisor.wait_started("c", 1);
    scene.write("go", "");
    let b = wait_state(&supervisor, &socket, "b", "pending");
    assert_eq!(b["reason"], "requires a: failed");
    assert_eq!(b["last_exit"]["cause"], "requirement");
    scene.wait_file("stopped");
    let c = status(&socket, "c");
    assert_eq!((&c["state"], &c["pid"]), (&json!("running"), &json!(pid)));
    supervisor.end();
}

/// Horust `failure strategy = "shutdown"`.
#[test]
fn the_failure_of_an_essential_program_stops_the_rest() {
    let mut scene = Scene::new();
    let keys = json!({"restart": "never", "essential": true});
    scene.add_with("a", "wait-file go ; exit 1", keys);
    scene.add_with("b", "touch up ; hold", json!({"after": ["a"]}));
    let supervisor = scene.start();
    scene.wait_file("up");
    scene.write("go", "");
    let reports = supervisor.ends_with(1);
    assert_eq!(reports.len(), 2);
}

/// Horust `test_restart_attempts`: the second try would succeed.
#[test]
fn there_are_as_many_tries_as_the_limit_says() {
    for (restarts, runs, code) in [(0, 1, 1), (1, 2, 0)] {
        let mut scene = without_control();
        let quick = json!({"initial": "5ms", "max": "5ms"});
        let keys = json!({
            "restart": "on-failure", "max_restarts": restarts, "backoff": quick
        });
        let script = "append runs x\\n ; once first { exit 1 } ; exit 0";
        scene.add_with("p", script, keys);
        scene.start().ends_with(code);
        assert_eq!(scene.lines("runs").len(), runs);
    }
}

/// process-compose `success-exit-codes` and `success-exit-on-end`.
#[test]
fn a_code_that_is_a_success_is_no_failure() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let quick = json!({"initial": "5ms", "max": "5ms"});
    let keys = |codes: &[i32], restarts: u32| {
        json!({
            "restart": "on-failure", "success_codes": codes, "max_restarts": restarts,
            "backoff": quick
        })
    };
    scene.add_with("allowed", "exit 130", keys(&[130], 3));
    scene.add_with("control", "exit 130", keys(&[], 1));
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let allowed = wait_state(&supervisor, &socket, "allowed", "exited");
    assert_eq!(allowed["restarts"], 0);
    let failed = wait_state(&supervisor, &socket, "control", "failed");
    assert_eq!(failed["restarts"], 1);
    assert_eq!(failed["reason"], "1 restart in a row");
    supervisor.end();
    let mut scene = Scene::new();
    let keys = json!({
        "restart": "on-failure", "success_codes": [130], "essential": true
    });
    scene.add_with("p", "exit 130", keys);
    scene.start().ends_with(130);
}

/// dinit `svc-start-fail`.
#[test]
fn what_requires_a_command_that_is_not_there_says_so() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    scene.add_raw("bad", json!({"command": ["./no"], "restart": "never"}));
    scene.add_with("app", "append order x\\n", json!({"requires": ["bad"]}));
    scene.add("other", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("other", 1);
    let app = wait_state(&supervisor, &socket, "app", "pending");
    assert_eq!(app["reason"], "requires bad: failed");
    let bad = status(&socket, "bad");
    assert_eq!(bad["last_exit"]["return_code"], 127);
    assert_eq!(bad["last_exit"]["cause"], "start-failed");
    assert_eq!(scene.lines("order"), [""; 0]);
    supervisor.end();
}

/// dinit `add-rm-dep` and `reload1`: where ours differ.
#[test]
fn a_reload_starts_a_new_requirement_and_stops_no_former_one() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    scene.add_with("main", "hold", json!({"requires": ["old"]}));
    scene.add("old", "hold");
    scene.add_with("new", "hold", json!({"autostart": false}));
    let supervisor = scene.start();
    let main = supervisor.wait_started("main", 1);
    let old = supervisor.wait_started("old", 1);
    scene.remove("main");
    scene.add_with("main", "hold", json!({"requires": ["new"]}));
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["reload", "main", "changes in place: requires"]);
    supervisor.wait_message(&["reload", "~ new   will be started: main requires it"]);
    wait_state(&supervisor, &socket, "new", "running");
    let pid = |name: &str| status(&socket, name)["pid"].clone();
    assert_eq!((pid("main"), pid("old")), (json!(main), json!(old)));
    supervisor.end();
}

/// process-compose `ConcurrentRestartRaceCondition`: two runs of one program were left.
#[test]
fn many_restarts_at_once_leave_one_process() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    scene.add("p", "append runs %p\\n ; hold");
    let supervisor = scene.start();
    scene.wait_lines("runs", 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // A later one may supersede it.
                Operator::ask_once(&socket, &order("restart", &["p"]));
            });
        }
    });
    let p = wait_state(&supervisor, &socket, "p", "running");
    let last = p["pid"].as_i64().expect("a pid") as i32;
    supervisor.wait("all that was started", || {
        supervisor.started("p").contains(&last)
    });
    let runs = supervisor.started("p");
    let alive: Vec<i32> = runs
        .into_iter()
        .filter(|&pid| process::alive(pid))
        .collect();
    assert_eq!(alive, [last]);
    supervisor.end();
}

/// nitro `t/1601-parallel-start`: all of them by one command.
#[test]
fn one_command_starts_several() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let names = ["a", "b", "c"];
    for name in names {
        scene.add_with(name, "hold", json!({"autostart": false}));
    }
    let supervisor = scene.start();
    let started = Operator::ask_once(&socket, &order("start", &names)).fine();
    for name in names {
        assert_eq!(started.program(name)["state"], "running");
    }
    supervisor.end();
}

/// nitro `t/1007-once`.
#[test]
fn what_ran_once_runs_again_by_hand_alone() {
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    scene.add_with(
        "p",
        "append runs x\\n ; exit 0",
        json!({"restart": "never"}),
    );
    scene.add("stays", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &socket, "p", "exited");
    assert_eq!(scene.lines("runs").len(), 1);
    Operator::ask_once(&socket, &order("start", &["p"]));
    scene.wait_lines("runs", 2);
    wait_state(&supervisor, &socket, "p", "exited");
    supervisor.end();
}
