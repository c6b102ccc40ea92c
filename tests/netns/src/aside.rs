//! Frames that open no connection one could judge: to groups and to everybody, neighbour discovery, DHCP.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::frame::{ARP, Ends, SYN, V4, V6, icmp, ipv4, ipv6, tcp, udp};

const POD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 11);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 12);
const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x12);
/// IP protocols, and types of ICMPv6.
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;
const OSPF: u8 = 89;

/// A group of frames, each with its name; `from` is nobody's hardware address, and so is that of their receiver.
pub type Frames = Vec<(&'static str, Vec<u8>)>;

/// To a group or to everybody.
#[must_use]
pub fn to_several(from: [u8; 6]) -> Frames {
    let everybody = Ends { to: [255; 6], from };
    let group = |last: [u8; 3]| Ends {
        to: [1, 0, 0x5e, last[0], last[1], last[2]],
        from,
    };
    let group_v6 = |last: u8| Ends {
        to: [0x33, 0x33, 0, 0, 0, last],
        from,
    };
    let alone = Ends { to: NOBODY, from };
    let v6_group = |last| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, last);
    let v4 = |ends: Ends, protocol, to: [u8; 4], payload: &[u8]| {
        ends.frame(&V4, &ipv4(protocol, POD, to.into(), payload))
    };
    let datagram = udp(9, 9999);
    let syn = tcp([40_000, 80], 7, SYN);
    vec![
        ("limited broadcast", v4(everybody, UDP, [255; 4], &datagram)),
        (
            "a subnet's broadcast",
            v4(everybody, UDP, [10, 42, 255, 255], &datagram),
        ),
        (
            "a SYN to everybody",
            v4(everybody, TCP, [10, 42, 255, 255], &syn),
        ),
        (
            "mDNS",
            v4(group([0, 0, 251]), UDP, [224, 0, 0, 251], &udp(5353, 5353)),
        ),
        (
            "a SYN to a group",
            v4(group([0, 0, 1]), TCP, [224, 0, 0, 1], &syn),
        ),
        (
            "IGMP",
            v4(
                group([0, 0, 22]),
                IGMP,
                [224, 0, 0, 22],
                &[0x22, 0, 0, 0, 0, 0, 0, 0],
            ),
        ),
        (
            "OSPF",
            v4(group([0, 0, 5]), OSPF, [224, 0, 0, 5], &[2, 1, 0, 44]),
        ),
        (
            "a group behind a single hardware address",
            v4(alone, UDP, [239, 1, 2, 3], &datagram),
        ),
        (
            "mDNS over IPv6",
            group_v6(0xfb).frame(&V6, &ipv6(UDP, POD_V6, v6_group(0xfb), &udp(5353, 5353))),
        ),
        (
            "MLD",
            group_v6(0x16).frame(
                &V6,
                &ipv6(
                    0,
                    POD_V6,
                    v6_group(0x16),
                    &[&[ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &icmp(143, 0, &[])].concat(),
                ),
            ),
        ),
        (
            "LLDP",
            Ends {
                to: [1, 0x80, 0xc2, 0, 0, 0xe],
                from,
            }
            .frame(&[0x88, 0xcc], &[2; 46]),
        ),
    ]
}

/// Who has an address, and what they say.
#[must_use]
pub fn neighbours(from: [u8; 6]) -> Frames {
    let everybody = Ends { to: [255; 6], from };
    let alone = Ends { to: NOBODY, from };
    let asked = Ends {
        to: [0x33, 0x33, 0xff, 0, 0, 0x12],
        from,
    };
    let arp = |operation: u8, from_ip: Ipv4Addr, to_ip: Ipv4Addr| {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        [
            &head[..],
            &from,
            &from_ip.octets(),
            &[0; 6],
            &to_ip.octets(),
        ]
        .concat()
    };
    let nd = |ends: Ends, kind, to: Ipv6Addr| {
        ends.frame(
            &V6,
            &ipv6(ICMPV6, POD_V6, to, &icmp(kind, 0, &OTHER_V6.octets())),
        )
    };
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x12);
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    vec![
        ("ARP request", everybody.frame(&ARP, &arp(1, POD, OTHER))),
        ("ARP request to one", alone.frame(&ARP, &arp(1, POD, OTHER))),
        ("ARP reply", alone.frame(&ARP, &arp(2, POD, OTHER))),
        ("gratuitous ARP", everybody.frame(&ARP, &arp(1, POD, POD))),
        ("router solicitation", nd(asked, 133, routers)),
        ("router advertisement to one", nd(alone, 134, OTHER_V6)),
        ("neighbour solicitation", nd(asked, 135, solicited)),
        ("neighbour solicitation to one", nd(alone, 135, OTHER_V6)),
        ("neighbour advertisement to one", nd(alone, 136, OTHER_V6)),
        ("redirect", nd(alone, 137, OTHER_V6)),
        (
            "search for duplicates",
            asked.frame(
                &V6,
                &ipv6(
                    ICMPV6,
                    Ipv6Addr::UNSPECIFIED,
                    solicited,
                    &icmp(135, 0, &POD_V6.octets()),
                ),
            ),
        ),
    ]
}

/// Who gets which address.
#[must_use]
pub fn dhcp(from: [u8; 6]) -> Frames {
    let everybody = Ends { to: [255; 6], from };
    let alone = Ends { to: NOBODY, from };
    let servers = Ends {
        to: [0x33, 0x33, 0, 1, 0, 2],
        from,
    };
    let (client, server) = (udp(68, 67), udp(67, 68));
    let (client_v6, server_v6) = (udp(546, 547), udp(547, 546));
    let agents = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let any = Ipv4Addr::UNSPECIFIED;
    vec![
        (
            "DHCP discover",
            everybody.frame(&V4, &ipv4(UDP, any, Ipv4Addr::BROADCAST, &client)),
        ),
        (
            "DHCP offer to one",
            alone.frame(&V4, &ipv4(UDP, OTHER, POD, &server)),
        ),
        (
            "DHCP renewal to one",
            alone.frame(&V4, &ipv4(UDP, POD, OTHER, &client)),
        ),
        (
            "DHCP between relay and server",
            alone.frame(&V4, &ipv4(UDP, POD, OTHER, &udp(67, 67))),
        ),
        (
            "DHCPv6 solicit",
            servers.frame(&V6, &ipv6(UDP, POD_V6, agents, &client_v6)),
        ),
        (
            "DHCPv6 advertise",
            alone.frame(&V6, &ipv6(UDP, OTHER_V6, POD_V6, &server_v6)),
        ),
        (
            "DHCPv6 renewal to one",
            alone.frame(&V6, &ipv6(UDP, POD_V6, OTHER_V6, &client_v6)),
        ),
    ]
}

/// To one, and none of these: not counted among them.
#[must_use]
pub fn neither(from: [u8; 6]) -> Frames {
    let alone = Ends { to: NOBODY, from };
    vec![
        (
            "an echo",
            alone.frame(&V4, &ipv4(ICMP, POD, OTHER, &icmp(8, 0, &[]))),
        ),
        (
            "an echo over IPv6",
            alone.frame(&V6, &ipv6(ICMPV6, POD_V6, OTHER_V6, &icmp(128, 0, &[]))),
        ),
        (
            "a tunnel",
            alone.frame(&V4, &ipv4(GRE, POD, OTHER, &[0; 32])),
        ),
        ("another protocol", alone.frame(&[0x88, 0xb5], &[0; 46])),
    ]
}

/// Nobody's hardware address: whoever receives it leaves it alone.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 8];
