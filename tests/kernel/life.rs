//! One life, for one seed.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::driver::{self, Driver};
use super::ending;
use super::setting::Setting;
use super::world::{self, Counts};
use crate::model::lives;
use crate::model::rng::Rng;
use crate::model::trial::Life;
use crate::scheduler::Status;

/// Lives in which programs tell how they are draw that from a sequence of its own, and so do those in
/// which programs have two streams.
const SIGNS: u64 = 0x5167_6e73;
const STREAMS: u64 = 0x5374_7265_616d;

thread_local! {
    /// Where the logs of this thread's lives are.
    static DIRECTORY: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// A directory in memory, if there is one, and a table of descriptors of this thread's own.
pub fn directory() -> PathBuf {
    DIRECTORY.with_borrow_mut(|directory| {
        let directory = directory.get_or_insert_with(|| {
            let alone = real_nix::sched::unshare(real_nix::sched::CloneFlags::CLONE_FILES);
            alone.expect("a table of descriptors of its own");
            let mut builder = tempfile::Builder::new();
            builder.prefix("procsched-kernel-");
            let memory = builder.tempdir_in("/dev/shm");
            memory
                .or_else(|_| builder.tempdir())
                .expect("a temporary directory")
        });
        directory.path().to_owned()
    })
}

pub fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory)
        .expect("the directory of the logs")
        .flatten()
    {
        std::fs::remove_file(entry.path()).expect("a log that can be removed");
    }
}

/// As a rule nothing fails before the start. Where something does, a refusal is a good end, too, if
/// nothing is left of the try.
fn begin(mut rng: Rng, setting: Setting, directory: &Path) -> Result<Option<Driver>, String> {
    let is_calm = !rng.one_in(8);
    world::with(|kernel| kernel.calm = is_calm);
    let before = driver::descriptors();
    let begun = Driver::new(rng, setting, directory);
    world::with(|kernel| kernel.calm = false);
    match begun {
        Err(_) if !is_calm && driver::descriptors() == before => Ok(None),
        begun => begun.map(Some),
    }
}

/// Lives one life: so many steps of chaos, then the fair run.
pub fn live(seed: u64, steps: usize, traced: bool) -> Life<Counts> {
    let directory = directory();
    empty(&directory);
    let mut rng = Rng::new(seed);
    let mut setting = Setting::any(&mut rng, &directory);
    setting.reloads = (seed % 3 == 1).then_some(8);
    if seed % 3 == 2 {
        setting.add_signs(&mut Rng::new(seed ^ SIGNS), &directory);
    }
    if seed % 4 >= 2 {
        setting.add_streams(&mut Rng::new(seed ^ STREAMS));
    }
    let mut kernel = setting.kernel(Rng::new(rng.next()), &directory);
    if setting.has_signs {
        kernel.weather.add_sign_faults(&mut Rng::new(seed ^ !SIGNS));
    }
    kernel.trace = traced.then(Vec::new);
    kernel.say(format_args!(
        "seed {seed}: {setting:?} {:?} {:?}",
        kernel.weather.clone(),
        kernel.moods.clone()
    ));
    world::boot(kernel);
    let outcome = lives::live_through(|| {
        let Some(mut driver) = begin(rng, setting, &directory)? else {
            return Ok(());
        };
        for step in 0..steps {
            if driver.status == Status::Stopped {
                break;
            }
            world::with(|kernel| kernel.say(format_args!("step {step}")));
            driver.step(step)?;
        }
        driver.end_fairly()?;
        ending::all_is_given_back(driver)
    });
    let mut kernel = world::halt().expect("the system of this life");
    if let Err(failure) = &outcome {
        kernel.say(format_args!("FAILED    {failure}"));
    }
    Life {
        outcome,
        trace: kernel.trace.take().unwrap_or_default(),
        seen: kernel.counts,
    }
}
