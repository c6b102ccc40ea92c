//! Whether anybody enforces on this node: denied pairs that passed, and none that was stopped.

use std::collections::BTreeMap;

use crate::Moment;
use crate::aggregate::Span;
use crate::back_off::BackOff;
use crate::delays::Pair;
use crate::record::{Assessment, Cause, Connection};
use crate::scan::{Fold, TOLD_ALONE};
use crate::verdict::{Decision, PolicyRef};

/// Most pairs that are told apart.
const MOST_PAIRS: usize = 4_096;

/// Most policies that a record names.
const MOST_POLICIES: usize = 16;

/// What passed, and since when nothing was stopped.
#[derive(Debug, Default)]
pub(crate) struct Enforcing {
    /// In the order in which they came.
    passed: BTreeMap<Pair, usize>,
    policies: Vec<PolicyRef>,
    attempts: u64,
    span: Option<Span>,
    said: BackOff,
}

/// What is to be said.
pub(crate) struct NotEnforced {
    pub(crate) pairs: u64,
    pub(crate) attempts: u64,
    pub(crate) policies: Vec<PolicyRef>,
    pub(crate) span: Span,
}

impl Enforcing {
    /// Takes in attempts. What passed in a pod's first moments, or is acknowledged, says nothing of the node, and
    /// neither does what a pod stopped itself.
    pub(crate) fn note(&mut self, now: Moment, pair: Pair, connection: &Connection, count: u64) {
        match connection.assessment {
            Assessment::Blocked if connection.cause != Some(Cause::OwnFirewall) => {
                *self = Self::default();
            }
            Assessment::Unenforced
                if connection.start_window_s.is_none() && connection.acknowledged.is_none() =>
            {
                self.passed(now, pair, connection, count);
            }
            Assessment::Blocked
            | Assessment::Unenforced
            | Assessment::Allowed
            | Assessment::UnexpectedDrop
            | Assessment::Refused
            | Assessment::Unanswered
            | Assessment::Unknown => {}
        }
    }

    fn passed(&mut self, now: Moment, pair: Pair, connection: &Connection, count: u64) {
        let rank = self.passed.len();
        if rank < MOST_PAIRS {
            self.passed.entry(pair).or_insert(rank);
        }
        self.attempts += count;
        self.span = Some(
            self.span
                .map_or(Span::at(now), |span| span.join(Span::at(now))),
        );
        let verdict = &connection.verdict;
        for side in [&verdict.egress, &verdict.ingress] {
            let by_rule = side.denied_by.iter().map(|rule| &rule.policy);
            for policy in side.isolated_by.iter().chain(by_rule) {
                if side.verdict == Decision::Denied
                    && self.policies.len() < MOST_POLICIES
                    && !self.policies.contains(policy)
                {
                    self.policies.push(policy.clone());
                }
            }
        }
    }

    /// What to do with a pair's record.
    pub(crate) fn fold(&self, pair: &Pair, connection: &Connection) -> Fold {
        let is_late = self.passed.get(pair).is_none_or(|rank| *rank >= TOLD_ALONE);
        if connection.assessment == Assessment::Unenforced
            && connection.start_window_s.is_none()
            && self.passed.len() > TOLD_ALONE
            && is_late
        {
            Fold::Folded
        } else {
            Fold::Alone
        }
    }

    /// What is to be said now, or at the end.
    pub(crate) fn take_due(
        &mut self,
        now: Moment,
        window_ns: u64,
        everything: bool,
    ) -> Option<NotEnforced> {
        let is_due = everything || self.said.due(window_ns) <= now;
        if self.passed.len() < TOLD_ALONE || self.attempts == 0 || !is_due {
            return None;
        }
        self.said.say(now);
        Some(NotEnforced {
            pairs: self.passed.len() as u64,
            attempts: std::mem::take(&mut self.attempts),
            policies: self.policies.clone(),
            span: self.span.take().unwrap_or(Span::at(now)),
        })
    }
}
