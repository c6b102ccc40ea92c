//! The cluster as it was. Nobody keeps whole clusters: from what is now and from what each object was before it
//! changed, the part that connections between some addresses rest on is put together as it was at a moment, and
//! judged like any other cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use super::past::{Before, Key, Past, State};
use super::policies::is_cluster_wide;
use crate::connection::{Between, Profile};
use crate::identity::Claimant;
use crate::input::Moment;
use crate::model::{Delta, Policy};
use crate::verdict::{Brief, Decision};

/// When everything of a cluster that was put together happened: its own past does not matter.
const START: Moment = Moment(0);

/// Most states that are gone through for one question.
const MOST_STATES: usize = 64;

/// What policy said of a connection throughout a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throughout {
    /// In every state the same.
    Same(Brief),
    /// Not in every state the same.
    Differs,
    /// The past is not kept that far back, or there were too many states.
    NotKept,
}

impl Cluster {
    /// The part of the cluster that connections between these addresses rest on, as it was at a moment: who had
    /// them, what policy said. `None` when the past is not kept that far back. What DNS has answered is as of now.
    #[must_use]
    pub fn as_of(&self, at: Moment, addresses: &[IpAddr]) -> Option<Self> {
        let addresses = addresses.iter().map(IpAddr::to_canonical).collect();
        let past = self.past.as_ref()?;
        Some(Then::of(self, past, past.state_at(at)?, &addresses).cluster)
    }

    /// What policy said of a connection in every state between two moments, both included.
    #[must_use]
    pub fn throughout(
        &self,
        between: &Between,
        profile: Profile,
        from: Moment,
        until: Moment,
    ) -> Throughout {
        let ends =
            BTreeSet::from([between.source, between.destination].map(|ip| ip.to_canonical()));
        let past = self.past.as_ref();
        let span = past.and_then(|past| Some((past, past.state_at(from)?, past.state_at(until)?)));
        let Some((past, first, last)) = span else {
            return Throughout::NotKept;
        };
        let states = self.states(past, &ends, first, last);
        if states.len() > MOST_STATES {
            return Throughout::NotKept;
        }
        let mut briefs = states.into_iter().map(|state| {
            let then = Then::of(self, past, state, &ends);
            then.cluster.decide_anew(between, profile)
        });
        let Some(first) = briefs.next() else {
            return Throughout::NotKept;
        };
        match briefs.all(|other| decisions(&first) == decisions(&other)) {
            true => Throughout::Same(first),
            false => Throughout::Differs,
        }
    }

    /// The first state, and each in which a connection between two addresses may rest on something else.
    fn states(
        &self,
        past: &Past,
        ends: &BTreeSet<IpAddr>,
        first: State,
        last: State,
    ) -> BTreeSet<State> {
        let changes: Vec<(State, &Before)> = past
            .since(first)
            .take_while(|(state, _)| *state <= last)
            .collect();
        let known = [first, last].map(|state| Then::of(self, past, state, ends));
        let mut touched: BTreeSet<Key> =
            known.iter().flat_map(|then| &then.taken).cloned().collect();
        let was_there = changes.iter().filter(|(_, change)| {
            has_one_of(&change.was, ends)
                || matches!(&change.was, Delta::Pod(pod) if pod.host_network)
        });
        touched.extend(was_there.map(|(_, change)| Key::of(&change.was)));
        // What lies behind a Service may have come and gone with its slices.
        let through_service = touched.iter().any(|key| matches!(key, Key::Service(_)));
        let namespaces: BTreeSet<Arc<str>> = touched.iter().filter_map(Key::namespace).collect();
        let touches = |key: &Key| match key {
            Key::Policy(key) => is_cluster_wide(key) || namespaces.contains(&key.namespace),
            Key::Namespace(name) => namespaces.contains(name),
            Key::Node(_) | Key::Service(_) | Key::Slice(_) => true,
            Key::Pod(_) => touched.contains(key),
        };
        let moved = changes
            .iter()
            .filter(|(_, change)| through_service || touches(&Key::of(&change.was)));
        let states = moved.map(|(state, _)| *state);
        states.chain([first]).collect()
    }
}

impl Key {
    fn of_claimant(claimant: &Claimant) -> Self {
        match claimant {
            Claimant::Pod { key, .. } | Claimant::HostPod { key, .. } => Self::Pod(key.clone()),
            Claimant::Node(name) | Claimant::OwnNode(name) | Claimant::Tunnel(name) => {
                Self::Node(Arc::clone(name))
            }
            Claimant::Service(key) | Claimant::Published(key) => Self::Service(key.clone()),
        }
    }

    /// The namespace of a pod.
    fn namespace(&self) -> Option<Arc<str>> {
        match self {
            Self::Pod(key) => Some(Arc::clone(&key.namespace)),
            Self::Namespace(_)
            | Self::Node(_)
            | Self::Service(_)
            | Self::Slice(_)
            | Self::Policy(_) => None,
        }
    }
}

/// A cluster that is put together, and what was taken for it.
struct Then<'a> {
    now: &'a Cluster,
    /// What has changed since, as it was.
    was: BTreeMap<Key, &'a Delta>,
    taken: BTreeSet<Key>,
    cluster: Cluster,
}

impl<'a> Then<'a> {
    fn of(now: &'a Cluster, past: &'a Past, state: State, ends: &BTreeSet<IpAddr>) -> Self {
        let mut was = BTreeMap::new();
        // Of several changes the first one says what was before all of them.
        for (_, change) in past.since(state).rev() {
            was.insert(Key::of(&change.was), &change.was);
        }
        let mut then = Self {
            now,
            was,
            taken: BTreeSet::new(),
            cluster: Cluster {
                names: now.names.clone(),
                ..Cluster::default()
            },
        };
        if let Some(own) = &now.own_node {
            then.cluster.set_own_node(&own.name, &own.addresses, START);
        }
        then.take_owners(ends);
        let backends = then.take_slices();
        then.take_owners(&backends);
        then.take_nodes(&ends.union(&backends).copied().collect());
        then.take_policies();
        then
    }

    /// Takes an object as it was then.
    fn take(&mut self, key: Key) {
        if self.taken.contains(&key) {
            return;
        }
        match self.was.get(&key) {
            Some(was) => self.cluster.apply(was, START),
            None => self.cluster.apply(&self.now.object(&key), START),
        };
        self.taken.insert(key);
    }

    fn take_all(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.take(key);
        }
    }

    /// The keys of what has changed since and was such.
    fn that_was(&self, is_such: impl Fn(&Delta) -> bool) -> Vec<Key> {
        let such = self.was.iter().filter(|(_, was)| is_such(was));
        such.map(|(key, _)| key.clone()).collect()
    }

    /// Whoever has an address, or had it.
    fn take_owners(&mut self, addresses: &BTreeSet<IpAddr>) {
        let claimants = addresses
            .iter()
            .flat_map(|ip| self.now.addresses.claimed_by(*ip));
        let now: Vec<Key> = claimants.map(Key::of_claimant).collect();
        let then = self.that_was(|was| has_one_of(was, addresses));
        self.take_all(now.into_iter().chain(then));
    }

    /// The slices of the Services taken; gives the addresses behind them.
    fn take_slices(&mut self) -> BTreeSet<IpAddr> {
        let services: Vec<_> = self.cluster.services.keys().cloned().collect();
        for key in services {
            let now = self
                .now
                .slices_of(&key)
                .map(|slice| Key::Slice(slice.key.clone()));
            let now: Vec<Key> = now.collect();
            let then = self.that_was(|was| {
                matches!(was, Delta::EndpointSlice(slice)
                    if slice.key.namespace == key.namespace && slice.service == key.name)
            });
            self.take_all(now.into_iter().chain(then));
        }
        let slices = self.cluster.slices.values();
        slices.flat_map(|slice| &slice.ready).copied().collect()
    }

    /// The nodes that are asked about: of the pods taken, of those addresses, of their ranges; and the pods that
    /// share their networks.
    fn take_nodes(&mut self, addresses: &BTreeSet<IpAddr>) {
        let of_pods = self.cluster.pods().map(|pod| Arc::clone(&pod.node));
        let taken = self.cluster.nodes.keys().cloned();
        let mut names: BTreeSet<Arc<str>> = of_pods.chain(taken).collect();
        names.extend(self.now.own_node.iter().map(|own| Arc::clone(&own.name)));
        names.extend(self.now.addresses.ranged(addresses).cloned());
        let then = self.that_was(|was| {
            matches!(was, Delta::Node(_))
                || matches!(was, Delta::Pod(pod) if pod.host_network && names.contains(&pod.node))
        });
        let sharing = names.iter().filter_map(|name| self.now.host_pods.get(name));
        let now: Vec<Key> = sharing.flatten().cloned().map(Key::Pod).collect();
        self.take_all(names.into_iter().map(Key::Node));
        self.take_all(now.into_iter().chain(then));
    }

    /// The namespaces of the pods taken, and every policy that may select one of those.
    fn take_policies(&mut self) {
        let namespaces: BTreeSet<Arc<str>> = self.cluster.namespaces.keys().cloned().collect();
        let of_namespaces = namespaces
            .iter()
            .filter_map(|name| self.now.namespaces.get(name));
        let policies = of_namespaces.flat_map(|state| state.policies.iter());
        let policies = policies.chain(self.now.cluster_wide.iter());
        let now: Vec<Key> = policies
            .map(|policy| Key::Policy(policy.key.clone()))
            .collect();
        let then = self.that_was(|was| {
            matches!(was, Delta::Policy(Policy { key, .. })
                if is_cluster_wide(key) || namespaces.contains(&key.namespace))
        });
        self.take_all(namespaces.into_iter().map(Key::Namespace));
        self.take_all(now.into_iter().chain(then));
    }
}

fn decisions(brief: &Brief) -> [Decision; 3] {
    [brief.verdict, brief.egress, brief.ingress]
}

/// Whether an object has one of these addresses.
fn has_one_of(delta: &Delta, addresses: &BTreeSet<IpAddr>) -> bool {
    let none: &[IpAddr] = &[];
    let (ips, more) = match delta {
        Delta::Pod(pod) => (pod.ips.as_slice(), none),
        Delta::Node(node) => (node.ips.as_slice(), node.tunnel_ips.as_slice()),
        Delta::Service(service) => (service.ips.as_slice(), none),
        Delta::Namespace(_)
        | Delta::NamespaceGone(_)
        | Delta::PodGone(_)
        | Delta::NodeGone(_)
        | Delta::ServiceGone(_)
        | Delta::EndpointSlice(_)
        | Delta::EndpointSliceGone(_)
        | Delta::Policy(_)
        | Delta::PolicyGone(_) => (none, none),
    };
    ips.iter().chain(more).any(|ip| addresses.contains(ip))
}
