//! Whether selectors, peers and ports match.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::answer::Connection;
use crate::owner::{Owner, number, protocol_of};
use crate::{Dataplane, Objects, list, namespace_of, text};

/// Whether something matches, as far as the rules and what is known say. All of several is the least of
/// them, one of several the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Match {
    No,
    Open,
    Yes,
}

impl Match {
    pub(crate) fn when(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn open_when(holds: bool) -> Self {
        if holds { Self::Open } else { Self::No }
    }
}

/// R5 to R8: every label and every expression must hold; an empty selector matches everything.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let equal = wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let expressions = list(&selector["matchExpressions"]);
    equal
        && expressions.iter().all(|expression| {
            let found = labels.get(text(&expression["key"]));
            let among = found.is_some_and(|found| list(&expression["values"]).contains(found));
            match text(&expression["operator"]) {
                "In" => among,
                "NotIn" => !among,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

impl Objects {
    /// R9, R10, R16, R19: one of the peers and one of the ports; no list, or an empty one, is all.
    pub(crate) fn rule_matches(
        &self,
        policy: &Value,
        rule: &Value,
        peers: &str,
        connection: &Connection<'_>,
    ) -> Match {
        let any = |items: &[Value], one: &dyn Fn(&Value) -> Match| match items {
            [] => Match::Yes,
            items => items.iter().map(one).max().unwrap_or(Match::No),
        };
        let peer = any(list(&rule[peers]), &|peer| {
            self.peer_matches(policy, peer, connection)
        });
        let port = any(list(&rule["ports"]), &|port| {
            self.port_matches(port, connection)
        });
        peer.min(port)
    }

    fn peer_matches(&self, policy: &Value, peer: &Value, connection: &Connection<'_>) -> Match {
        if peer["ipBlock"].is_object() {
            return block_matches(&peer["ipBlock"], connection);
        }
        match connection.peer {
            Owner::Pod(pod) => Match::when(self.peer_selects(policy, peer, pod)),
            // R31: whether selectors see pods on their node's network is open; named dataplanes see the node.
            Owner::Node(node) => Match::open_when(
                connection.dataplane == Dataplane::Generic
                    && self
                        .pods_on_the_network_of(node)
                        .any(|pod| self.peer_selects(policy, peer, pod)),
            ),
            // R17: selectors select pods only.
            Owner::World => Match::No,
            Owner::Service(_) | Owner::Unknown => Match::Open,
        }
    }

    /// R13 to R15. A null selector is an absent one.
    fn peer_selects(&self, policy: &Value, peer: &Value, pod: &Value) -> bool {
        let namespace = match &peer["namespaceSelector"] {
            Value::Null => namespace_of(pod) == namespace_of(policy),
            selector => selects(selector, &self.namespace_labels(namespace_of(pod))),
        };
        let pods = &peer["podSelector"];
        namespace && (pods.is_null() || selects(pods, &pod["metadata"]["labels"]))
    }

    /// R20 to R25.
    fn port_matches(&self, wanted: &Value, connection: &Connection<'_>) -> Match {
        let protocol = protocol_of(wanted);
        if protocol != connection.protocol {
            return Match::No;
        }
        // R21: every port, the one that nobody knows too.
        if wanted["port"].is_null() {
            return Match::Yes;
        }
        let Some(port) = connection.port else {
            return Match::Open;
        };
        let has = |pod: &Value, name: &str| {
            container_ports(pod).any(|own| {
                text(&own["name"]) == name
                    && protocol_of(own) == protocol
                    && number(&own["containerPort"]) == Some(port)
            })
        };
        match &wanted["port"] {
            Value::String(name) => match connection.destination {
                Owner::Pod(pod) => Match::when(has(pod, name)),
                Owner::Node(node) => Match::open_when(
                    connection.dataplane == Dataplane::Generic
                        && self.pods_on_the_network_of(node).any(|pod| has(pod, name)),
                ),
                Owner::World => Match::No,
                Owner::Service(_) | Owner::Unknown => Match::Open,
            },
            first => {
                let last = number(&wanted["endPort"]).or(number(first));
                Match::when(number(first) <= Some(port) && Some(port) <= last)
            }
        }
    }
}

/// R11, R12, R18: by the address alone; but Cilium asks who it is first.
fn block_matches(block: &Value, connection: &Connection<'_>) -> Match {
    let inside = match connection.peer_ip {
        Some(ip) => Match::when(
            is_in(&block["cidr"], ip) && !list(&block["except"]).iter().any(|hole| is_in(hole, ip)),
        ),
        None => Match::Open,
    };
    match (connection.dataplane, connection.peer) {
        (Dataplane::Cilium, Owner::Pod(_) | Owner::Node(_)) => Match::No,
        (Dataplane::Cilium, Owner::Service(_) | Owner::Unknown) => Match::Open,
        _ => inside,
    }
}

fn is_in(block: &Value, ip: IpAddr) -> bool {
    text(block)
        .parse::<IpNet>()
        .is_ok_and(|block| block.contains(&ip))
}

/// R26: those of containers and of native sidecars.
pub(crate) fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = list(&pod["spec"]["initContainers"])
        .iter()
        .filter(|container| container["restartPolicy"] == "Always");
    list(&pod["spec"]["containers"])
        .iter()
        .chain(sidecars)
        .flat_map(|container| list(&container["ports"]))
}
