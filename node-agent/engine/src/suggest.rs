//! The smallest rule that would allow a connection on one side.

use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{
    Action, NamespaceMatch, Peer, Peers, Pod, Policy, PolicyKey, PortMatch, PortSpec, Ports,
    Protocol, Rule, Selector, Subject, Tier, Unmatched,
};
use crate::record::Direction;
use crate::verdict::{NearestMiss, PolicyRef, WouldAllow};
use crate::walk::{Fit, Question, Who};

mod yaml;

/// Labels that name what a pod is for; the first group of which a pod has one is used.
const TELLING_LABELS: [&[&str]; 3] = [
    &[
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
    ],
    &["app", "component", "role", "tier"],
    &["k8s-app"],
];

/// Labels that the next pod of the same workload will not have.
const FLEETING_LABELS: [&str; 8] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
];

/// A rule, and the policy to add it to: the one that came nearest, else a new one.
pub(crate) struct Suggestion {
    pub(crate) policy: PolicyRef,
    pub(crate) rule: Rule,
}

/// The smallest rule, in words. Absent when no rule of this kind of policy can allow it.
pub(crate) fn would_allow(
    question: &Question<'_>,
    subject: &Pod,
    nearest: Option<&NearestMiss>,
) -> Option<WouldAllow> {
    let Suggestion { policy, rule } = suggestion(question, subject, nearest)?;
    let (field, list) = match question.direction {
        Direction::Ingress => ("spec.ingress", "from"),
        Direction::Egress => ("spec.egress", "to"),
    };
    Some(WouldAllow {
        policy,
        field: field.to_owned(),
        rule: yaml::rule(list, &rule),
    })
}

/// The smallest rule. Absent when no rule of this kind of policy can allow it.
pub(crate) fn suggestion(
    question: &Question<'_>,
    subject: &Pod,
    nearest: Option<&NearestMiss>,
) -> Option<Suggestion> {
    let policy = match nearest {
        Some(nearest) => nearest.rule.policy.clone(),
        None => new_policy(question, subject),
    };
    let rule = Rule {
        action: Action::Accept,
        peers: Peers::Of(vec![peer(question, subject)?]),
        ports: ports(question)?,
    };
    // INVARIANT: what is suggested is judged by the same walk before it is said.
    let with_rule = blank(&policy, Selector::default());
    (question.fit(&with_rule, &rule) == Fit::Matches).then_some(Suggestion { policy, rule })
}

/// The policy as it is, or a new one that selects the subject and allows nothing yet.
pub(crate) fn base(question: &Question<'_>, subject: &Pod, policy: &PolicyRef) -> Policy {
    match question.cluster.policy(&policy.key) {
        Some(known) => known.clone(),
        None => blank(policy, isolated_selector(question, subject)),
    }
}

/// The labels that tell the subject, and whatever a policy asks that isolates it already: a new policy isolates
/// nobody that was not. Of several the one that asks least.
fn isolated_selector(question: &Question<'_>, subject: &Pod) -> Selector {
    let mut selector = telling_selector(question, subject);
    let isolating = match &question.subject().who {
        Who::Pod { class, .. } => {
            let policies = class.isolation.isolating(question.direction);
            policies.min_by_key(|policy| policy.subject.pods.requirements.len())
        }
        Who::Node { .. } | Who::World | Who::Unknown => None,
    };
    for requirement in isolating
        .iter()
        .flat_map(|policy| &policy.subject.pods.requirements)
    {
        if !selector.requirements.contains(requirement) {
            selector.requirements.push(requirement.clone());
        }
    }
    selector
}

/// Adds a rule to a policy.
pub(crate) fn add(policy: &mut Policy, direction: Direction, rule: Rule) {
    let rules = match direction {
        Direction::Ingress => &mut policy.ingress,
        Direction::Egress => &mut policy.egress,
    };
    rules.get_or_insert_default().push(rule);
}

/// The whole policy as YAML.
pub(crate) fn object(policy: &Policy) -> String {
    yaml::object(policy)
}

/// A policy without rules, in neither direction.
fn blank(policy: &PolicyRef, pods: Selector) -> Policy {
    Policy {
        key: policy.key.clone(),
        uid: Arc::clone(&policy.uid),
        generation: policy.generation,
        annotations: Default::default(),
        tier: Tier::NetworkPolicy,
        priority: None,
        unmatched: Unmatched::Denied,
        subject: Subject {
            namespaces: NamespaceMatch::Own,
            pods,
        },
        ingress: None,
        egress: None,
    }
}

fn peer(question: &Question<'_>, subject: &Pod) -> Option<Peer> {
    let peer = question.peer();
    match &peer.who {
        Who::Pod { state, .. } => {
            let key = &state.pod.key;
            let namespaces = if key.namespace == subject.key.namespace {
                NamespaceMatch::Own
            } else {
                NamespaceMatch::Matching(Selector::equal_to([(
                    "kubernetes.io/metadata.name",
                    Arc::clone(&key.namespace),
                )]))
            };
            Some(Peer::Pods {
                namespaces,
                pods: telling_selector(question, &state.pod),
            })
        }
        Who::Node { .. } | Who::World => Some(Peer::Block {
            cidr: IpNet::from(peer.ip?),
            except: Vec::new(),
        }),
        Who::Unknown => None,
    }
}

fn ports(question: &Question<'_>) -> Option<Ports> {
    let protocol = question.protocol;
    match (protocol, question.port) {
        (Protocol::Icmp | Protocol::Icmpv6, _) => Some(Ports::Any),
        (Protocol::Tcp | Protocol::Udp | Protocol::Sctp, Some(port)) => {
            let port = PortSpec::Range {
                first: port,
                last: port,
            };
            Some(Ports::Of(vec![PortMatch {
                protocol: Some(protocol),
                port,
            }]))
        }
        (Protocol::Tcp | Protocol::Udp | Protocol::Sctp, None) => None,
    }
}

/// The fewest labels that tell the pod's workload from the others of its namespace, else all that last.
fn telling_selector(question: &Question<'_>, pod: &Pod) -> Selector {
    let lasting = || {
        pod.labels
            .iter()
            .filter(|(key, _)| !FLEETING_LABELS.contains(&key.as_ref()))
    };
    let all =
        || Selector::equal_to(lasting().map(|(key, value)| (Arc::clone(key), Arc::clone(value))));
    let telling = TELLING_LABELS.iter().find_map(|group| {
        let labels: Vec<_> = lasting()
            .filter(|(key, _)| group.contains(&key.as_ref()))
            .collect();
        (!labels.is_empty()).then(|| {
            Selector::equal_to(
                labels
                    .into_iter()
                    .map(|(key, value)| (Arc::clone(key), Arc::clone(value))),
            )
        })
    });
    match telling {
        Some(selector) if !selects_others(question, pod, &selector) => selector,
        Some(_) | None => all(),
    }
}

fn selects_others(question: &Question<'_>, pod: &Pod, selector: &Selector) -> bool {
    let mut others = question
        .cluster
        .classes_matching(&pod.key.namespace, selector);
    others.any(|other| !other.traits.finished && other.traits.workload != pod.workload)
}

/// A name for a policy that does not exist yet.
fn new_policy(question: &Question<'_>, subject: &Pod) -> PolicyRef {
    let peer = match &question.peer().who {
        Who::Pod { state, .. } => state.pod.workload.name.to_string(),
        Who::Node { .. } => "node".to_owned(),
        Who::World | Who::Unknown => "world".to_owned(),
    };
    let name = match question.direction {
        Direction::Ingress => format!("allow-{}-from-{peer}", subject.workload.name),
        Direction::Egress => format!("allow-{}-to-{peer}", subject.workload.name),
    };
    let key = |name: &str| PolicyKey {
        kind: "NetworkPolicy".into(),
        namespace: Arc::clone(&subject.key.namespace),
        name: name.into(),
    };
    let mut free = key(shortened(&name));
    let mut number = 2_u32;
    while question.cluster.policy(&free).is_some() {
        free = key(&format!("{}-{number}", shortened(&name)));
        number += 1;
    }
    PolicyRef {
        key: free,
        uid: "".into(),
        generation: 0,
    }
}

/// Leaves room for a number behind it: a name has at most 253 characters.
fn shortened(name: &str) -> &str {
    let cut = name.get(..240).unwrap_or(name);
    cut.trim_end_matches(['-', '.'])
}
