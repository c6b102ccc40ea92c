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

    /// Returns a tuple that is the same for both directions, and whether it is this one's reverse.
    #[inline(always)]
    #[must_use]
    pub fn paired(&self) -> (Self, bool) {
        let (from, to) = (
            u128::from_ne_bytes(self.source),
            u128::from_ne_bytes(self.destination),
        );
        let (from_port, to_port) = (
            u16::from_ne_bytes(self.source_port_be),
            u16::from_ne_bytes(self.destination_port_be),
        );
        // Any order will do, as long as it is one.
        let turned = from > to || from == to && from_port > to_port;
        let mut key = *self;
        if turned {
            (key.source, key.destination) = (self.destination, self.source);
            (key.source_port_be, key.destination_port_be) =
                (self.destination_port_be, self.source_port_be);
        }
        (key, turned)
    }

    /// Returns the source of a socket that is bound to no address: the network namespace (inode) that it is in, as an
    /// address that no packet has.
    #[inline(always)]
    #[must_use]
    pub const fn unbound(netns: u32) -> [u8; 16] {
        ((netns as u128) << 96).to_le_bytes()
    }

    /// The network namespace (inode) of an unbound socket; `None` when the source is an address.
    #[must_use]
    pub fn namespace_of(source: [u8; 16]) -> Option<u32> {
        let number = u128::from_le_bytes(source);
        (number & ((1 << 96) - 1) == 0).then_some((number >> 96) as u32)
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

#[cfg(test)]
mod tests {
    use super::{FAMILY_V4, Tuple, mapped, protocol};
    use crate::Attempt;

    fn tuple(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Tuple {
        Tuple {
            source: mapped(from.0),
            destination: mapped(to.0),
            source_port_be: from.1.to_be_bytes(),
            destination_port_be: to.1.to_be_bytes(),
            protocol: protocol::UDP,
            family: FAMILY_V4,
            padding: [0; 2],
        }
    }

    #[test]
    fn both_directions_share_a_key() {
        let (a, b) = ([10, 0, 0, 1], [9, 0, 0, 2]);
        for (from, to) in [
            ((a, 40_000), (b, 53)),
            ((a, 53), (b, 40_000)),
            // A pod that talks to itself: the ports tell.
            ((a, 53), (a, 40_000)),
            ((a, 256), (a, 1)),
        ] {
            let there = tuple(from, to);
            let back = there.reversed();
            let ((key, turned), (key_back, turned_back)) = (there.paired(), back.paired());
            assert_eq!(key, key_back, "{there:?}");
            assert_ne!(turned, turned_back, "{there:?}");
            for tuple in [there, back] {
                let (key, turned) = Attempt::key(&tuple);
                let attempt = Attempt {
                    turned,
                    ..Attempt::default()
                };
                assert_eq!(attempt.tuple(&key), tuple);
            }
        }
        let tcp = Tuple {
            protocol: protocol::TCP,
            ..tuple((a, 1), (b, 2))
        };
        assert_eq!(Attempt::key(&tcp), (tcp, 0));
        assert_eq!(Attempt::key(&tcp.reversed()), (tcp.reversed(), 0));
    }
}
