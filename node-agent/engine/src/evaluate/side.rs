//! The answer of one side.

use std::net::IpAddr;

use super::Profile;
use super::tiers::{End, Found, Walked};
use crate::cluster::{Class, Endpoint};
use crate::model::Protocol;
use crate::record::Direction;
use crate::verdict::{Decision, LeftOpen, PolicyRef, Reason, RuleRef, Side, UnknownBecause};
use crate::walk::{Question, Who};
use crate::{nearest, suggest};

/// A side, and why it is unknown when it is.
pub(crate) struct SideAnswer {
    pub(crate) side: Side,
    pub(crate) unknown_because: Option<UnknownBecause>,
}

impl SideAnswer {
    fn new(verdict: Decision, reason: Reason) -> Self {
        let side = Side {
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
        };
        Self {
            side,
            unknown_because: None,
        }
    }

    fn allowed(reason: Reason) -> Self {
        Self::new(Decision::Allowed, reason)
    }

    pub(super) fn unknown(reason: Reason, because: UnknownBecause) -> Self {
        Self {
            unknown_because: Some(because),
            ..Self::new(Decision::Unknown, reason)
        }
    }
}

impl Question<'_> {
    /// What the subject's policies say.
    pub(crate) fn answer(&self) -> SideAnswer {
        let subject = match &self.subject().who {
            Who::Pod { state, class } => Endpoint { state, class },
            Who::Node { .. } => return self.node_answer(),
            Who::World => return SideAnswer::allowed(Reason::NotSubject),
            Who::Unknown => {
                return SideAnswer::unknown(Reason::NotSubject, UnknownBecause::Identity);
            }
        };
        let mut answer = if self.is_itself() {
            SideAnswer::allowed(Reason::Itself)
        } else {
            self.walked(subject)
        };
        let isolating = subject.class.isolation.isolating(self.direction);
        answer.side.isolated_by = isolating.map(|policy| PolicyRef::of(policy)).collect();
        if answer.unknown_because == Some(UnknownBecause::UnsupportedPolicy) {
            let policies = subject.class.isolation.policies(self.direction).iter();
            let unsupported = policies.filter(|policy| policy.is_unsupported());
            answer.side.unsupported = unsupported.map(|policy| PolicyRef::of(policy)).collect();
        }
        answer
    }

    /// Nodes are no subject of the policies that are evaluated; others of the whole cluster may select them.
    fn node_answer(&self) -> SideAnswer {
        let policies = self.cluster.cluster_wide();
        let unsupported = policies.filter(|policy| policy.is_unsupported());
        let unsupported: Vec<_> = unsupported.map(PolicyRef::of).collect();
        if unsupported.is_empty() {
            return SideAnswer::allowed(Reason::NotSubject);
        }
        let mut answer = SideAnswer::unknown(Reason::NotSubject, UnknownBecause::UnsupportedPolicy);
        answer.side.unsupported = unsupported;
        answer
    }

    /// The decision of this side, and why it is unknown when it is.
    pub(super) fn decision(&self) -> (Decision, Option<UnknownBecause>) {
        match &self.subject().who {
            Who::Node { .. } => {
                let answer = self.node_answer();
                (answer.side.verdict, answer.unknown_because)
            }
            Who::World => (Decision::Allowed, None),
            Who::Unknown => (Decision::Unknown, Some(UnknownBecause::Identity)),
            Who::Pod { .. } if self.is_itself() => (Decision::Allowed, None),
            Who::Pod { class, .. } => {
                let walked = self.judged(class);
                (walked.decision(), walked.unknown)
            }
        }
    }

    /// The walk, and what no policy can say of its end.
    fn judged<'p>(&self, subject: &'p Class) -> Walked<'p> {
        let walked = self.walk(subject.isolation.policies(self.direction));
        // A group address has no policy of its own: undefined (R42).
        let open = (walked.is_by_policy() && self.is_to_a_group())
            .then_some(UnknownBecause::OpenInSpecification);
        Walked {
            unknown: walked.unknown.or(open),
            ..walked
        }
    }

    fn walked(&self, subject: Endpoint<'_>) -> SideAnswer {
        let policies = subject.class.isolation.policies(self.direction);
        let walked = self.judged(subject.class);
        let mut answer = match walked.end {
            End::Accepted(found) => {
                let mut answer = SideAnswer::allowed(Reason::Rule);
                answer.side.allowed_by = self.rule_ref(found);
                answer
            }
            End::Denied(found) => {
                let mut answer = SideAnswer::new(Decision::Denied, Reason::RuleDenied);
                answer.side.denied_by = self.rule_ref(found);
                answer
            }
            End::Unmatched => {
                let mut answer = SideAnswer::new(Decision::Denied, Reason::NoRuleMatched);
                answer.side.nearest = nearest::nearest(self, policies);
                answer
            }
            End::OwnNode => SideAnswer::allowed(Reason::OwnNode),
            End::Undecided if self.is_own_node() => SideAnswer::allowed(Reason::OwnNode),
            End::Undecided => SideAnswer::allowed(Reason::NotIsolated),
        };
        answer.unknown_because = walked.unknown;
        match (walked.end, answer.unknown_because) {
            (_, Some(_)) => answer.side.verdict = Decision::Unknown,
            (End::Unmatched, None) => {
                let nearest = answer.side.nearest.as_ref();
                answer.side.would_allow = suggest::would_allow(self, &subject.state.pod, nearest);
            }
            (End::Accepted(_) | End::Denied(_) | End::OwnNode | End::Undecided, None) => {}
        }
        answer.side.left_open = walked
            .left_open
            .or_else(|| self.isolated_the_other_way(subject, &walked));
        answer
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
    pub(super) fn open_where_isolated(&self) -> Option<UnknownBecause> {
        // Whoever is behind it may be the own node, or be selected.
        if matches!(self.peer().who, Who::Unknown) {
            return Some(UnknownBecause::Identity);
        }
        let icmp = matches!(self.protocol, Protocol::Icmp | Protocol::Icmpv6);
        let icmp_is_open = match self.profile {
            Profile::Generic | Profile::KubeRouter => icmp,
            Profile::Calico | Profile::Cilium => false,
        };
        (icmp_is_open || self.is_same_pod()).then_some(UnknownBecause::OpenInSpecification)
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
            | (Direction::Egress, Profile::Generic | Profile::KubeRouter) => true,
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
