//! The inner form of what Kubernetes says: parsed and validated at the border, trusted inside.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Labels of a pod, a namespace or a node.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

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
    pub ports: Vec<NamedPort>,
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
    /// Its ports.
    pub ports: Vec<ServicePort>,
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

/// What names a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyKey {
    /// `NetworkPolicy`, later other dialects.
    pub kind: Arc<str>,
    /// Namespace; empty for cluster-scoped policies.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A policy in its inner form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Kind, namespace and name.
    pub key: PolicyKey,
    /// UID; empty when the object has none.
    pub uid: Arc<str>,
    /// `metadata.generation`; 0 when the object has none.
    pub generation: i64,
    /// Annotations whose key begins with `netverdict.io/` or is `projectcalico.org/policy-action`.
    pub annotations: Labels,
    /// Which pods of its namespace it selects.
    pub subject: Selector,
    /// `None`: it does not isolate for ingress. `Some` and empty: it allows nothing in.
    pub ingress: Option<Vec<Rule>>,
    /// `None`: it does not isolate for egress. `Some` and empty: it allows nothing out.
    pub egress: Option<Vec<Rule>>,
}

/// One rule: ports and peers, both must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Who.
    pub peers: Peers,
    /// On which ports.
    pub ports: Ports,
}

/// The peers of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peers {
    /// No list, or an empty one: everybody (R10).
    Any,
    /// One of these.
    Of(Vec<Peer>),
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// Pods.
    Pods {
        /// In which namespaces.
        namespaces: NamespaceMatch,
        /// Which of their pods.
        pods: Selector,
    },
    /// Addresses.
    Block {
        /// The block, host bits masked off.
        cidr: IpNet,
        /// What is taken out of it again, for this peer only (R12).
        except: Vec<IpNet>,
    },
}

/// In which namespaces a peer's pods are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMatch {
    /// No `namespaceSelector`: the policy's own namespace (R13).
    Own,
    /// Those whose labels match (R14).
    Matching(Selector),
}

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ports {
    /// No list, or an empty one: every port of every protocol (R19).
    Any,
    /// One of these.
    Of(Vec<PortMatch>),
}

/// One item of a rule's ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMatch {
    /// Protocol; TCP when the object says nothing (R20).
    pub protocol: Protocol,
    /// Which ports of it.
    pub port: PortSpec,
}

/// Which ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortSpec {
    /// No `port`: every one (R21).
    Any,
    /// From the first to the last, both included; one port has both alike (R22).
    Range {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// Looked up on the destination pod of the connection (R23).
    Named(Arc<str>),
}

/// A label selector; empty, it matches everything (R5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// All must hold. `matchLabels` first in key order, then `matchExpressions` as written.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Label key.
    pub key: Arc<str>,
    /// What its value must be.
    pub operator: Operator,
}

/// How a requirement looks at a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Present, with one of these values.
    In(Vec<Arc<str>>),
    /// Absent, or with none of these values (R7).
    NotIn(Vec<Arc<str>>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
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
    /// Records that could not be written.
    Output,
}
