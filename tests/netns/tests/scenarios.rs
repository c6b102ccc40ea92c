//! Every row of the scenarios as a real connection through real hooks, in every way a network can treat it.

use netns::{paths, trials, ways};

fn main() -> anyhow::Result<()> {
    trials::conclude(ways::all(Some(&paths::agent()?))?)
}
