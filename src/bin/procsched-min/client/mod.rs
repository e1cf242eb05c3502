//! What the commands to a running supervisor share: they find its socket, send one request, and
//! print the answer as it arrives.
//!
//! A client opens no config if it is given the socket, and keeps one line of an answer at a time.

pub mod answer;
pub mod connection;
pub mod event;
pub mod failure;
pub mod find;
pub mod lines;
pub mod metrics;
pub mod options;
pub mod order;
pub mod out;
pub mod program;
pub mod table;
pub mod tail;
pub mod talk;
pub mod time;
pub mod view;
pub mod waiting;
