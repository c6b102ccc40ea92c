//! Packets to the header parser.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::packet::run(bytes));
