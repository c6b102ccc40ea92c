//! Two nodes of one cluster, each with an agent, and a router between them that no agent watches.

mod cluster;
mod linked;
mod translation;

use std::net::IpAddr;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use self::linked::{Linked, Way};
use crate::agent::{Agent, Setup};
use crate::node::Node;
use crate::ns::Namespace;
use crate::paths;
use crate::scenario::Family;

/// The port at which every pod serves, and every Service is to be had.
pub const PORT: u16 = 5000;

/// What policy wants of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Anybody may reach it.
    Open,
    /// Nobody may.
    Closed,
}

/// A pod of the cluster, and the Service before it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name; `pair/NAME` on its node.
    pub name: &'static str,
    /// Index of its node.
    pub node: usize,
    /// Who may reach it.
    pub guard: Guard,
    /// Whom its Service leads to in turn with it.
    pub beside: &'static [&'static str],
}

/// Two nodes.
#[derive(Debug)]
pub struct Pair {
    /// The agents of both, in their order.
    pub agents: [Agent; 2],
    /// Both nodes.
    pub nodes: [Node; 2],
    /// What lies between them.
    pub between: Namespace,
    /// Their cluster.
    pub cluster: TempDir,
    members: Vec<Member>,
}

impl Pair {
    /// Makes the nodes, starts an agent on each, and adds the pods, which are watched from their first packet on.
    /// Each has a Service of its name, translated on both nodes.
    ///
    /// # Errors
    /// When one of it cannot be made.
    pub fn new(members: &[Member]) -> anyhow::Result<Self> {
        let cluster = cluster::manifests(members)?;
        let Linked { mut nodes, between } = Linked::new(Way::Routed)?;
        let agents = [
            agent(&nodes[0], &cluster, "node-1")?,
            agent(&nodes[1], &cluster, "node-2")?,
        ];
        for (index, (node, agent)) in nodes.iter_mut().zip(&agents).enumerate() {
            node.add_watched_pods(&cluster::specs(members, index), agent)?;
            node.namespace
                .nft(&translation::rules(members, Family::V4))?;
            node.namespace
                .nft(&translation::rules(members, Family::V6))?;
        }
        Ok(Self {
            agents,
            nodes,
            between,
            cluster,
            members: members.to_vec(),
        })
    }

    /// The namespace of a pod.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn pod(&self, name: &str) -> anyhow::Result<&Namespace> {
        let member = self.members.iter().find(|member| member.name == name);
        let member = member.with_context(|| format!("no pod `{name}`"))?;
        let node = self.nodes.get(member.node).context("no such node")?;
        Ok(&node.pod(&format!("pair/{name}"))?.namespace)
    }

    /// The address of a pod.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn address(&self, name: &str, family: Family) -> anyhow::Result<IpAddr> {
        cluster::pod_address(&self.members, name, family)
    }

    /// The address of the Service before a pod.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn service(&self, name: &str, family: Family) -> anyhow::Result<IpAddr> {
        let index = self.members.iter().position(|member| member.name == name);
        let index = index.with_context(|| format!("no pod `{name}`"))?;
        Ok(cluster::service_address(index, family))
    }

    /// The port of every node that leads to the Service before a pod.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node_port(&self, name: &str) -> anyhow::Result<u16> {
        let index = self.members.iter().position(|member| member.name == name);
        let index = index.with_context(|| format!("no pod `{name}`"))?;
        Ok(cluster::node_port(index))
    }

    /// The sum over both agents of what they count as connections, of series that have all of these labels.
    ///
    /// # Errors
    /// When an agent does not say.
    pub fn counted(&self, labels: &[&str]) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (agent, node) in self.agents.iter().zip(&self.nodes) {
            let metrics = agent.metrics(&node.namespace)?;
            ensure!(!metrics.0.is_empty(), "no metrics");
            sum += metrics.sum("netverdict_connections_total{", labels);
        }
        Ok(sum)
    }
}

/// The address of a node.
#[must_use]
pub fn node_address(index: usize, family: Family) -> IpAddr {
    cluster::node_address(index, family)
}

/// A node as the API server has it.
#[must_use]
pub fn node_object(index: usize) -> Value {
    cluster::node(index)
}

fn agent(node: &Node, cluster: &TempDir, name: &str) -> anyhow::Result<Agent> {
    let mut setup = Setup::new(&paths::agent()?, cluster.path());
    setup.node = name.to_owned();
    Agent::start(&setup, &node.namespace)
}
