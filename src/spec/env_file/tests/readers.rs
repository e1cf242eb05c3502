//! What systemd, Docker Compose and a shell make of the same lines.
//!
//! systemd's reader is that of its environment generator, which is the one of `EnvironmentFile=` but for
//! `$`, which only the generator replaces: lines with `$` are not asked of it. Compose's is written down
//! here by its documentation; where Python has `dotenv`, which Compose had before, that is asked, too.
//! The shell is dash. A reader that is not installed is not asked, unless `CI` is `true`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::super::variable;

const GENERATOR: &str =
    "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";

/// What values are made of.
const PARTS: [&str; 15] = [
    "a", "n", " ", "\t", "#", "$", "'", "\"", "\\", "`", "=", "~", ";", "\u{e9}", "*",
];

/// The longest value, in parts; `PROCSCHED_ENV_LENGTH=3` takes a quarter of a minute.
const LENGTH: u32 = 2;

/// What a reader makes of lines, by their index: a value. A line that is not here is refused.
type Readings = BTreeMap<usize, String>;

fn values() -> Vec<String> {
    let length = std::env::var("PROCSCHED_ENV_LENGTH").ok();
    let length = length.map_or(LENGTH, |length| length.parse().expect("a number"));
    let mut values = Vec::new();
    for length in 0..=length {
        for number in 0..PARTS.len().pow(length) {
            let digits = (0..length).map(|place| number / PARTS.len().pow(place) % PARTS.len());
            values.push(digits.map(|digit| PARTS[digit]).collect::<String>());
        }
    }
    let forms: [fn(&str) -> String; 4] = [
        str::to_owned,
        |value| format!("'{value}'"),
        |value| format!("\"{value}\""),
        |value| format!("\"a\"{value}"),
    ];
    let forms = forms.iter();
    let all = forms.flat_map(|form| values.iter().map(|value| form(value)));
    all.collect()
}

/// Reads the answers of a process: a number, `=`, the value, and a NUL.
fn answers(command: &mut Command) -> Readings {
    let output = command.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = text.split('\0').filter_map(|answer| {
        let (index, value) = answer.split_once('=')?;
        Some((index.parse().ok()?, value.to_owned()))
    });
    answers.collect()
}

fn dash(directory: &Path, count: usize) -> Readings {
    // A word that it takes for a command is not found.
    let script = "i=0; while [ $i -lt $1 ]; do \
        (. ./$i.conf && eval \"x=\\${V$i-none}\" && printf '%s=%s\\0' $i \"$x\") 2>/dev/null; \
        i=$((i+1)); done";
    let mut command = Command::new("/bin/dash");
    command.args(["-c", script, "dash", &count.to_string()]);
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/nowhere")
        .env("HOME", "/home/me");
    answers(&mut command)
}

fn dotenv(directory: &Path, count: usize) -> Option<Readings> {
    let script = "import dotenv,sys\n\
        for i in range(int(sys.argv[1])):\n\
        \x20v=dotenv.dotenv_values(f'{i}.conf',interpolate=False).get(f'V{i}')\n\
        \x20if v is not None: sys.stdout.write(f'{i}={v}\\0')\n";
    let python = std::env::var("PROCSCHED_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command
        .args(["-c", script, &count.to_string()])
        .current_dir(directory);
    let readings = answers(&mut command);
    (!readings.is_empty()).then_some(readings)
}

/// Asks systemd's generator, whose answers are lines that a shell could read.
fn systemd(directory: &Path) -> Option<Readings> {
    let home = directory.parent()?;
    let output = Command::new(GENERATOR)
        .env_clear()
        .env("XDG_CONFIG_HOME", home)
        .output();
    let text = String::from_utf8(output.ok()?.stdout).expect("text");
    let mut readings = Readings::new();
    let mut latest = None;
    for line in text.lines() {
        let named = line.strip_prefix('V').and_then(|line| line.split_once('='));
        let named = named.and_then(|(index, value)| Some((index.parse::<usize>().ok()?, value)));
        match named {
            Some((index, value)) => {
                latest = Some(index);
                readings.insert(index, value.to_owned());
            }
            // A value may go on in the next line.
            None => {
                let latest = latest.and_then(|latest| readings.get_mut(&latest));
                latest
                    .into_iter()
                    .for_each(|value| value.extend(["\n", line]));
            }
        }
    }
    Some(
        readings
            .into_iter()
            .map(|(index, value)| (index, unescaped(&value)))
            .collect(),
    )
}

fn unescaped(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('t') => text.push('\t'),
                Some('n') => text.push('\n'),
                other => text.extend(other),
            },
            other => text.push(other),
        }
    }
    text
}

/// Compose's reader by its documentation. `None` for what it replaces, what is wrong, and what the
/// documentation does not tell: other escapes in double quotes ("common" ones of shells are read), and two
/// backslashes between single quotes.
fn compose(value: &str) -> Option<String> {
    let value = value.trim_start_matches([' ', '\t']);
    let quote = value
        .chars()
        .next()
        .filter(|first| ['\'', '"'].contains(first));
    let Some(quote) = quote else {
        let end = [" #", "\t#"]
            .iter()
            .filter_map(|comment| value.find(comment))
            .min();
        let value = value[..end.unwrap_or(value.len())].trim_end();
        return (!value.contains('$') && !value.starts_with('#')).then(|| value.to_owned());
    };
    let mut text = String::new();
    let mut characters = value[1..].chars();
    loop {
        match (quote, characters.next()?) {
            (_, character) if character == quote => break,
            ('"', '$') => return None,
            (_, '\\') => match (quote, characters.next()?) {
                (_, next) if next == quote => text.push(next),
                ('\'', '\\') => return None,
                ('"', 'n') => text.push('\n'),
                ('"', 't') => text.push('\t'),
                ('"', 'r') => text.push('\r'),
                ('"', '\\') => text.push('\\'),
                ('"', _) => return None,
                (_, next) => text.extend(['\\', next]),
            },
            (_, character) => text.push(character),
        }
    }
    let rest = characters.as_str();
    let behind = rest.trim_start_matches([' ', '\t']);
    let is_comment = behind.starts_with('#') && behind.len() < rest.len();
    (behind.is_empty() || is_comment).then_some(text)
}

#[derive(Debug, Default)]
struct Counts {
    /// Read alike by all and by us.
    agreed: usize,
    /// Read differently, or by some alone, and refused by us.
    refused: usize,
    /// A line feed or a tab, by an escape that Compose alone has.
    escapes: usize,
}

fn is_missing(what: &str) {
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "{what} is missing"
    );
}

#[test]
fn what_is_accepted_systemd_compose_and_a_shell_read_alike() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("environment.d");
    std::fs::create_dir(&directory).expect("a directory");
    let values = values();
    for (index, value) in values.iter().enumerate() {
        let line = format!("V{index}={value}\n");
        std::fs::write(directory.join(format!("{index}.conf")), line).expect("a file");
    }
    let dash = dash(&directory, values.len());
    assert!(dash.len() > 100, "dash was not asked");
    let systemd = systemd(&directory);
    let dotenv = dotenv(&directory, values.len());
    if systemd.is_none() {
        is_missing("systemd");
    }
    let (mut counts, mut offenders) = (Counts::default(), Vec::new());
    for (index, value) in values.iter().enumerate() {
        let mut readings = vec![dash.get(&index).cloned(), compose(value)];
        let line = format!("V{index}={value}");
        let ours = variable(&line).ok().flatten();
        let ours = ours.map(|(_, value)| value.to_string_lossy().into_owned());
        // It says nothing of a variable that is empty.
        let is_asked = !value.contains('$') && ours.as_deref() != Some("");
        if let Some(systemd) = systemd.as_ref().filter(|_| is_asked) {
            readings.push(systemd.get(&index).cloned());
        }
        if let (Some(dotenv), Some(_)) = (&dotenv, &ours) {
            readings.push(dotenv.get(&index).cloned());
        }
        let first = readings[0].clone();
        let agree = first.is_some() && readings.iter().all(|reading| *reading == first);
        match &ours {
            Some(_) if agree && ours == first => counts.agreed += 1,
            Some(text) if text.contains('\n') || value.contains("\\t") => counts.escapes += 1,
            // Whether it is a home directory is a matter of the users that there are.
            None if !agree || value.starts_with('~') || !is_asked => counts.refused += 1,
            _ => offenders.push(format!("{value:?}: {ours:?}, others {readings:?}")),
        }
    }
    let total = counts.agreed + counts.refused + counts.escapes;
    assert_eq!(offenders, [""; 0], "{counts:?}");
    assert_eq!(total, values.len());
    assert!(counts.agreed > 100 && counts.refused > 100, "{counts:?}");
    assert!(counts.escapes > 0, "{counts:?}");
    if let Ok(path) = std::env::var("PROCSCHED_ENV_COUNTS") {
        std::fs::write(path, format!("{counts:?}\n")).expect("a file");
    }
}
