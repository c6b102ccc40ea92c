//! What is fuzzed: functions that take bytes and panic when something is not as it must be.
//!
//! Each is a target of its own in `fuzz_targets`, and runs over its saved corpus in the usual tests.

pub mod deltas;
pub mod objects;
pub mod packet;
pub mod yaml;
