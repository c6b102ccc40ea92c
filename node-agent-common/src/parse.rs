//! The header parser, generic over a byte source: the kernel side reads packets with it, the host fuzzes it.
//!
//! Every loop is bounded and every load is checked by the source, so that the kernel's verifier can follow it.
//! It reads headers and judges none of them: who opened a conversation is the programs' business.

use crate::{FAMILY_V4, FAMILY_V6, Tuple, mapped, protocol};

/// Where the bytes of a packet come from.
pub trait Bytes {
    /// Returns `N` bytes at `offset`, `None` when the source has not that many there.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The packet's own tuple; for [`Body::Error`] the tuple of the packet that the error quotes.
    pub tuple: Tuple,
    /// What it carries.
    pub body: Body,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp,
    /// An ICMP error: destination unreachable, in either family.
    Error(IcmpError),
}

/// The fields of a TCP header that tell an attempt and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number, host order.
    pub sequence: u32,
    /// Acknowledgement number, host order; means nothing without [`ACK`].
    pub acknowledgement: u32,
    /// The flag byte, see [`SYN`], [`RST`] and [`ACK`].
    pub flags: u8,
}

/// An ICMP error and what it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent the error; IPv4 mapped.
    pub from: [u8; 16],
    /// Sequence number of the quoted TCP segment; `None` for UDP, or when the quotation is too short.
    pub sequence: Option<u32>,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
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

/// Where the network header leads.
struct Network {
    source: [u8; 16],
    destination: [u8; 16],
    /// Offset of the transport header.
    transport: u32,
    protocol: u8,
    family: u8,
}

/// Reads the packet whose network header is at `offset`.
///
/// # Errors
///
/// [`Skipped`] tells why there is nothing to look at.
#[inline(always)]
pub fn packet(bytes: &impl Bytes, family: Family, offset: u32) -> Result<Packet, Skipped> {
    let network = network(bytes, family, offset)?;
    if !unicast(&network) {
        return Err(Skipped::NotUnicast);
    }
    match network.protocol {
        protocol::TCP => tcp(bytes, &network),
        protocol::UDP => udp(bytes, &network),
        protocol::ICMP if network.family == FAMILY_V4 => error_v4(bytes, &network),
        protocol::ICMPV6 if network.family == FAMILY_V6 => error_v6(bytes, &network),
        _ => Err(Skipped::Uninteresting),
    }
}

#[inline(always)]
fn network(bytes: &impl Bytes, family: Family, offset: u32) -> Result<Network, Skipped> {
    match family {
        Family::V4 => network_v4(bytes, offset),
        Family::V6 => network_v6(bytes, offset),
    }
}

#[inline(always)]
fn network_v4(bytes: &impl Bytes, offset: u32) -> Result<Network, Skipped> {
    let h: [u8; 20] = bytes.load(offset).ok_or(Skipped::Unreadable)?;
    let words = h[0] & 0x0f;
    let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x1fff;
    if h[0] >> 4 != 4 || words < 5 || fragment != 0 {
        return Err(Skipped::Unreadable);
    }
    Ok(Network {
        source: mapped([h[12], h[13], h[14], h[15]]),
        destination: mapped([h[16], h[17], h[18], h[19]]),
        transport: offset + u32::from(words) * 4,
        protocol: h[9],
        family: FAMILY_V4,
    })
}

#[inline(always)]
fn network_v6(bytes: &impl Bytes, offset: u32) -> Result<Network, Skipped> {
    let h: [u8; 8] = bytes.load(offset).ok_or(Skipped::Unreadable)?;
    if h[0] >> 4 != 6 {
        return Err(Skipped::Unreadable);
    }
    let source = bytes.load(offset + 8).ok_or(Skipped::Unreadable)?;
    let destination = bytes.load(offset + 24).ok_or(Skipped::Unreadable)?;
    let (protocol, transport) = upper_layer(bytes, h[6], offset + 40)?;
    Ok(Network {
        source,
        destination,
        transport,
        protocol,
        family: FAMILY_V6,
    })
}

/// Follows the extension headers to the transport header: its protocol and offset.
#[inline(always)]
fn upper_layer(bytes: &impl Bytes, first: u8, offset: u32) -> Result<(u8, u32), Skipped> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let (mut next, mut at) = (first, offset);
    for _ in 0..EXTENSION_HEADERS {
        if !matches!(
            next,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
        ) {
            return Ok((next, at));
        }
        let h: [u8; 4] = bytes.load(at).ok_or(Skipped::Unreadable)?;
        at += match next {
            FRAGMENT if u16::from_be_bytes([h[2], h[3]]) & 0xfff8 != 0 => {
                return Err(Skipped::Unreadable);
            }
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(h[1]) + 2) * 4,
            _ => (u32::from(h[1]) + 1) * 8,
        };
        next = h[0];
    }
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION => Err(Skipped::Unreadable),
        _ => Ok((next, at)),
    }
}

#[inline(always)]
fn unicast(network: &Network) -> bool {
    let (source, destination) = (&network.source, &network.destination);
    if network.family == FAMILY_V4 {
        // 224.0.0.0/4 and 240.0.0.0/4, the limited broadcast among them; 0.0.0.0/8 is "this host".
        destination[12] < 224 && destination[12] != 0 && source[12] < 224 && source[12] != 0
    } else {
        destination[0] != 0xff && source[0] != 0xff && *source != [0; 16]
    }
}

#[inline(always)]
fn tuple(network: &Network, ports: [u8; 4]) -> Tuple {
    Tuple {
        source: network.source,
        destination: network.destination,
        source_port_be: [ports[0], ports[1]],
        destination_port_be: [ports[2], ports[3]],
        protocol: network.protocol,
        family: network.family,
        padding: [0; 2],
    }
}

#[inline(always)]
fn tcp(bytes: &impl Bytes, network: &Network) -> Result<Packet, Skipped> {
    let h: [u8; 14] = bytes.load(network.transport).ok_or(Skipped::Unreadable)?;
    Ok(Packet {
        tuple: tuple(network, [h[0], h[1], h[2], h[3]]),
        body: Body::Tcp(Tcp {
            sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            acknowledgement: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: h[13],
        }),
    })
}

#[inline(always)]
fn udp(bytes: &impl Bytes, network: &Network) -> Result<Packet, Skipped> {
    let ports: [u8; 4] = bytes.load(network.transport).ok_or(Skipped::Unreadable)?;
    let pair = (
        u16::from_be_bytes([ports[0], ports[1]]),
        u16::from_be_bytes([ports[2], ports[3]]),
    );
    // DHCP: client and server ports; a relay talks from the server's port to the server's port.
    let dhcp = if network.family == FAMILY_V4 {
        matches!(pair, (67 | 68, 67) | (67, 68))
    } else {
        matches!(pair, (546 | 547, 547) | (547, 546))
    };
    if dhcp {
        return Err(Skipped::NotUnicast);
    }
    Ok(Packet {
        tuple: tuple(network, ports),
        body: Body::Udp,
    })
}

#[inline(always)]
fn error_v4(bytes: &impl Bytes, outer: &Network) -> Result<Packet, Skipped> {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    let h: [u8; 2] = bytes.load(outer.transport).ok_or(Skipped::Unreadable)?;
    if h[0] != UNREACHABLE || h[1] == FRAGMENTATION_NEEDED {
        return Err(Skipped::Uninteresting);
    }
    let inner = network_v4(bytes, outer.transport + 8)?;
    quoted(bytes, outer, &inner, h)
}

#[inline(always)]
fn error_v6(bytes: &impl Bytes, outer: &Network) -> Result<Packet, Skipped> {
    const UNREACHABLE: u8 = 1;
    const ROUTER_SOLICITATION: u8 = 133;
    const REDIRECT: u8 = 137;
    let h: [u8; 2] = bytes.load(outer.transport).ok_or(Skipped::Unreadable)?;
    match h[0] {
        UNREACHABLE => {}
        ROUTER_SOLICITATION..=REDIRECT => return Err(Skipped::NotUnicast),
        _ => return Err(Skipped::Uninteresting),
    }
    let inner = network_v6(bytes, outer.transport + 8)?;
    quoted(bytes, outer, &inner, h)
}

#[inline(always)]
fn quoted(
    bytes: &impl Bytes,
    outer: &Network,
    inner: &Network,
    [icmp_type, icmp_code]: [u8; 2],
) -> Result<Packet, Skipped> {
    if !matches!(inner.protocol, protocol::TCP | protocol::UDP) {
        return Err(Skipped::Uninteresting);
    }
    let ports: [u8; 4] = bytes.load(inner.transport).ok_or(Skipped::Unreadable)?;
    let sequence = if inner.protocol == protocol::TCP {
        bytes.load(inner.transport + 4).map(u32::from_be_bytes)
    } else {
        None
    };
    Ok(Packet {
        tuple: tuple(inner, ports),
        body: Body::Error(IcmpError {
            from: outer.source,
            sequence,
            icmp_type,
            icmp_code,
        }),
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
