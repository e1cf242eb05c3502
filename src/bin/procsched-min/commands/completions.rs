//! `completions`: a script for a shell, and what that script asks for at each Tab. The script is a
//! few lines that never change; everything that there is to know is here, in the table of commands
//! and from the supervisor.

mod candidates;

use super::parse::Arguments;
use super::{Command, FINE};
use crate::stdio::print;
use candidates::Candidate;

pub const COMMAND: Command = Command {
    name: "completions",
    operands: "[--] SHELL [WORD...]",
    summary: "print a script that completes commands, options and programs",
    description: "Prints the completion script of a shell: bash, zsh or fish. With WORDs, as the
script calls it, prints what the last of them may become; nothing if that is a
file.
",
    exit_codes: "  completions: 0 printed\n",
    example: "  $ procsched-min completions bash > /etc/bash_completion.d/procsched-min
",
    exec: |arguments| completions(arguments),
    ..Command::PLAIN
};

const BASH: &str = r#"# bash completion of procsched-min
_procsched_min() {
    local IFS=$'\n'
    COMPREPLY=($(procsched-min completions bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _procsched_min procsched-min
"#;

const ZSH: &str = r#"#compdef procsched-min
_procsched_min() {
    local -a found
    found=("${(@f)$(procsched-min completions zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n ${found[1]} ]]; then
        _describe -V procsched-min found
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _procsched-min ]]; then
    _procsched_min "$@"
else
    compdef _procsched_min procsched-min
fi
"#;

const FISH: &str = r#"# fish completion of procsched-min
function __procsched_min
    set -l words (commandline -opc)
    set -l found (procsched-min completions fish $words[2..] (commandline -ct) 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c procsched-min -f -a '(__procsched_min)'
"#;

/// A shell: its name, its script, and how it wants a candidate.
struct Shell {
    name: &'static str,
    script: &'static str,
    line: fn(&Candidate) -> String,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        script: BASH,
        line: |candidate| candidate.word.clone(),
    },
    Shell {
        name: "zsh",
        script: ZSH,
        // A colon begins the description.
        line: |candidate| {
            let word = candidate.word.replace('\\', "\\\\").replace(':', "\\:");
            format!("{word}:{}", candidate.description)
        },
    },
    Shell {
        name: "fish",
        script: FISH,
        line: |candidate| format!("{}\t{}", candidate.word, candidate.description),
    },
];

fn completions(arguments: &Arguments) -> Result<u8, String> {
    let expected = "expected bash, zsh or fish";
    let (shell, words) = arguments
        .operands
        .split_first()
        .ok_or_else(|| format!("missing shell: {expected}"))?;
    let known = SHELLS.iter().find(|known| shell == known.name);
    let known = known.ok_or_else(|| format!("invalid shell {shell:?}: {expected}"))?;
    if words.is_empty() {
        return Ok(print(known.script));
    }
    let found = candidates::of(words);
    let lines: String = found
        .iter()
        .map(|candidate| (known.line)(candidate) + "\n")
        .collect();
    print(&lines);
    Ok(FINE)
}
