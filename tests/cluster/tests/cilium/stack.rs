//! The agent on a node whose network and policies are Cilium's, and what Hubble says of the same packets.

mod cases;
mod compared;
mod world;

use cluster::cilium::Datapath;

fn main() {
    compared::main(Datapath::Stack);
}
