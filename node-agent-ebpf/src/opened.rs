//! TCP: who tries to open a connection, who answers, who resets.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::maps::stage;
use node_agent_common::{Attempt, Tuple, kind};

use crate::Way;
use crate::tables::{ATTEMPTS, Seen, add_one_u32, epoch, forget, leads_to, lose, remember, tell};

/// A SYN: a new attempt, another sighting of one, or the same one again.
#[inline(never)]
pub(crate) fn syn(tuple: &Tuple, sequence: u32, ifindex: u32, way: Way) {
    if way == Way::ToPod && !leads_to(&tuple.destination, ifindex) {
        return;
    }
    let Some(known) = ATTEMPTS.get_ptr_mut(tuple) else {
        return begin(tuple, sequence, ifindex, way);
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*known).sequence == sequence {
            return again(known, ifindex, way);
        }
    }
    supersede(tuple, known, sequence, ifindex, way);
}

/// Starts an attempt at its first sighting on this node, the only one that counts.
#[inline(never)]
pub(crate) fn begin(tuple: &Tuple, sequence: u32, ifindex: u32, way: Way) {
    // SAFETY: no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    remember(tuple, &new(sequence, ifindex, way, now));
}

#[inline(always)]
fn new(sequence: u32, ifindex: u32, way: Way, now: u64) -> Attempt {
    Attempt {
        first_ns: now,
        epoch: epoch(),
        sequence,
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
        if sighted_here {
            add_one_u32(&raw mut (*known).retransmissions);
        }
    }
}

/// Puts a new attempt in the place of one with the same ports that has had no outcome.
#[inline(never)]
fn supersede(tuple: &Tuple, known: *mut Attempt, sequence: u32, ifindex: u32, way: Way) {
    // SAFETY: a value of the map; the helper has no precondition.
    let (old, now) = unsafe { (*known, bpf_ktime_get_ns()) };
    let attempt = new(sequence, ifindex, way, now);
    if ATTEMPTS
        .insert(tuple, &attempt, u64::from(BPF_ANY))
        .is_err()
    {
        return lose(stage::ATTEMPTS);
    }
    let seen = Seen {
        now,
        ifindex,
        kind: kind::SUPERSEDED,
    };
    tell(&seen, tuple, &old, |_| {});
}

/// A SYN-ACK: the peer's stack replied, when it acknowledges this very attempt.
#[inline(never)]
pub(crate) fn answer(tuple: &Tuple, acknowledgement: u32, ifindex: u32, way: Way) {
    let tuple = tuple.reversed();
    let Some(known) = acknowledged(&tuple, acknowledgement) else {
        return;
    };
    // SAFETY: a value of the map.
    if unsafe { speaks_for_peer(known, &tuple, ifindex, way) } {
        end(&tuple, known, ifindex, kind::ANSWERED);
    }
}

/// Tells whether what comes back can come from the peer itself: any pod can write the peer's address into a packet,
/// but only the peer's own interface lets it in, and that sees it first.
///
/// # Safety
///
/// `known` must point to a value of [`ATTEMPTS`], the one under `tuple`.
#[inline(always)]
pub(crate) unsafe fn speaks_for_peer(
    known: *const Attempt,
    tuple: &Tuple,
    ifindex: u32,
    way: Way,
) -> bool {
    // SAFETY: the caller's.
    let from_itself = way == Way::FromPod && unsafe { (*known).source_ifindex } == ifindex;
    !from_itself && leads_to(&tuple.destination, ifindex)
}

/// A RST that acknowledges an attempt: from a pod the peer's own refusal, towards one from somewhere on the way.
///
/// A RST without ACK answers a segment that had one, and so no SYN.
#[inline(never)]
pub(crate) fn reset(tuple: &Tuple, acknowledgement: u32, ifindex: u32, way: Way) {
    let tuple = tuple.reversed();
    let Some(known) = acknowledged(&tuple, acknowledgement) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if way == Way::FromPod {
            if speaks_for_peer(known, &tuple, ifindex, way) {
                end(&tuple, known, ifindex, kind::REFUSED);
            }
            return;
        }
        if (*known).rejected != 0 {
            return;
        }
        (*known).rejected = 1;
        let seen = Seen {
            now: bpf_ktime_get_ns(),
            ifindex,
            kind: kind::RESET,
        };
        tell(&seen, &tuple, &*known, |_| {});
    }
}

/// The attempt that a reply's acknowledgement belongs to. With data in the SYN (fast open) it is none: that
/// answer is seen at the socket.
#[inline(always)]
fn acknowledged(tuple: &Tuple, acknowledgement: u32) -> Option<*mut Attempt> {
    let known = ATTEMPTS.get_ptr_mut(tuple)?;
    // SAFETY: a value of the map.
    let sequence = unsafe { (*known).sequence };
    (acknowledgement == sequence.wrapping_add(1)).then_some(known)
}

/// Ends an attempt with an outcome.
#[inline(always)]
fn end(tuple: &Tuple, known: *mut Attempt, ifindex: u32, kind: u8) {
    // SAFETY: a value of the map, copied before it is given back.
    let attempt = unsafe { *known };
    if !forget(tuple) {
        return;
    }
    let seen = Seen {
        // SAFETY: no precondition.
        now: unsafe { bpf_ktime_get_ns() },
        ifindex,
        kind,
    };
    tell(&seen, tuple, &attempt, |_| {});
}
