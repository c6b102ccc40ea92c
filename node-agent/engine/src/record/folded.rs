//! Many findings in one record, and findings that somebody has taken note of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Assessment, Endpoint};
use crate::verdict::PolicyRef;

/// Somebody takes responsibility for a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// What they wrote.
    pub reason: Arc<str>,
    /// Until when, as they wrote it.
    pub until: Arc<str>,
    /// Where they wrote it.
    pub by: AcknowledgedBy,
}

/// The object with the annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedBy {
    /// `Pod`, `Namespace`, or the policy's kind.
    pub kind: Arc<str>,
    /// Absent when the kind has none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// One source tried many targets, not all of them with success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// Who; the port is an exemplar's.
    pub source: Endpoint,
    /// Distinct targets, each an address, a port and a protocol; those that answered as policy allows are not
    /// among them.
    pub targets: u64,
    /// Distinct addresses among them.
    pub addresses: u64,
    /// Distinct ports among them.
    pub ports: u64,
    /// Attempts at them.
    pub attempts: u64,
    /// The attempts by what became of them.
    pub assessments: BTreeMap<Assessment, u64>,
    /// The first attempt, RFC 3339.
    pub first_seen: String,
    /// The last attempt, RFC 3339.
    pub last_seen: String,
}

/// Much that policy denies passed on this node, and nothing was stopped: nobody enforces here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNotEnforcing {
    /// Distinct pairs of source and target that passed.
    pub pairs: u64,
    /// Attempts that passed since the last such record.
    pub attempts: u64,
    /// Some of the policies that deny them.
    pub policies: Vec<PolicyRef>,
    /// The first of the pairs' attempts, RFC 3339.
    pub first_seen: String,
    /// The last of them, RFC 3339.
    pub last_seen: String,
}
