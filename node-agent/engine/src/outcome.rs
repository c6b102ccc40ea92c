//! What the network did with one attempt, from what was seen of it. Policy has no say here.

mod denied;
mod ending;
mod gone;
mod stops;
mod translated;

use std::net::IpAddr;

use self::stops::{client_saw, decides, is_of_a_node, rejected_saw, unheard};
use crate::Moment;
use crate::bypass::Bypass;
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::{AttemptState, Drop, DropClass, Event, EventKind, Flow, Link};
use crate::input::{Rejected, Swept};
use crate::links::Links;
use crate::model::Protocol;
use crate::record::{Cause, ClientSaw, Evidence, OutcomeKind};
use crate::verdict::UnknownBecause;

/// How long a UDP conversation is remembered; the kernel side's own limit.
pub(crate) const UDP_REMEMBERED_NS: u64 = 200_000_000_000;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The attempt's own flow, by which it is known.
    pub(crate) key: Flow,
    /// Between its real ends, as far as a drop behind address translation or conntrack showed them.
    pub(crate) flow: Flow,
    /// Where its source sent it, when translation led it elsewhere.
    pub(crate) sent_to: Option<(IpAddr, u16)>,
    /// Whom its destination takes for its source, when translation gave it another.
    pub(crate) seen_from: Option<(IpAddr, u16)>,
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
    /// What stands in place of every claim, whatever policy says.
    pub(crate) doubt: Option<UnknownBecause>,
    /// What stands in place of a claim when policy denies it.
    pub(crate) doubt_if_denied: Option<UnknownBecause>,
}

/// What has to be known besides the event.
pub(crate) struct Surroundings<'a> {
    pub(crate) links: &'a Links,
    pub(crate) bypass: &'a Bypass,
    pub(crate) cluster: &'a Cluster,
    /// The agent's own node.
    pub(crate) node: &'a str,
    /// When something of ours was last lost.
    pub(crate) lost_at: Option<Moment>,
    /// When it was last forgotten that a UDP conversation has had its outcome.
    pub(crate) udp_lost_at: Option<Moment>,
}

impl Surroundings<'_> {
    /// Reads an answer or a refusal. `None` for what ends nothing.
    pub(crate) fn end(&self, event: &Event) -> Option<Ending> {
        let ending = self.begin(event.flow, event.attempt.clone(), event.at);
        match event.kind {
            EventKind::Answered => Some(self.vouched(ending, event).answered(event)),
            EventKind::Established => Some(self.vouched(ending, event).with(
                OutcomeKind::Answered,
                ClientSaw::Answer,
                Evidence::SocketEstablished,
            )),
            EventKind::Refused => Some(self.vouched(ending, event).refused(event.icmp)),
            EventKind::Superseded => Some(self.last(ending, false)),
            EventKind::Denied => Some(ending.denied()),
            EventKind::Reset | EventKind::Unreachable | EventKind::Dropped => None,
        }
    }

    /// Reads what stopped an attempt, as far as it is known by now.
    pub(crate) fn stop(&self, event: &Event) -> Option<Ending> {
        self.stopped(&self.begin(event.flow, event.attempt.clone(), event.at))
    }

    /// Reads an attempt that passed its deadline.
    pub(crate) fn swept(&self, swept: &Swept, now: Moment) -> Ending {
        let ending = self.begin(swept.flow, swept.attempt.clone(), now);
        let is_silent = !ending.attempt.is_answered() && self.stopped(&ending).is_none();
        if swept.cut_short && is_silent {
            return Ending {
                doubt: Some(UnknownBecause::Lost),
                ..ending
            };
        }
        self.last(ending, true)
    }

    fn begin(&self, key: Flow, mut attempt: AttemptState, at: Moment) -> Ending {
        if self.is_flooded(&key, &attempt) {
            attempt.destination_link = None;
        }
        let mut ending = Ending::new(key, attempt, at);
        // A conversation that was forgotten would look like a new one, and from either side.
        if key.protocol == Protocol::Udp && !ending.oriented {
            let forgotten = self
                .udp_lost_at
                .is_some_and(|lost| ending.attempt.first.since(lost) < UDP_REMEMBERED_NS);
            ending.doubt = forgotten.then_some(UnknownBecause::Orientation);
        }
        ending
    }

    /// Whether it was passed out at another pod's interface than its destination's: a bridge floods what it knows nobody for.
    fn is_flooded(&self, key: &Flow, attempt: &AttemptState) -> bool {
        let owner = self.cluster.lookup(key.destination, attempt.first);
        let link = attempt.destination_link;
        let link = link.and_then(|index| self.links.get(index));
        matches!(owner, Identity::Pod(_)) && link.is_some_and(|link| link.denies(key.destination))
    }

    /// What another pod's interface let in, the peer did not say.
    fn vouched(&self, mut ending: Ending, event: &Event) -> Ending {
        let other = event
            .link
            .filter(|_| event.link != ending.attempt.source_link);
        if other
            .and_then(|index| self.links.get(index))
            .is_some_and(|link| link.denies(ending.flow.destination))
        {
            ending.doubt = Some(UnknownBecause::SourceMismatch);
        }
        // Only a pod's own interface lets a refusal in.
        if event.kind != EventKind::Refused && other.is_none() && self.is_silent_peer(&ending) {
            ending.doubt_if_denied = Some(UnknownBecause::SourceMismatch);
        }
        // A refusal ends the attempt where it is spoken: nobody sees whether it goes to the sender.
        if event.kind == EventKind::Refused && self.may_be_borrowed(&ending) {
            ending.doubt_if_denied = Some(UnknownBecause::SourceMismatch);
        }
        ending
    }

    /// Whether the attempt did not come to its destination on this node, nor an answer from there, though an answer came to its
    /// source: a proxy of the node speaks in the pod's place. What passes an interface by on its way to a pod leaves by it.
    fn is_silent_peer(&self, ending: &Ending) -> bool {
        let Ending { attempt, flow, .. } = ending;
        let is_watched = |link: &Link| {
            link.addresses.contains(&flow.destination) && link.watched_since <= attempt.first
        };
        attempt.source_link.is_some()
            && attempt.destination_link.is_none()
            && !attempt.answered
            && self.links.iter().any(is_watched)
    }

    /// Whether nobody listened where the destination itself is: in a pod's own namespace, or on the node that it is. What is led
    /// to the node in a pod's place the node refuses.
    fn is_own_refusal(&self, ending: &Ending, drop: &Drop) -> bool {
        let owner = self
            .cluster
            .lookup(ending.flow.destination, ending.attempt.first);
        drop.class == DropClass::NoSocket && (drop.in_pod || !matches!(owner, Identity::Pod(_)))
    }

    /// Whether the source address is not known to lie behind the interface that let the attempt in.
    fn may_be_borrowed(&self, ending: &Ending) -> bool {
        let link = ending.attempt.source_link;
        link.and_then(|index| self.links.get(index))
            .is_some_and(|link| !link.addresses.contains(&ending.flow.source))
    }

    /// How an attempt that was neither answered nor refused has ended.
    fn last(&self, mut ending: Ending, waited: bool) -> Ending {
        if ending.attempt.refused {
            if self.may_be_borrowed(&ending) {
                ending.doubt_if_denied = Some(UnknownBecause::SourceMismatch);
            }
            return ending.refused(None);
        }
        if ending.attempt.heard {
            if ending.attempt.forged || self.is_silent_peer(&ending) {
                ending.doubt_if_denied = Some(UnknownBecause::SourceMismatch);
            }
            return ending.with(
                OutcomeKind::Answered,
                ClientSaw::Answer,
                Evidence::AnswerAtSource,
            );
        }
        if ending.attempt.answered {
            if ending.attempt.forged {
                ending.doubt = Some(UnknownBecause::SourceMismatch);
            }
            let attempt = &ending.attempt;
            let is_missed = self.lost_at.is_some_and(|lost| lost >= attempt.first)
                || self.bypass.hides_answers(self.links, attempt);
            let saw = match is_missed {
                true => ClientSaw::Unknown,
                false => unheard(attempt),
            };
            return ending.with(OutcomeKind::Answered, saw, Evidence::AnswerAtDestination);
        }
        self.stopped(&ending)
            .unwrap_or_else(|| self.silent(ending, waited))
    }

    /// What stopped an attempt; `None` when nothing that decides is known.
    fn stopped(&self, ending: &Ending) -> Option<Ending> {
        let by_drop = ending.attempt.drop.clone();
        by_drop
            .and_then(|drop| self.dropped(ending.clone(), drop))
            .or_else(|| match ending.attempt.rejected? {
                Rejected::Reset => Some(self.reset(ending.clone())),
                Rejected::Icmp {
                    from,
                    icmp_type,
                    icmp_code,
                } => self.unreachable(ending.clone(), from, client_saw(icmp_type, icmp_code)),
            })
    }

    fn reset(&self, mut ending: Ending) -> Ending {
        let outcome = if self.links.lead_to(ending.key.destination) {
            OutcomeKind::Rejected
        } else {
            ending.doubt_if_denied = Some(UnknownBecause::FarSide);
            OutcomeKind::Refused
        };
        ending.with(outcome, ClientSaw::Reset, Evidence::ResetAtSource)
    }

    fn unreachable(&self, mut ending: Ending, from: IpAddr, saw: ClientSaw) -> Option<Ending> {
        if saw == ClientSaw::Unreachable {
            return None;
        }
        ending.evidence.push(Evidence::IcmpAtSource);
        // Translation gives it the address that the client called.
        let is_hidden = from == ending.key.destination && from != ending.flow.destination;
        // From the destination itself it is that node's own refusal, or a REJECT there: the drop tells the two apart.
        if from != ending.flow.destination && !is_hidden && self.is_node(from, ending.at) {
            return Some(ending.with(OutcomeKind::Rejected, saw, Evidence::IcmpFromNode));
        }
        let dropped_here = ending.attempt.drop.as_ref();
        if !dropped_here.is_some_and(|drop| self.is_own_refusal(&ending, drop)) {
            ending.doubt_if_denied = Some(UnknownBecause::FarSide);
        }
        // So kube-router rejects, and a pod's own firewall seldom.
        let is_by_rule = is_hidden && saw == ClientSaw::PortUnreachable;
        ending.outcome = match is_by_rule && self.resets(&ending) {
            true => OutcomeKind::Rejected,
            false => OutcomeKind::Refused,
        };
        ending.client_saw = saw;
        Some(ending)
    }

    /// Whether who is there would refuse it by a RST or an ABORT. A host outside may have a firewall of its own.
    fn resets(&self, ending: &Ending) -> bool {
        let Flow {
            destination,
            protocol,
            ..
        } = ending.flow;
        let owner = self.cluster.lookup(destination, ending.attempt.first);
        matches!(protocol, Protocol::Tcp | Protocol::Sctp) && matches!(owner, Identity::Pod(_))
    }

    fn dropped(&self, mut ending: Ending, drop: Drop) -> Option<Ending> {
        if !decides(&drop, ending.attempt.rejected) {
            return None;
        }
        match drop.class {
            DropClass::Neighbour | DropClass::Route if self.is_peer_gone(&ending, drop.class) => {
                return None;
            }
            DropClass::Neighbour | DropClass::Other => {
                ending.doubt_if_denied = Some(UnknownBecause::NotSeenStopped)
            }
            DropClass::Netfilter
            | DropClass::Tc
            | DropClass::Xdp
            | DropClass::Cgroup
            | DropClass::Nfqueue
            | DropClass::Ovs
            | DropClass::Route
            | DropClass::NoRoute
            | DropClass::NoSocket
            | DropClass::Malformed => {}
        }
        if drop.in_pod {
            ending.cause = Some(Cause::OwnFirewall);
        }
        ending.drop = Some(drop);
        let Some(rejected) = ending.attempt.rejected else {
            let saw = unheard(&ending.attempt);
            return Some(ending.with(OutcomeKind::Dropped, saw, Evidence::KfreeSkb));
        };
        ending.evidence.push(match rejected {
            Rejected::Reset => Evidence::ResetAtSource,
            Rejected::Icmp { .. } => Evidence::IcmpAtSource,
        });
        let saw = rejected_saw(rejected);
        // That the way ends there the drop says better.
        let outcome = if saw == ClientSaw::Unreachable {
            OutcomeKind::Dropped
        } else {
            OutcomeKind::Rejected
        };
        Some(ending.with(outcome, saw, Evidence::KfreeSkb))
    }

    /// Nothing came back in time, or at all.
    fn silent(&self, mut ending: Ending, waited: bool) -> Ending {
        if waited {
            ending.evidence.push(Evidence::Deadline);
        }
        ending.client_saw = match ending.attempt.rejected {
            Some(_) => ClientSaw::Unreachable,
            None => unheard(&ending.attempt),
        };
        if ending.attempt.rejected.is_some() {
            ending.evidence.push(Evidence::IcmpAtSource);
        }
        if let Some(drop) = ending.attempt.drop.clone() {
            ending.evidence.push(Evidence::KfreeSkb);
            if self.is_own_refusal(&ending, &drop) {
                ending.drop = Some(drop);
                ending.outcome = OutcomeKind::Refused;
                ending.client_saw = ClientSaw::Unknown;
                return ending;
            }
            if drop.class == DropClass::Neighbour || self.is_peer_gone(&ending, drop.class) {
                ending.cause = Some(Cause::PeerGone);
            }
            ending.drop = Some(drop);
        } else if ending.attempt.rejected.is_none()
            && self.bypass.hides(self.links, ending.flow, &ending.attempt)
        {
            ending.doubt = Some(UnknownBecause::HookBypassed);
            ending.client_saw = ClientSaw::Unknown;
            return ending;
        }
        if self
            .lost_at
            .is_some_and(|lost| lost >= ending.attempt.first)
        {
            ending.doubt = Some(UnknownBecause::Lost);
        }
        // An answer of the peer's own would not have been told from the other.
        if ending.attempt.forged {
            ending.doubt = Some(UnknownBecause::SourceMismatch);
        }
        ending.outcome = if waited && self.delivered(&ending) {
            OutcomeKind::Delivered
        } else {
            OutcomeKind::Unanswered
        };
        ending
    }

    /// Whether it provably reached the pod: it was passed out at the interface of the pod that owns the
    /// destination, its namespace's drops are told, and no program behind ours there can have taken it away.
    fn delivered(&self, ending: &Ending) -> bool {
        let Some(link) = ending
            .attempt
            .destination_link
            .and_then(|index| self.links.get(index))
        else {
            return false;
        };
        link.addresses.contains(&ending.flow.destination)
            && link.netns.is_some()
            && link.foreign_program == Some(false)
    }

    fn is_node(&self, address: IpAddr, at: Moment) -> bool {
        is_of_a_node(&self.cluster.lookup(address, at))
    }
}
