//! The binary as an operator meets it: started as a process, signalled, watched.
//!
//! Each module is one subject; names that begin with `m` and a number tell which known bug
//! of other supervisors the test is about. A test that needs root or a tool says so and is
//! skipped where that is missing, and fails if `CI` is `true`.

#[path = "../common/mod.rs"]
mod common;

mod abandon;
mod absent;
mod calls;
mod chatter;
mod client_answers;
mod client_terminal;
mod clocks;
mod command_line;
mod config_errors;
mod control_limits;
mod control_orders;
mod control_reload;
mod control_socket;
mod demo;
mod descriptors;
mod ends;
mod escapes;
mod first_process;
mod handler_command;
mod harness;
mod health_check;
mod hostile;
mod identity;
mod inherit;
mod inherit_readers;
mod inheritance;
mod init;
mod init_callers;
mod init_outputs;
mod init_places;
mod init_rest;
mod init_terminal;
mod jitter;
mod launches;
mod limits;
mod log_files;
mod log_refusals;
mod logrotate;
mod logs;
mod many;
mod memory;
mod notify;
mod operator;
mod order_peers;
mod orphan_starts;
mod orphans;
mod out_of_memory;
mod outputs;
mod ownership;
mod permissions;
mod pid_reuse;
mod policy;
mod probes;
mod readiness;
mod ready_peers;
mod real_programs;
mod real_stack;
mod reaping;
mod reasons;
mod reload;
mod reports;
mod security;
mod shutdown_deadline;
mod start_failures;
mod start_injection;
mod stderr_pipe;
mod stop;
mod streams;
mod stuck_outputs;
mod terminals;
mod upward;
