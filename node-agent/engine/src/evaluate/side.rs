//! The answer of one side.

use std::net::IpAddr;
use std::sync::Arc;

use super::Profile;
use super::tiers::{End, Found, Walked};
use crate::cluster::{Class, Endpoint, PodState};
use crate::input::Moment;
use crate::model::{Peer, Peers, Policy, Protocol};
use crate::record::Direction;
use crate::verdict::{Decision, LeftOpen, PolicyRef, Reason, RuleRef, Side, UnknownBecause};
use crate::walk::{Fit, Question, Who};
use crate::{nearest, suggest};

impl Side {
    fn new(verdict: Decision, reason: Reason) -> Self {
        Self {
            verdict,
            reason,
            kept: None,
            isolated_by: Vec::new(),
            unsupported: Vec::new(),
            allowed_by: None,
            denied_by: None,
            left_open: None,
            nearest: None,
            would_allow: None,
        }
    }

    fn allowed(reason: Reason) -> Self {
        Self::new(Decision::Allowed, reason)
    }

    fn unknown(reason: Reason, left_open: LeftOpen) -> Self {
        Self {
            left_open: Some(left_open),
            ..Self::new(Decision::Unknown, reason)
        }
    }

    /// The same side as far as something is not known.
    pub(super) fn opened(self, left_open: LeftOpen) -> Self {
        Self {
            verdict: Decision::Unknown,
            allowed_by: None,
            denied_by: None,
            left_open: Some(left_open),
            nearest: None,
            would_allow: None,
            ..self
        }
    }
}

impl Question<'_> {
    /// What the subject's policies say.
    pub(crate) fn answer(&self) -> Side {
        let subject = match &self.subject().who {
            Who::Pod { state, class } => Endpoint { state, class },
            Who::Node { .. } => return self.node_answer(),
            Who::World => return Side::allowed(Reason::NotSubject),
            Who::Unknown => return Side::unknown(Reason::NotSubject, LeftOpen::Unidentified),
        };
        let mut side = if self.is_itself() {
            Side::allowed(Reason::Itself)
        } else {
            self.walked(subject)
        };
        let isolating = subject.class.isolation.isolating(self.direction);
        side.isolated_by = isolating.map(|policy| PolicyRef::of(policy)).collect();
        if side.left_open == Some(LeftOpen::UnsupportedPolicy) {
            let policies = subject.class.isolation.policies(self.direction).iter();
            let unsupported = policies.filter(|policy| policy.is_unsupported());
            side.unsupported = unsupported.map(|policy| PolicyRef::of(policy)).collect();
        }
        side
    }

    /// Nodes are no subject of the policies that are evaluated; others of the whole cluster may select them.
    fn node_answer(&self) -> Side {
        let mut side = self.node_decision();
        if side.left_open == Some(LeftOpen::UnsupportedPolicy) {
            side.unsupported = self.unsupported_for_nodes().map(PolicyRef::of).collect();
        } else if self.direction == Direction::Ingress && self.is_to_a_node_port() {
            side.left_open = Some(LeftOpen::NodePort);
        } else if self.walk(&self.host_policies()).decision() != Decision::Allowed {
            side.left_open = Some(LeftOpen::HostNetwork);
        }
        side
    }

    fn node_decision(&self) -> Side {
        match self.unsupported_for_nodes().next() {
            None => Side::allowed(Reason::NotSubject),
            Some(_) => Side::unknown(Reason::NotSubject, LeftOpen::UnsupportedPolicy),
        }
    }

    /// Whether a Service takes the connection over at the node.
    fn is_to_a_node_port(&self) -> bool {
        let (Who::Node { .. }, false, Some(ip), Some(port)) = (
            &self.destination.who,
            self.via_service,
            self.destination.ip,
            self.port,
        ) else {
            return false;
        };
        // As of now, like all that a Service is judged by.
        let service = self
            .cluster
            .service_at(ip, (port, self.protocol), Moment(u64::MAX));
        service.is_some()
    }

    fn unsupported_for_nodes(&self) -> impl Iterator<Item = &Policy> {
        let policies = self.cluster.cluster_wide();
        policies.filter(|policy| policy.is_unsupported())
    }

    /// The policies that isolate a pod on its node's network where selectors see it (R31). The named
    /// dataplanes see the node.
    pub(crate) fn host_policies(&self) -> Vec<Arc<Policy>> {
        let Who::Node { name, pod } = &self.subject().who else {
            return Vec::new();
        };
        let selecting = |pod: &PodState| self.cluster.would_isolate(&pod.pod, self.direction);
        match (self.profile, pod) {
            (Profile::KubeRouter | Profile::Calico | Profile::Cilium, _) => Vec::new(),
            (Profile::Generic | Profile::Disputed, Some(pod)) => selecting(pod),
            (Profile::Generic | Profile::Disputed, None) => {
                let pods = self.cluster.host_pods(name);
                pods.flat_map(selecting).collect()
            }
        }
    }

    /// The decision of this side, and why it is unknown when it is.
    pub(super) fn decision(&self) -> (Decision, Option<UnknownBecause>) {
        match &self.subject().who {
            Who::Node { .. } => {
                let side = self.node_decision();
                (side.verdict, side.unknown_because())
            }
            Who::World => (Decision::Allowed, None),
            Who::Unknown => (Decision::Unknown, Some(UnknownBecause::Identity)),
            Who::Pod { .. } if self.is_itself() => (Decision::Allowed, None),
            Who::Pod { class, .. } => {
                let walked = self.judged(class);
                (walked.decision(), walked.unknown.map(LeftOpen::because))
            }
        }
    }

    /// The walk, and what no policy can say of its end.
    fn judged<'p>(&self, subject: &'p Class) -> Walked<'p> {
        let walked = self.walk(subject.isolation.policies(self.direction));
        // A group address has no policy of its own: undefined (R42).
        let open =
            (walked.is_by_policy() && self.is_to_a_group()).then_some(LeftOpen::GroupAddress);
        Walked {
            unknown: walked.unknown.or(open),
            ..walked
        }
    }

    fn walked(&self, subject: Endpoint<'_>) -> Side {
        let policies = subject.class.isolation.policies(self.direction);
        let walked = self.judged(subject.class);
        let mut side = match walked.end {
            End::Accepted(found) => Side {
                allowed_by: self.rule_ref(found),
                ..Side::allowed(Reason::Rule)
            },
            End::Denied(found) => Side {
                denied_by: self.rule_ref(found),
                ..Side::new(Decision::Denied, Reason::RuleDenied)
            },
            End::Unmatched => Side {
                // A rule that misses nothing matches, or may.
                nearest: nearest::nearest(self, policies, usize::from(!walked.may_be_decided)),
                ..Side::new(Decision::Denied, Reason::NoRuleMatched)
            },
            End::OwnNode => Side::allowed(Reason::OwnNode),
            End::Undecided if self.is_own_node() => Side::allowed(Reason::OwnNode),
            End::Undecided => Side::allowed(Reason::NotIsolated),
        };
        match (walked.end, walked.unknown) {
            (_, Some(_)) => side.verdict = Decision::Unknown,
            // A backend's address is what a rule would have to name, and nobody says which.
            (End::Unmatched, None) if self.is_to_a_node_port() => {}
            (End::Unmatched, None) => {
                let nearest = side.nearest.as_ref();
                side.would_allow = suggest::would_allow(self, &subject.state.pod, nearest);
            }
            (End::Accepted(_) | End::Denied(_) | End::OwnNode | End::Undecided, None) => {}
        }
        side.left_open = walked.unknown.or_else(|| self.choice(subject, &walked));
        side
    }

    /// The choice among the answers that the specification allows.
    fn choice(&self, subject: Endpoint<'_>, walked: &Walked<'_>) -> Option<LeftOpen> {
        let by_end = match (walked.end, self.direction, self.profile) {
            (End::OwnNode, Direction::Egress, Profile::Generic | Profile::Disputed) => {
                (!self.is_accepted(subject)).then_some(LeftOpen::OwnNode)
            }
            (End::Denied(found), ..) if self.is_by_name(found) => Some(LeftOpen::DomainNames),
            (
                End::OwnNode | End::Accepted(_) | End::Denied(_) | End::Unmatched | End::Undecided,
                ..,
            ) => None,
        };
        let by_port =
            (walked.is_by_policy() && self.is_to_a_node_port()).then_some(LeftOpen::NodePort);
        walked
            .left_open
            .or(by_end)
            .or(by_port)
            .or_else(|| self.isolated_the_other_way(subject, walked))
    }

    /// Whether a rule accepts what is allowed in any case: then whoever asks the policies allows it, too.
    fn is_accepted(&self, subject: Endpoint<'_>) -> bool {
        let mut isolating = subject.class.isolation.isolating(self.direction);
        isolating.any(|policy| {
            let mut rules = policy.rules(self.direction).iter();
            rules.any(|rule| matches!(self.fit(policy, rule), Fit::Matches))
        })
    }

    /// Whether a rule is for this connection because of a domain name: that is for rules that accept (R52).
    fn is_by_name(&self, found: Found<'_>) -> bool {
        let place = self.matching_place(found.policy, found.rule);
        match (&found.rule.peers, place.and_then(|place| place.peer)) {
            (Peers::Of(peers), Some(peer)) => matches!(peers.get(peer), Some(Peer::Domains(_))),
            (Peers::Of(_) | Peers::Any, _) => false,
        }
    }

    fn rule_ref(&self, found: Found<'_>) -> Option<RuleRef> {
        let place = self.matching_place(found.policy, found.rule)?;
        Some(RuleRef {
            policy: PolicyRef::of(found.policy),
            rule: found.index,
            peer: place.peer,
            port: place.port,
        })
    }

    /// Denied by a tier after the one that isolates the subject in the other direction only: some hold that it
    /// is never asked (R57).
    fn isolated_the_other_way(
        &self,
        subject: Endpoint<'_>,
        walked: &Walked<'_>,
    ) -> Option<LeftOpen> {
        let End::Denied(found) = walked.end else {
            return None;
        };
        let isolated_before = |direction| {
            let mut isolating = subject.class.isolation.isolating(direction);
            isolating.any(|policy| policy.tier < found.policy.tier)
        };
        (isolated_before(self.direction.other()) && !isolated_before(self.direction))
            .then_some(LeftOpen::OtherDirection)
    }

    /// Why a side that isolates and on which no rule matches is not simply denied.
    pub(super) fn open_where_isolated(&self) -> Option<LeftOpen> {
        // Whoever is behind it may be the own node, the pod itself, or be selected.
        if matches!(self.peer().who, Who::Unknown) {
            return Some(LeftOpen::Unidentified);
        }
        let icmp = matches!(self.protocol, Protocol::Icmp | Protocol::Icmpv6);
        let icmp_is_open = match self.profile {
            Profile::Generic | Profile::KubeRouter | Profile::Disputed => icmp,
            Profile::Calico | Profile::Cilium => false,
        };
        let hairpin = self.is_same_pod().then_some(LeftOpen::Hairpin);
        hairpin.or(icmp_is_open.then_some(LeftOpen::Icmp))
    }

    /// The pod's own address or loopback: it never reaches policy (R32, R42). Through a Service it may.
    fn is_itself(&self) -> bool {
        let loopback = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_loopback());
        loopback(self.source.ip)
            || loopback(self.destination.ip)
            || (self.is_same_pod() && !self.via_service)
    }

    fn is_same_pod(&self) -> bool {
        match (&self.source.who, &self.destination.who) {
            (
                Who::Pod { state: source, .. },
                Who::Pod {
                    state: destination, ..
                },
            ) => std::ptr::eq(*source, *destination),
            (Who::Pod { .. } | Who::Node { .. } | Who::World | Who::Unknown, _) => false,
        }
    }

    /// From the pod's own node everything is allowed. To it as well, by the specification's text; Calico and
    /// Cilium ask the policies (R29).
    pub(super) fn is_own_node(&self) -> bool {
        let own = match (&self.subject().who, &self.peer().who) {
            (Who::Pod { state, .. }, Who::Node { name, .. }) => {
                !name.is_empty() && *name == state.pod.node
            }
            (Who::Pod { .. } | Who::Node { .. } | Who::World | Who::Unknown, _) => false,
        };
        own && match (self.direction, self.profile) {
            (Direction::Ingress, _)
            | (Direction::Egress, Profile::Generic | Profile::KubeRouter | Profile::Disputed) => {
                true
            }
            (Direction::Egress, Profile::Calico | Profile::Cilium) => false,
        }
    }

    fn is_to_a_group(&self) -> bool {
        self.destination.ip.is_some_and(|ip| match ip {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        })
    }
}
