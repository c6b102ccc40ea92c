//! What the core has to know from the start.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connection::Profile;
use crate::render::ClockBase;

/// What the core has to know from the start. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The node's name.
    pub node: Arc<str>,
    /// `--cluster-name`; empty without one.
    pub cluster_name: Arc<str>,
    /// Wall-clock time of the monotonic clock's beginning.
    pub clock_base: ClockBase,
    /// How records fold, and how often known conversations speak again.
    pub window_ns: u64,
    /// How long before an attempt nothing it rests on may have changed.
    pub settle_ns: u64,
    /// How long after an attempt's outcome a claim must hold.
    pub confirm_ns: u64,
    /// How long an unknown address may take to become known.
    pub grace_ns: u64,
    /// After how long without news of the cluster nothing is claimed.
    pub stale_after_ns: u64,
    /// Which records are written.
    pub log: Log,
    /// What the dataplane does where the specification is open.
    pub profile: Profile,
}

/// Which records are written; all are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// Nothing: only for what somebody wishes to be left out.
    Nothing,
    /// `blocked`, `unenforced`, `unexpected_drop`.
    Problems,
    /// All that policy denies.
    Denied,
    /// All.
    All,
}
