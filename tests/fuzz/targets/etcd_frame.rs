//! libFuzzer on `cim::fuzz::etcd_frame`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::etcd_frame(data));
