//! The keys of a program that say what it is, and what it does not inherit.

use super::KeyType::{
    Account, Boolean, Command, EnvFile, Limits, List, Name, OneOf, Path, Scalar, Umask, Variables,
    Whole, Word,
};
use super::Scope::{Program, ProgramOnly};
use super::{KeyDefault, Reload, Table};
use crate::config::instances::COUNT_MAX;
use KeyDefault::{Json, None, Required, Words};

const SUPERVISORS: KeyDefault = Words("the supervisor's");

/// Adds them in the order in which the parser names them.
pub(super) fn add(table: &mut Table) {
    add_own(table);
    add_environment(table);
    add_identity(table);
    add_limits(table);
}

fn add_own(table: &mut Table) {
    let command = r#"["./web", "--port", "8000"]"#;
    table
        .add(ProgramOnly, "command", Command, Required, command)
        .summary("Program and its arguments; no shell is involved.")
        .details(
            "A program with a slash is a path, relative to base_dir. Without a slash it is \
             looked up in the PATH that it will get.",
        )
        .reload(Reload::Restart)
        .systemd("ExecStart")
        .supervisord("command")
        .compose("command");
    table
        .add(
            ProgramOnly,
            "after",
            List(&Name),
            Json("[]"),
            r#"["cache"]"#,
        )
        .summary("Programs that are up, or have failed to come up, before each start.")
        .details("A start of this program does not start them.")
        .systemd("After")
        .supervisord("priority")
        .compose("depends_on");
    table
        .add(
            ProgramOnly,
            "requires",
            List(&Name),
            Json("[]"),
            r#"["db"]"#,
        )
        .summary("Programs that it does not run without; they are up before each start.")
        .details(
            "A start of this program starts them. When one of them is stopped or has failed for \
             good, this program is stopped: before the other if that still runs. A crash that is \
             followed by a restart stops nothing.",
        )
        .systemd("Requires, After")
        .compose("depends_on: service_healthy");
    let count = Whole {
        min: 1,
        max: i64::from(COUNT_MAX),
    };
    table
        .add(
            ProgramOnly,
            "instances",
            count,
            Words("one, of its own name"),
            "2",
        )
        .summary("Number of copies, which are called NAME@1, NAME@2 and so on.")
        .details(
            "%i is the number of a copy, in command, cwd, env, env_file, ready and health; %% is \
             %. PROCSCHED_INSTANCE is the number, too.",
        )
        .systemd("name@.service")
        .supervisord("numprocs")
        .compose("scale");
    table
        .add(Program, "cwd", Path, Words("base_dir"), r#""data""#)
        .summary("Working directory.")
        .reload(Reload::Restart)
        .systemd("WorkingDirectory")
        .supervisord("directory")
        .compose("working_dir");
}

fn add_environment(table: &mut Table) {
    let variables = r#"{"MODE": "prod", "PORT": 8080}"#;
    table
        .add(Program, "env", Variables(&Scalar), Json("{}"), variables)
        .summary("Environment variables, over those that are inherited.")
        .reload(Reload::Restart)
        .systemd("Environment")
        .supervisord("environment")
        .compose("environment");
    let files = OneOf(&[EnvFile, List(&EnvFile)]);
    table
        .add(Program, "env_file", files, None, r#""-local.env""#)
        .summary("Files of KEY=VALUE lines; later ones win, and env comes over them.")
        .details("They are read with the config. With - in front a file may be missing.")
        .reload(Reload::Restart)
        .systemd("EnvironmentFile")
        .compose("env_file");
    table
        .add(Program, "clear_env", Boolean, Json("false"), "true")
        .summary("Whether it inherits no variables of the supervisor.")
        .details(
            "It gets env and env_file, what comes with user, and what the supervisor sets for \
             each program.",
        )
        .reload(Reload::Restart);
}

fn add_identity(table: &mut Table) {
    table
        .add(Program, "user", Account, SUPERVISORS, r#""daemon""#)
        .summary("User to run as.")
        .details(
            "The entry in /etc/passwd gives its group, its other groups, and HOME, USER, LOGNAME \
             and SHELL unless env has them. With a number that is not in /etc/passwd, the key \
             group is required, and these variables stay as the supervisor has them.",
        )
        .reload(Reload::Restart)
        .systemd("User")
        .supervisord("user")
        .compose("user");
    table
        .add(
            Program,
            "group",
            Account,
            Words("the user's"),
            r#""daemon""#,
        )
        .summary("Group to run as.")
        .reload(Reload::Restart)
        .systemd("Group")
        .compose("user");
    table
        .add(
            Program,
            "groups",
            List(&Account),
            Words("the user's; none if it is not in /etc/passwd"),
            r#"["adm", 50]"#,
        )
        .summary("Supplementary groups; [] is none.")
        .details(
            "By default they are the key group, or the group in /etc/passwd without it, and those \
             that name the user in /etc/group.",
        )
        .reload(Reload::Restart)
        .systemd("SupplementaryGroups")
        .compose("group_add");
    table
        .add(Program, "umask", Umask, SUPERVISORS, r#""027""#)
        .summary("Permissions that new files do not get.")
        .reload(Reload::Restart)
        .systemd("UMask")
        .supervisord("umask");
    let nice = Whole { min: -20, max: 19 };
    table
        .add(Program, "nice", nice, SUPERVISORS, "10")
        .summary("Nice value; -20 gets the most processor time.")
        .reload(Reload::Restart)
        .systemd("Nice");
    let score = Whole {
        min: -1000,
        max: 1000,
    };
    table
        .add(Program, "oom_score_adj", score, SUPERVISORS, "500")
        .summary("How soon it is killed when memory runs out; -1000 is never.")
        .reload(Reload::Restart)
        .systemd("OOMScoreAdjust")
        .compose("oom_score_adj");
}

fn add_limits(table: &mut Table) {
    let limits = r#"{"nofile": 65536, "core": "0:unlimited"}"#;
    table
        .add(Program, "limits", Limits, Json("{}"), limits)
        .summary("Resource limits by name; those that are left out are inherited.")
        .details(
            "A value is soft and hard, or both with a colon between: 65536, \"64M\", \
             \"1024:65536\", \"unlimited\". The names are as core cpu data fsize locks memlock \
             msgqueue nice nofile nproc rss rtprio rttime sigpending stack, as getrlimit(2) has \
             them.",
        )
        .reload(Reload::Restart)
        .systemd("LimitNOFILE, …")
        .supervisord("minfds")
        .compose("ulimits");
    table
        .add(Program, "no_new_privileges", Boolean, Json("false"), "true")
        .summary("Whether nothing that it executes gives it privileges.")
        .details("No set-user-ID file does either.")
        .reload(Reload::Restart)
        .systemd("NoNewPrivileges")
        .compose("security_opt: no-new-privileges");
    let input = OneOf(&[Word("null"), Path]);
    table
        .add(Program, "stdin", input, Json(r#""null""#), r#""input.txt""#)
        .summary("File that is its stdin; \"null\" is /dev/null.")
        .details(
            "The supervisor opens it at each start. Of a FIFO without a writer the program reads \
             the end.",
        )
        .reload(Reload::Restart)
        .systemd("StandardInput");
}
