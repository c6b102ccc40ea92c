//! Clients from outside, and what is left of their addresses: N19, and what N05 asks.

use ipnet::IpNet;

use super::policy::{NetPol, PlacedPeer};
use super::rule::{Peer, Peers, Ports, Rule};
use super::world::{KnownPod, KnownService};
use super::{Check, Facts, Finding, Severity};

use crate::record::Direction;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        for placed in policy.peers() {
            if let (Direction::Ingress, Peer::Block { cidr, .. }) = (placed.direction, placed.peer)
            {
                findings.extend(replaced(facts, policy, &placed, cidr));
            }
        }
    }
}

/// N19. What takes in the nodes, or everything, takes in the replaced address too.
fn replaced(
    facts: &Facts<'_>,
    policy: &NetPol<'_>,
    placed: &PlacedPeer<'_>,
    cidr: &IpNet,
) -> Option<Finding> {
    let nodes = || facts.world.nodes.iter().flat_map(|node| &node.ips);
    let may_hold_nodes = if nodes().next().is_some() {
        nodes().any(|ip| cidr.contains(ip))
    } else {
        cidr.prefix_len() <= 8
    };
    let is_pods = |pod: &KnownPod| pod.addresses().iter().any(|ip| cidr.contains(ip));
    if may_hold_nodes || cidr.prefix_len() == 0 || facts.world.pods().any(is_pods) {
        return None;
    }
    let (service, pod) = exposed(facts, policy, placed.rule)
        .into_iter()
        .find(|(service, _)| !service.keeps_source)?;
    let finding = policy.finding(
        Check::N19,
        Severity::Warning,
        format!("{}.ipBlock.cidr", placed.field),
        format!(
            "clients reach {} through {}, which does not keep their addresses",
            pod.shown(),
            service.shown()
        ),
        "the pod sees a node's address instead, so this block may match nobody",
    );
    Some(finding.with_fix(
        "set `externalTrafficPolicy: Local` on the Service, or filter before it with `loadBalancerSourceRanges`",
    ))
}

/// A Service that brings clients from outside to pods whose policies let none of them in.
pub(super) fn closed_to_outside<'a>(
    facts: &'a Facts<'_>,
    policy: &NetPol<'_>,
    rule: &Rule,
) -> Option<&'a KnownService> {
    let lets_outside_in = |other: &NetPol<'_>| {
        other
            .rules(Direction::Ingress)
            .iter()
            .any(|rule| match &rule.peers {
                Peers::Any => true,
                Peers::Of(peers) => peers.iter().any(|peer| matches!(peer, Peer::Block { .. })),
            })
    };
    let is_closed = |pod: &KnownPod| {
        !facts
            .policies_in(&pod.pod.key.namespace)
            .any(|other| pod.fits(&other.subject) && lets_outside_in(other))
    };
    exposed(facts, policy, rule)
        .into_iter()
        .find(|(_, pod)| is_closed(pod))
        .map(|(service, _)| service)
}

/// Services from outside to ports of a rule, with a pod behind each.
fn exposed<'a>(
    facts: &'a Facts<'_>,
    policy: &NetPol<'_>,
    rule: &Rule,
) -> Vec<(&'a KnownService, &'a KnownPod)> {
    let mut found = Vec::new();
    for pod in facts.world.subjects(policy).into_iter().flatten() {
        for service in facts.world.services_of(pod) {
            if service.is_exposed && leads_to(service, pod, rule) && pod.is_subject() {
                found.push((service, pod));
            }
        }
    }
    found
}

fn leads_to(service: &KnownService, pod: &KnownPod, rule: &Rule) -> bool {
    match &rule.ports {
        Ports::Any => true,
        Ports::Of(_) => service.ports.iter().any(|port| {
            let mut numbers = port.target.numbers(pod).into_iter();
            numbers.any(|number| rule.ports_have(number, port.protocol))
        }),
    }
}
