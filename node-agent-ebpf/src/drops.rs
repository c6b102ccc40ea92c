//! Packets that the kernel frees for a reason: why and where, and which of them may be an attempt's first.
//!
//! The tracepoint is machine-wide. A drop is kept only in a namespace that capture named, the node's own or one of
//! its pods': another node in other namespaces of the same machine may well use the same addresses.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::BtfTracePointContext;
use node_agent_common::Tuple;
use node_agent_common::maps::{LOCATION_SLOTS, OTHER_REASONS, OVS_REASONS, REASONS, drop_class};
use node_agent_common::parse::{self, ACK, Content, Family, INIT, Packet, RST, SYN};

use crate::conntrack;
use crate::counters::{add_one, add_one_u32};
use crate::diagnose::diagnose;
use crate::kernel::{self, FreedBytes, field};
use crate::names;
use crate::packets::{ETHERNET, GROUP};
use crate::stops::{self, Dropped, Freed};
use crate::tables::{DROPS, LOCATIONS, REASON_CLASSES, attempt, namespace_is_watched};

/// A packet was freed.
#[inline(always)]
pub(crate) fn seen(ctx: &BtfTracePointContext) {
    let location = ctx.arg::<*const u8>(1) as u64;
    let reason: u32 = if kernel::HAS_REASON.load() != 0 {
        ctx.arg(2)
    } else {
        0
    };
    let class = class(reason, location);
    if class == drop_class::IGNORED {
        return;
    }
    // SAFETY: the first argument is a `struct sk_buff`.
    unsafe {
        let skb: *const u8 = ctx.arg(0);
        let (ifindex, netns) = place(skb);
        if !namespace_is_watched(netns) {
            return;
        }
        if class == drop_class::UNSPECIFIED {
            names::note(location);
        }
        diagnose!(
            ctx,
            "drop for reason {} at {:x}, class {}, in namespace {}",
            reason,
            location,
            class,
            netns
        );
        // Reasons of a subsystem are beyond the table: they share its last slot.
        if let Some(counter) = DROPS.get_ptr_mut(reason.min(REASONS - 1)) {
            add_one(counter);
        }
        let freed = Freed {
            location,
            reason,
            ifindex,
            arrived_at: field(skb, &kernel::SKB_IIF),
            netns,
            class,
        };
        packet(skb, freed);
    }
}

/// What a reason stands for; without one, what its location stands for.
#[inline(always)]
fn class(reason: u32, location: u64) -> u8 {
    let subsystem = reason >> 16;
    // What comes out of a table is one state to the verifier, whatever it is; each constant would be one of its own.
    let entry = match subsystem {
        0 => reason.min(OTHER_REASONS),
        _ if subsystem == kernel::OVS_SUBSYSTEM.load() => OVS_REASONS,
        _ => OTHER_REASONS,
    };
    let known = REASON_CLASSES.get(entry).copied();
    match known.unwrap_or(u32::from(drop_class::IGNORED)) as u8 {
        drop_class::UNSPECIFIED => class_of_location(location),
        class => class,
    }
}

#[inline(always)]
fn class_of_location(location: u64) -> u8 {
    for slot in 0..LOCATION_SLOTS {
        match LOCATIONS.get(slot) {
            Some(range) if range.end != 0 => {
                if range.start <= location && location < range.end {
                    return range.class as u8;
                }
            }
            _ => break,
        }
    }
    if kernel::LEARNS_PLACES.load() != 0 {
        drop_class::UNSPECIFIED
    } else {
        drop_class::IGNORED
    }
}

/// Interface and network namespace of a packet; a packet that a pod's own output drops has no device yet.
///
/// # Safety
///
/// `skb` must be a `struct sk_buff` that the verifier knows as one.
#[inline(always)]
unsafe fn place(skb: *const u8) -> (u32, u32) {
    // SAFETY: the caller's. A packet in a receive queue keeps other things where its device was: then the load
    // yields 0, and the socket tells the namespace.
    unsafe {
        let (mut ifindex, mut netns) = (0, 0);
        let dev: *const u8 = field(skb, &kernel::SKB_DEV);
        if !dev.is_null() {
            ifindex = field(dev, &kernel::DEV_IFINDEX);
            netns = kernel::inode(field(dev, &kernel::DEV_NET));
        }
        if netns == 0 {
            let sk: *const u8 = field(skb, &kernel::SKB_SK);
            if !sk.is_null() {
                netns = kernel::inode(field(sk, &kernel::SK_NET));
            }
        }
        (ifindex, netns)
    }
}

/// Reads a freed packet's headers and finds its attempt.
///
/// # Safety
///
/// As [`place`].
#[inline(always)]
unsafe fn packet(skb: *const u8, freed: Freed) {
    // SAFETY: the caller's.
    let (start, length, ethertype, nfct, data) = unsafe {
        let head: u64 = field(skb, &kernel::SKB_HEAD);
        let data: u64 = field(skb, &kernel::SKB_DATA);
        let network = u32::from(field::<u16>(skb, &kernel::SKB_NETWORK_HEADER));
        let tail: u32 = field(skb, &kernel::SKB_TAIL);
        let nfct: u64 = if kernel::HAS_CONNTRACK.load() != 0 {
            field(skb, &kernel::SKB_NFCT)
        } else {
            0
        };
        let ethertype = u16::from_be(field(skb, &kernel::SKB_PROTOCOL));
        let start = head + u64::from(network);
        (start, tail.saturating_sub(network), ethertype, nfct, data)
    };
    let mut dropped = Dropped {
        freed,
        packet: Packet::empty(),
        original: Tuple::default(),
        now: 0,
        headroom: start.wrapping_sub(data) as u32,
        ctinfo_plus_one: 0,
    };
    if !read(start, length, ethertype, &mut dropped) || repeats(nfct, &dropped.packet) {
        return;
    }
    // SAFETY: the caller's.
    if unsafe { is_to_group(skb) } {
        return;
    }
    dropped.original = dropped.packet.tuple;
    let protocol = dropped.packet.tuple.protocol;
    dropped.ctinfo_plus_one = conntrack::original(nfct, protocol, &mut dropped.original);
    // 3 and more: the packet went in the reply direction, whoever opened the conversation.
    if dropped.ctinfo_plus_one < 4 {
        // SAFETY: no precondition.
        dropped.now = unsafe { bpf_ktime_get_ns() };
        stops::seen(&dropped);
    }
}

/// Tells whether the frame that a packet came in was for several: the broadcast address of a subnet shows in nothing
/// else, and such a packet opens no connection.
///
/// # Safety
///
/// As [`place`].
#[inline(always)]
unsafe fn is_to_group(skb: *const u8) -> bool {
    // SAFETY: the caller's.
    let (head, mac, network) = unsafe {
        let head: u64 = field(skb, &kernel::SKB_HEAD);
        let mac: u16 = field(skb, &kernel::SKB_MAC_HEADER);
        let network: u16 = field(skb, &kernel::SKB_NETWORK_HEADER);
        (head, mac, network)
    };
    // Without a frame the two are one, and before there is one the first is out of reach.
    if u32::from(mac) + ETHERNET as u32 > u32::from(network) {
        return false;
    }
    let first: Option<u8> = kernel::copied(head + u64::from(mac));
    first.is_some_and(|first| first & GROUP != 0)
}

/// Reads what may be an attempt's first packet; false for any other. What cannot be read is in its reason's counter.
#[inline(never)]
fn read(start: u64, length: u32, ethertype: u16, dropped: &mut Dropped) -> bool {
    let Some(family) = Family::of_ethertype(ethertype) else {
        return false;
    };
    let bytes = FreedBytes::new(start, length);
    if parse::packet(&bytes, family, 0, &mut dropped.packet).is_err() {
        return false;
    }
    match dropped.packet.content {
        Content::Tcp => dropped.packet.flags & (SYN | ACK | RST) == SYN,
        Content::Sctp => dropped.packet.flags == INIT,
        Content::Udp => true,
        Content::Error => false,
    }
}

/// Counts a further drop of an attempt; false when it is not known to be one.
///
/// Of a flood all drops but the first end here, with neither clock nor conntrack.
#[inline(never)]
fn repeats(nfct: u64, packet: &Packet) -> bool {
    if conntrack::goes_back(nfct) {
        return false;
    }
    let Some(known) = attempt(&packet.tuple) else {
        return false;
    };
    // SAFETY: a value of the map.
    unsafe {
        let is_known = (*known).dropped != 0 && (*known).sequence == packet.sequence;
        if is_known {
            add_one_u32(&raw mut (*known).drops);
        }
        is_known
    }
}
