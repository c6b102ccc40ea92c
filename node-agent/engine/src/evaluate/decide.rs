//! The verdict without its reasons, by addresses as they are owned now: the same walk, of which nothing is
//! written down. What was decided before is not walked again while nothing that it rests on has changed.

use std::net::IpAddr;

use super::Sides;
use crate::cluster::{Cluster, Endpoint, Key, Side};
use crate::connection::{Between, Connection, Party, PartyKind, Profile};
use crate::input::Moment;
use crate::isolation::Isolation;
use crate::record::Direction;
use crate::verdict::Brief;
use crate::walk::{End, Who};

/// As of now: every claim that has not ended.
const NOW: Moment = Moment(u64::MAX);

impl Cluster {
    /// Judges a connection between two addresses, without reasons.
    pub fn decide(&mut self, between: &Between, profile: Profile) -> Brief {
        let between = between.canonical();
        let Some(key) = self.key(&between, profile) else {
            return self.decide_anew(&between, profile);
        };
        if let Some(brief) = self.decided_before(&key) {
            return brief;
        }
        let brief = self.decide_anew(&between, profile);
        self.remember_decided(key, brief);
        brief
    }

    /// Judges a connection between two addresses, without reasons and without looking at what was decided
    /// before.
    #[must_use]
    pub fn decide_anew(&self, between: &Between, profile: Profile) -> Brief {
        let between = between.canonical();
        let destination = self.party_now(between.destination);
        if let Some(PartyKind::Service(_)) = destination {
            let connection = Connection {
                source: self.party_at(between.source, NOW),
                destination: self.party_at(between.destination, NOW),
                protocol: between.protocol,
                port: between.port,
                via_service: false,
            };
            return Brief::from(&self.evaluate(&connection, profile));
        }
        let source = self.end_now(between.source, self.party_now(between.source));
        let destination = self.end_now(between.destination, destination);
        let sides = Sides {
            cluster: self,
            source: &source,
            destination: &destination,
            protocol: between.protocol,
            port: between.port,
            via_service: false,
            profile,
        };
        let egress = sides.question(Direction::Egress).decision();
        Brief::of(egress, sides.question(Direction::Ingress).decision())
    }

    /// Who has an address that is no pod's own.
    fn party_now(&self, ip: IpAddr) -> Option<PartyKind> {
        match self.owner(ip) {
            Some(_) => None,
            None => Some(self.party_at(ip, NOW).identity),
        }
    }

    fn end_now(&self, ip: IpAddr, identity: Option<PartyKind>) -> End<'_> {
        match (self.owner(ip), identity) {
            (Some(Endpoint { state, class }), _) => End {
                ip: Some(ip),
                who: Who::Pod { state, class },
            },
            (None, Some(identity)) => {
                let party = Party {
                    ip: Some(ip),
                    identity,
                };
                self.end(&party, party.ip)
            }
            (None, None) => End {
                ip: Some(ip),
                who: Who::Unknown,
            },
        }
    }

    /// What the verdict rests on; absent when that is more than can be said in a few words: nodes, Services,
    /// names, a pod that talks to itself.
    fn key(&self, between: &Between, profile: Profile) -> Option<Key> {
        let (source, from) = self.side(between.source)?;
        let (destination, to) = self.side(between.destination)?;
        if let (Some(from), Some(to)) = (from, to)
            && std::ptr::eq(from.state, to.state)
        {
            return None;
        }
        let (from, to) = (
            from.map(|pod| &pod.class.isolation),
            to.map(|pod| &pod.class.isolation),
        );
        if from.is_some_and(|isolation| isolation.asks_names(Direction::Egress))
            || to.is_some_and(|isolation| isolation.asks_names(Direction::Ingress))
        {
            return None;
        }
        let block = |isolation: Option<&Isolation>, direction, ip| {
            isolation
                .filter(|isolation| isolation.asks_addresses(direction))
                .map(|_| self.block_class(ip))
        };
        Some(Key {
            source: Side {
                block: block(to, Direction::Ingress, between.source),
                ..source
            },
            destination: Side {
                block: block(from, Direction::Egress, between.destination),
                ..destination
            },
            protocol: between.protocol,
            port: between.port,
            profile,
        })
    }

    fn side(&self, ip: IpAddr) -> Option<(Side, Option<Endpoint<'_>>)> {
        if let Some(pod) = self.owner(ip) {
            return Some((self.side_of(pod), Some(pod)));
        }
        let group = match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        let plain = !ip.is_loopback() && !group;
        (plain && self.party_at(ip, NOW).identity == PartyKind::World)
            .then_some((Side::WORLD, None))
    }
}
