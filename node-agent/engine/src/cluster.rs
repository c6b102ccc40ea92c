//! The cluster as it is now, with as much of its past as late events need.
//!
//! It is changed by [`Cluster::apply`] only, and what it says of live objects depends on the current state and
//! not on the order in which it arrived. It leaves judging to `evaluate`.

mod apply;
mod blocks;
mod claims;
mod classes;
mod cluster_ips;
mod decided;
mod label_index;
mod owners;
mod parties;
mod past;
mod policies;
mod services;
mod state;
mod strings;
mod then;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use blocks::BlockClass;
use blocks::Blocks;
pub(crate) use classes::Class;
use classes::{ClassId, Classes, ClassesHere};
use cluster_ips::ClusterIps;
use decided::Decided;
pub(crate) use decided::{How, Key, Side};
pub(crate) use owners::Owner;
use owners::Owners;
pub use past::Kept;
use past::Past;
use policies::Policies;
pub use state::{Held, HeldPod};
use strings::Strings;
pub use then::Throughout;

use crate::identity::Addresses;
use crate::input::Moment;
use crate::isolation::Asks;
use crate::model::{
    EndpointSlice, Namespace, Node, ObjectKey, Pod, Policy, PolicyKey, Selector, Service,
};
use crate::names::Names;
use crate::record;
use crate::verdict::Brief;

/// What a delta did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that a verdict rests on.
    None,
    /// A policy says something else now.
    Policy {
        /// Which.
        key: PolicyKey,
        /// How it changed.
        change: record::Change,
    },
    /// A selection, an identity or an address is another now.
    Verdicts,
}

/// How many pods that are gone are remembered.
const GONE_KEPT: usize = 4096;

/// The cluster as it is now.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<Arc<str>, NamespaceState>,
    /// Policies that belong to no namespace.
    cluster_wide: Policies,
    classes: Classes,
    strings: Strings,
    blocks: Blocks,
    owners: Owners,
    decided: Decided,
    nodes: BTreeMap<Arc<str>, Node>,
    /// When a node's addresses or labels, or its pods that share its network, last changed.
    nodes_changed: BTreeMap<Arc<str>, Moment>,
    services: BTreeMap<ObjectKey, Service>,
    cluster_ips: ClusterIps,
    slices: BTreeMap<ObjectKey, EndpointSlice>,
    /// When a Service or one of its slices last changed.
    services_changed: BTreeMap<ObjectKey, Moment>,
    addresses: Addresses,
    own_node: Option<OwnNode>,
    names: Option<Names>,
    /// Pods that share their node's network, by node.
    host_pods: BTreeMap<Arc<str>, BTreeSet<ObjectKey>>,
    gone: Gone,
    /// Absent while nobody asks for it.
    past: Option<Past>,
}

#[derive(Clone, Debug)]
struct OwnNode {
    name: Arc<str>,
    addresses: Vec<IpAddr>,
}

/// A namespace and what lives in it.
#[derive(Clone, Debug)]
struct NamespaceState {
    /// With just its name as a label while its object is not known.
    namespace: Namespace,
    explicit: bool,
    labels_changed: Moment,
    pods: BTreeMap<Arc<str>, Arc<PodState>>,
    policies: Policies,
    classes: ClassesHere,
}

impl NamespaceState {
    fn new(name: &Arc<str>, now: Moment) -> Self {
        Self {
            namespace: Namespace::known_by_name(name),
            explicit: false,
            labels_changed: now,
            pods: BTreeMap::new(),
            policies: Policies::default(),
            classes: ClassesHere::default(),
        }
    }
}

/// A pod and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct PodState {
    pub(crate) pod: Pod,
    class: ClassId,
    since: Moment,
    /// Labels, addresses, ports or node.
    changed: Moment,
}

/// A pod as a party, with what it has in common with others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) state: &'a PodState,
    pub(crate) class: &'a Class,
}

/// Pods that are gone, for events that come late.
#[derive(Clone, Debug, Default)]
struct Gone {
    pods: BTreeMap<ObjectKey, GonePod>,
    order: VecDeque<(Moment, ObjectKey)>,
}

/// A pod and its class as they were at its end.
#[derive(Clone, Debug)]
struct GonePod {
    at: Moment,
    state: Arc<PodState>,
    class: Class,
}

impl Cluster {
    /// A cluster of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod that exists now, finished ones included.
    #[must_use]
    pub fn pod(&self, key: &ObjectKey) -> Option<&Pod> {
        self.live(key).map(|state| &state.pod)
    }

    /// Every pod, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.namespaces
            .values()
            .flat_map(|namespace| namespace.pods.values())
            .map(|state| &state.pod)
    }

    /// Every pod of a namespace, by name.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map(|namespace| namespace.pods.values())
            .map(|state| &state.pod)
    }

    /// A namespace. One that is known only from its pods or policies has just its name as a label (R34).
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name).map(|state| &state.namespace)
    }

    /// Every namespace, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values().map(|state| &state.namespace)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Every node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A policy.
    #[must_use]
    pub fn policy(&self, key: &PolicyKey) -> Option<&Policy> {
        let policies = match policies::is_cluster_wide(key) {
            true => &self.cluster_wide,
            false => &self.namespaces.get(&key.namespace)?.policies,
        };
        policies.get(key).map(AsRef::as_ref)
    }

    /// Every policy of no namespace.
    pub(crate) fn cluster_wide(&self) -> impl Iterator<Item = &Policy> {
        self.cluster_wide.iter().map(AsRef::as_ref)
    }

    /// How many policies are of kinds that are not evaluated yet.
    #[must_use]
    pub fn unsupported(&self) -> usize {
        let policies = self.policies();
        policies.filter(|policy| policy.is_unsupported()).count()
    }

    /// Every policy: those of no namespace first, then by namespace, kind and name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        let namespaced = self
            .namespaces
            .values()
            .flat_map(|namespace| namespace.policies.iter());
        let policies = self.cluster_wide.iter().chain(namespaced);
        policies.map(AsRef::as_ref)
    }

    /// How many objects of each kind there are.
    pub(crate) fn objects(&self) -> [(&'static str, usize); 7] {
        let pods = self.namespaces.values().map(|state| state.pods.len()).sum();
        [
            ("namespace", self.namespaces.len()),
            ("pod", pods),
            ("node", self.nodes.len()),
            ("service", self.services.len()),
            ("endpoint_slice", self.slices.len()),
            ("policy", self.policies().count()),
            ("unsupported_policy", self.unsupported()),
        ]
    }

    /// The policies that isolate a pod in a direction, in the order of their names.
    pub fn isolating(
        &self,
        key: &ObjectKey,
        direction: record::Direction,
    ) -> impl Iterator<Item = &Policy> {
        let selecting = self.selecting(key, direction);
        selecting.filter(|policy| policy.isolates())
    }

    /// The policies that have a say in a direction for a pod, in the order in which they are asked: by tier,
    /// priority and name.
    pub fn selecting(
        &self,
        key: &ObjectKey,
        direction: record::Direction,
    ) -> impl Iterator<Item = &Policy> {
        let policies = self
            .remembered(key)
            .map_or(&[][..], |pod| pod.class.isolation.policies(direction));
        policies.iter().map(AsRef::as_ref)
    }

    /// Takes what DNS has answered, in place of what was there. As long as nobody has given it, rules with
    /// domain names leave a verdict unknown where they could decide it (R52).
    pub fn set_names(&mut self, names: Names) {
        self.names = Some(names);
    }

    /// What DNS has answered; absent when nobody has said.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }

    /// When the pod was first heard of with an address; absent when it does not exist now.
    #[must_use]
    pub fn pod_since(&self, key: &ObjectKey) -> Option<Moment> {
        self.live(key).map(|state| state.since)
    }

    fn live(&self, key: &ObjectKey) -> Option<&Arc<PodState>> {
        self.namespaces.get(&key.namespace)?.pods.get(&key.name)
    }

    /// The pod, or the last of that name when it is gone since a short time.
    pub(crate) fn remembered(&self, key: &ObjectKey) -> Option<Endpoint<'_>> {
        match self.live(key) {
            Some(state) => Some(Endpoint {
                state,
                class: self.classes.get(state.class)?,
            }),
            None => self.gone.pods.get(key).map(|gone| Endpoint {
                state: &gone.state,
                class: &gone.class,
            }),
        }
    }

    /// The same, as an object.
    pub(crate) fn recalled(&self, key: &ObjectKey) -> Option<&Pod> {
        self.remembered(key).map(|pod| &pod.state.pod)
    }

    /// The pod with a network of its own that has an address now, and nobody else.
    pub(crate) fn owner(&self, ip: IpAddr) -> Option<&Owner> {
        self.owners.get(ip)
    }

    /// An owner with its class.
    pub(crate) fn owning<'a>(&'a self, owner: &'a Owner) -> Option<Endpoint<'a>> {
        Some(Endpoint {
            state: &owner.pod,
            class: self.classes.get(owner.class)?,
        })
    }

    /// What the rules for a pod look at.
    pub(crate) fn asks(&self, owner: &Owner, direction: record::Direction) -> Asks {
        self.classes.asks(owner.class, direction)
    }

    /// What verdicts about a pod rest on, the blocks it lies in aside.
    pub(crate) fn side_of(&self, owner: &Owner) -> Side {
        Side {
            class: owner.class,
            generation: self.classes.generation(owner.class),
            block: BlockClass::NONE,
        }
    }

    /// Which blocks of policies an address lies in.
    pub(crate) fn block_class(&self, ip: IpAddr) -> BlockClass {
        self.blocks.class_of(ip)
    }

    pub(crate) fn decided_before(&self, key: &Key) -> Option<Brief> {
        self.decided.get(key)
    }

    pub(crate) fn remember_decided(&mut self, key: Key, brief: Brief) {
        self.decided.put(key, brief);
    }

    /// The classes of a namespace's pods that a selector matches.
    pub(crate) fn classes_matching(
        &self,
        namespace: &str,
        selector: &Selector,
    ) -> impl Iterator<Item = &Class> {
        let here = self.namespaces.get(namespace);
        let candidates = here.map(|state| state.classes.candidates(selector));
        candidates
            .into_iter()
            .flatten()
            .filter_map(|id| self.classes.get(id))
            .filter(|class| selector.matches(&class.traits.labels))
    }

    /// Live pods that share the network of a node.
    pub(crate) fn host_pods(&self, node: &str) -> impl Iterator<Item = &PodState> {
        self.host_pods
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(|key| self.live(key).map(AsRef::as_ref))
    }
}
