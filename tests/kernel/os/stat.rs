//! What `/proc` tells of all processes of the simulated system.

use std::collections::BTreeSet;

use crate::kernel::world;

pub(crate) fn zombies_only(groups: &BTreeSet<i32>, reaps_all: bool) -> Option<BTreeSet<i32>> {
    world::called(|kernel| Some(kernel.zombies_only(groups, reaps_all)))
}
