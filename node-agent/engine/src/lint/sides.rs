//! What is not isolated, and what is opened on one side only: N25, N27.

use std::collections::{BTreeMap, BTreeSet};

use super::overlap::ports_meet;
use super::policy::{DIRECTIONS, NetPol, PlacedPeer};
use super::rule::{Peer, Peers, Ports, Rule};
use super::world::{KnownPod, NAME_LABEL, World};
use super::{Check, Facts, Finding, ObjectName, Severity};
use crate::model::{Labels, Namespace, NamespaceMatch};
use crate::record::Direction;

/// Namespaces of the platform, whose pods others look after.
const PLATFORM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// A rule for more pairs of pods than this is for no certain pair, and too much to go through.
const MOST_PAIRS: usize = 1024;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    if facts.policies.is_empty() || facts.world.has_foreign_policies {
        return;
    }
    if !facts.world.has_cluster_denial {
        not_isolated(facts, findings);
    }
    if !facts.world.has_other_allowances() {
        for policy in &facts.policies {
            for placed in policy.peers() {
                findings.extend(one_side(facts, policy, &placed));
            }
        }
    }
}

/// N25, once for each workload.
fn not_isolated(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    let pods = facts
        .world
        .pods()
        .filter(|pod| pod.is_subject() && !PLATFORM.contains(&&*pod.pod.key.namespace));
    for pod in pods {
        let is_open = |direction: &Direction| isolating(facts, pod, *direction).next().is_none();
        let open: Vec<Direction> = DIRECTIONS.into_iter().filter(is_open).collect();
        let (wrong, effect) = match open.as_slice() {
            [] => continue,
            [Direction::Ingress] => (
                "no policy isolates it for ingress",
                "anybody who can reach it may connect to it",
            ),
            [Direction::Egress] => (
                "no policy isolates it for egress",
                "it may connect to anything",
            ),
            _ => (
                "no policy selects it",
                "anybody may connect to it, and it to anything",
            ),
        };
        let (kind, name) = pod.workload.clone();
        let object = ObjectName {
            kind,
            namespace: pod.pod.key.namespace.to_string(),
            name,
        };
        if told.insert(object.clone()) {
            let object = (object, pod.source);
            let finding = Finding::new(Check::N25, Severity::Info, object, "", wrong, effect);
            findings.push(finding);
        }
    }
}

/// The policies that isolate a pod in a direction.
fn isolating<'a>(
    facts: &'a Facts<'a>,
    pod: &'a KnownPod,
    direction: Direction,
) -> impl Iterator<Item = &'a NetPol<'a>> {
    facts
        .policies_in(&pod.pod.key.namespace)
        .filter(move |policy| policy.side(direction).isolates && pod.fits(&policy.subject))
}

/// N27: a rule for certain pods, all of which the other side shuts out.
fn one_side(facts: &Facts<'_>, policy: &NetPol<'_>, placed: &PlacedPeer<'_>) -> Option<Finding> {
    let Peer::Pods { namespaces, pods } = placed.peer else {
        return None;
    };
    let is_wide = pods.requirements.is_empty()
        && match namespaces {
            NamespaceMatch::Own => true,
            NamespaceMatch::Matching(selector) => selector.requirements.is_empty(),
        };
    if is_wide {
        return None;
    }
    let other_way = match placed.direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    };
    let peers = facts
        .world
        .peer_pods(&policy.key.namespace, namespaces, pods)?;
    let (subjects, peers) = (alike(facts.world.subjects(policy)?), alike(peers));
    if subjects.len().saturating_mul(peers.len()) > MOST_PAIRS {
        return None;
    }
    let mut denied = None;
    for peer in peers {
        for subject in subjects
            .iter()
            .filter(|subject| !std::ptr::eq(**subject, peer))
        {
            let by: Vec<_> = isolating(facts, peer, other_way).collect();
            let allows = |other: &&NetPol<'_>| {
                other
                    .rules(other_way)
                    .iter()
                    .any(|rule| may_meet(&facts.world, other, rule, subject, &placed.rule.ports))
            };
            if by.is_empty() || by.iter().any(allows) {
                return None;
            }
            denied = denied.or(Some((*subject, peer, by)));
        }
    }
    let (subject, peer, by) = denied?;
    let names: Vec<&str> = by.iter().map(|policy| &*policy.key.name).collect();
    let (from, to) = match placed.direction {
        Direction::Ingress => (peer, subject),
        Direction::Egress => (subject, peer),
    };
    let (side, way) = match other_way {
        Direction::Ingress => (to, "ingress"),
        Direction::Egress => (from, "egress"),
    };
    let finding = policy.finding(
        Check::N27,
        Severity::Warning,
        &placed.field,
        format!(
            "{way} of {} is isolated by {} and no rule there allows this",
            side.shown(),
            names.join(", ")
        ),
        format!(
            "both sides have to allow a connection, so {} still cannot reach {}",
            from.shown(),
            to.shown()
        ),
    );
    Some(finding.with_fix(format!(
        "allow it in the {way} of a policy for {} too",
        side.shown()
    )))
}

/// One of those pods that policy cannot tell apart.
fn alike(pods: Vec<&KnownPod>) -> Vec<&KnownPod> {
    let mut kinds: BTreeMap<(&str, &Labels), &KnownPod> = BTreeMap::new();
    for pod in pods.into_iter().filter(|pod| pod.is_subject()) {
        kinds
            .entry((&*pod.pod.key.namespace, &pod.pod.labels))
            .or_insert(pod);
    }
    kinds.into_values().collect()
}

/// Whether a rule may allow that pod on one of those ports.
fn may_meet(
    world: &World,
    policy: &NetPol<'_>,
    rule: &Rule,
    pod: &KnownPod,
    ports: &Ports,
) -> bool {
    let Peers::Of(peers) = &rule.peers else {
        return ports_meet(&rule.ports, ports);
    };
    ports_meet(&rule.ports, ports) && peers.iter().any(|peer| may_be(world, policy, peer, pod))
}

fn may_be(world: &World, policy: &NetPol<'_>, peer: &Peer, pod: &KnownPod) -> bool {
    let namespace = &pod.pod.key.namespace;
    match peer {
        Peer::Block { cidr, except } => {
            let ips = pod.addresses();
            let is_in = |ip| cidr.contains(ip) && !except.iter().any(|hole| hole.contains(ip));
            ips.is_empty() || ips.iter().any(is_in)
        }
        Peer::Pods { namespaces, pods } => {
            let there = match namespaces {
                NamespaceMatch::Own => *namespace == policy.key.namespace,
                NamespaceMatch::Matching(selector) => match world.listed_labels(namespace) {
                    Some(labels) => selector.matches(labels),
                    None => {
                        let labels = Namespace::known_by_name(namespace).labels;
                        selector.requirements.iter().all(|requirement| {
                            &*requirement.key != NAME_LABEL || requirement.matches(&labels)
                        })
                    }
                },
            };
            there && pod.fits(pods)
        }
    }
}
