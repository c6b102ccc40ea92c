//! Who takes part in a connection, and since when what is known of them has held.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Cluster, Endpoint};
use crate::connection::{Connection, Party, PartyKind};
use crate::identity::{Identity, Successor};
use crate::input::Moment;
use crate::model::{ObjectKey, Pod, Policy};
use crate::record::Direction;

impl Cluster {
    /// Who had an address at that time. Pods that share their node's network are the node (R31), finished
    /// ones own nothing (R33).
    #[must_use]
    pub fn lookup(&self, ip: IpAddr, at: Moment) -> Identity {
        let identity = self.addresses.lookup(ip, at);
        if let Identity::Pod(key) = &identity
            && let Some(now) = self.remembered(key)
            && self
                .addresses
                .pod_uid(ip, at)
                .is_some_and(|uid| *uid != now.state.pod.uid)
        {
            // The event is about an earlier pod of that name, of which only the later one's labels are known.
            return Identity::Ambiguous;
        }
        identity
    }

    /// Whether an address that nobody is known to have lies among those of pods.
    pub(crate) fn is_among_pods(&self, ip: IpAddr) -> bool {
        self.addresses.is_among_pods(ip)
    }

    /// Whether an address that nobody has is no outside one: it was a Service's, or lies among those of Services.
    pub(crate) fn is_left_by_service(&self, ip: IpAddr, at: Moment) -> bool {
        self.addresses.was_a_service(ip, at) || self.cluster_ips.are_around(ip)
    }

    /// Who has followed the pod that has the address at a time, if it had it already when its interface went.
    pub(crate) fn successor(&self, ip: IpAddr, left: Moment, at: Moment) -> Successor {
        self.addresses.successor(ip, left, at)
    }

    /// The party behind an address at that time (R30).
    #[must_use]
    pub fn party_at(&self, ip: IpAddr, at: Moment) -> Party {
        Self::party(ip, &self.lookup(ip, at))
    }

    /// Whoever was found to have an address, as a party.
    pub(crate) fn party(ip: IpAddr, owner: &Identity) -> Party {
        let identity = match owner {
            Identity::Pod(key) => PartyKind::Pod(key.clone()),
            Identity::Node(name) => PartyKind::Node(name.clone()),
            Identity::Service(key) => PartyKind::Service(key.clone()),
            Identity::World => PartyKind::World,
            Identity::NodeService(_) | Identity::Ambiguous | Identity::Unknown => {
                PartyKind::Unknown
            }
        };
        Party {
            ip: Some(ip.to_canonical()),
            identity,
        }
    }

    /// A pod as a party, by its name and, when it matters, one of its addresses. A finished pod owns nothing
    /// (R33): it is just its address, and nobody knows who once that is somebody else's. Absent
    /// when there is no such pod.
    #[must_use]
    pub fn party_of(&self, key: &ObjectKey, ip: Option<IpAddr>, now: Moment) -> Option<Party> {
        let pod = self.pod(key)?;
        if !pod.finished {
            return Some(Party {
                ip: ip.map(|ip| ip.to_canonical()),
                identity: PartyKind::Pod(key.clone()),
            });
        }
        let nobody = |ip, identity| Party { ip, identity };
        let ip = ip.or_else(|| pod.ips.first().copied());
        let Some(ip) = ip else {
            return Some(nobody(None, PartyKind::World));
        };
        Some(match self.heir(pod, Some(ip), now) {
            Some(_) => nobody(Some(ip.to_canonical()), PartyKind::Unknown),
            None => self.party_at(ip, now),
        })
    }

    /// Who has the address of a finished pod now, its first one unless another is named; absent while nobody
    /// has it, and for a pod that is not finished.
    #[must_use]
    pub fn heir(&self, pod: &Pod, ip: Option<IpAddr>, now: Moment) -> Option<Party> {
        let ip = ip.or_else(|| pod.ips.first().copied());
        let party = self.party_at(ip.filter(|_| pod.finished)?, now);
        match party.identity {
            PartyKind::World | PartyKind::Unknown => None,
            PartyKind::Pod(_) | PartyKind::Node(_) | PartyKind::Service(_) => Some(party),
        }
    }

    /// The policies of its namespace that isolate a pod in a direction if selectors see it.
    pub(crate) fn would_isolate(&self, pod: &Pod, direction: Direction) -> Vec<Arc<Policy>> {
        let Some(here) = self.namespaces.get(&pod.key.namespace) else {
            return Vec::new();
        };
        let policies = here.policies.iter().filter(|policy| {
            policy.isolates()
                && policy.has_say(direction)
                && policy.selects(&pod.key.namespace, &here.namespace.labels, &pod.labels)
        });
        policies.cloned().collect()
    }

    /// The latest change of anything that the verdict on a connection rests on: the policies that select its
    /// ends, their labels, addresses and ports, those of their namespaces, and of nodes where they take part; of
    /// a Service also its slices and all of this for its backends.
    #[must_use]
    pub fn settled_since(&self, connection: &Connection) -> Moment {
        self.party_settled(&connection.source)
            .max(self.party_settled(&connection.destination))
    }

    pub(crate) fn party_settled(&self, party: &Party) -> Moment {
        let address = party.ip.map(|ip| self.owned_since(ip)).unwrap_or_default();
        self.identity_changes(party)
            .into_iter()
            .fold(address, Moment::max)
    }

    /// The latest change of each that a verdict on a party rests on besides its address.
    pub(crate) fn identity_changes(&self, party: &Party) -> [Moment; 4] {
        match &party.identity {
            PartyKind::Pod(key) => self.pod_changes(key),
            PartyKind::Node(name) => [self.nodes_changed.get(name).copied().unwrap_or_default(); 4],
            PartyKind::Service(key) => [self.service_settled(key); 4],
            PartyKind::World | PartyKind::Unknown => [Moment::default(); 4],
        }
    }

    /// When an address last changed hands.
    pub(crate) fn owned_since(&self, ip: IpAddr) -> Moment {
        self.addresses.changed(ip).unwrap_or_default()
    }

    /// Until when whoever had an address at a moment had it, if that was one alone.
    pub(crate) fn held_until(&self, ip: IpAddr, at: Moment) -> Option<Moment> {
        self.addresses.held_until(ip, at)
    }

    /// When a pod was first heard of with an address, also one that is gone since a short time.
    pub(crate) fn heard_of(&self, key: &ObjectKey) -> Option<Moment> {
        self.remembered(key).map(|pod| pod.state.since)
    }

    /// Of its namespace's labels, of itself, of the policies that select it, and of its node when it is on that one's network.
    fn pod_changes(&self, key: &ObjectKey) -> [Moment; 4] {
        let namespace = self
            .namespaces
            .get(&key.namespace)
            .map(|state| state.labels_changed)
            .unwrap_or_default();
        let Some(Endpoint { state, class }) = self.remembered(key) else {
            return [namespace; 4];
        };
        let node = match state.pod.host_network {
            true => self
                .nodes_changed
                .get(&state.pod.node)
                .copied()
                .unwrap_or_default(),
            false => Moment::default(),
        };
        [namespace, state.changed, class.isolation_changed, node]
    }
}
