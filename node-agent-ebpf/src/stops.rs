//! What a drop is to an attempt: what stopped it, or all that is seen of it.

use node_agent_common::maps::share;
use node_agent_common::{Attempt, Tuple, kind, protocol};

use crate::counters::add_one_u32;
use crate::drops::{Dropped, Freed};
use crate::events::replace;
use crate::opened::stopped;
use crate::shares::was_lost_at;
use crate::tables::{
    ATTEMPTS, Room, attempt, epoch, is_pod, is_watched, join, leads, namespace_is_own, remember,
};
use crate::{repeats, udp};

/// Notes the drop in its attempt; an attempt that no interface has seen begins with it.
#[inline(always)]
pub(crate) fn seen(dropped: &Dropped) {
    let (tuple, original) = (&dropped.packet.tuple, &dropped.original);
    if note(tuple, dropped) {
        return;
    }
    let translated = dropped.ctinfo_plus_one != 0 && original != tuple;
    if translated && note(original, dropped) {
        return;
    }
    if !concerns_a_pod(tuple) && !(translated && concerns_a_pod(original)) {
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
        let _ = join(tuple, dropped.packet.sequence, dropped.now);
    }
}

#[inline(always)]
fn concerns_a_pod(tuple: &Tuple) -> bool {
    is_pod(&tuple.source) || is_pod(&tuple.destination)
}

/// Tells whether a datagram is no first one: its flow has had its outcome, or it goes back.
#[inline(never)]
fn follows_another(dropped: &Dropped, translated: bool) -> bool {
    udp::is_settled(&dropped.packet.tuple, dropped.now)
        || translated && udp::is_settled(&dropped.original, dropped.now)
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
        add_one_u32(&raw mut (*known).drops);
        if (*known).dropped == 0 {
            describe(&mut *known, key, dropped);
            stopped(known, key, dropped.freed.ifindex, kind::DROPPED);
        }
    }
    true
}

/// Starts an attempt with its drop; false when that is none.
#[inline(never)]
fn begin(key: &Tuple, dropped: &Dropped) -> bool {
    let Freed {
        came_in_at,
        has_travelled,
        ..
    } = dropped.freed;
    let Tuple {
        source,
        destination,
        ..
    } = &dropped.packet.tuple;
    // It came into a pod by an interface at which it was looked at: there it had no room, or has had its outcome.
    let is_in_pod = has_travelled && came_in_at == 0;
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
    dropped.is_frame
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
    attempt.tracked = u8::from(*ctinfo_plus_one != 0);
    attempt.drop_class = freed.class;
    attempt.dropped_at_destination = u8::from(is_at_destination(dropped));
    attempt.drop_reason = freed.reason;
    attempt.drop_netns = freed.netns;
    attempt.drop_location = freed.location;
    if key.destination != packet.tuple.destination
        || key.destination_port_be != packet.tuple.destination_port_be
    {
        attempt.dropped_to = packet.tuple.destination;
        attempt.dropped_port_be = packet.tuple.destination_port_be;
    }
}
