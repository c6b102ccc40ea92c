//! Random sequences of changes against the naive evaluator.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::deltas::run(bytes));
