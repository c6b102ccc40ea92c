//! What these checks need of a ClusterNetworkPolicy, or of the two kinds before it.
//!
//! It reads less than a judge of connections would: of ports only whether there are any.

use std::fmt;

use ipnet::IpNet;
use serde_json::Value;

use crate::k8s;
use crate::lint::world::{KnownPod, kind, text_at, value_at};
use crate::model::{Labels, Selector};
use crate::record::Direction;

/// A policy of a tier.
pub(super) struct Tiered {
    pub(super) source: usize,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) tier: Tier,
    /// None for the kind that has just one object.
    pub(super) priority: Option<i64>,
    pub(super) subject: Subject,
    ingress: Vec<TierRule>,
    egress: Vec<TierRule>,
}

/// Before or after NetworkPolicy (R57).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Admin,
    Baseline,
}

/// Pods by their namespaces' labels and their own.
pub(super) struct Subject {
    pub(super) namespaces: Selector,
    pub(super) pods: Selector,
}

/// A rule.
pub(super) struct TierRule {
    pub(super) action: Action,
    pub(super) peers: Vec<TierPeer>,
    pub(super) has_ports: bool,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Deny,
    Pass,
}

/// One peer.
pub(super) enum TierPeer {
    Pods(Subject),
    Networks(Vec<IpNet>),
    /// Nodes, domain names, or what is not known.
    Other,
}

impl Tiered {
    /// Reads a policy; none when it has no legible tier or subject.
    pub(super) fn read(source: usize, object: &Value) -> Option<Self> {
        let (_, kind) = kind(object);
        let tier = match (kind, text_at(object, &["spec", "tier"])) {
            ("AdminNetworkPolicy", _) | ("ClusterNetworkPolicy", Some("Admin")) => Tier::Admin,
            ("BaselineAdminNetworkPolicy", _) | ("ClusterNetworkPolicy", Some("Baseline")) => {
                Tier::Baseline
            }
            _ => return None,
        };
        let rules = |field: &str, list: &str| {
            let rules = value_at(object, &["spec", field]).and_then(Value::as_array);
            let rules = rules.into_iter().flatten();
            rules.filter_map(|written| rule(written, list)).collect()
        };
        Some(Self {
            source,
            kind: kind.to_owned(),
            name: text_at(object, &["metadata", "name"])?.to_owned(),
            tier,
            priority: value_at(object, &["spec", "priority"]).and_then(Value::as_i64),
            subject: subject(value_at(object, &["spec", "subject"])?)?,
            ingress: rules("ingress", "from"),
            egress: rules("egress", "to"),
        })
    }

    pub(super) fn rules(&self, direction: Direction) -> &[TierRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Subject {
    /// Whether it selects a pod of a namespace with these labels; never one on the host network (R47).
    pub(super) fn selects(&self, namespace: &Labels, pod: &KnownPod) -> bool {
        pod.is_subject() && self.namespaces.matches(namespace) && pod.fits(&self.pods)
    }

    pub(super) fn is_everybody(&self) -> bool {
        self.namespaces.requirements.is_empty() && self.pods.requirements.is_empty()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "Accept",
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        })
    }
}

/// Whether it may allow what a NetworkPolicy does not.
pub(in crate::lint) fn allows_something(object: &Value) -> bool {
    has_action(object, &["Accept", "Allow"])
}

/// Whether it denies what no NetworkPolicy has to.
pub(in crate::lint) fn denies_something(object: &Value) -> bool {
    has_action(object, &["Deny"])
}

fn has_action(object: &Value, wanted: &[&str]) -> bool {
    ["ingress", "egress"].iter().any(|field| {
        let rules = value_at(object, &["spec", field]).and_then(Value::as_array);
        rules.into_iter().flatten().any(|rule| {
            let action = rule.get("action").and_then(Value::as_str);
            action.is_some_and(|action| wanted.contains(&action))
        })
    })
}

fn rule(written: &Value, list: &str) -> Option<TierRule> {
    let action = match written.get("action")?.as_str()? {
        "Accept" | "Allow" => Action::Accept,
        "Deny" => Action::Deny,
        "Pass" => Action::Pass,
        _ => return None,
    };
    let is_there = |field: &str| written.get(field).is_some_and(|value| !value.is_null());
    let peers = written.get(list).and_then(Value::as_array);
    Some(TierRule {
        action,
        peers: peers.into_iter().flatten().map(peer).collect(),
        has_ports: is_there("protocols") || is_there("ports"),
    })
}

fn peer(written: &Value) -> TierPeer {
    if let Some(networks) = written.get("networks").and_then(Value::as_array) {
        let read = networks.iter().filter_map(|net| net.as_str()?.parse().ok());
        return TierPeer::Networks(read.collect());
    }
    subject(written).map_or(TierPeer::Other, TierPeer::Pods)
}

fn subject(written: &Value) -> Option<Subject> {
    if let Some(namespaces) = written.get("namespaces") {
        return Some(Subject {
            namespaces: k8s::selector_of(namespaces)?,
            pods: Selector::default(),
        });
    }
    let pods = written.get("pods")?;
    Some(Subject {
        namespaces: k8s::selector_of(pods.get("namespaceSelector")?)?,
        pods: k8s::selector_of(pods.get("podSelector")?)?,
    })
}
