//! The one walk over a rule: for each condition whether it holds, and when somebody wants to know what missed.
//!
//! Judging and explaining both go through [`Question::peer_fit`] and [`Question::port_fit`], so they cannot
//! disagree.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::{Class, Cluster, PodState};
use crate::connection::Profile;
use crate::model::{Peer, Peers, Policy, Ports, Protocol, Rule};
use crate::record::Direction;
use crate::verdict::{LeftOpen, Missed, PolicyRef};

mod cluster_peer;
mod peer;
mod port;

/// How a condition, or a whole rule, fits a connection. The order is that of strength: what holds together is
/// as strong as the weakest, what is offered as a choice as strong as the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    Misses,
    Open(LeftOpen),
    Matches,
}

impl Fit {
    fn when(holds: bool) -> Self {
        if holds { Self::Matches } else { Self::Misses }
    }
}

/// Where missed conditions go. Judging takes none of them, so that none is written.
pub(crate) trait Notes {
    fn miss(&mut self, missed: impl FnOnce() -> Missed);
}

/// Takes no notes.
pub(crate) struct NoNotes;

impl Notes for NoNotes {
    fn miss(&mut self, _: impl FnOnce() -> Missed) {}
}

/// Counts them.
struct Count(usize);

impl Notes for Count {
    fn miss(&mut self, _: impl FnOnce() -> Missed) {
        self.0 += 1;
    }
}

impl Notes for Vec<Missed> {
    fn miss(&mut self, missed: impl FnOnce() -> Missed) {
        self.push(missed());
    }
}

/// One end of a connection, looked up.
pub(crate) struct End<'a> {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) who: Who<'a>,
}

/// Who an end is.
pub(crate) enum Who<'a> {
    /// A pod with a network of its own.
    Pod {
        state: &'a PodState,
        class: &'a Class,
    },
    /// A node; `pod` when it is known which of the pods on its network it is.
    Node {
        name: Arc<str>,
        pod: Option<&'a PodState>,
    },
    World,
    Unknown,
}

/// A connection, seen from one side.
pub(crate) struct Question<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) direction: Direction,
    pub(crate) source: &'a End<'a>,
    pub(crate) destination: &'a End<'a>,
    pub(crate) protocol: Protocol,
    pub(crate) port: Option<u16>,
    pub(crate) via_service: bool,
    pub(crate) profile: Profile,
}

/// Where in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) peer: Option<usize>,
    pub(crate) port: Option<usize>,
}

impl<'a> Question<'a> {
    /// Whose policies are asked.
    pub(crate) fn subject(&self) -> &'a End<'a> {
        match self.direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }

    /// The other side.
    pub(crate) fn peer(&self) -> &'a End<'a> {
        match self.direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    /// The first place of the rule that matches.
    pub(crate) fn matching_place(&self, policy: &Policy, rule: &Rule) -> Option<Place> {
        let port = match &rule.ports {
            Ports::Any => None,
            Ports::Of(ports) => Some(
                ports
                    .iter()
                    .position(|port| self.port_fit(port, &mut NoNotes) == Fit::Matches)?,
            ),
        };
        let peer = match &rule.peers {
            Peers::Any => None,
            Peers::Of(peers) => Some(
                peers
                    .iter()
                    .position(|peer| self.peer_fit(policy, peer, &mut NoNotes) == Fit::Matches)?,
            ),
        };
        Some(Place { peer, port })
    }

    /// How the whole rule fits.
    pub(crate) fn fit(&self, policy: &Policy, rule: &Rule) -> Fit {
        let ports = match &rule.ports {
            Ports::Any => Fit::Matches,
            Ports::Of(ports) => best(ports.iter().map(|port| self.port_fit(port, &mut NoNotes))),
        };
        if ports == Fit::Misses {
            return Fit::Misses;
        }
        let peers = match &rule.peers {
            Peers::Any => Fit::Matches,
            Peers::Of(peers) => best(
                peers
                    .iter()
                    .map(|peer| self.peer_fit(policy, peer, &mut NoNotes)),
            ),
        };
        ports.min(peers)
    }

    /// The place of a rule that misses the fewest conditions, and how many; the first among equals. A rule
    /// whose list holds nothing has no place.
    pub(crate) fn nearest_place(&self, policy: &Policy, rule: &Rule) -> Option<(Place, usize)> {
        let (peer, from) = match &rule.peers {
            Peers::Any => (None, 0),
            Peers::Of(peers) => fewest(peers, |peer, count| self.peer_fit(policy, peer, count))?,
        };
        let (port, on) = match &rule.ports {
            Ports::Any => (None, 0),
            Ports::Of(ports) => fewest(ports, |port, count| self.port_fit(port, count))?,
        };
        Some((Place { peer, port }, from + on))
    }

    /// What the connection misses at a place of a rule.
    pub(crate) fn missed_at(&self, policy: &Policy, rule: &Rule, place: Place) -> Vec<Missed> {
        let mut missed = Vec::new();
        if let (Peers::Of(peers), Some(index)) = (&rule.peers, place.peer)
            && let Some(peer) = peers.get(index)
        {
            self.peer_fit(policy, peer, &mut missed);
        }
        if let (Ports::Of(ports), Some(index)) = (&rule.ports, place.port)
            && let Some(port) = ports.get(index)
        {
            self.port_fit(port, &mut missed);
        }
        missed
    }

    /// How one peer fits.
    pub(crate) fn peer_fit(&self, policy: &Policy, peer: &Peer, notes: &mut impl Notes) -> Fit {
        match peer {
            Peer::Pods { namespaces, pods } => self.pods_fit(policy, namespaces, pods, notes),
            Peer::Block { cidr, except } => self.block_fit(cidr, except, notes),
            Peer::OwnNetworkPods { namespaces, pods } => {
                self.own_network_pods_fit(namespaces, pods, notes)
            }
            Peer::Nodes(nodes) => self.nodes_fit(nodes, notes),
            Peer::Networks(networks) => self.networks_fit(networks, notes),
            Peer::Domains(domains) => self.domains_fit(domains, notes),
        }
    }
}

/// The first item that misses the fewest conditions.
fn fewest<T>(items: &[T], fit: impl Fn(&T, &mut Count) -> Fit) -> Option<(Option<usize>, usize)> {
    let missed = items.iter().map(|item| {
        let mut count = Count(0);
        fit(item, &mut count);
        count.0
    });
    let (index, missed) = missed.enumerate().min_by_key(|(_, missed)| *missed)?;
    Some((Some(index), missed))
}

/// The strongest of a choice; nothing is stronger than a match.
fn best(fits: impl Iterator<Item = Fit>) -> Fit {
    let mut best = Fit::Misses;
    for fit in fits {
        if fit == Fit::Matches {
            return fit;
        }
        best = best.max(fit);
    }
    best
}

impl Policy {
    /// The rules of a direction; none when it has no say in it.
    pub(crate) fn rules(&self, direction: Direction) -> &[Rule] {
        let rules = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        rules.as_deref().unwrap_or_default()
    }
}

impl PolicyRef {
    /// Names a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            key: policy.key.clone(),
            uid: Arc::clone(&policy.uid),
            generation: policy.generation,
        }
    }
}
