//! What policy says of a connection: a pure function of the cluster as it is.
//!
//! A connection is a new one between its real ends: after translation to a Service's backend, oriented, never
//! a reply (R27, R35, R38). Where the specification leaves something open the answer is `unknown`, unless the
//! [`Profile`] knows what the dataplane does.

mod backends;
mod side;
mod tiers;

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::{Cluster, Endpoint};
use crate::connection::{Connection, Party, PartyKind, Profile};
use crate::record::Direction;
use crate::verdict::{Decision, UnknownBecause, Verdict};
use crate::walk::{End, Question, Who};
use side::SideAnswer;

impl Cluster {
    /// Judges a connection.
    #[must_use]
    pub fn evaluate(&self, connection: &Connection, profile: Profile) -> Verdict {
        if let PartyKind::Service(key) = &connection.destination.identity {
            return self.evaluate_backends(connection, key, profile);
        }
        self.ask(connection, profile, |egress, ingress| {
            combined(egress.answer(), ingress.answer())
        })
    }

    /// Puts a connection as its two questions, egress and ingress.
    pub(crate) fn ask<T>(
        &self,
        connection: &Connection,
        profile: Profile,
        answer: impl FnOnce(Question<'_>, Question<'_>) -> T,
    ) -> T {
        let (source_ip, destination_ip) = self.addresses_of(connection);
        let source = self.end(&connection.source, source_ip);
        let destination = self.end(&connection.destination, destination_ip);
        let question = |direction| Question {
            cluster: self,
            direction,
            source: &source,
            destination: &destination,
            protocol: connection.protocol,
            port: connection.port,
            via_service: connection.via_service,
            profile,
        };
        answer(question(Direction::Egress), question(Direction::Ingress))
    }

    fn end(&self, party: &Party, ip: Option<IpAddr>) -> End<'_> {
        let who = match &party.identity {
            PartyKind::Pod(key) => match self.remembered(key) {
                Some(Endpoint { state, .. }) if state.pod.host_network => Who::Node {
                    name: Arc::clone(&state.pod.node),
                    pod: Some(state),
                },
                Some(Endpoint { state, class }) => Who::Pod {
                    state,
                    class,
                    namespace: self.namespace(&key.namespace),
                },
                None => Who::Unknown,
            },
            PartyKind::Node(name) => Who::Node {
                name: Arc::clone(name),
                pod: None,
            },
            PartyKind::World => Who::World,
            PartyKind::Service(_) | PartyKind::Unknown => Who::Unknown,
        };
        End { ip, who }
    }

    /// The addresses of both ends. A pod of which none is named uses one of the other end's family (R36).
    fn addresses_of(&self, connection: &Connection) -> (Option<IpAddr>, Option<IpAddr>) {
        let (source, destination) = (&connection.source, &connection.destination);
        let (from, to) = (self.candidates(source), self.candidates(destination));
        let pair = from.iter().find_map(|ip| {
            to.iter()
                .find(|other| other.is_ipv4() == ip.is_ipv4())
                .map(|other| (*ip, *other))
        });
        match pair {
            Some((from, to)) => (Some(from), Some(to)),
            None => (from.first().copied(), to.first().copied()),
        }
    }

    fn candidates(&self, party: &Party) -> Vec<IpAddr> {
        match (&party.ip, &party.identity) {
            (Some(ip), _) => vec![ip.to_canonical()],
            (None, PartyKind::Pod(key)) => self
                .remembered(key)
                .map(|pod| pod.state.pod.ips.clone())
                .unwrap_or_default(),
            (None, PartyKind::Node(name)) => self
                .node(name)
                .map(|node| node.ips.clone())
                .unwrap_or_default(),
            (None, PartyKind::World | PartyKind::Service(_) | PartyKind::Unknown) => Vec::new(),
        }
    }
}

/// Denied when a side denies, else unknown when a side is unknown, else allowed.
fn combined(egress: SideAnswer, ingress: SideAnswer) -> Verdict {
    let sides = [egress.side.verdict, ingress.side.verdict];
    let verdict = if sides.contains(&Decision::Denied) {
        Decision::Denied
    } else if sides.contains(&Decision::Unknown) {
        Decision::Unknown
    } else {
        Decision::Allowed
    };
    let because = egress.unknown_because.or(ingress.unknown_because);
    Verdict {
        verdict,
        egress: egress.side,
        ingress: ingress.side,
        unknown_because: match verdict {
            Decision::Unknown => because.or(Some(UnknownBecause::Identity)),
            Decision::Allowed | Decision::Denied => None,
        },
    }
}
