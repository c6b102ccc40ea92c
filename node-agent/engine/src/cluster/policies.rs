//! How policies come and go, and which pods they select.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classes::{ClassId, Traits};
use super::label_index::SelectorIndex;
use super::{Change, Cluster, NamespaceState};
use crate::input::Moment;
use crate::isolation::Isolation;
use crate::model::{Labels, Namespace, Policy, PolicyKey};
use crate::record;

/// Policies by their keys, and by the labels that they want their subjects to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    by_key: BTreeMap<PolicyKey, Arc<Policy>>,
    by_label: SelectorIndex<Arc<Policy>>,
}

impl Policies {
    pub(super) fn get(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.by_key.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn insert(&mut self, policy: &Arc<Policy>) -> Option<Arc<Policy>> {
        let old = self.remove(&policy.key);
        self.by_label.add(&policy.subject.pods, policy);
        self.by_key.insert(policy.key.clone(), Arc::clone(policy));
        old
    }

    fn remove(&mut self, key: &PolicyKey) -> Option<Arc<Policy>> {
        let old = self.by_key.remove(key)?;
        self.by_label
            .remove(&old.subject.pods, |policy| policy.key == *key);
        Some(old)
    }

    /// Those that select such pods of a namespace.
    fn selecting<'a>(
        &'a self,
        namespace: &'a Namespace,
        traits: &'a Traits,
    ) -> impl Iterator<Item = &'a Arc<Policy>> {
        let Namespace { name, labels, .. } = namespace;
        self.by_label
            .candidates(&traits.labels)
            .filter(|policy| !traits.host_network && policy.selects(name, labels, &traits.labels))
    }
}

/// The policies that select such pods of a namespace.
pub(super) fn isolation(
    policies: [&Policies; 2],
    namespace: &Namespace,
    traits: &Traits,
) -> Isolation {
    let [cluster_wide, own] = policies.map(|policies| policies.selecting(namespace, traits));
    Isolation::of(cluster_wide.chain(own))
}

/// What stands for policies that cannot be read is nobody's change.
fn told(key: PolicyKey, change: record::Change) -> Change {
    match key.stands_for_all() {
        true => Change::Verdicts,
        false => Change::Policy { key, change },
    }
}

impl Cluster {
    pub(super) fn set_policy(&mut self, policy: &Policy, now: Moment) -> Change {
        if self.policy(&policy.key) == Some(policy) {
            return Change::None;
        }
        let mut policy = policy.clone();
        self.strings.share_policy(&mut policy);
        let policy = Arc::new(policy);
        let key = policy.key.clone();
        let old = match is_cluster_wide(&key) {
            true => self.cluster_wide.insert(&policy),
            false => self
                .namespace_mut(&key.namespace, now)
                .policies
                .insert(&policy),
        };
        self.blocks.add(&policy);
        if let Some(old) = &old {
            self.blocks.remove(old);
        }
        let change = match &old {
            None => Some(record::Change::Added),
            Some(old) if old.says_the_same(&policy) => None,
            Some(_) => Some(record::Change::Changed),
        };
        let changed = change.map(|_| now);
        if let Some(old) = &old {
            self.deselect(old, changed);
        }
        self.select(&policy, changed);
        match change {
            Some(change) => told(key, change),
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
        self.blocks.remove(&old);
        self.deselect(&old, Some(now));
        self.drop_empty(&key.namespace);
        told(key.clone(), record::Change::Removed)
    }

    /// Matches the pods of a namespace again whose labels changed from `old`: policies of the whole cluster
    /// may select others now. When that was is kept with the namespace.
    pub(super) fn select_again_in(&mut self, namespace: &str, old: &Labels) {
        let Some(state) = self.namespaces.get(namespace) else {
            return;
        };
        let labels = &state.namespace.labels;
        let moved: Vec<&Arc<Policy>> = self
            .cluster_wide
            .iter()
            .filter(|policy| {
                policy.selects_in(namespace, old) != policy.selects_in(namespace, labels)
            })
            .collect();
        let policies = [&self.cluster_wide, &state.policies];
        for id in state.classes.iter() {
            self.classes.change(id, |class| {
                class.namespace_labels = labels.clone();
                if !moved.is_empty() {
                    class.isolation = isolation(policies, &state.namespace, &class.traits);
                }
            });
        }
    }

    /// The classes that a policy selects.
    fn selected_by(&self, policy: &Policy) -> Vec<ClassId> {
        let here = |state: &NamespaceState| {
            let labels = &state.namespace.labels;
            if !policy.selects_in(&state.namespace.name, labels) {
                return Vec::new();
            }
            let mut ids = state.classes.candidates(&policy.subject.pods);
            ids.retain(|id| {
                self.classes.get(*id).is_some_and(|class| {
                    let Traits {
                        labels,
                        host_network,
                        ..
                    } = &class.traits;
                    !host_network && policy.subject.pods.matches(labels)
                })
            });
            ids
        };
        match is_cluster_wide(&policy.key) {
            true => self.namespaces.values().flat_map(here).collect(),
            false => self
                .namespaces
                .get(&policy.key.namespace)
                .map(here)
                .unwrap_or_default(),
        }
    }

    fn select(&mut self, policy: &Arc<Policy>, changed: Option<Moment>) {
        for id in self.selected_by(policy) {
            self.reselect(id, changed, |isolation| isolation.add(policy));
        }
    }

    fn deselect(&mut self, policy: &Policy, changed: Option<Moment>) {
        for id in self.selected_by(policy) {
            self.reselect(id, changed, |isolation| isolation.remove(&policy.key));
        }
    }

    fn reselect(
        &mut self,
        id: ClassId,
        changed: Option<Moment>,
        change: impl FnOnce(&mut Isolation),
    ) {
        self.classes.change(id, |class| {
            change(&mut class.isolation);
            class.isolation_changed = changed.unwrap_or(class.isolation_changed);
        });
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
