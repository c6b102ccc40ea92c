//! UDP: the first packet of a silent tuple is an attempt, the first one back its answer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::{Tuple, UdpFlow, kind};

use crate::tables::{ATTEMPTS, UDP_FLOWS, forget, leads_to, settle_udp};
use crate::{Way, cache, opened};

/// What a datagram is to its conversation.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It opens one: an attempt begins.
    First,
    /// Anything else.
    Further,
}

/// A datagram that the cache does not know.
#[inline(never)]
pub(crate) fn seen(tuple: &Tuple, ifindex: u32, way: Way) -> Part {
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    if flows_on(tuple, tuple, now, Direction::Forward) {
        return Part::Further;
    }
    let reply_to = tuple.reversed();
    if flows_on(&reply_to, tuple, now, Direction::Reply) {
        return Part::Further;
    }
    if let Some(known) = ATTEMPTS.get_ptr_mut(tuple) {
        if way == Way::FromPod || leads_to(&tuple.destination, ifindex) {
            // SAFETY: a value of the map.
            unsafe { opened::again(known, ifindex, way) };
        }
        return Part::Further;
    }
    if let Some(known) = ATTEMPTS.get_ptr_mut(&reply_to) {
        // SAFETY: a value of the map, copied before it is given back.
        let attempt = unsafe {
            if !opened::is_answered(known, &reply_to, ifindex, way) {
                return Part::Further;
            }
            *known
        };
        settle_udp(&reply_to, &attempt, now, 1);
        if forget(&reply_to) {
            opened::ended(&reply_to, &attempt, ifindex, kind::ANSWERED, |_| {});
        }
        return Part::Further;
    }
    if way == Way::FromPod || leads_to(&tuple.destination, ifindex) {
        Part::First
    } else {
        Part::Further
    }
}

/// Which way a datagram goes in its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Reply,
}

/// Tells whether the packet belongs to a flow that has had its outcome, and keeps that awake.
#[inline(always)]
fn flows_on(flow: &Tuple, packet: &Tuple, now: u64, direction: Direction) -> bool {
    let Some(known) = UDP_FLOWS.get_ptr_mut(flow) else {
        return false;
    };
    if is_silent(known, now) {
        // What comes now is an attempt again, also where the other side speaks first.
        let _ = UDP_FLOWS.remove(flow);
        return false;
    }
    // SAFETY: a value of the map.
    unsafe {
        (*known).last_ns = now;
        if direction == Direction::Reply {
            (*known).answered = 1;
        }
        // Only answered tuples may be short-cut: a flow without an answer is the one that is asked about.
        if (*known).answered != 0 {
            cache::learn(packet);
        }
    }
    true
}

#[inline(always)]
fn is_silent(known: *mut UdpFlow, now: u64) -> bool {
    // SAFETY: a value of the map.
    unsafe { (*known).is_silent(now) }
}

/// Tells whether a datagram belongs to a flow that has had its outcome, without touching it.
#[inline(never)]
pub(crate) fn is_settled(tuple: &Tuple, now: u64) -> bool {
    UDP_FLOWS
        .get_ptr_mut(tuple)
        .is_some_and(|known| !is_silent(known, now))
}
