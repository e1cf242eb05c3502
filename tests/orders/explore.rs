//! Breadth first through all states of a small world, until there is no new one. What is wrong is
//! told as the shortest sequence of acts that leads there.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::book::Check;
use super::scene::Act;
use super::worlds::{Change, Edge, Kind, Setting, World};
use crate::model::lives;
use crate::model::trial::print;

/// A world that takes longer is printed as soon as it is explored, to show how far a long hunt is.
const SLOW: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub worlds: usize,
    pub states: usize,
    pub steps: usize,
}

/// How a state was found first.
type Origin = Option<(u32, Act)>;

/// Tries everything that can happen in this setting, unless another one has failed meanwhile.
pub fn explore(setting: Setting, has_failed: &AtomicBool) -> Result<Seen, String> {
    let first = World::new(setting)?;
    let mut known = HashMap::from([(first.key(), 0_u32)]);
    let mut origins: Vec<Origin> = vec![None];
    let mut frontier = VecDeque::from([(0_u32, first)]);
    let mut steps = 0;
    while let Some((number, world)) = frontier.pop_front() {
        if has_failed.load(Ordering::Relaxed) {
            break;
        }
        let guarded = lives::live_through(|| world.ends_well());
        guarded.map_err(|problem| story(setting, &origins, (number, steps), None, &problem))?;
        for act in world.acts() {
            steps += 1;
            let mut next = world.clone();
            let taken = lives::live_through(|| next.take(&act));
            taken.map_err(|problem| {
                story(setting, &origins, (number, steps), Some(&act), &problem)
            })?;
            let new = origins.len() as u32;
            if *known.entry(next.key()).or_insert(new) == new {
                origins.push(Some((number, act)));
                frontier.push_back((new, next));
            }
        }
    }
    Ok(Seen {
        worlds: 1,
        states: origins.len(),
        steps,
    })
}

/// Goes the way to a state once more, and says what happens and how much was tried before.
fn story(
    setting: Setting,
    origins: &[Origin],
    (state, steps): (u32, usize),
    last: Option<&Act>,
    problem: &str,
) -> String {
    let mut path: Vec<Act> = last.into_iter().cloned().collect();
    let mut at = state;
    while let Some((before, act)) = &origins[at as usize] {
        path.push(act.clone());
        at = *before;
    }
    path.reverse();
    let mut lines = vec![format!("{setting:?}")];
    if let Ok(mut world) = World::new(setting) {
        world.scene.trace = Some(Vec::new());
        let lived = lives::live_through(|| {
            path.iter().try_for_each(|act| world.take(act))?;
            world.ends_well()
        });
        lines.extend(world.scene.trace.take().unwrap_or_default());
        lines.extend(lived.err());
    }
    lines.push(format!(
        "after {} steps, {} states and {steps} steps of this world: {problem}",
        path.len(),
        origins.len()
    ));
    lines.join("\n")
}

/// Tries all of these, on every core.
pub fn explore_all(settings: &[Setting]) -> Result<Seen, String> {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let seen = Mutex::new(Ok(Seen::default()));
    let work = || -> Check {
        while let Some(setting) = settings.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begin = Instant::now();
            let new = explore(*setting, &has_failed);
            let took = begin.elapsed();
            if let (true, Ok(seen)) = (took > SLOW, &new) {
                let (states, steps) = (seen.states, seen.steps);
                print(&format!(
                    "{took:.0?}: {states} states, {steps} steps: {setting:?}"
                ));
            }
            let mut seen = seen.lock().map_err(|error| error.to_string())?;
            match (&mut *seen, new) {
                (Ok(seen), Ok(new)) => {
                    seen.worlds += new.worlds;
                    seen.states += new.states;
                    seen.steps += new.steps;
                }
                (Ok(_), Err(problem)) => {
                    next.store(settings.len(), Ordering::Relaxed);
                    has_failed.store(true, Ordering::Relaxed);
                    *seen = Err(problem);
                }
                (Err(_), _) => {}
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    seen.into_inner().map_err(|error| error.to_string())?
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Ready, Kind::Oneshot, Kind::Limited];
const EDGES: [Edge; 3] = [Edge::None, Edge::After, Edge::Requires];

/// How many worlds are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The second program is plain.
    Few,
    /// It is of any kind, and its edge becomes any other.
    Related,
    /// Three programs; takes more than an hour.
    Three,
    /// Each program is of any kind, times differ, and there are faults of every sort.
    All,
}

/// What may change once, and does so in none of the ways there are, too.
fn changes(which: Which, edge: Edge) -> Vec<Change> {
    let mut changes = vec![
        Change::Remove,
        Change::Replace(Kind::Plain, true),
        match edge {
            Edge::None => Change::Links(Edge::Requires, false),
            Edge::After => Change::Links(Edge::Requires, true),
            Edge::Requires => Change::Links(Edge::None, false),
        },
    ];
    if which != Which::Few {
        changes.extend([
            Change::Links(Edge::After, false),
            Change::Links(Edge::Requires, true),
            Change::Replace(Kind::Oneshot, true),
            Change::Replace(Kind::Ready, false),
            Change::Replace(Kind::Limited, false),
        ]);
    }
    if which == Which::All {
        changes.push(Change::Add);
    }
    changes
}

pub fn settings(which: Which) -> Vec<Setting> {
    if which == Which::Three {
        return three();
    }
    let mut settings = Vec::new();
    let others: &[Kind] = if which == Which::Few {
        &[Kind::Plain]
    } else {
        &KINDS
    };
    for kind in KINDS {
        for &other in others {
            for edge in EDGES {
                // Two that have nothing to do with each other are tried once.
                if which == Which::Few && edge == Edge::None && kind != Kind::Plain {
                    continue;
                }
                for change in changes(which, edge) {
                    // What is a oneshot, or is not, cannot become the other while it runs.
                    if kind == Kind::Oneshot && matches!(change, Change::Replace(_, false)) {
                        continue;
                    }
                    let programs = [Some((kind, Edge::None)), Some((other, edge)), None];
                    settings.push(setting(programs, change));
                }
            }
        }
    }
    if which == Which::All {
        let more = settings.clone();
        for change in 0..4 {
            settings.extend(more.iter().map(|&setting| Setting {
                escapes: change == 0,
                faults: change == 1,
                late: change == 2,
                two_times: change == 3,
                ..setting
            }));
        }
    }
    settings
}

fn setting(programs: [Option<(Kind, Edge)>; 3], change: Change) -> Setting {
    Setting {
        programs,
        change,
        escapes: false,
        faults: false,
        late: false,
        two_times: false,
        closing: Edge::None,
    }
}

/// Three in a row, two that need the first, and one that needs two others; the first of every kind,
/// and each change once.
fn three() -> Vec<Setting> {
    use Edge::{After, None, Requires};
    let shapes = [
        (Requires, Requires, None),
        (Requires, After, None),
        (Requires, None, Requires),
        (None, Requires, Requires),
    ];
    let mut settings = Vec::new();
    for (second, third, closing) in shapes {
        let with = |kind, change| {
            let programs = [
                Some((kind, None)),
                Some((Kind::Plain, second)),
                Some((Kind::Plain, third)),
            ];
            Setting {
                closing,
                ..setting(programs, change)
            }
        };
        settings.extend(KINDS.map(|kind| with(kind, Change::None)));
        settings.extend(
            [
                Change::Remove,
                Change::Replace(Kind::Plain, true),
                Change::Links(None, false),
            ]
            .map(|change| with(Kind::Plain, change)),
        );
    }
    settings
}
