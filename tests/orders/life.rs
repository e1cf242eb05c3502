//! One life of the machine, for one seed.

use super::chaos::{self, Chaos};
use super::tally::Tally;
use crate::machine::Command;
use crate::model::lives;
use crate::model::trial::Life;

/// Lives one life: a number of steps of chaos, then the fair run.
pub fn live(seed: u64, steps: usize, traced: bool) -> Life<Tally> {
    let mut chaos = chaos::begin(seed, traced);
    let outcome = lives::live_through(|| {
        chaos.open()?;
        for _ in 0..steps {
            chaos.step()?;
        }
        end(&mut chaos)
    });
    let mut scene = chaos.scene;
    if let Err(failure) = &outcome {
        scene.say(format_args!("FAILED    {failure}"));
    }
    Life {
        outcome,
        trace: scene.trace.take().unwrap_or_default(),
        seen: scene.book.tally,
    }
}

fn end(chaos: &mut Chaos) -> Result<(), String> {
    let scene = &mut chaos.scene;
    scene.rest()?;
    scene.wishes()?;
    if chaos.mood.reloads {
        scene.compare_with_fresh()?;
    } else if chaos.rng.one_in(2) {
        scene.start_all()?;
    }
    let command = chaos
        .rng
        .pick(&[Command::StopAll, Command::StopAll, Command::KillAll]);
    scene.stop_all(command)
}
