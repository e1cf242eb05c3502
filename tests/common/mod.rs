//! What the scenarios are made with: a directory and a config, a supervisor that runs as a
//! process, what it says, and a look at the processes behind it.
//!
//! Nothing here sleeps and hopes: each wait is for a condition and has a deadline that only a
//! broken run meets. Whatever a scenario leaves running is found by a mark in its environment,
//! killed, and counted against the test.

pub mod init;
pub mod levers;
pub mod namespace;
pub mod operator;
pub mod pattern;
pub mod process;
pub mod pty;
pub mod report;
pub mod scene;
pub mod second_run;
pub mod setting;
pub mod supervisor;
pub mod tools;

pub use pattern::Pattern;
pub use process::{alive, signal, wait_for, wait_until};
pub use report::Report;
pub use scene::{Scene, probe};
pub use supervisor::Supervisor;
pub use tools::{Need, missing};
