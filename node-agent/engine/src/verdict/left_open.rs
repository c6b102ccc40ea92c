//! What leaves an answer open.

use serde::{Deserialize, Serialize};

use super::{Decision, Side, UnknownBecause, Verdict};

impl Verdict {
    /// Whether a choice is one that most dataplanes make alike, so that what goes through is no surprise.
    #[must_use]
    pub fn is_the_usual_choice(&self) -> bool {
        let sides = [&self.egress, &self.ingress].into_iter();
        let mut choices = sides.filter_map(|side| side.left_open);
        choices.all(|left_open| {
            matches!(
                left_open,
                LeftOpen::OwnNode | LeftOpen::HostNetwork | LeftOpen::NodePort
            )
        })
    }
}

impl Side {
    /// Why it is unknown, in the words of a verdict.
    pub(crate) fn unknown_because(&self) -> Option<UnknownBecause> {
        let left_open = self.left_open.filter(|_| self.verdict == Decision::Unknown);
        left_open.map(LeftOpen::because)
    }
}

/// What leaves an answer open. On a side that is unknown it is why. On another one it is a choice among the
/// answers that the specification allows: always the same one, and nothing is claimed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOpen {
    /// A policy of the same tier and priority says otherwise; the first by name was taken (R45).
    EqualPriority,
    /// A NetworkPolicy selects the pod, but not in this direction; the Baseline tier was asked (R57).
    OtherDirection,
    /// Its source was translated on the way, and from its own address the answer would be another; what the pod's
    /// interface sees was taken (R39).
    SourceTranslation,
    /// To its own node: the text allows it, some dataplanes ask the policies (R29).
    OwnNode,
    /// A pod that shares its node's network: selectors may see it or not (R31).
    HostNetwork,
    /// A pod that reaches itself through a Service (R32).
    Hairpin,
    /// ICMP has no ports, and no rule is for all protocols (R37).
    Icmp,
    /// A multicast or broadcast address (R42).
    GroupAddress,
    /// A node's address may stand for the client's before the pod sees it (R39).
    SourceAddress,
    /// A node's port that leads to a Service: whose policies decide is up to its backends (R39).
    NodePort,
    /// A rule denies by a domain name, which is for rules that accept; it was followed (R52).
    DomainNames,
    /// It is not known who is behind an address.
    Unidentified,
    /// A pod has no address yet, or none is given.
    NoAddress,
    /// It is not known what DNS has answered (R52).
    DomainAnswers,
    /// The port is not said.
    NoPort,
    /// The Service has no such port.
    NoServicePort,
    /// No EndpointSlice of the Service is known.
    NoSlices,
    /// No backend of the Service is ready.
    NoBackend,
    /// The Service's backends do not agree.
    BackendsDiffer,
    /// A policy of a kind that is not evaluated yet may apply.
    UnsupportedPolicy,
    /// It is not known which of several dataplanes enforces, and a block of addresses holds pods and nodes for some
    /// of them only (R18).
    Dataplane,
}

impl LeftOpen {
    /// What a verdict that is unknown because of it says.
    pub(crate) fn because(self) -> UnknownBecause {
        match self {
            Self::EqualPriority
            | Self::OtherDirection
            | Self::OwnNode
            | Self::HostNetwork
            | Self::Hairpin
            | Self::Icmp
            | Self::GroupAddress
            | Self::SourceTranslation
            | Self::SourceAddress
            | Self::NodePort
            | Self::DomainNames
            | Self::NoPort
            | Self::Dataplane => UnknownBecause::OpenInSpecification,
            Self::Unidentified | Self::NoAddress | Self::DomainAnswers => UnknownBecause::Identity,
            Self::NoServicePort | Self::NoSlices | Self::NoBackend | Self::BackendsDiffer => {
                UnknownBecause::Backend
            }
            Self::UnsupportedPolicy => UnknownBecause::UnsupportedPolicy,
        }
    }
}
