//! The cluster of two nodes, as manifests, and its addresses.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Guard, Member, PORT};
use crate::node::PodSpec;
use crate::scenario::{Family, second_address};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) fn manifests(members: &[Member]) -> anyhow::Result<TempDir> {
    let mut items = vec![json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "pair"},
        "spec": {"podSelector": {"matchLabels": {"guard": "closed"}}, "policyTypes": ["Ingress"]},
    })];
    for index in 0..2 {
        items.push(node(index));
    }
    for (index, member) in members.iter().enumerate() {
        let service = FAMILIES.map(|family| service_address(index, family));
        items.push(pod_object(member, both(members, member.name)?));
        items.push(service_object(member.name, service, node_port(index)));
        for family in FAMILIES {
            items.push(slice(
                member.name,
                family,
                &backends(members, member, family)?,
            ));
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let folder = tempfile::tempdir().context("make a folder for the cluster")?;
    std::fs::write(folder.path().join("cluster.json"), list.to_string())
        .context("write the cluster")?;
    Ok(folder)
}

pub(super) fn node_address(index: usize, family: Family) -> IpAddr {
    let index = u8::try_from(index).unwrap_or(u8::MAX);
    match family {
        Family::V4 => IpAddr::from([198, 51, index, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0x51, u16::from(index), 0, 0, 0, 1]),
    }
}

pub(super) fn node_port(index: usize) -> u16 {
    30_000 + u16::try_from(index).unwrap_or_default()
}

pub(super) fn pod_address(
    members: &[Member],
    name: &str,
    family: Family,
) -> anyhow::Result<IpAddr> {
    let index = members.iter().position(|member| member.name == name);
    let index = index.with_context(|| format!("no pod `{name}`"))?;
    let node = members.get(index).map_or(0, |member| member.node);
    let v4 = Ipv4Addr::new(10, 42, u8::try_from(node)?, u8::try_from(10 + index)?);
    Ok(match family {
        Family::V4 => IpAddr::V4(v4),
        Family::V6 => IpAddr::V6(second_address(v4)),
    })
}

/// Whom the Service before a pod leads to.
fn backends(members: &[Member], member: &Member, family: Family) -> anyhow::Result<Vec<IpAddr>> {
    let names = std::iter::once(&member.name).chain(member.beside);
    names
        .map(|name| pod_address(members, name, family))
        .collect()
}

pub(super) fn service_address(index: usize, family: Family) -> IpAddr {
    let last = u8::try_from(10 + index).unwrap_or(u8::MAX);
    match family {
        Family::V4 => IpAddr::from([10, 43, 0, last]),
        Family::V6 => IpAddr::from([0xfd00, 0x10, 0x43, 0, 0, 0, 0, u16::from(last)]),
    }
}

fn both(members: &[Member], name: &str) -> anyhow::Result<[IpAddr; 2]> {
    Ok([
        pod_address(members, name, Family::V4)?,
        pod_address(members, name, Family::V6)?,
    ])
}

pub(super) fn specs(members: &[Member], node: usize) -> Vec<PodSpec> {
    let here = members.iter().filter(|member| member.node == node);
    here.filter_map(|member| {
        Some(PodSpec {
            key: format!("pair/{}", member.name),
            addresses: both(members, member.name).ok()?.to_vec(),
        })
    })
    .collect()
}

pub(super) fn node(index: usize) -> Value {
    let addresses = FAMILIES
        .map(|family| json!({"type": "InternalIP", "address": node_address(index, family)}));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{}", index + 1)},
        "spec": {"podCIDRs": [format!("10.42.{index}.0/24"), format!("fd00:10:42:{index}::/64")]},
        "status": {"addresses": addresses},
    })
}

fn pod_object(member: &Member, ips: [IpAddr; 2]) -> Value {
    let guard = match member.guard {
        Guard::Open => "open",
        Guard::Closed => "closed",
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": member.name, "namespace": "pair", "labels": {"guard": guard}},
        "spec": {"nodeName": format!("node-{}", member.node + 1), "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": ips.map(|ip| json!({"ip": ip}))},
    })
}

fn service_object(name: &str, ips: [IpAddr; 2], node_port: u16) -> Value {
    let ports = ["TCP", "UDP"].map(|protocol| {
        json!({
            "name": protocol.to_lowercase(), "protocol": protocol, "port": PORT, "nodePort": node_port,
        })
    });
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("{name}-service"), "namespace": "pair"},
        "spec": {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips, "ports": ports},
    })
}

fn slice(name: &str, family: Family, ips: &[IpAddr]) -> Value {
    let service = format!("{name}-service");
    let ports = ["TCP", "UDP"].map(
        |protocol| json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": PORT}),
    );
    let endpoints = ips
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family.name(),
        "metadata": {
            "name": format!("{service}-{}", family.name().to_lowercase()), "namespace": "pair",
            "labels": {"kubernetes.io/service-name": service},
        },
        "ports": ports,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
