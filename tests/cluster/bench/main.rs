//! What the agent costs with a large cluster: time until it knows it, memory, processor time while pods change, how soon
//! a change is judged, and the bytes that were asked for. From an API server that does nothing but send, and from a real
//! one where kwok says of each pod that it runs.
//!
//! Prints figures as `cargo xtask bench cluster` keeps them.

mod agent;
mod measure;
mod objects;
mod real;
mod server;

use std::env;
use std::path::PathBuf;

use cluster::ground;
use serde_json::json;

use measure::measured;
use objects::{Objects, Size};
use real::Real;
use server::Server;

/// The second is what is promised for; what comes with it is in proportion.
const SIZES: [Size; 2] = [
    Size {
        pods: 1_000,
        policies: 100,
        on_node: 30,
    },
    Size {
        pods: 100_000,
        policies: 10_000,
        on_node: 30,
    },
];
/// Most memory at those sizes, MB.
const MOST_MB: [f64; 2] = [30.0, 150.0];
/// What a real server is filled with.
const REAL: Size = Size {
    pods: 5_000,
    policies: 500,
    on_node: 100,
};
/// The folder of kwok and its stages; without it no real server is asked.
const KWOK: &str = "NETVERDICT_KWOK";

fn main() -> anyhow::Result<()> {
    ground::enter()?;
    let mut figures = Vec::new();
    for (size, most) in SIZES.into_iter().zip(MOST_MB) {
        let mut server = Server::start(Objects::new(size))?;
        figures.extend(measured(&mut server, Some(most))?);
    }
    if let Some(kwok) = env::var_os(KWOK).map(PathBuf::from) {
        let mut server = Real::start(&kwok, Objects::new(REAL))?;
        figures.extend(measured(&mut server, None)?);
    }
    println!("{}", json!({ "figures": figures }));
    Ok(())
}
