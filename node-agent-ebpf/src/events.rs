//! What is said to user space, and to which end.

use aya_ebpf::bindings::{BPF_EXIST, BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP};
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::generated::bpf_ringbuf_query;
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use node_agent_common::maps as sizes;
use node_agent_common::maps::stage;
use node_agent_common::{Attempt, Event, Tuple, kind};

use crate::kernel::HALF_RING;
use crate::tables::{ATTEMPTS, count, lose};

#[btf_map]
static EVENTS: RingBuf<Event, { sizes::EVENTS_BYTES as usize }> = RingBuf::new();

/// Where and how an event was seen.
pub(crate) struct Seen {
    /// Monotonic time, nanoseconds.
    pub(crate) now: u64,
    /// Interface, 0 without one.
    pub(crate) ifindex: u32,
    /// See [`kind`].
    pub(crate) kind: u8,
}

/// Counts what an attempt came to, and says it when it is the first of its epoch; `fill` adds what only this kind has.
#[inline(always)]
pub(crate) fn tell(seen: &Seen, tuple: &Tuple, attempt: &Attempt, fill: impl FnOnce(&mut Event)) {
    let counted = count(tuple, seen.kind, attempt, seen.now);
    let is_end = matches!(
        seen.kind,
        kind::ANSWERED | kind::REFUSED | kind::ESTABLISHED | kind::DENIED
    );
    let is_uncounted = counted.total() == 0;
    // What stopped an attempt is told again at its end: it has no claim on the room that a flood leaves.
    if !counted.news() || is_uncounted && !is_end {
        return;
    }
    if is_uncounted && is_half_full() {
        return lose(stage::CONVERSATIONS);
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        // A total is read later, and knows of it.
        if is_uncounted {
            lose(stage::CONVERSATIONS);
        }
        return;
    };
    let event = write(&mut entry, seen, tuple, attempt);
    event.total = counted.total();
    fill(event);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Tells whether half of the ring buffer is taken: whoever fills its share of the conversations leaves the rest to
/// others.
#[inline(always)]
fn is_half_full() -> bool {
    // SAFETY: the address of a map is what the loader puts the map's in place of.
    let waiting = unsafe {
        bpf_ringbuf_query(
            (&raw const EVENTS).cast_mut().cast(),
            u64::from(BPF_RB_AVAIL_DATA),
        )
    };
    waiting > u64::from(HALF_RING.load())
}

/// Fills an entry of the ring buffer.
#[inline(always)]
fn write<'a>(
    entry: &'a mut RingBufEntry<Event>,
    seen: &Seen,
    tuple: &Tuple,
    attempt: &Attempt,
) -> &'a mut Event {
    // SAFETY: the entry is ours and large enough, and zero is a valid event; all of its fields are written
    // before it is submitted. Written in place, because it would fill a third of the stack.
    let event = unsafe {
        let event = entry.as_mut_ptr();
        event.write_bytes(0, 1);
        &mut *event
    };
    event.time_ns = seen.now;
    event.tuple = *tuple;
    event.attempt = *attempt;
    event.ifindex = seen.ifindex;
    event.kind = seen.kind;
    event
}

/// Puts an attempt in the place of another one that has had no outcome, and says so: the old one will be in no sweep,
/// this is all that is ever heard of it. Nothing happens when it is there no more, or there is no room: then false.
#[inline(always)]
pub(crate) fn replace(tuple: &Tuple, old: &Attempt, attempt: &Attempt, ifindex: u32) -> bool {
    let seen = Seen {
        now: attempt.first_ns,
        ifindex,
        kind: kind::SUPERSEDED,
    };
    let Some(mut entry) = EVENTS.reserve(0) else {
        let replaced = ATTEMPTS.insert(tuple, attempt, u64::from(BPF_EXIST));
        lose(replaced.map_or(stage::ATTEMPTS, |()| stage::RING));
        return replaced.is_ok();
    };
    // Before it is replaced, and not by way of the stack: that has no room for two of them.
    write(&mut entry, &seen, tuple, old);
    match ATTEMPTS.insert(tuple, attempt, u64::from(BPF_EXIST)) {
        Ok(()) => {
            entry.submit(u64::from(BPF_RB_NO_WAKEUP));
            true
        }
        Err(_) => {
            entry.discard(u64::from(BPF_RB_NO_WAKEUP));
            lose(stage::ATTEMPTS);
            false
        }
    }
}

/// Says that an attempt which had no outcome was taken out for another one: this is all that is ever heard of it.
#[inline(always)]
pub(crate) fn tell_superseded(tuple: &Tuple, old: &Attempt, ifindex: u32, now: u64) {
    let seen = Seen {
        now,
        ifindex,
        kind: kind::SUPERSEDED,
    };
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            write(&mut entry, &seen, tuple, old);
            entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => lose(stage::RING),
    }
}
