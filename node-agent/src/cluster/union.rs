//! The objects of all files together, and the difference between two such unions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use node_agent_engine::model::{Delta, Namespace, ObjectKey, PolicyKey};

/// The label that every namespace has, written or not (R34).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What names an object; the order is the order of delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A namespace.
    Namespace(Arc<str>),
    /// A node.
    Node(Arc<str>),
    /// A pod.
    Pod(ObjectKey),
    /// A Service.
    Service(ObjectKey),
    /// An EndpointSlice.
    EndpointSlice(ObjectKey),
    /// A policy.
    Policy(PolicyKey),
}

/// Every object that exists.
pub(super) type Union = BTreeMap<Key, Delta>;

impl Key {
    /// Names the object that a delta tells of.
    pub(super) fn of(delta: &Delta) -> Self {
        match delta {
            Delta::Namespace(namespace) => Self::Namespace(namespace.name.clone()),
            Delta::NamespaceGone(name) => Self::Namespace(name.clone()),
            Delta::Pod(pod) => Self::Pod(pod.key.clone()),
            Delta::PodGone(key) => Self::Pod(key.clone()),
            Delta::Node(node) => Self::Node(node.name.clone()),
            Delta::NodeGone(name) => Self::Node(name.clone()),
            Delta::Service(service) => Self::Service(service.key.clone()),
            Delta::ServiceGone(key) => Self::Service(key.clone()),
            Delta::EndpointSlice(slice) => Self::EndpointSlice(slice.key.clone()),
            Delta::EndpointSliceGone(key) => Self::EndpointSlice(key.clone()),
            Delta::Policy(policy) => Self::Policy(policy.key.clone()),
            Delta::PolicyGone(key) => Self::Policy(key.clone()),
        }
    }

    /// Kind, namespace and name for a person.
    pub(super) fn shown(&self) -> String {
        let object = |kind: &str, namespace: &str, name: &str| {
            if namespace.is_empty() {
                format!("{kind} {name}")
            } else {
                format!("{kind} {namespace}/{name}")
            }
        };
        match self {
            Self::Namespace(name) => object("Namespace", "", name),
            Self::Node(name) => object("Node", "", name),
            Self::Pod(key) => object("Pod", &key.namespace, &key.name),
            Self::Service(key) => object("Service", &key.namespace, &key.name),
            Self::EndpointSlice(key) => object("EndpointSlice", &key.namespace, &key.name),
            Self::Policy(key) => object(&key.kind, &key.namespace, &key.name),
        }
    }

    fn gone(self) -> Delta {
        match self {
            Self::Namespace(name) => Delta::NamespaceGone(name),
            Self::Node(name) => Delta::NodeGone(name),
            Self::Pod(key) => Delta::PodGone(key),
            Self::Service(key) => Delta::ServiceGone(key),
            Self::EndpointSlice(key) => Delta::EndpointSliceGone(key),
            Self::Policy(key) => Delta::PolicyGone(key),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Namespace(_) => 0,
            Self::Node(_) => 1,
            Self::Pod(_) => 2,
            Self::Service(_) => 3,
            Self::EndpointSlice(_) => 4,
            Self::Policy(_) => 5,
        }
    }
}

/// Adds the namespaces that are known only from their pods and policies.
pub(super) fn add_implied_namespaces(union: &mut Union) {
    let names: BTreeSet<Arc<str>> = union
        .keys()
        .filter_map(|key| match key {
            Key::Pod(pod) => Some(pod.namespace.clone()),
            Key::Policy(policy) => Some(policy.namespace.clone()),
            Key::Namespace(_) | Key::Node(_) | Key::Service(_) | Key::EndpointSlice(_) => None,
        })
        .filter(|name| !name.is_empty())
        .collect();
    for name in names {
        union
            .entry(Key::Namespace(name.clone()))
            .or_insert_with(|| {
                Delta::Namespace(Namespace {
                    labels: [(Arc::from(NAME_LABEL), name.clone())].into(),
                    name,
                    annotations: Default::default(),
                })
            });
    }
}

/// What leads from `before` to `after`: kind by kind, what is gone first, so that an address can move.
pub(super) fn difference(before: &Union, after: &Union) -> Vec<Delta> {
    let gone = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .map(|key| (key.rank(), false, key.clone().gone()));
    let changed = after
        .iter()
        .filter(|(key, delta)| before.get(*key) != Some(*delta))
        .map(|(key, delta)| (key.rank(), true, delta.clone()));
    let mut deltas: Vec<_> = gone.chain(changed).collect();
    deltas.sort_by_key(|(rank, is_there, _)| (*rank, *is_there));
    deltas.into_iter().map(|(_, _, delta)| delta).collect()
}
