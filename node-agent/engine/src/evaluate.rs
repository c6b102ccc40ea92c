//! What policy says of a connection: a pure function of the cluster as it is.
//!
//! A connection is a new one between its real ends: after translation to a Service's backend, oriented, never
//! a reply (R27, R35, R38). Where the specification leaves something open the answer is `unknown`, unless the
//! [`Profile`] knows what the dataplane does.

mod backends;
mod decide;
mod side;
mod tiers;
mod translated;

pub(crate) use backends::whichever_backend;

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::{Cluster, Endpoint};
use crate::connection::{Connection, Party, PartyKind, Profile};
use crate::model::Protocol;
use crate::record::Direction;
use crate::verdict::{Brief, Side, Verdict};
use crate::walk::{End, Question, Who};

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
        let sides = Sides {
            cluster: self,
            source: &source,
            destination: &destination,
            protocol: connection.protocol,
            port: connection.port,
            via_service: connection.via_service,
            profile,
        };
        answer(
            sides.question(Direction::Egress),
            sides.question(Direction::Ingress),
        )
    }

    fn end(&self, party: &Party, ip: Option<IpAddr>) -> End<'_> {
        let who = match &party.identity {
            PartyKind::Pod(key) => match self.remembered(key) {
                Some(Endpoint { state, .. }) if state.pod.host_network => Who::Node {
                    name: Arc::clone(&state.pod.node),
                    pod: Some(state),
                },
                Some(Endpoint { state, class }) => Who::Pod { state, class },
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

/// A connection, not yet seen from one side.
struct Sides<'a> {
    cluster: &'a Cluster,
    source: &'a End<'a>,
    destination: &'a End<'a>,
    protocol: Protocol,
    port: Option<u16>,
    via_service: bool,
    profile: Profile,
}

impl<'a> Sides<'a> {
    fn question(&self, direction: Direction) -> Question<'a> {
        let Self {
            cluster,
            source,
            destination,
            protocol,
            port,
            via_service,
            profile,
        } = *self;
        Question {
            cluster,
            direction,
            source,
            destination,
            protocol,
            port,
            via_service,
            profile,
        }
    }
}

fn combined(egress: Side, ingress: Side) -> Verdict {
    let brief = Brief::of(
        (egress.verdict, egress.unknown_because()),
        (ingress.verdict, ingress.unknown_because()),
    );
    Verdict {
        verdict: brief.verdict,
        egress,
        ingress,
        unknown_because: brief.unknown_because,
    }
}
