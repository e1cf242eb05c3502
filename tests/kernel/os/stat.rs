//! What `/proc` tells of all processes of the simulated system.

use std::collections::BTreeSet;

use crate::kernel::world;

pub(crate) fn living_groups() -> Option<BTreeSet<i32>> {
    world::called(|kernel| Some(kernel.living_groups()))
}
