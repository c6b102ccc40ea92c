//! Two rtnetlink sockets: one that listens, one that asks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::tc::{TcAttribute, TcMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::programs::Error;

/// Links, neighbours, addresses and routes of both families (`RTNLGRP_*`).
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];
/// Room for a burst of notifications, bytes; what does not fit is read anew.
const RECEIVE_BYTES: usize = 1 << 20;

/// Our side of rtnetlink.
pub(super) struct Netlink {
    listening: Socket,
    asking: Socket,
    sequence: u32,
}

/// What the listening socket has.
pub(super) enum Heard {
    /// One datagram's messages.
    Messages(Vec<RouteNetlinkMessage>),
    /// Nothing more for now.
    Nothing,
    /// Some were lost: all must be read anew.
    Overrun,
}

impl Netlink {
    /// Opens the sockets in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, Error> {
        let failed = |what| move |source| Error::Netlink { what, source };
        let open = || -> io::Result<Self> {
            let mut listening = Socket::new(NETLINK_ROUTE)?;
            listening.bind_auto()?;
            listening.set_non_blocking(true)?;
            listening.set_rx_buf_sz(RECEIVE_BYTES)?;
            let mut asking = Socket::new(NETLINK_ROUTE)?;
            asking.bind_auto()?;
            asking.connect(&SocketAddr::new(0, 0))?;
            // What is asked of another namespace is heeded with this only.
            asking.set_netlink_get_strict_chk(true)?;
            Ok(Self {
                listening,
                asking,
                sequence: 0,
            })
        };
        let this = open().map_err(failed("open a socket"))?;
        for group in GROUPS {
            let joined = this.listening.add_membership(group);
            joined.map_err(failed("listen to links and routes"))?;
        }
        Ok(this)
    }

    /// The socket that becomes readable when something changed.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.listening.as_raw_fd()
    }

    /// Reads one datagram.
    pub(super) fn hear(&self) -> Heard {
        match self.listening.recv_from_full() {
            Ok((bytes, _)) => {
                let mut messages = Vec::new();
                each(&bytes, |_, payload| {
                    if let NetlinkPayload::InnerMessage(message) = payload {
                        messages.push(message);
                    }
                });
                Heard::Messages(messages)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Heard::Overrun,
            Err(_) => Heard::Nothing,
        }
    }

    /// Asks for all links, addresses, routes and neighbours.
    pub(super) fn list(&mut self) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut messages = Vec::new();
        let requests = [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetRoute(routes(AddressFamily::Inet)),
            RouteNetlinkMessage::GetRoute(routes(AddressFamily::Inet6)),
            RouteNetlinkMessage::GetNeighbour(neighbours(AddressFamily::Bridge)),
            RouteNetlinkMessage::GetNeighbour(neighbours(AddressFamily::Inet)),
            RouteNetlinkMessage::GetNeighbour(neighbours(AddressFamily::Inet6)),
        ];
        for request in requests {
            let answers = self.dump(request).map_err(|source| Error::Netlink {
                what: "list links, addresses, routes and neighbours",
                source,
            })?;
            messages.extend(answers);
        }
        Ok(messages)
    }

    /// Asks for all objects of a kind.
    pub(super) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.ask(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Asks for one object.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.ask(message, NLM_F_REQUEST)
    }

    /// Asks for one interface.
    pub(super) fn link(&mut self, index: u32) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.get(RouteNetlinkMessage::GetLink(message))
    }

    /// How many packets an interface has received.
    pub(super) fn received(&mut self, index: u32) -> Option<u64> {
        let answers = self.link(index).ok()?;
        let attributes = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.attributes),
            _ => None,
        })?;
        attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
                _ => None,
            })
    }

    /// The interfaces with a qdisc that classifiers hang on; `None` when that cannot be read.
    pub(super) fn with_qdisc(&mut self) -> Option<BTreeSet<u32>> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let answers = self.dump(request).ok()?;
        let with_qdisc = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
                let is_hook = qdisc.attributes.iter().any(|attribute| {
                    matches!(attribute, TcAttribute::Kind(kind) if kind == "clsact" || kind == "ingress")
                });
                is_hook.then_some(qdisc.header.index.cast_unsigned())
            }
            _ => None,
        });
        Some(with_qdisc.collect())
    }

    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.asking.send(&bytes, 0)?;
        let (mut answers, mut ended, mut failure) = (Vec::new(), false, None);
        while !ended {
            let (bytes, _) = self.asking.recv_from_full()?;
            each(&bytes, |header, payload| {
                if header.sequence_number != self.sequence {
                    return;
                }
                match payload {
                    NetlinkPayload::InnerMessage(answer) => {
                        answers.push(answer);
                        ended |= flags & NLM_F_DUMP != NLM_F_DUMP;
                    }
                    NetlinkPayload::Done(_) => ended = true,
                    NetlinkPayload::Error(error) => {
                        ended = true;
                        failure = error.code.map(|_| error.to_io());
                    }
                    _ => {}
                }
            });
            ended |= bytes.is_empty();
        }
        failure.map_or(Ok(answers), Err)
    }
}

fn routes(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}

fn neighbours(family: AddressFamily) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message
}

/// Calls `f` with each message of a datagram; stops at the first that cannot be read as far as its length.
fn each(bytes: &[u8], mut f: impl FnMut(NetlinkHeader, NetlinkPayload<RouteNetlinkMessage>)) {
    let mut rest = bytes;
    while let Some(length) = rest.first_chunk().map(|l| u32::from_ne_bytes(*l) as usize) {
        let (16.., Some(message)) = (length, rest.get(..length)) else {
            return;
        };
        if let Ok(message) = NetlinkMessage::deserialize(message) {
            f(message.header, message.payload);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
