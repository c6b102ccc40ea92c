//! Real servers and clients, and what a client saw.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::ns::Namespace;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As Kubernetes and the records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// What waits at an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Server {
    /// Accepts connections; sends datagrams back.
    Answering,
    /// Takes datagrams and says nothing (UDP only).
    Silent,
    /// Nothing: the port is closed.
    Closed,
    /// Nothing: nobody has the address.
    Dead,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Saw {
    /// A connection, or a datagram back.
    Answer,
    /// "Connection refused".
    Refused,
    /// "No route to host" or the like.
    Unreachable,
    /// Nothing within its time.
    Nothing,
}

/// Sockets that are served until this is dropped.
#[derive(Debug)]
pub struct Servers {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    // Bound and never read: what arrives is taken and nothing comes back.
    silent: Vec<Socket>,
}

/// A socket to be served: where it lives, what it listens on, how it behaves.
#[derive(Debug)]
pub struct Listen<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// Address and port.
    pub at: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How it behaves.
    pub server: Server,
}

impl Servers {
    /// Opens the sockets and serves them on one thread. Every socket listens when this returns.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start(wanted: &[Listen<'_>]) -> anyhow::Result<Self> {
        let mut answering = Vec::new();
        let mut silent = Vec::new();
        for listen in wanted {
            let open = || listen.namespace.enter(|| bound(listen));
            match listen.server {
                Server::Answering => answering.push((listen.protocol, open()?)),
                Server::Silent => silent.push(open()?),
                Server::Closed | Server::Dead => {}
            }
        }
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("make an eventfd")?;
        let stopped = stop.try_clone().context("copy an eventfd")?;
        let thread = std::thread::spawn(move || serve(&answering, &stopped));
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            silent,
        })
    }

    /// How many sockets take and never answer.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.silent.len()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = rustix::io::write(&stop, &1u64.to_ne_bytes());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn bound(listen: &Listen<'_>) -> anyhow::Result<Socket> {
    let Listen { at, protocol, .. } = listen;
    let socket = open(*protocol, at.ip())?;
    let bind = || -> std::io::Result<()> {
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(*at))?;
        if *protocol == Protocol::Tcp {
            socket.listen(64)?;
        }
        socket.set_nonblocking(true)
    };
    bind().with_context(|| format!("listen on {at}/{}", protocol.name()))?;
    Ok(socket)
}

fn open(protocol: Protocol, family: IpAddr) -> anyhow::Result<Socket> {
    let domain = match family {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    Socket::new(domain, kind, None).context("open a socket")
}

/// Answers on every socket until `stop` is readable.
fn serve(sockets: &[(Protocol, Socket)], stop: &OwnedFd) {
    loop {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            sockets
                .iter()
                .map(|(_, socket)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)),
        );
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return;
        }
        for ((protocol, socket), ready) in sockets.iter().zip(ready) {
            if ready {
                answer(*protocol, socket);
            }
        }
    }
}

/// Answers one client; a client that is gone by then is no matter.
fn answer(protocol: Protocol, socket: &Socket) {
    match protocol {
        Protocol::Tcp => {
            if let Ok((connection, _)) = socket.accept() {
                drop(connection.shutdown(Shutdown::Both));
            }
        }
        Protocol::Udp => {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
            if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                drop(socket.send_to(b"answer", &client));
            }
        }
    }
}

/// A client in a namespace.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    to: SocketAddr,
    protocol: Protocol,
}

impl Client {
    /// Opens a socket in the namespace; nothing is sent yet.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open(namespace: &Namespace, to: SocketAddr, protocol: Protocol) -> anyhow::Result<Self> {
        let socket = namespace.enter(|| open(protocol, to.ip()))?;
        Ok(Self {
            socket,
            to,
            protocol,
        })
    }

    /// Its own port will be this one.
    ///
    /// # Errors
    /// When it is taken.
    pub fn from_port(self, port: u16) -> anyhow::Result<Self> {
        let any: IpAddr = match self.to.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bound = self.socket.bind(&SocketAddr::new(any, port).into());
        bound.with_context(|| format!("bind to port {port}"))?;
        Ok(self)
    }

    /// Sends one datagram and waits for nothing (UDP only).
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(&self) -> anyhow::Result<()> {
        self.socket
            .send_to(b"question", &SockAddr::from(self.to))
            .map(drop)
            .with_context(|| format!("send to {}", self.to))
    }

    /// Connects, or sends a datagram and waits for one back, for at most `limit`.
    ///
    /// # Errors
    /// When the client sees something that [`Saw`] has no word for.
    pub fn try_it(&self, limit: Duration) -> anyhow::Result<Saw> {
        let to = SockAddr::from(self.to);
        let result = match self.protocol {
            Protocol::Tcp => self.socket.connect_timeout(&to, limit),
            Protocol::Udp => self.exchange(&to, limit),
        };
        match result {
            Ok(()) => Ok(Saw::Answer),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Ok(Saw::Refused),
                ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::PermissionDenied => Ok(Saw::Unreachable),
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Saw::Nothing),
                _ => Err(anyhow!(error))
                    .with_context(|| format!("{} to {}", self.protocol.name(), self.to)),
            },
        }
    }

    fn exchange(&self, to: &SockAddr, limit: Duration) -> std::io::Result<()> {
        self.socket.set_read_timeout(Some(limit))?;
        self.socket.connect(to)?;
        self.socket.send(b"question")?;
        (&self.socket).read(&mut [0; 64]).map(drop)
    }
}

/// Opens, connects and closes in one go.
///
/// # Errors
/// As [`Client::open`] and [`Client::try_it`].
pub fn connect(
    namespace: &Namespace,
    to: SocketAddr,
    protocol: Protocol,
    limit: Duration,
) -> anyhow::Result<Saw> {
    Client::open(namespace, to, protocol)?.try_it(limit)
}
