//! Namespaces, pods and nodes.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use ipnet::{IpAdd, IpNet};
use serde_json::Value;

use super::fields::{
    Container, Metadata, NodeSpec, NodeStatus, Object, PodSpec, PodStatus, Unused,
};
use super::{Decode, Problem, address, our_annotations, read};
use crate::model::{Labels, NamedPort, Namespace, Node, ObjectKey, Pod, Protocol, Workload};

pub(super) type WrittenNamespace = Object<Unused, Unused>;
pub(super) type WrittenNode = Object<NodeSpec, NodeStatus>;
pub(super) type WrittenPod = Object<PodSpec, PodStatus>;

pub(super) fn namespace(object: &Value) -> Result<Namespace, Problem> {
    namespace_of(read(object)?)
}

pub(super) fn namespace_of(written: WrittenNamespace) -> Result<Namespace, Problem> {
    let metadata = written.metadata.unwrap_or_default();
    let mut namespace = Namespace {
        name: name_of(&metadata)?,
        labels: metadata.labels(),
        annotations: our_annotations(Some(metadata.annotations())),
    };
    namespace.add_name_label();
    Ok(namespace)
}

pub(super) fn node(object: &Value) -> Result<Node, Problem> {
    node_of(read(object)?)
}

pub(super) fn node_of(written: WrittenNode) -> Result<Node, Problem> {
    let Object {
        metadata,
        spec,
        status,
    } = written;
    let metadata = metadata.unwrap_or_default();
    let spec = spec.unwrap_or_default();
    let addresses = status.unwrap_or_default().addresses.unwrap_or_default();
    let ranges = spec
        .pod_cidrs
        .unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let pod_ranges: Vec<IpNet> = ranges
        .iter()
        .filter_map(|range| range.parse().ok())
        .collect();
    let annotations = metadata.annotations();
    let by_calico = CALICO_TUNNELS.iter().filter_map(|end| {
        let key = format!("projectcalico.org/{end}");
        address(annotations.get(key.as_str())?)
    });
    Ok(Node {
        name: name_of(&metadata)?,
        labels: metadata.labels(),
        // Host names are among them.
        ips: distinct(
            addresses
                .iter()
                .filter_map(|entry| address(entry.address.as_deref()?)),
        ),
        tunnel_ips: distinct(pod_ranges.iter().flat_map(first_two).chain(by_calico)),
        pod_ranges,
    })
}

/// What Calico annotates Nodes with, each the address of an interface of the node that tunnels to other nodes
/// (`libcalico-go/lib/backend/k8s/resources/node.go`).
const CALICO_TUNNELS: [&str; 5] = [
    "IPv4IPIPTunnelAddr",
    "IPv4VXLANTunnelAddr",
    "IPv6VXLANTunnelAddr",
    "IPv4WireguardInterfaceAddr",
    "IPv6WireguardInterfaceAddr",
];

/// The first two addresses of a node's pods: flannel's VXLAN device has that of the network (`pkg/backend/vxlan/vxlan.go`), and
/// the bridge before its pods the one after, which the CNI plugin `host-local` keeps for the gateway. What the node sends to
/// another's pod, or translates on its way there, comes from the former.
fn first_two(range: &IpNet) -> impl Iterator<Item = IpAddr> {
    let range = range.trunc();
    let second = match range {
        IpNet::V4(range) => IpAddr::from(range.network().saturating_add(1)),
        IpNet::V6(range) => IpAddr::from(range.network().saturating_add(1)),
    };
    let both = [range.network(), second].into_iter();
    both.filter(move |ip| range.contains(ip))
}

pub(super) fn pod(object: &Value, options: &Decode) -> Result<Pod, Problem> {
    pod_of(read(object)?, options)
}

pub(super) fn pod_of(written: WrittenPod, options: &Decode) -> Result<Pod, Problem> {
    let Object {
        metadata,
        spec,
        status,
    } = written;
    let (metadata, spec, status) = (
        metadata.unwrap_or_default(),
        spec.unwrap_or_default(),
        status.unwrap_or_default(),
    );
    let key = key_of(&metadata, options)?;
    let labels = metadata.labels();
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    Ok(Pod {
        workload: workload(&key, &metadata, &labels),
        uid: metadata.uid.clone().unwrap_or_default(),
        annotations: our_annotations(Some(metadata.annotations())),
        ips: pod_addresses(&status)?,
        node: spec.node_name.clone().unwrap_or_default(),
        host_network: spec.host_network.unwrap_or_default(),
        finished,
        ports: container_ports(&spec)?.into(),
        service_account: spec
            .service_account_name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".into()),
        key,
        labels,
    })
}

/// `podIPs`, or `podIP` when that list is not there.
fn pod_addresses(status: &PodStatus) -> Result<Vec<IpAddr>, Problem> {
    let listed = status
        .pod_ips
        .iter()
        .flatten()
        .filter_map(|entry| entry.ip.as_deref());
    let mut texts: Vec<&str> = listed.filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        texts.extend(status.pod_ip.as_deref().filter(|text| !text.is_empty()));
    }
    let parsed = texts.into_iter().map(|text| {
        address(text)
            .ok_or_else(|| Problem::new("status.podIPs", format!("`{text}` is no address")))
    });
    Ok(distinct(parsed.collect::<Result<Vec<_>, _>>()?.into_iter()))
}

fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for ip in addresses {
        if !seen.contains(&ip) {
            seen.push(ip);
        }
    }
    seen
}

/// Ports of containers and of native sidecars; ordinary init containers do not count (R26).
fn container_ports(spec: &PodSpec) -> Result<Vec<NamedPort>, Problem> {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let containers = spec.containers.iter().flatten().chain(sidecars);
    let mut ports = Vec::new();
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let Some(number) = port.container_port else {
            return Err(Problem::new(
                "spec.containers",
                "a port without `containerPort`",
            ));
        };
        ports.push(NamedPort {
            name: port.name.clone().unwrap_or_default(),
            port: number,
            protocol: protocol(port.protocol.as_deref(), "spec.containers")?,
        });
    }
    Ok(ports)
}

/// TCP when the object says nothing.
pub(super) fn protocol(text: Option<&str>, field: &str) -> Result<Protocol, Problem> {
    match text {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(Problem::new(field, format!("unknown protocol `{other}`"))),
    }
}

/// The controlling owner. A ReplicaSet whose name ends in the pod's template hash stands for its Deployment, and a Job whose
/// name ends in a minute for its CronJob: neither is watched. A static pod's mirror is owned by its node, as whom it does not
/// speak, and belongs to nobody.
fn workload(key: &ObjectKey, metadata: &Metadata, labels: &Labels) -> Workload {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let Some(owner) = owner.filter(|owner| &*owner.kind != "Node") else {
        return Workload {
            kind: "Pod".into(),
            name: Arc::clone(&key.name),
        };
    };
    let made = match &*owner.kind {
        "ReplicaSet" => deployment(&owner.name, labels).map(|name| ("Deployment", name)),
        "Job" => cron_job(&owner.name).map(|name| ("CronJob", name)),
        _ => None,
    };
    match made {
        Some((kind, name)) => Workload {
            kind: kind.into(),
            name: name.into(),
        },
        None => Workload {
            kind: Arc::clone(&owner.kind),
            name: Arc::clone(&owner.name),
        },
    }
}

fn deployment<'a>(replica_set: &'a str, labels: &Labels) -> Option<&'a str> {
    let hash = labels.get("pod-template-hash")?;
    let name = replica_set.strip_suffix(hash.as_ref())?.strip_suffix('-')?;
    (!hash.is_empty() && !name.is_empty()).then_some(name)
}

/// The minutes since 1970 that end a Job's name (`getJobName` in `pkg/controller/cronjob/utils.go`), from 2019 to 2046. A day
/// that is written year first is not among them.
const MINUTES: Range<u32> = 26_000_000..40_000_000;

fn cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let is_number = minute.len() == 8 && minute.bytes().all(|digit| digit.is_ascii_digit());
    let is_minute = is_number && minute.parse().is_ok_and(|minute| MINUTES.contains(&minute));
    (is_minute && !name.is_empty()).then_some(name)
}

pub(super) fn name_of(metadata: &Metadata) -> Result<Arc<str>, Problem> {
    let name = metadata.name.clone().filter(|name| !name.is_empty());
    name.ok_or_else(|| Problem::new("metadata.name", "required"))
}

pub(super) fn key_of(metadata: &Metadata, options: &Decode) -> Result<ObjectKey, Problem> {
    let namespace = metadata
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    Ok(ObjectKey {
        namespace: namespace.unwrap_or_else(|| Arc::clone(&options.default_namespace)),
        name: name_of(metadata)?,
    })
}
