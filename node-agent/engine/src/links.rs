//! The interfaces of pods, and which addresses an interface had that is gone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Moment;
use crate::identity::WATCH_LAG_NS;
use crate::input::Link;

/// How long it is remembered that an address lost its interface.
const KEPT_NS: u64 = 60_000_000_000;
/// How many such addresses are remembered; of others it is not known.
const MOST_LEFT: usize = 4096;

/// The interfaces.
#[derive(Debug, Default)]
pub(crate) struct Links {
    known: BTreeMap<u32, Link>,
    /// When an address last lay behind an interface that it lies behind no more.
    left: BTreeMap<IpAddr, Moment>,
}

impl Links {
    pub(crate) fn get(&self, index: u32) -> Option<&Link> {
        self.known.get(&index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.known.values()
    }

    /// Whether an address lies behind one of them.
    pub(crate) fn lead_to(&self, ip: IpAddr) -> bool {
        self.iter().any(|link| link.addresses.contains(&ip))
    }

    /// Takes in what is known of an interface; true when it lost an address.
    pub(crate) fn insert(&mut self, now: Moment, link: Link) -> bool {
        let before = self.known.insert(link.index, link.clone());
        self.leave(now, before, &link.addresses)
    }

    /// Forgets an interface; true when it had an address.
    pub(crate) fn remove(&mut self, now: Moment, index: u32) -> bool {
        let before = self.known.remove(&index);
        self.leave(now, before, &[])
    }

    /// When an address left the interface that led to it before, if whoever speaks from it now, through a young
    /// interface, may be another than whom the cluster names: addresses are given out again within seconds, and the
    /// cluster is heard of later.
    pub(crate) fn taken_over(&self, index: Option<u32>, ip: IpAddr, at: Moment) -> Option<Moment> {
        let is_young = |link: &&Link| {
            link.from_birth
                && link.watched_since <= at
                && at.since(link.watched_since) <= WATCH_LAG_NS
        };
        let link = self.get(index?).filter(is_young)?;
        // The route to the old one may go a moment later.
        let is_still_known = || {
            let others = self.iter().filter(|other| other.index != link.index);
            others
                .map(|other| &other.addresses)
                .any(|known| known.contains(&ip))
        };
        let left = self.left.get(&ip).copied();
        left.or_else(|| is_still_known().then_some(at))
    }

    fn leave(&mut self, now: Moment, before: Option<Link>, kept: &[IpAddr]) -> bool {
        let mut any = false;
        let gone = before.into_iter().flat_map(|link| link.addresses);
        for ip in gone.filter(|ip| !kept.contains(ip)) {
            self.left.retain(|_, left| now.since(*left) <= KEPT_NS);
            if self.left.len() < MOST_LEFT {
                self.left.insert(ip, now);
            }
            any = true;
        }
        any
    }
}
