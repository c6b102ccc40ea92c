//! The inner form of what Kubernetes says: parsed and validated at the border, trusted inside.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

mod labels;
mod policy;

pub use labels::Labels;
pub use policy::{
    Action, DomainName, NamespaceMatch, Operator, Peer, Peers, Policy, PolicyKey, PortMatch,
    PortSpec, Ports, Requirement, Rule, Selector, Subject, Tier, Unmatched,
};

/// Transport protocol, or ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
    /// ICMP for IPv4.
    #[serde(rename = "ICMP")]
    Icmp,
    /// ICMP for IPv6.
    #[serde(rename = "ICMPv6")]
    Icmpv6,
}

/// Name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// What made a pod: the owner a person knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// Kind of the owner, `Pod` for a pod that stands alone.
    pub kind: Arc<str>,
    /// Name of the owner.
    pub name: Arc<str>,
}

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// Name; empty when the port has none.
    pub name: Arc<str>,
    /// Number.
    pub port: u16,
    /// Protocol; TCP when the object says nothing.
    pub protocol: Protocol,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID; empty when the object has none.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations whose key begins with `netverdict.io/`.
    pub annotations: Labels,
    /// Every address of `status.podIPs`, canonical (never IPv4-mapped).
    pub ips: Vec<IpAddr>,
    /// `spec.nodeName`; empty before it is scheduled.
    pub node: Arc<str>,
    /// It shares its node's network: no policy selects it (R31).
    pub host_network: bool,
    /// Phase Succeeded or Failed: it owns nothing any more (R33).
    pub finished: bool,
    /// Ports of its containers and native sidecars (R26).
    pub ports: Arc<[NamedPort]>,
    /// `spec.serviceAccountName`; `default` when the object says nothing.
    pub service_account: Arc<str>,
    /// Its owner, or itself.
    pub workload: Workload,
}

impl Pod {
    /// Whether it is one of that node's, with a network of its own.
    #[must_use]
    pub fn is_local_to(&self, node: &str) -> bool {
        &*self.node == node && !self.host_network
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Labels, `kubernetes.io/metadata.name` always among them (R34).
    pub labels: Labels,
    /// Annotations whose key begins with `netverdict.io/`.
    pub annotations: Labels,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Every address of `status.addresses`, canonical.
    pub ips: Vec<IpAddr>,
    /// The node's own addresses among those of pods: its ends of tunnels and bridges, as far as an object tells of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnel_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`: where its pods get their addresses from; empty when the API does not say.
    #[serde(default)]
    pub pod_ranges: Vec<IpNet>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Cluster, external and load-balancer addresses; empty for a headless Service.
    pub ips: Vec<IpAddr>,
    /// Those of them that are for clients outside the cluster.
    #[serde(default)]
    pub external_ips: Vec<IpAddr>,
    /// What its backends see of who comes to those.
    #[serde(default)]
    pub external_clients: ExternalClients,
    /// `spec.internalTrafficPolicy: Local`: who comes to its cluster addresses is led to backends of his own node only.
    #[serde(default)]
    pub stays_on_node: bool,
    /// `spec.loadBalancerSourceRanges`: not everybody may come to its load balancer's addresses.
    #[serde(default)]
    pub limits_sources: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// `spec.externalTrafficPolicy`: what backends see of clients that come to an external address (R39).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalClients {
    /// `Cluster`: any node may pass them on, with an address of its own in place of theirs.
    #[default]
    Hidden,
    /// `Local`: their own address.
    Seen,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Name; empty when it has none.
    pub name: Arc<str>,
    /// The port that clients use.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// The port of every node that leads there.
    #[serde(default)]
    pub node_port: Option<u16>,
}

/// The backends of a Service, one EndpointSlice of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub key: ObjectKey,
    /// Name of the Service, in the same namespace.
    pub service: Arc<str>,
    /// Ready addresses, canonical.
    pub ready: Vec<IpAddr>,
    /// Backend ports by the Service port's name.
    pub ports: Vec<NamedPort>,
}

/// A change of the cluster: the object as it is now, or the key of what is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    /// A namespace.
    Namespace(Namespace),
    /// A namespace is gone.
    NamespaceGone(Arc<str>),
    /// A pod.
    Pod(Pod),
    /// A pod is gone.
    PodGone(ObjectKey),
    /// A node.
    Node(Node),
    /// A node is gone.
    NodeGone(Arc<str>),
    /// A Service.
    Service(Service),
    /// A Service is gone.
    ServiceGone(ObjectKey),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// An EndpointSlice is gone.
    EndpointSliceGone(ObjectKey),
    /// A policy.
    Policy(Policy),
    /// A policy is gone.
    PolicyGone(PolicyKey),
}

/// Where something of ours was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The ring buffer was full.
    Ring,
    /// The table of attempts was full.
    Attempts,
    /// The table of conversations was full.
    Conversations,
    /// The table of UDP flows was full.
    UdpFlows,
    /// Bytes from the kernel that made no sense.
    Decode,
    /// A table of the core was full.
    Core,
    /// Records that could not be written: as many as they count attempts, one for a record that counts none.
    Output,
}
