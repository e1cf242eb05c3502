//! The keys of a program that say when it is up, when it is restarted, how it is stopped, and where
//! its output goes.

use super::KeyType::{
    Address, Boolean, Command, Duration, Exit, False, List, Object, OneOf, Share, Size, StopSignal,
    Whole, Word,
};
use super::Rule::{ExactlyOne, Needs, NotBoth};
use super::Scope::Program;
use super::{KeyDefault, KeyType, Reload, Table};
use crate::spec::ready::{FD_MAX, FD_MIN};
use crate::spec::{LOG_BYTES_MIN, LOG_KEEP_MAX, REPORT_BYTES_MAX};
use KeyDefault::{Json, None, Words};

const U32_MAX: i64 = 4_294_967_295;

/// A duration that may be 0.
const TIME: KeyType = Duration { zero: true };

/// A duration that may not.
const LONGER: KeyType = Duration { zero: false };

/// Adds them in the order in which the parser names them.
pub(super) fn add(table: &mut Table) {
    add_restarts(table);
    add_ends(table);
    add_backoff(table);
    add_ready(table);
    add_health(table);
    add_stop(table);
    add_output(table);
}

fn add_restarts(table: &mut Table) {
    table
        .add(Program, "autostart", Boolean, Json("true"), "false")
        .summary("Whether it starts with the supervisor.")
        .details("If not, it is down until it is started, or until a program that requires it is.")
        .systemd("[Install]")
        .supervisord("autostart");
    let restart = Word("always on-failure never");
    let by_kind = Words("\"always\"; of a oneshot \"never\"");
    table
        .add(Program, "restart", restart, by_kind, r#""on-failure""#)
        .summary("When it is restarted after it has ended.")
        .systemd("Restart")
        .supervisord("autorestart")
        .compose("restart");
    let count = Whole {
        min: 0,
        max: U32_MAX,
    };
    table
        .add(Program, "max_restarts", count, None, "10")
        .summary("Number of restarts in a row after which it has failed for good.")
        .details(
            "Not in total: after a run that lasts for backoff.reset_after, the count begins at 0 \
             again.",
        )
        .systemd("StartLimitBurst")
        .supervisord("startretries")
        .compose("restart: on-failure:N");
}

fn add_ends(table: &mut Table) {
    table
        .add(
            Program,
            "success_codes",
            List(&Exit),
            Json("[]"),
            r#"[143, "TERM"]"#,
        )
        .summary("Exit codes and signals that are a success, as 0 is.")
        .systemd("SuccessExitStatus")
        .supervisord("exitcodes");
    table
        .add(
            Program,
            "permanent_failure_codes",
            List(&Exit),
            Json("[]"),
            "[78]",
        )
        .summary("Exit codes and signals after which it is not restarted.")
        .details("It has failed then, whatever restart says.")
        .systemd("RestartPreventExitStatus");
    table
        .add(Program, "oneshot", Boolean, Json("false"), "true")
        .summary("Whether it is up once it has exited with success; it is not restarted then.")
        .reload(Reload::Restart)
        .systemd("Type=oneshot")
        .compose("depends_on: service_completed_successfully");
    table
        .add(Program, "essential", Boolean, Json("false"), "true")
        .summary("Whether everything is stopped when it ends for good.")
        .details(
            "Its exit code is then the exit code of run. With \"restart\": \"always\" it ends for \
             good only by max_restarts or permanent_failure_codes. A oneshot stops everything \
             only if it fails.",
        )
        .systemd("FailureAction=exit")
        .compose("--exit-code-from");
}

fn add_backoff(table: &mut Table) {
    table
        .add(
            Program,
            "backoff",
            Object(&[]),
            Json("{}"),
            r#"{"initial": "500ms", "max": "30s"}"#,
        )
        .summary("Delays before restarts: from initial, doubled each time, to max.")
        .reload(Reload::Inside);
    table
        .add(Program, "backoff.initial", TIME, Json("1"), r#""500ms""#)
        .summary("First delay before a restart; 0 restarts at once.")
        .systemd("RestartSec");
    table
        .add(Program, "backoff.max", TIME, Json("60"), r#""30s""#)
        .summary("Longest delay before a restart.")
        .systemd("RestartMaxDelaySec");
    table
        .add(Program, "backoff.reset_after", TIME, Json("30"), r#""10m""#)
        .summary("Length of a run after which the delay is the first one again.");
    table
        .add(Program, "backoff.jitter", Share, Json("0"), "0.5")
        .summary("Largest part of a delay that is added to it at random.")
        .details(
            "Programs that died together come back one by one. Reports have the delay without \
             that part, and status with it.",
        );
}

fn add_ready(table: &mut Table) {
    const OBJECT: KeyType = Object(&[
        ExactlyOne("fd delay connect command"),
        Needs("interval", "connect command"),
        Needs("timeout", "connect command"),
    ]);
    let ready = OneOf(&[Word("notify"), OBJECT, False]);
    table
        .add(Program, "ready", ready, None, r#""notify""#)
        .summary("How it is known to be up; without this, once it is executed.")
        .details(
            "\"notify\" is READY=1 on NOTIFY_SOCKET. An object has one of fd, delay, connect and \
             command. false switches off what defaults has. It is an error with oneshot. A \
             change holds from the next start on.",
        )
        .systemd("Type=notify")
        .compose("healthcheck");
    let fd = Whole {
        min: i64::from(FD_MIN),
        max: i64::from(FD_MAX),
    };
    table
        .add(Program, "ready.fd", fd, None, "3")
        .summary("Descriptor to which it writes a newline when it is up.");
    table
        .add(Program, "ready.delay", TIME, None, r#""1s""#)
        .summary("Time that it has run when it is up.")
        .supervisord("startsecs");
    add_check(
        table,
        [
            (
                "ready.connect",
                "Address that accepts a connection when it is up.",
            ),
            ("ready.command", "Command that exits with 0 when it is up."),
            ("ready.interval", "Time from the end of a try to the next."),
            ("ready.timeout", "Time that a try may take."),
        ],
        ["1", "5"],
    );
    let timeout = Words("60 with ready, but for a delay; else none");
    table
        .add(Program, "start_timeout", TIME, timeout, r#""30s""#)
        .summary("Time that it may take to come up; 0 means no limit.")
        .details(
            "After that it is ended with stop_signal, and restart says what follows. Of a \
             oneshot it is the time of the whole run.",
        )
        .systemd("TimeoutStartSec")
        .compose("healthcheck: start_period");
}

/// Adds what `ready` and `health` have in common: names, summaries and the defaults of both times.
fn add_check(
    table: &mut Table,
    [connect, command, interval, timeout]: [(&'static str, &'static str); 4],
    [interval_default, timeout_default]: [&'static str; 2],
) {
    table
        .add(Program, connect.0, Address, None, r#""127.0.0.1:8080""#)
        .summary(connect.1)
        .details(
            "It is \"127.0.0.1:8080\", \"[::1]:80\", or a path with a slash, which is a Unix \
             socket. Host names are not looked up. The supervisor connects itself, in its own \
             namespaces.",
        );
    table
        .add(Program, command.0, Command, None, r#"["./is-up"]"#)
        .summary(command.1)
        .details("It runs as the program does, with /dev/null as stdin, stdout and stderr.");
    table
        .add(
            Program,
            interval.0,
            LONGER,
            Json(interval_default),
            r#""500ms""#,
        )
        .summary(interval.1);
    table
        .add(Program, timeout.0, LONGER, Json(timeout_default), r#""2s""#)
        .summary(timeout.1);
}

fn add_health(table: &mut Table) {
    let health = OneOf(&[Object(&[NotBoth("connect", "command")]), False]);
    table
        .add(
            Program,
            "health",
            health,
            None,
            r#"{"connect": "127.0.0.1:8080"}"#,
        )
        .summary("Check that is made while it is up, by connect or command.")
        .details(
            "When it has failed for retries times in a row, the run is ended with stop_signal, \
             and restart says what follows. What requires the program goes on. false switches \
             off what defaults has. It is an error with oneshot.",
        )
        .compose("healthcheck");
    add_check(
        table,
        [
            ("health.connect", "Address that accepts a connection."),
            ("health.command", "Command that exits with 0."),
            (
                "health.interval",
                "Time from the end of a check to the next.",
            ),
            ("health.timeout", "Time that a check may take."),
        ],
        ["10", "5"],
    );
    let retries = Whole {
        min: 1,
        max: U32_MAX,
    };
    table
        .add(Program, "health.retries", retries, Json("3"), "5")
        .summary("Number of failed checks in a row that end the run.")
        .compose("healthcheck: retries");
    table
        .add(Program, "watchdog", TIME, Json("0"), r#""30s""#)
        .summary("Longest time between two WATCHDOG=1 while it is up; 0 is none.")
        .details(
            "The first time begins when the program is up, not at its start. When a time is over \
             without a message, the program gets SIGABRT, and SIGKILL after stop_timeout. The \
             variable WATCHDOG_USEC has the time in microseconds. It is an error with oneshot.",
        )
        .reload(Reload::Restart)
        .systemd("WatchdogSec");
}

fn add_stop(table: &mut Table) {
    table
        .add(
            Program,
            "stop_signal",
            StopSignal,
            Json(r#""TERM""#),
            r#""INT""#,
        )
        .summary("Signal that asks it to stop; SIGCONT follows.")
        .details("STOP, TSTP, TTIN and TTOU are errors, as SIGCONT cancels them.")
        .systemd("KillSignal")
        .supervisord("stopsignal")
        .compose("stop_signal");
    table
        .add(Program, "stop_timeout", TIME, Json("10"), r#""8s""#)
        .summary("Time from stop_signal to SIGKILL; 0 sends both at once.")
        .systemd("TimeoutStopSec")
        .supervisord("stopwaitsecs")
        .compose("stop_grace_period");
    table
        .add(
            Program,
            "stop_to",
            Word("group main"),
            Json(r#""group""#),
            r#""main""#,
        )
        .summary("Processes that get stop_signal: its group, or its first process.")
        .details("SIGKILL goes to the group in any case.")
        .systemd("KillMode")
        .supervisord("stopasgroup");
}

fn add_output(table: &mut Table) {
    let stdout = Word("log stderr inherit null");
    table
        .add(Program, "stdout", stdout, Json(r#""null""#), r#""log""#)
        .summary("Where its stdout goes.")
        .details(
            "\"log\" is NAME.stdout.log in err_dir. \"stderr\" is where its stderr goes, through \
             the same pipe, so that the order stays. \"inherit\" is the supervisor's own stdout, \
             line by line. \"null\" is /dev/null.",
        )
        .reload(Reload::Restart)
        .systemd("StandardOutput")
        .supervisord("stdout_logfile")
        .compose("logging");
    let stderr = Word("log inherit null");
    table
        .add(Program, "stderr", stderr, Json(r#""log""#), r#""inherit""#)
        .summary("Where its stderr goes.")
        .details(
            "\"log\" is NAME.stderr.log in err_dir. \"inherit\" is the supervisor's own stderr, \
             line by line. \"null\" is /dev/null, and reports have no data then.",
        )
        .reload(Reload::Restart)
        .systemd("StandardError")
        .supervisord("stderr_logfile, redirect_stderr")
        .compose("logging");
    table
        .add(
            Program,
            "log",
            Object(&[]),
            Json("{}"),
            r#"{"max_bytes": "10M", "keep": 5}"#,
        )
        .summary("How its logs are kept.")
        .reload(Reload::Inside);
    let size = Size { min: LOG_BYTES_MIN };
    table
        .add(Program, "log.max_bytes", size, Json("0"), r#""10M""#)
        .summary("Size beyond which a log is rotated; 0 is never.")
        .details("It is 65536 at least.")
        .supervisord("stderr_logfile_maxbytes")
        .compose("logging: max-size");
    let keep = Whole {
        min: 0,
        max: i64::from(LOG_KEEP_MAX),
    };
    table
        .add(Program, "log.keep", keep, Json("3"), "5")
        .summary("Number of rotated logs that are kept; with 0 a log is emptied.")
        .supervisord("stderr_logfile_backups")
        .compose("logging: max-file");
    table
        .add(Program, "log.timestamps", Boolean, Json("false"), "true")
        .summary("Whether each line begins with the time, in UTC.");
    table
        .add(Program, "log.marks", Boolean, Json("false"), "true")
        .summary("Whether the start and the end of each run have a line.");
    let bytes = Whole {
        min: 0,
        max: REPORT_BYTES_MAX as i64,
    };
    table
        .add(Program, "report_bytes", bytes, Json("65536"), "4096")
        .summary("Number of bytes of the end of stderr that a report has.")
        .details(
            "With 0 the message of a failure has no last line either. A change holds from the next \
             start on.",
        );
}
