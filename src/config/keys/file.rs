//! The keys of the file.

use super::KeyType::{
    Account, Command, Defaults, Duration, False, Object, OneOf, Path, Programs, Word,
};
use super::Rule::Required as MustHave;
use super::Scope::File;
use super::{KeyDefault, Reload, Table};
use KeyDefault::{Json, None, Required, Words};

/// Adds them in the order in which the parser names them.
pub(super) fn add(table: &mut Table) {
    add_places(table);
    add_reports(table);
    add_programs(table);
}

fn add_places(table: &mut Table) {
    let directory = Words("the directory of the config file");
    table
        .add(File, "base_dir", Path, directory, r#""/srv/app""#)
        .summary("Directory that programs run in, and that other paths are relative to.")
        .details("It is relative to the directory of the config file itself.")
        .reload(Reload::Restart)
        .systemd("WorkingDirectory")
        .supervisord("directory");
    table
        .add(File, "err_dir", Path, Json(r#""/tmp""#), r#""logs""#)
        .summary("Directory of the logs.")
        .details(
            "It is created with mode 0755, less the umask, if it is missing. It is not needed if \
             no program has a log. A new log has mode 0640, whatever the umask is.",
        )
        .reload(Reload::Supervisor)
        .supervisord("childlogdir");
    add_handler(table);
    add_socket(table);
}

fn add_handler(table: &mut Table) {
    let handler = OneOf(&[Command, Object(&[MustHave("command")])]);
    table
        .add(File, "error_handler", handler, None, r#"["./notify.sh"]"#)
        .summary("Command that is run for each report.")
        .details(
            "The name of the program is its last argument, and the report is its stdin, as JSON.",
        )
        .systemd("OnFailure")
        .supervisord("[eventlistener:x]");
    table
        .add(
            File,
            "error_handler.command",
            Command,
            Required,
            r#"["./notify.sh"]"#,
        )
        .summary("The command, where the handler is an object.");
    table
        .add(
            File,
            "error_handler.when",
            Word("always failure"),
            Json(r#""always""#),
            r#""failure""#,
        )
        .summary("Reports that the command is run for: all of them, or those of failures.")
        .details(
            "A failure of any program, whatever its restart is: an exit code or signal other than \
             a success, a failed start, a start timeout, failed health checks, a missed watchdog. \
             An end that a stop asked for does not count.",
        );
}

fn add_socket(table: &mut Table) {
    let socket = OneOf(&[Path, False]);
    table
        .add(
            File,
            "control",
            socket,
            Words("a default path"),
            r#""run/control.sock""#,
        )
        .summary("Path of the control socket; false is none.")
        .details(
            "By default it is in /run/procsched for root, and in procsched in XDG_RUNTIME_DIR or \
             /run/user/UID for other users. Its name is made of the path of the config. With a \
             relative path base_dir comes in front. The path can have 107 bytes. --socket of run \
             comes before this key, false too.",
        )
        .reload(Reload::Supervisor)
        .supervisord("unix_http_server: file");
    table
        .add(File, "control_group", Account, None, r#""adm""#)
        .summary("Group that may use the control socket as well.")
        .reload(Reload::Supervisor)
        .supervisord("unix_http_server: chown");
}

fn add_reports(table: &mut Table) {
    table
        .add(
            File,
            "output",
            Word("text json"),
            Json(r#""text""#),
            r#""json""#,
        )
        .summary("Form of the messages on stderr, and of the lines of programs that inherit.")
        .details("With \"json\" each of them is a line of JSON.");
    table
        .add(
            File,
            "reports",
            Word("stdout none"),
            Json(r#""stdout""#),
            r#""none""#,
        )
        .summary("Where reports go; with \"none\" the error handler alone gets them.");
    table
        .add(
            File,
            "shutdown_timeout",
            Duration { zero: false },
            None,
            r#""45s""#,
        )
        .summary("Time within which everything has ended once a shutdown begins.")
        .details(
            "It is 100 ms at least. SIGKILL goes to everything that is left 1 s before the end \
             of this time, or after half of it if it is shorter than 2 s. What survives SIGKILL \
             is given up (abandoned), and the exit code is 1.",
        )
        .systemd("TimeoutStopSec");
}

fn add_programs(table: &mut Table) {
    table
        .add(
            File,
            "defaults",
            Defaults,
            Json("{}"),
            r#"{"stop_timeout": "8s"}"#,
        )
        .summary("Keys for every program that does not have them itself.")
        .details(
            "It takes all keys of a program but command, after, requires and instances. env, \
             backoff, health, limits and log are merged key by key.",
        )
        .reload(Reload::Inside)
        .compose("x-common: &default");
    table
        .add(
            File,
            "programs",
            Programs,
            Required,
            r#"{"web": ["./web"]}"#,
        )
        .summary("The programs by name, in the order of their start.")
        .details(
            "A name is 1 to 64 of A-Z a-z 0-9 . _ @ - and begins with a letter or digit. A \
             command is short for an object with that command alone.",
        )
        .reload(Reload::Inside)
        .systemd("a unit each")
        .supervisord("[program:x]")
        .compose("services");
}
