use std::vec::Vec;

use super::*;

impl Bytes for &[u8] {
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        let start = offset as usize;
        match self.get(start..start + N) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
const PORTS: [u8; 4] = [0x9c, 0x40, 0, 80];

fn v4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, protocol, 0, 0].to_vec();
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(payload);
    bytes
}

fn v6(next: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0x60, 0, 0, 0, 0, 60, next, 64].to_vec();
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([to, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(payload);
    bytes
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut bytes = PORTS.to_vec();
    bytes.extend([0, 0, 0, 7, 0, 0, 0, 8, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    bytes
}

/// An SCTP packet with that verification tag, whose only chunk has that type, flags and first word.
fn sctp(tag: u8, chunk: u8, flags: u8, word: u8) -> Vec<u8> {
    let mut bytes = PORTS.to_vec();
    bytes.extend([0, 0, 0, tag, 0, 0, 0, 0, chunk, flags, 0, 20, 0, 0, 0, word]);
    bytes.extend([0; 12]);
    bytes
}

fn icmp(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut bytes = [kind, code, 0, 0, 0, 0, 0, 0].to_vec();
    bytes.extend(quoted);
    bytes
}

fn read(family: Family, bytes: &[u8]) -> Result<Packet, Skipped> {
    let mut read = Packet::empty();
    packet(&bytes, family, 0, &mut read).map(|()| read)
}

/// Samples that are looked at, with what must come out: content, protocol, destination port, number.
/// Name, family, packet; what it holds, protocol, destination port, sequence number.
type Row = (&'static str, Family, Vec<u8>, Content, u8, u16, u32);

fn looked_at() -> Vec<Row> {
    use Content::{Error, Sctp, Tcp, Udp};
    let syn = v4(6, CLIENT, SERVER, &tcp(SYN));
    let syn6 = v6(6, 0xfd, &tcp(SYN));
    let mut options = v4(6, CLIENT, SERVER, &[1, 1, 1, 1]);
    options[0] = 0x46;
    options.extend(tcp(SYN));
    let chain = [
        &[43, 0, 0, 0, 0, 0, 0, 0][..],
        &[60, 0, 0, 0, 0, 0, 0, 0],
        &[6, 0, 0, 0, 0, 0, 0, 0],
        &tcp(SYN),
    ]
    .concat();
    let fragment = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp(9, 53)].concat();
    let answer = v4(17, CLIENT, SERVER, &udp(9, 53));
    let init = v4(132, CLIENT, SERVER, &sctp(0, INIT, 0, 7));
    let init6 = v6(132, 0xfd, &sctp(0, INIT, 0, 7));
    Vec::from([
        ("INIT", Family::V4, init.clone(), Sctp, 132, 80, 7),
        ("INIT over IPv6", Family::V6, init6, Sctp, 132, 80, 7),
        (
            "protocol unreachable",
            Family::V4,
            v4(1, SERVER, CLIENT, &icmp(3, 2, &init)),
            Error,
            132,
            80,
            7,
        ),
        (
            "short quotation of an INIT",
            Family::V4,
            v4(1, SERVER, CLIENT, &icmp(3, 2, &init[..28])),
            Error,
            132,
            80,
            0,
        ),
        ("SYN", Family::V4, syn.clone(), Tcp, 6, 80, 7),
        ("IPv4 options", Family::V4, options, Tcp, 6, 80, 7),
        ("UDP", Family::V4, answer.clone(), Udp, 17, 53, 0),
        ("SYN over IPv6", Family::V6, syn6.clone(), Tcp, 6, 80, 7),
        (
            "extension headers",
            Family::V6,
            v6(0, 0xfd, &chain),
            Tcp,
            6,
            80,
            7,
        ),
        (
            "first fragment",
            Family::V6,
            v6(44, 0xfd, &fragment),
            Udp,
            17,
            53,
            0,
        ),
        (
            "port unreachable",
            Family::V4,
            v4(1, SERVER, CLIENT, &icmp(3, 3, &syn)),
            Error,
            6,
            80,
            7,
        ),
        (
            "short quotation",
            Family::V4,
            v4(1, SERVER, CLIENT, &icmp(3, 13, &syn[..24])),
            Error,
            6,
            80,
            0,
        ),
        (
            "UDP unreachable",
            Family::V4,
            v4(1, SERVER, CLIENT, &icmp(3, 3, &answer)),
            Error,
            17,
            53,
            0,
        ),
        (
            "ICMPv6 prohibited",
            Family::V6,
            v6(58, 0xfd, &icmp(1, 1, &syn6)),
            Error,
            6,
            80,
            7,
        ),
    ])
}

#[test]
fn reads_what_tells_of_attempts() {
    for (name, family, bytes, content, protocol, port, sequence) in looked_at() {
        let read = read(family, &bytes).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        assert_eq!(read.content, content, "{name}");
        assert_eq!(read.tuple.protocol, protocol, "{name}");
        assert_eq!(read.tuple.destination_port(), port, "{name}");
        assert_eq!(read.sequence, sequence, "{name}");
    }
}

#[test]
fn an_answer_says_what_it_answers() {
    let answers = |payload: &[u8], protocol| {
        let bytes = v4(protocol, SERVER, CLIENT, payload);
        read(Family::V4, &bytes).map(|read| (read.flags, read.answers))
    };
    // The acknowledgement number is 8, the verification tag 9.
    assert_eq!(answers(&tcp(SYN | ACK), 6), Ok((SYN | ACK, 7)));
    assert_eq!(answers(&sctp(9, INIT_ACK, 0, 3), 132), Ok((INIT_ACK, 9)));
    assert_eq!(answers(&sctp(9, ABORT, 0, 3), 132), Ok((ABORT, 9)));
}

#[test]
fn tags_are_followed() {
    let syn = v4(6, CLIENT, SERVER, &tcp(SYN));
    let read = |tags: &[[u8; 4]], ethertype: [u8; 2]| {
        let frame = [&[0; 12][..], tags.as_flattened(), &ethertype, &syn].concat();
        let mut read = Packet::empty();
        super::frame(&&frame[..], &mut read).map(|()| read.tuple.destination_port())
    };
    let (vlan, service) = ([0x81, 0, 0, 5], [0x88, 0xa8, 0, 6]);
    assert_eq!(read(&[], [8, 0]), Ok(80));
    assert_eq!(read(&[vlan], [8, 0]), Ok(80));
    assert_eq!(read(&[service, vlan], [8, 0]), Ok(80));
    assert_eq!(read(&[vlan; 3], [8, 0]), Err(Skipped::Unreadable));
    assert_eq!(read(&[], [8, 6]), Err(Skipped::NotUnicast));
    assert_eq!(read(&[vlan], [8, 6]), Err(Skipped::NotUnicast));
    assert_eq!(read(&[], [0x88, 0xb5]), Err(Skipped::Uninteresting));
}

#[test]
fn an_error_carries_the_quoted_tuple_and_its_sender() {
    let syn = v4(6, CLIENT, SERVER, &tcp(SYN));
    let error = v4(1, [10, 0, 0, 254], CLIENT, &icmp(3, 3, &syn));
    let read = read(Family::V4, &error).unwrap();
    assert_eq!(read.tuple.source, mapped(CLIENT));
    assert_eq!(read.tuple.destination, mapped(SERVER));
    assert_eq!(read.sender, mapped([10, 0, 0, 254]));
    assert_eq!((read.icmp_type, read.icmp_code), (3, 3));
}

#[test]
fn sets_aside_what_is_no_conversation() {
    use Skipped::{NotUnicast, Uninteresting, Unreadable};
    let mut fragment = v4(6, CLIENT, SERVER, &tcp(SYN));
    fragment[7] = 9;
    let endless = [[0, 0, 0, 0, 0, 0, 0, 0]; 7].concat();
    let later = [&[17, 0, 0, 8, 0, 0, 0, 9][..], &udp(9, 53)].concat();
    let syn = v4(6, CLIENT, SERVER, &tcp(SYN));
    for (name, family, bytes, wanted) in [
        ("later fragment", Family::V4, fragment, Unreadable),
        (
            "later fragment v6",
            Family::V6,
            v6(44, 0xfd, &later),
            Unreadable,
        ),
        (
            "too many headers",
            Family::V6,
            v6(0, 0xfd, &endless),
            Unreadable,
        ),
        ("wrong version", Family::V6, syn.clone(), Unreadable),
        (
            "group",
            Family::V4,
            v4(17, CLIENT, [224, 0, 0, 1], &udp(9, 53)),
            NotUnicast,
        ),
        (
            "broadcast",
            Family::V4,
            v4(17, CLIENT, [255; 4], &udp(9, 53)),
            NotUnicast,
        ),
        (
            "DHCP",
            Family::V4,
            v4(17, CLIENT, SERVER, &udp(68, 67)),
            NotUnicast,
        ),
        (
            "DHCPv6",
            Family::V6,
            v6(17, 0xfd, &udp(546, 547)),
            NotUnicast,
        ),
        (
            "group v6",
            Family::V6,
            v6(17, 0xff, &udp(9, 53)),
            NotUnicast,
        ),
        (
            "neighbour",
            Family::V6,
            v6(58, 0xfd, &icmp(135, 0, &[])),
            NotUnicast,
        ),
        (
            "echo",
            Family::V4,
            v4(1, CLIENT, SERVER, &icmp(8, 0, &[])),
            Uninteresting,
        ),
        (
            "too big",
            Family::V4,
            v4(1, CLIENT, SERVER, &icmp(3, 4, &syn)),
            Uninteresting,
        ),
        (
            "time exceeded",
            Family::V4,
            v4(1, CLIENT, SERVER, &icmp(11, 0, &syn)),
            Uninteresting,
        ),
        (
            "DATA",
            Family::V4,
            v4(132, CLIENT, SERVER, &sctp(9, 0, 3, 7)),
            Uninteresting,
        ),
        (
            "INIT with a tag",
            Family::V4,
            v4(132, CLIENT, SERVER, &sctp(9, INIT, 0, 7)),
            Uninteresting,
        ),
        (
            "ABORT with the sender's own tag",
            Family::V4,
            v4(132, CLIENT, SERVER, &sctp(9, ABORT, 1, 7)),
            Uninteresting,
        ),
        (
            "GRE",
            Family::V4,
            v4(47, CLIENT, SERVER, &[0; 8]),
            Uninteresting,
        ),
    ] {
        assert_eq!(read(family, &bytes), Err(wanted), "{name}");
    }
}

#[test]
fn every_prefix_is_read_or_refused() {
    for (_, family, bytes, ..) in looked_at() {
        for length in 0..bytes.len() {
            let _ = read(family, &bytes[..length]);
            let _ = read(family, &bytes[length..]);
        }
        assert_eq!(read(family, &bytes[..19]), Err(Skipped::Unreadable));
    }
}

#[test]
fn ipv4_is_mapped() {
    let mapped = mapped([192, 0, 2, 1]);
    assert_eq!(mapped[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(mapped[12..], [192, 0, 2, 1]);
}
