//! Conntrack's table, filled: it holds so many entries in each namespace, as the machine allows it once for all.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Status, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::ns::Namespace;

/// Longer than any test.
const SECONDS: u32 = 3600;
/// Who talks to whom: addresses of RFC 2544, for benchmarks.
const CLIENTS: u32 = 0xc612_0000;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const PORT: u16 = 9;

/// Fills the table of a namespace with conversations that must not make room for others, and says how many.
///
/// # Errors
/// When it is not full after as many as it may hold.
pub fn fill(namespace: &Namespace) -> anyhow::Result<u32> {
    namespace.enter(|| {
        let most = number("nf_conntrack_max")?;
        let mut socket = Socket::new(NETLINK_NETFILTER).context("open a socket")?;
        socket.bind_auto().context("bind it")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context("connect it")?;
        for entry in 0..most {
            // No acknowledgement is asked for: what is refused is told.
            socket
                .send(&conversation(entry), 0)
                .context("add an entry")?;
        }
        let count = number("nf_conntrack_count")?;
        ensure!(count >= most, "{count} of {most} entries");
        Ok(count)
    })
}

fn number(name: &str) -> anyhow::Result<u32> {
    let path = format!("/proc/sys/net/netfilter/{name}");
    let text = fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    text.trim().parse().context("read a number")
}

/// `IPCTNL_MSG_CT_NEW` of one that was answered for long.
fn conversation(entry: u32) -> Vec<u8> {
    let client = Ipv4Addr::from(CLIENTS | entry & 0xffff);
    let port = 1024 + u16::try_from(entry >> 16).unwrap_or(u16::MAX);
    let tuple = |from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)| {
        vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress(IpAddr::V4(from.0)),
                IPTuple::DestinationAddress(IpAddr::V4(to.0)),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(Protocol::Udp),
                ProtoTuple::SourcePort(from.1),
                ProtoTuple::DestinationPort(to.1),
            ]),
        ]
    };
    let (client, server) = ((client, port), (SERVER, PORT));
    let message = ConntrackMessage::New(vec![
        ConntrackAttribute::CtaTupleOrig(tuple(client, server)),
        ConntrackAttribute::CtaTupleReply(tuple(server, client)),
        ConntrackAttribute::CtaTimeout(SECONDS),
        ConntrackAttribute::CtaStatus(Status::Confirmed | Status::Assured | Status::SeenReply),
    ]);
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let message = NetfilterMessage::new(header, message);
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}
