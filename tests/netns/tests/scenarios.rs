//! Every row of the scenarios as a real connection through real hooks, in every way a network can treat it.

use netns::{paths, trials, ways};

fn main() {
    trials::conclude(paths::agent().and_then(|agent| ways::all(Some(&agent))))
}
