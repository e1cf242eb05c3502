//! What holds for any bytes: one check for each target.

pub mod choices;
pub mod config;
pub mod lines;
mod log_model;
pub mod machine;
mod print;
mod reports;
pub mod request;
pub mod stderr;
