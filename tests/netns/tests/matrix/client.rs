//! The clients of the cells, and what they see.

use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use netns::child;
use netns::frame::{HOPS, Packet, SYN, TCP, tcp};
use netns::ns::Namespace;
use netns::raw::{SCTP, Wire, sctp};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::cell::{ClientWay, Saw, Transport};

/// A client gives up after this time: a kernel repeats a SYN after one second.
const LIMIT: Duration = Duration::from_millis(2_500);
/// Longer than the way that a cell makes too narrow.
const LONG: usize = 1_400;
/// The client's port where no kernel gives it one.
const RAW_PORT: u16 = 40_000;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;

/// The word by which this program only sends a datagram.
const SENDS: &str = "--sends-to";

/// Sends a datagram without a connection, when this program was started for that.
pub(crate) fn sent() -> Option<std::io::Result<()>> {
    let mut words = std::env::args().skip(1).skip_while(|word| word != SENDS);
    let to: SocketAddr = words.nth(1)?.parse().ok()?;
    let send = || {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(any(to.ip()), 0))?;
        socket.send_to(b"question", to).map(drop)
    };
    Some(send())
}

/// How to reach what.
pub(crate) struct Plan<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) transport: Transport,
    pub(crate) way: ClientWay,
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: SocketAddr,
}

/// A client that has sent nothing yet.
pub(crate) enum Client {
    Socket(Socket, Transport, ClientWay, SocketAddr),
    Frame(Wire, Vec<u8>),
    Child(Command),
}

impl Client {
    pub(crate) fn open(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let to = plan.to;
        let (v4, kind, protocol) = (to.is_ipv4(), plan.transport, plan.way);
        let open = || {
            let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
            let (kind, number) = match kind {
                Transport::Tcp => (Type::STREAM, None),
                Transport::Udp => (Type::DGRAM, None),
                Transport::Sctp => (Type::RAW, Some(Protocol::from(i32::from(SCTP)))),
                Transport::Icmp if v4 => (Type::RAW, Some(Protocol::ICMPV4)),
                Transport::Icmp => (Type::RAW, Some(Protocol::ICMPV6)),
            };
            let socket = Socket::new(domain, kind, number)?;
            if protocol == ClientWay::HopsOne && v4 {
                socket.set_ttl_v4(1)?;
            } else if protocol == ClientWay::HopsOne {
                socket.set_unicast_hops_v6(1)?;
            }
            if let Some(from) = plan.from {
                socket.bind(&SocketAddr::new(from, 0).into())?;
            }
            Ok(socket)
        };
        Ok(Self::Socket(
            plan.namespace.enter(open)?,
            plan.transport,
            plan.way,
            to,
        ))
    }

    /// A SYN whose checksum is wrong.
    pub(crate) fn damaged(
        wire: Wire,
        ends: netns::frame::Ends,
        from: IpAddr,
        to: SocketAddr,
    ) -> anyhow::Result<Self> {
        let transport = tcp([RAW_PORT, to.port()], 7, SYN);
        let mut frame = ends.packet(&Packet {
            from,
            to: to.ip(),
            hops: HOPS,
            protocol: TCP,
            transport: &transport,
        })?;
        // In the middle of the segment's checksum.
        let at = frame.len() - 4;
        let byte = frame.get_mut(at).context("a segment has a checksum")?;
        *byte ^= 0x11;
        Ok(Self::Frame(wire, frame))
    }

    /// A shell in a cgroup, or this program again.
    pub(crate) fn in_cgroup(plan: &Plan<'_>, cgroup: &Path) -> anyhow::Result<Self> {
        let kind = match plan.transport {
            Transport::Udp => "udp",
            Transport::Tcp | Transport::Sctp | Transport::Icmp => "tcp",
        };
        let (address, port) = (plan.to.ip(), plan.to.port());
        // `ip netns exec` hides the cgroups.
        let exec = plan.namespace.exec(false).join(" ");
        let runs = if plan.way == ClientWay::SendsInCgroup {
            let this = std::env::current_exe().context("find this program's own file")?;
            format!("{} {SENDS} {}", this.display(), plan.to)
        } else {
            format!("bash -c 'exec 3<>/dev/{kind}/{address}/{port} && echo question >&3'")
        };
        let procs = cgroup.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec {exec} {runs}", procs.display());
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        Ok(Self::Child(command))
    }

    /// Connects, or asks and waits for an answer.
    pub(crate) fn try_it(self) -> anyhow::Result<Saw> {
        match self {
            Self::Socket(socket, transport, way, to) => {
                seen(by_socket(&socket, transport, way, to))
            }
            Self::Frame(wire, frame) => {
                wire.send(&frame)?;
                Ok(Saw::Nothing)
            }
            Self::Child(mut command) => {
                let ended = child::run(&mut command, LIMIT)?;
                let says = |words| ended.stderr.contains(words);
                Ok(if says("Operation not permitted") {
                    Saw::Forbidden
                } else if says("Connection refused") {
                    Saw::Refused
                } else {
                    Saw::Answer
                })
            }
        }
    }
}

fn seen(result: std::io::Result<()>) -> anyhow::Result<Saw> {
    let Err(error) = result else {
        return Ok(Saw::Answer);
    };
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => return Ok(Saw::TooLong),
        Some(libc::EPERM) => return Ok(Saw::Forbidden),
        _ => {}
    }
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Saw::Refused),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Ok(Saw::Unreachable),
        // What ICMPv6 "prohibited" comes to.
        ErrorKind::PermissionDenied => Ok(Saw::Unreachable),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Saw::Nothing),
        _ => Err(anyhow!(error)).context("try it"),
    }
}

fn by_socket(
    mut socket: &Socket,
    transport: Transport,
    way: ClientWay,
    to: SocketAddr,
) -> std::io::Result<()> {
    if transport == Transport::Tcp {
        return socket.connect_timeout(&to.into(), LIMIT);
    }
    let question = match transport {
        Transport::Sctp => sctp([RAW_PORT, to.port()], 0, INIT, 7),
        Transport::Icmp if to.is_ipv4() => vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0],
        Transport::Icmp => vec![128, 0, 0, 0, 0, 0, 0, 0],
        Transport::Udp if way == ClientWay::Long => vec![0; LONG],
        Transport::Udp | Transport::Tcp => b"question".to_vec(),
    };
    // Raw sockets have no ports.
    let port = if transport == Transport::Udp {
        to.port()
    } else {
        0
    };
    socket.connect(&SockAddr::from(SocketAddr::new(to.ip(), port)))?;
    let end = Instant::now() + LIMIT;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send(&question)?;
    loop {
        let mut bytes = [0; 128];
        let length = socket.read(&mut bytes)?;
        let answer = payload(bytes.get(..length).unwrap_or_default());
        match (transport, answer.first(), answer.get(12)) {
            (Transport::Udp | Transport::Tcp, ..) => return Ok(()),
            (Transport::Icmp, Some(0 | 129), _) => return Ok(()),
            (Transport::Sctp, _, Some(&INIT_ACK)) => return Ok(()),
            (Transport::Sctp, _, Some(&ABORT)) => return Err(ErrorKind::ConnectionRefused.into()),
            _ if Instant::now() > end => return Err(ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
}

/// Raw sockets give an IPv4 header along, and none of IPv6.
fn payload(packet: &[u8]) -> &[u8] {
    let header = match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 0,
    };
    packet.get(header..).unwrap_or_default()
}

/// Answers SCTP at one address until the process ends, or its namespace does: with INIT-ACK, or with ABORT.
pub(crate) fn serve_sctp(namespace: &Namespace, at: IpAddr, opens: bool) -> anyhow::Result<()> {
    let open = || {
        let domain = if at.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(SCTP))))?;
        socket.bind(&SockAddr::from(SocketAddr::new(at, 0)))?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(socket)
    };
    let socket = namespace.enter(open)?;
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 256];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let bytes: Vec<u8> = buffer
                .iter()
                .take(length)
                // SAFETY: so many bytes were received.
                .map(|byte| unsafe { byte.assume_init() })
                .collect();
            let packet = payload(&bytes);
            let [from_high, from_low, to_high, to_low] =
                packet.first_chunk().copied().unwrap_or([0; 4]);
            let ports = [
                u16::from_be_bytes([to_high, to_low]),
                u16::from_be_bytes([from_high, from_low]),
            ];
            if packet.get(12) == Some(&INIT) {
                let chunk = if opens { INIT_ACK } else { ABORT };
                let _ = socket.send_to(&sctp(ports, 7, chunk, 9), &client);
            }
        }
    });
    Ok(())
}

/// An address that stands for all of a family.
pub(crate) fn any(family_of: IpAddr) -> IpAddr {
    match family_of {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
