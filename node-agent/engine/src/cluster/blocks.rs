//! Address classes: addresses that lie in the same blocks of all policies.
//!
//! Blocks contain each other or have nothing in common, so the smallest one around an address says which
//! others are around it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Peer, Peers, Policy};
use crate::prefixes::Prefixes;

/// Which blocks an address lies in. Never used again for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct BlockClass(u32);

impl BlockClass {
    /// In none.
    pub(crate) const NONE: Self = Self(0);

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// Every block that a policy names, exceptions too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    classes: Prefixes<BlockClass>,
    last: u32,
}

impl Blocks {
    pub(crate) fn add(&mut self, policy: &Policy) {
        for net in blocks_of(policy) {
            let last = &mut self.last;
            self.classes.add(net, || {
                *last += 1;
                BlockClass(*last)
            });
        }
    }

    pub(crate) fn remove(&mut self, policy: &Policy) {
        for net in blocks_of(policy) {
            self.classes.remove(net);
        }
    }

    pub(crate) fn class_of(&self, ip: IpAddr) -> BlockClass {
        self.classes.around(ip).unwrap_or_default()
    }
}

fn blocks_of(policy: &Policy) -> impl Iterator<Item = IpNet> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Of(peers) => peers.as_slice(),
        Peers::Any => &[],
    });
    peers.flat_map(|peer| {
        let nets: Vec<IpNet> = match peer {
            Peer::Block { cidr, except } => std::iter::once(cidr).chain(except).copied().collect(),
            Peer::Networks(networks) => networks.clone(),
            Peer::Pods { .. } | Peer::OwnNetworkPods { .. } | Peer::Nodes(_) | Peer::Domains(_) => {
                Vec::new()
            }
        };
        nets
    })
}
