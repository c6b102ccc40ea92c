//! How policies come and go, and which pods they select.

use std::sync::Arc;

use super::{Change, Cluster, PodState};
use crate::input::Moment;
use crate::isolation::Isolation;
use crate::model::{Labels, Policy, PolicyKey};
use crate::record;

impl Cluster {
    pub(super) fn set_policy(&mut self, policy: &Policy, now: Moment) -> Change {
        let policy = Arc::new(policy.clone());
        let (key, new) = (policy.key.clone(), Arc::clone(&policy));
        let old = match is_cluster_wide(&key) {
            true => self.cluster_wide.insert(key.clone(), new),
            false => {
                let state = self.namespace_mut(&key.namespace, now);
                state.policies.insert(key.clone(), new)
            }
        };
        if old.as_ref().is_some_and(|old| *old == policy) {
            return Change::None;
        }
        let change = match &old {
            None => Some(record::Change::Added),
            Some(old) if old.says_the_same(&policy) => None,
            Some(_) => Some(record::Change::Changed),
        };
        self.select_again([old.as_ref(), Some(&policy)], change.is_some(), now);
        match change {
            Some(change) => Change::Policy { key, change },
            None => Change::None,
        }
    }

    pub(super) fn remove_policy(&mut self, key: &PolicyKey, now: Moment) -> Change {
        let old = match is_cluster_wide(key) {
            true => self.cluster_wide.remove(key),
            false => self
                .namespaces
                .get_mut(&key.namespace)
                .and_then(|state| state.policies.remove(key)),
        };
        let Some(old) = old else {
            return Change::None;
        };
        self.select_again([Some(&old), None], true, now);
        self.drop_empty(&key.namespace);
        Change::Policy {
            key: key.clone(),
            change: record::Change::Removed,
        }
    }

    /// Matches the pods of a namespace again whose labels changed from `old`: policies of the whole cluster
    /// may select others now. When that was is kept with the namespace.
    pub(super) fn select_again_in(&mut self, namespace: &str, old: &Labels) {
        let Some(state) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let labels = &state.namespace.labels;
        for pod in state.pods.values_mut() {
            let differs = |policy: &Arc<Policy>| {
                policy.selects(&pod.pod, old) != policy.selects(&pod.pod, labels)
            };
            if self.cluster_wide.values().any(differs) {
                let policies = state.policies.values().chain(self.cluster_wide.values());
                pod.isolation = Isolation::of(&pod.pod, labels, policies);
            }
        }
    }

    /// Matches the pods again that one of the forms of a policy selects.
    fn select_again(&mut self, forms: [Option<&Arc<Policy>>; 2], relevant: bool, now: Moment) {
        let Some(key) = forms.iter().flatten().map(|policy| &policy.key).next() else {
            return;
        };
        let cluster_wide = &self.cluster_wide;
        let matched = |labels: &Labels, state: &PodState| {
            let mut forms = forms.iter().flatten();
            forms.any(|policy| policy.selects(&state.pod, labels))
        };
        let namespaces = self.namespaces.iter_mut();
        for (_, state) in
            namespaces.filter(|(name, _)| is_cluster_wide(key) || **name == key.namespace)
        {
            let labels = &state.namespace.labels;
            for pod in state.pods.values_mut() {
                if !matched(labels, pod) {
                    continue;
                }
                let policies = state.policies.values().chain(cluster_wide.values());
                pod.isolation = Isolation::of(&pod.pod, labels, policies);
                if relevant {
                    pod.isolation_changed = now;
                }
            }
        }
    }
}

/// Whether a policy belongs to no namespace.
pub(super) fn is_cluster_wide(key: &PolicyKey) -> bool {
    key.namespace.is_empty()
}

impl Policy {
    fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            key: _,
            uid: _,
            generation: _,
            annotations: _,
            tier,
            priority,
            unmatched,
            subject,
            ingress,
            egress,
        } = self;
        *tier == other.tier
            && *priority == other.priority
            && *unmatched == other.unmatched
            && *subject == other.subject
            && *ingress == other.ingress
            && *egress == other.egress
    }
}
