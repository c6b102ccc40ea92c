//! Processes that connect, or send to an address: where they ask to go, where they are led, and whether they may.
//!
//! Two programs look at one call. The kernel runs those of a cgroup first, then those of its parent, and all of them
//! even when one says no: [`asked`] stands below whoever rewrites an address, [`left`] above and behind everybody, and
//! what lies between is what was done to the call. Neither changes anything, and neither says no.

use aya_ebpf::bindings::{BPF_ANY, bpf_sock_addr};
use aya_ebpf::btf_maps::{LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_retval, bpf_get_socket_cookie,
};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use core::ffi::c_void;
use node_agent_common::maps::{self as sizes, drop_class, share};
use node_agent_common::{
    Attempt, CallKey, Caller, FAMILY_V4, FAMILY_V6, Tuple, kind, mapped, protocol,
};

use crate::events::{Seen, tell};
use crate::kernel::{self, copied};
use crate::tables::{epoch, interface_of, is_pod};

#[btf_map]
static CALLERS: LruHashMap<CallKey, Caller, { sizes::CALLERS_ENTRIES as usize }> =
    LruHashMap::new();
/// One for each processor: the kernel runs all programs of a call on the same, one after the other. When another task
/// comes between them there, the first one asks for where it is led to, as far as anybody can tell.
#[btf_map]
static ASKING: PerCpuArray<Asking, 1> = PerCpuArray::new();

/// What a task asks for in the call that it is in.
#[repr(C)]
struct Asking {
    /// The task, 0 when its call is over.
    task: u64,
    destination: [u8; 16],
    port_be: [u8; 2],
    padding: [u8; 6],
}

/// Where a program of a cgroup stands, by its `bpf_attach_type`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
}

/// A call as it leaves all programs.
#[derive(Default)]
struct Call {
    /// Where it leads.
    tuple: Tuple,
    asked_for: [u8; 16],
    asked_port_be: [u8; 2],
    netns: u32,
    /// The interface that leads to the process.
    ifindex: u32,
    cookie: u64,
}

/// The part of a `struct sock` that is looked at, read as a whole: the verifier allows no way to a field of it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sock([u64; 12]);

impl Sock {
    /// A field; one that lies further in does not pass the verifier.
    ///
    /// # Safety
    ///
    /// `offset` must be that of a `T`.
    #[inline(always)]
    unsafe fn field<T: Copy>(&self, offset: &aya_ebpf::Global<u32>) -> T {
        // SAFETY: the caller's.
        unsafe { kernel::field(self.0.as_ptr().cast(), offset) }
    }
}

/// The cookie of the socket that sent a packet, 0 without one; the socket of a packet from another namespace is known
/// until that is received here.
#[inline(always)]
pub(crate) fn cookie(context: *mut c_void) -> u64 {
    if kernel::HAS_CALLS.load() == 0 {
        return 0;
    }
    // SAFETY: the program's own context.
    unsafe { bpf_get_socket_cookie(context) }
}

/// A process asks to go somewhere.
#[inline(always)]
pub(crate) fn asked(ctx: &SockAddrContext, hook: Hook) {
    let (destination, port_be) = destination(ctx.sock_addr, hook);
    let Some(slot) = ASKING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this processor's own value of the map.
    unsafe {
        *slot = Asking {
            task: bpf_get_current_pid_tgid(),
            destination,
            port_be,
            padding: [0; 6],
        };
    }
}

/// All programs have seen a call.
#[inline(always)]
pub(crate) fn left(ctx: &SockAddrContext, hook: Hook) {
    let mut call = Call::default();
    if !read(ctx.sock_addr, hook, &mut call) {
        return;
    }
    let error = error();
    if error != 0 {
        denied(&mut call, hook, error);
    }
    remember(&call);
}

/// Where a call leads, address and port.
#[inline(always)]
fn destination(call: *mut bpf_sock_addr, hook: Hook) -> ([u8; 16], [u8; 2]) {
    // SAFETY: fields of the context; those of the program's own family may be read.
    unsafe {
        let address = match hook {
            Hook::Connect4 | Hook::Sendmsg4 => mapped((*call).user_ip4.to_ne_bytes()),
            Hook::Connect6 | Hook::Sendmsg6 => {
                let words = [
                    (&raw const (*call).user_ip6[0]).read_volatile(),
                    (&raw const (*call).user_ip6[1]).read_volatile(),
                    (&raw const (*call).user_ip6[2]).read_volatile(),
                    (&raw const (*call).user_ip6[3]).read_volatile(),
                ];
                core::mem::transmute::<[u32; 4], [u8; 16]>(words)
            }
        };
        (address, ((*call).user_port as u16).to_ne_bytes())
    }
}

/// Reads what is looked at: a process in a watched namespace that goes to a port of somebody else.
#[inline(always)]
fn read(context: *mut bpf_sock_addr, hook: Hook, call: &mut Call) -> bool {
    let (destination, port_be) = destination(context, hook);
    let is_v4 = destination[..12] == mapped([0; 4])[..12];
    call.tuple.destination = destination;
    call.tuple.destination_port_be = port_be;
    look_back(call);
    // SAFETY: fields of the context.
    let (protocol, sk) = unsafe { ((*context).protocol, (*context).__bindgen_anon_1.sk) };
    if protocol != u32::from(protocol::TCP) && protocol != u32::from(protocol::UDP) {
        return false;
    }
    call.tuple.protocol = protocol as u8;
    call.tuple.family = if is_v4 { FAMILY_V4 } else { FAMILY_V6 };
    if !goes_out(&call.tuple) || !find(sk as u64, call) {
        return false;
    }
    call.cookie = cookie(context.cast());
    true
}

/// Finds out where the process asked to go, and forgets it.
#[inline(always)]
fn look_back(call: &mut Call) {
    call.asked_for = call.tuple.destination;
    call.asked_port_be = call.tuple.destination_port_be;
    let Some(slot) = ASKING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this processor's own value of the map.
    unsafe {
        if (*slot).task == bpf_get_current_pid_tgid() {
            call.asked_for = (*slot).destination;
            call.asked_port_be = (*slot).port_be;
            (*slot).task = 0;
        }
    }
}

/// Tells whether packets to there leave their namespace, and are for one receiver. Port 0 is asked for to learn of a
/// route only.
#[inline(always)]
fn goes_out(tuple: &Tuple) -> bool {
    let to = &tuple.destination;
    let leaves = if tuple.family == FAMILY_V4 {
        to[12] != 127 && to[12] != 0 && to[12] < 224
    } else {
        // ::1 and :: are the only ones of that kind that anybody uses.
        to[0] != 0xff && to[..8] != [0; 8]
    };
    leaves && tuple.destination_port_be != [0; 2]
}

/// Finds out where the process is, and what its socket is bound to; false when that is nowhere that is watched.
#[inline(never)]
fn find(sk: u64, call: &mut Call) -> bool {
    let Some(sock) = copied::<Sock>(sk) else {
        return false;
    };
    // SAFETY: the fields of a `struct sock`.
    let (net, port, v4) = unsafe {
        (
            sock.field::<u64>(&kernel::SK_NET),
            sock.field::<u16>(&kernel::SK_NUM),
            sock.field::<u32>(&kernel::SK_SADDR),
        )
    };
    let netns = copied::<u32>(net + u64::from(kernel::NET_INUM.load())).unwrap_or(0);
    let Some(ifindex) = interface_of(netns) else {
        return false;
    };
    (call.netns, call.ifindex) = (netns, ifindex);
    call.tuple.source_port_be = port.to_be_bytes();
    call.tuple.source = Tuple::unbound(netns);
    if v4 != 0 && call.tuple.family == FAMILY_V4 {
        call.tuple.source = mapped(v4.to_ne_bytes());
    } else if call.tuple.family == FAMILY_V6 && kernel::HAS_IPV6.load() != 0 {
        // SAFETY: as above.
        let v6: [u64; 2] = unsafe { sock.field(&kernel::SK_SADDR6) };
        if v6 != [0; 2] {
            // SAFETY: as many bytes.
            call.tuple.source = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(v6) };
        }
    }
    true
}

/// What the call fails with by now, 0 when nobody has said no, or nobody can tell.
#[inline(always)]
fn error() -> u8 {
    if kernel::HAS_RETVAL.load() == 0 {
        return 0;
    }
    // SAFETY: no precondition.
    let value = unsafe { bpf_get_retval() };
    value.wrapping_neg() as u8
}

/// Remembers who called, for the packets that follow.
#[inline(never)]
fn remember(call: &Call) {
    let key = CallKey::of(call.cookie, &call.tuple);
    if let Some(known) = CALLERS.get_ptr(&key) {
        // SAFETY: a value of the map.
        let (asked_for, port_be) = unsafe { ((*known).asked_for, (*known).asked_port_be) };
        if asked_for == call.asked_for && port_be == call.asked_port_be {
            return;
        }
    }
    let caller = Caller {
        asked_for: call.asked_for,
        // SAFETY: no precondition.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        process: (bpf_get_current_pid_tgid() >> 32) as u32,
        asked_port_be: call.asked_port_be,
        padding: [0; 2],
        command: bpf_get_current_comm().unwrap_or_default(),
    };
    // Without room a record has no process.
    let _ = CALLERS.insert(&key, &caller, u64::from(BPF_ANY));
}

/// Says that a call was denied. Of the node's own processes only what goes to a pod is told, as of its packets.
///
/// From here on the call leads where its process asked to go: there it is told of.
#[inline(never)]
fn denied(call: &mut Call, hook: Hook, error: u8) {
    if call.ifindex == 0 && !is_pod(&call.tuple.destination) {
        return;
    }
    // SAFETY: zero is a valid attempt; `default` would take its room on the stack twice.
    let mut attempt: Attempt = unsafe { core::mem::zeroed() };
    if call.tuple.destination != call.asked_for
        || call.tuple.destination_port_be != call.asked_port_be
    {
        attempt.led_to = call.tuple.destination;
        attempt.led_to_port_be = call.tuple.destination_port_be;
        call.tuple.destination = call.asked_for;
        call.tuple.destination_port_be = call.asked_port_be;
    }
    // SAFETY: no precondition.
    attempt.first_ns = unsafe { bpf_ktime_get_ns() };
    attempt.epoch = epoch();
    attempt.cookie = call.cookie;
    attempt.drop_netns = call.netns;
    attempt.drop_reason = hook as u32;
    attempt.drop_class = drop_class::CGROUP;
    attempt.dropped = 1;
    attempt.drops = 1;
    attempt.slot = share::slot(call.ifindex);
    let seen = Seen {
        now: attempt.first_ns,
        ifindex: 0,
        kind: kind::DENIED,
    };
    tell(&seen, &call.tuple, &attempt, |event| event.errno = error);
}
