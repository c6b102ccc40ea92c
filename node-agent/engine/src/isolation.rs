//! Which policies select pods, per direction.

use std::sync::Arc;

use crate::model::{
    Labels, NamespaceMatch, Peer, Peers, Policy, PolicyKey, Rule, Subject, Tier, Unmatched,
};
use crate::record::Direction;

/// The policies that select pods, in the order in which they are asked: by tier, priority and name. Selectors
/// are matched once, when labels or a policy change, never when a connection is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Isolation {
    ingress: Vec<Arc<Policy>>,
    egress: Vec<Arc<Policy>>,
    ingress_asks: Asks,
    egress_asks: Asks,
}

/// What rules look at beyond labels and ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// The address of the other side.
    pub(crate) addresses: bool,
    /// What DNS said of it.
    pub(crate) names: bool,
}

impl Asks {
    fn and(self, rule: &Rule) -> Self {
        let peers = match &rule.peers {
            Peers::Of(peers) => peers.as_slice(),
            Peers::Any => &[],
        };
        peers.iter().fold(self, |asks, peer| match peer {
            Peer::Block { .. } | Peer::Networks(_) => Self {
                addresses: true,
                ..asks
            },
            Peer::Domains(_) => Self {
                names: true,
                ..asks
            },
            Peer::Pods { .. } | Peer::OwnNetworkPods { .. } | Peer::Nodes(_) => asks,
        })
    }
}

impl Isolation {
    /// Those of some policies, in any order; one that comes twice is there once.
    pub(crate) fn of<'a>(policies: impl IntoIterator<Item = &'a Arc<Policy>>) -> Self {
        let mut policies: Vec<&Arc<Policy>> = policies.into_iter().collect();
        policies.sort_by(|one, other| one.place().cmp(&other.place()));
        policies.dedup_by(|one, other| one.key == other.key);
        let with = |direction: Direction| {
            let some = policies.iter().filter(|policy| policy.has_say(direction));
            let mut some: Vec<Arc<Policy>> = some.map(|policy| Arc::clone(policy)).collect();
            some.shrink_to_fit();
            some
        };
        Self {
            ingress: with(Direction::Ingress),
            egress: with(Direction::Egress),
            ..Self::default()
        }
        .settled()
    }

    /// Adds a policy in its place, instead of its older form.
    pub(crate) fn add(&mut self, policy: &Arc<Policy>) {
        self.remove(&policy.key);
        for (policies, direction) in [
            (&mut self.ingress, Direction::Ingress),
            (&mut self.egress, Direction::Egress),
        ] {
            if policy.has_say(direction) {
                let place = policies.partition_point(|other| other.place() < policy.place());
                policies.reserve_exact(1);
                policies.insert(place, Arc::clone(policy));
            }
        }
        self.settle();
    }

    /// Takes a policy out.
    pub(crate) fn remove(&mut self, key: &PolicyKey) {
        self.ingress.retain(|policy| policy.key != *key);
        self.egress.retain(|policy| policy.key != *key);
        self.settle();
    }

    /// The policies that have a say in a direction.
    pub(crate) fn policies(&self, direction: Direction) -> &[Arc<Policy>] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// What the rules of a direction look at.
    pub(crate) fn asks(&self, direction: Direction) -> Asks {
        match direction {
            Direction::Ingress => self.ingress_asks,
            Direction::Egress => self.egress_asks,
        }
    }

    fn settled(mut self) -> Self {
        self.settle();
        self
    }

    fn settle(&mut self) {
        let asks = |policies: &[Arc<Policy>], direction| {
            let rules = policies.iter().flat_map(|policy| policy.rules(direction));
            rules.fold(Asks::default(), Asks::and)
        };
        self.ingress_asks = asks(&self.ingress, Direction::Ingress);
        self.egress_asks = asks(&self.egress, Direction::Egress);
    }

    /// Those of them that isolate.
    pub(crate) fn isolating(&self, direction: Direction) -> impl Iterator<Item = &Arc<Policy>> {
        let policies = self.policies(direction).iter();
        policies.filter(|policy| policy.isolates())
    }
}

impl Policy {
    /// Whether it selects pods with a network of their own that have these labels, in a namespace of this
    /// name with those (R31, R47).
    pub(crate) fn selects(&self, name: &str, namespace: &Labels, pods: &Labels) -> bool {
        self.selects_in(name, namespace) && self.subject.pods.matches(pods)
    }

    /// Whether it may select pods of a namespace.
    pub(crate) fn selects_in(&self, name: &str, namespace: &Labels) -> bool {
        let Subject { namespaces, .. } = &self.subject;
        match namespaces {
            NamespaceMatch::Own => *self.key.namespace == *name,
            NamespaceMatch::Matching(selector) => selector.matches(namespace),
        }
    }

    /// Whether it is asked in a direction.
    pub(crate) fn has_say(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress.is_some(),
            Direction::Egress => self.egress.is_some(),
        }
    }

    /// Whether what it selects is denied what no rule allows.
    pub(crate) fn isolates(&self) -> bool {
        match self.unmatched {
            Unmatched::Denied => true,
            Unmatched::Passed | Unmatched::Unknown => false,
        }
    }

    /// Whether it is of a kind that is not evaluated yet: what it does is not known.
    pub(crate) fn is_unsupported(&self) -> bool {
        match self.unmatched {
            Unmatched::Unknown => true,
            Unmatched::Denied | Unmatched::Passed => false,
        }
    }

    /// Its place in the order in which policies are asked.
    fn place(&self) -> (Tier, Option<u16>, &str, &str) {
        (self.tier, self.priority, &self.key.name, &self.key.kind)
    }
}
