//! UDP: the first packet of a silent tuple is an attempt, the first one back its answer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::maps::share;
use node_agent_common::{CONTINUES, Tuple, UdpFlow, kind};

use crate::events::tell_superseded;
use crate::shares::role;
use crate::tables::{ATTEMPTS, UDP_FLOWS, attempt, forget, forget_udp, leads_to, settle_udp};
use crate::{Place, Way, cache, opened};

/// What a datagram is to its conversation.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It opens one: an attempt begins.
    First,
    /// It goes on where others were let through: so does an attempt.
    Continues,
    /// It goes against an attempt's.
    Reply,
    /// It goes against an attempt's that never came through: it opens one of its own.
    Crosses,
    /// Anything else.
    Further,
}

/// A datagram that the cache does not know.
#[inline(never)]
pub(crate) fn seen(tuple: &Tuple, ifindex: u32, way: Way) -> Part {
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let (key, turned) = tuple.paired();
    let is_own = way == Way::FromPod && leads_to(&tuple.source, ifindex);
    let concerns_us = way == Way::FromPod || leads_to(&tuple.destination, ifindex);
    let part = flows_on(&key, turned, tuple, now, (is_own, concerns_us));
    if part == Part::Further {
        return part;
    }
    let Some(known) = ATTEMPTS.get_ptr_mut(&key) else {
        return if concerns_us { part } else { Part::Further };
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*known).turned != u8::from(turned) {
            // What was stopped cannot be replied to.
            return if is_own && (*known).is_stopped() {
                Part::Crosses
            } else {
                Part::Reply
            };
        }
        if part == Part::Continues {
            (*known).tracked |= CONTINUES;
        }
        if concerns_us {
            opened::again(known, ifindex, way);
        }
    }
    Part::Further
}

/// A datagram back to an attempt.
#[inline(never)]
pub(crate) fn replied(tuple: &Tuple, place: &Place) {
    let asked = tuple.reversed();
    let Some(known) = attempt(&asked) else {
        return;
    };
    // SAFETY: a value of the map, copied before it is given back; the helper has no precondition.
    let answered = unsafe {
        if !opened::is_answered(known, &asked, place) {
            return;
        }
        let now = bpf_ktime_get_ns();
        settle_udp(&asked, &*known, now, 1);
        // The sweep says it, and takes it out.
        if opened::is_late(known, opened::heard_how(known, place.ifindex), now) {
            return;
        }
        (*known).answered_elsewhere = u8::from(comes_from_elsewhere(place));
        *known
    };
    if forget(&asked, &answered) {
        opened::ended(&asked, &answered, place.ifindex, kind::ANSWERED, |_| {});
    }
}

/// Tells whether a reply comes to a pod from no other pod of this node: then its peer's interface, there or here, is where
/// the attempt was seen to come.
#[inline(always)]
fn comes_from_elsewhere(place: &Place) -> bool {
    let Place {
        ifindex,
        came_in_at,
        way,
        ..
    } = *place;
    way == Way::ToPod
        && came_in_at != 0
        && (came_in_at == ifindex || role(came_in_at) & share::OWNED == 0)
}

/// Ends the attempt that a datagram crosses: both have the same key.
#[inline(never)]
pub(crate) fn crossed(tuple: &Tuple, ifindex: u32) {
    let stopped = tuple.reversed();
    let Some(known) = attempt(&stopped) else {
        return;
    };
    // SAFETY: a value of the map, copied before it is given back; the helper has no precondition.
    let (old, now) = unsafe { (*known, bpf_ktime_get_ns()) };
    if forget(&stopped, &old) {
        tell_superseded(&stopped, &old, ifindex, now);
    }
}

/// What a packet is to a flow that has had its outcome, which it keeps awake: [`Part::Further`], or what opens one.
#[inline(always)]
fn flows_on(
    key: &Tuple,
    turned: bool,
    packet: &Tuple,
    now: u64,
    (is_own, concerns_us): (bool, bool),
) -> Part {
    let Some(known) = UDP_FLOWS.get_ptr_mut(key) else {
        return Part::First;
    };
    // SAFETY: a value of the map.
    let (against, stopped) =
        unsafe { ((*known).turned != u8::from(turned), (*known).stopped != 0) };
    if is_silent(known, now) || is_own && against && stopped {
        // What comes now is an attempt, also where the other side speaks first.
        // SAFETY: a value of the map.
        forget_udp(key, unsafe { (*known).slot });
        return Part::First;
    }
    // SAFETY: as above.
    if unsafe { (*known).is_due(now) } {
        let is_attempt = ATTEMPTS.get_ptr(key).is_some();
        if is_attempt || concerns_us && !against {
            // It stays until the attempt has ended: whoever comes meanwhile finds what it knows.
            // SAFETY: as above.
            unsafe { (*known).last_ns = now };
            // Of one that was stopped nobody remembers that it was let through.
            return if stopped {
                Part::First
            } else {
                Part::Continues
            };
        }
    }
    // SAFETY: a value of the map.
    unsafe {
        (*known).last_ns = now;
        if against {
            (*known).answered = 1;
        } else {
            // This one may come through. If it is dropped, that is noted there.
            (*known).stopped = 0;
        }
        // Only answered tuples may be short-cut: a flow without an answer is the one that is asked about.
        if (*known).answered != 0 {
            (*known).cached = 1;
            cache::learn(packet);
        }
    }
    Part::Further
}

#[inline(always)]
fn is_silent(known: *mut UdpFlow, now: u64) -> bool {
    // SAFETY: a value of the map.
    unsafe { (*known).is_silent(now) }
}

/// Tells whether a dropped datagram belongs to a flow that has had its outcome, in either direction; what goes against
/// it while nothing comes through is no reply. Only a drop by a rule stops it: a full receive buffer changes nothing.
#[inline(never)]
pub(crate) fn is_settled(tuple: &Tuple, now: u64, by_rule: bool) -> bool {
    let (key, turned) = tuple.paired();
    let Some(known) = UDP_FLOWS.get_ptr_mut(&key) else {
        return false;
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*known).is_silent(now) || (*known).is_due(now) {
            return false;
        }
        if by_rule && (*known).turned == u8::from(turned) && (*known).answered == 0 {
            (*known).stopped = 1;
        }
    }
    true
}
