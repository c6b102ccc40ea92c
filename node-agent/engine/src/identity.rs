//! Who was behind an address at a given time.
//!
//! Addresses are used again, so every claim on one has a beginning and an end. What has ended is kept for
//! a while, for events that come late, and no longer: see [`KEPT_NS`] and [`KEPT_PER_ADDRESS`].

mod claim;
mod ended;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use ipnet::IpNet;

pub(crate) use self::claim::Claimant;
use self::claim::{Claim, Owner};
use crate::input::Moment;
use crate::model::ObjectKey;
use crate::prefixes::{Prefixes, block};

/// How long an ended claim is remembered.
pub const KEPT_NS: u64 = 60_000_000_000;
/// How many ended claims of one address are remembered.
pub const KEPT_PER_ADDRESS: usize = 8;
/// How much earlier than it was heard of a claim may have begun: the watch lags behind the network.
pub const WATCH_LAG_NS: u64 = 5_000_000_000;

/// Who is behind an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A pod with a network of its own.
    Pod(ObjectKey),
    /// A node, or a pod that shares its network.
    Node(Arc<str>),
    /// A Service.
    Service(ObjectKey),
    /// A Service whose address this node has itself: whether a pod answers there is not known.
    NodeService(ObjectKey),
    /// Nobody of the cluster.
    World,
    /// Several claim it at that time, or its pod has been replaced by another of the same name.
    Ambiguous,
    /// It lies in a range of pods, and nobody has claimed it.
    Unknown,
}

/// Who followed the pod that had an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// Nobody had to: whoever has it came later, or is no pod.
    Unneeded,
    /// One whose claim began then, soon after.
    Since(Moment),
    /// Nobody yet.
    Unknown,
}

/// The claims on one address.
#[derive(Clone, Debug, Default)]
struct Claims {
    claims: Vec<Claim>,
    changed: Moment,
}

/// Address ownership over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    known: HashMap<IpAddr, Claims, FixedState>,
    ended: VecDeque<(Moment, IpAddr)>,
    /// What nodes give to their pods, by node.
    pod_ranges: BTreeMap<Arc<str>, Vec<IpNet>>,
    in_pod_ranges: Prefixes<()>,
    /// What is claimed now was so from the start.
    is_first_picture: bool,
    /// How many addresses of pods lie in a block.
    pods_in: HashMap<IpNet, u32, FixedState>,
}

impl Addresses {
    /// Replaces what `claimant` claimed before, `old`, by `new`. Says whether that changes anything.
    pub(crate) fn reclaim(
        &mut self,
        old: Option<(&Claimant, &[IpAddr])>,
        new: Option<(&Claimant, &[IpAddr])>,
        now: Moment,
    ) -> bool {
        let kept = |claimant: &Claimant, ip: &IpAddr, other: Option<(&Claimant, &[IpAddr])>| {
            other.is_some_and(|(by, ips)| by == claimant && ips.contains(ip))
        };
        let mut changed = false;
        if let Some((claimant, ips)) = old {
            for ip in ips.iter().filter(|ip| !kept(claimant, ip, new)) {
                self.end(*ip, claimant, now);
                changed = true;
            }
        }
        if let Some((claimant, ips)) = new {
            for ip in ips.iter().filter(|ip| !kept(claimant, ip, old)) {
                self.begin(*ip, claimant.clone(), now);
                changed = true;
            }
        }
        self.forget(now);
        changed
    }

    /// Somebody had these addresses and has them no more, which is all that is ever heard of it.
    pub(crate) fn note_ended(&mut self, claimant: &Claimant, ips: &[IpAddr], now: Moment) {
        let is_first_picture = std::mem::take(&mut self.is_first_picture);
        self.reclaim(None, Some((claimant, ips)), now);
        self.reclaim(Some((claimant, ips)), None, now);
        self.is_first_picture = is_first_picture;
    }

    /// Whoever is in the first picture of the cluster has had his addresses since before anybody looked.
    pub(crate) fn set_first_picture(&mut self, is_first: bool) {
        self.is_first_picture = is_first;
    }

    /// Replaces the ranges that a node gives to its pods.
    pub(crate) fn set_pod_ranges(&mut self, node: &Arc<str>, ranges: &[IpNet]) {
        let old = if ranges.is_empty() {
            self.pod_ranges.remove(node)
        } else {
            self.pod_ranges.insert(Arc::clone(node), ranges.to_vec())
        };
        for range in ranges {
            self.in_pod_ranges.add(*range, || ());
        }
        for range in old.iter().flatten() {
            self.in_pod_ranges.remove(*range);
        }
    }

    /// Who had the address at that time.
    pub(crate) fn lookup(&self, ip: IpAddr, at: Moment) -> Identity {
        let ip = ip.to_canonical();
        let claims = self.claims(ip);
        let holding = || {
            let holding = claims.iter().filter(|claim| claim.holds_at(at));
            let holding = holding.filter(|claim| !claim.claimant.is_tunnel());
            holding.map(|claim| claim.claimant.owner())
        };
        // A pod on its node's network that says nothing of its node leaves the word to whoever names it.
        let named = holding().find(|owner| !owner.is_nameless());
        if let Some(first) = named.or_else(|| holding().next()) {
            if holding().any(|other| other != first && !other.is_nameless()) {
                return Self::shared(holding());
            }
            return Self::identity(first);
        }
        match Self::soon_after(claims, at) {
            Some(claim) => Self::identity(claim.claimant.owner()),
            None => Self::tunnel(claims, at).unwrap_or_else(|| match self.in_pod_range(ip) {
                true => Identity::Unknown,
                false => Identity::World,
            }),
        }
    }

    /// The node that has an end of a tunnel there.
    fn tunnel(claims: &[Claim], at: Moment) -> Option<Identity> {
        let tunnels = claims.iter().filter(|claim| claim.claimant.is_tunnel());
        let holding = tunnels.filter(|claim| claim.holds_at(at) || claim.is_soon_after(at));
        let mut owners = holding.map(|claim| claim.claimant.owner());
        let first = owners.next()?;
        Some(match owners.all(|other| other == first) {
            true => Self::identity(first),
            false => Identity::Ambiguous,
        })
    }

    /// Who it is that several claim.
    fn shared<'a>(owners: impl Iterator<Item = Owner<'a>>) -> Identity {
        let (mut service, mut node, mut is_published) = (None, None, false);
        for owner in owners {
            match owner {
                owner if owner.is_nameless() => {}
                Owner::Node(name) if node.is_none_or(|known| known == name) => node = Some(name),
                Owner::Service(key) if service.is_none() => service = Some(key),
                Owner::Published(_) => is_published = true,
                Owner::Service(_) | Owner::Node(_) | Owner::Pod(..) => return Identity::Ambiguous,
            }
        }
        match (service, node) {
            (Some(key), Some(_)) if !is_published => Identity::NodeService(key.clone()),
            // K3s' ServiceLB gives Services the addresses of nodes: what comes from there, or to another port, is the node's.
            (None, Some(name)) if is_published => Identity::Node(Arc::clone(name)),
            _ => Identity::Ambiguous,
        }
    }

    /// Who has followed the pod that has the address at a time, if it had it already when its interface went.
    pub(crate) fn successor(&self, ip: IpAddr, left: Moment, at: Moment) -> Successor {
        let claims = self.claims(ip.to_canonical());
        let mut holding = claims.iter().filter(|claim| claim.holds_at(at));
        let is_older = |claim: &Claim| claim.from < left && claim.claimant.is_pod();
        if !holding.any(is_older) {
            return Successor::Unneeded;
        }
        Self::soon_after(claims, at)
            .map_or(Successor::Unknown, |claim| Successor::Since(claim.from))
    }

    /// Whether an address lies among those of pods: in a block of which a pod has another.
    pub(crate) fn is_among_pods(&self, ip: IpAddr) -> bool {
        self.pods_in.contains_key(&block(ip.to_canonical()))
    }

    /// Who claims the address now.
    pub(crate) fn claimed_by(&self, ip: IpAddr) -> impl Iterator<Item = &Claimant> {
        let claims = self.claims(ip.to_canonical()).iter();
        let open = claims.filter(|claim| claim.until.is_none());
        open.map(|claim| &claim.claimant)
    }

    /// The nodes that give such addresses to their pods.
    pub(crate) fn ranged<'a>(
        &'a self,
        addresses: &'a BTreeSet<IpAddr>,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let nodes = self.pod_ranges.iter().filter(|(_, ranges)| {
            let is_in = |ip| ranges.iter().any(|range| range.contains(ip));
            addresses.iter().any(is_in)
        });
        nodes.map(|(name, _)| name)
    }

    /// When ownership of the address last changed.
    pub(crate) fn changed(&self, ip: IpAddr) -> Option<Moment> {
        let known = self.known.get(&ip.to_canonical())?;
        Some(known.changed)
    }

    /// Until when whoever had the address at that time had it, if that was one alone.
    pub(crate) fn held_until(&self, ip: IpAddr, at: Moment) -> Option<Moment> {
        let claims = self.claims(ip.to_canonical());
        let claims = claims.iter().filter(|claim| !claim.claimant.is_tunnel());
        let mut holding = claims.filter(|claim| claim.holds_at(at));
        let only = holding.next().filter(|_| holding.next().is_none())?;
        Some(only.until.unwrap_or(Moment(u64::MAX)))
    }

    /// The UIDs of pods that had the address at that time, to tell namesakes apart.
    pub(crate) fn pod_uid(&self, ip: IpAddr, at: Moment) -> Option<&Arc<str>> {
        let claims = self.claims(ip.to_canonical());
        let claim = claims
            .iter()
            .find(|claim| claim.holds_at(at))
            .or_else(|| Self::soon_after(claims, at))?;
        match &claim.claimant {
            Claimant::Pod { uid, .. } => Some(uid),
            Claimant::HostPod { .. }
            | Claimant::Node(_)
            | Claimant::OwnNode(_)
            | Claimant::Tunnel(_)
            | Claimant::Service(_)
            | Claimant::Published(_) => None,
        }
    }

    fn claims(&self, ip: IpAddr) -> &[Claim] {
        self.known
            .get(&ip)
            .map_or(&[], |known| known.claims.as_slice())
    }

    fn soon_after(claims: &[Claim], at: Moment) -> Option<&Claim> {
        claims
            .iter()
            .filter(|claim| claim.is_soon_after(at) && !claim.claimant.is_tunnel())
            .min_by_key(|claim| claim.from)
    }

    fn in_pod_range(&self, ip: IpAddr) -> bool {
        self.in_pod_ranges.around(ip).is_some()
    }

    fn identity(owner: Owner<'_>) -> Identity {
        match owner {
            Owner::Pod(key, _) => Identity::Pod(key.clone()),
            Owner::Node(name) => Identity::Node(Arc::clone(name)),
            Owner::Service(key) | Owner::Published(key) => Identity::Service(key.clone()),
        }
    }

    fn begin(&mut self, ip: IpAddr, claimant: Claimant, now: Moment) {
        let Claims { claims, changed } = self.known.entry(ip).or_default();
        if !claims
            .iter()
            .any(|claim| claim.until.is_none() && claim.claimant == claimant)
        {
            // Nearly every address has one claim at a time.
            claims.reserve_exact(1);
            if claimant.is_pod() {
                *self.pods_in.entry(block(ip)).or_default() += 1;
            }
            claims.push(Claim {
                claimant,
                from: match self.is_first_picture {
                    true => Moment::default(),
                    false => now,
                },
                until: None,
            });
            *changed = now;
        }
    }

    fn end(&mut self, ip: IpAddr, claimant: &Claimant, now: Moment) {
        let Some(Claims { claims, changed }) = self.known.get_mut(&ip) else {
            return;
        };
        for claim in claims
            .iter_mut()
            .filter(|claim| claim.until.is_none() && claim.claimant == *claimant)
        {
            claim.until = Some(now);
            self.ended.push_back((now, ip));
            *changed = now;
            if claimant.is_pod()
                && let Entry::Occupied(mut pods) = self.pods_in.entry(block(ip))
            {
                *pods.get_mut() -= 1;
                if *pods.get() == 0 {
                    pods.remove();
                }
            }
        }
        let ended = claims.iter().filter(|claim| claim.until.is_some()).count();
        if ended > KEPT_PER_ADDRESS
            && let Some(oldest) = claims.iter().position(|claim| claim.until.is_some())
        {
            claims.remove(oldest);
        }
    }
}
