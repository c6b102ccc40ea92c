//! Reading the kernel's own structures, at the offsets that capture found in its BTF.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::mem::MaybeUninit;
use node_agent_common::parse::Bytes;

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(0);)*
    };
}

offsets! {
    /// `sk_buff.head`.
    SKB_HEAD,
    /// `sk_buff.data`.
    SKB_DATA,
    /// `sk_buff.tail`.
    SKB_TAIL,
    /// `sk_buff.network_header`.
    SKB_NETWORK_HEADER,
    /// `sk_buff.mac_header`.
    SKB_MAC_HEADER,
    /// `sk_buff.protocol`.
    SKB_PROTOCOL,
    /// `sk_buff.dev`.
    SKB_DEV,
    /// `sk_buff.skb_iif`.
    SKB_IIF,
    /// `sk_buff.sk`.
    SKB_SK,
    /// `sk_buff._nfct`.
    SKB_NFCT,
    /// `net_device.ifindex`.
    DEV_IFINDEX,
    /// `net_device.nd_net.net`.
    DEV_NET,
    /// `net.ns.inum`.
    NET_INUM,
    /// `sock.__sk_common.skc_net.net`.
    SK_NET,
    /// `sock.__sk_common.skc_family`.
    SK_FAMILY,
    /// `sock.__sk_common.skc_num`.
    SK_NUM,
    /// `sock.__sk_common.skc_dport`.
    SK_DPORT,
    /// `sock.__sk_common.skc_rcv_saddr`.
    SK_SADDR,
    /// `sock.__sk_common.skc_daddr`.
    SK_DADDR,
    /// `sock.__sk_common.skc_v6_rcv_saddr`.
    SK_SADDR6,
    /// `sock.__sk_common.skc_v6_daddr`.
    SK_DADDR6,
    /// `nf_conn.tuplehash[0].tuple`.
    CT_TUPLE,
    /// `nf_conn.tuplehash[1].tuple`.
    CT_REPLY,
    /// 1 when `kfree_skb` has a reason (Linux 5.17).
    HAS_REASON,
    /// 1 when the kernel has conntrack.
    HAS_CONNTRACK,
    /// 1 when the kernel has IPv6.
    HAS_IPV6,
    /// 1 when user space cannot tell beforehand where packets are dropped without a reason.
    LEARNS_PLACES,
    /// 1 when the calls of processes are watched.
    HAS_CALLS,
    /// 1 when a program is told what those before it said (Linux 5.18).
    HAS_RETVAL,
    /// Inode of the node's own network namespace, 0 when it is not known.
    OWN_NETNS,
    /// Half of the ring buffer, bytes.
    HALF_RING,
    /// How many attempts one slot may hold.
    SHARE_ATTEMPTS,
    /// How many conversations one slot may hold.
    SHARE_CONVERSATIONS,
    /// How many UDP flows one slot may hold.
    SHARE_UDP_FLOWS,
    /// The drop reasons' subsystem of Open vSwitch, 0 without one.
    OVS_SUBSYSTEM,
}

/// A direct load from a pointer that the verifier knows the type of.
///
/// # Safety
///
/// `pointer` must come from a tracepoint's argument or from another such load, and `offset` must be that of a
/// `T`: the verifier checks both against the kernel's BTF.
#[inline(always)]
pub(crate) unsafe fn field<T: Copy>(pointer: *const u8, offset: &Global<u32>) -> T {
    // SAFETY: the caller's.
    unsafe { pointer.add(offset.load() as usize).cast::<T>().read() }
}

/// Copies from a kernel address that the verifier knows nothing of; `None` when it cannot be read.
#[inline(always)]
pub(crate) fn copied<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes the whole value, or fails and zeroes it.
    unsafe {
        let size = size_of::<T>() as u32;
        match bpf_probe_read_kernel(value.as_mut_ptr().cast(), size, address as *const _) {
            0 => Some(value.assume_init()),
            _ => None,
        }
    }
}

/// The inode of a network namespace, 0 for none.
///
/// # Safety
///
/// As [`field`]; `net` points to a `struct net` or is null.
#[inline(always)]
pub(crate) unsafe fn inode(net: *const u8) -> u32 {
    if net.is_null() {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { field(net, &NET_INUM) }
}

/// How much of a freed packet is copied at once: an IPv6 header and what is read of TCP's.
const WINDOW: usize = 56;

/// A freed packet's linear bytes, from its network header on.
pub(crate) struct FreedBytes {
    /// Kernel address of the network header.
    start: u64,
    /// How many bytes there are.
    length: u32,
    /// The first of them: a copy by the helper costs as much for a few bytes as for all headers.
    window: Words,
}

/// Bytes that may be read as words.
#[repr(C, align(8))]
struct Words([u8; WINDOW]);

impl FreedBytes {
    /// The `length` bytes at `start`.
    #[inline(always)]
    pub(crate) fn new(start: u64, length: u32) -> Self {
        let mut window = Words([0; WINDOW]);
        let size = length.min(WINDOW as u32);
        // SAFETY: the helper writes no more than `WINDOW` bytes, or fails and zeroes them: such headers say nothing.
        unsafe {
            let _ = bpf_probe_read_kernel(window.0.as_mut_ptr().cast(), size, start as *const _);
        }
        Self {
            start,
            length,
            window,
        }
    }

    /// Copies from the window.
    #[inline(always)]
    fn copy<const AT: usize, const N: usize>(&self, into: &mut [u8; N]) -> bool {
        match self.window.0.get(AT..AT + N) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

impl Bytes for FreedBytes {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        if offset + N as u32 > self.length {
            return false;
        }
        // Where headers begin that have no options: offsets that the verifier knows.
        let is_copied = match offset {
            0 => self.copy::<0, N>(into),
            8 => self.copy::<8, N>(into),
            20 => self.copy::<20, N>(into),
            24 => self.copy::<24, N>(into),
            40 => self.copy::<40, N>(into),
            _ => false,
        };
        if is_copied {
            return true;
        }
        let address = self.start + u64::from(offset);
        // SAFETY: the helper writes `N` bytes, or fails and zeroes them.
        unsafe {
            bpf_probe_read_kernel(into.as_mut_ptr().cast(), N as u32, address as *const _) == 0
        }
    }
}
