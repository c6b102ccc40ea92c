//! Which policies select a pod, per direction.

use std::sync::Arc;

use crate::model::{Labels, NamespaceMatch, Pod, Policy, Subject, Tier, Unmatched};
use crate::record::Direction;

/// The policies that select a pod, in the order in which they are asked: by tier, priority and name. Selectors
/// are matched once, when labels or a policy change, never when a connection is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Isolation {
    ingress: Vec<Arc<Policy>>,
    egress: Vec<Arc<Policy>>,
}

impl Isolation {
    /// Matches a pod, whose namespace has these labels, against policies in any order.
    pub(crate) fn of<'a>(
        pod: &Pod,
        namespace: &Labels,
        policies: impl IntoIterator<Item = &'a Arc<Policy>>,
    ) -> Self {
        let mut isolation = Self::default();
        let mut selecting: Vec<&Arc<Policy>> = policies
            .into_iter()
            .filter(|policy| policy.selects(pod, namespace))
            .collect();
        selecting.sort_by(|one, other| one.place().cmp(&other.place()));
        for policy in selecting {
            if policy.ingress.is_some() {
                isolation.ingress.push(Arc::clone(policy));
            }
            if policy.egress.is_some() {
                isolation.egress.push(Arc::clone(policy));
            }
        }
        isolation
    }

    /// The policies that have a say in a direction.
    pub(crate) fn policies(&self, direction: Direction) -> &[Arc<Policy>] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Those of them that isolate.
    pub(crate) fn isolating(&self, direction: Direction) -> impl Iterator<Item = &Arc<Policy>> {
        let policies = self.policies(direction).iter();
        policies.filter(|policy| policy.isolates())
    }
}

impl Policy {
    /// Whether it selects a pod, whose namespace has these labels.
    pub(crate) fn selects(&self, pod: &Pod, namespace: &Labels) -> bool {
        let Subject { namespaces, pods } = &self.subject;
        let in_namespace = match namespaces {
            NamespaceMatch::Own => self.key.namespace == pod.key.namespace,
            NamespaceMatch::Matching(selector) => selector.matches(namespace),
        };
        // A pod on its node's network is no subject (R31, R47).
        in_namespace && !pod.host_network && pods.matches(&pod.labels)
    }

    /// Whether what it selects is denied what no rule allows.
    pub(crate) fn isolates(&self) -> bool {
        match self.unmatched {
            Unmatched::Denied => true,
            Unmatched::Passed => false,
        }
    }

    /// Its place in the order in which policies are asked.
    fn place(&self) -> (Tier, Option<u16>, &str, &str) {
        (self.tier, self.priority, &self.key.name, &self.key.kind)
    }
}
