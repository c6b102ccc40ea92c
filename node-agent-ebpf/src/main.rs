//! The kernel programs: they look at packets, drops and sockets, and say what became of each attempt to open a
//! connection.
//!
//! They observe only. Every classifier returns [`GO_ON`] on every path, nothing writes to a packet, and what
//! cannot be remembered or said is counted as lost. Who is behind an address, and what policy says, is left
//! to user space.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod cache;
mod calls;
mod conntrack;
mod counters;
mod diagnose;
mod drops;
mod errors;
mod events;
mod kernel;
mod names;
mod opened;
mod packets;
mod repeats;
mod shares;
mod sockets;
mod stops;
mod tables;
mod udp;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::{btf_tracepoint, cgroup_sock_addr, classifier, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext, SockAddrContext, TcContext};

use crate::calls::Hook;

/// `TCX_NEXT`, `TC_ACT_UNSPEC` and `NETKIT_NEXT` alike: whatever stands behind us decides.
const GO_ON: i32 = -1;

/// Which way a packet crosses a pod's host-side interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The pod sent it.
    FromPod,
    /// It goes to the pod.
    ToPod,
}

/// Where a packet is seen.
pub(crate) struct Place {
    /// The pod's host-side interface.
    pub(crate) ifindex: u32,
    /// Where the packet came into the node.
    pub(crate) came_in_at: u32,
    /// Which way it goes.
    pub(crate) way: Way,
    /// See [`node_agent_common::CONTINUES`].
    pub(crate) continues: bool,
    /// The packet.
    pub(crate) skb: *mut __sk_buff,
}

/// Looks at what a pod sends: ingress of its host-side interface.
#[classifier]
pub(crate) fn netverdict_from_pod(ctx: TcContext) -> i32 {
    packets::seen(&ctx, Way::FromPod);
    GO_ON
}

/// Looks at what a pod is sent: egress of its host-side interface.
#[classifier]
pub(crate) fn netverdict_to_pod(ctx: TcContext) -> i32 {
    packets::seen(&ctx, Way::ToPod);
    GO_ON
}

/// Looks at the packets that the kernel frees for a reason.
#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn netverdict_drop(ctx: BtfTracePointContext) -> i32 {
    drops::seen(&ctx);
    0
}

/// Looks at the sockets that become established.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn netverdict_socket(ctx: BtfTracePointContext) -> i32 {
    sockets::seen(&ctx);
    0
}

/// Looks at where a process asks to connect to, before another program can rewrite it.
#[cgroup_sock_addr(connect4)]
pub(crate) fn netverdict_asked_connect4(ctx: SockAddrContext) -> i32 {
    calls::asked(&ctx, Hook::Connect4);
    1
}

/// As [`netverdict_asked_connect4`].
#[cgroup_sock_addr(connect6)]
pub(crate) fn netverdict_asked_connect6(ctx: SockAddrContext) -> i32 {
    calls::asked(&ctx, Hook::Connect6);
    1
}

/// Looks at where a process asks to send to without a connection.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn netverdict_asked_sendmsg4(ctx: SockAddrContext) -> i32 {
    calls::asked(&ctx, Hook::Sendmsg4);
    1
}

/// As [`netverdict_asked_sendmsg4`].
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn netverdict_asked_sendmsg6(ctx: SockAddrContext) -> i32 {
    calls::asked(&ctx, Hook::Sendmsg6);
    1
}

/// Looks at what the programs before made of a connect: where it leads now, and whether it was denied.
#[cgroup_sock_addr(connect4)]
pub(crate) fn netverdict_left_connect4(ctx: SockAddrContext) -> i32 {
    calls::left(&ctx, Hook::Connect4);
    1
}

/// As [`netverdict_left_connect4`].
#[cgroup_sock_addr(connect6)]
pub(crate) fn netverdict_left_connect6(ctx: SockAddrContext) -> i32 {
    calls::left(&ctx, Hook::Connect6);
    1
}

/// As [`netverdict_left_connect4`], of what is sent without a connection.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn netverdict_left_sendmsg4(ctx: SockAddrContext) -> i32 {
    calls::left(&ctx, Hook::Sendmsg4);
    1
}

/// As [`netverdict_left_sendmsg4`].
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn netverdict_left_sendmsg6(ctx: SockAddrContext) -> i32 {
    calls::left(&ctx, Hook::Sendmsg6);
    1
}

/// Prints the name of the function that an address lies in. It is run when user space asks, and hangs nowhere.
#[raw_tracepoint]
pub(crate) fn netverdict_symbol(ctx: RawTracePointContext) -> i32 {
    names::print(ctx.arg(0));
    0
}

/// Does nothing: what the others are measured against.
#[classifier]
pub(crate) fn netverdict_nothing(_ctx: TcContext) -> i32 {
    GO_ON
}

/// As [`netverdict_nothing`].
#[cgroup_sock_addr(connect4)]
pub(crate) fn netverdict_nothing_called(_ctx: SockAddrContext) -> i32 {
    1
}

/// As [`netverdict_nothing`].
#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn netverdict_nothing_traced(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Not reachable: the verifier refuses an endless loop, so a program with a path to here does not load.
    #[expect(
        clippy::empty_loop,
        reason = "the only diverging form without a helper"
    )]
    loop {}
}

/// Helpers such as `bpf_probe_read_kernel` are only given to programs under a licence compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
