//! The cluster of a ground: its pods, Services and policies.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netns::node::NODE_ADDRESSES;
use netns::pair::{self, Way};
use netns::scenario::{Family, Scenario, second_address};
use serde_json::{Value, json};

use crate::cell::{Attempt, Cell, From, Ground, NODE_PORTS, Pods, Policy, To};

/// Who may enter a server, and who may not leave.
const POLICIES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: servers, namespace: shop}
spec:
  podSelector: {matchLabels: {role: server}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchLabels: {enters: 'yes'}}
    - ipBlock: {cidr: 198.51.100.0/24}
    - ipBlock: {cidr: '2001:db8:61::/64'}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: captives, namespace: shop}
spec:
  podSelector: {matchLabels: {leaves: 'no'}}
  policyTypes: [Egress]
";
/// The server of the cells that share one.
const SERVER: &str = "server";
/// Addresses outside: policy lets the first enter, and the second not. The third nobody has.
pub(crate) const FRIEND: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x61, 0, 0, 0, 0, 1)),
];
pub(crate) const STRANGER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x71, 0, 0, 0, 0, 1)),
];
const NOBODY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 99)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x71, 0, 0, 0, 0, 0x99)),
];

/// The address that a client from outside has, where policy sees it: between two nodes the first hides it.
pub(crate) fn world(cell: &Cell, attempt: &Attempt) -> Option<IpAddr> {
    let addresses = if attempt.policy == Policy::Allowed {
        FRIEND
    } else {
        STRANGER
    };
    let is_seen = cell.ground.way().is_none();
    is_seen.then(|| of(attempt.family, addresses))
}

/// The address of the clients' node.
pub(crate) fn node(ground: Ground, family: Family) -> IpAddr {
    match ground.way() {
        None => of(family, NODE_ADDRESSES),
        Some(_) => pair::node_address(0, family),
    }
}

/// The pod that a cell's client of that policy is.
pub(crate) fn client(index: usize, cell: &Cell, policy: Policy) -> String {
    pod(index, cell, policy.pod())
}

/// The pod that a cell's server is.
pub(crate) fn server(index: usize, cell: &Cell) -> String {
    pod(index, cell, SERVER)
}

fn pod(index: usize, cell: &Cell, name: &str) -> String {
    match cell.pods {
        Pods::Shared => format!("shop/{name}"),
        Pods::Own => format!("shop/{name}-{index}"),
    }
}

/// The address that the node translates for an attempt.
pub(crate) fn virtual_address(attempt: &Attempt) -> IpAddr {
    let [high, low] = attempt.port.to_be_bytes();
    match attempt.family {
        Family::V4 => Ipv4Addr::new(10, 96, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, attempt.port).into(),
    }
}

/// The address outside that an attempt's Service has.
pub(crate) fn load_balancer(attempt: &Attempt) -> IpAddr {
    let [high, low] = attempt.port.to_be_bytes();
    match attempt.family {
        Family::V4 => Ipv4Addr::new(198, 18, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x1b, 0, 0, 0, 0, attempt.port).into(),
    }
}

/// The address on a network that the API does not know.
pub(crate) fn second(attempt: &Attempt) -> IpAddr {
    let [high, low] = attempt.port.to_be_bytes();
    match attempt.family {
        Family::V4 => Ipv4Addr::new(172, 20, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, attempt.port).into(),
    }
}

/// An address that nobody has: outside, or among those of the other node's pods.
pub(crate) fn nobody(ground: Ground, family: Family) -> IpAddr {
    let v4 = Ipv4Addr::new(10, 42, 1, 250);
    match (ground.way(), family) {
        (None, _) => of(family, NOBODY),
        (Some(_), Family::V4) => v4.into(),
        (Some(_), Family::V6) => second_address(v4).into(),
    }
}

/// The address of an address family among two.
pub(crate) fn of(family: Family, addresses: [IpAddr; 2]) -> IpAddr {
    let [v4, v6] = addresses;
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// What an attempt's client connects to.
pub(crate) fn target(
    scenario: &Scenario,
    cell: &Cell,
    attempt: &Attempt,
) -> anyhow::Result<(IpAddr, u16)> {
    let family = attempt.family;
    let address = match cell.to {
        To::Pod | To::Headless => scenario.address(&server(attempt.cell, cell), family)?,
        To::LoadBalancer => load_balancer(attempt),
        To::Service | To::NodeService | To::Itself | To::EmptyService | To::Unallocated => {
            virtual_address(attempt)
        }
        To::NodePort => return Ok((node(cell.ground, family), attempt.port + NODE_PORTS)),
        To::Node => of(family, NODE_ADDRESSES),
        To::FarNode => pair::node_address(1, family),
        To::World => of(family, FRIEND),
        To::Nobody => nobody(cell.ground, family),
        To::Second => second(attempt),
    };
    Ok((address, attempt.port))
}

/// The cluster that these attempts need.
pub(crate) fn scenario(
    ground: Ground,
    cells: &[Cell],
    attempts: &[Attempt],
) -> anyhow::Result<Scenario> {
    let two = ground.way().is_some();
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
    })];
    let mut pods = BTreeSet::new();
    for attempt in attempts {
        if let Some(cell) = cells.get(attempt.cell) {
            pods.insert(client(attempt.cell, cell, attempt.policy));
            pods.insert(server(attempt.cell, cell));
        }
    }
    for (number, key) in (2_u16..).zip(&pods) {
        let served = if two && is_server(key) { attempts } else { &[] };
        objects.push(manifest(key, number, two, ports(served)));
    }
    if let Some(way) = ground.way() {
        objects.extend([0, 1].map(pair::node_object));
        objects.push(entrances(way, cells, attempts));
    }
    let text = serde_json::to_string(&objects)?;
    let without_services = Scenario::new("matrix", &as_documents(&objects)?, text, "\n")?;
    for attempt in attempts {
        let Some(cell) = cells.get(attempt.cell) else {
            continue;
        };
        if has_service(cell.to) {
            objects.extend(service(&without_services, cell, attempt)?);
        }
    }
    Scenario::new(
        "matrix",
        &as_documents(&objects)?,
        POLICIES.to_owned(),
        "\n",
    )
}

fn has_service(to: To) -> bool {
    match to {
        To::Service
        | To::NodeService
        | To::NodePort
        | To::Itself
        | To::EmptyService
        | To::LoadBalancer
        | To::Headless => true,
        To::Pod
        | To::Node
        | To::World
        | To::Nobody
        | To::Unallocated
        | To::Second
        | To::FarNode => false,
    }
}

fn as_documents(objects: &[Value]) -> anyhow::Result<String> {
    let texts: Result<Vec<String>, _> = objects.iter().map(serde_json::to_string).collect();
    Ok(texts?.join("\n---\n"))
}

/// Which node a pod is on: where there are two, servers are on the second.
pub(crate) fn node_of(key: &str, two: bool) -> usize {
    usize::from(two && is_server(key))
}

pub(crate) fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

fn is_server(key: &str) -> bool {
    name_of(key).split('-').next() == Some(SERVER)
}

fn name_of(key: &str) -> &str {
    key.split('/').next_back().unwrap_or_default()
}

/// Who comes from outside by way of the first node has the address that it has there, which may enter at some ports.
fn entrances(way: Way, cells: &[Cell], attempts: &[Attempt]) -> Value {
    let may_enter = |attempt: &&Attempt| {
        let from = cells.get(attempt.cell).map(|cell| cell.from);
        from == Some(From::World) && attempt.policy == Policy::Allowed
    };
    let node = [("32", Family::V4), ("128", Family::V6)].map(|(bits, family)| {
        let address = way.sender(0, family);
        json!({"ipBlock": {"cidr": format!("{address}/{bits}")}})
    });
    let port = |attempt: &Attempt| json!({"port": attempt.port, "protocol": attempt.transport.name(attempt.family)});
    let ports: Vec<Value> = attempts.iter().filter(may_enter).map(port).collect();
    // Without a port it would be about all of them.
    let rules: Vec<Value> = (!ports.is_empty())
        .then(|| json!({"from": node, "ports": ports}))
        .into_iter()
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "entrances", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    })
}

/// What a server says that it serves: metrics name no other port.
fn ports(attempts: &[Attempt]) -> Value {
    let port = |attempt: &Attempt| {
        json!({
            "containerPort": attempt.port, "protocol": attempt.transport.name(attempt.family),
        })
    };
    attempts.iter().map(port).collect()
}

fn manifest(key: &str, number: u16, two: bool, ports: Value) -> Value {
    let name = name_of(key);
    let node = node_of(key, two);
    let labels = match name.split('-').next().unwrap_or_default() {
        "friend" => json!({"enters": "yes"}),
        "captive" => json!({"enters": "yes", "leaves": "no"}),
        "locked" => json!({"leaves": "no"}),
        SERVER => json!({"role": "server", "enters": "no"}),
        _ => json!({"enters": "no"}),
    };
    let [high, low] = number.to_be_bytes();
    // Of two nodes each gives its pods addresses of its own range.
    let third = if two && is_server(key) { 1 } else { high };
    let address = Ipv4Addr::new(10, 42, third, low).to_string();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"nodeName": node_name(node), "containers": [{"name": "main", "image": "example/app:1", "ports": ports}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

/// The Service of one attempt, and its slice.
fn service(scenario: &Scenario, cell: &Cell, attempt: &Attempt) -> anyhow::Result<[Value; 2]> {
    let backend = match cell.to {
        To::Itself => client(attempt.cell, cell, attempt.policy),
        _ => server(attempt.cell, cell),
    };
    let address = scenario.address(&backend, attempt.family)?.to_string();
    let virtual_address = virtual_address(attempt).to_string();
    let protocol = attempt.transport.name(attempt.family);
    let number = attempt.port;
    let mut port = json!({"port": number, "targetPort": number, "protocol": protocol});
    if let (To::NodePort, Some(port)) = (cell.to, port.as_object_mut()) {
        port.insert("nodePort".to_owned(), json!(number + NODE_PORTS));
    }
    let outside = json!({"loadBalancer": {"ingress": [{"ip": load_balancer(attempt)}]}});
    let (kind, cluster_ip, status) = match cell.to {
        To::NodePort => ("NodePort", virtual_address, json!({})),
        To::LoadBalancer => ("LoadBalancer", virtual_address, outside),
        To::Headless => ("ClusterIP", "None".to_owned(), json!({})),
        _ => ("ClusterIP", virtual_address, json!({})),
    };
    let name = service_name(attempt);
    let pod = name_of(&backend);
    let node = node_name(node_of(&backend, cell.ground.way().is_some()));
    let mut spec = json!({
        "type": kind, "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
        "ipFamilies": [family(attempt)], "ports": [port],
    });
    if let Some(spec) = spec.as_object_mut() {
        spec.extend(cell.service.clone());
    }
    let is_ready = cell.to != To::EmptyService;
    Ok([
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec, "status": status,
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": family(attempt),
            "endpoints": [{
                "addresses": [address], "conditions": {"ready": is_ready}, "nodeName": node,
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod},
            }],
            "ports": [{"port": attempt.port, "protocol": protocol}],
        }),
    ])
}

/// The name of an attempt's Service.
pub(crate) fn service_name(attempt: &Attempt) -> String {
    format!("service-{}", attempt.port)
}

fn family(attempt: &Attempt) -> &'static str {
    attempt.family.name()
}
