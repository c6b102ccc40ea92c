//! A real API server with its etcd on the loopback of a network namespace of its own, and what tests need to
//! change it, to stand between it and the agent, and to compare what the agent knows with what it holds.

pub mod admin;
pub mod cilium;
pub mod clock;
pub mod ground;
pub mod machine;
pub mod mirror;
pub mod node;
mod pki;
pub mod plane;
pub mod proxy;
pub mod wait;
