//! libFuzzer on `cim::fuzz::backlog_lines`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::backlog_lines(data));
