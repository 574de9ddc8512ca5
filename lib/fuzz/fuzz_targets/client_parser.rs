#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_mtls_fuzz::client(bytes));
