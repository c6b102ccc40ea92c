//! The header parser, generic over a byte source: the kernel side reads packets with it, the host fuzzes it.
//!
//! Every loop is bounded and every load is checked by the source, so that the kernel's verifier can follow it.
//! It reads headers and judges none of them: who opened a conversation is the programs' business.

use crate::{FAMILY_V4, FAMILY_V6, Tuple, mapped, protocol};

/// Where the bytes of a packet come from.
pub trait Bytes {
    /// Writes the `N` bytes at `offset` to `into`; false when the source has not that many there.
    ///
    /// They are written in place, because the kernel side has a stack of 512 bytes and pays for each copy.
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool;
}

/// Which Internet protocol a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family that an EtherType names, `None` for anything but the two.
    #[inline(always)]
    #[must_use]
    pub const fn of_ethertype(ethertype: u16) -> Option<Self> {
        match ethertype {
            0x0800 => Some(Self::V4),
            0x86dd => Some(Self::V6),
            _ => None,
        }
    }
}

/// TCP's SYN flag.
pub const SYN: u8 = 0x02;
/// TCP's RST flag.
pub const RST: u8 = 0x04;
/// TCP's ACK flag.
pub const ACK: u8 = 0x10;

/// A packet that is worth a look.
///
/// Its fields are plain and always written: what an enum leaves undefined the kernel's verifier refuses to read.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The packet's own tuple; of an error the tuple of the packet that it quotes.
    pub tuple: Tuple,
    /// Error: who sent it; IPv4 mapped. Otherwise zero.
    pub sender: [u8; 16],
    /// TCP: sequence number, host order. Error about TCP: the quoted one, when `sequence_known`.
    pub sequence: u32,
    /// TCP: acknowledgement number, host order; means nothing without [`ACK`].
    pub acknowledgement: u32,
    /// What it carries.
    pub content: Content,
    /// TCP: the flag byte, see [`SYN`], [`RST`] and [`ACK`].
    pub flags: u8,
    /// Error: ICMP type.
    pub icmp_type: u8,
    /// Error: ICMP code.
    pub icmp_code: u8,
    /// `sequence` says something: always for TCP, for an error when it quotes that much.
    pub sequence_known: bool,
}

/// What a packet carries.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// A UDP datagram.
    #[default]
    Udp,
    /// A TCP segment.
    Tcp,
    /// An ICMP error: destination unreachable, in either family.
    Error,
}

impl Packet {
    /// Nothing read yet.
    #[inline(always)]
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            tuple: Tuple {
                source: [0; 16],
                destination: [0; 16],
                source_port_be: [0; 2],
                destination_port_be: [0; 2],
                protocol: 0,
                family: 0,
                padding: [0; 2],
            },
            sender: [0; 16],
            sequence: 0,
            acknowledgement: 0,
            content: Content::Udp,
            flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            sequence_known: false,
        }
    }
}

/// Why a packet is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Cut short, malformed, too many extension headers, or not the first fragment.
    Unreadable,
    /// To or from a group, broadcast or unspecified address, neighbour discovery, DHCP.
    NotUnicast,
    /// Nothing that tells of an attempt: another protocol, an echo, an error about something else.
    Uninteresting,
}

/// How many IPv6 extension headers are followed.
const EXTENSION_HEADERS: u32 = 6;

/// A header's bytes, where they can be read as words.
#[repr(C, align(8))]
struct Header<const N: usize>([u8; N]);

impl<const N: usize> Header<N> {
    #[inline(always)]
    fn read(bytes: &impl Bytes, offset: u32) -> Result<Self, Skipped> {
        let mut header = Self([0; N]);
        if bytes.load(offset, &mut header.0) {
            Ok(header)
        } else {
            Err(Skipped::Unreadable)
        }
    }
}

/// Reads the packet whose network header is at `offset` into `packet`, which must be [`Packet::empty`] before.
///
/// # Errors
///
/// [`Skipped`] tells why there is nothing to look at; then `packet` means nothing.
#[inline(always)]
pub fn packet(
    bytes: &impl Bytes,
    family: Family,
    offset: u32,
    packet: &mut Packet,
) -> Result<(), Skipped> {
    let transport = match family {
        Family::V4 => network_v4(bytes, offset, &mut packet.tuple)?,
        Family::V6 => network_v6(bytes, offset, &mut packet.tuple)?,
    };
    if !unicast(&packet.tuple) {
        return Err(Skipped::NotUnicast);
    }
    match (packet.tuple.protocol, family) {
        (protocol::TCP, _) => tcp(bytes, transport, packet),
        (protocol::UDP, _) => udp(bytes, transport, packet),
        (protocol::ICMP, Family::V4) => error_v4(bytes, transport, packet),
        (protocol::ICMPV6, Family::V6) => error_v6(bytes, transport, packet),
        _ => Err(Skipped::Uninteresting),
    }
}

/// Reads addresses and protocol into `tuple`; returns where the transport header begins.
#[inline(always)]
fn network_v4(bytes: &impl Bytes, offset: u32, tuple: &mut Tuple) -> Result<u32, Skipped> {
    let Header(h) = Header::<20>::read(bytes, offset)?;
    let words = h[0] & 0x0f;
    let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x1fff;
    if h[0] >> 4 != 4 || words < 5 || fragment != 0 {
        return Err(Skipped::Unreadable);
    }
    tuple.source = mapped([h[12], h[13], h[14], h[15]]);
    tuple.destination = mapped([h[16], h[17], h[18], h[19]]);
    tuple.protocol = h[9];
    tuple.family = FAMILY_V4;
    Ok(offset + u32::from(words) * 4)
}

/// As [`network_v4`].
#[inline(always)]
fn network_v6(bytes: &impl Bytes, offset: u32, tuple: &mut Tuple) -> Result<u32, Skipped> {
    let Header(h) = Header::<8>::read(bytes, offset)?;
    if h[0] >> 4 != 6
        || !bytes.load(offset + 8, &mut tuple.source)
        || !bytes.load(offset + 24, &mut tuple.destination)
    {
        return Err(Skipped::Unreadable);
    }
    let mut at = offset + 40;
    tuple.protocol = upper_layer(bytes, h[6], &mut at)?;
    tuple.family = FAMILY_V6;
    Ok(at)
}

/// Follows the extension headers from `at` on; returns the transport protocol and leaves `at` there.
#[inline(always)]
fn upper_layer(bytes: &impl Bytes, first: u8, at: &mut u32) -> Result<u8, Skipped> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let mut next = first;
    for _ in 0..EXTENSION_HEADERS {
        if !is_extension(next) {
            return Ok(next);
        }
        let Header(h) = Header::<4>::read(bytes, *at)?;
        *at += match next {
            FRAGMENT if u16::from_be_bytes([h[2], h[3]]) & 0xfff8 != 0 => {
                return Err(Skipped::Unreadable);
            }
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(h[1]) + 2) * 4,
            _ => (u32::from(h[1]) + 1) * 8,
        };
        next = h[0];
    }
    if is_extension(next) {
        Err(Skipped::Unreadable)
    } else {
        Ok(next)
    }
}

/// Hop-by-hop options, routing, fragment, authentication, destination options.
#[inline(always)]
const fn is_extension(header: u8) -> bool {
    matches!(header, 0 | 43 | 44 | 51 | 60)
}

#[inline(always)]
fn unicast(tuple: &Tuple) -> bool {
    let (source, destination) = (&tuple.source, &tuple.destination);
    if tuple.family == FAMILY_V4 {
        // 224.0.0.0/4 and 240.0.0.0/4, the limited broadcast among them; 0.0.0.0/8 is "this host".
        destination[12] < 224 && destination[12] != 0 && source[12] < 224 && source[12] != 0
    } else {
        destination[0] != 0xff && source[0] != 0xff && *source != [0; 16]
    }
}

#[inline(always)]
fn set_ports(tuple: &mut Tuple, ports: [u8; 4]) {
    tuple.source_port_be = [ports[0], ports[1]];
    tuple.destination_port_be = [ports[2], ports[3]];
}

#[inline(always)]
fn tcp(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
    let Header(h) = Header::<14>::read(bytes, transport)?;
    set_ports(&mut packet.tuple, [h[0], h[1], h[2], h[3]]);
    packet.content = Content::Tcp;
    packet.sequence = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    packet.sequence_known = true;
    packet.acknowledgement = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
    packet.flags = h[13];
    Ok(())
}

#[inline(always)]
fn udp(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
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

#[inline(always)]
fn error_v4(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
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
fn error_v6(bytes: &impl Bytes, transport: u32, packet: &mut Packet) -> Result<(), Skipped> {
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
    if !matches!(protocol, protocol::TCP | protocol::UDP) {
        return Err(Skipped::Uninteresting);
    }
    let Header(ports) = Header::<4>::read(bytes, transport)?;
    set_ports(&mut packet.tuple, ports);
    packet.content = Content::Error;
    packet.icmp_type = icmp_type;
    packet.icmp_code = icmp_code;
    if protocol == protocol::TCP
        && let Ok(Header(sequence)) = Header::<4>::read(bytes, transport + 4)
    {
        packet.sequence = u32::from_be_bytes(sequence);
        packet.sequence_known = true;
    }
    Ok(())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
