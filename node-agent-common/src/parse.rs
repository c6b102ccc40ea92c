//! The header parser, generic over a byte source: the kernel side reads packets with it, the host fuzzes it.
//!
//! Every loop is bounded and every load is checked by the source, so that the kernel's verifier can follow it.
//! It reads headers and judges none of them: who opened a conversation is the programs' business.

mod transport;

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

/// SCTP's chunk that opens an association.
pub const INIT: u8 = 1;
/// SCTP's chunk that answers [`INIT`].
pub const INIT_ACK: u8 = 2;
/// SCTP's chunk that refuses.
pub const ABORT: u8 = 6;
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
    /// TCP: sequence number. SCTP: initiate tag of [`INIT`]. Host order. Error about either: the quoted one, when
    /// `sequence_known`.
    pub sequence: u32,
    /// The `sequence` that this answers, host order. TCP: one less than the acknowledgement number, means nothing
    /// without [`ACK`]. SCTP: the verification tag.
    pub answers: u32,
    /// What it carries.
    pub content: Content,
    /// TCP: the flag byte, see [`SYN`], [`RST`] and [`ACK`]. SCTP: the type of the first chunk, see [`INIT`],
    /// [`INIT_ACK`] and [`ABORT`].
    pub flags: u8,
    /// Error: ICMP type.
    pub icmp_type: u8,
    /// Error: ICMP code.
    pub icmp_code: u8,
    /// `sequence` says something: always for TCP and [`INIT`], for an error when it quotes that much.
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
    /// An SCTP packet that begins with one of the three chunks that are looked at.
    Sctp,
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
            answers: 0,
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

/// IPv4's neighbour discovery.
const ARP: u16 = 0x0806;

/// How many VLAN tags are followed.
const TAGS: u32 = 2;

/// Reads the Ethernet frame that begins the source into `packet`, which must be [`Packet::empty`] before.
///
/// # Errors
///
/// As [`packet`].
#[inline(always)]
pub fn frame(bytes: &impl Bytes, into: &mut Packet) -> Result<(), Skipped> {
    let mut at = 12;
    let mut ethertype = [0; 2];
    for _ in 0..=TAGS {
        if !bytes.load(at, &mut ethertype) {
            return Err(Skipped::Unreadable);
        }
        if !is_tag(ethertype) {
            break;
        }
        at += 4;
    }
    match Family::of_ethertype(u16::from_be_bytes(ethertype)) {
        Some(family) => packet(bytes, family, at + 2, into),
        None if is_tag(ethertype) => Err(Skipped::Unreadable),
        None if u16::from_be_bytes(ethertype) == ARP => Err(Skipped::NotUnicast),
        None => Err(Skipped::Uninteresting),
    }
}

/// 802.1Q, 802.1ad.
#[inline(always)]
const fn is_tag(ethertype: [u8; 2]) -> bool {
    matches!(u16::from_be_bytes(ethertype), 0x8100 | 0x88a8)
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
        (protocol::TCP, _) => transport::tcp(bytes, transport, packet),
        (protocol::UDP, _) => transport::udp(bytes, transport, packet),
        (protocol::SCTP, _) => transport::sctp(bytes, transport, packet),
        (protocol::ICMP, Family::V4) => transport::error_v4(bytes, transport, packet),
        (protocol::ICMPV6, Family::V6) => transport::error_v6(bytes, transport, packet),
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

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
