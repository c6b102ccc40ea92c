//! Sockets: a client's that becomes established tells of an answer which no hook saw.
//!
//! With `bpf_redirect_peer` packets to a pod pass its interface by; its socket hears them all the same.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::BtfTracePointContext;
use node_agent_common::{FAMILY_V4, FAMILY_V6, HEARD_LATE, Tuple, kind, mapped, protocol};

use crate::kernel::{self, field};
use crate::opened::{ended, is_late};
use crate::tables::{ATTEMPTS, forget, namespace_is_watched};

/// A socket changes its state: only SYN_SENT to ESTABLISHED is looked at.
#[inline(always)]
pub(crate) fn seen(ctx: &BtfTracePointContext) {
    const ESTABLISHED: i32 = 1;
    const SYN_SENT: i32 = 2;
    if ctx.arg::<i32>(1) != SYN_SENT || ctx.arg::<i32>(2) != ESTABLISHED {
        return;
    }
    // SAFETY: the first argument is a `struct sock`.
    let (tuple, netns) = unsafe {
        let sk: *const u8 = ctx.arg(0);
        let Some(tuple) = tuple(sk) else { return };
        (tuple, kernel::inode(field(sk, &kernel::SK_NET)))
    };
    let Some(known) = ATTEMPTS.get_ptr_mut(&tuple) else {
        return;
    };
    // SAFETY: a value of the map; the helper has no precondition.
    let is_late = || unsafe { is_late(known, HEARD_LATE, bpf_ktime_get_ns()) };
    if !namespace_is_watched(netns) || is_late() {
        return;
    }
    // SAFETY: a value of the map, copied before it is given back.
    let attempt = unsafe { *known };
    if !forget(&tuple, &attempt) {
        return;
    }
    ended(&tuple, &attempt, 0, kind::ESTABLISHED, |_| {});
}

/// The tuple of a client's socket.
///
/// # Safety
///
/// `sk` must be a `struct sock` that the verifier knows as one.
#[inline(always)]
unsafe fn tuple(sk: *const u8) -> Option<Tuple> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    // SAFETY: the caller's.
    unsafe {
        let mut tuple = Tuple {
            source_port_be: field::<u16>(sk, &kernel::SK_NUM).to_be_bytes(),
            destination_port_be: field::<u16>(sk, &kernel::SK_DPORT).to_ne_bytes(),
            protocol: protocol::TCP,
            ..Tuple::default()
        };
        match field::<u16>(sk, &kernel::SK_FAMILY) {
            AF_INET => {
                tuple.family = FAMILY_V4;
                tuple.source = mapped(field::<u32>(sk, &kernel::SK_SADDR).to_ne_bytes());
                tuple.destination = mapped(field::<u32>(sk, &kernel::SK_DADDR).to_ne_bytes());
            }
            AF_INET6 if kernel::HAS_IPV6.load() != 0 => {
                tuple.source = address(sk, &kernel::SK_SADDR6);
                tuple.destination = address(sk, &kernel::SK_DADDR6);
                // A socket of both families that talks IPv4 has a mapped address: on the wire it is IPv4.
                let is_mapped = tuple.destination[..12] == mapped([0; 4])[..12];
                tuple.family = if is_mapped { FAMILY_V4 } else { FAMILY_V6 };
            }
            _ => return None,
        }
        Some(tuple)
    }
}

/// An IPv6 address, read word by word: the verifier allows loads of a field's own width.
///
/// # Safety
///
/// As [`field`].
#[inline(always)]
unsafe fn address(sk: *const u8, offset: &aya_ebpf::Global<u32>) -> [u8; 16] {
    // SAFETY: the caller's; the words of one `struct in6_addr`.
    unsafe {
        let [a, b, c, d] = field::<u32>(sk, offset).to_ne_bytes();
        let [e, f, g, h] = field::<u32>(sk.add(4), offset).to_ne_bytes();
        let [i, j, k, l] = field::<u32>(sk.add(8), offset).to_ne_bytes();
        let [m, n, o, p] = field::<u32>(sk.add(12), offset).to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}
