//! Frames, byte by byte: well-formed ones, and every shape that a hostile sender may think of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::bail;

/// EtherTypes.
pub(crate) const V4: [u8; 2] = [8, 0];
pub(crate) const V6: [u8; 2] = [0x86, 0xdd];
pub(crate) const ARP: [u8; 2] = [8, 6];
const VLAN: [u8; 4] = [0x81, 0, 0, 5];
const SERVICE_VLAN: [u8; 4] = [0x88, 0xa8, 0, 6];
/// Who the shapes claim to be from, and whom they are for.
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

/// TCP's flags.
pub const SYN: u8 = 2;
/// The same.
pub const ACK: u8 = 0x10;
/// What every segment of [`tcp`] acknowledges.
pub const ACKNOWLEDGED: u32 = 9;
/// Protocol numbers.
pub const TCP: u8 = 6;
/// The same.
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// How many routers a packet may pass if nobody says otherwise.
pub const HOPS: u8 = 64;

/// The two hardware addresses of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Whom it is for.
    pub to: [u8; 6],
    /// Who it is from.
    pub from: [u8; 6],
}

impl Ends {
    /// A frame with that type, or tags and a type.
    #[must_use]
    pub fn frame(self, ethertype: &[u8], payload: &[u8]) -> Vec<u8> {
        [&self.to, &self.from, ethertype, payload].concat()
    }

    /// A TCP segment without data over IPv4, its checksums right up to the network header.
    #[must_use]
    pub fn tcp(
        self,
        from: (Ipv4Addr, u16),
        to: (Ipv4Addr, u16),
        sequence: u32,
        flags: u8,
    ) -> Vec<u8> {
        let segment = tcp([from.1, to.1], sequence, flags);
        self.frame(&V4, &ipv4(6, from.0, to.0, &segment))
    }
}

/// What lies behind the Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Whose address it bears.
    pub from: IpAddr,
    /// Whom it is for.
    pub to: IpAddr,
    /// How many routers it may pass.
    pub hops: u8,
    /// The transport's number.
    pub protocol: u8,
    /// The transport's bytes, with zeros for their checksum.
    pub transport: &'a [u8],
}

impl Packet<'_> {
    /// Its bytes, all checksums right, and the type of a frame that carries it.
    ///
    /// # Errors
    /// When its addresses are of two families.
    pub fn bytes(&self) -> anyhow::Result<([u8; 2], Vec<u8>)> {
        let transport = self.checked();
        let (ethertype, mut bytes) = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (V4, ipv4(self.protocol, from, to, &transport)),
            (IpAddr::V6(from), IpAddr::V6(to)) => (V6, ipv6(self.protocol, from, to, &transport)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                bail!("{} and {} are of two families", self.from, self.to)
            }
        };
        if ethertype == V6 {
            bytes.splice(7..8, [self.hops]);
        } else {
            bytes.splice(8..9, [self.hops]);
            bytes.splice(10..12, [0, 0]);
            let sum = checksum(bytes.get(..20).unwrap_or_default());
            bytes.splice(10..12, sum);
        }
        Ok((ethertype, bytes))
    }

    /// The transport's bytes with their checksum.
    fn checked(&self) -> Vec<u8> {
        let mut bytes = self.transport.to_vec();
        let at = match self.protocol {
            TCP => 16,
            UDP => 6,
            ICMP | ICMP_V6 => 2,
            _ => return bytes,
        };
        let mut summed = Vec::new();
        if self.protocol != ICMP {
            for address in [self.from, self.to] {
                match address {
                    IpAddr::V4(v4) => summed.extend(v4.octets()),
                    IpAddr::V6(v6) => summed.extend(v6.octets()),
                }
            }
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            summed.extend(length.to_be_bytes());
            summed.extend([0, self.protocol]);
        }
        summed.extend(&bytes);
        bytes.splice(at..at + 2, checksum(&summed));
        bytes
    }
}

impl Ends {
    /// A frame that carries a packet.
    ///
    /// # Errors
    /// As [`Packet::bytes`].
    pub fn packet(self, packet: &Packet<'_>) -> anyhow::Result<Vec<u8>> {
        let (ethertype, bytes) = packet.bytes()?;
        Ok(self.frame(&ethertype, &bytes))
    }
}

/// An ICMP error "port unreachable" about a packet, of which it quotes so many bytes of the transport: its number and
/// its bytes.
///
/// # Errors
/// As [`Packet::bytes`].
pub fn port_unreachable(about: &Packet<'_>, quoted: usize) -> anyhow::Result<(u8, Vec<u8>)> {
    let (ethertype, bytes) = about.bytes()?;
    let (protocol, kind, code, header) = if ethertype == V6 {
        (ICMP_V6, 1, 4, 40)
    } else {
        (ICMP, 3, 3, 20)
    };
    let quote = bytes.get(..header + quoted).unwrap_or(&bytes);
    Ok((protocol, icmp(kind, code, quote)))
}

/// A TCP segment without data.
#[must_use]
pub fn tcp([source, destination]: [u16; 2], sequence: u32, flags: u8) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(ACKNOWLEDGED.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// A datagram of four bytes.
#[must_use]
pub fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

fn sctp(chunk: u8) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([chunk, 0, 0, 20, 0, 0, 0, 7]);
    bytes.extend([0; 12]);
    bytes
}

pub(crate) fn icmp(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat()
}

pub(crate) fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header.splice(10..12, sum);
    header.extend(payload);
    header
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        let [high, low] = [0, 1].map(|at| pair.get(at).copied().unwrap_or_default());
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).unwrap_or_default()).to_be_bytes()
}

pub(crate) fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([next, 64]);
    header.extend(from.octets());
    header.extend(to.octets());
    header.extend(payload);
    header
}

/// Every shape of header, each with its name: good, odd, cut short, and wrong.
#[must_use]
pub fn shapes(ends: Ends, to: Ipv4Addr, to_v6: Ipv6Addr) -> Vec<(String, Vec<u8>)> {
    let four = |protocol, payload: &[u8]| ends.frame(&V4, &ipv4(protocol, CLIENT, to, payload));
    let six = |next, payload: &[u8]| ends.frame(&V6, &ipv6(next, CLIENT_V6, to_v6, payload));
    let mut all = Vec::new();
    for flags in [0, 1, SYN, 4, 0x10, 0x12, 0x14, 0x18, 0xc2, 0xff] {
        let segment = tcp([40_000, 80], 7, flags);
        all.push((format!("TCP {flags:#x}"), four(6, &segment)));
        all.push((format!("TCP {flags:#x} over IPv6"), six(6, &segment)));
    }
    for (source, destination) in [(9, 53), (53, 9), (68, 67), (546, 547)] {
        let datagram = udp(source, destination);
        all.push((
            format!("UDP {source} to {destination}"),
            four(17, &datagram),
        ));
        all.push((
            format!("UDP {source} to {destination} over IPv6"),
            six(17, &datagram),
        ));
    }
    for chunk in [0, 1, 2, 6, 255] {
        all.push((format!("SCTP {chunk}"), four(132, &sctp(chunk))));
        all.push((format!("SCTP {chunk} over IPv6"), six(132, &sctp(chunk))));
    }
    let quoted = ipv4(6, to, CLIENT, &tcp([80, 40_000], 7, SYN));
    for (kind, code) in [(3, 0), (3, 3), (3, 4), (3, 13), (8, 0), (11, 0)] {
        all.push((
            format!("ICMP {kind}/{code}"),
            four(1, &icmp(kind, code, &quoted)),
        ));
    }
    for kind in [1, 2, 128, 135, 136] {
        all.push((format!("ICMPv6 {kind}"), six(58, &icmp(kind, 0, &quoted))));
    }
    all.extend(chains(&six));
    let syn = ipv4(6, CLIENT, to, &tcp([40_000, 80], 7, SYN));
    for (name, tags) in [
        ("a VLAN tag", VLAN.to_vec()),
        ("two VLAN tags", [SERVICE_VLAN, VLAN].concat()),
        ("four VLAN tags", [VLAN; 4].concat()),
    ] {
        all.push((
            name.to_owned(),
            ends.frame(&[&tags[..], &V4].concat(), &syn),
        ));
    }
    for length in 0..syn.len() {
        let short = syn.get(..length).unwrap_or_default();
        all.push((format!("a SYN cut at {length}"), ends.frame(&V4, short)));
        all.push((format!("IPv6 cut at {length}"), ends.frame(&V6, short)));
    }
    all.extend(mutations(&ends.frame(&V4, &syn)));
    all
}

/// IPv6 extension headers: one of each, a fragment, and more than anybody follows.
fn chains(six: &dyn Fn(u8, &[u8]) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let segment = tcp([40_000, 80], 7, SYN);
    let mut all = Vec::new();
    for header in [0, 43, 44, 51, 60] {
        let chain = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &segment].concat();
        all.push((format!("extension header {header}"), six(header, &chain)));
    }
    let later = [&[6, 0, 0x10, 0, 0, 0, 0, 1][..], &segment].concat();
    all.push(("a later fragment".to_owned(), six(44, &later)));
    let endless = [[60, 0, 1, 4, 0, 0, 0, 0]; 20].concat();
    all.push(("an endless chain".to_owned(), six(60, &endless)));
    all
}

/// The same few hundred spoilt frames in each run.
fn mutations(frame: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0)
    };
    (0..300)
        .map(|number| {
            let mut spoilt = frame.to_vec();
            for _ in 0..=next() % 4 {
                // Behind the hardware addresses, which lead it to its receiver.
                let at = 12 + next() % (spoilt.len() - 12);
                let [byte, ..] = next().to_le_bytes();
                spoilt.splice(at..=at, [byte]);
            }
            (format!("spoilt {number}"), spoilt)
        })
        .collect()
}
