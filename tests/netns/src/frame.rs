//! Frames, byte by byte: well-formed ones, and every shape that a hostile sender may think of.

use std::net::{Ipv4Addr, Ipv6Addr};

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

pub(crate) fn tcp([source, destination]: [u16; 2], sequence: u32, flags: u8) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 9, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
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
    let sum: u32 = header
        .chunks_exact(2)
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .map(|pair| u32::from(u16::from_be_bytes(pair)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    header.splice(10..12, checksum.to_be_bytes());
    header.extend(payload);
    header
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
