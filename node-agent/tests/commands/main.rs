//! The commands as somebody outside calls them: the built binary, its exit code, its two streams.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests"
)]

mod evaluate;
mod explain;
mod hostile;
mod input;
mod reach;
mod state;
mod support;
mod tiers;
mod variables;
