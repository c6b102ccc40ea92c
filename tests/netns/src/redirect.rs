//! A datapath that hands packets straight to a pod (`bpf_redirect_peer`), as Cilium and Calico's eBPF mode do: at the
//! host side of a pod's interface a program takes what goes to another pod and puts it inside that pod's namespace.

use std::net::IpAddr;
use std::ops::RangeInclusive;

pub use crate::bpf::By;
use crate::bpf::{
    CALL, EXIT, GO_ON, HALF, Hanging, IF_ABOVE, IF_EQUAL, Instruction, JUMP, MOVE, REDIRECT_PEER,
    SET, SHOT, UNLESS_BELOW, UNLESS_EQUAL, WORD, index, load, op,
};
use crate::node::Pod;
use crate::ns::Namespace;

/// Hands what `from` sends to `to` straight to it. What goes to one of the ports `shot` is dropped.
///
/// # Errors
/// When the kernel refuses it.
pub fn redirect(
    node: &Namespace,
    from: &Pod,
    to: &Pod,
    shot: Option<RangeInclusive<u16>>,
    by: By,
) -> anyhow::Result<Hanging> {
    let into = index(node, &to.link)?;
    let program = load(&program(&to.spec.addresses, into, shot))?;
    Hanging::attach(program, node, &from.link, by)
}

/// What goes to one of the addresses (its last four bytes tell) is handed to the interface's other end.
fn program(addresses: &[IpAddr], into: u32, shot: Option<RangeInclusive<u16>>) -> Vec<Instruction> {
    let tail = |bytes: &[u8]| {
        let last = bytes.last_chunk().copied().unwrap_or_default();
        i32::from_be_bytes(last)
    };
    let (mut v4, mut v6) = (0, 0);
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4 = tail(&address.octets()),
            IpAddr::V6(address) => v6 = tail(&address.octets()),
        }
    }
    let (first, last) = shot.map_or((1, 0), RangeInclusive::into_inner);
    let (first, last) = (i32::from(first), i32::from(last));
    vec![
        op(MOVE, 6, 1, 0, 0),
        op(HALF, 0, 0, 0, 12),
        op(IF_EQUAL, 0, 0, 2, 0x0800),
        op(IF_EQUAL, 0, 0, 5, 0x86dd),
        op(JUMP, 0, 0, 15, 0),
        // IPv4: destination, its port.
        op(WORD, 0, 0, 0, 14 + 16),
        op(UNLESS_EQUAL, 0, 0, 13, v4),
        op(HALF, 0, 0, 0, 14 + 20 + 2),
        op(JUMP, 0, 0, 3, 0),
        // IPv6: the end of the destination, its port.
        op(WORD, 0, 0, 0, 14 + 36),
        op(UNLESS_EQUAL, 0, 0, 9, v6),
        op(HALF, 0, 0, 0, 14 + 40 + 2),
        op(IF_ABOVE, 0, 0, 1, last),
        op(UNLESS_BELOW, 0, 0, 4, first),
        op(SET, 1, 0, 0, into.cast_signed()),
        op(SET, 2, 0, 0, 0),
        op(CALL, 0, 0, 0, REDIRECT_PEER),
        op(EXIT, 0, 0, 0, 0),
        op(SET, 0, 0, 0, SHOT),
        op(EXIT, 0, 0, 0, 0),
        op(SET, 0, 0, 0, GO_ON),
        op(EXIT, 0, 0, 0, 0),
    ]
}
