//! What is written: one record, one JSON line, schema `netverdict/v1`.
//!
//! The order of the fields here is the order in the line.

mod folded;
mod process;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Labels, ObjectKey, Protocol, Workload};
use crate::verdict::{UnknownBecause, Verdict};

pub use folded::{Acknowledged, AcknowledgedBy, NodeNotEnforcing, Scan};
pub use process::{Process, ProcessPod};

/// The schema's name, in every record.
pub const SCHEMA: &str = "netverdict/v1";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Always [`SCHEMA`].
    pub schema: Arc<str>,
    /// Differs for every record of a cluster.
    pub id: String,
    /// When this was said: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// `--cluster-name`; absent without one.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub cluster: Arc<str>,
    /// The node that reports.
    pub node: Arc<str>,
    /// What it tells.
    #[serde(flatten)]
    pub body: Body,
}

/// What a record tells; its name is the field `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// A connection, or several of one kind.
    Connection(Box<Connection>),
    /// Something of ours was lost.
    Lost(Lost),
    /// What policies say changed.
    PolicyChange(PolicyChange),
    /// One source tried many targets.
    Scan(Box<Scan>),
    /// Nobody enforces here.
    NodeNotEnforcing(NodeNotEnforcing),
}

/// Connections of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Verdict against outcome.
    pub assessment: Assessment,
    /// Why nothing is claimed; only with `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<UnknownBecause>,
    /// The first side on the path that denies, egress before ingress; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Whose agent reports.
    pub reporter: Reporter,
    /// Protocol.
    pub protocol: Protocol,
    /// Address family.
    pub family: Family,
    /// Who opened it.
    pub source: Endpoint,
    /// Whom it was opened to.
    pub destination: Endpoint,
    /// The Service it was sent to, before translation, and with which address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Who opened the exemplar; only where the calls of processes are watched, and this one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What policy says.
    pub verdict: Verdict,
    /// What the network did.
    pub outcome: Outcome,
    /// Something besides policy that explains the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How many packets of the exemplar were dropped before it got through.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drops: u32,
    /// Seconds since its pod started; only when the pod was younger than the settle time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_window_s: Option<f64>,
    /// Who has taken note of this finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// How old and how settled what is known of the policies is.
    pub policy_state: PolicyState,
    /// The same for both agents that see it: hash of source, backend, port and protocol.
    pub conversation_id: String,
    /// Community ID v1 of the exemplar, behind the translation of its destination.
    pub community_id: String,
    /// Attempts of this kind that no earlier record counted.
    pub count: u64,
    /// The first of them, RFC 3339.
    pub first_seen: String,
    /// The last of them, RFC 3339.
    pub last_seen: String,
    /// Events that were lost in that time, of any conversation.
    pub lost: u64,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Verdict against outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assessment {
    /// Policy allows it and it went through.
    Allowed,
    /// Policy denies it and it was stopped.
    Blocked,
    /// Policy denies it and it went through.
    Unenforced,
    /// Policy allows it and it was dropped.
    UnexpectedDrop,
    /// Policy allows it and the peer refused.
    Refused,
    /// Policy allows it and nobody answered.
    Unanswered,
    /// Nothing is claimed.
    Unknown,
}

/// A direction, always from the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the destination.
    Ingress,
    /// Out of the source.
    Egress,
}

impl Direction {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// As `policyTypes` has it.
    pub(crate) fn as_type(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Egress => "Egress",
        }
    }
}

/// Whose agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// The source's node.
    Source,
    /// The destination's node.
    Destination,
    /// Both ends are on this node.
    Both,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What is behind the address.
    pub kind: EndpointKind,
    /// Pod: its namespace; Service: its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Name of the pod, node or Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// UID of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Arc<str>>,
    /// The pod's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The pod's service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Arc<str>>,
    /// The pod's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// The pod's node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The address.
    pub ip: IpAddr,
    /// The port; the source's is the exemplar's.
    pub port: u16,
    /// The name that the destination pod gives to the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_name: Option<Arc<str>>,
}

/// What is behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// A pod.
    Pod,
    /// A node, or a pod that shares its network.
    Node,
    /// A Service's address.
    Service,
    /// Outside the cluster.
    World,
    /// Not known.
    Unknown,
}

/// A Service's address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Namespace and name.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// The address that the client used.
    pub ip: IpAddr,
    /// The port that the client used.
    pub port: u16,
}

/// What the network did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The outcome.
    pub outcome: OutcomeKind,
    /// The kernel's name for the drop; only with `dropped`, or `rejected` and `delivered` when a drop was seen too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<Arc<str>>,
    /// The kernel function that dropped it.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub location: Option<Arc<str>>,
    /// What the client saw.
    pub client_saw: ClientSaw,
    /// Which hooks saw what.
    pub evidence: Vec<Evidence>,
}

/// What the network did, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The peer's stack replied.
    Answered,
    /// It provably reached the pod and nothing came back.
    Delivered,
    /// The peer itself refused.
    Refused,
    /// An ICMP error or RST from the way.
    Rejected,
    /// The kernel dropped it, on this node.
    Dropped,
    /// Nothing by the deadline.
    Unanswered,
    /// Not known.
    Unknown,
}

/// What the client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientSaw {
    /// Nothing so far: it waits, and will time out.
    Nothing,
    /// A reply.
    Answer,
    /// A RST.
    Reset,
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMP: administratively prohibited.
    Prohibited,
    /// ICMP: host or network unreachable, or another error.
    Unreachable,
    /// Its call failed at once: operation not permitted.
    NotPermitted,
    /// Not known here.
    Unknown,
}

/// What a hook saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// First packet at the source's interface.
    AttemptAtSource,
    /// First packet at the destination's interface.
    AttemptAtDestination,
    /// Reply from the destination, at its interface.
    AnswerAtDestination,
    /// Reply at the source's interface.
    AnswerAtSource,
    /// RST or ICMP error leaving the destination's own interface.
    RefusalAtDestination,
    /// RST at the source's interface.
    ResetAtSource,
    /// ICMP error at the source's interface.
    IcmpAtSource,
    /// ICMP error sent by a node of this cluster.
    IcmpFromNode,
    /// The kernel's drop tracepoint.
    KfreeSkb,
    /// The client's socket.
    SocketEstablished,
    /// The deadline passed.
    Deadline,
    /// Conntrack's entry: how its addresses were translated, and who opened it.
    Conntrack,
    /// The process's call, which asked for another destination than its packets have.
    AskedAtSocket,
    /// The process's call, which a program of its cgroups let fail.
    DeniedAtSocket,
}

/// Something besides policy that explains an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The pod's own firewall.
    OwnFirewall,
    /// Nobody owns that address any more.
    PeerGone,
    /// The Service has no ready backend.
    NoEndpoints,
}

/// How old and how settled what is known of the policies is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyState {
    /// When the cluster was last heard of, RFC 3339.
    pub as_of: String,
    /// Whole seconds since what this verdict rests on last changed.
    pub settled_s: u64,
}

/// Something of ours was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// Where.
    pub stage: crate::model::Stage,
    /// How many since the last such record.
    pub count: u64,
    /// How many since the start.
    pub total: u64,
}

/// What policies say changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// `added`, `changed` or `removed`.
    pub change: Change,
    /// The policy.
    pub policy: crate::verdict::PolicyRef,
}

/// How a policy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// New.
    Added,
    /// Other than before.
    Changed,
    /// Gone.
    Removed,
}
