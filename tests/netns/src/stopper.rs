//! Programs that stop what goes to one port, as a CNI's or a security agent's do.

use std::fs::File;
use std::ops::RangeInclusive;

use crate::bpf::{
    ADD, By, CALL, EXIT, FROM_NETWORK, GO_ON, HALF, Hanging, IF_ABOVE, IF_BELOW, IF_EQUAL,
    IF_GREATER, Instruction, JUMP, MOVE, READ_HALF, READ_WORD, SET, SHOT, UNLESS_EQUAL,
    UNLESS_SAME, Way, load, load_as, op,
};
use crate::ns::Namespace;

/// EtherTypes, and where the destination's port lies in a frame.
const V4: u16 = 0x0800;
const V6: u16 = 0x86dd;
const PORT_V4: i16 = 14 + 20 + 2;
const PORT_V6: i16 = 14 + 40 + 2;

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, its hooks, and where `struct bpf_sock_addr` has the port.
pub(crate) const SOCKET_ADDRESS: u32 = 18;
pub(crate) const CONNECT_V4: u32 = 10;
pub(crate) const CONNECT_V6: u32 = 11;
pub(crate) const SENDMSG_V4: u32 = 14;
pub(crate) const SENDMSG_V6: u32 = 15;
pub(crate) const PORT: i16 = 24;

/// Drops what goes to a port at an interface, whatever its protocol; the rest goes on.
///
/// # Errors
/// When the kernel refuses it.
pub fn at_interface(
    node: &Namespace,
    interface: &str,
    port: u16,
    by: By,
    way: Way,
) -> anyhow::Result<Hanging> {
    let program = load(&[
        op(MOVE, 6, 1, 0, 0),
        op(HALF, 0, 0, 0, 12),
        op(IF_EQUAL, 0, 0, 2, V4.into()),
        op(IF_EQUAL, 0, 0, 3, V6.into()),
        op(JUMP, 0, 0, 5, 0),
        op(HALF, 0, 0, 0, PORT_V4.into()),
        op(JUMP, 0, 0, 1, 0),
        op(HALF, 0, 0, 0, PORT_V6.into()),
        op(UNLESS_EQUAL, 0, 0, 1, port.into()),
        op(JUMP, 0, 0, 2, 0),
        op(SET, 0, 0, 0, GO_ON),
        op(EXIT, 0, 0, 0, 0),
        op(SET, 0, 0, 0, SHOT),
        op(EXIT, 0, 0, 0, 0),
    ])?;
    Hanging::attach_to(program, node, interface, by, way)
}

/// The same by XDP, in the way that every driver has. An interface takes one such program, so it is for several ports.
///
/// # Errors
/// When the kernel refuses it.
pub fn by_xdp(
    node: &Namespace,
    interface: &str,
    ports: RangeInclusive<u16>,
) -> anyhow::Result<Hanging> {
    const XDP: u32 = 6;
    let program = load_as(&xdp(ports), XDP, 0)?;
    Hanging::attach_xdp(&program, node, interface)
}

fn xdp(ports: RangeInclusive<u16>) -> Vec<Instruction> {
    const DROP: i32 = 1;
    const PASS: i32 = 2;
    vec![
        op(READ_WORD, 2, 1, 0, 0),
        op(READ_WORD, 3, 1, 4, 0),
        op(MOVE, 4, 2, 0, 0),
        op(ADD, 4, 0, 0, i32::from(PORT_V4) + 2),
        op(IF_GREATER, 4, 3, 14, 0),
        op(READ_HALF, 5, 2, 12, 0),
        op(FROM_NETWORK, 5, 0, 0, 16),
        op(UNLESS_SAME, 5, 0, 2, V4.into()),
        op(READ_HALF, 5, 2, PORT_V4, 0),
        op(JUMP, 0, 0, 5, 0),
        op(UNLESS_SAME, 5, 0, 8, V6.into()),
        op(MOVE, 4, 2, 0, 0),
        op(ADD, 4, 0, 0, i32::from(PORT_V6) + 2),
        op(IF_GREATER, 4, 3, 5, 0),
        op(READ_HALF, 5, 2, PORT_V6, 0),
        op(FROM_NETWORK, 5, 0, 0, 16),
        op(IF_ABOVE, 5, 0, 2, ports.end().to_owned().into()),
        op(IF_BELOW, 5, 0, 1, ports.start().to_owned().into()),
        op(JUMP, 0, 0, 2, 0),
        op(SET, 0, 0, 0, PASS),
        op(EXIT, 0, 0, 0, 0),
        op(SET, 0, 0, 0, DROP),
        op(EXIT, 0, 0, 0, 0),
    ]
}

/// A call of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `connect`, of a stream or of a datagram socket.
    Connect,
    /// `sendto` or `sendmsg` with an address.
    Send,
}

/// Forbids the processes of a cgroup a call to a port, over both families: they see `EPERM`, and no packet is sent.
///
/// # Errors
/// When the kernel refuses it.
pub fn in_cgroup(cgroup: &File, port: u16, call: Call) -> anyhow::Result<[Hanging; 2]> {
    let program = [
        op(READ_WORD, 2, 1, PORT, 0),
        op(SET, 0, 0, 0, 1),
        op(UNLESS_SAME, 2, 0, 1, port.to_be().into()),
        op(SET, 0, 0, 0, 0),
        op(EXIT, 0, 0, 0, 0),
    ];
    let attach = |hook| {
        let program = load_as(&program, SOCKET_ADDRESS, hook)?;
        Hanging::attach_cgroup(&program, cgroup, hook)
    };
    let [v4, v6] = match call {
        Call::Connect => [CONNECT_V4, CONNECT_V6],
        Call::Send => [SENDMSG_V4, SENDMSG_V6],
    };
    Ok([attach(v4)?, attach(v6)?])
}

/// Lets the connects of a cgroup's processes to a port fail as a load balancer does that has no backend for it.
///
/// # Errors
/// When the kernel refuses it, as before Linux 5.18.
pub fn unreachable_in_cgroup(cgroup: &File, port: u16) -> anyhow::Result<Hanging> {
    const SET_RETVAL: i32 = 187;
    let program = [
        op(READ_WORD, 2, 1, PORT, 0),
        op(SET, 0, 0, 0, 1),
        op(UNLESS_SAME, 2, 0, 3, port.to_be().into()),
        op(SET, 1, 0, 0, -libc::EHOSTUNREACH),
        op(CALL, 0, 0, 0, SET_RETVAL),
        op(SET, 0, 0, 0, 0),
        op(EXIT, 0, 0, 0, 0),
    ];
    let program = load_as(&program, SOCKET_ADDRESS, CONNECT_V4)?;
    Hanging::attach_cgroup(&program, cgroup, CONNECT_V4)
}
