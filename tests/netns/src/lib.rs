//! A Kubernetes node made of network namespaces, and everything that the tests and the demo do on it.
//!
//! A [`node::Node`] is a namespace that routes between [`node::Pod`]s the way Calico does, and to a world outside.
//! [`traffic`] opens real connections in it, [`enforcer`] stops some of them with nftables, [`agent`] runs netverdict
//! there and reads what it writes, [`scenario`] reads the clusters and the expectations, and [`run`] joins all of it.
//!
//! Nothing here knows how netverdict decides: what is expected comes from the scenarios' tables alone.
//!
//! It needs root. It never touches the machine's own interfaces, routes, firewall or sysctls: every change is made
//! inside a namespace that it created, and every namespace is removed when its owner is dropped, on a panic, and on
//! SIGINT or SIGTERM.

pub mod agent;
pub mod aside;
pub mod balancer;
pub mod bpf;
pub mod caller;
pub mod capabilities;
pub mod cgroup;
pub mod child;
pub mod cleanup;
pub mod crowd;
pub mod enforcer;
pub mod expect;
pub mod frame;
pub mod ground;
pub mod metrics;
pub mod node;
pub mod ns;
pub mod pair;
pub mod paths;
pub mod queue;
pub mod raw;
pub mod record;
pub mod redirect;
pub mod run;
pub mod scenario;
pub mod service;
mod setup;
pub mod stopper;
pub mod traffic;
pub mod trials;
pub mod ways;
