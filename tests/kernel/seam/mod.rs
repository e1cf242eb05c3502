//! Where the library's system calls end up: what it knows as `libc` and `nix`.
//!
//! Descriptors are the real ones, and what concerns nothing else goes through to the system,
//! after a moment in which anything may have happened, and unless it is to fail.

pub mod calls;
pub mod nixes;
