//! Manifests to deltas.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::yaml::run(bytes));
