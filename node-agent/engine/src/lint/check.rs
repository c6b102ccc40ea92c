//! The checks by their numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth saying.
    Info,
    /// A likely mistake.
    Warning,
    /// The policy does not do what is written.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A text that names no check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no check `{0}`: they are N01 to N31, N34 and N35")]
pub struct UnknownCheck(String);

macro_rules! checks {
    ($($number:ident $title:literal,)*) => {
        /// A kind of mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Check {
            $(#[doc = $title] $number,)*
        }

        impl Check {
            /// Every check, by number.
            pub const ALL: &[Self] = &[$(Self::$number,)*];

            /// Its number, `N01`.
            #[must_use]
            pub fn number(self) -> &'static str {
                match self {
                    $(Self::$number => stringify!($number),)*
                }
            }

            /// The mistake in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$number => $title,)*
                }
            }
        }
    };
}

checks! {
    N01 "A namespaceSelector matches no namespace.",
    N02 "The policy selects no pod.",
    N03 "A peer's podSelector matches no pod.",
    N04 "Two peers where one was meant, or one where two were meant.",
    N05 "An empty selector where anyone was meant: selectors match pods only.",
    N06 "Egress is isolated and DNS is not allowed.",
    N07 "DNS is allowed over UDP only.",
    N08 "The port of a Service instead of the pod's own.",
    N09 "An ipBlock of Service addresses, which policy never sees.",
    N10 "An ipBlock of pod addresses.",
    N11 "Rules for a direction that policyTypes does not list.",
    N12 "Without policyTypes an egress policy denies all ingress too.",
    N13 "Without policyTypes an empty egress list denies nothing.",
    N14 "A port name that the destination does not have.",
    N15 "An unknown or misplaced field.",
    N16 "A selector whose labels are null or empty.",
    N17 "The API server is not reachable by what is written.",
    N18 "A selector that matches only pods on the host network.",
    N19 "An ipBlock of clients whose address is replaced on the way in.",
    N20 "An `except` that another rule opens again.",
    N21 "All of IPv4 with the metadata service or private networks in it, or without IPv6.",
    N22 "The API server refuses it.",
    N23 "A rule that allows everything, or nothing that another rule does not.",
    N24 "The same policy or rule twice.",
    N25 "A pod that no policy isolates.",
    N26 "A port of UDP without its protocol.",
    N27 "Only one side of a connection is opened.",
    N28 "What the network plugin does not enforce.",
    N29 "Cluster policies of equal priority that contradict each other.",
    N30 "A cluster policy's network that takes in pods.",
    N31 "A rule that another tier hides.",
    N34 "A selector on a label that changes with each release.",
    N35 "A policy's name does not follow the pattern.",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|check| check.number().eq_ignore_ascii_case(text))
            .copied()
            .ok_or_else(|| UnknownCheck(text.to_owned()))
    }
}
