//! Pods that may connect out but not ask for names: N06, N07.
//!
//! What is not known counts as allowed: an unknown pod may be a resolver.

mod places;

use std::collections::BTreeSet;

use super::overlap::is_disjoint;
use super::policy::{NetPol, rule_field};
use super::rule::{Peer, Peers, Ports, Rule};
use super::world::{KnownPod, Resolver};
use super::{Check, Facts, Finding, Severity};
use crate::model::{ObjectKey, PortSpec, Protocol};
use crate::record::Direction::Egress;
use places::Dns;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    if facts.world.has_other_allowances() {
        return;
    }
    let dns = Dns::of(&facts.world);
    let mut told = BTreeSet::new();
    for policy in &facts.policies {
        if policy.rules(Egress).is_empty() {
            continue;
        }
        for group in groups(facts, policy) {
            let reaches = |protocol| {
                group
                    .rules
                    .iter()
                    .any(|(policy, rule)| dns.may_be_reached(&policy.key.namespace, rule, protocol))
            };
            if !reaches(Protocol::Udp) {
                if group.needs_names() && group.is_new(&mut told) {
                    findings.push(no_names(policy, &group, &dns));
                    break;
                }
            } else if !reaches(Protocol::Tcp)
                && let Some(finding) = only_udp(policy, &dns)
            {
                findings.push(finding);
                break;
            }
        }
    }
}

/// Pods that the same rules hold for.
struct Group<'a> {
    /// One of them; absent when they are not known.
    pod: Option<&'a KnownPod>,
    rules: Vec<(&'a NetPol<'a>, &'a Rule)>,
}

/// The pods of a policy with all egress rules that hold for them. Where pods are not known, they are one group,
/// with the rules of each policy that may select one of them.
fn groups<'a>(facts: &'a Facts<'a>, policy: &'a NetPol<'a>) -> Vec<Group<'a>> {
    let rules = |selects: &dyn Fn(&NetPol<'_>) -> bool| {
        let policies = facts.policies_in(&policy.key.namespace);
        policies
            .filter(|other| selects(other))
            .flat_map(|other| other.rules(Egress).iter().map(move |rule| (other, rule)))
            .collect()
    };
    match facts.world.subjects(policy) {
        Some(pods) => pods
            .into_iter()
            .filter(|pod| pod.is_subject() && pod.resolver == Resolver::Cluster)
            .map(|pod| Group {
                pod: Some(pod),
                rules: rules(&|other| pod.fits(&other.subject)),
            })
            .collect(),
        None => vec![Group {
            pod: None,
            rules: rules(&|other| !is_disjoint(&other.subject, &policy.subject)),
        }],
    }
}

impl Group<'_> {
    /// Whether anything that it may reach has a name: single addresses are reached without one.
    fn needs_names(&self) -> bool {
        let is_address = |peer: &Peer| match peer {
            Peer::Block { cidr, .. } => cidr.prefix_len() == cidr.max_prefix_len(),
            Peer::Pods { .. } => false,
        };
        self.rules.iter().any(|(_, rule)| match &rule.peers {
            Peers::Any => true,
            Peers::Of(peers) => !peers.iter().all(is_address),
        })
    }

    /// Whether that was not said of these pods before, by another policy of theirs.
    fn is_new(&self, told: &mut BTreeSet<ObjectKey>) -> bool {
        self.pod.is_none_or(|pod| told.insert(pod.pod.key.clone()))
    }

    fn shown(&self) -> String {
        self.pod
            .map_or_else(|| "the pods it selects".to_owned(), KnownPod::shown)
    }
}

fn no_names(policy: &NetPol<'_>, group: &Group<'_>, dns: &Dns<'_>) -> Finding {
    let port = dns.port();
    let note = if port == 53 {
        String::new()
    } else {
        format!("; its pods listen on {port}, and policy sees the pod's port")
    };
    let finding = policy.finding(
        Check::N06,
        Severity::Error,
        "spec.egress",
        format!(
            "egress is isolated, and no rule lets {} ask the cluster's DNS over UDP{note}",
            group.shown()
        ),
        "names do not resolve, so that what the rules allow is not reached either",
    );
    finding.with_fix(format!("add to spec.egress: {}", dns.rule()))
}

/// N07, by the policy that opens DNS.
fn only_udp(policy: &NetPol<'_>, dns: &Dns<'_>) -> Option<Finding> {
    let own = &policy.key.namespace;
    let mut rules = policy.rules(Egress).iter().enumerate();
    let (index, rule) = rules.find(|(_, rule)| dns.may_be_reached(own, rule, Protocol::Udp))?;
    let Ports::Of(ports) = &rule.ports else {
        return None;
    };
    let at = ports
        .iter()
        .position(|port| port.protocol == Protocol::Udp && !matches!(port.port, PortSpec::Any))?;
    let finding = policy.finding(
        Check::N07,
        Severity::Warning,
        format!("{}.ports[{at}]", rule_field(Egress, index)),
        "DNS is allowed over UDP and not over TCP",
        "answers that are too long for UDP, and resolvers that prefer TCP, fail",
    );
    Some(finding.with_fix(format!("add `{{protocol: TCP, port: {}}}`", dns.port())))
}
