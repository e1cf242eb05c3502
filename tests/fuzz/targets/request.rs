#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procsched_fuzz::checks::request::check(bytes));
