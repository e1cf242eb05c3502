//! The guide: a page for each task and each subject.
//!
//! The same pages are read as files, in `src/guide/`. `README.md` is where to begin.
//!
//! | run it | |
//! |---|---|
//! | [configuration] | every key of a config, and how it is reloaded |
//! | [commands] | commands, options, exit codes, signals |
//! | [reports] | the report of each exit, events, the status as JSON, metrics |
//! | [output] | logs, rotation, output that is passed through |
//! | [control] | the control socket and its protocol |
//! | [limits] | what it does not do, and what to use instead; many programs |
//! | [migrating] | from another supervisor or init |
//!
//! | where it runs | |
//! |---|---|
//! | [containers] | an image of one binary and your programs |
//! | [kubernetes] | a Deployment |
//! | [systemd] | a unit |
//! | [initramfs] | a machine without anything else |
//! | [init] | one command as PID 1 |
//! | [embedding] | the library in a host program |
//!
//! | what it is | |
//! |---|---|
//! | [security] | what is promised, and how to report a hole |
//! | [figures] | measurements, beside other supervisors |
//! | [design] | how it is built |
//! | [testing] | how it is tested, and which tests to run after a change |
//! | [changelog] | what changed |
//!
//! A page links to another by a label. Its last lines say where the label leads among the files;
//! `links.md`, which stands in front of each page here, says where it leads in this
//! documentation, and the first definition of a label counts. `tests/readme.rs` compares them.

macro_rules! pages {
    ($($page:ident)*) => {
        $(
            #[doc = include_str!("links.md")]
            #[doc = ""]
            #[doc = include_str!(concat!(stringify!($page), ".md"))]
            pub mod $page {}
        )*
    };
}

pages! {
    configuration commands reports output control limits migrating
    containers kubernetes systemd initramfs init embedding
    security figures design testing changelog
}
