//! Attaches to the interfaces that lead to pods, and says what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use netlink_packet_route::RouteNetlinkMessage;
use node_agent_engine::input::{Input, Link, Moment};

use super::hooks::{self, Attached, Hooks, Interface, Standing};
use super::links::{Known, Links};
use super::namespaces;
use super::netlink::{Heard, Netlink};
use super::programs::{Error, Programs};

/// A watched interface.
struct Watched {
    attached: Attached,
    said: Link,
    is_said: bool,
    peer_netns: Option<i32>,
    /// The addresses that its other end has, as the namespace there says.
    inside: BTreeSet<IpAddr>,
    serial: u64,
}

/// An interface that is to be watched.
struct Found {
    index: u32,
    serial: u64,
    name: Arc<str>,
}

/// The interfaces of this node.
pub(super) struct Watch {
    netlink: Netlink,
    hooks: Hooks,
    links: Links,
    watched: BTreeMap<u32, Watched>,
    /// Namespaces behind the watched interfaces, by their number here.
    namespaces: BTreeMap<i32, u32>,
    said_addresses: Option<BTreeSet<IpAddr>>,
    /// Every drop in those namespaces is told.
    all_drops: bool,
    changed: bool,
}

impl Watch {
    /// Lists what is there and removes what an earlier agent left; attaches to nothing yet.
    pub(super) fn open(globs: Vec<String>, hooks: Hooks, all_drops: bool) -> Result<Self, Error> {
        let mut this = Self {
            netlink: Netlink::open()?,
            hooks,
            links: Links::new(globs),
            watched: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            said_addresses: None,
            all_drops,
            changed: true,
        };
        this.list()?;
        for index in this.netlink.with_qdisc().unwrap_or_default() {
            if let Some(known) = this.links.get(index) {
                hooks::clear(&mut this.netlink, index, &known.name);
            }
        }
        Ok(this)
    }

    /// The socket that becomes readable when something changed.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.netlink.as_raw_fd()
    }

    /// The names of all interfaces.
    pub(super) fn interfaces(&self) -> BTreeSet<Arc<str>> {
        self.links.names().cloned().collect()
    }

    /// How many interfaces are watched.
    pub(super) fn count(&self) -> usize {
        self.watched.len()
    }

    /// Their indices.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        self.watched.keys().copied()
    }

    /// Indices of the interfaces over which no way leads.
    pub(super) fn asides(&self) -> impl Iterator<Item = u32> {
        self.links.asides()
    }

    /// The pods' namespaces that are known, each with the interface that leads there; of several the one that was made
    /// first, which has the pod's own address.
    pub(super) fn namespaces(&self) -> BTreeMap<u32, u32> {
        let behind = |(index, watched): (&u32, &Watched)| {
            Some((*self.namespaces.get(&watched.peer_netns?)?, *index))
        };
        self.watched.iter().rev().filter_map(behind).collect()
    }

    /// The node's own addresses, as they were said last.
    pub(super) fn own_addresses(&self) -> Option<&BTreeSet<IpAddr>> {
        self.said_addresses.as_ref()
    }

    fn list(&mut self) -> Result<(), Error> {
        let messages = self.netlink.list()?;
        self.links.list(messages);
        self.changed = true;
        Ok(())
    }

    /// Takes in what changed, attaches and detaches.
    pub(super) fn poll(
        &mut self,
        programs: &mut Programs,
        now: impl Fn() -> Moment,
        sink: &mut impl FnMut(Input),
    ) {
        loop {
            match self.netlink.hear() {
                Heard::Messages(messages) => {
                    for message in messages {
                        let left = self.left_alone(&message);
                        self.changed |= self.links.apply(message);
                        for known in left {
                            self.links.apply(known);
                        }
                    }
                }
                Heard::Overrun => {
                    if let Err(error) = self.list() {
                        tracing::warn!(%error, "links, addresses and routes may be out of date");
                    }
                }
                Heard::Nothing => break,
            }
        }
        if std::mem::take(&mut self.changed) {
            self.reconcile(programs, &now, sink);
        }
    }

    /// What there is to know of an interface whose other side leaves this namespace by that message. A plugin that makes
    /// both here gives the other to the pod, and nothing is said of this one until the pod's is up.
    fn left_alone(&mut self, message: &RouteNetlinkMessage) -> Vec<RouteNetlinkMessage> {
        let left = match message {
            RouteNetlinkMessage::DelLink(link) => self.links.pair_of(link.header.index),
            _ => None,
        };
        let known = left.and_then(|index| self.netlink.link(index).ok());
        known.unwrap_or_default()
    }

    /// Brings what is watched in line with what there is.
    fn reconcile(
        &mut self,
        programs: &mut Programs,
        now: &impl Fn() -> Moment,
        sink: &mut impl FnMut(Input),
    ) {
        let wanted: BTreeMap<u32, (u64, Arc<str>)> = self
            .links
            .candidates()
            .map(|(index, known)| (index, (known.serial, Arc::clone(&known.name))))
            .collect();
        let is_gone = |index: &u32, watched: &Watched| {
            wanted
                .get(index)
                .is_none_or(|(serial, _)| *serial != watched.serial)
        };
        for (index, watched) in self.watched.extract_if(.., |index, w| is_gone(index, w)) {
            hooks::detach(programs, watched.attached);
            // The kernel gives the number to the next namespace.
            watched
                .peer_netns
                .map(|number| self.namespaces.remove(&number));
            sink(Input::LinkGone(index));
        }
        for (index, (serial, name)) in wanted {
            if let Some(watched) = self.watched.get_mut(&index) {
                // Renamed.
                watched.is_said &= watched.said.name == name;
                watched.said.name = name;
                continue;
            }
            // An interface is attached to by name: it must still be the one that was meant.
            if index_of(&name) != Some(index) {
                continue;
            }
            let interface = Interface { index, name: &name };
            match self.hooks.attach(programs, &mut self.netlink, interface) {
                Ok(attached) => {
                    warn_of_half(&name, &attached);
                    let found = Found {
                        index,
                        serial,
                        name,
                    };
                    self.begin(programs, found, attached, now());
                }
                Err(error) => tracing::warn!(%name, %error, "interface is not watched"),
            }
        }
        self.find_namespaces();
        self.look_inside(|watched| watched.inside.is_empty());
        self.say(sink);
    }

    fn begin(&mut self, programs: &mut Programs, found: Found, attached: Attached, now: Moment) {
        let Found {
            index,
            serial,
            name,
        } = found;
        let known = self.links.get(index);
        let while_running = known.is_some_and(|known| known.while_running);
        let peer_netns = known.and_then(|known| known.peer_netns);
        let from_birth = while_running && self.is_unused(index);
        let standing = self.hooks.standing(
            programs,
            &mut self.netlink,
            &BTreeSet::from([index]),
            Interface { index, name: &name },
            &attached,
        );
        let said = Link {
            index,
            name,
            watched_since: now,
            from_birth,
            addresses: Vec::new(),
            foreign_program: standing.map(|standing| standing.foreign),
            netns: None,
        };
        tracing::debug!(name = %said.name, "interface is watched");
        let watched = Watched {
            attached,
            said,
            is_said: false,
            peer_netns,
            inside: BTreeSet::new(),
            serial,
        };
        self.watched.insert(index, watched);
    }

    /// Tells of an interface that is watched now whether no packet can have been missed that a pod sent or received:
    /// nothing had come from it, or it had no address yet. Its kernel speaks before that, to find neighbours and routers.
    fn is_unused(&mut self, index: u32) -> bool {
        let other_end = self.links.get(index).and_then(Known::other_end);
        self.netlink.received(index) == Some(0)
            || other_end
                .and_then(|(number, peer)| namespaces::addresses(&mut self.netlink, number, peer))
                .is_some_and(|inside| inside.is_empty())
    }

    fn find_namespaces(&mut self) {
        let numbers: BTreeSet<i32> = self.watched.values().filter_map(|w| w.peer_netns).collect();
        self.namespaces.retain(|number, _| numbers.contains(number));
        let missing = numbers.iter().filter(|n| !self.namespaces.contains_key(n));
        let missing: Vec<i32> = missing.copied().collect();
        if !missing.is_empty() {
            let found = namespaces::inodes(&mut self.netlink, &missing);
            self.namespaces.extend(found);
        }
    }

    /// Looks again for what no notification tells: foreign programs, and namespaces not found before.
    pub(super) fn check(&mut self, programs: &mut Programs, sink: &mut impl FnMut(Input)) {
        self.find_namespaces();
        self.look_inside(|_| true);
        self.look_around(programs);
        self.say(sink);
    }

    /// Asks the namespaces behind interfaces for their addresses, where neither a route nor a bridge tells them.
    fn look_inside(&mut self, wanted: impl Fn(&Watched) -> bool) {
        for (index, watched) in &mut self.watched {
            if wanted(watched)
                && self.links.behind(*index).is_empty()
                && let Some((number, peer)) = self.links.get(*index).and_then(Known::other_end)
            {
                let inside = namespaces::addresses(&mut self.netlink, number, peer);
                watched.inside = inside.unwrap_or_default();
            }
        }
    }

    /// The addresses behind each watched interface.
    ///
    /// A pod may give itself whatever address: what only its namespace says must be said of one interface alone.
    fn addresses(&self) -> BTreeMap<u32, Vec<IpAddr>> {
        let mut behind: BTreeMap<u32, Vec<IpAddr>> = self
            .watched
            .keys()
            .map(|index| (*index, self.links.behind(*index)))
            .collect();
        let inside = self.watched.values().flat_map(|watched| &watched.inside);
        let mut owners: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for address in behind.values().flatten().chain(inside) {
            *owners.entry(*address).or_default() += 1;
        }
        for (index, watched) in &self.watched {
            let known = behind.entry(*index).or_default();
            // A family that a route or a bridge tells of is told whole.
            let [v4, v6] = [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|is_it| known.iter().any(is_it));
            let is_told = |address: &IpAddr| if address.is_ipv4() { v4 } else { v6 };
            let own = watched.inside.iter().copied();
            known.extend(own.filter(|own| !is_told(own) && owners.get(own) == Some(&1)));
        }
        behind
    }

    /// Looks at what hangs on the watched interfaces besides ours; gets in front of it again.
    fn look_around(&mut self, programs: &mut Programs) {
        let with_qdisc = self.netlink.with_qdisc();
        for (index, watched) in &mut self.watched {
            let name = Arc::clone(&watched.said.name);
            let interface = Interface {
                index: *index,
                name: &name,
            };
            let (netlink, attached) = (&mut self.netlink, &mut watched.attached);
            let standing = with_qdisc.as_ref().and_then(|with_qdisc| {
                let hooks = &self.hooks;
                hooks.standing(programs, netlink, with_qdisc, interface, attached)
            });
            let foreign_program = standing.map(|standing| standing.foreign);
            watched.is_said &= watched.said.foreign_program == foreign_program;
            watched.said.foreign_program = foreign_program;
            if standing.is_some_and(|Standing { in_front, .. }| !in_front) {
                let was_whole = attached.is_whole();
                match self.hooks.renew(programs, netlink, interface, attached) {
                    Ok(()) => {
                        tracing::info!(%name, "another program stood in front of ours");
                        if was_whole {
                            warn_of_half(&name, attached);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%name, %error, "another program stands in front of ours");
                    }
                }
            }
        }
    }

    /// Says what is new of the watched interfaces and of the node.
    fn say(&mut self, sink: &mut impl FnMut(Input)) {
        let mut behind = self.addresses();
        for (index, watched) in &mut self.watched {
            let addresses = behind.remove(index).unwrap_or_default();
            let netns = watched
                .peer_netns
                .filter(|_| self.all_drops)
                .and_then(|number| self.namespaces.get(&number).copied());
            let is_said = std::mem::replace(&mut watched.is_said, true);
            let said = &mut watched.said;
            if !is_said || said.addresses != addresses || said.netns != netns {
                said.addresses = addresses;
                said.netns = netns;
                sink(Input::Link(said.clone()));
            }
        }
        let own = self.links.own_addresses();
        if self.said_addresses.as_ref() != Some(&own) {
            sink(Input::NodeAddresses(own.iter().copied().collect()));
            self.said_addresses = Some(own);
        }
    }
}

/// Says it where somebody's qdisc leaves half of an interface to be seen.
fn warn_of_half(name: &str, attached: &Attached) {
    if !attached.is_whole() {
        tracing::warn!(
            %name,
            "an ingress qdisc of somebody else takes the place of clsact: what goes to this pod is not seen there, and \
             nothing is claimed from that"
        );
    }
}

fn index_of(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a string that ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}
