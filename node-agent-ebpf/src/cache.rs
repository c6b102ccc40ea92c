//! Answered UDP tuples of this processor: a packet of one leaves after an exact comparison, without a hash
//! table and without a clock.
//!
//! The epoch is part of an entry, and user space moves it more often than a tuple takes to fall silent: so
//! each tuple goes the long way once in an epoch, and its time is refreshed there.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use node_agent_common::maps::UDP_CACHE_SLOTS;
use node_agent_common::{FAMILY_V4, Tuple};

use crate::tables::epoch;

/// Addresses and ports as they stand in the packet, and the epoch.
#[repr(C)]
struct EntryV4 {
    addresses: [u32; 2],
    ports: u32,
    epoch: u32,
}

/// As [`EntryV4`].
#[repr(C)]
struct EntryV6 {
    addresses: [u32; 8],
    ports: u32,
    epoch: u32,
}

#[btf_map]
static UDP_CACHE_V4: PerCpuArray<EntryV4, { UDP_CACHE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static UDP_CACHE_V6: PerCpuArray<EntryV6, { UDP_CACHE_SLOTS as usize }> = PerCpuArray::new();

/// Tells whether an IPv4 tuple is known, addresses and ports as they stand in the packet.
#[inline(always)]
pub(crate) fn knows_v4(addresses: [u32; 2], ports: u32) -> bool {
    let slot = slot(addresses[0] ^ addresses[1].rotate_left(16), ports);
    match UDP_CACHE_V4.get(slot) {
        Some(entry) => {
            entry.ports == ports
                && entry.addresses[0] == addresses[0]
                && entry.addresses[1] == addresses[1]
                && entry.epoch == epoch()
        }
        None => false,
    }
}

/// Tells whether an IPv6 tuple is known, addresses and ports as they stand in the packet.
#[inline(always)]
pub(crate) fn knows_v6(addresses: [u32; 8], ports: u32) -> bool {
    match UDP_CACHE_V6.get(slot(fold(&addresses), ports)) {
        Some(entry) => {
            entry.ports == ports && entry.addresses == addresses && entry.epoch == epoch()
        }
        None => false,
    }
}

/// Makes a tuple known until the epoch moves.
#[inline(always)]
pub(crate) fn learn(tuple: &Tuple) {
    let ([a, b], [c, d]) = (tuple.source_port_be, tuple.destination_port_be);
    let ports = u32::from_ne_bytes([a, b, c, d]);
    let (source, destination) = (words(&tuple.source), words(&tuple.destination));
    if tuple.family == FAMILY_V4 {
        let addresses = [source[3], destination[3]];
        let slot = slot(addresses[0] ^ addresses[1].rotate_left(16), ports);
        if let Some(entry) = UDP_CACHE_V4.get_ptr_mut(slot) {
            // SAFETY: a value of the map, of this processor only.
            unsafe {
                (*entry).addresses = addresses;
                (*entry).ports = ports;
                (*entry).epoch = epoch();
            }
        }
        return;
    }
    let ([a, b, c, d], [e, f, g, h]) = (source, destination);
    let addresses = [a, b, c, d, e, f, g, h];
    if let Some(entry) = UDP_CACHE_V6.get_ptr_mut(slot(fold(&addresses), ports)) {
        // SAFETY: as above.
        unsafe {
            (*entry).addresses = addresses;
            (*entry).ports = ports;
            (*entry).epoch = epoch();
        }
    }
}

#[inline(always)]
fn words(a: &[u8; 16]) -> [u32; 4] {
    [
        u32::from_ne_bytes([a[0], a[1], a[2], a[3]]),
        u32::from_ne_bytes([a[4], a[5], a[6], a[7]]),
        u32::from_ne_bytes([a[8], a[9], a[10], a[11]]),
        u32::from_ne_bytes([a[12], a[13], a[14], a[15]]),
    ]
}

#[inline(always)]
fn fold(a: &[u32; 8]) -> u32 {
    (a[0] ^ a[1] ^ a[2] ^ a[3]) ^ (a[4] ^ a[5] ^ a[6] ^ a[7]).rotate_left(16)
}

/// Spreads a tuple over the slots: the two halves of a product, folded.
#[inline(always)]
fn slot(addresses: u32, ports: u32) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let both = u64::from(addresses) << 32 | u64::from(ports);
    (both.wrapping_mul(ODD) >> 40) as u32 & (UDP_CACHE_SLOTS - 1)
}
