//! A ClusterNetworkPolicy, or one of the two kinds before it, as these checks need it.

use ipnet::IpNet;
use serde_json::Value;

use crate::lint::Options;
use crate::lint::policy::{DIRECTIONS, decode};
use crate::lint::rule::Ports;
use crate::lint::world::KnownPod;
use crate::model::{Action, Labels, NamespaceMatch, Peer, Peers, Policy, Rule, Selector, Tier};
use crate::record::Direction;

/// The kind that has just one object.
pub(in crate::lint) const SINGLE: &str = "BaselineAdminNetworkPolicy";

/// A policy that an API server would take.
pub(in crate::lint) struct Tiered {
    pub(super) source: usize,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) tier: Tier,
    /// Lower comes first.
    pub(super) priority: u16,
    pub(super) subject: Pods,
    ingress: Vec<TierRule>,
    egress: Vec<TierRule>,
}

/// Pods by their namespaces' labels and their own.
pub(super) struct Pods {
    pub(super) namespaces: Selector,
    pub(super) pods: Selector,
}

/// A rule.
pub(super) struct TierRule {
    pub(super) action: Action,
    pub(super) peers: Vec<TierPeer>,
    pub(super) ports: Ports,
}

/// One peer.
pub(super) enum TierPeer {
    Pods(Pods),
    Networks(Vec<IpNet>),
    Domains,
    Nodes,
}

impl Tiered {
    /// Whether a rule looks at addresses.
    pub(in crate::lint) fn has_networks(&self) -> bool {
        let mut peers = self
            .ingress
            .iter()
            .chain(&self.egress)
            .flat_map(|rule| &rule.peers);
        peers.any(|peer| matches!(peer, TierPeer::Networks(_)))
    }

    /// Reads a policy; none when the API server would refuse it.
    pub(in crate::lint) fn read(source: usize, object: &Value, options: &Options) -> Option<Self> {
        let Policy {
            key,
            tier,
            priority,
            subject,
            ingress,
            egress,
            ..
        } = decode(object, options)?;
        let rules = |rules: Option<Vec<Rule>>| rules.into_iter().flatten().map(TierRule::from);
        Some(Self {
            source,
            tier,
            priority: priority?,
            kind: key.kind.to_string(),
            name: key.name.to_string(),
            subject: Pods {
                namespaces: namespaces(subject.namespaces),
                pods: subject.pods,
            },
            ingress: rules(ingress).collect(),
            egress: rules(egress).collect(),
        })
    }

    pub(super) fn rules(&self, direction: Direction) -> &[TierRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Whether some rule of it does that.
    pub(in crate::lint) fn has(&self, action: Action) -> bool {
        DIRECTIONS
            .into_iter()
            .flat_map(|direction| self.rules(direction))
            .any(|rule| rule.action == action)
    }
}

impl Pods {
    /// Whether it selects a pod of a namespace with these labels; never one on the host network (R47).
    pub(super) fn selects(&self, namespace: &Labels, pod: &KnownPod) -> bool {
        pod.is_subject() && self.namespaces.matches(namespace) && pod.fits(&self.pods)
    }

    pub(super) fn is_everybody(&self) -> bool {
        self.namespaces.requirements.is_empty() && self.pods.requirements.is_empty()
    }
}

impl TierRule {
    pub(super) fn is_for_all_ports(&self) -> bool {
        matches!(self.ports, Ports::Any)
    }
}

impl From<Rule> for TierRule {
    fn from(rule: Rule) -> Self {
        let peers = match rule.peers {
            // Every rule of these kinds has a list.
            Peers::Any => Vec::new(),
            Peers::Of(peers) => peers,
        };
        Self {
            action: rule.action,
            peers: peers.into_iter().map(TierPeer::from).collect(),
            ports: rule.ports.into(),
        }
    }
}

impl From<Peer> for TierPeer {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::OwnNetworkPods { namespaces, pods } => Self::Pods(Pods { namespaces, pods }),
            Peer::Networks(networks) => Self::Networks(networks),
            Peer::Domains(_) => Self::Domains,
            // The last two are a NetworkPolicy's only.
            Peer::Nodes(_) | Peer::Pods { .. } | Peer::Block { .. } => Self::Nodes,
        }
    }
}

fn namespaces(subject: NamespaceMatch) -> Selector {
    match subject {
        NamespaceMatch::Matching(selector) => selector,
        // Only a NetworkPolicy has a namespace of its own.
        NamespaceMatch::Own => Selector::default(),
    }
}
