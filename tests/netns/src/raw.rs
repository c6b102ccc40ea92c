//! Sockets below the transport: packets and frames that no socket of the kernel would send.

use std::io::{ErrorKind, Read};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::frame::Ends;
use crate::node::{Node, Pod};
use crate::ns::Namespace;

/// SCTP's protocol number.
pub const SCTP: u8 = 132;
/// Largest frame that is read.
const FRAME: usize = 2048;

/// A socket for one IP protocol: the kernel adds the IP header, and answers nothing in its place.
#[derive(Debug)]
pub struct Raw(Socket);

impl Raw {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn open(namespace: &Namespace, family: IpAddr, protocol: u8) -> anyhow::Result<Self> {
        let domain = match family {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let protocol = Some(Protocol::from(i32::from(protocol)));
        let open = || Socket::new(domain, Type::RAW, protocol).context("open a raw socket");
        namespace.enter(open).map(Self)
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(&self, to: IpAddr, payload: &[u8]) -> anyhow::Result<()> {
        let to = SockAddr::from(SocketAddr::new(to, 0));
        let sent = self.0.send_to(payload, &to);
        sent.map(drop).context("send a packet")
    }

    /// The payload of the next packet for which `wanted` holds.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn receive(
        &self,
        limit: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Vec<u8>> {
        let end = Instant::now() + limit;
        while let Some(packet) = next(&self.0, end)? {
            // An IPv4 header comes along; an IPv6 header does not.
            let header = match packet.first() {
                Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
                _ => 0,
            };
            let payload = packet.get(header..).unwrap_or_default();
            if wanted(payload) {
                return Ok(payload.to_vec());
            }
        }
        bail!("no such packet came within {limit:?}")
    }
}

/// An interface, frame by frame.
#[derive(Debug)]
pub struct Wire(Socket);

impl Wire {
    /// Opens an interface of a namespace: whatever it receives and sends from now on is heard.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn open(namespace: &Namespace, interface: &str) -> anyhow::Result<Self> {
        let index = namespace.run(&["cat", &format!("/sys/class/net/{interface}/ifindex")])?;
        let index: i32 = index.trim().parse().context("read an interface's index")?;
        namespace.enter(|| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            socket.set_recv_buffer_size(1 << 23)?;
            socket.bind(&link_address(index))?;
            Ok(Self(socket))
        })
    }

    /// Sends one frame, beginning with its Ethernet header.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(&self, frame: &[u8]) -> std::io::Result<()> {
        self.0.send(frame).map(drop)
    }

    /// Frames that `wanted` holds for, until there are `count` of them or the time is over.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(
        &self,
        count: usize,
        limit: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let end = Instant::now() + limit;
        let mut frames = Vec::new();
        while frames.len() < count
            && let Some(frame) = next(&self.0, end)?
        {
            if wanted(&frame) {
                frames.push(frame);
            }
        }
        Ok(frames)
    }
}

fn next(socket: &Socket, end: Instant) -> anyhow::Result<Option<Vec<u8>>> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(None);
    }
    socket.set_read_timeout(Some(left))?;
    let mut bytes = vec![0; FRAME];
    match (&*socket).read(&mut bytes) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error).context("read a frame"),
    }
}

/// The hardware address of an interface.
///
/// # Errors
/// When there is no such interface.
pub fn hardware_address(namespace: &Namespace, interface: &str) -> anyhow::Result<[u8; 6]> {
    let text = namespace.run(&["cat", &format!("/sys/class/net/{interface}/address")])?;
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .context("read a hardware address")?;
    <[u8; 6]>::try_from(bytes.as_slice()).context("a hardware address has six bytes")
}

/// The hardware addresses of what a pod hands to its node.
///
/// # Errors
/// When an interface is gone.
pub fn ends(node: &Node, pod: &Pod) -> anyhow::Result<Ends> {
    Ok(Ends {
        to: hardware_address(&node.namespace, &pod.link)?,
        from: hardware_address(&pod.namespace, "eth0")?,
    })
}

/// `struct sockaddr_ll` for every protocol on one interface.
fn link_address(index: i32) -> SockAddr {
    #[repr(C)]
    struct LinkAddress {
        family: u16,
        protocol_be: u16,
        index: i32,
        rest: [u8; 12],
    }
    const AF_PACKET: u16 = 17;
    const ALL: u16 = 3;
    let address = LinkAddress {
        family: AF_PACKET,
        protocol_be: ALL.to_be(),
        index,
        rest: [0; 12],
    };
    let mut storage = MaybeUninit::<SockAddrStorage>::zeroed();
    // SAFETY: the storage is larger than the address and aligned for it, and zero where the address does not reach.
    unsafe {
        storage.as_mut_ptr().cast::<LinkAddress>().write(address);
        let length = u32::try_from(size_of::<LinkAddress>()).unwrap_or_default();
        SockAddr::new(storage.assume_init(), length)
    }
}

/// An SCTP packet with one chunk, whose value begins with `word`: the initiate tag of an INIT or INIT-ACK.
///
/// Its checksum is wrong, which nobody on the way looks at.
#[must_use]
pub fn sctp(ports: [u16; 2], tag: u32, chunk: u8, word: u32) -> Vec<u8> {
    let [source, destination] = ports;
    let mut packet = source.to_be_bytes().to_vec();
    packet.extend(destination.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([chunk, 0, 0, 20]);
    packet.extend(word.to_be_bytes());
    packet.extend([0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 1]);
    packet
}
