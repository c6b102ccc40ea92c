//! Which policies select a pod, per direction.

use std::sync::Arc;

use crate::model::{Pod, Policy};
use crate::record::Direction;

/// The policies that isolate a pod, in the order of their keys. Selectors are matched once, when the pod's
/// labels or a policy change, never when a connection is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Isolation {
    ingress: Vec<Arc<Policy>>,
    egress: Vec<Arc<Policy>>,
}

impl Isolation {
    /// Matches a pod against the policies of its namespace, which come in the order of their keys.
    pub(crate) fn of<'a>(pod: &Pod, policies: impl IntoIterator<Item = &'a Arc<Policy>>) -> Self {
        let mut isolation = Self::default();
        // A pod on its node's network is no subject (R31).
        if pod.host_network {
            return isolation;
        }
        for policy in policies
            .into_iter()
            .filter(|policy| policy.subject.matches(&pod.labels))
        {
            if policy.ingress.is_some() {
                isolation.ingress.push(Arc::clone(policy));
            }
            if policy.egress.is_some() {
                isolation.egress.push(Arc::clone(policy));
            }
        }
        isolation
    }

    /// The policies that isolate in a direction.
    pub(crate) fn policies(&self, direction: Direction) -> &[Arc<Policy>] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}
