//! What the engine holds of the cluster, object by object: for people who ask why it said something, and for tests that
//! hold it against a fresh list.
//!
//! It depends on what the cluster is now and on nothing else: not on the order in which that was told, not on the time.

use std::net::IpAddr;

use serde::Serialize;

use super::Cluster;
use crate::model::{EndpointSlice, Namespace, Node, Pod, Policy, PolicyKey, Service};
use crate::record::Direction;

/// An object as it is held, and what follows from it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Held<'a> {
    /// A namespace; one that is known only from what lives in it has just its name as a label.
    Namespace(&'a Namespace),
    /// A node.
    Node(&'a Node),
    /// A Service.
    Service(&'a Service),
    /// An EndpointSlice.
    EndpointSlice(&'a EndpointSlice),
    /// A policy, those of kinds that are not evaluated yet among them.
    Policy(&'a Policy),
    /// A pod, finished ones included.
    Pod(HeldPod<'a>),
}

/// A pod, and what follows from it together with all else.
#[derive(Clone, Debug, Serialize)]
pub struct HeldPod<'a> {
    /// The pod.
    #[serde(flatten)]
    pub pod: &'a Pod,
    /// Its addresses that are nobody else's now: whoever uses them is this pod.
    pub owns: Vec<IpAddr>,
    /// Policies that have a say in what reaches it, in the order in which they are asked.
    pub ingress: Vec<&'a PolicyKey>,
    /// The same for what it sends.
    pub egress: Vec<&'a PolicyKey>,
}

impl Cluster {
    /// Everything that is held, each kind in the order of its names.
    pub fn state(&self) -> impl Iterator<Item = Held<'_>> {
        let namespaces = self.namespaces().map(Held::Namespace);
        let nodes = self.nodes().map(Held::Node);
        let services = self.services().map(Held::Service);
        let slices = self.slices().map(Held::EndpointSlice);
        let policies = self.policies().map(Held::Policy);
        let pods = self.pods().map(|pod| Held::Pod(self.held(pod)));
        let all = namespaces.chain(nodes).chain(services).chain(slices);
        all.chain(policies).chain(pods)
    }

    fn held<'a>(&'a self, pod: &'a Pod) -> HeldPod<'a> {
        let is_its = |ip: &&IpAddr| {
            let owner = self.owner(**ip);
            owner.is_some_and(|owner| owner.pod.pod.key == pod.key)
        };
        let policies = |direction| {
            let selecting = self.selecting(&pod.key, direction);
            selecting.map(|policy| &policy.key).collect()
        };
        HeldPod {
            pod,
            owns: pod.ips.iter().filter(is_its).copied().collect(),
            ingress: policies(Direction::Ingress),
            egress: policies(Direction::Egress),
        }
    }
}
