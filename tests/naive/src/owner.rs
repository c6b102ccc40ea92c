//! Who is behind an address.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::{Objects, list, name_of, text};

/// Who is behind an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Owner<'a> {
    /// A pod with a network of its own.
    Pod(&'a Value),
    /// A node of that name; pods on their node's network are their node (R31).
    Node(&'a str),
    /// A Service.
    Service(&'a Value),
    /// Nobody of the cluster.
    World,
    /// Several, or somebody of whom nothing was heard.
    Unknown,
}

impl Objects {
    /// Who has the address: its one owner among all objects (R30).
    pub(crate) fn owner(&self, ip: IpAddr) -> Owner<'_> {
        let mut owners: Vec<Owner<'_>> = self.owners(ip).collect();
        // A pod on its node's network that does not say which leaves that to whoever does.
        if owners.iter().any(|owner| *owner != Owner::Node("")) {
            owners.retain(|owner| *owner != Owner::Node(""));
        }
        match owners.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => *first,
            Some(_) => Owner::Unknown,
            None => self.owner_by_range(ip),
        }
    }

    /// Who has an address that nobody says he has: of those that a node gives to its pods the first two are its own, ends of
    /// its tunnel and its bridge.
    fn owner_by_range(&self, ip: IpAddr) -> Owner<'_> {
        let nodes = self.of_kind("Node").filter(|node| {
            let mut ranges = pod_ranges(node);
            ranges
                .any(|range| range.contains(&ip) && number_of(ip) - number_of(range.network()) < 2)
        });
        let mut names = nodes.map(|node| text(&node["metadata"]["name"]));
        match names.next() {
            Some(first) if names.all(|other| other == first) => Owner::Node(first),
            Some(_) => Owner::Unknown,
            None if self.is_in_a_pod_range(ip) => Owner::Unknown,
            None => Owner::World,
        }
    }

    fn owners(&self, ip: IpAddr) -> impl Iterator<Item = Owner<'_>> {
        let pods = self
            .live_pods()
            .filter(move |pod| pod_addresses(pod).any(|own| own == ip))
            .map(|pod| {
                if is_on_its_nodes_network(pod) {
                    Owner::Node(text(&pod["spec"]["nodeName"]))
                } else {
                    Owner::Pod(pod)
                }
            });
        let nodes = self
            .of_kind("Node")
            .filter(move |node| node_addresses(node).any(|own| own == ip));
        let services = self
            .of_kind("Service")
            .filter(move |service| service_addresses(service).any(|own| own == ip));
        pods.chain(nodes.map(|node| Owner::Node(text(&node["metadata"]["name"]))))
            .chain(services.map(Owner::Service))
    }

    /// Every node that may pass on what comes from outside, and the addresses it may do that with; one of which
    /// nothing is known where no node is.
    pub(crate) fn passing_nodes(&self, own: &str) -> Vec<(String, Vec<IpAddr>)> {
        let mut nodes: Vec<_> = self
            .of_kind("Node")
            .map(|node| (name_of(node).2, node_addresses(node).collect()))
            .collect();
        if nodes.is_empty() {
            nodes.push((String::new(), Vec::new()));
        }
        if !own.is_empty() && nodes.iter().all(|(name, _)| name != own) {
            nodes.push((own.to_owned(), Vec::new()));
        }
        nodes
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Value> {
        let key = ("Node".to_owned(), String::new(), name.to_owned());
        self.objects.get(&key)
    }

    /// Pods that are not finished: those own nothing (R33).
    pub(crate) fn live_pods(&self) -> impl Iterator<Item = &Value> {
        self.of_kind("Pod")
            .filter(|pod| !["Succeeded", "Failed"].contains(&text(&pod["status"]["phase"])))
    }

    /// Live pods that share the network of a node.
    pub(crate) fn pods_on_the_network_of<'a>(
        &'a self,
        node: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.live_pods().filter(move |pod| {
            is_on_its_nodes_network(pod) && text(&pod["spec"]["nodeName"]) == node
        })
    }

    fn is_in_a_pod_range(&self, ip: IpAddr) -> bool {
        self.of_kind("Node")
            .flat_map(pod_ranges)
            .any(|range| range.contains(&ip))
    }

    /// The labels of a namespace, its name among them whether written or not (R34).
    pub(crate) fn namespace_labels(&self, namespace: &str) -> Value {
        let key = ("Namespace".to_owned(), String::new(), namespace.to_owned());
        let written = self.objects.get(&key);
        let mut labels = written.map_or(Value::Null, |object| object["metadata"]["labels"].clone());
        if !labels.is_object() {
            labels = serde_json::json!({});
        }
        labels["kubernetes.io/metadata.name"] = namespace.into();
        labels
    }

    /// Where a connection to a Service ends up: the ready addresses behind the port that clients use, with
    /// the port there (R27, R38).
    pub(crate) fn backends(
        &self,
        service: &Value,
        to: IpAddr,
        protocol: &str,
        port: Option<u16>,
    ) -> Vec<(IpAddr, u16)> {
        let wanted = list(&service["spec"]["ports"])
            .iter()
            .find(|own| number(&own["port"]) == port && protocol_of(own) == protocol);
        let Some(wanted) = wanted.filter(|_| port.is_some()) else {
            return Vec::new();
        };
        let (_, namespace, name) = name_of(service);
        let slices = self.of_kind("EndpointSlice").filter(|slice| {
            let metadata = &slice["metadata"];
            text(&metadata["namespace"]) == namespace
                && text(&metadata["labels"]["kubernetes.io/service-name"]) == name
        });
        let mut backends = Vec::new();
        for slice in slices {
            for port in list(&slice["ports"]).iter().filter(|port| {
                text(&port["name"]) == text(&wanted["name"]) && protocol_of(port) == protocol
            }) {
                let ready = list(&slice["endpoints"])
                    .iter()
                    .filter(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false));
                let addresses = ready.flat_map(|endpoint| list(&endpoint["addresses"]));
                backends.extend(
                    addresses
                        .filter_map(address)
                        .filter(|ip| ip.is_ipv4() == to.is_ipv4())
                        .zip(std::iter::repeat(number(&port["port"]).unwrap_or_default())),
                );
            }
        }
        backends
    }
}

/// It shares its node's network (R31).
pub(crate) fn is_on_its_nodes_network(pod: &Value) -> bool {
    pod["spec"]["hostNetwork"] == Value::Bool(true)
}

/// TCP when nothing is written (R20).
pub(crate) fn protocol_of(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

pub(crate) fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

fn pod_addresses(pod: &Value) -> impl Iterator<Item = IpAddr> {
    list(&pod["status"]["podIPs"])
        .iter()
        .filter_map(|entry| address(&entry["ip"]))
}

fn pod_ranges(node: &Value) -> impl Iterator<Item = IpNet> {
    let ranges = list(&node["spec"]["podCIDRs"]).iter();
    ranges.filter_map(|range| text(range).parse().ok())
}

fn number_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

pub(crate) fn node_addresses(node: &Value) -> impl Iterator<Item = IpAddr> {
    list(&node["status"]["addresses"])
        .iter()
        .filter_map(|entry| address(&entry["address"]))
}

fn service_addresses(service: &Value) -> impl Iterator<Item = IpAddr> {
    list(&service["spec"]["clusterIPs"])
        .iter()
        .filter_map(address)
        .chain(external_addresses(service))
}

/// Those for clients outside the cluster.
pub(crate) fn external_addresses(service: &Value) -> impl Iterator<Item = IpAddr> {
    let balancer = list(&service["status"]["loadBalancer"]["ingress"]).iter();
    list(&service["spec"]["externalIPs"])
        .iter()
        .filter_map(address)
        .chain(balancer.filter_map(|entry| address(&entry["ip"])))
}

fn address(value: &Value) -> Option<IpAddr> {
    text(value)
        .parse::<IpAddr>()
        .ok()
        .map(|ip| ip.to_canonical())
}
