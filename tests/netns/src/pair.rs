//! Two nodes of one cluster, each with an agent, and a router between them that no agent watches.

mod cluster;
mod translation;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::agent::{Agent, Setup};
use crate::node::{Node, ReversePath, TEST_PREFIX};
use crate::ns::Namespace;
use crate::paths;
use crate::scenario::Family;

/// The port at which every pod serves, and every Service is to be had.
pub const PORT: u16 = 5000;

static PAIRS: AtomicU16 = AtomicU16::new(0);

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
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEST_PREFIX}{}-between-{number}", std::process::id());
        let mut between = Namespace::create(vec![name])?;
        let between = between.pop().context("one namespace was asked for")?;
        between.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        let cluster = cluster::manifests(members)?;
        let mut nodes = [linked(0, &between)?, linked(1, &between)?];
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

fn agent(node: &Node, cluster: &TempDir, name: &str) -> anyhow::Result<Agent> {
    let mut setup = Setup::new(&paths::agent()?, cluster.path());
    setup.node = name.to_owned();
    Agent::start(&setup, &node.namespace)
}

/// A node whose only way out leads to what lies between.
fn linked(index: usize, between: &Namespace) -> anyhow::Result<Node> {
    let node = Node::new(TEST_PREFIX, &[], ReversePath::Open)?;
    let other = 1 - index;
    let [v4, v6] = [Family::V4, Family::V6].map(|family| node_address(index, family));
    let link = format!("to{index}");
    node.namespace.ip(&format!(
        "link del uplink0\n\
         link add cluster0 type veth peer name {link} netns {}\n\
         link set cluster0 up\n\
         addr add {v4}/24 dev cluster0\n\
         addr add {v6}/64 dev cluster0 nodad\n\
         addr add fe80::1/64 dev cluster0 nodad\n",
        between.name(),
    ))?;
    between.ip(&format!(
        "link set {link} up\n\
         addr add 198.51.{index}.254/24 dev {link}\n\
         addr add 2001:db8:51:{index}::fe/64 dev {link} nodad\n\
         route add 10.42.{index}.0/24 via {v4}\n\
         route add fd00:10:42:{index}::/64 via {v6}\n"
    ))?;
    node.namespace.ip(&format!(
        "route add default via 198.51.{index}.254\n\
         route add 10.42.{other}.0/24 via 198.51.{index}.254\n\
         route add default via 2001:db8:51:{index}::fe\n\
         route add fd00:10:42:{other}::/64 via 2001:db8:51:{index}::fe\n"
    ))?;
    Ok(node)
}
