//! What the kernel side knows of an attempt.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::flow::Process;

/// What the kernel side remembers of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptState {
    /// First sighting.
    pub first: Moment,
    /// The epoch in which it began.
    pub epoch: u32,
    /// Interface that passed it in from a pod.
    pub source_link: Option<u32>,
    /// Interface that passed it out to a pod.
    pub destination_link: Option<u32>,
    /// The peer's answer left its own interface; whether it came to the source is not known.
    pub answered: bool,
    /// An answer came to its client after its deadline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heard: bool,
    /// The peer refused it after its deadline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// An answer to its source was made on this node: it came in at no interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered_here: bool,
    /// A datagram's answer came to its source from no other pod of this node: from outside, or from the source itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered_elsewhere: bool,
    /// A pod that is not the peer answered it, or the answer went to a pod that is not the sender.
    pub forged: bool,
    /// The first drop of one of its packets.
    pub drop: Option<Drop>,
    /// Where its packets went, when address translation led them elsewhere: the one that was dropped, or the one that a RST
    /// came back for.
    #[serde(alias = "dropped_to")]
    pub led_to: Option<(IpAddr, u16)>,
    /// Where its source had sent it, when address translation led it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<(IpAddr, u16)>,
    /// Conntrack knew the dropped packet, and that it went in its conversation's first direction; or a connect was
    /// denied, which nobody calls for a reply.
    pub tracked: bool,
    /// A datagram that goes on where others were let through: its conversation may be older than what policy says now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// How many of its packets were dropped.
    pub drops: u32,
    /// How often its first packet was sent again.
    pub retransmissions: u32,
    /// An ICMP error, or a RST without one, came towards the source from somewhere on the way.
    pub rejected: Option<Rejected>,
    /// Where its process asked to go, when a program of its cgroups led it elsewhere before there was a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_for: Option<(IpAddr, u16)>,
    /// Who opened it, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

impl AttemptState {
    /// Whether its peer has replied, in whichever way.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered || self.heard || self.refused
    }
}

/// What came back from the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    /// A RST.
    Reset,
    /// An ICMP error of this type and code.
    Icmp {
        /// Who sent it.
        from: IpAddr,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        icmp_code: u8,
    },
}

/// A packet that the kernel freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The kernel's name for it without its prefix, `NETFILTER_DROP`; `NOT_SPECIFIED` when it gave none.
    pub reason: Arc<str>,
    /// The kernel function that freed it; empty when symbols cannot be read.
    pub location: Arc<str>,
    /// What it stands for.
    pub class: DropClass,
    /// Network namespace (inode).
    pub netns: u32,
    /// That namespace is a pod's, not the node's.
    pub in_pod: bool,
    /// It was about to go out to the pod that owns its destination.
    #[serde(default)]
    pub at_destination: bool,
}

/// What a drop stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropClass {
    /// Netfilter's verdict.
    Netfilter,
    /// A tc program.
    Tc,
    /// An XDP program.
    Xdp,
    /// A cgroup program.
    Cgroup,
    /// A program behind NFQUEUE.
    Nfqueue,
    /// Open vSwitch.
    Ovs,
    /// A route that lets nothing pass.
    Route,
    /// No route leads there, or one says that none does.
    NoRoute,
    /// No socket listens.
    NoSocket,
    /// No neighbour answers.
    Neighbour,
    /// The packet itself is at fault: its checksum, its lifetime, a header.
    Malformed,
    /// Anything else: rp_filter, full queue.
    Other,
}

/// An ICMP error about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
}
