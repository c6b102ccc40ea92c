//! Bytes of the kernel side to what the core takes in. What makes no sense is counted, never trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use node_agent_common::{
    ANSWERED, ANSWERED_AND_HEARD_LATE, Attempt, CONTINUES, Conversation, ConversationKey, Event,
    FAMILY_V4, FAMILY_V6, HEARD_LATE, REFUSED_LATE, TRACKED, Tuple, kind, maps::drop_class,
    protocol,
};
use node_agent_engine::input::{
    AttemptState, Counted, Drop, DropClass, Event as EngineEvent, EventKind, Flow, IcmpError,
    Moment, Rejected, Swept,
};
use node_agent_engine::model::Protocol;

use super::calls::{self, Calls};
use super::crowded::Crowded;
use super::reasons::{Reasons, class_of_location};
use super::symbols::Symbols;

/// What the numbers of the kernel side mean on this machine.
pub(super) struct Decoder {
    pub(super) reasons: Reasons,
    pub(super) symbols: Symbols,
    /// Inode of the node's own network namespace.
    pub(super) own_netns: u32,
    /// Who called, where that is watched.
    pub(super) calls: Option<Calls>,
    /// Whether conntrack has room.
    pub(super) crowded: Crowded,
}

/// What is known of an attempt that is swept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It passed its deadline.
    Over,
    /// It was told of before, and has had its answer since.
    Again,
    /// Capture ends before its deadline.
    CutShort,
}

impl Decoder {
    /// Reads an entry of the ring buffer.
    pub(super) fn event(&mut self, event: &Event) -> Option<EngineEvent> {
        let kind = event_kind(event.kind)?;
        let mut attempt = self.attempt(&event.attempt, &event.tuple, Moment(event.time_ns))?;
        if kind == EventKind::Denied {
            self.denied(event, &mut attempt)?;
        }
        attempt.sent_to = sent_to(event);
        let is_icmp = kind == EventKind::Refused && event.icmp_type != 0;
        Some(EngineEvent {
            at: Moment(event.time_ns),
            kind,
            flow: flow(&event.tuple)?,
            attempt,
            total: event.total,
            link: nonzero(event.ifindex),
            icmp: is_icmp.then_some(IcmpError {
                icmp_type: event.icmp_type,
                icmp_code: event.icmp_code,
            }),
        })
    }

    /// Reads an attempt that passed its deadline.
    pub(super) fn swept(
        &mut self,
        tuple: &Tuple,
        attempt: &Attempt,
        now: Moment,
        how: How,
    ) -> Option<Swept> {
        Some(Swept {
            flow: flow(tuple)?,
            attempt: self.attempt(attempt, tuple, now)?,
            cut_short: how == How::CutShort,
            was_told: how == How::Again,
        })
    }

    fn attempt(&mut self, attempt: &Attempt, tuple: &Tuple, now: Moment) -> Option<AttemptState> {
        let family = tuple.family;
        let called = self.calls.as_mut();
        let called = called.and_then(|calls| calls.called(attempt.cookie, tuple, now));
        Some(AttemptState {
            asked_for: called.as_ref().and_then(|called| called.asked_for),
            process: called.map(|called| called.process),
            first: Moment(attempt.first_ns),
            epoch: attempt.epoch,
            source_link: nonzero(attempt.source_ifindex),
            destination_link: nonzero(attempt.destination_ifindex),
            drop: match attempt.dropped {
                0 => None,
                _ => self.drop(attempt, now)?,
            },
            led_to: place(attempt.led_to, attempt.led_to_port_be, family)?,
            sent_to: None,
            tracked: attempt.tracked & TRACKED != 0,
            continues: attempt.tracked & CONTINUES != 0,
            answered: matches!(attempt.answered, ANSWERED | ANSWERED_AND_HEARD_LATE),
            refused: attempt.answered == REFUSED_LATE,
            heard: matches!(attempt.answered, HEARD_LATE | ANSWERED_AND_HEARD_LATE),
            answered_here: attempt.answered_here != 0,
            answered_elsewhere: attempt.answered_elsewhere != 0,
            forged: attempt.forged != 0,
            drops: attempt.drops,
            retransmissions: attempt.retransmissions,
            rejected: match (attempt.rejected, attempt.icmp_type, attempt.icmp_code) {
                (0, _, _) => None,
                (_, 0, 0) => Some(Rejected::Reset),
                (_, icmp_type, icmp_code) => Some(Rejected::Icmp {
                    from: address(attempt.rejected_by, family)?,
                    icmp_type,
                    icmp_code,
                }),
            },
        })
    }

    /// What a call failed with stands where a packet has its drop.
    fn denied(&self, event: &Event, attempt: &mut AttemptState) -> Option<()> {
        let hook = calls::Hook::of(event.attempt.drop_reason)?;
        let is_denial = matches!(i32::from(event.errno), libc::EPERM | libc::EACCES);
        attempt.tracked = hook.opens;
        attempt.drop = Some(Drop {
            reason: hook.name.into(),
            location: calls::WHERE.into(),
            class: if is_denial {
                DropClass::Cgroup
            } else {
                DropClass::Other
            },
            netns: event.attempt.drop_netns,
            in_pod: event.attempt.drop_netns != self.own_netns,
            at_destination: false,
        });
        Some(())
    }

    /// `None` within for what turns out to be no drop, where the kernel side did not know its place.
    fn drop(&mut self, attempt: &Attempt, now: Moment) -> Option<Option<Drop>> {
        let reason = self.reasons.name(attempt.drop_reason);
        let location = self.symbols.name(attempt.drop_location);
        let class = class_of_route(&reason, &location);
        let told = match attempt.drop_class {
            drop_class::UNSPECIFIED => class_of_location(&location),
            told => Some(told),
        };
        let Some(told) = told else {
            return Some(None);
        };
        let mut class = class.or_else(|| class_of(told))?;
        // Conntrack itself drops what it has no room for: no rule has said so.
        if class == DropClass::Netfilter
            && attempt.tracked & TRACKED == 0
            && self.crowded.between(Moment(attempt.first_ns), now)
        {
            class = DropClass::Other;
        }
        Some(Some(Drop {
            class,
            reason,
            location,
            netns: attempt.drop_netns,
            in_pod: attempt.drop_netns != self.own_netns,
            at_destination: attempt.dropped_at_destination != 0,
        }))
    }
}

/// Reads a conversation's running total.
pub(super) fn counted(key: &ConversationKey, conversation: &Conversation) -> Option<Counted> {
    Some(Counted {
        source: address(key.source, key.family)?,
        destination: address(key.destination, key.family)?,
        destination_port: u16::from_be_bytes(key.destination_port_be),
        protocol: protocol_of(key.protocol)?,
        kind: event_kind(key.kind)?,
        elsewhere: key.elsewhere != 0,
        total: conversation.total,
        last: Moment(conversation.last_ns),
    })
}

/// An entry of the ring buffer, as it is.
pub(super) fn plain(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<Event>() {
        return None;
    }
    // SAFETY: as long as an `Event`, which is made of integers and byte arrays: every bit pattern is one.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

fn nonzero(index: u32) -> Option<u32> {
    (index != 0).then_some(index)
}

fn flow(tuple: &Tuple) -> Option<Flow> {
    Some(Flow {
        source: address(tuple.source, tuple.family)?,
        destination: address(tuple.destination, tuple.family)?,
        source_port: tuple.source_port(),
        destination_port: tuple.destination_port(),
        protocol: protocol_of(tuple.protocol)?,
    })
}

pub(super) fn address(bytes: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        FAMILY_V4 => {
            let [.., a, b, c, d] = bytes;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        FAMILY_V6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

/// Where its source had sent an attempt that was led to the event's destination.
fn sent_to(event: &Event) -> Option<(IpAddr, u16)> {
    let Event { tuple, sent_to, .. } = event;
    let to = (sent_to.address(tuple.family), sent_to.port_be);
    if sent_to.protocol != tuple.protocol || to == (tuple.destination, tuple.destination_port_be) {
        return None;
    }
    Some((address(to.0, tuple.family)?, u16::from_be_bytes(to.1)))
}

/// An address with a port, which need not be there.
fn place(bytes: [u8; 16], port_be: [u8; 2], family: u8) -> Option<Option<(IpAddr, u16)>> {
    if bytes == [0; 16] && port_be == [0; 2] {
        return Some(None);
    }
    Some(Some((address(bytes, family)?, u16::from_be_bytes(port_be))))
}

fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        protocol::TCP => Some(Protocol::Tcp),
        protocol::UDP => Some(Protocol::Udp),
        protocol::SCTP => Some(Protocol::Sctp),
        _ => None,
    }
}

fn event_kind(number: u8) -> Option<EventKind> {
    match number {
        kind::ANSWERED => Some(EventKind::Answered),
        kind::REFUSED => Some(EventKind::Refused),
        kind::RESET => Some(EventKind::Reset),
        kind::UNREACHABLE => Some(EventKind::Unreachable),
        kind::DROPPED => Some(EventKind::Dropped),
        kind::ESTABLISHED => Some(EventKind::Established),
        kind::SUPERSEDED => Some(EventKind::Superseded),
        kind::DENIED => Some(EventKind::Denied),
        _ => None,
    }
}

/// A missing route, one that says so, and over IPv6 one that forbids: the reason is the same, the place tells them apart.
fn class_of_route(reason: &str, location: &str) -> Option<DropClass> {
    match (reason, location) {
        ("IP_INNOROUTES" | "IP_OUTNOROUTES", "ip6_pkt_prohibit" | "ip6_pkt_prohibit_out") => {
            Some(DropClass::Route)
        }
        ("IP_INNOROUTES" | "IP_OUTNOROUTES", _) => Some(DropClass::NoRoute),
        _ => None,
    }
}

fn class_of(number: u8) -> Option<DropClass> {
    match number {
        drop_class::NETFILTER => Some(DropClass::Netfilter),
        drop_class::TC => Some(DropClass::Tc),
        drop_class::XDP => Some(DropClass::Xdp),
        drop_class::CGROUP => Some(DropClass::Cgroup),
        drop_class::NFQUEUE => Some(DropClass::Nfqueue),
        drop_class::OVS => Some(DropClass::Ovs),
        drop_class::ROUTE => Some(DropClass::Route),
        drop_class::NO_SOCKET => Some(DropClass::NoSocket),
        drop_class::NEIGHBOUR => Some(DropClass::Neighbour),
        drop_class::OTHER => Some(DropClass::Other),
        drop_class::MALFORMED => Some(DropClass::Malformed),
        _ => None,
    }
}
