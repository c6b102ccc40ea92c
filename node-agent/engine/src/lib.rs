//! Every decision of netverdict, and no effect: what policies say, what the network did, and what follows.
//!
//! Kubernetes objects come in through [`k8s`] and become the inner form of [`model`]; [`Cluster`] holds them
//! and answers with a [`Verdict`]; [`Core`] takes one stream of [`Input`] and gives [`Output`]. This crate
//! never reads a clock, a file or a socket: time is a parameter. It never claims anything from what it does
//! not know.

mod agents;
mod aggregate;
mod annotations;
mod assessment;
mod back_off;
mod bypass;
pub mod cluster;
mod connection;
pub mod core;
mod counters;
mod delays;
mod ends;
mod enforcing;
mod evaluate;
pub mod explain;
mod flow;
pub mod identity;
pub mod input;
mod isolation;
mod judge;
pub mod k8s;
mod labels;
mod links;
pub mod lint;
pub mod model;
mod names;
mod nearest;
mod options;
mod outcome;
mod prefixes;
mod presence;
pub mod reach;
pub mod record;
mod render;
mod scan;
mod suggest;
pub mod verdict;
mod waiting;
mod walk;
mod words;

pub use cluster::{Change, Cluster, Kept, Throughout};
pub use connection::{Between, Connection, Party, PartyKind, Profile};
pub use core::Core;
pub use identity::Identity;
pub use input::{Input, Moment, Output};
pub use names::Names;
pub use options::{Log, Options};
pub use render::ClockBase;
pub use verdict::{Brief, Verdict};
