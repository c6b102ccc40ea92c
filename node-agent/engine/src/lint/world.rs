//! The cluster as far as the objects given tell it, and how far that is.

mod pods;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Options;
use super::policy::NetPol;
use super::tiers::Tiered;
use crate::k8s::{self, Decode, Rejection, Validation};
use crate::model::{
    Action, Delta, EndpointSlice, Labels, Namespace, NamespaceMatch, Node, Operator, Selector,
};

use pods::Pods;
pub(super) use pods::{KnownPod, Origin, Resolver, Token, is_generated};
pub(super) use services::{KnownService, Target};

/// The label that every namespace carries (R34).
pub(super) const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const SYSTEM: &str = "kube-system";

/// The cluster around the policies.
#[derive(Default)]
pub(super) struct World {
    namespaces: BTreeMap<Arc<str>, Labels>,
    /// Those with an object of their own: of the others the labels are not known.
    listed: BTreeSet<Arc<str>>,
    pods: BTreeMap<Arc<str>, Pods>,
    /// Where an object of an unknown kind may make pods that nobody wrote down.
    makers: BTreeSet<Arc<str>>,
    services: BTreeMap<Arc<str>, Vec<KnownService>>,
    pub(super) slices: Vec<EndpointSlice>,
    pub(super) nodes: Vec<Node>,
    /// Objects of other kinds that a check or two look at.
    pub(super) others: Vec<Value>,
    /// There are policies of a dialect that nobody here reads.
    pub(super) has_foreign_policies: bool,
    /// A policy of the cluster may allow what no NetworkPolicy does.
    pub(super) has_cluster_allowance: bool,
    /// A policy of the cluster denies something.
    pub(super) has_cluster_denial: bool,
    /// It is a whole cluster's listing.
    is_whole: bool,
}

impl World {
    /// Reads the cluster; what cannot be read is left out and said.
    pub(super) fn of(
        objects: &[Value],
        options: &Options,
        policies: &[NetPol<'_>],
        tiered: &[Tiered],
    ) -> (Self, Vec<(usize, Rejection)>) {
        let mut world = Self::default();
        let mut left_out = Vec::new();
        for (source, object) in objects.iter().enumerate() {
            if let Err(wrong) = world.add(source, object, options) {
                left_out.extend(wrong.into_iter().map(|rejection| (source, rejection)));
            }
        }
        for policy in policies {
            world.imply(&policy.key.namespace);
        }
        world.is_whole = world.looks_whole();
        let by_address = tiered.iter().any(Tiered::has_networks);
        for (namespace, pods) in &mut world.pods {
            let services = world.services.get(namespace).map_or(&[][..], Vec::as_slice);
            pods.settle(services, by_address);
        }
        let has = |action| tiered.iter().any(|policy| policy.has(action));
        world.has_cluster_allowance = has(Action::Accept);
        world.has_cluster_denial = has(Action::Deny);
        (world, left_out)
    }

    fn add(
        &mut self,
        source: usize,
        object: &Value,
        options: &Options,
    ) -> Result<(), Vec<Rejection>> {
        let decode = Decode {
            default_namespace: Arc::clone(&options.default_namespace),
            validation: Validation::Off,
        };
        if super::is_policy(object) {
            return Ok(());
        }
        if let Some(template) = pods::template(object) {
            return self.add_pod(source, &template, object, Origin::Template, &decode);
        }
        match kind(object) {
            ("v1", "Pod") => return self.add_pod(source, object, object, Origin::Live, &decode),
            ("v1", "Service") => {
                if let Some(service) = services::read(object, &options.default_namespace) {
                    let namespace = Arc::clone(&service.key.namespace);
                    self.services.entry(namespace).or_default().push(service);
                }
            }
            ("v1", "Namespace" | "Node") | ("discovery.k8s.io/v1", "EndpointSlice") => {
                for delta in k8s::decode(object, &decode)? {
                    self.take(delta);
                }
            }
            (version, kind) => self.add_other(object, version, kind, options),
        }
        Ok(())
    }

    fn take(&mut self, delta: Delta) {
        if let Delta::Namespace(Namespace { name, labels, .. }) = delta {
            self.listed.insert(Arc::clone(&name));
            self.namespaces.insert(name, labels);
        } else if let Delta::Node(node) = delta {
            self.nodes.push(node);
        } else if let Delta::EndpointSlice(slice) = delta {
            self.slices.push(slice);
        }
    }

    fn add_pod(
        &mut self,
        source: usize,
        pod: &Value,
        maker: &Value,
        origin: Origin,
        decode: &Decode,
    ) -> Result<(), Vec<Rejection>> {
        for delta in k8s::decode(pod, decode)? {
            if let Delta::Pod(read) = delta {
                self.imply(&read.key.namespace);
                let known = KnownPod::new(source, read, pod, maker, origin);
                let namespace = Arc::clone(&known.pod.key.namespace);
                self.pods.entry(namespace).or_default().push(known);
            }
        }
        Ok(())
    }

    fn add_other(&mut self, object: &Value, version: &str, kind: &str, options: &Options) {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let is_policy = kind.ends_with("NetworkPolicy");
        self.has_foreign_policies |= is_policy;
        if group.contains('.') && !group.ends_with(".k8s.io") && !is_policy {
            self.makers.insert(namespace_of(object, options));
        }
        let wanted = [
            "ConfigMap",
            "CustomResourceDefinition",
            "RoleBinding",
            "ClusterRoleBinding",
            "Ingress",
        ];
        if wanted.contains(&kind) {
            self.others.push(object.clone());
        }
    }

    fn imply(&mut self, name: &Arc<str>) {
        if !self.namespaces.contains_key(name) {
            let labels = Namespace::known_by_name(name).labels;
            self.namespaces.insert(Arc::clone(name), labels);
        }
    }

    /// `kubectl get -A` lists the system's own pods too, with those of the users.
    fn looks_whole(&self) -> bool {
        let live = |pods: &Pods| pods.all().iter().any(|pod| pod.origin == Origin::Live);
        self.listed.contains(SYSTEM)
            && self.pods.get(SYSTEM).is_some_and(live)
            && self.pods.values().filter(|pods| live(pods)).count() > 1
    }

    /// One pod of each kind of a namespace; none when its pods are not known.
    pub(super) fn pods_in(&self, namespace: &str) -> Option<&[KnownPod]> {
        let Some(pods) = self.pods.get(namespace) else {
            return (self.is_whole && self.listed.contains(namespace)).then_some(&[][..]);
        };
        let pods = pods.kinds();
        let only_templates = pods.iter().all(|pod| pod.origin == Origin::Template);
        (!only_templates || !self.makers.contains(namespace)).then_some(pods)
    }

    /// Every known pod, by namespace.
    pub(super) fn pods(&self) -> impl Iterator<Item = &KnownPod> {
        self.pods.values().flat_map(Pods::all)
    }

    /// One of each kind of the pods that a policy selects; none when its namespace's pods are not known.
    pub(super) fn subjects(&self, policy: &NetPol<'_>) -> Option<Vec<&KnownPod>> {
        let pods = self.pods_in(&policy.key.namespace)?;
        Some(
            pods.iter()
                .filter(|pod| pod.fits(&policy.subject))
                .collect(),
        )
    }

    /// One of each kind of the pods of a peer; none when they are not known.
    pub(super) fn peer_pods(
        &self,
        own: &Arc<str>,
        namespaces: &NamespaceMatch,
        selector: &Selector,
    ) -> Option<Vec<&KnownPod>> {
        let mut found = Vec::new();
        for namespace in self.peer_namespaces(own, namespaces)? {
            let pods = self.pods_in(&namespace)?;
            found.extend(pods.iter().filter(|pod| pod.fits(selector)));
        }
        Some(found)
    }

    /// The namespaces of a peer; none when they are not known.
    pub(super) fn peer_namespaces(
        &self,
        own: &Arc<str>,
        namespaces: &NamespaceMatch,
    ) -> Option<Vec<Arc<str>>> {
        match namespaces {
            NamespaceMatch::Own => Some(vec![Arc::clone(own)]),
            NamespaceMatch::Matching(selector) => self.matching(selector, own),
        }
    }

    /// The namespaces that a selector matches; none when that is not known.
    pub(super) fn matching(&self, selector: &Selector, own: &str) -> Option<Vec<Arc<str>>> {
        let matched: Vec<_> = self
            .namespaces
            .iter()
            .filter(|(_, labels)| selector.matches(labels))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        if let Some(names) = named(selector) {
            // Whoever names namespaces means just these: the others do not matter.
            let known = names.iter().all(|name| self.namespaces.contains_key(name));
            if known {
                return Some(matched);
            }
        }
        let is_told = self.knows_namespaces_beside(own)
            && self
                .namespaces
                .keys()
                .all(|name| self.listed.contains(name));
        (is_told || selector.requirements.is_empty()).then_some(matched)
    }

    /// Whether the list of namespaces was given, and not only the one that somebody's own manifests make.
    pub(super) fn knows_namespaces_beside(&self, own: &str) -> bool {
        self.listed.iter().any(|name| &**name != own)
    }

    /// A namespace's labels; none when it has no object.
    pub(super) fn listed_labels(&self, name: &str) -> Option<&Labels> {
        self.listed
            .contains(name)
            .then(|| self.namespaces.get(name))?
    }

    /// Labels of all namespaces that have an object.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&Arc<str>, &Labels)> {
        self.namespaces
            .iter()
            .filter(|(name, _)| self.listed.contains(*name))
    }

    /// Whether other policies than NetworkPolicies may allow what those do not.
    pub(super) fn has_other_allowances(&self) -> bool {
        self.has_cluster_allowance || self.has_foreign_policies
    }

    /// Every Service, by namespace.
    pub(super) fn services(&self) -> impl Iterator<Item = &KnownService> {
        self.services.values().flatten()
    }

    /// The Services of a namespace.
    pub(super) fn services_in(&self, namespace: &str) -> &[KnownService] {
        self.services.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Services that send their traffic to a pod.
    pub(super) fn services_of<'a, 'p>(
        &'a self,
        pod: &'p KnownPod,
    ) -> impl Iterator<Item = &'a KnownService> + use<'a, 'p> {
        let own = self.services_in(&pod.pod.key.namespace);
        pod.services.iter().filter_map(|index| own.get(*index))
    }
}

/// The namespaces that a selector names one by one with the label that all of them carry.
pub(super) fn named(selector: &Selector) -> Option<&[Arc<str>]> {
    selector
        .requirements
        .iter()
        .find_map(|requirement| match &requirement.operator {
            Operator::In(values) if &*requirement.key == NAME_LABEL => Some(values.as_slice()),
            Operator::In(_) | Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => {
                None
            }
        })
}

/// Version and kind of an object, empty when it has none.
pub(super) fn kind(object: &Value) -> (&str, &str) {
    let text = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    (text("apiVersion"), text("kind"))
}

/// A text deep in an object.
pub(super) fn text_at<'v>(object: &'v Value, path: &[&str]) -> Option<&'v str> {
    value_at(object, path)?.as_str()
}

/// A value deep in an object.
pub(super) fn value_at<'v>(object: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter()
        .try_fold(object, |value, field| value.get(field))
}

fn namespace_of(object: &Value, options: &Options) -> Arc<str> {
    text_at(object, &["metadata", "namespace"])
        .filter(|namespace| !namespace.is_empty())
        .map_or_else(|| Arc::clone(&options.default_namespace), Arc::from)
}
