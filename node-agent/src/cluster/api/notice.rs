//! What the operator is told about the API server.

use std::fmt;
use std::sync::Arc;

use node_agent_engine::k8s::Rejection;

/// One thing to tell the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The API server is away; what was known stays.
    Away {
        /// Why.
        problem: String,
    },
    /// The API server is back.
    Back,
    /// A watch is broken; what was known stays.
    Broken {
        /// What is watched, `networkpolicies.networking.k8s.io`.
        kind: String,
        /// Why.
        problem: String,
        /// The rule that the ClusterRole lacks, as YAML in one line.
        rule: Option<String>,
    },
    /// A kind of policy is installed, and none of its policies were ever read.
    Unlisted {
        /// What is to be watched, `networkpolicies.projectcalico.org`.
        kind: String,
        /// Why they cannot be read.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The server has a kind of policy in another version than the one that is evaluated.
    OtherVersion {
        /// What is watched, `clusternetworkpolicies.policy.networking.k8s.io`.
        kind: String,
        /// In which version the server has it.
        version: Arc<str>,
        /// Which is evaluated.
        wanted: &'static str,
    },
    /// What is known of a kind cannot be compared with what the server has.
    Unconfirmed {
        /// What is read, `pods`.
        kind: String,
        /// Why it cannot be.
        problem: String,
        /// The rule that the ClusterRole lacks, as YAML in one line.
        rule: Option<String>,
    },
    /// That can be done again.
    Confirmed {
        /// What is read.
        kind: String,
    },
    /// A watch goes on, or its kind is gone.
    Mended {
        /// What is watched.
        kind: String,
    },
    /// An object cannot be read. It does not count; a policy counts as one that is not evaluated.
    Unread {
        /// Which, and why.
        rejection: Rejection,
        /// It is a policy.
        is_policy: bool,
    },
}

impl Notice {
    /// Says whether something is wrong, rather than only worth knowing.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            Self::Away { .. }
            | Self::Broken { .. }
            | Self::Unlisted { .. }
            | Self::OtherVersion { .. }
            | Self::Unconfirmed { .. }
            | Self::Unread { .. } => true,
            Self::Back | Self::Confirmed { .. } | Self::Mended { .. } => false,
        }
    }

    /// Names what could not be read, as the metric of such errors does; `None` when nothing failed, or a watch did,
    /// which counts itself.
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        match self {
            Self::Unread { .. } => Some("object"),
            Self::Away { .. }
            | Self::Broken { .. }
            | Self::Unlisted { .. }
            | Self::OtherVersion { .. }
            | Self::Unconfirmed { .. }
            | Self::Back
            | Self::Confirmed { .. }
            | Self::Mended { .. } => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { problem } => write!(f, "{problem}; what was known stays"),
            Self::Back => write!(f, "the API server is back"),
            Self::Broken {
                kind,
                problem,
                rule,
            } => {
                write!(
                    f,
                    "watching {kind}: {problem}; what was known of them stays"
                )?;
                lacking(f, rule.as_deref())
            }
            Self::Unlisted {
                kind,
                problem,
                remedy,
            } => write!(
                f,
                "watching {kind}: {problem}; nothing is claimed where one of them may apply, which is everywhere; {remedy}"
            ),
            Self::OtherVersion {
                kind,
                version,
                wanted,
            } => write!(
                f,
                "{kind} are of version {version}, and only {wanted} is evaluated: nothing is claimed where one of them may apply"
            ),
            Self::Unconfirmed {
                kind,
                problem,
                rule,
            } => {
                write!(
                    f,
                    "reading {kind} afresh: {problem}; no claim about them is confirmed"
                )?;
                lacking(f, rule.as_deref())
            }
            Self::Confirmed { kind } => write!(f, "{kind}: claims about them are confirmed again"),
            Self::Mended { kind } => write!(f, "{kind}: all is known again"),
            Self::Unread {
                rejection,
                is_policy: false,
            } => write!(f, "{rejection}: the object does not count"),
            Self::Unread {
                rejection,
                is_policy: true,
            } => write!(
                f,
                "{rejection}: nothing is claimed where this policy may apply"
            ),
        }
    }
}

/// The rule that would mend it.
fn lacking(f: &mut fmt::Formatter<'_>, rule: Option<&str>) -> fmt::Result {
    match rule {
        Some(rule) => write!(f, "; add to the ClusterRole: {rule}"),
        None => Ok(()),
    }
}
