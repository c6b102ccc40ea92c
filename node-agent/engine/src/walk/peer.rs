//! Whether a peer of a rule is the other side.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Fit, Notes, Question, Who};
use crate::cluster::{Class, PodState};
use crate::connection::Profile;
use crate::model::{Labels, NamespaceMatch, Policy, Selector};
use crate::verdict::{LeftOpen, Missed, MissedWhat};

impl Question<'_> {
    pub(super) fn pods_fit(
        &self,
        policy: &Policy,
        namespaces: &NamespaceMatch,
        pods: &Selector,
        notes: &mut impl Notes,
    ) -> Fit {
        match &self.peer().who {
            Who::Pod { class, .. } => {
                let in_namespace = namespace_fit(policy, namespaces, class, notes);
                let own = &class.traits.labels;
                in_namespace.min(labels_fit(pods, own, MissedWhat::PodLabels, notes))
            }
            Who::Node { name, pod } => {
                let fit = self.host_pods_fit(policy, namespaces, pods, name, *pod);
                if fit == Fit::Misses {
                    notes.miss(|| not_a_pod(pods, format!("node {name}")));
                }
                fit
            }
            Who::World => {
                notes.miss(|| not_a_pod(pods, self.peer_address()));
                Fit::Misses
            }
            Who::Unknown => Fit::Open(LeftOpen::Unidentified),
        }
    }

    /// A selector that would match a pod on the node's network is read both ways (R31). The named dataplanes
    /// see the node.
    fn host_pods_fit(
        &self,
        policy: &Policy,
        namespaces: &NamespaceMatch,
        pods: &Selector,
        node: &str,
        pod: Option<&PodState>,
    ) -> Fit {
        match self.profile {
            Profile::KubeRouter | Profile::Calico | Profile::Cilium => return Fit::Misses,
            Profile::Generic | Profile::Disputed => {}
        }
        let selected = |state: &PodState| {
            let namespace = match namespaces {
                NamespaceMatch::Own => state.pod.key.namespace == policy.key.namespace,
                NamespaceMatch::Matching(selector) => {
                    let namespace = self.cluster.namespace(&state.pod.key.namespace);
                    namespace.is_some_and(|namespace| selector.matches(&namespace.labels))
                }
            };
            namespace && pods.matches(&state.pod.labels)
        };
        let any = match pod {
            Some(pod) => selected(pod),
            None => self.cluster.host_pods(node).any(selected),
        };
        if any {
            Fit::Open(LeftOpen::HostNetwork)
        } else {
            Fit::Misses
        }
    }

    pub(super) fn block_fit(&self, cidr: &IpNet, except: &[IpNet], notes: &mut impl Notes) -> Fit {
        let peer = self.peer();
        let Some(ip) = peer.ip else {
            return Fit::Open(self.without_address());
        };
        // Cilium asks the identity before the address: blocks never are pods or nodes (R18).
        let in_cluster = match (self.profile, &peer.who) {
            (Profile::Cilium, Who::Pod { .. } | Who::Node { .. }) => true,
            (Profile::Cilium, Who::Unknown) => return Fit::Open(LeftOpen::Unidentified),
            (Profile::Cilium, Who::World)
            | (Profile::Generic | Profile::KubeRouter | Profile::Calico | Profile::Disputed, _) => {
                false
            }
        };
        if in_cluster {
            notes
                .miss(|| block_missed(MissedWhat::Cidr, format!("{cidr} outside the cluster"), ip));
            return Fit::Misses;
        }
        if cidr.addr().is_ipv4() != ip.is_ipv4() {
            notes.miss(|| block_missed(MissedWhat::Family, cidr.to_string(), ip));
            return Fit::Misses;
        }
        if !cidr.contains(&ip) {
            notes.miss(|| block_missed(MissedWhat::Cidr, cidr.to_string(), ip));
            return Fit::Misses;
        }
        if let Some(hole) = except.iter().find(|hole| hole.contains(&ip)) {
            notes.miss(|| block_missed(MissedWhat::Except, format!("{cidr} except {hole}"), ip));
            return Fit::Misses;
        }
        match (self.profile, &peer.who) {
            (_, Who::World)
            | (Profile::Generic | Profile::KubeRouter | Profile::Calico | Profile::Cilium, _) => {
                Fit::Matches
            }
            (Profile::Disputed, Who::Pod { .. } | Who::Node { .. }) => {
                Fit::Open(LeftOpen::Dataplane)
            }
            (Profile::Disputed, Who::Unknown) => Fit::Open(LeftOpen::Unidentified),
        }
    }

    /// What is missing where the other side has no address to look at.
    pub(super) fn without_address(&self) -> LeftOpen {
        match &self.peer().who {
            Who::Unknown => LeftOpen::Unidentified,
            Who::Pod { .. } | Who::Node { .. } | Who::World => LeftOpen::NoAddress,
        }
    }

    pub(super) fn peer_address(&self) -> String {
        self.peer()
            .ip
            .map_or_else(|| "outside the cluster".to_owned(), |ip| ip.to_string())
    }
}

fn namespace_fit(
    policy: &Policy,
    namespaces: &NamespaceMatch,
    class: &Class,
    notes: &mut impl Notes,
) -> Fit {
    let (own, found) = (&policy.key.namespace, &class.namespace);
    match namespaces {
        NamespaceMatch::Own => {
            if own != found {
                notes.miss(|| Missed {
                    what: MissedWhat::Namespace,
                    wanted: own.to_string(),
                    found: found.to_string(),
                });
            }
            Fit::when(own == found)
        }
        NamespaceMatch::Matching(selector) => {
            let labels = &class.namespace_labels;
            labels_fit(selector, labels, MissedWhat::NamespaceLabels, notes)
        }
    }
}

pub(super) fn labels_fit(
    selector: &Selector,
    labels: &Labels,
    what: MissedWhat,
    notes: &mut impl Notes,
) -> Fit {
    let mut fit = Fit::Matches;
    for requirement in selector
        .requirements
        .iter()
        .filter(|requirement| !requirement.matches(labels))
    {
        fit = Fit::Misses;
        notes.miss(|| Missed {
            what,
            wanted: requirement.to_string(),
            found: requirement.found_in(labels),
        });
    }
    fit
}

pub(super) fn not_a_pod(pods: &Selector, found: String) -> Missed {
    let wanted = if pods.requirements.is_empty() {
        "a pod".to_owned()
    } else {
        format!("a pod with {pods}")
    };
    Missed {
        what: MissedWhat::NotAPod,
        wanted,
        found,
    }
}

pub(super) fn block_missed(what: MissedWhat, wanted: String, ip: IpAddr) -> Missed {
    Missed {
        what,
        wanted,
        found: ip.to_string(),
    }
}
