// The modules of the library that know nothing of `config` and `init`: one list for the crates that
// compile them as they stand, the simulated kernel and the fuzzer. Included at the root of a crate,
// which has to have an `os`.

#[path = "../../src"]
mod library {
    pub mod callbacks;
    pub mod cstr_list;
    pub mod error;
    pub mod event;
    pub mod exec;
    pub mod handle;
    pub mod lineage;
    pub mod machine;
    pub mod orphans;
    pub mod plan;
    pub mod program;
    pub mod report;
    pub mod scheduler;
    pub mod signal;
    pub mod spec;
    pub mod status;
    pub mod text;
}
pub use library::text;
use library::{
    callbacks, cstr_list, error, event, exec, handle, lineage, machine, orphans, plan, program, report,
    scheduler, signal, spec, status,
};
