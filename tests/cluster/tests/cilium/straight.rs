//! The same where Cilium hands packets straight into the pods, past the hooks of their interfaces.

mod cases;
mod compared;
mod world;

use cluster::cilium::Datapath;

fn main() {
    compared::main(Datapath::Straight);
}
