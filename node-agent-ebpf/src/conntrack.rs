//! What conntrack says of a packet: which way it goes, and between whom its conversation began.

use node_agent_common::{FAMILY_V4, FAMILY_V6, Tuple};

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
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let ctinfo = nfct & CTINFO;
    if nfct & !CTINFO == 0 || ctinfo == UNTRACKED {
        return 0;
    }
    let at = (nfct & !CTINFO) + u64::from(kernel::CT_TUPLE.load());
    let Some(found) = copied::<ConntrackTuple>(at) else {
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
    *original = Tuple {
        source: address(found.source, family),
        destination: address(found.destination, family),
        source_port_be: found.source_port,
        destination_port_be: found.destination_port,
        protocol,
        family,
        padding: [0; 2],
    };
    ctinfo as u8 + 1
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
