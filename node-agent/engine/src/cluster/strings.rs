//! Strings that many objects have in common, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::model::{
    Labels, NamespaceMatch, Operator, Peer, Peers, Policy, PortSpec, Ports, Selector,
};

/// Below this many strings nothing is swept out.
const LEAST_SWEPT: usize = 1024;

/// Strings by their text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    known: HashSet<Arc<str>, FixedState>,
    sweep_at: usize,
}

impl Strings {
    /// The string that everybody else with this text has.
    pub(crate) fn share(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(LEAST_SWEPT) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        self.known.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// The same labels with shared strings.
    pub(crate) fn share_all(&mut self, labels: &Labels) -> Labels {
        labels
            .iter()
            .map(|(key, value)| (self.share(key), self.share(value)))
            .collect()
    }

    /// Gives a policy shared strings where it is compared with pods: equal ones are then told by their place.
    pub(crate) fn share_policy(&mut self, policy: &mut Policy) {
        policy.key.namespace = self.share(&policy.key.namespace);
        policy.key.kind = self.share(&policy.key.kind);
        self.share_namespaces(&mut policy.subject.namespaces);
        self.share_selector(&mut policy.subject.pods);
        let rules = policy.ingress.iter_mut().chain(&mut policy.egress);
        for rule in rules.flatten() {
            if let Peers::Of(peers) = &mut rule.peers {
                peers.iter_mut().for_each(|peer| self.share_peer(peer));
            }
            if let Ports::Of(ports) = &mut rule.ports {
                for port in ports {
                    if let PortSpec::Named(name) = &mut port.port {
                        *name = self.share(name);
                    }
                }
            }
        }
    }

    fn share_peer(&mut self, peer: &mut Peer) {
        match peer {
            Peer::Pods { namespaces, pods } => {
                self.share_namespaces(namespaces);
                self.share_selector(pods);
            }
            Peer::OwnNetworkPods { namespaces, pods } => {
                self.share_selector(namespaces);
                self.share_selector(pods);
            }
            Peer::Nodes(selector) => self.share_selector(selector),
            Peer::Block { .. } | Peer::Networks(_) | Peer::Domains(_) => {}
        }
    }

    fn share_namespaces(&mut self, namespaces: &mut NamespaceMatch) {
        match namespaces {
            NamespaceMatch::Own => {}
            NamespaceMatch::Matching(selector) => self.share_selector(selector),
        }
    }

    fn share_selector(&mut self, selector: &mut Selector) {
        for requirement in &mut selector.requirements {
            requirement.key = self.share(&requirement.key);
            match &mut requirement.operator {
                Operator::In(values) | Operator::NotIn(values) => {
                    for value in values {
                        *value = self.share(value);
                    }
                }
                Operator::Exists | Operator::DoesNotExist => {}
            }
        }
    }
}
