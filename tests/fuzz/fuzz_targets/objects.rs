//! Manifests to the engine.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::objects::run(bytes));
