//! Rules that another tier decides before them: N31 (R57).

use super::read::{TierPeer, TierRule, Tiered};
use super::{Check, Facts, Finding, Severity};
use crate::lint::policy::{DIRECTIONS, NetPol, PlacedPeer};
use crate::lint::rule::Peer;
use crate::lint::world::KnownPod;
use crate::model::{Action, Tier};
use crate::record::Direction;

pub(super) fn check(facts: &Facts<'_>, policies: &[Tiered], findings: &mut Vec<Finding>) {
    for policy in policies
        .iter()
        .filter(|policy| policy.tier == Tier::Baseline)
    {
        for direction in DIRECTIONS {
            findings.extend(baseline(facts, policy, direction));
        }
    }
    let mut admin: Vec<&Tiered> = policies
        .iter()
        .filter(|policy| policy.tier == Tier::Admin)
        .collect();
    admin.sort_by_key(|policy| (policy.priority, &policy.name));
    if admin.is_empty() {
        return;
    }
    for policy in &facts.policies {
        for placed in policy.peers() {
            findings.extend(denied_before(facts, &admin, policy, &placed));
        }
    }
}

/// A Baseline policy all of whose pods are isolated by a NetworkPolicy: those always decide for their pods.
fn baseline(facts: &Facts<'_>, policy: &Tiered, direction: Direction) -> Option<Finding> {
    if policy.rules(direction).is_empty() {
        return None;
    }
    let namespaces = facts.world.matching(&policy.subject.namespaces, "")?;
    let isolates = |other: &&NetPol<'_>| other.side(direction).isolates;
    let mut hidden = 0;
    for namespace in &namespaces {
        let of_namespace: Vec<_> = facts.policies_in(namespace).filter(isolates).collect();
        if of_namespace
            .iter()
            .any(|other| other.subject.requirements.is_empty())
        {
            hidden += 1;
            continue;
        }
        let pods = facts.world.pods_in(namespace)?;
        for pod in pods
            .iter()
            .filter(|pod| pod.is_subject() && pod.fits(&policy.subject.pods))
        {
            if !of_namespace.iter().any(|other| pod.fits(&other.subject)) {
                return None;
            }
            hidden += 1;
        }
    }
    let (field, word) = words(direction);
    (hidden > 0).then(|| {
        policy
            .finding(
                Check::N31,
                Severity::Warning,
                field,
                format!("every pod that it selects is isolated for {word} by a NetworkPolicy"),
                format!("a NetworkPolicy always decides for its pods, so no {word} rule of tier Baseline is reached"),
            )
            .with_fix("what must hold whatever NetworkPolicies say belongs into the tier Admin")
    })
}

/// A peer of a NetworkPolicy all of whose connections tier Admin denies.
fn denied_before(
    facts: &Facts<'_>,
    admin: &[&Tiered],
    policy: &NetPol<'_>,
    placed: &PlacedPeer<'_>,
) -> Option<Finding> {
    let Peer::Pods { namespaces, pods } = placed.peer else {
        return None;
    };
    let world = &facts.world;
    let by = match (
        world.subjects(policy),
        world.peer_pods(&policy.key.namespace, namespaces, pods),
    ) {
        (Some(subjects), Some(peers)) if !subjects.is_empty() && !peers.is_empty() => {
            let mut by = None;
            for subject in &subjects {
                for peer in &peers {
                    by = Some(denier(facts, admin, placed.direction, subject, peer)?);
                }
            }
            by?
        }
        _ => denier_of_all(admin, placed.direction)?,
    };
    let word = words(placed.direction).1;
    let finding = policy.finding(
        Check::N31,
        Severity::Warning,
        &placed.field,
        format!("{} of tier Admin denies this {word} before", by.name),
        "this peer never allows anything",
    );
    Some(finding.with_fix("leave it out, or have the Admin policy Pass it"))
}

/// The policy whose rule is the first for a pair of pods, when that rule denies all ports.
fn denier<'a>(
    facts: &Facts<'_>,
    admin: &[&'a Tiered],
    direction: Direction,
    subject: &KnownPod,
    peer: &KnownPod,
) -> Option<&'a Tiered> {
    let labels = |pod: &KnownPod| facts.world.listed_labels(&pod.pod.key.namespace);
    let (own, theirs) = (labels(subject)?, labels(peer)?);
    for policy in admin
        .iter()
        .filter(|policy| policy.subject.selects(own, subject))
    {
        for rule in policy.rules(direction) {
            let is_for = rule.peers.iter().any(|candidate| match candidate {
                TierPeer::Pods(pods) => pods.selects(theirs, peer),
                TierPeer::Networks(networks) => peer
                    .addresses()
                    .iter()
                    .any(|ip| networks.iter().any(|net| net.contains(ip))),
                TierPeer::Domains | TierPeer::Nodes => false,
            });
            if is_for {
                return is_denial(rule).then_some(policy);
            }
        }
    }
    None
}

/// The first policy of the tier, when its first rule denies everybody everything.
fn denier_of_all<'a>(admin: &[&'a Tiered], direction: Direction) -> Option<&'a Tiered> {
    let first = admin
        .iter()
        .find(|policy| !policy.rules(direction).is_empty())?;
    let rule = first.rules(direction).first()?;
    let all = |peer: &TierPeer| matches!(peer, TierPeer::Pods(pods) if pods.is_everybody());
    (first.subject.is_everybody() && is_denial(rule) && rule.peers.iter().any(all)).then_some(first)
}

fn is_denial(rule: &TierRule) -> bool {
    rule.action == Action::Deny && rule.is_for_all_ports()
}

fn words(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ingress => ("spec.ingress", "ingress"),
        Direction::Egress => ("spec.egress", "egress"),
    }
}
