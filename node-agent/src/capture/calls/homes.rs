//! Which address a process would have had: a socket that is bound to none gets one with its first packet, and of a
//! call that was denied there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use node_agent_common::{ConversationKey, Event, FAMILY_V4, FAMILY_V6, Tuple, kind, mapped};

/// Addresses by network namespace (inode) and family.
#[derive(Default)]
pub(in crate::capture) struct Homes(BTreeMap<(u32, u8), [u8; 16]>);

impl Homes {
    /// Notes the pods' addresses, by the interface that leads there, and the node's own.
    pub(in crate::capture) fn of(
        namespaces: &BTreeMap<u32, u32>,
        pods: &BTreeMap<[u8; 16], u32>,
        own_netns: u32,
        own: Option<&BTreeSet<IpAddr>>,
    ) -> Self {
        let mut homes = BTreeMap::new();
        for (netns, index) in namespaces {
            let theirs = pods.iter().filter(|(_, leads)| *leads == index);
            for (address, _) in theirs {
                homes.entry((*netns, family(*address))).or_insert(*address);
            }
        }
        for address in own.into_iter().flatten() {
            let address = bytes(*address);
            homes.entry((own_netns, family(address))).or_insert(address);
        }
        Self(homes)
    }

    /// Puts the address of its namespace in the place of an unbound socket's.
    pub(in crate::capture) fn settle(&self, event: &mut Event) {
        if event.kind == kind::DENIED {
            self.settle_one(&mut event.tuple.source, event.tuple.family);
        }
    }

    /// The same for a count.
    pub(in crate::capture) fn settle_count(&self, key: &mut ConversationKey) {
        if key.kind == kind::DENIED {
            self.settle_one(&mut key.source, key.family);
        }
    }

    fn settle_one(&self, source: &mut [u8; 16], family: u8) {
        let Some(netns) = Tuple::namespace_of(*source) else {
            return;
        };
        let nobody = if family == FAMILY_V4 {
            mapped([0; 4])
        } else {
            [0; 16]
        };
        let home = self.0.get(&(netns, family));
        *source = home.copied().unwrap_or(nobody);
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn family(address: [u8; 16]) -> u8 {
    match IpAddr::from(address).to_canonical() {
        IpAddr::V4(_) => FAMILY_V4,
        IpAddr::V6(_) => FAMILY_V6,
    }
}
