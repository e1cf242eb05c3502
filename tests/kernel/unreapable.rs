//! A zombie that cannot be reaped, first of all that are dead.

use std::time::Duration;

use super::life;
use super::world::{self, Kernel, Moods, Parent, Weather, Whose};
use crate::machine::Backoff;
use crate::model::rng::Rng;
use crate::scheduler::ProcessScheduler;
use crate::spec::ChildSpec;

/// The kernel names one who is dead, and names that one again until it is reaped. One who cannot be
/// reaped hid whoever died after it, if nothing else told of that death: one SIGCHLD had stood for
/// both, and somebody held the pipe open.
pub fn one_that_cannot_be_reaped_hides_nobody() {
    let directory = life::directory();
    life::empty(&directory);
    let mut moods = Moods::default();
    moods.fair = true;
    let web = ChildSpec::new("web", [directory.join("program")]).backoff(Backoff {
        initial: Duration::ZERO,
        max: Duration::ZERO,
        ..Backoff::default()
    });
    let mut kernel = Kernel::new(Rng::new(1), Weather::fair(), moods, 8);
    kernel.add_program(&web);
    world::boot(kernel);
    let stuck = world::with(|kernel| {
        kernel.bear_other(Parent::Us, Whose::Host);
        *kernel.our_children().first().expect("a child")
    });
    let builder = ProcessScheduler::builder(&directory).err_dir(&directory);
    let builder = builder
        .program(web)
        .safety_sweep(false)
        .error_handler(|_, _| {});
    let mut scheduler = builder.build().expect("nothing fails");
    let turn = |scheduler: &mut ProcessScheduler| {
        let turned = scheduler.step(Some(Duration::from_secs(1)));
        turned.expect("a turn does not fail");
        world::with(|kernel| kernel.runs.len())
    };
    while turn(&mut scheduler) < 1 {}
    let held = world::with(|kernel| {
        let web = kernel.runs[0].pid;
        let stderr = kernel.process(web).and_then(|web| web.stderr.as_ref());
        let held = stderr.map(|stderr| stderr.fd.try_clone().expect("a copy"));
        kernel.unreapable = Some(stuck);
        for pid in [stuck, web] {
            kernel.hit(pid, libc::SIGKILL);
        }
        held.expect("a pipe")
    });
    let turns = (1..=20).find(|_| turn(&mut scheduler) == 2);
    assert!(turns.is_some(), "its death was not seen in 20 s");
    drop((scheduler, held));
    world::halt();
}
