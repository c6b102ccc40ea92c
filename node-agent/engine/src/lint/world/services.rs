//! Services, with what decides how their traffic reaches a pod.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::{KnownPod, text_at, value_at};
use crate::model::{ObjectKey, Protocol, Selector};

/// A Service.
pub(in crate::lint) struct KnownService {
    pub(in crate::lint) key: ObjectKey,
    /// Which pods of its namespace it sends to; absent when somebody else says so.
    pub(in crate::lint) selector: Option<Selector>,
    /// Its addresses inside the cluster; none when it is headless.
    pub(in crate::lint) cluster_ips: Vec<IpAddr>,
    /// It takes traffic from outside, as a NodePort or a load balancer.
    pub(in crate::lint) is_exposed: bool,
    /// Its clients' addresses reach the pod (`externalTrafficPolicy: Local`).
    pub(in crate::lint) keeps_source: bool,
    pub(in crate::lint) ports: Vec<KnownServicePort>,
}

/// A port of a Service.
pub(in crate::lint) struct KnownServicePort {
    /// What clients use.
    pub(in crate::lint) port: u16,
    pub(in crate::lint) protocol: Protocol,
    /// What the pod listens on.
    pub(in crate::lint) target: Target,
}

/// The port of a pod that a Service sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lint) enum Target {
    Number(u16),
    Name(Arc<str>),
}

impl KnownService {
    pub(in crate::lint) fn selects(&self, pod: &KnownPod) -> bool {
        self.key.namespace == pod.pod.key.namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| pod.fits(selector))
    }

    pub(in crate::lint) fn shown(&self) -> String {
        format!("Service {}/{}", self.key.namespace, self.key.name)
    }
}

impl Target {
    /// The numbers that it is on a pod.
    pub(in crate::lint) fn numbers(&self, pod: &KnownPod) -> Vec<u16> {
        match self {
            Self::Number(target) => vec![*target],
            Self::Name(name) => pod.named(name).map(|port| port.port).collect(),
        }
    }
}

/// Reads a Service; none when it has no name.
pub(super) fn read(object: &Value, default_namespace: &Arc<str>) -> Option<KnownService> {
    let spec = |field: &str| value_at(object, &["spec", field]);
    let name = text_at(object, &["metadata", "name"])?;
    let namespace = text_at(object, &["metadata", "namespace"]).filter(|name| !name.is_empty());
    let labels = spec("selector").and_then(Value::as_object);
    let pairs = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let selector = Selector::equal_to(pairs);
    let listed = spec("clusterIPs").and_then(Value::as_array);
    let cluster_ips = listed
        .into_iter()
        .flatten()
        .chain(spec("clusterIP"))
        .filter_map(|ip| ip.as_str()?.parse().ok());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in cluster_ips {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    let kind = spec("type").and_then(Value::as_str);
    let ports = spec("ports").and_then(Value::as_array);
    Some(KnownService {
        key: ObjectKey {
            namespace: namespace.map_or_else(|| Arc::clone(default_namespace), Arc::from),
            name: name.into(),
        },
        selector: (!selector.requirements.is_empty()).then_some(selector),
        cluster_ips: addresses,
        is_exposed: matches!(kind, Some("NodePort" | "LoadBalancer")),
        keeps_source: spec("externalTrafficPolicy").and_then(Value::as_str) == Some("Local"),
        ports: ports.into_iter().flatten().filter_map(port).collect(),
    })
}

fn port(written: &Value) -> Option<KnownServicePort> {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let port = written.get("port").and_then(number)?;
    let target = match written.get("targetPort") {
        Some(Value::String(text)) => text
            .parse()
            .map_or_else(|_| Target::Name(text.as_str().into()), Target::Number),
        Some(value) => Target::Number(number(value).filter(|target| *target != 0).unwrap_or(port)),
        None => Target::Number(port),
    };
    let protocol = match written.get("protocol").and_then(Value::as_str) {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) | None => Protocol::Tcp,
    };
    Some(KnownServicePort {
        port,
        protocol,
        target,
    })
}
