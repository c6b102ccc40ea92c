//! The ground itself, without netverdict: what the clients see is what the enforcement and the servers make of it.

use netns::{trials, ways};

fn main() {
    trials::conclude(ways::all(None))
}
