//! Asks the kernel's conntrack for one entry, over ctnetlink.
//!
//! The kernel looks a tuple up in both directions and answers within the call that sends the question: nothing is
//! waited for. An entry is there once a packet has passed all hooks; what was dropped before that is not remembered.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Number, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use node_agent_engine::input::{Flow, Tracked};
use node_agent_engine::model::Protocol;

/// Our side of ctnetlink.
pub(super) struct Conntrack {
    /// Absent when the kernel has none.
    socket: Option<Socket>,
    sequence: u32,
    /// It was said that it cannot be asked.
    is_told: bool,
}

impl Conntrack {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> Self {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let mut this = Self {
            socket: None,
            sequence: 0,
            is_told: false,
        };
        match open() {
            Ok(socket) => this.socket = Some(socket),
            Err(error) => this.tell(&error),
        }
        this
    }

    /// What it remembers of a tuple, in whichever direction.
    pub(super) fn look_up(&mut self, tuple: &Flow) -> Option<Tracked> {
        let socket = self.socket.as_ref()?;
        self.sequence = self.sequence.wrapping_add(1);
        match ask(socket, self.sequence, tuple) {
            Ok(tracked) => tracked,
            Err(error) => {
                self.tell(&error);
                None
            }
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if !self.is_told {
            self.is_told = true;
            tracing::warn!(
                %error,
                "conntrack cannot be asked: backends of Services are known as far as all of them agree"
            );
        }
    }
}

/// Asks for one entry; `None` when there is none.
fn ask(socket: &Socket, sequence: u32, tuple: &Flow) -> io::Result<Option<Tracked>> {
    let Some(question) = question(sequence, tuple) else {
        return Ok(None);
    };
    socket.send(&question, 0)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        // An answer to an earlier question that was given up.
        if message.header.sequence_number != sequence {
            continue;
        }
        return match message.payload {
            NetlinkPayload::InnerMessage(message) => Ok(tracked(&message.inner)),
            NetlinkPayload::Error(error) => match error.to_io() {
                error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                error => Err(error),
            },
            _ => Ok(None),
        };
    }
}

/// `IPCTNL_MSG_CT_GET` with the tuple as the original one; `None` for what conntrack keeps under other keys.
fn question(sequence: u32, tuple: &Flow) -> Option<Vec<u8>> {
    let protocol = match tuple.protocol {
        Protocol::Tcp => Number::Tcp,
        Protocol::Udp => Number::Udp,
        Protocol::Sctp => Number::Sctp,
        Protocol::Icmp | Protocol::Icmpv6 => return None,
    };
    let family = match tuple.source {
        IpAddr::V4(_) => NetfilterProtoFamily::IPv4,
        IpAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let addresses = vec![
        IPTuple::SourceAddress(tuple.source),
        IPTuple::DestinationAddress(tuple.destination),
    ];
    let ports = vec![
        ProtoTuple::Protocol(protocol),
        ProtoTuple::SourcePort(tuple.source_port),
        ProtoTuple::DestinationPort(tuple.destination_port),
    ];
    let asked = vec![Tuple::Ip(addresses), Tuple::Proto(ports)];
    let message = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleOrig(asked)]);
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    Some(bytes)
}

/// Both directions of an entry; `None` when it says less than that.
fn tracked(message: &NetfilterMessageInner) -> Option<Tracked> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message else {
        return None;
    };
    let (mut original, mut reply) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = flow(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = flow(tuple),
            _ => {}
        }
    }
    Some(Tracked {
        original: original?,
        reply: reply?,
    })
}

fn flow(parts: &[Tuple]) -> Option<Flow> {
    let (mut source, mut destination) = (None, None);
    let (mut source_port, mut destination_port, mut protocol) = (None, None, None);
    for part in parts {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(ip) => source = Some(*ip),
                        IPTuple::DestinationAddress(ip) => destination = Some(*ip),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(ports) => {
                for port in ports {
                    match port {
                        ProtoTuple::Protocol(Number::Tcp) => protocol = Some(Protocol::Tcp),
                        ProtoTuple::Protocol(Number::Udp) => protocol = Some(Protocol::Udp),
                        ProtoTuple::Protocol(Number::Sctp) => protocol = Some(Protocol::Sctp),
                        ProtoTuple::SourcePort(number) => source_port = Some(*number),
                        ProtoTuple::DestinationPort(number) => destination_port = Some(*number),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Flow {
        source: source?,
        destination: destination?,
        source_port: source_port?,
        destination_port: destination_port?,
        protocol: protocol?,
    })
}
