//! Addresses outside the cluster, by the blocks of which policies say different things.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Asker;
use crate::identity::Identity;
use crate::input::Moment;
use crate::model::{DomainName, Peer, Peers, Policy};
use crate::names::Names;
use crate::record::Direction;

/// Addresses that stand for all which no policy names.
const SOMEWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 80)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0, 0, 0, 0, 0, 0, 0x80)),
];

/// A block of the world's addresses of which policies say something of its own.
pub(super) struct Block {
    pub(super) block: IpNet,
    /// The largest of the blocks inside it.
    pub(super) except: Vec<IpNet>,
    /// An address in it and in none of those.
    pub(super) ip: IpAddr,
}

impl Asker<'_> {
    /// Every block that the subject's policies name, the whole of both families included. One that has no
    /// address of the world outside of those inside it is left out.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks = self.families();
        for (policy, direction) in self.policies(self.subject, self.direction) {
            blocks.extend(self.named(policy, direction));
        }
        let with_address = |block: &IpNet| {
            let inside = blocks.iter().copied();
            let inside = inside.filter(|other| other != block && block.contains(other));
            let except = largest(inside);
            Some(Block {
                block: *block,
                ip: self.address_in(block, &except)?,
                except,
            })
        };
        blocks.iter().filter_map(with_address).collect()
    }

    fn families(&self) -> BTreeSet<IpNet> {
        let everything = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
            .into_iter()
            .filter_map(|ip| IpNet::new(ip, 0).ok());
        let ips = self.addresses(self.subject);
        let used = |block: &IpNet| {
            ips.is_empty() && block.addr().is_ipv4()
                || ips.iter().any(|ip| ip.is_ipv4() == block.addr().is_ipv4())
        };
        everything.filter(used).collect()
    }

    /// What a policy's rules name by address.
    fn named(&self, policy: &Policy, direction: Direction) -> Vec<IpNet> {
        let mut blocks = Vec::new();
        for rule in policy.rules(direction) {
            let Peers::Of(peers) = &rule.peers else {
                continue;
            };
            for peer in peers {
                match peer {
                    Peer::Pods { .. } | Peer::OwnNetworkPods { .. } | Peer::Nodes(_) => {}
                    Peer::Block { cidr, except } => {
                        blocks.push(cidr.trunc());
                        blocks.extend(except.iter().map(IpNet::trunc));
                    }
                    Peer::Networks(networks) => blocks.extend(networks),
                    Peer::Domains(domains) => blocks.extend(self.addresses_of(domains)),
                }
            }
        }
        blocks
    }

    /// What DNS gave for names, each address a block.
    fn addresses_of(&self, domains: &[DomainName]) -> impl Iterator<Item = IpNet> {
        let names = self.cluster.names().into_iter().flat_map(Names::iter);
        names
            .filter(|(name, _)| domains.iter().any(|domain| domain.matches(name)))
            .flat_map(|(_, ips)| ips.iter().copied().map(IpNet::from))
    }

    fn address_in(&self, block: &IpNet, inside: &[IpNet]) -> Option<IpAddr> {
        // If any address is left, one at the edge of a block inside is, or one at the edge of this.
        let edges = inside
            .iter()
            .flat_map(|hole| [before(hole.network()), after(hole.broadcast())]);
        let own = [
            Some(block.network()),
            after(block.network()),
            Some(block.broadcast()),
        ];
        let candidates = SOMEWHERE.into_iter().map(Some).chain(own).chain(edges);
        candidates.flatten().find(|ip| {
            block.contains(ip)
                && !inside.iter().any(|hole| hole.contains(ip))
                && is_unicast(ip)
                && self.cluster.lookup(*ip, Moment(u64::MAX)) == Identity::World
        })
    }
}

/// Those that lie in no other of them.
fn largest(blocks: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut largest: Vec<IpNet> = Vec::new();
    // A block comes before those inside it.
    for block in blocks {
        if !largest.iter().any(|known| known.contains(&block)) {
            largest.push(block);
        }
    }
    largest
}

fn is_unicast(ip: &IpAddr) -> bool {
    let is_broadcast = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified() && !is_broadcast
}

fn after(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(ip) => ip
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv6Addr::from(bits).into()),
    }
}

fn before(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip
            .to_bits()
            .checked_sub(1)
            .map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(ip) => ip
            .to_bits()
            .checked_sub(1)
            .map(|bits| Ipv6Addr::from(bits).into()),
    }
}
