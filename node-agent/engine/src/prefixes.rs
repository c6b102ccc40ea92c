//! Blocks of addresses, and the smallest one around an address, found without looking at all of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The block that an address lies in: networks of pods give their nodes no smaller ones (`/24` and `/64` by default; Calico's
/// `/26` and `/122` lie in these).
pub(crate) fn block(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::new_assert(ip, 24).trunc()),
        IpAddr::V6(ip) => IpNet::V6(Ipv6Net::new_assert(ip, 64).trunc()),
    }
}

/// Something for each of some blocks; a block is there as often as it was added.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes<T> {
    by_length: BTreeMap<u8, HashMap<IpNet, Entry<T>, FixedState>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    value: T,
    times: usize,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            by_length: BTreeMap::new(),
        }
    }
}

impl<T: Copy> Prefixes<T> {
    /// Adds a block; `make` is asked when it was not there.
    pub(crate) fn add(&mut self, net: IpNet, make: impl FnOnce() -> T) {
        let blocks = self.by_length.entry(net.prefix_len()).or_default();
        let entry = blocks.entry(net.trunc()).or_insert_with(|| Entry {
            value: make(),
            times: 0,
        });
        entry.times += 1;
    }

    /// Takes a block away that was added.
    pub(crate) fn remove(&mut self, net: IpNet) {
        let Some(blocks) = self.by_length.get_mut(&net.prefix_len()) else {
            return;
        };
        if let Some(entry) = blocks.get_mut(&net.trunc()) {
            entry.times -= 1;
            if entry.times == 0 {
                blocks.remove(&net.trunc());
            }
        }
        if blocks.is_empty() {
            self.by_length.remove(&net.prefix_len());
        }
    }

    /// What is there for the smallest block around an address.
    pub(crate) fn around(&self, ip: IpAddr) -> Option<T> {
        self.by_length.iter().rev().find_map(|(length, blocks)| {
            let net = IpNet::new(ip, *length).ok()?.trunc();
            blocks.get(&net).map(|entry| entry.value)
        })
    }
}
