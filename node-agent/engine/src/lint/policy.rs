//! A NetworkPolicy as lint sees it: all rules that are written, those that policyTypes leaves out included.

use serde_json::{Value, json};

use super::rule::{Peer, Peers, Port, Ports, Rule};
use super::{Check, Finding, ObjectName, Options, Severity};
use crate::k8s::{self, Decode, Validation};
use crate::model::{self, Delta, ObjectKey, Policy, Selector};
use crate::record::Direction;

pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// A policy that an API server would take.
pub(super) struct NetPol<'a> {
    /// The place of its object among those given.
    pub(super) source: usize,
    /// The object.
    pub(super) written: &'a Value,
    /// Namespace and name.
    pub(super) key: ObjectKey,
    /// Which pods of its namespace it selects.
    pub(super) subject: Selector,
    ingress: Side,
    egress: Side,
}

/// What a policy has for one direction.
pub(super) struct Side {
    /// It isolates in this direction (R3).
    pub(super) isolates: bool,
    /// Its rules, whether they count or not.
    pub(super) rules: Vec<Rule>,
}

/// A peer with where it stands.
pub(super) struct PlacedPeer<'a> {
    pub(super) direction: Direction,
    pub(super) rule: &'a Rule,
    pub(super) peer: &'a Peer,
    /// `spec.ingress[0].from[1]`.
    pub(super) field: String,
}

/// A port with where it stands.
pub(super) struct PlacedPort<'a> {
    pub(super) direction: Direction,
    pub(super) rule: &'a Rule,
    pub(super) port: &'a Port,
    /// `spec.ingress[0].ports[1]`.
    pub(super) field: String,
}

impl<'a> NetPol<'a> {
    /// Reads a policy; none when the API server would refuse it: then it is not there to be held against anything.
    pub(super) fn read(source: usize, written: &'a Value, options: &Options) -> Option<Self> {
        let effective = decode(written, options)?;
        let mut both = written.clone();
        if let Some(spec) = both.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("policyTypes".to_owned(), json!(["Ingress", "Egress"]));
        }
        let whole = decode(&both, options)?;
        let side = |isolates: bool, rules: Option<Vec<model::Rule>>| Side {
            isolates,
            rules: rules.into_iter().flatten().map(Rule::from).collect(),
        };
        Some(Self {
            source,
            written,
            key: ObjectKey {
                namespace: effective.key.namespace,
                name: effective.key.name,
            },
            subject: effective.subject.pods,
            ingress: side(effective.ingress.is_some(), whole.ingress),
            egress: side(effective.egress.is_some(), whole.egress),
        })
    }

    pub(super) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The rules that count in a direction.
    pub(super) fn rules(&self, direction: Direction) -> &[Rule] {
        let side = self.side(direction);
        if side.isolates { &side.rules } else { &[] }
    }

    /// The peers of all rules that count.
    pub(super) fn peers(&self) -> Vec<PlacedPeer<'_>> {
        let mut placed = Vec::new();
        for direction in DIRECTIONS {
            for (index, rule) in self.rules(direction).iter().enumerate() {
                let Peers::Of(peers) = &rule.peers else {
                    continue;
                };
                placed.extend(peers.iter().enumerate().map(|(at, peer)| PlacedPeer {
                    direction,
                    rule,
                    peer,
                    field: peer_field(direction, index, at),
                }));
            }
        }
        placed
    }

    /// The ports of all rules that count.
    pub(super) fn ports(&self) -> Vec<PlacedPort<'_>> {
        let mut placed = Vec::new();
        for direction in DIRECTIONS {
            for (index, rule) in self.rules(direction).iter().enumerate() {
                let Ports::Of(ports) = &rule.ports else {
                    continue;
                };
                placed.extend(ports.iter().enumerate().map(|(at, port)| PlacedPort {
                    direction,
                    rule,
                    port,
                    field: format!("{}.ports[{at}]", rule_field(direction, index)),
                }));
            }
        }
        placed
    }

    pub(super) fn finding(
        &self,
        check: Check,
        severity: Severity,
        field: impl Into<String>,
        wrong: impl Into<String>,
        effect: impl Into<String>,
    ) -> Finding {
        let object = ObjectName {
            kind: "NetworkPolicy".to_owned(),
            namespace: self.key.namespace.to_string(),
            name: self.key.name.to_string(),
        };
        Finding::new(check, severity, (object, self.source), field, wrong, effect)
    }
}

/// Says whether an object is a policy of Kubernetes' own, of whatever version somebody wrote.
pub(super) fn is_network_policy(object: &Value) -> bool {
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    let group = text("apiVersion")
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    text("kind") == Some("NetworkPolicy")
        && matches!(group, "" | "networking.k8s.io" | "extensions")
}

/// Decodes a policy of any kind; none when the API server would refuse it.
pub(super) fn decode(object: &Value, options: &Options) -> Option<Policy> {
    let decode = Decode {
        default_namespace: options.default_namespace.clone(),
        validation: Validation::Strict,
    };
    let deltas = k8s::decode(object, &decode).ok()?;
    deltas.into_iter().find_map(|delta| match delta {
        Delta::Policy(policy) => Some(policy),
        _ => None,
    })
}

/// `spec.ingress[0]`.
pub(super) fn rule_field(direction: Direction, rule: usize) -> String {
    match direction {
        Direction::Ingress => format!("spec.ingress[{rule}]"),
        Direction::Egress => format!("spec.egress[{rule}]"),
    }
}

/// `spec.ingress[0].from[1]`.
pub(super) fn peer_field(direction: Direction, rule: usize, peer: usize) -> String {
    format!(
        "{}.{}[{peer}]",
        rule_field(direction, rule),
        list(direction)
    )
}

/// What a direction's list of peers is called.
pub(super) fn list(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}
