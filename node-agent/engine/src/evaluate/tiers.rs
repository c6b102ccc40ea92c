//! The walk over the tiers that a subject is under: the first rule that matches decides, or passes on.
//!
//! It knows tiers, policies and rules and no kind of policy: what a kind means is in its inner form.

use std::sync::Arc;

use crate::model::{Action, Policy, Rule};
use crate::verdict::{Decision, LeftOpen};
use crate::walk::{Fit, Question};

/// A rule in its place.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) policy: &'a Policy,
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
}

/// How a walk ends.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    /// A rule accepts.
    Accepted(Found<'a>),
    /// A rule denies.
    Denied(Found<'a>),
    /// Policies isolate, none of their rules matches.
    Unmatched,
    /// Isolated, but from or to its own node.
    OwnNode,
    /// No tier decides.
    Undecided,
}

impl End<'_> {
    pub(super) fn decision(&self) -> Decision {
        match self {
            Self::Accepted(_) | Self::OwnNode | Self::Undecided => Decision::Allowed,
            Self::Denied(_) | Self::Unmatched => Decision::Denied,
        }
    }
}

/// A walk and what is doubtful about its end.
#[derive(Clone, Copy)]
pub(super) struct Walked<'a> {
    pub(super) end: End<'a>,
    /// Why it may end with the other decision.
    pub(super) unknown: Option<LeftOpen>,
    pub(super) left_open: Option<LeftOpen>,
    /// A rule before the end may have decided, be it in the same way.
    pub(super) may_be_decided: bool,
}

impl<'a> Walked<'a> {
    fn to(end: End<'a>) -> Self {
        Self {
            end,
            unknown: None,
            left_open: None,
            may_be_decided: false,
        }
    }

    /// Whether a policy decides, or may.
    pub(super) fn is_by_policy(&self) -> bool {
        self.may_be_decided
            || match self.end {
                End::Accepted(_) | End::Denied(_) | End::Unmatched => true,
                End::OwnNode | End::Undecided => false,
            }
    }

    pub(super) fn decision(&self) -> Decision {
        match self.unknown {
            Some(_) => Decision::Unknown,
            None => self.end.decision(),
        }
    }
}

/// What rules before the end would have done, of which it is not known whether they match.
#[derive(Default)]
struct Doubts {
    accept: Option<LeftOpen>,
    deny: Option<LeftOpen>,
    pass: Option<LeftOpen>,
}

impl Doubts {
    fn note(&mut self, action: Action, because: LeftOpen) {
        let doubt = match action {
            Action::Accept => &mut self.accept,
            Action::Deny => &mut self.deny,
            Action::Pass => &mut self.pass,
        };
        doubt.get_or_insert(because);
    }
}

impl Question<'_> {
    /// Walks over policies that come in the order in which they are asked. One of a kind that is not evaluated yet
    /// may decide otherwise.
    pub(super) fn walk<'p>(&self, policies: &'p [Arc<Policy>]) -> Walked<'p> {
        let walked = self.walk_known(policies);
        match policies.iter().any(|policy| policy.is_unsupported()) {
            true => Walked {
                unknown: Some(LeftOpen::UnsupportedPolicy),
                ..walked
            },
            false => walked,
        }
    }

    fn walk_known<'p>(&self, policies: &'p [Arc<Policy>]) -> Walked<'p> {
        let Some(first) = policies.first() else {
            return Walked::to(End::Undecided);
        };
        let size = policies.partition_point(|policy| policy.tier == first.tier);
        let (tier, later) = policies.split_at(size);
        let isolated = tier.iter().any(|policy| policy.isolates());
        // What is always allowed is so where pods are isolated; other tiers see it like anything else (R29).
        if isolated && self.is_own_node() {
            return Walked::to(End::OwnNode);
        }
        let mut doubts = Doubts::default();
        let mut left = tier;
        while let [policy, rivals @ ..] = left {
            for (index, rule) in policy.rules(self.direction).iter().enumerate() {
                match self.fit(policy, rule) {
                    Fit::Misses => {}
                    Fit::Open(because) => doubts.note(rule.action, because),
                    Fit::Matches => {
                        let found = Found {
                            policy,
                            index,
                            rule,
                        };
                        let mut walked = self.applied(found, later);
                        if self.is_contested(found, walked.decision(), rivals, later) {
                            walked.left_open = Some(LeftOpen::EqualPriority);
                        }
                        return self.doubted(walked, &doubts, later);
                    }
                }
            }
            left = rivals;
        }
        let walked = match isolated {
            true => self.unmatched(),
            false => self.walk_known(later),
        };
        self.doubted(walked, &doubts, later)
    }

    fn applied<'p>(&self, found: Found<'p>, later: &'p [Arc<Policy>]) -> Walked<'p> {
        match found.rule.action {
            Action::Accept => Walked::to(End::Accepted(found)),
            Action::Deny => Walked::to(End::Denied(found)),
            Action::Pass => self.walk(later),
        }
    }

    fn unmatched<'p>(&self) -> Walked<'p> {
        Walked {
            unknown: self.open_where_isolated(),
            ..Walked::to(End::Unmatched)
        }
    }

    /// Whether the first rule that matches of another policy with the same priority leads to another decision:
    /// which of them is applied is undefined (R45).
    fn is_contested(
        &self,
        found: Found<'_>,
        decision: Decision,
        rivals: &[Arc<Policy>],
        later: &[Arc<Policy>],
    ) -> bool {
        let Some(priority) = found.policy.priority else {
            return false;
        };
        let rivals = rivals
            .iter()
            .take_while(|rival| rival.priority == Some(priority));
        let mut first_rules = rivals.filter_map(|policy| {
            let rules = policy.rules(self.direction);
            let mut rules = rules.iter().enumerate();
            let (index, rule) = rules.find(|(_, rule)| self.fit(policy, rule) != Fit::Misses)?;
            Some(Found {
                policy,
                index,
                rule,
            })
        });
        first_rules.any(|rival| self.applied(rival, later).decision() != decision)
    }

    /// An end after rules of which it is not known whether they match.
    fn doubted<'p>(
        &self,
        walked: Walked<'p>,
        doubts: &Doubts,
        later: &[Arc<Policy>],
    ) -> Walked<'p> {
        let decision = walked.end.decision();
        let passed = doubts.pass.map(|because| (because, self.walk(later)));
        let accept = doubts.accept.filter(|_| decision != Decision::Allowed);
        let deny = doubts.deny.filter(|_| decision != Decision::Denied);
        let unknown = walked.unknown.or(accept).or(deny).or(passed
            .filter(|(_, passed)| passed.decision() != decision)
            .map(|(because, _)| because));
        Walked {
            unknown,
            may_be_decided: walked.may_be_decided
                || doubts.accept.or(doubts.deny).is_some()
                || passed.is_some_and(|(_, passed)| passed.is_by_policy()),
            ..walked
        }
    }
}
