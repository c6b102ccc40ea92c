//! First packets that are sent again although their attempt has ended: its answer did not come through.
//!
//! Only where nobody sees the client's side. Where it is seen, an attempt ends when that hears of it.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use node_agent_common::maps::{ENDED_BITS, ENDED_ENTRIES};
use node_agent_common::{Attempt, Ended, MOST_REPEATS, Tuple, protocol};

#[btf_map]
static ENDED: Array<Ended, { ENDED_ENTRIES as usize }> = Array::new();

/// Where an ended attempt is kept. The number is random by itself; the port tells those apart who always send the same.
#[inline(always)]
fn place(tuple: &Tuple, sequence: u32) -> u32 {
    let port = u32::from(u16::from_ne_bytes(tuple.source_port_be));
    (sequence ^ port << 16 ^ port).wrapping_mul(0x9e37_79b1) >> (32 - ENDED_BITS)
}

/// Remembers an attempt that has ended.
#[inline(always)]
pub(crate) fn expect(tuple: &Tuple, attempt: &Attempt) {
    if attempt.source_ifindex != 0 {
        return;
    }
    let Some(ended) = ENDED.get_ptr_mut(place(tuple, attempt.sequence)) else {
        return;
    };
    // SAFETY: a value of the map; the helper has no precondition. Whoever reads it while it is written finds another
    // attempt: then a repeat counts.
    unsafe {
        *ended = Ended {
            tuple: *tuple,
            first_ns: attempt.first_ns,
            last_ns: bpf_ktime_get_ns(),
            sequence: attempt.sequence,
            repeats: 0,
        };
    }
}

/// Tells whether a first packet is an ended attempt's, sent again.
#[inline(never)]
pub(crate) fn is_one(tuple: &Tuple, sequence: u32, now: u64) -> bool {
    if tuple.protocol == protocol::UDP {
        return false;
    }
    let Some(ended) = ENDED.get_ptr_mut(place(tuple, sequence)) else {
        return false;
    };
    // SAFETY: a value of the map.
    unsafe {
        let is_it =
            (*ended).sequence == sequence && (*ended).may_repeat(now) && (*ended).tuple == *tuple;
        if is_it {
            (*ended).last_ns = now;
            (*ended).repeats += 1;
        }
        is_it
    }
}

/// Notes that a client resets what it was answered: it has heard that, and sends nothing again.
///
/// Who opens connections without his kernel's knowledge, as scanners do, may begin the next one with the same numbers.
#[inline(never)]
pub(crate) fn heard(tuple: &Tuple, sequence: u32) {
    let Some(ended) = ENDED.get_ptr_mut(place(tuple, sequence)) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*ended).sequence == sequence && (*ended).tuple == *tuple {
            (*ended).repeats = MOST_REPEATS;
        }
    }
}
