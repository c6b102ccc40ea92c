//! The parts of Kubernetes' objects that are used, as they are written. What is `null` counts as absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::Labels;

#[derive(Debug, Deserialize)]
pub(super) struct Object<Spec, Status> {
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<Spec>,
    pub(super) status: Option<Status>,
}

/// No part of it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Unused {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Option<Arc<str>>,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) uid: Option<Arc<str>>,
    pub(super) resource_version: Option<Arc<str>>,
    labels: Option<BTreeMap<Arc<str>, Option<Arc<str>>>>,
    annotations: Option<BTreeMap<Arc<str>, Option<Arc<str>>>>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
}

impl Metadata {
    pub(super) fn labels(&self) -> Labels {
        without_null(self.labels.as_ref())
    }

    pub(super) fn annotations(&self) -> Labels {
        without_null(self.annotations.as_ref())
    }
}

/// A value that is `null` is the empty one, as the API server reads it.
fn without_null(map: Option<&BTreeMap<Arc<str>, Option<Arc<str>>>>) -> Labels {
    let text = |value: &Option<Arc<str>>| value.clone().unwrap_or_default();
    map.into_iter()
        .flatten()
        .map(|(key, value)| (Arc::clone(key), text(value)))
        .collect()
}

#[derive(Debug, Deserialize)]
pub(super) struct OwnerReference {
    pub(super) kind: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) controller: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: Option<Arc<str>>,
    pub(super) host_network: Option<bool>,
    pub(super) service_account_name: Option<Arc<str>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) restart_policy: Option<String>,
    pub(super) ports: Option<Vec<ContainerPort>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: Option<Arc<str>>,
    pub(super) container_port: Option<u16>,
    pub(super) protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<PodIp>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PodIp {
    pub(super) ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct NodeStatus {
    pub(super) addresses: Option<Vec<NodeAddress>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeAddress {
    pub(super) address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<String>>,
    pub(super) external_traffic_policy: Option<String>,
    pub(super) internal_traffic_policy: Option<String>,
    pub(super) load_balancer_source_ranges: Option<Vec<String>>,
    pub(super) ports: Option<Vec<ServicePort>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) name: Option<Arc<str>>,
    pub(super) port: Option<u16>,
    pub(super) node_port: Option<u16>,
    pub(super) protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceStatus {
    pub(super) load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadBalancer {
    pub(super) ingress: Option<Vec<PodIp>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Slice {
    pub(super) metadata: Option<Metadata>,
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) ports: Option<Vec<ServicePort>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    pub(super) addresses: Option<Vec<String>>,
    pub(super) conditions: Option<Conditions>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Conditions {
    pub(super) ready: Option<bool>,
}
