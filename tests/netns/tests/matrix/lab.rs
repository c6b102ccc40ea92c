//! The nodes of a ground, and the agents on them.

use anyhow::Context;
use netns::agent::{Agent, Setup};
use netns::node::{Node, Pod, PodSpec, ReversePath, TEST_PREFIX, Wiring};
use netns::ns::Namespace;
use netns::pair::Linked;
use netns::scenario::Scenario;

use crate::cell::Ground;
use crate::cluster::{self, FRIEND, STRANGER};

/// One node, or two that reach each other's pods.
pub(crate) struct Lab {
    /// The clients' node.
    pub(crate) near: Node,
    /// The servers' node, where it is another one.
    pub(crate) far: Option<Node>,
    pub(crate) between: Option<Namespace>,
}

impl Lab {
    pub(crate) fn new(ground: Ground) -> anyhow::Result<Self> {
        let wiring = match ground {
            Ground::Bridged => Wiring::Bridged,
            Ground::Routed
            | Ground::Before
            | Ground::Clsact
            | Ground::BeforeClsact
            | Ground::Calls
            | Ground::Crowded
            | Ground::Across
            | Ground::AcrossVxlan => Wiring::Routed,
        };
        if let Some(way) = ground.way() {
            let Linked {
                nodes: [near, far],
                between,
            } = Linked::new(way)?;
            return Ok(Self {
                near,
                far: Some(far),
                between: Some(between),
            });
        }
        let external = [FRIEND, STRANGER].concat();
        Ok(Self {
            near: Node::wired(TEST_PREFIX, &external, ReversePath::Open, wiring)?,
            far: None,
            between: None,
        })
    }

    /// The servers' node.
    pub(crate) fn far(&self) -> &Node {
        self.far.as_ref().unwrap_or(&self.near)
    }

    /// Where clients from outside are, and servers there.
    pub(crate) fn outside(&self) -> &Namespace {
        self.between.as_ref().unwrap_or(&self.near.world)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        [&self.near].into_iter().chain(&self.far)
    }

    /// An agent for each node.
    pub(crate) fn agents(&self, setup: &Setup) -> anyhow::Result<Vec<Agent>> {
        let numbered = self.nodes().enumerate();
        numbered
            .map(|(index, node)| {
                let mut setup = setup.clone();
                setup.node = cluster::node_name(index);
                Agent::start(&setup, &node.namespace)
            })
            .collect()
    }

    /// The pods, each on its node, watched from their first packet on where there are agents already.
    pub(crate) fn add_pods(&mut self, scenario: &Scenario, agents: &[Agent]) -> anyhow::Result<()> {
        let two = self.far.is_some();
        for (index, node) in [&mut self.near]
            .into_iter()
            .chain(&mut self.far)
            .enumerate()
        {
            let mut pods: Vec<PodSpec> = scenario.pod_specs();
            pods.retain(|pod| cluster::node_of(&pod.key, two) == index);
            match agents.get(index) {
                Some(agent) => node.add_watched_pods(&pods, agent)?,
                None => node.add_pods(&pods)?,
            }
        }
        Ok(())
    }

    /// A pod and the node that it hangs on.
    pub(crate) fn pod(&self, key: &str) -> anyhow::Result<(&Node, &Pod)> {
        self.nodes()
            .find_map(|node| Some((node, node.pod(key).ok()?)))
            .with_context(|| format!("no pod `{key}`"))
    }

    pub(crate) fn inside(&self, key: &str) -> anyhow::Result<&Namespace> {
        Ok(&self.pod(key)?.1.namespace)
    }
}
