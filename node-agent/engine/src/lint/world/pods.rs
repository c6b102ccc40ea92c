//! Pods, those that a workload will make included.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{KnownService, kind, text_at, value_at};
use crate::model::{Labels, NamedPort, Pod, Protocol, Requirement, Selector};

/// A pod, or what a workload makes its pods from.
pub(in crate::lint) struct KnownPod {
    /// The place of its object, or its workload's, among those given.
    pub(in crate::lint) source: usize,
    pub(in crate::lint) pod: Pod,
    pub(in crate::lint) origin: Origin,
    pub(in crate::lint) resolver: Resolver,
    pub(in crate::lint) token: Token,
    /// What a person knows it by: kind and name.
    pub(in crate::lint) workload: (String, String),
    /// The Services that send to it, by their places in its namespace.
    pub(super) services: Arc<[usize]>,
}

/// The pods of a namespace. Those of one kind differ in nothing that a check looks at: a check that asks whether
/// there is such a pod, or whether all are such, looks at one of each kind.
#[derive(Default)]
pub(super) struct Pods {
    /// First one of each kind.
    all: Vec<KnownPod>,
    kinds: usize,
}

impl Pods {
    pub(super) fn push(&mut self, pod: KnownPod) {
        self.all.push(pod);
    }

    /// Every pod.
    pub(super) fn all(&self) -> &[KnownPod] {
        &self.all
    }

    /// One of each kind.
    pub(super) fn kinds(&self) -> &[KnownPod] {
        self.all.get(..self.kinds).unwrap_or_default()
    }

    /// Finds the kinds, and the Services of each pod.
    pub(super) fn settle(&mut self, services: &[KnownService], by_address: bool) {
        let mut seen = BTreeSet::new();
        let pods = std::mem::take(&mut self.all).into_iter();
        let (first, others): (Vec<_>, Vec<_>) =
            pods.partition(|pod| seen.insert(pod.kind(by_address)));
        self.kinds = first.len();
        self.all = first;
        self.all.extend(others);
        let mut known: BTreeMap<(Labels, Origin), Arc<[usize]>> = BTreeMap::new();
        for pod in &mut self.all {
            let key = (pod.pod.labels.clone(), pod.origin);
            let own = known.entry(key).or_insert_with(|| {
                let services = services.iter().enumerate();
                let own = services.filter(|(_, service)| service.selects(pod));
                own.map(|(index, _)| index).collect()
            });
            pod.services = Arc::clone(own);
        }
    }
}

/// What checks look at in a pod.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    labels: Labels,
    ports: Arc<[NamedPort]>,
    host_network: bool,
    finished: bool,
    service_account: Arc<str>,
    origin: Origin,
    resolver: Resolver,
    token: Token,
    workload: (String, String),
    /// Of which families its addresses are.
    families: [bool; 2],
    /// Only where a policy denies or allows addresses of pods one by one.
    addresses: Vec<IpAddr>,
}

/// Where a pod is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lint) enum Origin {
    /// An object of its own.
    Live,
    /// The template of a workload.
    Template,
}

/// Whom a pod asks for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lint) enum Resolver {
    /// The cluster's DNS.
    Cluster,
    /// Its node's, or one it names itself.
    Other,
}

/// Whether a pod has a token for the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lint) enum Token {
    /// It has none.
    None,
    /// The default account's, which every pod gets that does not refuse it.
    Default,
    /// Its own account's, or one whose mount is written in the pod.
    Own,
}

impl Token {
    fn of(written: &Value, account: &str) -> Self {
        let spec = |field: &str| value_at(written, &["spec", field]);
        let mut mounts = items(spec("containers"))
            .iter()
            .flat_map(|container| items(container.get("volumeMounts")));
        let is_token = |mount: &Value| text_at(mount, &["mountPath"]) == Some(TOKEN_PATH);
        if mounts.any(is_token) {
            return Self::Own;
        }
        match spec("automountServiceAccountToken").and_then(Value::as_bool) {
            Some(false) => Self::None,
            Some(true) | None if account == "default" => Self::Default,
            Some(true) | None => Self::Own,
        }
    }
}

fn items(list: Option<&Value>) -> &[Value] {
    let list = list.and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Where tokens are mounted.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl KnownPod {
    pub(super) fn new(
        source: usize,
        pod: Pod,
        written: &Value,
        maker: &Value,
        origin: Origin,
    ) -> Self {
        let spec = |field: &str| value_at(written, &["spec", field]);
        let policy = spec("dnsPolicy").and_then(Value::as_str);
        // On the host network `ClusterFirst` falls back to the node's resolver.
        let resolver = match policy {
            Some("Default" | "None") => Resolver::Other,
            Some(_) | None => Resolver::Cluster,
        };
        let workload = match origin {
            Origin::Live => (pod.workload.kind.to_string(), pod.workload.name.to_string()),
            Origin::Template => (kind(maker).1.to_owned(), pod.key.name.to_string()),
        };
        Self {
            source,
            token: Token::of(written, &pod.service_account),
            pod,
            origin,
            resolver,
            workload,
            services: Arc::default(),
        }
    }

    fn kind(&self, by_address: bool) -> Kind {
        let Pod {
            labels,
            ports,
            host_network,
            finished,
            service_account,
            ips,
            ..
        } = &self.pod;
        Kind {
            labels: labels.clone(),
            ports: Arc::clone(ports),
            host_network: *host_network,
            finished: *finished,
            service_account: Arc::clone(service_account),
            origin: self.origin,
            resolver: self.resolver,
            token: self.token,
            workload: self.workload.clone(),
            families: [true, false].map(|v4| ips.iter().any(|ip| ip.is_ipv4() == v4)),
            addresses: if by_address { ips.clone() } else { Vec::new() },
        }
    }

    /// Whether a selector matches it. What a controller adds to its pods' labels is not in their template, so
    /// it counts as there.
    pub(in crate::lint) fn fits(&self, selector: &Selector) -> bool {
        let fits = |requirement: &Requirement| {
            requirement.matches(&self.pod.labels)
                || (self.origin == Origin::Template && is_generated(&requirement.key))
        };
        selector.requirements.iter().all(fits)
    }

    /// Whether policy can isolate it: it has a network of its own (R31) and is not finished (R33).
    pub(in crate::lint) fn is_subject(&self) -> bool {
        !self.pod.host_network && !self.pod.finished
    }

    /// Its ports of that name.
    pub(in crate::lint) fn named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a NamedPort> {
        self.pod
            .ports
            .iter()
            .filter(move |port| &*port.name == name)
    }

    /// Whether it says that it listens there. A pod may listen on what it does not say (R26).
    pub(in crate::lint) fn declares(&self, number: u16, protocol: Protocol) -> bool {
        self.pod
            .ports
            .iter()
            .any(|port| port.port == number && port.protocol == protocol)
    }

    /// Its addresses in the pods' own network.
    pub(in crate::lint) fn addresses(&self) -> &[IpAddr] {
        if self.is_subject() {
            &self.pod.ips
        } else {
            &[]
        }
    }

    /// `Deployment web`, or `Pod web-0`.
    pub(in crate::lint) fn shown(&self) -> String {
        let (kind, name) = &self.workload;
        format!("{kind} {}/{name}", self.pod.key.namespace)
    }
}

/// Labels that controllers add, and change with each generation of pods.
pub(in crate::lint) fn is_generated(key: &str) -> bool {
    [
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "controller-uid",
        "job-name",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    ]
    .contains(&key)
        || key.starts_with("batch.kubernetes.io/")
}

/// The pod that a workload would make; none when the object is none, or another one makes its pods: an old
/// ReplicaSet of a Deployment says what pods were like once.
pub(super) fn template(object: &Value) -> Option<Value> {
    let paths: [&[&str]; 2] = [
        &["spec", "template"],
        &["spec", "jobTemplate", "spec", "template"],
    ];
    let template = paths
        .iter()
        .filter_map(|path| value_at(object, path))
        .find(|template| value_at(template, &["spec", "containers"]).is_some())?;
    let is_owned = value_at(object, &["metadata", "ownerReferences"])
        .and_then(Value::as_array)
        .is_some_and(|owners| !owners.is_empty());
    if is_owned {
        return None;
    }
    let labels = value_at(template, &["metadata", "labels"]);
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": text_at(object, &["metadata", "name"]),
            "namespace": text_at(object, &["metadata", "namespace"]),
            "labels": labels,
        },
        "spec": template.get("spec"),
    }))
}
