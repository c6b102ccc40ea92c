//! Peers that nobody is: N03, N04, N18.

use super::policy::{NetPol, PlacedPeer};
use super::rule::{Peer, Peers};
use super::selectors::nearly;
use super::server::means_server;
use super::world::{KnownPod, World};
use super::{Check, Facts, Finding, Severity};
use crate::model::{NamespaceMatch, Selector};
use crate::record::Direction;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        for placed in policy.peers() {
            let Peer::Pods { namespaces, pods } = placed.peer else {
                continue;
            };
            let question = PodsPeer {
                world: &facts.world,
                policy,
                placed: &placed,
                namespaces,
                pods,
            };
            findings.extend(question.check());
        }
    }
}

/// One peer that selects pods.
struct PodsPeer<'a> {
    world: &'a World,
    policy: &'a NetPol<'a>,
    placed: &'a PlacedPeer<'a>,
    namespaces: &'a NamespaceMatch,
    pods: &'a Selector,
}

impl PodsPeer<'_> {
    fn check(&self) -> Option<Finding> {
        let own = &self.policy.key.namespace;
        let Some(found) = self.world.peer_pods(own, self.namespaces, self.pods) else {
            return self.untold();
        };
        if !found.is_empty() {
            return self.only_host_network(&found);
        }
        if self.pods.requirements.is_empty() {
            return None;
        }
        let namespaces = self.world.peer_namespaces(own, self.namespaces)?;
        if namespaces.is_empty() {
            return None;
        }
        match self.namespaces {
            NamespaceMatch::Own => self.meant_with_neighbour(),
            NamespaceMatch::Matching(_) => self.meant_apart(),
        }
        .or_else(|| self.nobody(&namespaces))
    }

    /// N18. Where a server is meant, N17 says more.
    fn only_host_network(&self, found: &[&KnownPod]) -> Option<Finding> {
        let to_server = self.placed.direction == Direction::Egress && means_server(self.pods);
        if to_server || !found.iter().all(|pod| pod.pod.host_network) {
            return None;
        }
        let first = found.first()?;
        let finding = self.policy.finding(
            Check::N18,
            Severity::Error,
            &self.placed.field,
            format!(
                "all it selects is on the host network: {}",
                first.shown()
            ),
            "selectors do not see such pods, their traffic is the node's and this peer is nobody on most networks",
        );
        Some(finding.with_fix("add an ipBlock peer with the addresses of the nodes"))
    }

    /// N04: nobody here, but in the namespaces that the peer beside it names.
    fn meant_with_neighbour(&self) -> Option<Finding> {
        let Peers::Of(peers) = &self.placed.rule.peers else {
            return None;
        };
        let at = peers
            .iter()
            .position(|peer| std::ptr::eq(peer, self.placed.peer))?;
        let beside = [at.checked_sub(1), at.checked_add(1)];
        for other in beside.into_iter().flatten().filter_map(|at| peers.get(at)) {
            let Some(selector) = only_namespaces(other) else {
                continue;
            };
            let own = &self.policy.key.namespace;
            let matching = NamespaceMatch::Matching(selector.clone());
            let there = self.world.peer_pods(own, &matching, self.pods);
            if there.is_some_and(|pods| !pods.is_empty()) {
                return Some(self.two_for_one(Severity::Error, selector));
            }
        }
        None
    }

    fn two_for_one(&self, severity: Severity, beside: &Selector) -> Finding {
        let pods = self.pods;
        let own = &self.policy.key.namespace;
        let finding = self.policy.finding(
            Check::N04,
            severity,
            &self.placed.field,
            format!("{pods} and namespaces with {beside} are two peers, each beginning with a dash"),
            format!(
                "it is every pod of those namespaces, or {pods} in namespace {own}, never both together"
            ),
        );
        finding.with_fix("for pods of those namespaces with that label leave out the second dash")
    }

    /// N04 without facts: two items, one a namespace and one a pod. In a longer list, or where the pods are
    /// known to be here, that is a choice which somebody made.
    fn untold(&self) -> Option<Finding> {
        let Peers::Of(peers) = &self.placed.rule.peers else {
            return None;
        };
        let [one, other] = peers.as_slice() else {
            return None;
        };
        let beside = if std::ptr::eq(one, self.placed.peer) {
            other
        } else {
            one
        };
        let is_own = matches!(self.namespaces, NamespaceMatch::Own);
        let selector = only_namespaces(beside)?;
        (is_own && !self.pods.requirements.is_empty())
            .then(|| self.two_for_one(Severity::Info, selector))
    }

    /// N04 the other way round: nobody there, but here.
    fn meant_apart(&self) -> Option<Finding> {
        let own = &self.policy.key.namespace;
        let here = self.world.pods_in(own)?;
        let pod = here.iter().find(|pod| pod.fits(self.pods))?;
        let finding = self.policy.finding(
            Check::N04,
            Severity::Warning,
            &self.placed.field,
            format!(
                "a namespaceSelector and a podSelector in one peer must both match, and {} does not exist there",
                self.pods
            ),
            format!("this peer is nobody; {} is in namespace {own}", pod.shown()),
        );
        Some(finding.with_fix("write two peers, each with its dash, if either of them is meant"))
    }

    /// N03.
    fn nobody(&self, namespaces: &[std::sync::Arc<str>]) -> Option<Finding> {
        let names: Vec<&str> = namespaces.iter().map(AsRef::as_ref).collect();
        let wrong = match names.as_slice() {
            [name] => format!("no pod in namespace {name} has {}", self.pods),
            several => format!("no pod in {} namespaces has {}", several.len(), self.pods),
        };
        let finding = self.policy.finding(
            Check::N03,
            Severity::Warning,
            format!("{}.podSelector", self.placed.field),
            wrong,
            "this peer is nobody",
        );
        let pods = namespaces
            .iter()
            .filter_map(|namespace| self.world.pods_in(namespace))
            .flatten();
        Some(match nearly(self.pods, pods) {
            Some(hint) => finding.with_fix(hint),
            None => finding,
        })
    }
}

/// The namespaces of a peer that says nothing of pods.
fn only_namespaces(peer: &Peer) -> Option<&Selector> {
    match peer {
        Peer::Pods {
            namespaces: NamespaceMatch::Matching(selector),
            pods,
        } if pods.requirements.is_empty() && !selector.requirements.is_empty() => Some(selector),
        Peer::Pods { .. } | Peer::Block { .. } => None,
    }
}
