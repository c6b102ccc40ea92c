//! Addresses and ports of a flow.

/// IPv4, as it stands in [`Tuple::family`].
pub const FAMILY_V4: u8 = 4;
/// IPv6, as it stands in [`Tuple::family`].
pub const FAMILY_V6: u8 = 6;

/// Numbers of the Internet protocols that are looked at (IANA protocol numbers).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// Who talks to whom: both addresses, both ports, the protocol.
///
/// An IPv4 address is stored in its IPv4-mapped IPv6 form; `family` tells it from a real IPv6 address that
/// looks alike.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Address of the side that opened the conversation, once it is oriented.
    pub source: [u8; 16],
    /// Address of the other side.
    pub destination: [u8; 16],
    /// Source port, big-endian.
    pub source_port_be: [u8; 2],
    /// Destination port, big-endian.
    pub destination_port_be: [u8; 2],
    /// See [`protocol`].
    pub protocol: u8,
    /// [`FAMILY_V4`] or [`FAMILY_V6`]; 0 in a tuple that says nothing.
    pub family: u8,
    /// Always zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<Tuple>() == 40 && align_of::<Tuple>() == 8);

impl Tuple {
    /// Returns the tuple of a packet that goes the other way.
    #[inline(always)]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port_be: self.destination_port_be,
            destination_port_be: self.source_port_be,
            protocol: self.protocol,
            family: self.family,
            padding: [0; 2],
        }
    }

    /// Source port in host order.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes(self.source_port_be)
    }

    /// Destination port in host order.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes(self.destination_port_be)
    }
}

/// Returns the IPv4-mapped form of an IPv4 address.
#[inline(always)]
#[must_use]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    // As one number, so that the kernel side writes two words and not sixteen bytes.
    ((u32::from_le_bytes(v4) as u128) << 96 | 0xffff << 80).to_le_bytes()
}
