//! Address classes: addresses that lie in the same blocks of all policies.
//!
//! Blocks contain each other or have nothing in common, so the smallest one around an address says which
//! others are around it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::IpNet;

use crate::model::{Peer, Peers, Policy};

/// Which blocks an address lies in. Never used again for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct BlockClass(u32);

#[derive(Clone, Debug)]
struct Block {
    class: BlockClass,
    policies: usize,
}

/// Every block that a policy names, exceptions too, by the length of its prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    by_length: BTreeMap<u8, HashMap<IpNet, Block, FixedState>>,
    last: u32,
}

impl Blocks {
    pub(crate) fn add(&mut self, policy: &Policy) {
        for net in blocks_of(policy) {
            let blocks = self.by_length.entry(net.prefix_len()).or_default();
            let last = &mut self.last;
            let block = blocks.entry(net.trunc()).or_insert_with(|| {
                *last += 1;
                Block {
                    class: BlockClass(*last),
                    policies: 0,
                }
            });
            block.policies += 1;
        }
    }

    pub(crate) fn remove(&mut self, policy: &Policy) {
        for net in blocks_of(policy) {
            let Some(blocks) = self.by_length.get_mut(&net.prefix_len()) else {
                continue;
            };
            if let Some(block) = blocks.get_mut(&net.trunc()) {
                block.policies -= 1;
                if block.policies == 0 {
                    blocks.remove(&net.trunc());
                }
            }
            if blocks.is_empty() {
                self.by_length.remove(&net.prefix_len());
            }
        }
    }

    pub(crate) fn class_of(&self, ip: IpAddr) -> BlockClass {
        let around = self.by_length.iter().rev().find_map(|(length, blocks)| {
            let net = IpNet::new(ip, *length).ok()?.trunc();
            blocks.get(&net).map(|block| block.class)
        });
        around.unwrap_or_default()
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
