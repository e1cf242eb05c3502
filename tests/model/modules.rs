// The modules of the library that know nothing of `config` and `init`: one list for the crates that
// compile them as they stand, the simulated kernel and the fuzzer. Included at the root of a crate,
// which has to have an `os`.

#[path = "../../src"]
mod library {
    pub mod callbacks;
    pub mod error;
    pub mod error_command;
    pub mod event;
    pub mod handle;
    pub mod launch;
    pub mod lineage;
    pub mod machine;
    pub mod orphans;
    pub mod program;
    pub mod report;
    pub mod scheduler;
    pub mod spec;
    pub mod status;
    pub mod words;
}
use library::{
    callbacks, error, error_command, event, handle, launch, lineage, machine, orphans, program,
    report, scheduler, spec, status, words,
};
