//! What conntrack says of a packet: which way it goes, and between whom its conversation began.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use node_agent_common::{Attempt, FAMILY_V4, FAMILY_V6, SentTo, Tuple};

use crate::kernel::{self, copied};

/// Bits of `_nfct` that hold `enum ip_conntrack_info`; the others are a pointer.
const CTINFO: u64 = 7;
/// `IP_CT_UNTRACKED`.
const UNTRACKED: u64 = 7;

/// Tells whether conntrack says that a packet goes in the reply direction.
#[inline(always)]
pub(crate) const fn goes_back(nfct: u64) -> bool {
    const ESTABLISHED_REPLY: u64 = 3;
    let ctinfo = nfct & CTINFO;
    nfct & !CTINFO != 0 && ctinfo >= ESTABLISHED_REPLY && ctinfo != UNTRACKED
}

/// Follows `_nfct` to conntrack's original tuple; returns `ctinfo` plus one, or 0 when there is none to be had. A
/// template has none: then the packet speaks for itself.
#[inline(never)]
pub(crate) fn original(nfct: u64, protocol: u8, original: &mut Tuple) -> u8 {
    tuple(nfct, kernel::CT_TUPLE.load(), protocol, original)
}

/// As [`original`], of the tuple at an offset of the entry.
#[inline(always)]
fn tuple(nfct: u64, offset: u32, protocol: u8, tuple: &mut Tuple) -> u8 {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let found = entry(nfct, offset).and_then(copied::<ConntrackTuple>);
    let Some(found) = found else {
        return 0;
    };
    let family = match found.family {
        AF_INET => FAMILY_V4,
        AF_INET6 => FAMILY_V6,
        _ => return 0,
    };
    if found.protocol != protocol {
        return 0;
    }
    *tuple = Tuple {
        source: address(found.source, family),
        destination: address(found.destination, family),
        source_port_be: found.source_port,
        destination_port_be: found.destination_port,
        protocol,
        family,
        padding: [0; 2],
    };
    (nfct & CTINFO) as u8 + 1
}

/// Address of the tuple at an offset of what `_nfct` points to.
#[inline(always)]
fn entry(nfct: u64, offset: u32) -> Option<u64> {
    let is_entry = nfct & !CTINFO != 0 && nfct & CTINFO != UNTRACKED;
    is_entry.then_some((nfct & !CTINFO) + u64::from(offset))
}

/// What conntrack remembers a packet as, 0 for nothing.
#[inline(always)]
pub(crate) fn of(skb: *const __sk_buff) -> u64 {
    if kernel::HAS_CONNTRACK.load() == 0 {
        return 0;
    }
    // What a program calls its context is the packet's `struct sk_buff` itself.
    copied(skb as u64 + u64::from(kernel::SKB_NFCT.load())).unwrap_or(0)
}

/// Copies where its source had sent what goes to a pod.
#[inline(always)]
pub(crate) fn copy_sent_to(nfct: u64, sent_to: &mut SentTo) {
    let half = core::mem::offset_of!(ConntrackTuple, destination) as u32;
    if let Some(at) = entry(nfct, kernel::CT_TUPLE.load() + half) {
        // SAFETY: the helper writes the whole of it, or fails and zeroes it.
        unsafe {
            let size = size_of::<SentTo>() as u32;
            bpf_probe_read_kernel((&raw mut *sent_to).cast(), size, at as *const _);
        }
    }
}

/// Writes down where an attempt was led, when that is not where it was sent: `skb` came back for it.
///
/// A refused connection is forgotten at once; only the refusal itself still has what is known of it.
///
/// # Safety
///
/// `attempt` must point to a value of a map, the one under `sent`.
#[inline(never)]
pub(crate) unsafe fn note_led_to(skb: *const __sk_buff, sent: &Tuple, attempt: *mut Attempt) {
    let nfct = of(skb);
    let mut back = Tuple::default();
    if !goes_back(nfct) || tuple(nfct, kernel::CT_REPLY.load(), sent.protocol, &mut back) == 0 {
        return;
    }
    let is_led = back.source != sent.destination || back.source_port_be != sent.destination_port_be;
    // Whoever is behind saw another source then, of which nothing is noted.
    let is_seen_from_elsewhere =
        back.destination != sent.source || back.destination_port_be != sent.source_port_be;
    if !is_led || is_seen_from_elsewhere {
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        (*attempt).led_to = back.source;
        (*attempt).led_to_port_be = back.source_port_be;
    }
}

/// `struct nf_conntrack_tuple`, the same since Linux 2.6.
#[repr(C)]
#[derive(Clone, Copy)]
struct ConntrackTuple {
    source: [u8; 16],
    source_port: [u8; 2],
    family: u16,
    destination: [u8; 16],
    destination_port: [u8; 2],
    protocol: u8,
    direction: u8,
}

#[inline(always)]
fn address(address: [u8; 16], family: u8) -> [u8; 16] {
    if family == FAMILY_V4 {
        let [a, b, c, d, ..] = address;
        node_agent_common::mapped([a, b, c, d])
    } else {
        address
    }
}
