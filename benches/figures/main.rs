//! Whole-process figures: the release binary, driven as a process, beside a floor.
//!
//! A figure in seconds or bytes tells more about the machine than about the program. So each is
//! taken in one run from `procsched-min`, from the *floor* (`benches/floor.c`), which does the
//! least that could be called the same work, and from the floor *with our promises added*; or,
//! with `peers`, from the supervisors that are installed. What counts is the ratio. All take
//! turns, so that a slow minute of the machine is slow for everyone, and all supervise the same
//! child (`benches/child.c`), which takes the times itself, so that this process may sleep.
//!
//! Nothing here asserts on speed; a bench fails only if the work is not done.
//!
//! ```sh
//! cargo bench                            # the usual themes, under five minutes
//! cargo bench -- start stop --reps 9     # two themes, nine times each
//! cargo bench -- all --markdown          # every theme, as a table for the guide
//! cargo bench -- peers --markdown        # beside supervisord, runit and s6
//! cargo bench -- control                 # clients and reload, beside those of the peers
//! cargo bench -- clients                 # what hostile and large clients cost the programs
//! cargo bench -- messages                # what a flood of sd_notify(3) costs the programs
//! cargo bench -- order                   # what it costs to start programs in order
//! PROCSCHED_BENCH_BINARY=… cargo bench   # another build of the binary, a static one say
//! ```

mod clients;
mod control;
mod drain;
mod footprint;
mod host;
mod idle;
mod messages;
mod order;
mod orphans;
mod page;
mod peers;
mod place;
mod proc;
mod reader;
mod reaping;
#[path = "../../tests/embedding/refusals.rs"]
mod refusals;
mod restart;
mod run;
mod scale;
mod side;
mod start;
mod stop;
mod storm;
mod table;
mod throughput;
mod tools;
mod turns;

use side::Side;
use table::Table;
use turns::Turns;

/// A word of the command line, what adds its rows, and whether it is one of the usual.
type Theme = (&'static str, fn(&mut Turns), bool);

/// The theme in which the floor cannot take part: it is always measured beside the peers.
const CONTROL: &str = "control";

/// In the order of the table.
const THEMES: [Theme; 14] = [
    ("footprint", footprint::measure, true),
    ("start", start::measure, true),
    ("restart", restart::measure, true),
    ("throughput", throughput::measure, true),
    ("stop", stop::measure, true),
    ("idle", idle::measure, true),
    ("storm", storm::measure, true),
    (CONTROL, control::measure, false),
    ("clients", clients::measure, false),
    ("messages", messages::measure, false),
    ("scale", scale::measure, false),
    ("order", order::measure, false),
    ("host", host::measure, false),
    ("reaping", reaping::measure, false),
];

const REPETITIONS: usize = 3;

/// The peers take their time, and their differences are not fine ones.
const REPETITIONS_WITH_PEERS: usize = 1;

/// What the command line asks for.
#[derive(Default)]
struct Wishes {
    themes: Vec<String>,
    repetitions: Option<usize>,
    peers: bool,
    all: bool,
    markdown: bool,
}

impl Wishes {
    fn of(arguments: &[String]) -> Self {
        let mut wishes = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {}
                "--markdown" => wishes.markdown = true,
                "--reps" => {
                    let count = words.next().and_then(|word| word.parse().ok());
                    let count = count.filter(|&count: &usize| count > 0);
                    wishes.repetitions = Some(count.expect("--reps and a number above 0"));
                }
                "peers" => wishes.peers = true,
                "all" => wishes.all = true,
                theme => {
                    let known = THEMES.iter().any(|(name, ..)| *name == theme);
                    assert!(known, "no theme and no option is called {theme:?}");
                    wishes.peers |= theme == CONTROL;
                    wishes.themes.push(theme.to_owned());
                }
            }
        }
        wishes
    }

    fn wants(&self, (name, _, usual): &Theme) -> bool {
        let named = self.themes.iter().any(|theme| theme == name);
        named || self.all || (self.themes.is_empty() && *usual)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|first| first == reaping::HOST)
    {
        return reaping::host(&arguments[1..]);
    }
    // `cargo test --all-targets` runs benches, too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wishes = Wishes::of(&arguments);
    let mut table = Table::default();
    let tools = tools::Tools::build(&mut table);
    let (sides, usual) = if wishes.peers {
        (Side::with_peers(&mut table), REPETITIONS_WITH_PEERS)
    } else {
        (Side::with_promises(), REPETITIONS)
    };
    table.columns(&sides);
    orphans::adopt();
    let mut turns = Turns {
        sides,
        tools,
        repetitions: wishes.repetitions.unwrap_or(usual),
        with_peers: wishes.peers,
        table,
    };
    for theme in THEMES.iter().filter(|theme| wishes.wants(theme)) {
        (theme.1)(&mut turns);
    }
    turns.table.print(wishes.markdown);
}
