//! The answer of one side.

use std::net::IpAddr;
use std::sync::Arc;

use super::Profile;
use crate::cluster::PodState;
use crate::model::{Policy, Protocol};
use crate::record::Direction;
use crate::verdict::{Decision, PolicyRef, Reason, RuleRef, Side, UnknownBecause};
use crate::walk::{Fit, Question, Who};
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
            allowed_by: None,
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
            Who::Pod { state, .. } => *state,
            Who::Node { .. } | Who::World => return SideAnswer::allowed(Reason::NotSubject),
            Who::Unknown => {
                return SideAnswer::unknown(Reason::NotSubject, UnknownBecause::Identity);
            }
        };
        let policies = subject.isolation.policies(self.direction);
        let mut answer = if self.is_itself() {
            SideAnswer::allowed(Reason::Itself)
        } else if self.is_own_node(subject) {
            SideAnswer::allowed(Reason::OwnNode)
        } else if policies.is_empty() {
            SideAnswer::allowed(Reason::NotIsolated)
        } else {
            self.walked(subject, policies)
        };
        answer.side.isolated_by = policies
            .iter()
            .map(|policy| PolicyRef::of(policy))
            .collect();
        answer
    }

    fn walked(&self, subject: &PodState, policies: &[Arc<Policy>]) -> SideAnswer {
        if let Some(rule) = self.first_match(policies) {
            // A group address has no policy of its own: undefined (R42).
            if self.is_to_a_group() {
                return SideAnswer::unknown(Reason::Rule, UnknownBecause::OpenInSpecification);
            }
            let mut answer = SideAnswer::allowed(Reason::Rule);
            answer.side.allowed_by = Some(rule);
            return answer;
        }
        let mut answer = match self.open_because(policies) {
            Some(because) => SideAnswer::unknown(Reason::NoRuleMatched, because),
            None => SideAnswer::new(Decision::Denied, Reason::NoRuleMatched),
        };
        answer.side.nearest = nearest::nearest(self, policies);
        if answer.side.verdict == Decision::Denied {
            answer.side.would_allow =
                suggest::would_allow(self, &subject.pod, answer.side.nearest.as_ref());
        }
        answer
    }

    fn first_match(&self, policies: &[Arc<Policy>]) -> Option<RuleRef> {
        policies.iter().find_map(|policy| {
            let rules = policy.rules(self.direction);
            rules.iter().enumerate().find_map(|(index, rule)| {
                let place = self.matching_place(policy, rule)?;
                Some(RuleRef {
                    policy: PolicyRef::of(policy),
                    rule: index,
                    peer: place.peer,
                    port: place.port,
                })
            })
        })
    }

    /// Why a side on which no rule matched is not simply denied.
    fn open_because(&self, policies: &[Arc<Policy>]) -> Option<UnknownBecause> {
        // Whoever is behind it may be the own node, or be selected.
        if matches!(self.peer().who, Who::Unknown) {
            return Some(UnknownBecause::Identity);
        }
        let icmp = matches!(self.protocol, Protocol::Icmp | Protocol::Icmpv6);
        let icmp_is_open = match self.profile {
            Profile::Generic | Profile::KubeRouter => icmp,
            Profile::Calico | Profile::Cilium => false,
        };
        if icmp_is_open || self.is_to_a_group() || self.is_same_pod() {
            return Some(UnknownBecause::OpenInSpecification);
        }
        let rules = policies.iter().flat_map(|policy| {
            policy
                .rules(self.direction)
                .iter()
                .map(move |rule| (policy, rule))
        });
        rules
            .map(|(policy, rule)| self.fit(policy, rule))
            .find_map(|fit| match fit {
                Fit::Open(because) => Some(because),
                Fit::Misses | Fit::Matches => None,
            })
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
            ) => source.pod.key == destination.pod.key,
            (Who::Pod { .. } | Who::Node { .. } | Who::World | Who::Unknown, _) => false,
        }
    }

    /// From the pod's own node everything is allowed. To it as well, by the specification's text; Calico and
    /// Cilium ask the policies (R29).
    fn is_own_node(&self, subject: &PodState) -> bool {
        let own = match &self.peer().who {
            Who::Node { name, .. } => !name.is_empty() && *name == subject.pod.node,
            Who::Pod { .. } | Who::World | Who::Unknown => false,
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
