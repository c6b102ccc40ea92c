//! What lies behind the ports of bridges: a bridge knows which port leads to a hardware address, and the node's
//! neighbour table which hardware address has an IP address.
//!
//! Either may be gone or not yet there: then nothing is known of that address, which is no contradiction.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

/// A hardware address.
type Mac = [u8; 6];

/// The forwarding tables of all bridges, and the neighbours of the node.
#[derive(Default)]
pub(super) struct Bridges {
    /// By bridge and hardware address: the port.
    ports: BTreeMap<(u32, Mac), u32>,
    /// By interface and address: who has it.
    neighbours: BTreeMap<(u32, IpAddr), Mac>,
}

impl Bridges {
    /// Forgets everything, before a complete listing.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets an interface.
    pub(super) fn forget(&mut self, index: u32) {
        self.ports
            .retain(|(bridge, _), port| *bridge != index && *port != index);
        self.neighbours.retain(|(of, _), _| *of != index);
    }

    /// Takes in an entry that came, changed or went; tells whether anything is different now.
    pub(super) fn apply(&mut self, entry: &NeighbourMessage, is_there: bool) -> bool {
        let (mut mac, mut address, mut bridge) = (None, None, None);
        for attribute in &entry.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok()
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4)).filter(|_| !v4.is_link_local());
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6)).filter(|_| !v6.is_unicast_link_local());
                }
                NeighbourAttribute::Controller(index) => bridge = Some(*index),
                _ => {}
            }
        }
        let index = entry.header.ifindex;
        match (entry.header.family, bridge, address) {
            (AddressFamily::Bridge, Some(bridge), _) => {
                // A port's own address leads to nobody behind it.
                let is_own = entry.header.state == NeighbourState::Permanent;
                match mac {
                    Some(mac) if !is_own => {
                        set(&mut self.ports, (bridge, mac), is_there.then_some(index))
                    }
                    _ => false,
                }
            }
            (AddressFamily::Inet | AddressFamily::Inet6, _, Some(address)) => {
                let is_known = is_there && entry.header.state != NeighbourState::Failed;
                set(
                    &mut self.neighbours,
                    (index, address),
                    mac.filter(|_| is_known),
                )
            }
            _ => false,
        }
    }

    /// The addresses behind a port.
    pub(super) fn behind(&self, port: u32) -> impl Iterator<Item = IpAddr> {
        self.neighbours
            .iter()
            .filter(move |((on, _), mac)| self.ports.get(&(*on, **mac)) == Some(&port))
            .map(|((_, address), _)| *address)
    }
}

fn set<K: Ord, V: PartialEq>(table: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if table.get(&key) == Some(&value) => false,
        Some(value) => {
            table.insert(key, value);
            true
        }
        None => table.remove(&key).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        family: AddressFamily,
        index: u32,
        state: NeighbourState,
        attributes: Vec<NeighbourAttribute>,
    ) -> NeighbourMessage {
        let mut entry = NeighbourMessage::default();
        entry.header.family = family;
        entry.header.ifindex = index;
        entry.header.state = state;
        entry.attributes = attributes;
        entry
    }

    fn port(index: u32, mac: u8, state: NeighbourState) -> NeighbourMessage {
        let mac = NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, mac]);
        let bridge = NeighbourAttribute::Controller(9);
        entry(AddressFamily::Bridge, index, state, vec![mac, bridge])
    }

    fn neighbour(mac: u8, last: u8, state: NeighbourState) -> NeighbourMessage {
        let mac = NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, mac]);
        let address = NeighbourAddress::Inet([10, 42, 0, last].into());
        let address = NeighbourAttribute::Destination(address);
        entry(AddressFamily::Inet, 9, state, vec![mac, address])
    }

    #[test]
    fn an_address_lies_behind_the_port_of_its_hardware_address() {
        use NeighbourState::{Failed, Permanent, Reachable, Stale};
        let mut bridges = Bridges::default();
        let behind = |bridges: &Bridges, port| bridges.behind(port).collect::<Vec<_>>();
        let address = |last| IpAddr::from([10, 42, 0, last]);
        assert!(bridges.apply(&port(3, 30, Reachable), true));
        assert!(!bridges.apply(&port(3, 30, Reachable), true));
        assert!(!bridges.apply(&port(3, 31, Permanent), true));
        assert!(bridges.apply(&neighbour(30, 5, Stale), true));
        assert_eq!(behind(&bridges, 3), [address(5)]);
        assert!(behind(&bridges, 4).is_empty());
        // The pod behind another port has the address now.
        bridges.apply(&port(4, 40, Reachable), true);
        assert!(bridges.apply(&neighbour(40, 5, Reachable), true));
        assert!(behind(&bridges, 3).is_empty());
        assert_eq!(behind(&bridges, 4), [address(5)]);
        assert!(bridges.apply(&neighbour(40, 5, Failed), true));
        assert!(behind(&bridges, 4).is_empty());
        bridges.apply(&neighbour(40, 5, Reachable), true);
        bridges.forget(4);
        assert!(behind(&bridges, 4).is_empty());
    }
}
