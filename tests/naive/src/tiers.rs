//! What policies of the whole cluster say (R44 to R57), those of before ClusterNetworkPolicy included.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_json::Value;

use crate::answer::{Connection, Direction, TierEnd};
use crate::matching::{Match, container_ports, selects};
use crate::owner::{Owner, node_addresses, number, protocol_of};
use crate::{Objects, list, namespace_of, text};

/// R50 to R52: those are no pods.
const EGRESS_PEERS: [&str; 5] = ["namespaces", "pods", "nodes", "networks", "domainNames"];
const INGRESS_PEERS: [&str; 2] = ["namespaces", "pods"];
/// R54, R55.
const PORTS: [&str; 7] = [
    "tcp",
    "udp",
    "sctp",
    "destinationNamedPort",
    "portNumber",
    "portRange",
    "namedPort",
];

impl Objects {
    /// R46: the first rule that matches decides. One that may match leaves both ways open.
    pub(crate) fn tier(
        &self,
        tier: &str,
        pod: &Value,
        connection: &Connection<'_>,
    ) -> BTreeSet<TierEnd> {
        let rules = match connection.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let mut policies: Vec<&Value> = self
            .iter()
            .filter(|policy| tier_of(policy) == tier && self.is_subject(policy, pod))
            .collect();
        policies.sort_by_key(|policy| place(policy));
        let mut ends = BTreeSet::new();
        for rule in policies
            .iter()
            .flat_map(|policy| list(&policy["spec"][rules]))
        {
            let (end, fits) = self.tiered_rule(rule, connection);
            if fits != Match::No {
                ends.insert(end);
            }
            if fits == Match::Yes {
                return ends;
            }
        }
        ends.insert(TierEnd::Undecided);
        ends
    }

    /// R47.
    fn is_subject(&self, policy: &Value, pod: &Value) -> bool {
        self.is_among(&policy["spec"]["subject"], pod)
    }

    /// R47 to R49: pods of namespaces, or pods in namespaces.
    fn is_among(&self, of: &Value, pod: &Value) -> bool {
        let namespace = self.namespace_labels(namespace_of(pod));
        match of.get("pods") {
            None => selects(&of["namespaces"], &namespace),
            Some(pods) => {
                selects(&pods["namespaceSelector"], &namespace)
                    && selects(&pods["podSelector"], &pod["metadata"]["labels"])
            }
        }
    }

    /// R46, R56: one of the peers and one of the ports. R53: what nobody understands fails closed.
    fn tiered_rule(&self, rule: &Value, connection: &Connection<'_>) -> (TierEnd, Match) {
        let end = match text(&rule["action"]) {
            "Accept" | "Allow" => TierEnd::Allowed,
            "Deny" => TierEnd::Denied,
            _ => TierEnd::Undecided,
        };
        let (peers, known): (_, &[&str]) = match connection.direction {
            Direction::Ingress => (list(&rule["from"]), &INGRESS_PEERS),
            Direction::Egress => (list(&rule["to"]), &EGRESS_PEERS),
        };
        let ports = [list(&rule["protocols"]), list(&rule["ports"])].concat();
        let has_one =
            |item: &Value, known: &[&str]| known.iter().any(|name| item.get(name).is_some());
        let is_understood = peers.iter().all(|peer| has_one(peer, known))
            && ports.iter().all(|port| has_one(port, &PORTS));
        match (is_understood, end) {
            (true, _) => {}
            (false, TierEnd::Allowed) => return (end, Match::No),
            (false, TierEnd::Denied | TierEnd::Undecided) => return (TierEnd::Denied, Match::Yes),
        }
        let peer = peers
            .iter()
            .map(|peer| self.tiered_peer(peer, connection))
            .max()
            .unwrap_or(Match::No);
        let port = ports
            .iter()
            .map(|port| tiered_port(port, connection))
            .max()
            // R54: none is any.
            .unwrap_or(Match::Yes);
        (end, peer.min(port))
    }

    fn tiered_peer(&self, peer: &Value, connection: &Connection<'_>) -> Match {
        let ip = connection.peer_ip;
        if let Some(networks) = peer.get("networks") {
            // R51: whoever has the address.
            let Some(ip) = ip else {
                return Match::Open;
            };
            let mut networks = list(networks)
                .iter()
                .filter_map(|net| text(net).parse().ok());
            return Match::when(networks.any(|net: IpNet| net.contains(&ip)));
        }
        if let Some(domains) = peer.get("domainNames") {
            // R52: whatever DNS gave; as long as nobody says that, it may be anything.
            let (Some(names), Some(ip)) = (&self.names, ip) else {
                return Match::Open;
            };
            let mut given = names.iter().filter(|(_, ips)| ips.contains(&ip));
            let is_one = |name: &str| {
                list(domains)
                    .iter()
                    .any(|domain| covers(text(domain), name))
            };
            return Match::when(given.any(|(name, _)| is_one(name)));
        }
        match (connection.peer, peer.get("nodes")) {
            (Owner::Service(_) | Owner::Unknown, _) => Match::Open,
            (Owner::Pod(pod), None) => Match::when(self.is_among(peer, pod)),
            (Owner::Node(_) | Owner::World, None) | (Owner::Pod(_) | Owner::World, Some(_)) => {
                Match::No
            }
            // R50: by the addresses in its status.
            (Owner::Node(name), Some(selector)) => match self.node(name) {
                Some(node) => Match::when(
                    ip.is_none_or(|ip| node_addresses(node).any(|own| own == ip))
                        && selects(selector, &node["metadata"]["labels"]),
                ),
                None => Match::Open,
            },
        }
    }
}

fn tier_of(policy: &Value) -> &str {
    match text(&policy["kind"]) {
        "ClusterNetworkPolicy" => text(&policy["spec"]["tier"]),
        "AdminNetworkPolicy" => "Admin",
        "BaselineAdminNetworkPolicy" => "Baseline",
        _ => "",
    }
}

/// R45: by priority; equal ones by name, the old baseline, which has none, last.
fn place(policy: &Value) -> (u64, &str, &str) {
    let priority = policy["spec"]["priority"].as_u64();
    (
        priority.unwrap_or(u64::MAX),
        text(&policy["metadata"]["name"]),
        text(&policy["kind"]),
    )
}

/// R54, R55.
fn tiered_port(port: &Value, connection: &Connection<'_>) -> Match {
    for (field, protocol) in [("tcp", "TCP"), ("udp", "UDP"), ("sctp", "SCTP")] {
        if let Some(of) = port.get(field) {
            let wanted = &of["destinationPort"];
            let first = number(&wanted["number"]).or(number(&wanted["range"]["start"]));
            let last = number(&wanted["number"]).or(number(&wanted["range"]["end"]));
            return is_between(protocol, first, last, connection);
        }
    }
    if let Some(of) = port.get("portNumber") {
        let number = number(&of["port"]);
        return is_between(protocol_of(of), number, number, connection);
    }
    if let Some(of) = port.get("portRange") {
        let (first, last) = (number(&of["start"]), number(&of["end"]));
        return is_between(protocol_of(of), first, last, connection);
    }
    let name = [&port["destinationNamedPort"], &port["namedPort"]]
        .map(text)
        .concat();
    match (connection.destination, connection.port) {
        (_, None) if !connection.protocol.starts_with("ICMP") => Match::Open,
        (_, None) | (Owner::World | Owner::Node(_), _) => Match::No,
        (Owner::Pod(pod), Some(_)) => Match::when(container_ports(pod).any(|own| {
            text(&own["name"]) == name
                && protocol_of(own) == connection.protocol
                && number(&own["containerPort"]) == connection.port
        })),
        (Owner::Service(_) | Owner::Unknown, Some(_)) => Match::Open,
    }
}

fn is_between(
    protocol: &str,
    first: Option<u16>,
    last: Option<u16>,
    connection: &Connection<'_>,
) -> Match {
    let port = connection.port;
    if port.is_none() && protocol == connection.protocol {
        return Match::Open;
    }
    Match::when(protocol == connection.protocol && first <= port && port <= last)
}

/// R52: that name, or with `*.` one or more labels before it. Case and a dot at the end do not count.
fn covers(domain: &str, name: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    match domain.strip_prefix('*') {
        Some(rest) => {
            let (rest, name) = (plain(rest), plain(name));
            name.ends_with(&rest) && name.len() > rest.len()
        }
        None => plain(domain) == plain(name),
    }
}
