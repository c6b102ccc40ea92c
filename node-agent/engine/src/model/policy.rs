//! Policies of every kind in one form: tiers of policies, policies of rules.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Labels, Protocol};

/// What names a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyKey {
    /// `NetworkPolicy`, `ClusterNetworkPolicy`, `AdminNetworkPolicy` or `BaselineAdminNetworkPolicy`; of other
    /// dialects their kind, with its group where another kind has the same name.
    pub kind: Arc<str>,
    /// Namespace; empty for cluster-scoped policies.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl PolicyKey {
    /// In the place of a name, for all policies of a kind that cannot be read: no object has it.
    pub const ALL: &str = "*";

    /// Whether it names no policy that somebody made.
    #[must_use]
    pub fn stands_for_all(&self) -> bool {
        *self.name == *Self::ALL
    }
}

/// Tiers are asked in this order, each only where those before it have not decided (R57).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Before every namespace's own policies.
    Admin,
    /// The namespaces' own policies.
    NetworkPolicy,
    /// For what those leave undecided.
    Baseline,
}

/// What becomes of a connection that no rule of a tier matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmatched {
    /// It is denied: the policy isolates what it selects (R2).
    Denied,
    /// The next tier is asked: selecting changes nothing (R46).
    Passed,
    /// It is not known: the policy is of a kind that is not evaluated yet, and its rules were not read.
    Unknown,
}

/// Which pods a policy selects. Pods on their node's network never are (R31, R47).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// In which namespaces.
    pub namespaces: NamespaceMatch,
    /// Which of their pods.
    pub pods: Selector,
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
    /// When it is asked.
    pub tier: Tier,
    /// Lower is asked first, equal by name (R45). `None`: it has no place among the policies of its tier,
    /// because their rules only add up (R4).
    pub priority: Option<u16>,
    /// What it makes of connections that no rule of its tier matches.
    pub unmatched: Unmatched,
    /// Which pods it selects.
    pub subject: Subject,
    /// `None`: it has no say in ingress. `Some` and empty: it has, and no rule.
    pub ingress: Option<Vec<Rule>>,
    /// `None`: it has no say in egress. `Some` and empty: it has, and no rule.
    pub egress: Option<Vec<Rule>>,
}

/// What a rule does with the connections it matches; the first that matches decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Allows them for good.
    Accept,
    /// Denies them for good.
    Deny,
    /// Leaves them to the next tier (R56).
    Pass,
}

/// One rule: ports and peers, both must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it does.
    pub action: Action,
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
    /// Pods with a network of their own; those on their node's are not among them (R47).
    OwnNetworkPods {
        /// In which namespaces.
        namespaces: Selector,
        /// Which of their pods.
        pods: Selector,
    },
    /// Nodes, by the addresses of their objects (R50).
    Nodes(Selector),
    /// Addresses, whoever has them (R51); host bits masked off.
    Networks(Vec<IpNet>),
    /// Addresses that DNS gave for one of these names (R52).
    Domains(Vec<DomainName>),
}

/// A domain name, or all under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DomainName {
    /// Lower case, without the dot at its end.
    pub name: Arc<str>,
    /// Written `*.name`: every name under it, not itself.
    pub wildcard: bool,
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
    /// Protocol; TCP when a NetworkPolicy says nothing (R20). `None`: whichever the connection has (R54).
    pub protocol: Option<Protocol>,
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
