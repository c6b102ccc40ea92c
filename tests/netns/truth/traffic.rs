//! Real connections between pods, so many a second, each with a time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use fastrand::Rng;
use netns::ns::{self, Namespace};
use netns::traffic::Protocol;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::model::{NAMED_PORT, OTHER_PORT, SLOTS, address};

const TICK: Duration = Duration::from_millis(10);
/// With [`TICK`], 2,000 a second.
const A_TICK: usize = 20;
/// How many others a pod talks to.
const PEERS: usize = 10;
/// How many connections of a hundred go to a port that no policy names, and how many are datagrams.
const OTHER: u8 = 15;
const DATAGRAMS: u8 = 20;
/// Ticks between two connections of the pair that is looked at.
const WATCHED: u32 = 20;
/// When a connection is looked at first, and when it is given up.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(300);

/// One try to connect two slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: Instant,
    pub(crate) pair: Pair,
}

/// Two slots, a port, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

/// A pod as its clients and servers see it.
struct Place {
    namespace: OwnedFd,
    streams: [Socket; 2],
    datagrams: [Socket; 2],
}

/// Whose sockets can be used, by slot.
struct Places(Mutex<Vec<Option<Arc<Place>>>>);

impl Places {
    fn all(&self) -> MutexGuard<'_, Vec<Option<Arc<Place>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, slot: usize) -> Option<Arc<Place>> {
        self.all().get(slot)?.clone()
    }
}

/// A thread that connects. Dropped, it ends.
pub(crate) struct Traffic {
    places: Arc<Places>,
    watched: Arc<Mutex<Option<(usize, usize)>>>,
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<Vec<Attempt>>>,
    peers: Vec<Vec<usize>>,
}

impl Traffic {
    pub(crate) fn start(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut other = |slot| loop {
            let peer = dice.usize(..SLOTS);
            if peer != slot {
                return peer;
            }
        };
        let peers: Vec<Vec<usize>> = (0..SLOTS)
            .map(|slot| (0..PEERS).map(|_| other(slot)).collect())
            .collect();
        let places = Arc::new(Places(Mutex::new((0..SLOTS).map(|_| None).collect())));
        let watched = Arc::default();
        let (stop, stopped) = channel();
        let driver = Driver {
            places: Arc::clone(&places),
            watched: Arc::clone(&watched),
            peers: peers.clone(),
            dice,
            young: VecDeque::new(),
            old: VecDeque::new(),
            made: Vec::new(),
        };
        Self {
            places,
            watched,
            stop,
            thread: std::thread::spawn(move || driver.run(&stopped)),
            peers,
        }
    }

    /// Whom a slot talks to.
    pub(crate) fn peers(&self, slot: usize) -> &[usize] {
        self.peers.get(slot).map_or(&[], Vec::as_slice)
    }

    /// A pod has come: it listens when this returns.
    pub(crate) fn add(&self, slot: usize, namespace: &Namespace) -> anyhow::Result<()> {
        let handle = namespace.handle()?;
        let place = namespace.enter(|| Place::open(handle, address(slot)))?;
        self.set(slot, Some(Arc::new(place)));
        Ok(())
    }

    /// A pod goes.
    pub(crate) fn remove(&self, slot: usize) {
        self.set(slot, None);
    }

    fn set(&self, slot: usize, place: Option<Arc<Place>>) {
        if let Some(at) = self.places.all().get_mut(slot) {
            *at = place;
        }
    }

    /// Connects a pair several times a second, whatever the dice say.
    pub(crate) fn watch(&self, pair: Option<(usize, usize)>) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = pair;
    }

    /// Ends it; gives back every attempt that was made.
    pub(crate) fn stop(self) -> anyhow::Result<Vec<Attempt>> {
        drop(self.stop);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the traffic panicked")))
    }
}

impl Place {
    fn open(namespace: OwnedFd, ip: Ipv4Addr) -> anyhow::Result<Self> {
        let listen = |kind, port| {
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(SocketAddrV4::new(ip, port)))?;
            if kind == Type::STREAM {
                socket.listen(1024)?;
            }
            anyhow::Ok(socket)
        };
        let both = |kind| anyhow::Ok([listen(kind, NAMED_PORT)?, listen(kind, OTHER_PORT)?]);
        Ok(Self {
            namespace,
            streams: both(Type::STREAM)?,
            datagrams: both(Type::DGRAM)?,
        })
    }

    /// Takes what has come: ends connections, and sends datagrams back.
    fn serve(&self) {
        for listener in &self.streams {
            while let Ok((stream, _)) = listener.accept() {
                let _ = stream.set_linger(Some(Duration::ZERO));
            }
        }
        for socket in &self.datagrams {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 16];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(b"back", &from);
            }
        }
    }
}

struct Open {
    since: Instant,
    socket: Socket,
    to: Option<Arc<Place>>,
}

struct Driver {
    places: Arc<Places>,
    watched: Arc<Mutex<Option<(usize, usize)>>>,
    peers: Vec<Vec<usize>>,
    dice: Rng,
    /// Not looked at yet.
    young: VecDeque<Open>,
    /// Looked at, and not answered then.
    old: VecDeque<Open>,
    made: Vec<Attempt>,
}

impl Driver {
    fn run(mut self, stop: &Receiver<()>) -> anyhow::Result<Vec<Attempt>> {
        let mut next = Instant::now();
        let mut ticks = 0u32;
        loop {
            for _ in 0..A_TICK {
                let pair = self.any_pair();
                self.connect(pair)?;
            }
            ticks = ticks.wrapping_add(1);
            let watched = *self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((from, to)) = watched.filter(|_| ticks.is_multiple_of(WATCHED)) {
                let (port, protocol) = (NAMED_PORT, Protocol::Tcp);
                self.connect(Pair {
                    from,
                    to,
                    port,
                    protocol,
                })?;
            }
            self.look();
            next = (next + TICK).max(Instant::now());
            let wait = next.saturating_duration_since(Instant::now());
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(self.made),
            }
        }
    }

    fn any_pair(&mut self) -> Pair {
        let from = self.dice.usize(..SLOTS);
        let peer = self.dice.usize(..PEERS);
        let to = self
            .peers
            .get(from)
            .and_then(|peers| peers.get(peer))
            .copied();
        let is_other = self.dice.u8(..100) < OTHER;
        let is_datagram = self.dice.u8(..100) < DATAGRAMS;
        Pair {
            from,
            to: to.unwrap_or_default(),
            port: if is_other { OTHER_PORT } else { NAMED_PORT },
            protocol: if is_datagram {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
        }
    }

    fn connect(&mut self, pair: Pair) -> anyhow::Result<()> {
        let Some(source) = self.places.at(pair.from) else {
            return Ok(());
        };
        ns::enter(&source.namespace).context("enter a pod's namespace")?;
        let kind = match pair.protocol {
            Protocol::Tcp => Type::STREAM,
            Protocol::Udp => Type::DGRAM,
        };
        let socket = Socket::new(Domain::IPV4, kind, None).context("open a socket")?;
        socket.set_nonblocking(true)?;
        if pair.protocol == Protocol::Tcp {
            // It ends with a RST, so that no port stays in TIME_WAIT.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        let to = SocketAddr::from((address(pair.to), pair.port));
        let at = Instant::now();
        let sent = match (pair.protocol, socket.connect(&to.into())) {
            (Protocol::Tcp, Err(error)) => error.raw_os_error() == Some(libc::EINPROGRESS),
            (Protocol::Udp, Ok(())) => socket.send(b"there").is_ok(),
            (Protocol::Tcp, Ok(())) => true,
            (Protocol::Udp, Err(_)) => false,
        };
        // A pod whose interface goes at this moment sends nothing.
        if sent {
            self.made.push(Attempt { at, pair });
            let to = self.places.at(pair.to);
            self.young.push_back(Open {
                since: at,
                socket,
                to,
            });
        }
        Ok(())
    }

    fn look(&mut self) {
        while let Some(open) = self.young.pop_front_if(|open| open.since.elapsed() >= SOON) {
            if let Some(to) = &open.to {
                to.serve();
            }
            let is_answered = open.socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
                && open.socket.peer_addr().is_ok();
            if !is_answered {
                self.old.push_back(open);
            }
        }
        while let Some(open) = self.old.pop_front_if(|open| open.since.elapsed() >= LATE) {
            if let Some(to) = &open.to {
                to.serve();
            }
        }
    }
}
