//! What a drop is to an attempt: what stopped it, or all that is seen of it.

use node_agent_common::maps::drop_class::{self, is_by_rule};
use node_agent_common::maps::share;
use node_agent_common::parse::Packet;
use node_agent_common::{Attempt, TRACKED, Tuple, kind, protocol};

use crate::counters::add_one_u32;
use crate::events::replace;
use crate::opened::stopped;
use crate::shares::{role, was_lost_at};
use crate::tables::{
    ATTEMPTS, Room, attempt, epoch, interface_of, is_pod, is_watched, join, leads,
    namespace_is_own, remember,
};
use crate::{repeats, udp};

/// Why and where a packet was freed.
pub(crate) struct Freed {
    pub(crate) location: u64,
    pub(crate) reason: u32,
    pub(crate) ifindex: u32,
    /// Where it came into the namespace where it was freed; 0 when it was made there.
    pub(crate) arrived_at: u32,
    pub(crate) netns: u32,
    pub(crate) class: u8,
}

impl Freed {
    /// Where it came into the node; 0 when it did not, or was freed elsewhere: there an index means another interface.
    #[inline(always)]
    fn came_in_at(&self) -> u32 {
        if namespace_is_own(self.netns) {
            self.arrived_at
        } else {
            0
        }
    }

    /// Tells whether it came into the namespace where it was freed, and was not made there.
    #[inline(always)]
    fn has_travelled(&self) -> bool {
        self.arrived_at != 0
    }
}

/// A freed packet that may be an attempt's first.
pub(crate) struct Dropped {
    pub(crate) freed: Freed,
    /// TCP: a SYN. SCTP: an INIT. UDP: its sequence number is 0.
    pub(crate) packet: Packet,
    /// Conntrack's original tuple; without one, the packet's own.
    pub(crate) original: Tuple,
    /// Monotonic time, nanoseconds.
    pub(crate) now: u64,
    /// How many bytes lie before its network header, as a signed number; see [`Dropped::is_frame`].
    pub(crate) headroom: u32,
    /// Conntrack's `ctinfo` plus one; 0 without conntrack.
    pub(crate) ctinfo_plus_one: u8,
}

impl Dropped {
    /// Tells whether it lay ready at an interface, with the frame's header before it. What routes and bridges hold has none,
    /// even when they know where it shall leave.
    #[inline(always)]
    fn is_frame(&self) -> bool {
        self.headroom.cast_signed() > 0
    }
}

/// Notes the drop in its attempt; an attempt that no interface has seen begins with it.
#[inline(always)]
pub(crate) fn seen(dropped: &Dropped) {
    let (tuple, original) = (&dropped.packet.tuple, &dropped.original);
    if note(tuple, dropped) {
        return;
    }
    let translated = original != tuple;
    if translated && note(original, dropped) {
        return;
    }
    // What may be no drop at all begins nothing.
    if dropped.freed.class == drop_class::UNSPECIFIED {
        return;
    }
    // A pod's datagram that came as far as the node's sockets had another destination when its interface saw it: there it is
    // an attempt.
    if tuple.protocol == protocol::UDP
        && dropped.freed.class == drop_class::NO_SOCKET
        && !translated
        && is_watched(&tuple.source)
        && namespace_is_own(dropped.freed.netns)
    {
        return;
    }
    if !concerns_a_pod(tuple) && !(translated && concerns_a_pod(original)) {
        return;
    }
    if is_aside(dropped) {
        return;
    }
    if tuple.protocol == protocol::UDP && follows_another(dropped, translated) {
        return;
    }
    let began = begin(if translated { original } else { tuple }, dropped);
    // On the node its sender's interface saw it go elsewhere: a program has translated it since, without conntrack.
    // What is stopped in the sender's own namespace came to no interface.
    if began
        && !translated
        && tuple.protocol != protocol::UDP
        && is_watched(&tuple.source)
        && namespace_is_own(dropped.freed.netns)
    {
        let _ = join(tuple, dropped.packet.sequence, dropped.now, 0);
    }
}

#[inline(always)]
fn concerns_a_pod(tuple: &Tuple) -> bool {
    is_pod(&tuple.source) || is_pod(&tuple.destination)
}

/// Tells whether a datagram is no first one: its flow has had its outcome, or it goes back.
#[inline(never)]
fn follows_another(dropped: &Dropped, translated: bool) -> bool {
    let by_rule = is_by_rule(dropped.freed.class);
    udp::is_settled(&dropped.packet.tuple, dropped.now, by_rule)
        || translated && udp::is_settled(&dropped.original, dropped.now, by_rule)
        || attempt(&dropped.packet.tuple.reversed()).is_some()
}

/// Notes a drop in the attempt under `key`; false when that is not there, or is another one.
#[inline(never)]
fn note(key: &Tuple, dropped: &Dropped) -> bool {
    let Some(known) = attempt(key) else {
        return false;
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*known).sequence != dropped.packet.sequence {
            return false;
        }
        let at = freed_at(dropped);
        let was_there = at == (*known).source_ifindex || at == (*known).destination_ifindex;
        if !was_there && is_aside(dropped) {
            return true;
        }
        add_one_u32(&raw mut (*known).drops);
        if (*known).dropped == 0 {
            describe(&mut *known, key, dropped);
            stopped(known, key, dropped.freed.ifindex, kind::DROPPED);
        }
    }
    true
}

/// The interface where a packet was dropped, or which leads to the pod where it was; 0 without one.
#[inline(always)]
fn freed_at(dropped: &Dropped) -> u32 {
    let Freed { netns, ifindex, .. } = dropped.freed;
    if namespace_is_own(netns) {
        ifindex
    } else {
        interface_of(netns).unwrap_or(0)
    }
}

/// Tells whether a packet was dropped where its way does not lead: at an interface that leads nowhere, or to a pod that
/// is neither its source nor its destination. A mirror has made a copy then, or a bridge that floods.
#[inline(never)]
fn is_aside(dropped: &Dropped) -> bool {
    let at = freed_at(dropped);
    let role = if at == 0 { 0 } else { role(at) };
    if role & share::ASIDE != 0 || role & share::WATCHED == 0 {
        return role & share::ASIDE != 0;
    }
    let Dropped {
        freed,
        packet,
        original,
        ..
    } = dropped;
    let came_from_there =
        freed.came_in_at() == at || !freed.has_travelled() && !namespace_is_own(freed.netns);
    let is_owned = role & share::OWNED != 0;
    !came_from_there
        && leads(&packet.tuple.source) != Some(at)
        && !may_lead(&packet.tuple.destination, at, is_owned)
        && !may_lead(&original.destination, at, is_owned)
}

/// Tells whether an interface leads to whom that address belongs, as far as that is known: a pod that is deleted has an
/// interface for a while, and a young one before its address is known.
#[inline(always)]
fn may_lead(address: &[u8; 16], at: u32, is_owned: bool) -> bool {
    leads(address).map_or(!is_owned, |to| to == 0 || to == at)
}

/// Starts an attempt with its drop; false when that is none.
#[inline(never)]
fn begin(key: &Tuple, dropped: &Dropped) -> bool {
    let came_in_at = dropped.freed.came_in_at();
    let Tuple {
        source,
        destination,
        ..
    } = &dropped.packet.tuple;
    // It came into a pod by an interface at which it was looked at: there it had no room, or has had its outcome.
    let is_in_pod = dropped.freed.has_travelled() && came_in_at == 0;
    if is_in_pod && is_watched(destination) || was_lost_at(came_in_at) {
        return false;
    }
    let (sequence, now) = (dropped.packet.sequence, dropped.now);
    if repeats::is_one(key, sequence, now) || repeats::is_one(&dropped.packet.tuple, sequence, now)
    {
        return false;
    }
    // Whoever sent it fills its own share.
    let came_in_at = match came_in_at {
        0 => leads(source).unwrap_or(0),
        _ => came_in_at,
    };
    let mut attempt = Attempt {
        first_ns: now,
        epoch: epoch(),
        sequence,
        drops: 1,
        slot: share::slot(came_in_at),
        ..Attempt::default()
    };
    describe(&mut attempt, key, dropped);
    let began = supersede(key, &mut attempt, dropped.freed.ifindex)
        || remember(key, &mut attempt, Room::Needed);
    if began {
        // SAFETY: an attempt, if not the map's own.
        unsafe {
            stopped(
                &raw const attempt,
                key,
                dropped.freed.ifindex,
                kind::DROPPED,
            )
        };
    }
    began
}

/// Puts an attempt in the place of one with the same ports that has had no outcome; false when there is none. Where the
/// source's interface saw that one it would have seen this one, too: then it is an old packet that was held up.
///
/// Of UDP all datagrams are one attempt's.
#[inline(never)]
fn supersede(key: &Tuple, attempt: &mut Attempt, ifindex: u32) -> bool {
    if key.protocol == protocol::UDP {
        return false;
    }
    let Some(known) = ATTEMPTS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a value of the map.
    let old = unsafe { &*known };
    if old.source_ifindex != 0 || old.sequence == attempt.sequence {
        return false;
    }
    // In the old one's share, so that nothing is given back and taken.
    attempt.slot = old.slot;
    replace(key, old, attempt, ifindex)
}

/// Tells whether a packet was about to go out at the interface that leads to its destination.
#[inline(always)]
fn is_at_destination(dropped: &Dropped) -> bool {
    let Dropped { freed, packet, .. } = dropped;
    let at = Some(freed.ifindex);
    dropped.is_frame()
        && freed.ifindex != 0
        && namespace_is_own(freed.netns)
        && leads(&packet.tuple.destination) == at
        && leads(&packet.tuple.source) != at
}

/// Writes a first drop into its attempt.
#[inline(always)]
fn describe(attempt: &mut Attempt, key: &Tuple, dropped: &Dropped) {
    let Dropped {
        freed,
        packet,
        ctinfo_plus_one,
        ..
    } = dropped;
    attempt.dropped = 1;
    attempt.tracked |= u8::from(*ctinfo_plus_one != 0) * TRACKED;
    attempt.drop_class = freed.class;
    attempt.dropped_at_destination = u8::from(is_at_destination(dropped));
    attempt.drop_reason = freed.reason;
    attempt.drop_netns = freed.netns;
    attempt.drop_location = freed.location;
    if key.destination != packet.tuple.destination
        || key.destination_port_be != packet.tuple.destination_port_be
    {
        attempt.led_to = packet.tuple.destination;
        attempt.led_to_port_be = packet.tuple.destination_port_be;
    }
}
