//! Spans of ports of which policy says the same.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Asker;
use crate::connection::{Party, PartyKind};
use crate::model::{Policy, PortSpec, Ports, Protocol};
use crate::record::Direction;

/// Protocols that policies can tell apart.
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortSpan {
    /// Protocol.
    pub protocol: Protocol,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortSpan {
    pub(super) fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }

    fn is_whole(&self) -> bool {
        (self.first, self.last) == (1, u16::MAX)
    }
}

/// Adds a span behind others of the same answer.
pub(super) fn add(spans: &mut Vec<PortSpan>, span: PortSpan) {
    match spans.last_mut() {
        Some(last)
            if last.protocol == span.protocol && last.last.checked_add(1) == Some(span.first) =>
        {
            last.last = span.last;
        }
        Some(_) | None => spans.push(span),
    }
}

/// `TCP 80, 443-445, any UDP`, or `any port`.
#[must_use]
pub fn in_words(spans: &[PortSpan]) -> String {
    let whole = |protocol| {
        spans
            .iter()
            .any(|span| span.protocol == protocol && span.is_whole())
    };
    if PROTOCOLS.into_iter().all(whole) {
        return "any port".to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut named = None;
    for span in spans {
        let PortSpan {
            protocol,
            first,
            last,
        } = *span;
        let numbers = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        words.push(if span.is_whole() {
            format!("any {protocol}")
        } else if named == Some(protocol) {
            numbers
        } else {
            format!("{protocol} {numbers}")
        });
        named = Some(protocol);
    }
    words.join(", ")
}

impl Asker<'_> {
    /// The spans of the destination's ports inside which nothing that is asked makes a difference.
    pub(super) fn spans(&self, other: &Party) -> Vec<PortSpan> {
        let (source, destination) = self.ends(other);
        if let PartyKind::Service(key) = &destination.identity {
            let ports = self.cluster.service(key).map(|service| &service.ports);
            let ports = ports.into_iter().flatten();
            return ports
                .map(|port| PortSpan {
                    protocol: port.protocol,
                    first: port.port,
                    last: port.port,
                })
                .collect();
        }
        // Where a span begins; named ports are among those that the destination declares.
        let mut starts = BTreeSet::from([1]);
        let mut cut = |first: u16, last: u16| {
            starts.insert(first.max(1));
            starts.extend(last.checked_add(1));
        };
        for port in self.declared(destination) {
            cut(port, port);
        }
        let sides = [
            (source, Direction::Egress),
            (destination, Direction::Ingress),
        ];
        for (first, last) in sides
            .into_iter()
            .flat_map(|(party, direction)| self.policies(party, direction))
            .flat_map(|(policy, direction)| ranges(policy, direction))
        {
            cut(first, last);
        }
        let ends = starts.iter().skip(1).map(|start| start - 1);
        let ends: Vec<u16> = ends.chain([u16::MAX]).collect();
        let spans = |protocol| {
            let pairs = starts.iter().copied().zip(ends.iter().copied());
            pairs.map(move |(first, last)| PortSpan {
                protocol,
                first,
                last,
            })
        };
        PROTOCOLS.into_iter().flat_map(spans).collect()
    }

    /// The policies that have a say for a party; for a Service those that its backends' interfaces ask.
    pub(super) fn policies<'p>(
        &'p self,
        party: &'p Party,
        direction: Direction,
    ) -> impl Iterator<Item = (&'p Policy, Direction)> {
        let keys = match &party.identity {
            PartyKind::Pod(key) => vec![key.clone()],
            PartyKind::Service(key) => self.cluster.backend_pods(key).collect(),
            PartyKind::Node(_) | PartyKind::World | PartyKind::Unknown => Vec::new(),
        };
        let policies = keys
            .into_iter()
            .flat_map(move |key| self.cluster.selecting(&key, direction).collect::<Vec<_>>());
        policies.map(move |policy| (policy, direction))
    }

    /// Ports that the destination declares; a node's are those of the pods on its network.
    fn declared(&self, destination: &Party) -> Vec<u16> {
        match &destination.identity {
            PartyKind::Pod(key) => {
                let pod = self.cluster.pod(key);
                let ports = pod.into_iter().flat_map(|pod| pod.ports.iter());
                ports.map(|port| port.port).collect()
            }
            PartyKind::Node(name) => {
                let pods = self.cluster.host_pods(name);
                let ports = pods.flat_map(|state| state.pod.ports.iter());
                ports.map(|port| port.port).collect()
            }
            PartyKind::World | PartyKind::Service(_) | PartyKind::Unknown => Vec::new(),
        }
    }
}

fn ranges(policy: &Policy, direction: Direction) -> impl Iterator<Item = (u16, u16)> {
    let rules = policy.rules(direction).iter();
    let ports = rules.flat_map(|rule| match &rule.ports {
        Ports::Any => &[][..],
        Ports::Of(ports) => ports.as_slice(),
    });
    ports.filter_map(|port| match &port.port {
        PortSpec::Range { first, last } => Some((*first, *last)),
        PortSpec::Any | PortSpec::Named(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        let span = |protocol, first, last| PortSpan {
            protocol,
            first,
            last,
        };
        let whole = |protocol| span(protocol, 1, u16::MAX);
        let table = [
            (vec![span(Protocol::Tcp, 80, 80)], "TCP 80"),
            (
                vec![
                    span(Protocol::Tcp, 80, 80),
                    span(Protocol::Tcp, 443, 445),
                    span(Protocol::Udp, 53, 53),
                ],
                "TCP 80, 443-445, UDP 53",
            ),
            (
                vec![whole(Protocol::Tcp), span(Protocol::Udp, 53, 53)],
                "any TCP, UDP 53",
            ),
            (PROTOCOLS.map(whole).to_vec(), "any port"),
        ];
        for (spans, expected) in table {
            assert_eq!(in_words(&spans), expected);
        }
    }
}
