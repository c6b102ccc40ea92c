//! The interfaces that lead to pods: which they are, which addresses lie behind them, and when they come and go.
//!
//! Only what the kernel says is kept here; [`super::watch`] attaches to what [`Links::candidates`] names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::bridges::Bridges;

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    /// A veth or netkit whose other side is in another namespace, by its number here.
    pub(super) peer_netns: Option<i32>,
    /// The index of the other side, where that is.
    peer: Option<u32>,
    /// Made after the first listing.
    pub(super) while_running: bool,
    /// Tells it from another one that had or gets the same index.
    pub(super) serial: u64,
    is_pair: bool,
    is_dummy: bool,
    is_ethernet: bool,
    master: Option<u32>,
    /// The interface that this one runs over: of a tunnel or VLAN.
    lower: Option<u32>,
}

impl Known {
    /// The namespace of the other side, by its number here, and the index there.
    pub(super) fn other_end(&self) -> Option<(i32, u32)> {
        Some((self.peer_netns?, self.peer?))
    }
}

/// One default route: family, table, interface, priority.
type Default = (u8, u32, u32, u32);

/// All that the kernel said of links, routes and addresses.
#[derive(Default)]
pub(super) struct Links {
    known: BTreeMap<u32, Known>,
    defaults: BTreeSet<self::Default>,
    behind: BTreeMap<u32, BTreeSet<IpAddr>>,
    bridges: Bridges,
    own: BTreeSet<(u32, IpAddr)>,
    /// Names that are watched, `*` stands for any characters; empty for all.
    globs: Vec<String>,
    listed: bool,
    serials: u64,
}

impl Links {
    /// Knows nothing yet.
    pub(super) fn new(globs: Vec<String>) -> Self {
        Self {
            globs,
            ..Self::default()
        }
    }

    /// Begins anew with a complete listing.
    pub(super) fn list(&mut self, messages: Vec<RouteNetlinkMessage>) {
        let old = std::mem::take(&mut self.known);
        self.defaults.clear();
        self.behind.clear();
        self.bridges.clear();
        self.own.clear();
        for message in messages {
            self.apply(message);
        }
        for (index, known) in &mut self.known {
            if let Some(old) = old.get(index) {
                known.while_running = old.while_running;
                known.serial = old.serial;
            }
        }
        self.listed = true;
    }

    /// Takes one message in; tells whether anything may be different now.
    pub(super) fn apply(&mut self, message: RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(&link),
            RouteNetlinkMessage::DelLink(link) => {
                // A bridge that loses a port says so in the same words.
                if link.header.interface_family == AddressFamily::Unspec {
                    self.forget(link.header.index);
                }
            }
            RouteNetlinkMessage::NewRoute(route) => self.route(&route, true),
            RouteNetlinkMessage::DelRoute(route) => self.route(&route, false),
            RouteNetlinkMessage::NewNeighbour(entry) => return self.bridges.apply(&entry, true),
            RouteNetlinkMessage::DelNeighbour(entry) => return self.bridges.apply(&entry, false),
            RouteNetlinkMessage::NewAddress(address) => {
                if let Some(own) = own_address(&address) {
                    self.own.insert(own);
                }
            }
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some(own) = own_address(&address) {
                    self.own.remove(&own);
                }
            }
            _ => return false,
        }
        true
    }

    fn forget(&mut self, index: u32) {
        self.known.remove(&index);
        self.behind.remove(&index);
        self.bridges.forget(index);
        self.own.retain(|(of, _)| *of != index);
        self.defaults.retain(|(_, _, of, _)| *of != index);
    }

    fn link(&mut self, link: &LinkMessage) {
        let index = link.header.index;
        let before = self.known.get(&index);
        self.serials += 1;
        let mut known = Known {
            name: Arc::from(""),
            peer_netns: None,
            peer: None,
            while_running: before.map_or(self.listed, |before| before.while_running),
            serial: before.map_or(self.serials, |before| before.serial),
            is_pair: false,
            is_dummy: false,
            is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
            master: None,
            lower: None,
        };
        let mut over = None;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => known.name = Arc::from(name.as_str()),
                LinkAttribute::LinkNetNsId(number) => known.peer_netns = Some(*number),
                LinkAttribute::Controller(master) => known.master = Some(*master),
                LinkAttribute::Link(lower) => over = Some(*lower),
                LinkAttribute::LinkInfo(infos) => {
                    known.is_pair = infos.iter().any(is_pair);
                    let dummy = LinkInfo::Kind(InfoKind::Dummy);
                    known.is_dummy = infos.contains(&dummy);
                }
                _ => {}
            }
        }
        if known.is_pair {
            known.peer = over;
        } else if known.peer_netns.is_none() {
            known.lower = over.filter(|lower| *lower != 0 && *lower != index);
        }
        // A message of a bridge about its port has no more than a part of this.
        if link.header.interface_family == AddressFamily::Unspec {
            self.known.insert(index, known);
        }
    }

    fn route(&mut self, route: &RouteMessage, is_new: bool) {
        if route.header.kind != RouteType::Unicast {
            return;
        }
        let (mut destination, mut table, mut priority) = (None, 0, 0);
        let mut interfaces = Vec::new();
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(v4)) => {
                    destination = Some(IpAddr::V4(*v4));
                }
                RouteAttribute::Destination(RouteAddress::Inet6(v6)) => {
                    destination = Some(IpAddr::V6(*v6));
                }
                RouteAttribute::Oif(index) => interfaces.push(*index),
                RouteAttribute::MultiPath(hops) => {
                    interfaces.extend(hops.iter().map(|hop| hop.interface_index));
                }
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Priority(number) => priority = *number,
                _ => {}
            }
        }
        let family = u8::from(route.header.address_family);
        let length = route.header.destination_prefix_length;
        for index in interfaces {
            match destination {
                None if length == 0 => {
                    let default = (family, table, index, priority);
                    if is_new {
                        self.defaults.insert(default);
                    } else {
                        self.defaults.remove(&default);
                    }
                }
                Some(address) if is_host(address, length) => {
                    let behind = self.behind.entry(index).or_default();
                    if is_new {
                        behind.insert(address);
                    } else {
                        behind.remove(&address);
                    }
                }
                _ => {}
            }
        }
    }

    /// The interfaces to watch.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (u32, &Known)> {
        self.known.iter().filter_map(|(index, known)| {
            let leads_to_pod = known.is_pair && known.peer_netns.is_some();
            let is_named =
                self.globs.is_empty() || self.globs.iter().any(|glob| matches(glob, &known.name));
            let is_wanted =
                known.is_ethernet && leads_to_pod && is_named && !self.is_uplink(*index);
            is_wanted.then_some((*index, known))
        })
    }

    /// The interfaces over which no way leads: dummies, and pairs that stay in this namespace, without a use that can be
    /// seen. Who sends there sends copies, to look at them.
    pub(super) fn asides(&self) -> impl Iterator<Item = u32> {
        let both = |index: u32, known: &Known| {
            let stays = known.is_pair && known.peer_netns.is_none();
            let peer = known.peer.filter(|_| stays);
            peer.is_some_and(|peer| self.is_unused(index) && self.is_unused(peer))
        };
        self.known.iter().filter_map(move |(index, known)| {
            let is_aside = known.is_dummy && self.is_unused(*index) || both(*index, known);
            is_aside.then_some(*index)
        })
    }

    /// Tells whether an interface has no address of its own, is in no bridge, leads to nobody and carries nothing.
    fn is_unused(&self, index: u32) -> bool {
        let is_own = |address: &IpAddr| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let mut own = self.own.iter();
        let master = self.known.get(&index).and_then(|known| known.master);
        let is_behind = self.behind.get(&index).is_some_and(|them| !them.is_empty());
        let is_free = master.is_none() && !is_behind && !self.is_uplink(index);
        is_free && !own.any(|(of, address)| *of == index && is_own(address))
    }

    /// Tells whether an interface leads out of the node: it carries a default route, a tunnel runs over it, or it
    /// is in a bridge of which that is true.
    fn is_uplink(&self, index: u32) -> bool {
        let leads_out = |index: u32| {
            self.defaults.iter().any(|(_, _, of, _)| *of == index)
                || self.known.values().any(|other| other.lower == Some(index))
        };
        let master = self.known.get(&index).and_then(|known| known.master);
        leads_out(index) || master.is_some_and(leads_out)
    }

    /// The names of all interfaces.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.values().map(|known| &known.name)
    }

    /// The side of a pair whose other side is `index`, in this namespace.
    pub(super) fn pair_of(&self, index: u32) -> Option<u32> {
        let is_its = |known: &Known| known.peer == Some(index) && known.peer_netns.is_none();
        let mut found = self.known.iter().filter(|(_, known)| is_its(known));
        found.next().map(|(index, _)| *index)
    }

    /// What is known of an interface.
    pub(super) fn get(&self, index: u32) -> Option<&Known> {
        self.known.get(&index)
    }

    /// The addresses that lie behind an interface.
    pub(super) fn behind(&self, index: u32) -> Vec<IpAddr> {
        let routed = self.behind.get(&index).into_iter().flatten().copied();
        let behind: BTreeSet<IpAddr> = routed.chain(self.bridges.behind(index)).collect();
        behind.into_iter().collect()
    }

    /// The node's own addresses, without those of the loopback.
    pub(super) fn own_addresses(&self) -> BTreeSet<IpAddr> {
        let addresses = self.own.iter().map(|(_, address)| *address);
        addresses.filter(|address| !address.is_loopback()).collect()
    }
}

fn is_pair(info: &LinkInfo) -> bool {
    match info {
        LinkInfo::Kind(InfoKind::Veth) => true,
        LinkInfo::Kind(InfoKind::Other(kind)) => kind == "netkit",
        LinkInfo::Kind(kind) => kind.to_string() == "netkit",
        _ => false,
    }
}

fn is_host(address: IpAddr, length: u8) -> bool {
    match address {
        IpAddr::V4(v4) => length == 32 && !v4.is_link_local(),
        IpAddr::V6(v6) => length == 128 && !v6.is_unicast_link_local(),
    }
}

pub(super) fn own_address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    // Where both are there, `Local` is ours and `Address` the other end's.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    Some((message.header.index, local.or(address)?))
}

/// Compares a name with a pattern in which `*` stands for any characters.
fn matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_names() {
        for (glob, name, wanted) in [
            ("cali*", "cali123", true),
            ("cali*", "veth0", false),
            ("*0", "veth0", true),
            ("v*h*0", "veth10", true),
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("*", "any", true),
        ] {
            assert_eq!(matches(glob, name), wanted, "{glob} {name}");
        }
    }
}
