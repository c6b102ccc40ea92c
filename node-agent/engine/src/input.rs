//! The one stream that the core consumes, and what it gives back.

mod attempt;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::attempt::{AttemptState, Drop, DropClass, IcmpError, Rejected};
use crate::connection::Profile;
pub use crate::flow::{Flow, Process, Tracked};
pub use crate::model::Stage;
use crate::model::{Delta, ObjectKey, PolicyKey, Protocol};
use crate::record::{Connection, Record};

/// A point on the monotonic clock, nanoseconds since its own beginning.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Nanoseconds since `earlier`, 0 when that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `ns` nanoseconds later.
    #[must_use]
    pub fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// The point `ns` nanoseconds before, at the earliest the clock's beginning.
    #[must_use]
    pub fn minus(self, ns: u64) -> Self {
        Self(self.0.saturating_sub(ns))
    }
}

/// Everything that can happen to the core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The kernel said something.
    Event(Box<Event>),
    /// An attempt passed its deadline without an answer or a refusal, and was taken out of the table.
    Swept(Box<Swept>),
    /// A conversation's running total, read from its table.
    Counted(Box<Counted>),
    /// Running total of what was lost at a stage since the start; said when it grew.
    Lost {
        /// Where.
        stage: Stage,
        /// How many so far.
        total: u64,
    },
    /// A pod interface appeared, or what is known of it changed.
    Link(Link),
    /// A pod interface is gone.
    LinkGone(u32),
    /// The node's own addresses, all of them.
    NodeAddresses(Vec<IpAddr>),
    /// The cluster changed.
    Delta(Box<Delta>),
    /// Who enforces was found out; said before [`Input::Synced`], so that nothing was judged otherwise.
    Profile(Profile),
    /// The first complete picture of the cluster was delivered.
    Synced,
    /// The source of the cluster is there, and what it said has been delivered.
    Heard,
    /// Everything that the source of the cluster says now has been delivered.
    Confirmed,
    /// What was asked about with [`Output::Confirm`] has been read afresh, and this much of it is as it was delivered.
    GroundsConfirmed(Vec<Ground>),
    /// Conntrack was asked with [`Output::LookUp`].
    LookedUp {
        /// The tuple that was asked about.
        tuple: Flow,
        /// What it remembers; absent when it knows nothing of it, or could not be asked.
        tracked: Option<Tracked>,
    },
    /// Time passed.
    Tick,
    /// The stream ends: what is held is judged as it stands, what is folded is written.
    Ended,
}

/// What a claim rests on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// A pod, its namespace, and the policies that may select it.
    Pod(ObjectKey),
    /// A Service and its slices; the pods behind it are grounds of their own.
    Service(ObjectKey),
    /// That an address is nobody's: no pod has it, and all Services and nodes are known.
    Stranger(IpAddr),
    /// A node.
    Node(Arc<str>),
}

/// What the kernel side says, decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it was seen.
    pub at: Moment,
    /// What was seen.
    pub kind: EventKind,
    /// The attempt's flow.
    pub flow: Flow,
    /// The attempt as it stood then.
    pub attempt: AttemptState,
    /// Running total of this conversation and kind, this one included; 0 when it was not counted.
    pub total: u64,
    /// Index of the interface where it was seen.
    pub link: Option<u32>,
    /// The ICMP error; only with [`EventKind::Refused`] by ICMP.
    pub icmp: Option<IcmpError>,
}

/// What was seen. An answer and a refusal end an attempt, and are counted by the kernel side; what stops one is said
/// at once, but counts when its deadline has passed without either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The peer's stack replied.
    Answered,
    /// The peer itself refused: RST or ICMP error from a pod's interface on this node.
    Refused,
    /// RST towards the source that did not come from a pod's interface here.
    Reset,
    /// ICMP error towards the source.
    Unreachable,
    /// The kernel dropped a packet of it.
    Dropped,
    /// The client's socket was established while no hook saw an answer.
    Established,
    /// Its ports were used again before it had an outcome.
    Superseded,
    /// A program of its cgroups did not let the process connect or send: there was no packet. The drop says so.
    Denied,
}

/// An attempt that passed its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    /// Its flow.
    pub flow: Flow,
    /// As it stood at the end.
    pub attempt: AttemptState,
    /// Capture ended before its deadline: how it would have ended is not known.
    pub cut_short: bool,
    /// It was swept before, and has been answered or refused since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_told: bool,
}

/// A conversation's running total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Who opened it.
    pub source: IpAddr,
    /// Whom it was opened to.
    pub destination: IpAddr,
    /// The port that policies look at.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// What is counted.
    pub kind: EventKind,
    /// Only those with [`AttemptState::answered_elsewhere`]; otherwise only those without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    /// How many so far.
    pub total: u64,
    /// When the latest one was.
    pub last: Moment,
}

/// A pod interface, its host side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Since when its packets are seen.
    pub watched_since: Moment,
    /// It was made while the agent ran, and watched before anything came from it or it had an address: nothing of a pod's
    /// was missed.
    pub from_birth: bool,
    /// Pod addresses that are known to lie behind it (host routes, forwarding tables, the pod's
    /// namespace), canonical.
    pub addresses: Vec<IpAddr>,
    /// Another program may stand behind ours on this interface; `None` when that is not known.
    pub foreign_program: Option<bool>,
    /// Network namespace (inode) at its other end, whose drops are told; `None` when that is not known.
    pub netns: Option<u32>,
}

impl Link {
    /// Tells whether an address lies elsewhere: others of its family are known to lie behind the interface, and it
    /// is none of them. A bridge learns of one family before the other.
    #[must_use]
    pub(crate) fn denies(&self, address: IpAddr) -> bool {
        let is_akin = |known: &IpAddr| known.is_ipv4() == address.is_ipv4();
        self.addresses.iter().any(is_akin) && !self.addresses.contains(&address)
    }
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A record to write.
    Record(Box<Record>),
    /// Attempts to count: each attempt once, written or not.
    Counted {
        /// What they have in common; its own `count` says nothing here.
        connection: Arc<Connection>,
        /// How many.
        count: u64,
        /// Whether the destination's pod or Service has such a port.
        port: Port,
    },
    /// Something of ours was lost.
    Lost {
        /// Where.
        stage: Stage,
        /// How much since the last time.
        count: u64,
    },
    /// A span of time was measured.
    Measured {
        /// Which.
        span: Span,
        /// How long it was.
        ns: u64,
    },
    /// It is gone, and will not come back soon: nobody has to count for it any more.
    Gone(Subject),
    /// Known conversations must speak again: write this number for the kernel side.
    Epoch(u32),
    /// The addresses of this node's pods changed: all of them, with the interface that leads there.
    PodAddresses(Vec<(IpAddr, Option<u32>)>),
    /// Several live pods claim one address: nothing is claimed of it.
    SharedAddress {
        /// The address.
        ip: IpAddr,
        /// Who claims it.
        pods: Vec<ObjectKey>,
    },
    /// An annotation of ours says nothing that can be followed.
    BadAnnotation {
        /// Kind, namespace and name of the object.
        object: String,
        /// What is wrong.
        message: String,
    },
    /// An ending waits a moment for what conntrack remembers of a tuple: answer with [`Input::LookedUp`].
    LookUp(Flow),
    /// Claims wait for a fresh reading of what they rest on: deliver what changed, then [`Input::Confirmed`] or
    /// [`Input::GroundsConfirmed`]. A new question replaces the one before.
    Confirm {
        /// What they rest on.
        grounds: Vec<Ground>,
    },
}

/// What a destination says of the port that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It is one of its own.
    Declared,
    /// Nothing: whoever scans tries such ports.
    Undeclared,
}

/// Spans of time worth a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From a change until the first denied attempt that was stopped, when others had passed before.
    EnforcementDelay,
    /// How old a pod was when something that policy denies passed.
    StartWindow,
}

/// What attempts are counted for, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A workload or a Service.
    Workload(ObjectKey),
    /// A policy.
    Policy(PolicyKey),
}
