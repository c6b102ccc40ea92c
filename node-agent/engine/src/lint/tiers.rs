//! Policies of the whole cluster: N29 to N31, and N15 and N22 of theirs.

mod hidden;
mod read;

use serde_json::Value;

use super::overlap::{covers, is_disjoint, overlap, ports_meet};
use super::world::{kind, text_at};
use super::{Check, Facts, Finding, ObjectName, Severity};
use crate::model::Action;
use crate::record::Direction;
use read::{Pods, TierPeer, TierRule};

pub(super) use read::{SINGLE, Tiered};

/// Checks the cluster's own policies.
pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let policies = &facts.tiered;
    for (at, policy) in policies.iter().enumerate() {
        for earlier in policies.iter().take(at) {
            findings.extend(equal_priority(facts, policy, earlier));
        }
        networks(policies, policy, findings);
        findings.extend(unknown_kind(facts, policy));
        findings.extend(not_the_one(policy));
        denied_names(policy, findings);
    }
    hidden::check(facts, policies, findings);
}

/// N22: there is one BaselineAdminNetworkPolicy, and its name is given (R56).
fn not_the_one(policy: &Tiered) -> Option<Finding> {
    (policy.kind == SINGLE && policy.name != "default").then(|| {
        policy
            .finding(
                Check::N22,
                Severity::Error,
                "metadata.name",
                format!("there is one {SINGLE} in a cluster, and it is called `default`"),
                "the API server refuses it under another name, so nothing of it holds",
            )
            .with_fix("write `name: default`, or use ClusterNetworkPolicies of the tier Baseline")
    })
}

/// N28: domain names are for rules that accept (R52).
fn denied_names(policy: &Tiered, findings: &mut Vec<Finding>) {
    for (index, rule) in policy.rules(Direction::Egress).iter().enumerate() {
        if rule.action == Action::Accept {
            continue;
        }
        for (at, _) in rule
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| matches!(peer, TierPeer::Domains))
        {
            let finding = policy.finding(
                Check::N28,
                Severity::Warning,
                format!("spec.egress[{index}].to[{at}].domainNames"),
                format!(
                    "domain names are for the action Accept, not for {:?}",
                    rule.action
                ),
                "no plugin has to enforce it, and the API server does not refuse it",
            );
            findings.push(finding.with_fix(
                "accept the names that are wanted, and deny networks in a rule after that",
            ));
        }
    }
}

/// N28: the cluster's kinds are known, and this one is not among them.
fn unknown_kind(facts: &Facts<'_>, policy: &Tiered) -> Option<Finding> {
    let plural = policy.kind.to_lowercase().replace("policy", "policies");
    let wanted = format!("{plural}.policy.networking.k8s.io");
    let names = facts
        .world
        .others
        .iter()
        .filter(|object| kind(object).1 == "CustomResourceDefinition")
        .map(|object| text_at(object, &["metadata", "name"]).unwrap_or_default());
    let names: Vec<&str> = names.collect();
    (!names.is_empty() && !names.contains(&wanted.as_str())).then(|| {
        policy
            .finding(
                Check::N28,
                Severity::Info,
                "",
                format!("the cluster has no kind {}", policy.kind),
                "the object is refused, and nothing enforces it",
            )
            .with_fix(format!(
                "install the CustomResourceDefinition {wanted}, and a plugin that knows it"
            ))
    })
}

/// Says whether an object is a ClusterNetworkPolicy, or one of the two kinds before it.
pub(super) fn is_cluster_policy(object: &Value) -> bool {
    let (version, kind) = kind(object);
    version.starts_with("policy.networking.k8s.io/")
        && matches!(
            kind,
            "ClusterNetworkPolicy" | "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy"
        )
}

/// N29 (R45).
fn equal_priority(facts: &Facts<'_>, policy: &Tiered, earlier: &Tiered) -> Option<Finding> {
    let same = policy.tier == earlier.tier && policy.priority == earlier.priority;
    if !same || policy.kind == SINGLE || !do_meet(facts, &policy.subject, &earlier.subject) {
        return None;
    }
    let (mine, theirs) = [Direction::Ingress, Direction::Egress]
        .into_iter()
        .find_map(|direction| contradiction(policy.rules(direction), earlier.rules(direction)))?;
    let finding = policy.finding(
        Check::N29,
        Severity::Error,
        "spec.priority",
        format!(
            "{} has the same priority {} and selects the same pods, but says {theirs:?} where this one says {mine:?}",
            earlier.name, policy.priority
        ),
        "which of them counts is not defined",
    );
    Some(finding.with_fix("give them different priorities; the lower number comes first"))
}

/// Whether surely some pod is selected by both.
fn do_meet(facts: &Facts<'_>, one: &Pods, other: &Pods) -> bool {
    let known = facts.world.pods().any(|pod| {
        let labels = facts.world.listed_labels(&pod.pod.key.namespace);
        labels.is_some_and(|labels| one.selects(labels, pod) && other.selects(labels, pod))
    });
    let by_text = |wide: &Pods, narrow: &Pods| {
        covers(&wide.namespaces, &narrow.namespaces) && covers(&wide.pods, &narrow.pods)
    };
    known || by_text(one, other) || by_text(other, one)
}

/// Two rules with different actions that may be for the same connection.
fn contradiction(mine: &[TierRule], theirs: &[TierRule]) -> Option<(Action, Action)> {
    mine.iter().find_map(|mine| {
        let contradicts = |theirs: &&TierRule| {
            theirs.action != mine.action
                && may_share_a_peer(mine, theirs)
                && ports_meet(&mine.ports, &theirs.ports)
        };
        Some((mine.action, theirs.iter().find(contradicts)?.action))
    })
}

fn may_share_a_peer(one: &TierRule, other: &TierRule) -> bool {
    one.peers.iter().any(|one| {
        other.peers.iter().any(|other| match (one, other) {
            (TierPeer::Pods(one), TierPeer::Pods(other)) => {
                !is_disjoint(&one.namespaces, &other.namespaces)
                    && !is_disjoint(&one.pods, &other.pods)
            }
            (TierPeer::Networks(one), TierPeer::Networks(other)) => one
                .iter()
                .any(|one| other.iter().any(|other| overlap(one, other))),
            (TierPeer::Pods(_), TierPeer::Networks(_))
            | (TierPeer::Networks(_), TierPeer::Pods(_)) => true,
            (TierPeer::Domains | TierPeer::Nodes, _) | (_, TierPeer::Domains | TierPeer::Nodes) => {
                false
            }
        })
    })
}

/// N30 (R51): what is said of all addresses is said of pods, unless a rule before it takes them out.
fn networks(policies: &[Tiered], policy: &Tiered, findings: &mut Vec<Finding>) {
    let takes_pods_out = |rule: &TierRule| {
        let all =
            |peer: &TierPeer| matches!(peer, TierPeer::Pods(subject) if subject.is_everybody());
        rule.is_for_all_ports() && rule.peers.iter().any(all)
    };
    let is_before = |other: &&Tiered| {
        other.tier == policy.tier
            && other.priority < policy.priority
            && covers(&other.subject.namespaces, &policy.subject.namespaces)
            && covers(&other.subject.pods, &policy.subject.pods)
    };
    let mut earlier = policies.iter().filter(is_before);
    if earlier.any(|other| other.rules(Direction::Egress).iter().any(takes_pods_out)) {
        return;
    }
    for (index, rule) in policy.rules(Direction::Egress).iter().enumerate() {
        if takes_pods_out(rule) {
            return;
        }
        if rule.action == Action::Pass {
            continue;
        }
        for (at, peer) in rule.peers.iter().enumerate() {
            let TierPeer::Networks(networks) = peer else {
                continue;
            };
            let Some(all) = networks.iter().position(|net| net.prefix_len() == 0) else {
                continue;
            };
            let verb = match rule.action {
                Action::Deny => "denied",
                Action::Accept | Action::Pass => "accepted",
            };
            let finding = policy.finding(
                Check::N30,
                Severity::Warning,
                format!("spec.egress[{index}].to[{at}].networks[{all}]"),
                "all addresses are meant, and pods have addresses too",
                format!("traffic between pods is {verb} by this rule as well"),
            );
            // The older baseline knows no `Pass` (R56).
            let action = match policy.kind.as_str() {
                "BaselineAdminNetworkPolicy" => "Allow",
                _ => "Pass",
            };
            findings.push(finding.with_fix(format!(
                "put a rule before it: `{{action: {action}, to: [{{namespaces: {{}}}}]}}`"
            )));
        }
    }
}

impl Tiered {
    fn finding(
        &self,
        check: Check,
        severity: Severity,
        field: impl Into<String>,
        wrong: impl Into<String>,
        effect: impl Into<String>,
    ) -> Finding {
        let object = ObjectName {
            kind: self.kind.clone(),
            namespace: String::new(),
            name: self.name.clone(),
        };
        Finding::new(check, severity, (object, self.source), field, wrong, effect)
    }
}
