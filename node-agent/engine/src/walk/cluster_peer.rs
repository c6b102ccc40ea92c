//! Whether a peer of a policy of the whole cluster is the other side.

use ipnet::IpNet;

use super::peer::{block_missed, labels_fit, not_a_pod};
use super::{Fit, Notes, Question, Who};
use crate::model::{DomainName, Selector};
use crate::verdict::{LeftOpen, Missed, MissedWhat};

impl Question<'_> {
    /// Pods only, and of them only those with a network of their own: that is said, not left open (R47).
    pub(super) fn own_network_pods_fit(
        &self,
        namespaces: &Selector,
        pods: &Selector,
        notes: &mut impl Notes,
    ) -> Fit {
        let found = match &self.peer().who {
            Who::Pod { class, .. } => {
                let labels = &class.namespace_labels;
                let in_namespace =
                    labels_fit(namespaces, labels, MissedWhat::NamespaceLabels, notes);
                return in_namespace.min(labels_fit(
                    pods,
                    &class.traits.labels,
                    MissedWhat::PodLabels,
                    notes,
                ));
            }
            Who::Unknown => return Fit::Open(LeftOpen::Unidentified),
            Who::Node { name, .. } => format!("node {name}"),
            Who::World => self.peer_address(),
        };
        notes.miss(|| not_a_pod(pods, found));
        Fit::Misses
    }

    /// The addresses in the status of matching nodes, never a pod (R50).
    pub(super) fn nodes_fit(&self, nodes: &Selector, notes: &mut impl Notes) -> Fit {
        let peer = self.peer();
        let node = match &peer.who {
            Who::Node { name, .. } => match self.cluster.node(name) {
                Some(node) => Some(node),
                // A node without its object: neither its labels nor its addresses are known.
                None => return Fit::Open(LeftOpen::Unidentified),
            },
            Who::Unknown => return Fit::Open(LeftOpen::Unidentified),
            Who::Pod { .. } | Who::World => None,
        };
        let node = node.filter(|node| peer.ip.is_none_or(|ip| node.ips.contains(&ip)));
        let Some(node) = node else {
            notes.miss(|| Missed {
                what: MissedWhat::NotANode,
                wanted: format!("a node with {nodes}"),
                found: self.peer_address(),
            });
            return Fit::Misses;
        };
        labels_fit(nodes, &node.labels, MissedWhat::NodeLabels, notes)
    }

    /// The address alone, whoever has it (R51).
    pub(super) fn networks_fit(&self, networks: &[IpNet], notes: &mut impl Notes) -> Fit {
        let Some(ip) = self.peer().ip else {
            return Fit::Open(self.without_address());
        };
        // A block of the other family contains no address of this one.
        let inside = networks.iter().any(|network| network.contains(&ip));
        if !inside {
            notes.miss(|| block_missed(MissedWhat::Cidr, listed(networks), ip));
        }
        Fit::when(inside)
    }

    /// The addresses that DNS gave for a matching name; as long as nobody says what those are it is open (R52).
    pub(super) fn domains_fit(&self, domains: &[DomainName], notes: &mut impl Notes) -> Fit {
        let Some(names) = self.cluster.names() else {
            return Fit::Open(LeftOpen::DomainAnswers);
        };
        let Some(ip) = self.peer().ip else {
            return Fit::Open(self.without_address());
        };
        let given = names
            .iter()
            .filter(|(_, addresses)| addresses.contains(&ip))
            .any(|(name, _)| domains.iter().any(|domain| domain.matches(name)));
        if !given {
            notes.miss(|| block_missed(MissedWhat::DomainName, listed(domains), ip));
        }
        Fit::when(given)
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(" or ")
}
