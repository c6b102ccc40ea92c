//! The verdict without its reasons, by addresses as they are owned now: the same walk, of which nothing is
//! written down. What was decided before is not walked again while nothing that it rests on has changed.

use std::net::IpAddr;

use super::Sides;
use crate::cluster::{BlockClass, Cluster, Endpoint, How, Key, Owner, Side};
use crate::connection::{Between, Connection, Party, PartyKind, Profile};
use crate::identity::Identity;
use crate::input::Moment;
use crate::isolation::Asks;
use crate::record::Direction;
use crate::verdict::Brief;
use crate::walk::{End, Who};

/// As of now: every claim that has not ended.
const NOW: Moment = Moment(u64::MAX);

/// Who has an address.
enum Now<'a> {
    Pod(Endpoint<'a>),
    Other(PartyKind),
}

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
        let destination = self.now(between.destination);
        if let Now::Other(PartyKind::Service(_)) = destination {
            let connection = Connection {
                source: self.party_at(between.source, NOW),
                destination: self.party_at(between.destination, NOW),
                protocol: between.protocol,
                port: between.port,
                via_service: false,
            };
            return Brief::from(&self.evaluate(&connection, profile));
        }
        let source = self.end_now(between.source, self.now(between.source));
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

    fn now(&self, ip: IpAddr) -> Now<'_> {
        match self.owner(ip).and_then(|owner| self.owning(owner)) {
            Some(pod) => Now::Pod(pod),
            None => Now::Other(self.party_at(ip, NOW).identity),
        }
    }

    fn end_now<'a>(&'a self, ip: IpAddr, now: Now<'a>) -> End<'a> {
        match now {
            Now::Pod(Endpoint { state, class }) => End {
                ip: Some(ip),
                who: Who::Pod { state, class },
            },
            Now::Other(identity) => {
                let party = Party {
                    ip: Some(ip),
                    identity,
                };
                self.end(&party, party.ip)
            }
        }
    }

    /// What the verdict rests on; absent when that is more than can be said in a few words: nodes, Services,
    /// names, a pod that talks to itself.
    fn key(&self, between: &Between, profile: Profile) -> Option<Key> {
        let (from, to) = (self.owner(between.source), self.owner(between.destination));
        if let (Some(from), Some(to)) = (from, to)
            && from.is_same_pod(to)
        {
            return None;
        }
        let source = self.side(between.source, from)?;
        let destination = self.side(between.destination, to)?;
        let egress = from.map_or_else(Asks::default, |pod| self.asks(pod, Direction::Egress));
        let ingress = to.map_or_else(Asks::default, |pod| self.asks(pod, Direction::Ingress));
        if egress.names || ingress.names {
            return None;
        }
        let block = |asks: Asks, ip| match asks.addresses {
            true => self.block_class(ip),
            false => BlockClass::default(),
        };
        Some(Key {
            source: Side {
                block: block(ingress, between.source),
                ..source
            },
            destination: Side {
                block: block(egress, between.destination),
                ..destination
            },
            how: How::new(between.protocol, between.port, profile),
        })
    }

    fn side(&self, ip: IpAddr, owner: Option<&Owner>) -> Option<Side> {
        if let Some(pod) = owner {
            return Some(self.side_of(pod));
        }
        let group = match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        let plain = !ip.is_loopback() && !group;
        (plain && self.lookup(ip, NOW) == Identity::World).then_some(Side::WORLD)
    }
}
