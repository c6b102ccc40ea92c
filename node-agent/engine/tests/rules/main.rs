//! A test for each rule of what the policies mean, under its number.
//!
//! Not shown here, because the engine is told and does not find out: R39 (it judges what the pod's interface
//! sees; who translated the source is the observer's knowledge). Of R35, R38, R40 and R41 the engine's part is.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod support;

mod changes;
mod cluster_peers;
mod crds;
mod isolation;
mod kept;
mod nearest;
mod packets;
mod peers;
mod ports;
mod selectors;
mod services;
mod subjects;
mod suggestions;
mod tiers;
mod tunnels;
mod unsupported;
mod v1alpha1;
mod validation;
