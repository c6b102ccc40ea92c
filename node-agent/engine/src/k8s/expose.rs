//! Services and the slices of their backends.

use std::net::IpAddr;

use serde_json::Value;

use super::fields::{Object, ServicePort as WrittenPort, ServiceSpec, ServiceStatus, Slice};
use super::workloads::{key_of, protocol};
use super::{Decode, Problem, address, read};
use crate::model::{EndpointSlice, ExternalClients, NamedPort, Service, ServicePort};

pub(super) type WrittenService = Object<ServiceSpec, ServiceStatus>;

pub(super) fn service(object: &Value, options: &Decode) -> Result<Service, Problem> {
    service_of(read(object)?, options)
}

pub(super) fn service_of(written: WrittenService, options: &Decode) -> Result<Service, Problem> {
    let Object {
        metadata,
        spec,
        status,
    } = written;
    let spec = spec.unwrap_or_default();
    let balancer = status
        .unwrap_or_default()
        .load_balancer
        .and_then(|balancer| balancer.ingress);
    let balancer = balancer.into_iter().flatten().filter_map(|entry| entry.ip);
    let cluster = spec.cluster_ips.into_iter().flatten();
    let external = spec.external_ips.into_iter().flatten().chain(balancer);
    // A headless Service has `None` for an address.
    let mut ips = addresses(cluster.chain(spec.cluster_ip));
    let mut external_ips = addresses(external);
    external_ips.retain(|ip| !ips.contains(ip));
    ips.extend(&external_ips);
    let ports = spec.ports.unwrap_or_default();
    Ok(Service {
        key: key_of(&metadata.unwrap_or_default(), options)?,
        ips,
        external_ips,
        external_clients: match spec.external_traffic_policy.as_deref() {
            Some("Local") => ExternalClients::Seen,
            Some(_) | None => ExternalClients::Hidden,
        },
        stays_on_node: spec.internal_traffic_policy.as_deref() == Some("Local"),
        limits_sources: (spec.load_balancer_source_ranges).is_some_and(|ranges| !ranges.is_empty()),
        ports: ports
            .iter()
            .filter_map(service_port)
            .collect::<Result<_, _>>()?,
    })
}

/// The addresses among some texts, each once.
fn addresses(texts: impl Iterator<Item = String>) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for ip in texts.filter_map(|text| address(&text)) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

fn service_port(port: &WrittenPort) -> Option<Result<ServicePort, Problem>> {
    let number = port.port?;
    let protocol = protocol(port.protocol.as_deref(), "spec.ports");
    Some(protocol.map(|protocol| ServicePort {
        name: port.name.clone().unwrap_or_default(),
        port: number,
        protocol,
        node_port: port.node_port.filter(|port| *port != 0),
    }))
}

pub(super) fn endpoint_slice(object: &Value, options: &Decode) -> Result<EndpointSlice, Problem> {
    endpoint_slice_of(read(object)?, options)
}

pub(super) fn endpoint_slice_of(slice: Slice, options: &Decode) -> Result<EndpointSlice, Problem> {
    let Slice {
        metadata,
        endpoints,
        ports,
    } = slice;
    let metadata = metadata.unwrap_or_default();
    let labels = metadata.labels();
    // `ready` that says nothing counts as true.
    let ready = endpoints.into_iter().flatten().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    });
    let addresses = ready.flat_map(|endpoint| endpoint.addresses.unwrap_or_default());
    let mut ready: Vec<_> = addresses.filter_map(|text| address(&text)).collect();
    // Clusters have as many as pods, and room to grow is never used.
    ready.shrink_to_fit();
    let ports = ports.unwrap_or_default();
    let named = ports.iter().filter_map(service_port).map(|port| {
        port.map(
            |ServicePort {
                 name,
                 port,
                 protocol,
                 node_port: _,
             }| NamedPort {
                name,
                port,
                protocol,
            },
        )
    });
    Ok(EndpointSlice {
        key: key_of(&metadata, options)?,
        service: labels
            .get("kubernetes.io/service-name")
            .cloned()
            .unwrap_or_default(),
        ready,
        ports: named.collect::<Result<_, _>>()?,
    })
}
