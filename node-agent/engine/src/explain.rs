//! One connection in full: every policy that has a say on either side, every rule of it with what it missed,
//! and the change that would allow it.
//!
//! It asks what judging asks, by the same walk over the same policies, so the two cannot disagree.

mod open;
mod text;

use serde::Serialize;

pub use text::Paragraph;

use crate::cluster::Cluster;
use crate::connection::{Connection, PartyKind, Profile};
use crate::evaluate::whichever_backend;
use crate::model::{Action, Peers, Policy, Ports, Rule, Tier};
use crate::suggest::{self, Suggestion};
use crate::verdict::{Decision, Missed, MissedWhat, PolicyRef, Side, UnknownBecause, Verdict};
use crate::walk::{Fit, Question, Who};

/// A connection in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// As [`Verdict`] has it.
    pub verdict: Decision,
    /// What the source's policies say.
    pub egress: ExplainedSide,
    /// What the destination's policies say.
    pub ingress: ExplainedSide,
    /// Why it is unknown; only with [`Decision::Unknown`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<UnknownBecause>,
    /// The policies that would allow it, all of them needed; empty unless it is denied, and when no rule of a
    /// NetworkPolicy can allow it.
    pub fix: Vec<Fix>,
    /// For people: who is at its ends.
    #[serde(skip)]
    ends: [String; 2],
    #[serde(skip)]
    port: String,
}

/// One side with every policy that has a say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedSide {
    /// The answer.
    #[serde(flatten)]
    pub side: Side,
    /// Every policy that isolates this side, in the order of their names; `side` does not repeat them.
    pub isolated_by: Vec<PolicyRef>,
    /// Those that are asked, in that order, then those that select the pod for the other direction only. Of a pod
    /// on its node's network those that are asked where selectors see it.
    pub policies: Vec<ExplainedPolicy>,
}

/// A policy with each of its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedPolicy {
    /// Which.
    #[serde(flatten)]
    pub policy: PolicyRef,
    /// When it is asked.
    pub tier: Tier,
    /// It is of a kind that is not evaluated yet: its rules are not known.
    #[serde(skip_serializing_if = "is_false")]
    pub unsupported: bool,
    /// Why it has no say on this side although it selects the pod: it is for the other direction only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Those of this direction; a policy of the tier of NetworkPolicy without any allows nothing.
    pub rules: Vec<ExplainedRule>,
}

/// A rule, and how it fits the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRule {
    /// Index in `spec.ingress` or `spec.egress`.
    pub rule: usize,
    /// What it does with the connections it is for.
    pub action: Action,
    /// How the whole of it fits.
    pub fit: RuleFit,
    /// Each item of `from` or `to`; absent when the rule is for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<ExplainedItem>>,
    /// Each item of `ports`; absent when the rule is for every port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<ExplainedItem>>,
}

/// A peer or a port of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedItem {
    /// How it fits.
    pub fit: RuleFit,
    /// Every condition that is not met.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
}

/// How a part of a rule fits a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleFit {
    /// It is for this connection.
    Matches,
    /// It is not.
    Misses,
    /// The specification, or what is known, does not say.
    Unknown,
}

/// A policy as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// Which.
    pub policy: PolicyRef,
    /// There is none of that name yet.
    pub new: bool,
    /// The whole object as YAML: lists replace on merge, so a rule alone would remove the others. Labels and
    /// annotations are not in it.
    pub object: String,
}

impl Cluster {
    /// Explains the verdict on a connection. Of a Service it shows the first backend that is not allowed, else
    /// the first.
    #[must_use]
    pub fn explain(&self, connection: &Connection, profile: Profile) -> Explanation {
        let Verdict {
            verdict,
            egress,
            ingress,
            unknown_because,
        } = self.evaluate(connection, profile);
        let shown = self.shown(connection, profile);
        let shown = shown.as_ref().unwrap_or(connection);
        self.ask(shown, profile, |out, into| Explanation {
            verdict,
            unknown_because,
            fix: fix(&[(&out, &egress), (&into, &ingress)]),
            egress: out.explained(egress),
            ingress: into.explained(ingress),
            ends: [&connection.source, &connection.destination].map(|party| self.describe(party)),
            port: connection.port_in_words(),
        })
    }

    /// The backend that stands for a Service.
    fn shown(&self, connection: &Connection, profile: Profile) -> Option<Connection> {
        let PartyKind::Service(key) = &connection.destination.identity else {
            return None;
        };
        let backends = self.backends(connection, key);
        let stopped = backends
            .iter()
            .find(|backend| self.evaluate(backend, profile).verdict != Decision::Allowed);
        let backend = stopped.or(backends.first()).cloned();
        Some(backend.unwrap_or_else(|| whichever_backend(connection)))
    }
}

impl Question<'_> {
    fn explained(&self, mut side: Side) -> ExplainedSide {
        let on_host = self.host_policies();
        let (asked, others) = match &self.subject().who {
            Who::Pod { class, .. } => (
                class.isolation.policies(self.direction),
                class.isolation.policies(self.direction.other()),
            ),
            Who::Node { .. } => (on_host.as_slice(), &[][..]),
            Who::World | Who::Unknown => (&[][..], &[][..]),
        };
        let others = others
            .iter()
            .filter(|policy| !policy.has_say(self.direction));
        let policies = asked.iter().chain(others);
        ExplainedSide {
            isolated_by: std::mem::take(&mut side.isolated_by),
            side,
            policies: policies
                .map(|policy| self.explained_policy(policy))
                .collect(),
        }
    }

    fn explained_policy(&self, policy: &Policy) -> ExplainedPolicy {
        let rules = policy.rules(self.direction).iter().enumerate();
        let wrong_way = || Missed {
            what: MissedWhat::Direction,
            wanted: self.direction.other().as_type().to_owned(),
            found: self.direction.as_type().to_owned(),
        };
        ExplainedPolicy {
            policy: PolicyRef::of(policy),
            tier: policy.tier,
            unsupported: policy.is_unsupported(),
            missed: (!policy.has_say(self.direction)).then(wrong_way),
            rules: rules
                .map(|(index, rule)| self.explained_rule(policy, index, rule))
                .collect(),
        }
    }

    fn explained_rule(&self, policy: &Policy, index: usize, rule: &Rule) -> ExplainedRule {
        let peers = match &rule.peers {
            Peers::Any => None,
            Peers::Of(peers) => Some(explained_items(peers, |peer, missed| {
                self.peer_fit(policy, peer, missed)
            })),
        };
        let ports = match &rule.ports {
            Ports::Any => None,
            Ports::Of(ports) => Some(explained_items(ports, |port, missed| {
                self.port_fit(port, missed)
            })),
        };
        ExplainedRule {
            rule: index,
            action: rule.action,
            fit: RuleFit::of(self.fit(policy, rule)),
            peers,
            ports,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn explained_items<T>(
    items: &[T],
    fit: impl Fn(&T, &mut Vec<Missed>) -> Fit,
) -> Vec<ExplainedItem> {
    let explained = |item| {
        let mut missed = Vec::new();
        let fit = RuleFit::of(fit(item, &mut missed));
        ExplainedItem { fit, missed }
    };
    items.iter().map(explained).collect()
}

impl RuleFit {
    fn of(fit: Fit) -> Self {
        match fit {
            Fit::Matches => Self::Matches,
            Fit::Misses => Self::Misses,
            Fit::Open(_) => Self::Unknown,
        }
    }
}

/// The policies to apply. Where both sides change one policy, it gets both rules.
fn fix(sides: &[(&Question<'_>, &Side)]) -> Vec<Fix> {
    let mut changed: Vec<(PolicyRef, Policy)> = Vec::new();
    for (question, side) in sides {
        let Who::Pod { state, .. } = &question.subject().who else {
            continue;
        };
        let (Decision::Denied, Some(_)) = (side.verdict, &side.would_allow) else {
            continue;
        };
        let suggested = suggest::suggestion(question, &state.pod, side.nearest.as_ref());
        let Some(Suggestion { policy, rule }) = suggested else {
            continue;
        };
        let known = changed
            .iter_mut()
            .find(|(other, _)| other.key == policy.key);
        match known {
            Some((_, whole)) => suggest::add(whole, question.direction, rule),
            None => {
                let mut whole = suggest::base(question, &state.pod, &policy);
                suggest::add(&mut whole, question.direction, rule);
                changed.push((policy, whole));
            }
        }
    }
    let cluster = sides.first().map(|(question, _)| question.cluster);
    let is_known =
        |policy: &PolicyRef| cluster.is_some_and(|cluster| cluster.policy(&policy.key).is_some());
    let fix = |(policy, whole): (PolicyRef, Policy)| Fix {
        new: !is_known(&policy),
        object: suggest::object(&whole),
        policy,
    };
    changed.into_iter().map(fix).collect()
}
