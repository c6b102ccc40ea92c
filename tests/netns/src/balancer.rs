//! A socket load balancer: a program of a cgroup that rewrites where a process goes, so that the packets never have the
//! Service's address.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};

use crate::bpf::{EXIT, Hanging, Instruction, READ_WORD, SET, UNLESS_SAME, load_as, op};
use crate::stopper::{CONNECT_V4, CONNECT_V6, PORT, SENDMSG_V4, SENDMSG_V6, SOCKET_ADDRESS};

/// `BPF_STX | BPF_MEM | BPF_W`.
const WRITE_WORD: u8 = 0x63;
/// Where `struct bpf_sock_addr` has the addresses.
const V4: i16 = 4;
const V6: i16 = 8;

/// Leads what the processes of a cgroup connect or send to a port, over the family of `to`, to another address and port.
///
/// # Errors
/// When the kernel refuses it.
pub fn in_cgroup(cgroup: &File, port: u16, to: SocketAddr) -> anyhow::Result<[Hanging; 2]> {
    let words: Vec<(i16, u32)> = match to.ip() {
        IpAddr::V4(v4) => vec![(V4, u32::from_ne_bytes(v4.octets()))],
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let (words, _) = octets.as_chunks::<4>();
            let words = words.iter().map(|word| u32::from_ne_bytes(*word));
            (V6..).step_by(4).zip(words).collect()
        }
    };
    let program = program(port, to.port(), &words);
    let hooks = match to {
        SocketAddr::V4(_) => [CONNECT_V4, SENDMSG_V4],
        SocketAddr::V6(_) => [CONNECT_V6, SENDMSG_V6],
    };
    let attach = |hook| {
        let program = load_as(&program, SOCKET_ADDRESS, hook)?;
        Hanging::attach_cgroup(&program, cgroup, hook)
    };
    let [connect, send] = hooks;
    Ok([attach(connect)?, attach(send)?])
}

fn program(port: u16, to: u16, words: &[(i16, u32)]) -> Vec<Instruction> {
    let mut rewrites = Vec::new();
    for (at, word) in words {
        rewrites.push(op(SET, 3, 0, 0, word.cast_signed()));
        rewrites.push(op(WRITE_WORD, 1, 3, *at, 0));
    }
    rewrites.push(op(SET, 3, 0, 0, to.to_be().into()));
    rewrites.push(op(WRITE_WORD, 1, 3, PORT, 0));
    let over = i16::try_from(rewrites.len()).unwrap_or_default();
    let mut program = vec![
        op(READ_WORD, 2, 1, PORT, 0),
        op(UNLESS_SAME, 2, 0, over, port.to_be().into()),
    ];
    program.extend(rewrites);
    program.push(op(SET, 0, 0, 0, 1));
    program.push(op(EXIT, 0, 0, 0, 0));
    program
}
