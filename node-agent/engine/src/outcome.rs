//! What the network did with one attempt, from what was seen of it. Policy has no say here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Moment;
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::{
    AttemptState, Drop, DropClass, Event, EventKind, Flow, IcmpError, Link, Rejected, Swept,
};
use crate::model::Protocol;
use crate::record::{Cause, ClientSaw, Evidence, OutcomeKind};
use crate::verdict::UnknownBecause;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) flow: Flow,
    pub(crate) attempt: AttemptState,
    /// When that was seen.
    pub(crate) at: Moment,
    pub(crate) outcome: OutcomeKind,
    pub(crate) drop: Option<Drop>,
    pub(crate) client_saw: ClientSaw,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) cause: Option<Cause>,
    /// Conntrack says who opened it.
    pub(crate) oriented: bool,
    /// A drop of this attempt may be told a moment later: a rejection is sent before its packet is freed.
    pub(crate) drop_may_follow: bool,
    /// What stands in place of every claim, whatever policy says.
    pub(crate) doubt: Option<UnknownBecause>,
    /// What stands in place of a claim when policy denies it.
    pub(crate) doubt_if_denied: Option<UnknownBecause>,
}

/// What one event says of its attempt.
pub(crate) enum Said {
    /// Its outcome.
    Ending(Box<Ending>),
    /// Only what the client saw of an outcome that is known already.
    ClientSaw(ClientSaw),
    /// Nothing that the deadline will not tell better.
    Nothing,
}

/// What has to be known besides the event.
pub(crate) struct Surroundings<'a> {
    pub(crate) links: &'a BTreeMap<u32, Link>,
    pub(crate) cluster: &'a Cluster,
    /// The own node's name.
    pub(crate) node: &'a str,
    /// When something of ours was last lost.
    pub(crate) lost_at: Option<Moment>,
}

impl Surroundings<'_> {
    /// Reads an event.
    pub(crate) fn read(&self, event: &Event) -> Said {
        let ending = Ending::of(event);
        match event.kind {
            EventKind::Answered => self.from_peer(ending, event).answered(event),
            EventKind::Established => Said::end(
                ending,
                OutcomeKind::Answered,
                ClientSaw::Answer,
                Evidence::SocketEstablished,
            ),
            EventKind::Refused => self.from_peer(ending, event).refused(event.icmp),
            EventKind::Reset => self.reset(ending),
            EventKind::Unreachable => self.unreachable(ending, event.icmp),
            EventKind::Dropped => match &event.drop {
                Some(drop) if !event.reply => self.dropped(ending, drop.clone()),
                Some(_) | None => Said::Nothing,
            },
            EventKind::Superseded => self.silent(ending, false),
        }
    }

    /// Reads an attempt that passed its deadline.
    pub(crate) fn read_swept(&self, swept: &Swept, now: Moment) -> Said {
        self.silent(Ending::new(swept.flow, swept.attempt.clone(), now), true)
    }

    /// What another pod's interface let in, the peer did not say.
    fn from_peer(&self, mut ending: Ending, event: &Event) -> Ending {
        let other = event
            .link
            .filter(|_| event.link != ending.attempt.source_link);
        let behind = other
            .and_then(|index| self.links.get(&index))
            .map_or(&[][..], |link| &link.addresses);
        if !behind.is_empty() && !behind.contains(&ending.flow.destination) {
            ending.doubt = Some(UnknownBecause::SourceMismatch);
        }
        ending
    }

    fn reset(&self, mut ending: Ending) -> Said {
        if ending.was_stopped() {
            return Said::ClientSaw(ClientSaw::Reset);
        }
        ending.drop_may_follow = true;
        if self.owner_is_here(ending.flow.destination, ending.attempt.first) {
            return Said::end(
                ending,
                OutcomeKind::Rejected,
                ClientSaw::Reset,
                Evidence::ResetAtSource,
            );
        }
        ending.doubt_if_denied = Some(UnknownBecause::FarSide);
        Said::end(
            ending,
            OutcomeKind::Refused,
            ClientSaw::Reset,
            Evidence::ResetAtSource,
        )
    }

    fn unreachable(&self, mut ending: Ending, icmp: Option<IcmpError>) -> Said {
        let Some(icmp) = icmp else {
            return Said::Nothing;
        };
        let saw = client_saw(icmp.icmp_type, icmp.icmp_code);
        if ending.was_stopped() {
            return Said::ClientSaw(saw);
        }
        if saw == ClientSaw::Unreachable {
            return Said::Nothing;
        }
        ending.drop_may_follow = true;
        ending.evidence.push(Evidence::IcmpAtSource);
        if self.is_node(icmp.from, ending.at) {
            return Said::end(ending, OutcomeKind::Rejected, saw, Evidence::IcmpFromNode);
        }
        ending.doubt_if_denied = Some(UnknownBecause::FarSide);
        ending.outcome = OutcomeKind::Refused;
        ending.client_saw = saw;
        Said::Ending(Box::new(ending))
    }

    fn dropped(&self, mut ending: Ending, drop: Drop) -> Said {
        if !decides(&drop, ending.attempt.rejected) {
            return Said::Nothing;
        }
        match drop.class {
            DropClass::Neighbour => {
                if !self.owned_throughout(&ending) {
                    return Said::Nothing;
                }
                ending.doubt_if_denied = Some(UnknownBecause::NotSeenStopped);
            }
            DropClass::Other => ending.doubt_if_denied = Some(UnknownBecause::NotSeenStopped),
            DropClass::Netfilter
            | DropClass::Tc
            | DropClass::Xdp
            | DropClass::Cgroup
            | DropClass::Nfqueue
            | DropClass::Ovs
            | DropClass::Route
            | DropClass::NoSocket => {}
        }
        if drop.in_pod {
            ending.cause = Some(Cause::OwnFirewall);
        }
        ending.drop = Some(drop);
        match ending.attempt.rejected {
            Some(rejected) => {
                ending.evidence.push(match rejected {
                    Rejected::Reset => Evidence::ResetAtSource,
                    Rejected::Icmp { .. } => Evidence::IcmpAtSource,
                });
                Said::end(
                    ending,
                    OutcomeKind::Rejected,
                    rejected_saw(rejected),
                    Evidence::KfreeSkb,
                )
            }
            None => Said::end(
                ending,
                OutcomeKind::Dropped,
                ClientSaw::Nothing,
                Evidence::KfreeSkb,
            ),
        }
    }

    /// Nothing came back in time, or at all.
    fn silent(&self, mut ending: Ending, waited: bool) -> Said {
        if waited {
            ending.evidence.push(Evidence::Deadline);
        }
        ending.client_saw = ClientSaw::Nothing;
        match ending.attempt.rejected {
            // A RST, or an ICMP error that decides, was an event of its own.
            Some(rejected) if rejected_saw(rejected) != ClientSaw::Unreachable => {
                return Said::Nothing;
            }
            Some(_) => ending.client_saw = ClientSaw::Unreachable,
            None => {}
        }
        if let Some(drop) = ending.attempt.drop.clone() {
            if drop.class == DropClass::NoSocket {
                ending.drop = Some(drop);
                return Said::end(
                    ending,
                    OutcomeKind::Refused,
                    ClientSaw::Unknown,
                    Evidence::KfreeSkb,
                );
            }
            if drop.class == DropClass::Neighbour && !self.owned_throughout(&ending) {
                ending.cause = Some(Cause::PeerGone);
            } else if decides(&drop, ending.attempt.rejected) {
                return Said::Nothing;
            }
            ending.drop = Some(drop);
        }
        if self
            .lost_at
            .is_some_and(|lost| lost >= ending.attempt.first)
        {
            ending.doubt = Some(UnknownBecause::Lost);
        }
        ending.outcome = if waited && self.delivered(&ending) {
            OutcomeKind::Delivered
        } else {
            OutcomeKind::Unanswered
        };
        Said::Ending(Box::new(ending))
    }

    /// Whether it provably reached the pod: it was passed out at the interface of the pod that owns the
    /// destination, and no program behind ours there can have taken it away.
    fn delivered(&self, ending: &Ending) -> bool {
        let Some(link) = ending
            .attempt
            .destination_link
            .and_then(|index| self.links.get(&index))
        else {
            return false;
        };
        link.addresses.contains(&ending.flow.destination) && link.foreign_program == Some(false)
    }

    fn owner_is_here(&self, address: IpAddr, at: Moment) -> bool {
        self.links
            .values()
            .any(|link| link.addresses.contains(&address))
            || match self.cluster.lookup(address, at) {
                Identity::Pod(key) => self
                    .cluster
                    .pod(&key)
                    .is_some_and(|pod| pod.is_local_to(self.node)),
                Identity::Node(_)
                | Identity::Service(_)
                | Identity::World
                | Identity::Ambiguous
                | Identity::Unknown => false,
            }
    }

    fn owned_throughout(&self, ending: &Ending) -> bool {
        let at = |moment| self.cluster.lookup(ending.flow.destination, moment);
        match (at(ending.attempt.first), at(ending.at)) {
            (Identity::Pod(first), Identity::Pod(last)) => first == last,
            _ => false,
        }
    }

    fn is_node(&self, address: IpAddr, at: Moment) -> bool {
        matches!(
            self.cluster.lookup(address, at),
            Identity::Node(_) | Identity::Service(_)
        )
    }
}

impl Said {
    fn end(mut ending: Ending, outcome: OutcomeKind, saw: ClientSaw, evidence: Evidence) -> Self {
        ending.outcome = outcome;
        ending.client_saw = saw;
        ending.evidence.push(evidence);
        Self::Ending(Box::new(ending))
    }
}

impl Ending {
    /// A drop that decides was an event of its own.
    fn was_stopped(&self) -> bool {
        let decided = |drop| decides(drop, self.attempt.rejected);
        self.attempt.drop.as_ref().is_some_and(decided)
    }

    fn of(event: &Event) -> Self {
        let oriented = event.original.is_some() && !event.reply;
        Self {
            oriented,
            ..Self::new(event.flow, event.attempt.clone(), event.at)
        }
    }

    fn new(flow: Flow, attempt: AttemptState, at: Moment) -> Self {
        let mut evidence = Vec::new();
        if attempt.source_link.is_some() {
            evidence.push(Evidence::AttemptAtSource);
        }
        if attempt.destination_link.is_some() {
            evidence.push(Evidence::AttemptAtDestination);
        }
        Self {
            flow,
            attempt,
            at,
            outcome: OutcomeKind::Unknown,
            drop: None,
            client_saw: ClientSaw::Unknown,
            evidence,
            cause: None,
            oriented: false,
            drop_may_follow: false,
            doubt: None,
            doubt_if_denied: None,
        }
    }

    fn answered(self, event: &Event) -> Said {
        let evidence = if event.link.is_some() && event.link == self.attempt.source_link {
            Evidence::AnswerAtSource
        } else {
            Evidence::AnswerAtDestination
        };
        Said::end(self, OutcomeKind::Answered, ClientSaw::Answer, evidence)
    }

    fn refused(self, icmp: Option<IcmpError>) -> Said {
        let saw = match (icmp, self.flow.protocol) {
            (Some(icmp), _) => client_saw(icmp.icmp_type, icmp.icmp_code),
            (None, Protocol::Tcp | Protocol::Sctp) => ClientSaw::Reset,
            (None, Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6) => ClientSaw::Unknown,
        };
        Said::end(
            self,
            OutcomeKind::Refused,
            saw,
            Evidence::RefusalAtDestination,
        )
    }
}

/// Whether a drop says how the attempt ended. Inside a pod only what enforces does: a full queue there, or
/// a closed port, is the pod's own affair, and the packet was delivered. A route that makes its host
/// unreachable enforces nothing; the ICMP error, sent before the packet is freed, tells it from the others.
fn decides(drop: &Drop, rejected: Option<Rejected>) -> bool {
    match drop.class {
        DropClass::Netfilter
        | DropClass::Tc
        | DropClass::Xdp
        | DropClass::Cgroup
        | DropClass::Nfqueue
        | DropClass::Ovs => true,
        DropClass::Route => {
            !drop.in_pod && rejected.is_none_or(|seen| rejected_saw(seen) != ClientSaw::Unreachable)
        }
        DropClass::Neighbour | DropClass::Other => !drop.in_pod,
        DropClass::NoSocket => false,
    }
}

fn rejected_saw(rejected: Rejected) -> ClientSaw {
    match rejected {
        Rejected::Reset => ClientSaw::Reset,
        Rejected::Icmp {
            icmp_type,
            icmp_code,
        } => client_saw(icmp_type, icmp_code),
    }
}

/// ICMP type 3 codes 3, 9, 10, 13 and ICMPv6 type 1 codes 1, 4, 5, 6 reject; every other code means that
/// the way ends, as silence does.
fn client_saw(icmp_type: u8, icmp_code: u8) -> ClientSaw {
    match (icmp_type, icmp_code) {
        (3, 3) | (1, 4) => ClientSaw::PortUnreachable,
        (3, 9 | 10 | 13) | (1, 1 | 5 | 6) => ClientSaw::Prohibited,
        _ => ClientSaw::Unreachable,
    }
}
