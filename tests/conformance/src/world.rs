//! The cluster of a case, and its probes as connections.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::net::IpAddr;
use std::sync::Arc;

use node_agent_engine::k8s::{Decode, Validation, decode};
use node_agent_engine::model::ObjectKey;
use node_agent_engine::{Between, Cluster, Connection, Moment, Party, PartyKind};
use serde_json::{Value, json};

use crate::{Case, Probe};

/// When everything happens.
pub const NOW: Moment = Moment(1);

/// The cluster of a case.
#[must_use]
pub fn build(case: &Case) -> Cluster {
    let validation = if case.api_server_rejects.is_empty() {
        Validation::Strict
    } else {
        Validation::Off
    };
    let options = Decode {
        default_namespace: "default".into(),
        validation,
    };
    let mut cluster = Cluster::new();
    cluster.set_names(
        case.domains
            .iter()
            .map(|(name, ips)| (name, ips.clone()))
            .collect(),
    );
    for object in objects(case).iter().chain(&case.policies) {
        let deltas =
            decode(object, &options).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", case.case));
        assert_eq!(deltas.len(), 1, "{}: {object}", case.case);
        for delta in &deltas {
            cluster.apply(delta, NOW);
        }
    }
    cluster
}

fn objects(case: &Case) -> Vec<Value> {
    let namespaces = case.namespaces.iter().map(|namespace| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name, "labels": namespace.labels}})
    });
    let nodes = case.nodes.iter().map(|node| {
        let addresses: Vec<Value> = node.ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": node.labels},
               "status": {"addresses": addresses}})
    });
    let pods = case.pods.iter().map(|pod| {
        let containers: Vec<Value> = (pod.ports.iter())
            .map(|port| json!({"ports": [{"name": port.name, "containerPort": port.port, "protocol": port.protocol}]}))
            .collect();
        let ips: Vec<Value> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"namespace": pod.ns, "name": pod.name, "labels": pod.labels},
               "spec": {"nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers},
               "status": {"phase": pod.phase, "podIPs": ips}})
    });
    namespaces.chain(nodes).chain(pods).collect()
}

/// The connection of a probe, between the ends as they are in the cluster.
#[must_use]
pub fn connection(cluster: &Cluster, probe: &Probe) -> Connection {
    Connection {
        source: party(cluster, &probe.src, probe.src_ip.as_deref()),
        destination: party(cluster, &probe.dst, probe.dst_ip.as_deref()),
        protocol: probe.protocol,
        port: probe.port,
        via_service: probe.via.is_some(),
    }
}

/// The same connection by its addresses alone. Absent when those do not say the same: through a Service, or when
/// somebody else has one of them too.
#[must_use]
pub fn between(cluster: &Cluster, connection: &Connection) -> Option<Between> {
    let (from, to) = (
        addresses(cluster, &connection.source),
        addresses(cluster, &connection.destination),
    );
    let pairs = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (*from, *to)));
    let (source, destination) = pairs
        .into_iter()
        .find(|(from, to)| from.is_ipv4() == to.is_ipv4())?;
    let is_whose = |ip, party: &Party| cluster.party_at(ip, NOW).identity == party.identity;
    let is_same = !connection.via_service
        && is_whose(source, &connection.source)
        && is_whose(destination, &connection.destination);
    is_same.then_some(Between {
        source,
        destination,
        protocol: connection.protocol,
        port: connection.port,
    })
}

fn addresses(cluster: &Cluster, party: &Party) -> Vec<IpAddr> {
    let pod = match &party.identity {
        PartyKind::Pod(key) => cluster.pod(key),
        PartyKind::Node(_) | PartyKind::World | PartyKind::Service(_) | PartyKind::Unknown => None,
    };
    match (party.ip, pod) {
        (Some(ip), _) => vec![ip],
        (None, Some(pod)) => pod.ips.clone(),
        (None, None) => Vec::new(),
    }
}

fn party(cluster: &Cluster, name: &str, ip: Option<&str>) -> Party {
    let ip: Option<IpAddr> = ip.map(|ip| ip.parse().unwrap());
    if let Ok(ip) = name.parse() {
        return cluster.party_at(ip, NOW);
    }
    let (namespace, pod) = name.split_once('/').unwrap();
    let key = ObjectKey {
        namespace: Arc::from(namespace),
        name: Arc::from(pod),
    };
    cluster
        .party_of(&key, ip, NOW)
        .unwrap_or_else(|| panic!("no pod {name}"))
}
