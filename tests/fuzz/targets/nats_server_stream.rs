//! libFuzzer on `cim::fuzz::nats_server_stream`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::nats_server_stream(data));
