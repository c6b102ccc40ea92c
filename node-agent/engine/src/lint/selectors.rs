//! Selectors that match nothing, or will not for long: N01, N02, N34.

use super::rule::Peer;
use super::world::{KnownPod, NAME_LABEL, World, is_generated, named};
use super::{Check, Facts, Finding, Severity};
use crate::lint::policy::NetPol;
use crate::model::{NamespaceMatch, Operator, Requirement, Selector};

/// Labels whose value is another one after an upgrade.
const VOLATILE: [&str; 5] = [
    "helm.sh/chart",
    "chart",
    "version",
    "app.kubernetes.io/version",
    "rollouts-pod-template-hash",
];

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        findings.extend(subject(&facts.world, policy));
        let subject = ("spec.podSelector".to_owned(), &policy.subject);
        findings.extend(volatile(policy, &subject.0, subject.1));
        for placed in policy.peers() {
            let Peer::Pods { namespaces, pods } = placed.peer else {
                continue;
            };
            let field = format!("{}.podSelector", placed.field);
            findings.extend(volatile(policy, &field, pods));
            if let NamespaceMatch::Matching(selector) = namespaces {
                let field = format!("{}.namespaceSelector", placed.field);
                findings.extend(volatile(policy, &field, selector));
                findings.extend(no_namespace(&facts.world, policy, &field, selector));
            }
        }
    }
}

/// N01.
fn no_namespace(
    world: &World,
    policy: &NetPol<'_>,
    field: &str,
    selector: &Selector,
) -> Option<Finding> {
    let meant = meant_namespace(world, selector);
    let matched = world.matching(selector, &policy.key.namespace);
    let is_none = match (&matched, &meant) {
        (Some(matched), _) => matched.is_empty(),
        // That namespace was meant and its labels are known: what others have does not matter.
        (None, Some(_)) => true,
        (None, None) => false,
    };
    if !is_none {
        return None;
    }
    let finding = policy.finding(
        Check::N01,
        Severity::Error,
        field,
        format!("no namespace has {selector}"),
        "this peer is nobody",
    );
    Some(match (meant, named(selector)) {
        (Some(name), _) => finding.with_fix(format!(
            "namespace {name} is there without that label: write `{NAME_LABEL}: {name}`, which every \
             namespace has, or label it"
        )),
        (None, Some(names)) => finding.with_fix(format!(
            "there is no namespace {}: look at its spelling",
            names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
        )),
        (None, None) => finding.with_fix("label the namespace, or name it with `kubernetes.io/metadata.name`"),
    })
}

/// A namespace that somebody wanted to name with a label that it does not have.
fn meant_namespace(world: &World, selector: &Selector) -> Option<String> {
    let [requirement] = selector.requirements.as_slice() else {
        return None;
    };
    let Operator::In(values) = &requirement.operator else {
        return None;
    };
    let [value] = values.as_slice() else {
        return None;
    };
    let labels = world.listed_labels(value)?;
    let nobody = world.listed().all(|(_, labels)| !selector.matches(labels));
    (!requirement.matches(labels) && nobody).then(|| value.to_string())
}

/// N02. That an empty selector matches no pod says only that there is none yet.
fn subject(world: &World, policy: &NetPol<'_>) -> Option<Finding> {
    let pods = world.pods_in(&policy.key.namespace)?;
    let selected = world.subjects(policy)?;
    let namespace = &policy.key.namespace;
    let subject = &policy.subject;
    let finding = |wrong: String| {
        policy.finding(
            Check::N02,
            Severity::Warning,
            "spec.podSelector",
            wrong,
            "the policy does nothing",
        )
    };
    if !selected.is_empty() && selected.iter().all(|pod| pod.pod.host_network) {
        let wrong = format!(
            "every pod that it selects in namespace {namespace} is on the host network, where no policy \
             holds"
        );
        return Some(finding(wrong));
    }
    if !selected.is_empty() || subject.requirements.is_empty() {
        return None;
    }
    let finding = finding(format!("no pod in namespace {namespace} has {subject}"));
    Some(match nearly(subject, pods) {
        Some(hint) => finding.with_fix(hint),
        None => finding,
    })
}

/// A pod that misses one requirement only, and what it has instead.
pub(super) fn nearly<'a>(
    selector: &Selector,
    pods: impl IntoIterator<Item = &'a KnownPod>,
) -> Option<String> {
    for pod in pods {
        let mut missed = selector
            .requirements
            .iter()
            .filter(|requirement| !requirement.matches(&pod.pod.labels));
        if let (Some(missed), None) = (missed.next(), missed.next())
            && is_near(missed, pod, selector)
        {
            let found = missed.found_in(&pod.pod.labels);
            return Some(format!("nearest is {}, which has {found}", pod.shown()));
        }
    }
    None
}

/// Whether it can be what was meant: it has another requirement in common, or the label with an alike value.
fn is_near(missed: &Requirement, pod: &KnownPod, selector: &Selector) -> bool {
    if selector.requirements.len() > 1 {
        return true;
    }
    let (Operator::In(wanted), Some(found)) = (&missed.operator, pod.pod.labels.get(&missed.key))
    else {
        return false;
    };
    wanted.iter().any(|wanted| {
        found.contains(wanted.as_ref()) || (!found.is_empty() && wanted.contains(found.as_ref()))
    })
}

/// N34.
fn volatile(policy: &NetPol<'_>, field: &str, selector: &Selector) -> Option<Finding> {
    let is_volatile = |requirement: &&Requirement| {
        let key = &*requirement.key;
        let compares = matches!(requirement.operator, Operator::In(_) | Operator::NotIn(_));
        // A StatefulSet's pods keep their names and numbers, and a Job's its name.
        let is_hash = is_generated(key)
            && (key.ends_with("-hash") || key.ends_with("-uid") || key.ends_with("-generation"));
        compares && (VOLATILE.contains(&key) || is_hash)
    };
    let requirement = selector.requirements.iter().find(is_volatile)?;
    let finding = policy.finding(
        Check::N34,
        Severity::Info,
        field,
        format!("selects by {requirement}, a label that changes with each release"),
        "after the next upgrade it matches nothing",
    );
    Some(finding.with_fix("select by a label that stays, such as app.kubernetes.io/name"))
}
