//! What policy says of a connection, with its reasons.

mod left_open;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::PolicyKey;
pub use left_open::LeftOpen;

/// Policy's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may pass.
    Allowed,
    /// It must not.
    Denied,
    /// The specification, or what is known, does not say.
    Unknown,
}

/// The answer for a connection: both sides, and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Denied when a side denies, else unknown when a side is unknown, else allowed.
    pub verdict: Decision,
    /// What the source's policies say.
    pub egress: Side,
    /// What the destination's policies say.
    pub ingress: Side,
    /// Why it is unknown; only with [`Decision::Unknown`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<UnknownBecause>,
}

impl Verdict {
    /// Whether the specification lets the other decision be right as well.
    #[must_use]
    pub fn is_a_choice(&self) -> bool {
        let mut sides = [&self.egress, &self.ingress].into_iter();
        match self.verdict {
            // A side that denies beyond doubt settles it.
            Decision::Denied => sides
                .filter(|side| side.verdict == Decision::Denied)
                .all(|side| side.left_open.is_some()),
            Decision::Allowed => sides.any(|side| side.left_open.is_some()),
            Decision::Unknown => false,
        }
    }
}

/// A verdict without its reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Denied when a side denies, else unknown when a side is unknown, else allowed.
    pub verdict: Decision,
    /// What the source's policies say.
    pub egress: Decision,
    /// What the destination's policies say.
    pub ingress: Decision,
    /// Why it is unknown; only with [`Decision::Unknown`].
    pub unknown_because: Option<UnknownBecause>,
}

impl Brief {
    /// What follows from both sides, each with why it is unknown.
    pub(crate) fn of(
        (egress, of_egress): (Decision, Option<UnknownBecause>),
        (ingress, of_ingress): (Decision, Option<UnknownBecause>),
    ) -> Self {
        let sides = [egress, ingress];
        let verdict = if sides.contains(&Decision::Denied) {
            Decision::Denied
        } else if sides.contains(&Decision::Unknown) {
            Decision::Unknown
        } else {
            Decision::Allowed
        };
        let because = of_egress.or(of_ingress);
        Self {
            verdict,
            egress,
            ingress,
            unknown_because: match verdict {
                Decision::Unknown => because.or(Some(UnknownBecause::Identity)),
                Decision::Allowed | Decision::Denied => None,
            },
        }
    }
}

impl Brief {
    /// Whether a verdict says the same, for whatever reasons.
    pub(crate) fn decides_as(&self, verdict: &Verdict) -> bool {
        let other = Self::from(verdict);
        (self.verdict, self.egress, self.ingress) == (other.verdict, other.egress, other.ingress)
    }
}

impl From<&Verdict> for Brief {
    fn from(verdict: &Verdict) -> Self {
        Self {
            verdict: verdict.verdict,
            egress: verdict.egress.verdict,
            ingress: verdict.ingress.verdict,
            unknown_because: verdict.unknown_because,
        }
    }
}

/// The answer of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// What this side says.
    pub verdict: Decision,
    /// Why.
    pub reason: Reason,
    /// Whether the network kept it; only in records, only on a side that denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Every policy that isolates this side, in the order of their names. A policy of the Admin or Baseline tier
    /// isolates nobody (R46).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated_by: Vec<PolicyRef>,
    /// Policies that may apply and are of kinds that are not evaluated yet; the side is unknown because of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<PolicyRef>,
    /// The first rule that allows it; only with [`Reason::Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<RuleRef>,
    /// The rule that denies it; only with [`Reason::RuleDenied`]. No rule of another tier can change that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<RuleRef>,
    /// Why it is unknown; on a side that is not, where the specification lets another answer be right as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_open: Option<LeftOpen>,
    /// The rule that came nearest; only with [`Reason::NoRuleMatched`], absent when no isolating policy has a rule and
    /// when the nearest one may match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestMiss>,
    /// The smallest rule that would allow it; only on a side that denies, absent with [`Reason::RuleDenied`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_allow: Option<WouldAllow>,
}

/// Why a side says what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No policy isolates the pod in this direction (R1), and no rule decides.
    NotIsolated,
    /// A rule allows it.
    Rule,
    /// Policies isolate, no rule matches.
    NoRuleMatched,
    /// A rule of a dialect with deny rules denies it.
    RuleDenied,
    /// Not a pod that policy can select: world, node, host network (R28).
    NotSubject,
    /// To or from the pod's own node (R29).
    OwnNode,
    /// The pod itself (R32).
    Itself,
    /// It was open before the policy was.
    Established,
}

/// Whether a denial was kept by the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It was stopped here.
    Yes,
    /// It went through here.
    No,
    /// Nobody saw.
    Unknown,
}

/// A policy that had a part in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Kind, namespace and name.
    #[serde(flatten)]
    pub key: PolicyKey,
    /// UID; absent when the object has none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub uid: Arc<str>,
    /// Generation; absent when the object has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
}

fn is_zero(generation: &i64) -> bool {
    *generation == 0
}

/// A place in a policy. Indices count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The policy.
    pub policy: PolicyRef,
    /// Index of the rule in `spec.ingress` or `spec.egress`.
    pub rule: usize,
    /// Index in `from` or `to`; absent when the rule has no list, or its list cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<usize>,
    /// Index in `ports` or `protocols`; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<usize>,
}

/// The rule that came nearest, and what it missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestMiss {
    /// Where.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Every condition that was not met.
    pub missed: Vec<Missed>,
}

/// One condition that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Which condition.
    pub what: MissedWhat,
    /// What the rule wants, as it would be written.
    pub wanted: String,
    /// What the connection has.
    pub found: String,
}

/// The conditions that a rule can miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedWhat {
    /// A label of the peer's namespace.
    NamespaceLabels,
    /// The rule looks only into the policy's own namespace.
    Namespace,
    /// A label of the peer.
    PodLabels,
    /// The peer is no pod, and the rule selects pods.
    NotAPod,
    /// The port.
    Port,
    /// A port range.
    EndPort,
    /// The destination has no port of that name and protocol, or it is another number.
    NamedPort,
    /// The protocol.
    Protocol,
    /// The address lies outside the block.
    Cidr,
    /// The address lies in an exception.
    Except,
    /// The block is of the other family.
    Family,
    /// The peer is no node, and the rule selects nodes.
    NotANode,
    /// A label of the peer's node.
    NodeLabels,
    /// DNS gave the address for none of the rule's names.
    DomainName,
    /// The policy has no such type.
    Direction,
}

/// A change that would allow the connection on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldAllow {
    /// The policy to change; a new name when there is none yet.
    pub policy: PolicyRef,
    /// `spec.ingress` or `spec.egress`.
    pub field: String,
    /// The rule to add to that list, as YAML.
    pub rule: String,
}

/// Why nothing is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownBecause {
    /// It is not known who is behind an address.
    Identity,
    /// A policy, a label or a namespace changed too short a time ago.
    InFlux,
    /// What is known of the cluster is too old, or could not be confirmed.
    Stale,
    /// Something of ours was lost in that window.
    Lost,
    /// Denied, no answer, and nobody saw who stopped it.
    NotSeenStopped,
    /// It left for another node, whose agent decides.
    LeftNode,
    /// The other end, off this node, may have refused or rejected it.
    FarSide,
    /// It is not known which backend of a Service it was.
    Backend,
    /// It is not known who opened it, or, where datagrams may be part of an older conversation, whether policy denied it then.
    Orientation,
    /// The source address is not the interface's pod's.
    SourceMismatch,
    /// Packets go around the hooks of that interface.
    HookBypassed,
    /// A service address that the node itself answers.
    NodeService,
    /// A network that the API does not know.
    SecondaryNetwork,
    /// A policy of a kind that is not evaluated yet may apply.
    UnsupportedPolicy,
    /// The specification leaves it open.
    OpenInSpecification,
}
