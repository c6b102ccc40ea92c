//! The header parser: it reads no byte that is not there, and what it gives fits together.

#![expect(clippy::panic, reason = "a difference ends the run")]

use node_agent_common::parse::{Bytes, Content, Family, Packet, packet};
use node_agent_common::{FAMILY_V4, FAMILY_V6, protocol};

struct Captured<'a>(&'a [u8]);

impl Bytes for Captured<'_> {
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        let start = offset as usize;
        let there = start.checked_add(N).and_then(|end| self.0.get(start..end));
        match there {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

/// Reads bytes as a packet: the first says which family and where it begins.
///
/// # Panics
///
/// When what was read contradicts itself.
pub fn run(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let family = match first & 1 {
        0 => Family::V4,
        _ => Family::V6,
    };
    let mut read = Packet::empty();
    if packet(&Captured(bytes), family, u32::from(first >> 1), &mut read).is_err() {
        return;
    }
    let carried = match read.content {
        Content::Udp => read.tuple.protocol == protocol::UDP,
        Content::Tcp => read.tuple.protocol == protocol::TCP && read.sequence_known,
        Content::Sctp => read.tuple.protocol == protocol::SCTP,
        Content::Error => read.sender != [0; 16],
    };
    if !carried || ![FAMILY_V4, FAMILY_V6].contains(&read.tuple.family) {
        panic!("{read:?}");
    }
}
