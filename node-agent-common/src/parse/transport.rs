//! Transport headers, and the errors that quote them.

use super::{
    ABORT, Bytes, Content, Header, INIT, INIT_ACK, Packet, Skipped, network_v4, network_v6,
};
use crate::{FAMILY_V4, Tuple, protocol};

#[inline(always)]
fn set_ports(tuple: &mut Tuple, ports: [u8; 4]) {
    tuple.source_port_be = [ports[0], ports[1]];
    tuple.destination_port_be = [ports[2], ports[3]];
}

#[inline(always)]
pub(super) fn tcp(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
    let Header(h) = Header::<14>::read(bytes, transport)?;
    set_ports(&mut packet.tuple, [h[0], h[1], h[2], h[3]]);
    packet.content = Content::Tcp;
    packet.sequence = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    packet.sequence_known = true;
    let acknowledged = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
    packet.answers = acknowledged.wrapping_sub(1);
    packet.flags = h[13];
    Ok(())
}

#[inline(always)]
pub(super) fn udp(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
    let Header(ports) = Header::<4>::read(bytes, transport)?;
    let source = u16::from_be_bytes([ports[0], ports[1]]);
    let destination = u16::from_be_bytes([ports[2], ports[3]]);
    // DHCP: client and server ports; a relay talks from the server's port to the server's port.
    let dhcp = if packet.tuple.family == FAMILY_V4 {
        matches!((source, destination), (67 | 68, 67) | (67, 68))
    } else {
        matches!((source, destination), (546 | 547, 547) | (547, 546))
    };
    if dhcp {
        return Err(Skipped::NotUnicast);
    }
    set_ports(&mut packet.tuple, ports);
    packet.content = Content::Udp;
    Ok(())
}

/// Only the first chunk is read: INIT and INIT ACK stand alone, and an ABORT that answers one does too (RFC 9260).
#[inline(always)]
pub(super) fn sctp(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
    let Header(h) = Header::<14>::read(bytes, transport)?;
    let tag = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    match h[12] {
        // The peer's tag is not known yet.
        INIT if tag == 0 => {
            let Header(initiate) = Header::<4>::read(bytes, transport + 16)?;
            packet.sequence = u32::from_be_bytes(initiate);
            packet.sequence_known = true;
        }
        // With the T bit the tag is the sender's own: such an ABORT answers no INIT.
        ABORT if h[13] & 1 == 0 => packet.answers = tag,
        INIT_ACK => packet.answers = tag,
        _ => return Err(Skipped::Uninteresting),
    }
    set_ports(&mut packet.tuple, [h[0], h[1], h[2], h[3]]);
    packet.content = Content::Sctp;
    packet.flags = h[12];
    Ok(())
}

#[inline(always)]
pub(super) fn error_v4(
    bytes: &impl Bytes,
    transport: u32,
    packet: &mut Packet,
) -> Result<(), Skipped> {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    let Header(h) = Header::<2>::read(bytes, transport)?;
    if h[0] != UNREACHABLE || h[1] == FRAGMENTATION_NEEDED {
        return Err(Skipped::Uninteresting);
    }
    packet.sender = packet.tuple.source;
    let inner = network_v4(bytes, transport + 8, &mut packet.tuple)?;
    quoted(bytes, inner, h, packet)
}

#[inline(always)]
pub(super) fn error_v6(
    bytes: &impl Bytes,
    transport: u32,
    packet: &mut Packet,
) -> Result<(), Skipped> {
    const UNREACHABLE: u8 = 1;
    const ROUTER_SOLICITATION: u8 = 133;
    const REDIRECT: u8 = 137;
    let Header(h) = Header::<2>::read(bytes, transport)?;
    match h[0] {
        UNREACHABLE => {}
        ROUTER_SOLICITATION..=REDIRECT => return Err(Skipped::NotUnicast),
        _ => return Err(Skipped::Uninteresting),
    }
    packet.sender = packet.tuple.source;
    let inner = network_v6(bytes, transport + 8, &mut packet.tuple)?;
    quoted(bytes, inner, h, packet)
}

/// Reads what an error quotes: a router may send no more than 8 bytes of the transport header.
#[inline(always)]
fn quoted(
    bytes: &impl Bytes,
    transport: u32,
    [icmp_type, icmp_code]: [u8; 2],
    packet: &mut Packet,
) -> Result<(), Skipped> {
    let protocol = packet.tuple.protocol;
    if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Err(Skipped::Uninteresting);
    }
    let Header(ports) = Header::<4>::read(bytes, transport)?;
    set_ports(&mut packet.tuple, ports);
    packet.content = Content::Error;
    packet.icmp_type = icmp_type;
    packet.icmp_code = icmp_code;
    let sequence_at = match protocol {
        protocol::TCP => 4,
        protocol::SCTP => 16,
        _ => return Ok(()),
    };
    if let Ok(Header(sequence)) = Header::<4>::read(bytes, transport + sequence_at) {
        packet.sequence = u32::from_be_bytes(sequence);
        packet.sequence_known = true;
    }
    Ok(())
}
