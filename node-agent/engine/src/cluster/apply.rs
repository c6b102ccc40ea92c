//! How the cluster changes.

use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::classes::{Class, Traits};
use super::past::Key;
use super::policies::isolation;
use super::{Change, Cluster, GONE_KEPT, Gone, GonePod, NamespaceState, OwnNode, Owner, PodState};
use crate::identity::{Claimant, Identity, KEPT_NS};
use crate::input::Moment;
use crate::model::{Delta, Namespace, Node, ObjectKey, Pod};

impl Cluster {
    /// Takes in a delta and says whether a verdict may be another now. The same object again changes nothing.
    pub fn apply(&mut self, delta: &Delta, now: Moment) -> Change {
        self.gone.forget(now);
        let was = self.past.as_ref().map(|_| self.object(&Key::of(delta)));
        let change = self.take(delta, now);
        // A node's ranges of pod addresses change who may be behind one, though no verdict of before.
        let may_matter =
            change != Change::None || matches!(delta, Delta::Node(_) | Delta::NodeGone(_));
        if let (Some(past), Some(was)) = (&mut self.past, was)
            && may_matter
            && was != *delta
        {
            past.note(now, was);
        }
        change
    }

    fn take(&mut self, delta: &Delta, now: Moment) -> Change {
        match delta {
            Delta::Namespace(namespace) => self.set_namespace(namespace, now),
            Delta::NamespaceGone(name) => self.remove_namespace(name, now),
            Delta::Pod(pod) => self.set_pod(pod, now),
            Delta::PodGone(key) => self.remove_pod(key, now),
            Delta::Node(node) => self.set_node(node, now),
            Delta::NodeGone(name) => self.remove_node(name, now),
            Delta::Service(service) => self.set_service(&service.key, Some(service), now),
            Delta::ServiceGone(key) => self.set_service(key, None, now),
            Delta::EndpointSlice(slice) => self.set_slice(&slice.key, Some(slice), now),
            Delta::EndpointSliceGone(key) => self.set_slice(key, None, now),
            Delta::Policy(policy) => self.set_policy(policy, now),
            Delta::PolicyGone(key) => self.remove_policy(key, now),
        }
    }

    /// Says which node this is, and every address of its interfaces. They are the node's, whatever its Node
    /// object says: bridge and tunnel addresses are not in it (R29).
    pub fn set_own_node(&mut self, name: &Arc<str>, addresses: &[IpAddr], now: Moment) -> Change {
        let mut addresses: Vec<IpAddr> = addresses
            .iter()
            .map(IpAddr::to_canonical)
            .filter(|ip| !ip.is_loopback())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let new = Claimant::OwnNode(Arc::clone(name));
        let old = self.own_node.take();
        let old_claimant = old
            .as_ref()
            .map(|own| Claimant::OwnNode(Arc::clone(&own.name)));
        let old_claims = old_claimant
            .as_ref()
            .zip(old.as_ref().map(|own| own.addresses.as_slice()));
        let changed = self.reclaim(old_claims, Some((&new, &addresses)), now);
        if let Some(node) = self.nodes.get(name).filter(|_| old.is_none()).cloned() {
            self.claim_tunnels(&node, &node.tunnel_ips, &[], now);
        }
        self.own_node = Some(OwnNode {
            name: Arc::clone(name),
            addresses,
        });
        if changed && let Some(past) = &mut self.past {
            past.begin_again(now);
        }
        self.node_changed(name, changed, now)
    }

    fn set_namespace(&mut self, namespace: &Namespace, now: Moment) -> Change {
        let state = self.namespace_mut(&namespace.name, now);
        let mut namespace = namespace.clone();
        namespace.add_name_label();
        state.explicit = true;
        self.replace_namespace(namespace, now)
    }

    fn remove_namespace(&mut self, name: &Arc<str>, now: Moment) -> Change {
        let Some(state) = self.namespaces.get_mut(name) else {
            return Change::None;
        };
        state.explicit = false;
        let change = self.replace_namespace(Namespace::known_by_name(name), now);
        self.drop_empty(name);
        change
    }

    fn replace_namespace(&mut self, namespace: Namespace, now: Moment) -> Change {
        let name = Arc::clone(&namespace.name);
        let state = self.namespace_mut(&name, now);
        let old = std::mem::replace(&mut state.namespace, namespace);
        let changed = state.namespace.labels != old.labels;
        if changed {
            state.labels_changed = now;
            self.select_again_in(&name, &old.labels);
        }
        verdicts_if(changed)
    }

    fn set_pod(&mut self, pod: &Pod, now: Moment) -> Change {
        let old = self.live(&pod.key).cloned();
        if old.as_ref().is_some_and(|old| old.pod == *pod) {
            return Change::None;
        }
        self.namespace_mut(&pod.key.namespace, now);
        let replaced = old.as_ref().is_none_or(|old| old.pod.uid != pod.uid);
        let (since, changed) = match &old {
            // It is not on the network before it has an address, of which the server hears last.
            Some(old) if !replaced && old.pod.ips.is_empty() && !pod.ips.is_empty() => {
                (now, old.changed)
            }
            Some(old) if !replaced => (old.since, old.changed),
            Some(_) | None => (now, now),
        };
        let relevant = replaced
            || old
                .as_ref()
                .is_some_and(|old| !old.pod.same_for_policy(pod));
        let Some(state) = self.namespaces.get_mut(&pod.key.namespace) else {
            return Change::None;
        };
        let policies = [&self.cluster_wide, &state.policies];
        let strings = &mut self.strings;
        let make = |mut traits: Traits| {
            traits.share(strings);
            let isolation = isolation(policies, &state.namespace, &traits);
            (traits, &state.namespace, isolation)
        };
        let class = state.classes.join(&mut self.classes, pod, make);
        if let Some(old) = &old {
            state.classes.leave(&mut self.classes, old.class);
        }
        let mut shared = pod.clone();
        shared.key.namespace = Arc::clone(&state.namespace.name);
        shared.node = self.strings.share(&pod.node);
        shared.service_account = self.strings.share(&pod.service_account);
        if let Some(Class { traits, .. }) = self.classes.get(class) {
            shared.labels = traits.labels.clone();
            shared.ports = Arc::clone(&traits.ports);
            shared.workload = traits.workload.clone();
        }
        let state_of_pod = PodState {
            pod: shared,
            class,
            since,
            changed: if relevant { now } else { changed },
        };
        let name = Arc::clone(&pod.key.name);
        state.pods.insert(name, Arc::new(state_of_pod));
        self.claim_for_pod(old.as_ref().map(|old| &old.pod), Some(pod), now);
        let was_seen = old.as_ref().is_some_and(|old| old.pod.is_on_the_network());
        verdicts_if(relevant && (was_seen || pod.is_on_the_network()))
    }

    fn remove_pod(&mut self, key: &ObjectKey, now: Moment) -> Change {
        let removed = self
            .namespaces
            .get_mut(&key.namespace)
            .and_then(|state| state.pods.remove(&key.name));
        let Some(removed) = removed else {
            return Change::None;
        };
        self.claim_for_pod(Some(&removed.pod), None, now);
        let was_seen = removed.pod.is_on_the_network();
        self.leave_class(removed, now);
        self.drop_empty(&key.namespace);
        verdicts_if(was_seen)
    }

    /// Keeps a pod that is gone, with its class as it was.
    fn leave_class(&mut self, pod: Arc<PodState>, now: Moment) {
        let Some(class) = self.classes.get(pod.class).cloned() else {
            return;
        };
        if let Some(state) = self.namespaces.get_mut(&pod.pod.key.namespace) {
            state.classes.leave(&mut self.classes, pod.class);
        }
        self.gone.remember(GonePod {
            at: now,
            state: pod,
            class,
        });
    }

    fn set_node(&mut self, node: &Node, now: Moment) -> Change {
        let claimant = Claimant::Node(Arc::clone(&node.name));
        let old = self.nodes.insert(Arc::clone(&node.name), node.clone());
        let old_claims = old.as_ref().map(|old| (&claimant, old.ips.as_slice()));
        let moved = self.reclaim(old_claims, Some((&claimant, &node.ips)), now);
        let old_tunnels = old.as_ref().map_or(&[][..], |old| &old.tunnel_ips);
        let moved = self.claim_tunnels(node, old_tunnels, &node.tunnel_ips, now) || moved;
        let labelled = old.as_ref().is_some_and(|old| old.labels != node.labels);
        self.addresses.set_pod_ranges(&node.name, &node.pod_ranges);
        self.node_changed(&node.name, moved || labelled, now)
    }

    fn remove_node(&mut self, name: &Arc<str>, now: Moment) -> Change {
        let Some(old) = self.nodes.remove(name) else {
            return Change::None;
        };
        let claimant = Claimant::Node(Arc::clone(name));
        let changed = self.reclaim(Some((&claimant, &old.ips)), None, now);
        let changed = self.claim_tunnels(&old, &old.tunnel_ips, &[], now) || changed;
        self.addresses.set_pod_ranges(name, &[]);
        self.node_changed(name, changed, now);
        if !self.host_pods.contains_key(name) {
            self.nodes_changed.remove(name);
        }
        verdicts_if(changed)
    }

    /// Changes which ends of tunnels another node has, and says whether anything changed. Of the own node its interfaces say it.
    fn claim_tunnels(&mut self, node: &Node, old: &[IpAddr], new: &[IpAddr], now: Moment) -> bool {
        let own = self.own_node.as_ref();
        if own.is_some_and(|own| own.name == node.name) {
            return false;
        }
        let claimant = Claimant::Tunnel(Arc::clone(&node.name));
        self.reclaim(Some((&claimant, old)), Some((&claimant, new)), now)
    }

    /// Changes who claims addresses, once everything else that changes with it is in its place.
    pub(super) fn reclaim(
        &mut self,
        old: Option<(&Claimant, &[IpAddr])>,
        new: Option<(&Claimant, &[IpAddr])>,
        now: Moment,
    ) -> bool {
        let changed = self.addresses.reclaim(old, new, now);
        let touched = old.into_iter().chain(new).flat_map(|(_, ips)| ips);
        for ip in touched {
            let owner = match self.addresses.lookup(*ip, Moment(u64::MAX)) {
                Identity::Pod(key) => self.live(&key).cloned(),
                Identity::Node(_)
                | Identity::Service(_)
                | Identity::NodeService(_)
                | Identity::World
                | Identity::Ambiguous
                | Identity::Unknown => None,
            };
            let owner = owner.map(|pod| Owner {
                class: pod.class,
                pod,
            });
            self.owners.set(*ip, owner);
        }
        changed
    }

    fn node_changed(&mut self, name: &Arc<str>, changed: bool, now: Moment) -> Change {
        if changed {
            self.nodes_changed.insert(Arc::clone(name), now);
        }
        verdicts_if(changed)
    }

    pub(super) fn namespace_mut(&mut self, name: &Arc<str>, now: Moment) -> &mut NamespaceState {
        match self.namespaces.entry(Arc::clone(name)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(NamespaceState::new(name, now)),
        }
    }

    pub(super) fn drop_empty(&mut self, name: &Arc<str>) {
        let empty = |state: &NamespaceState| {
            !state.explicit && state.pods.is_empty() && state.policies.is_empty()
        };
        if self.namespaces.get(name).is_some_and(empty) {
            self.namespaces.remove(name);
        }
    }
}

impl Gone {
    fn remember(&mut self, pod: GonePod) {
        let key = pod.state.pod.key.clone();
        self.order.push_back((pod.at, key.clone()));
        self.pods.insert(key, pod);
        if self.order.len() > GONE_KEPT {
            self.forget_first();
        }
    }

    fn forget(&mut self, now: Moment) {
        while self
            .order
            .front()
            .is_some_and(|(gone, _)| now.since(*gone) > KEPT_NS)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, key)) = self.order.pop_front() else {
            return;
        };
        // A namesake that went later has its own place in the order.
        if self.pods.get(&key).is_some_and(|pod| pod.at == at) {
            self.pods.remove(&key);
        }
    }
}

impl Pod {
    /// It has an address and is not finished: somebody may see it.
    fn is_on_the_network(&self) -> bool {
        !self.finished && !self.ips.is_empty()
    }

    /// No verdict can tell the two apart.
    fn same_for_policy(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.labels == other.labels
            && self.ips == other.ips
            && self.node == other.node
            && self.host_network == other.host_network
            && self.finished == other.finished
            && self.ports == other.ports
    }
}

impl Namespace {
    /// A namespace of which only the name is known.
    pub(crate) fn known_by_name(name: &Arc<str>) -> Self {
        let mut namespace = Self {
            name: Arc::clone(name),
            labels: Default::default(),
            annotations: Default::default(),
        };
        namespace.add_name_label();
        namespace
    }

    /// Adds the label that every namespace carries (R34).
    pub(crate) fn add_name_label(&mut self) {
        self.labels
            .insert("kubernetes.io/metadata.name".into(), Arc::clone(&self.name));
    }
}

pub(super) fn verdicts_if(changed: bool) -> Change {
    if changed {
        Change::Verdicts
    } else {
        Change::None
    }
}
