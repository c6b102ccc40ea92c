//! TCP and SCTP: who tries to open a connection, who answers, who resets.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::maps::{DEADLINE_NS, share};
use node_agent_common::{
    ANSWERED, ANSWERED_AND_HEARD_LATE, Attempt, CONTINUES, Event, HEARD_LATE, REFUSED_LATE, Tuple,
    kind, protocol,
};

use crate::counters::add_one_u32;
use crate::events::{Seen, replace, tell};
use crate::shares::was_lost_at;
use crate::tables::{
    ATTEMPTS, Room, counts_at_backend, epoch, forget, join, leads, leads_to, remember, settle_udp,
    tell_sent_to,
};
use crate::{Place, Way, calls, conntrack, repeats};

/// A SYN or INIT: a new attempt, another sighting of one, or the same one again.
#[inline(never)]
pub(crate) fn syn(tuple: &Tuple, sequence: u32, place: &Place) {
    let Place { ifindex, way, .. } = *place;
    if way == Way::ToPod && !leads_to(&tuple.destination, ifindex) {
        return;
    }
    let Some(known) = ATTEMPTS.get_ptr_mut(tuple) else {
        return begin(tuple, sequence, place);
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*known).sequence == sequence {
            return again(known, ifindex, way);
        }
    }
    supersede(tuple, known, sequence, place);
}

/// Starts an attempt at its first sighting on this node, the only one that counts.
#[inline(never)]
pub(crate) fn begin(tuple: &Tuple, sequence: u32, place: &Place) {
    if place.way == Way::ToPod && was_lost_at(place.came_in_at) {
        return;
    }
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    // From a pod of this node, and not seen when that sent it: it had another destination then.
    let from = match (place.way, leads(&tuple.source)) {
        (Way::ToPod, Some(ifindex)) => ifindex,
        _ => 0,
    };
    if place.way == Way::ToPod && repeats::is_one(tuple, sequence, now) {
        // Its sender's interface has seen the repeat, too, and leaves it to this one.
        if from != 0 {
            let _ = join(tuple, sequence, now, conntrack::of(place.skb));
        }
        return;
    }
    if from == 0 {
        let mut attempt = new(sequence, place, share::slot(place.ifindex), now);
        remember(tuple, &mut attempt, Room::Needed);
        return;
    }
    // Whoever sent it fills its own share.
    let mut attempt = new(sequence, place, share::slot(from), now);
    if tuple.protocol == protocol::UDP {
        // A datagram has no number by which the two could be told to be one: it counts where it came in.
        return settle_udp(tuple, &attempt, now, 0);
    }
    // Without room it counts as it came in: nothing is lost.
    if remember(tuple, &mut attempt, Room::Wanted)
        && !join(tuple, sequence, now, conntrack::of(place.skb))
    {
        forget(tuple, &attempt);
    }
}

#[inline(always)]
fn new(sequence: u32, place: &Place, slot: u16, now: u64) -> Attempt {
    let Place {
        ifindex,
        way,
        continues,
        skb,
        ..
    } = *place;
    Attempt {
        first_ns: now,
        epoch: epoch(),
        sequence,
        slot,
        tracked: if continues { CONTINUES } else { 0 },
        cookie: calls::cookie(skb.cast()),
        source_ifindex: if way == Way::FromPod { ifindex } else { 0 },
        destination_ifindex: if way == Way::ToPod { ifindex } else { 0 },
        ..Attempt::default()
    }
}

/// Notes a further sighting, or a retransmission where it was sighted first.
///
/// # Safety
///
/// `known` must point to a value of [`ATTEMPTS`].
#[inline(always)]
pub(crate) unsafe fn again(known: *mut Attempt, ifindex: u32, way: Way) {
    // SAFETY: the caller's. Two processors that write a sighting at the same time write the same.
    unsafe {
        let at_source = (*known).source_ifindex != 0;
        // It began with its drop: what comes now was sent again.
        let is_unseen = !at_source && (*known).destination_ifindex == 0;
        let sighted_here = match way {
            Way::FromPod if !at_source => {
                (*known).source_ifindex = ifindex;
                false
            }
            Way::FromPod => true,
            Way::ToPod if (*known).destination_ifindex == 0 => {
                (*known).destination_ifindex = ifindex;
                false
            }
            // Seen at the source too: there it is counted.
            Way::ToPod => !at_source,
        };
        if sighted_here || is_unseen {
            add_one_u32(&raw mut (*known).retransmissions);
        }
    }
}

/// Puts a new attempt in the place of one with the same ports that has had no outcome.
#[inline(never)]
fn supersede(tuple: &Tuple, known: *mut Attempt, sequence: u32, place: &Place) {
    // SAFETY: a value of the map; the helper has no precondition.
    let (old, now) = unsafe { (&*known, bpf_ktime_get_ns()) };
    // In the old one's share, so that nothing is given back and taken.
    let attempt = new(sequence, place, old.slot, now);
    replace(tuple, old, &attempt, place.ifindex);
}

/// A SYN-ACK or INIT-ACK: the peer's stack replied, when it acknowledges this very attempt.
#[inline(never)]
pub(crate) fn answer(tuple: &Tuple, answers: u32, place: &Place) {
    let tuple = tuple.reversed();
    let Some(known) = answered(&tuple, answers) else {
        return;
    };
    // SAFETY: a value of the map.
    if unsafe { is_answered(known, &tuple, place) } {
        end(&tuple, known, place.ifindex, kind::ANSWERED);
    }
}

/// Tells whether an answer at this interface ends the attempt: at the client's when that is watched, so that it is
/// known what the client saw, else at the server's.
///
/// Any pod can write another's address into a packet, but only the peer's own interface lets the peer's answer in,
/// and that sees it first. Only what speaks on the node itself, in a peer's place or as one, comes in by no interface.
///
/// # Safety
///
/// `known` must point to a value of [`ATTEMPTS`], the one under `tuple`.
#[inline(always)]
pub(crate) unsafe fn is_answered(known: *mut Attempt, tuple: &Tuple, place: &Place) -> bool {
    let Place {
        ifindex,
        came_in_at,
        way,
        ..
    } = *place;
    // SAFETY: the caller's.
    unsafe {
        match way {
            Way::FromPod if !speaks_for_peer(known, tuple, ifindex) => {
                note_forged(known, ifindex);
                false
            }
            Way::FromPod if (*known).source_ifindex == 0 => true,
            Way::FromPod => {
                (*known).answered = ANSWERED;
                false
            }
            // What left from another interface came from there only by its source address.
            Way::ToPod if (*known).source_ifindex != 0 && (*known).source_ifindex != ifindex => {
                (*known).forged = 1;
                false
            }
            Way::ToPod => {
                if came_in_at == 0 {
                    (*known).answered_here = 1;
                }
                (*known).answered != 0
                    || (*known).forged == 0
                        && (came_in_at == 0 || leads_to(&tuple.destination, ifindex))
            }
        }
    }
}

/// Tells whether what a pod's interface lets in can come from the peer itself: it is the peer's own, or the attempt
/// went out there.
///
/// # Safety
///
/// As [`is_answered`].
#[inline(always)]
pub(crate) unsafe fn speaks_for_peer(known: *const Attempt, tuple: &Tuple, ifindex: u32) -> bool {
    // SAFETY: the caller's.
    unsafe {
        (*known).source_ifindex != ifindex
            && match leads(&tuple.destination) {
                None | Some(0) => (*known).destination_ifindex == ifindex,
                Some(peers) => peers == ifindex,
            }
    }
}

/// Notes that a pod which is not the peer answered. Only what the peer's own interface lets in ends the attempt then.
///
/// # Safety
///
/// As [`is_answered`].
#[inline(always)]
pub(crate) unsafe fn note_forged(known: *mut Attempt, ifindex: u32) {
    // SAFETY: the caller's.
    unsafe {
        if (*known).source_ifindex != ifindex {
            (*known).forged = 1;
        }
    }
}

/// A RST or ABORT that answers an attempt: from a pod the peer's own refusal, towards one from somewhere on the way.
///
/// A RST without ACK answers a segment that had one, and so no SYN.
#[inline(never)]
pub(crate) fn reset(tuple: &Tuple, answers: u32, place: &Place) {
    let Place { ifindex, way, .. } = *place;
    let tuple = tuple.reversed();
    let Some(known) = answered(&tuple, answers) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if way == Way::FromPod {
            if speaks_for_peer(known, &tuple, ifindex) {
                end(&tuple, known, ifindex, kind::REFUSED);
            } else {
                note_forged(known, ifindex);
            }
            return;
        }
        if (*known).rejected != 0 || (*known).forged != 0 || is_left_to_backend(&tuple, &*known) {
            return;
        }
        (*known).rejected = 1;
        conntrack::note_led_to(place.skb, &tuple, known);
        stopped(known, &tuple, ifindex, kind::RESET);
    }
}

/// Forgets an attempt that was sighted behind address translation: there it ends, and counts.
#[inline(always)]
pub(crate) fn is_left_to_backend(tuple: &Tuple, attempt: &Attempt) -> bool {
    let is_left = counts_at_backend(tuple, attempt.sequence);
    if is_left {
        forget(tuple, attempt);
    }
    is_left
}

/// Says what stopped an attempt, as soon as it did. It is counted by its deadline: it may still be answered.
///
/// # Safety
///
/// As [`is_answered`].
#[inline(always)]
pub(crate) unsafe fn stopped(known: *const Attempt, tuple: &Tuple, ifindex: u32, kind: u8) {
    // SAFETY: the caller's; the helper has no precondition.
    let (attempt, now) = unsafe { (&*known, bpf_ktime_get_ns()) };
    // Past its deadline it has been counted.
    if now.saturating_sub(attempt.first_ns) > DEADLINE_NS {
        return;
    }
    let seen = Seen { now, ifindex, kind };
    tell(&seen, tuple, attempt, |_| {});
}

/// The attempt that a reply belongs to. With data in the SYN (fast open) it is none: that
/// answer is seen at the socket.
#[inline(always)]
fn answered(tuple: &Tuple, answers: u32) -> Option<*mut Attempt> {
    let known = ATTEMPTS.get_ptr_mut(tuple)?;
    // SAFETY: a value of the map.
    let sequence = unsafe { (*known).sequence };
    (answers == sequence).then_some(known)
}

/// Notes, as [`Attempt::answered`], an outcome that comes after the deadline: the sweep has told of the attempt, or will. False when it is in time.
///
/// # Safety
///
/// As [`is_answered`].
#[inline(always)]
pub(crate) unsafe fn is_late(known: *mut Attempt, how: u8, now: u64) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let is_late = now.saturating_sub((*known).first_ns) > DEADLINE_NS;
        match (is_late, (*known).answered) {
            (true, 0) => (*known).answered = how,
            (true, ANSWERED) if how == HEARD_LATE => (*known).answered = ANSWERED_AND_HEARD_LATE,
            _ => {}
        }
        is_late
    }
}

/// What an answer at this interface is to an attempt past its deadline.
///
/// # Safety
///
/// As [`is_answered`].
#[inline(always)]
pub(crate) unsafe fn heard_how(known: *const Attempt, ifindex: u32) -> u8 {
    // SAFETY: the caller's.
    if unsafe { (*known).source_ifindex } == ifindex {
        HEARD_LATE
    } else {
        // Its peer's own interface let it in.
        ANSWERED
    }
}

/// Ends an attempt with an outcome.
#[inline(always)]
fn end(tuple: &Tuple, known: *mut Attempt, ifindex: u32, kind: u8) {
    // SAFETY: a value of the map; the helper has no precondition.
    unsafe {
        let how = match kind {
            kind::REFUSED => REFUSED_LATE,
            _ => heard_how(known, ifindex),
        };
        if is_late(known, how, bpf_ktime_get_ns()) {
            return;
        }
    }
    // SAFETY: a value of the map, copied before it is given back.
    let attempt = unsafe { *known };
    if forget(tuple, &attempt) {
        repeats::expect(tuple, &attempt);
        ended(tuple, &attempt, ifindex, kind, |event| {
            // Its client's interface is another, or has not seen it: it may have gone elsewhere there.
            if attempt.source_ifindex == 0 {
                tell_sent_to(tuple, attempt.sequence, event);
            }
        });
    }
}

/// Says how an attempt that was taken out has ended, unless that is said at its backend's interface.
#[inline(always)]
pub(crate) fn ended(
    tuple: &Tuple,
    attempt: &Attempt,
    ifindex: u32,
    kind: u8,
    fill: impl FnOnce(&mut Event),
) {
    if counts_at_backend(tuple, attempt.sequence) {
        return;
    }
    let seen = Seen {
        // SAFETY: no precondition.
        now: unsafe { bpf_ktime_get_ns() },
        ifindex,
        kind,
    };
    tell(&seen, tuple, attempt, fill);
}
