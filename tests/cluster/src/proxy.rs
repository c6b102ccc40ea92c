//! Stands between the agent and an API server, and does to their connections what networks do.

use std::io::{self, Read as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::Context;
use netns::ns::Namespace;

/// Passes everything.
const OPEN: u64 = u64::MAX;

/// A listener on loopback that passes connections on to a server.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    /// After how many bytes from the server a connection is cut; 0 lets none through.
    cut_after: AtomicU64,
    cuts: AtomicUsize,
    /// Bytes that came from the server.
    bytes: AtomicU64,
    /// When somebody came first.
    first: OnceLock<Instant>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(server: u16) -> anyhow::Result<Self> {
        Self::listening(server, listen()?)
    }

    /// Listens on the loopback of another namespace, from where the server could not be reached.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn within(namespace: &Namespace, server: u16) -> anyhow::Result<Self> {
        Self::listening(server, namespace.enter(listen)?)
    }

    fn listening(server: u16, listener: TcpListener) -> anyhow::Result<Self> {
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server,
            cut_after: AtomicU64::new(OPEN),
            cuts: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            first: OnceLock::new(),
            open: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                theirs.pass(&client);
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts what is open, and lets nothing through.
    pub fn block(&self) {
        self.shared.cut_after.store(0, Ordering::SeqCst);
        self.cut();
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.shared.cut_after.store(OPEN, Ordering::SeqCst);
    }

    /// Cuts each new connection after so many bytes from the server, wherever that is.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
        self.cut();
    }

    /// How many connections were cut on the way.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many bytes came from the server, encrypted as they are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// When the first connection was made.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.shared.first.get().copied()
    }

    fn cut(&self) {
        let mut open = self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

pub(crate) fn listen() -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0)).context("listen")
}

impl Shared {
    fn pass(self: &Arc<Self>, client: &TcpStream) {
        self.first.get_or_init(Instant::now);
        let limit = self.cut_after.load(Ordering::SeqCst);
        let server = TcpStream::connect(("127.0.0.1", self.server));
        let (Ok(server), true) = (server, limit > 0) else {
            drop(client.shutdown(Shutdown::Both));
            return;
        };
        let copies = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(kept), Some([to_client, from_server]), Some([from_client, to_server])) =
            (copies(), copies(), copies())
        else {
            return;
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend(kept);
        drop(open);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            if copy(from_server, &to_client, limit, &shared.bytes) {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
            }
        });
        let asked = AtomicU64::new(0);
        std::thread::spawn(move || copy(from_client, &to_server, OPEN, &asked));
    }
}

/// Copies until an end or the limit, then ends both directions. True when it was the limit.
fn copy(from: TcpStream, mut to: &TcpStream, limit: u64, bytes: &AtomicU64) -> bool {
    let counted = Counted { from: &from, bytes };
    let copied = io::copy(&mut counted.take(limit), &mut to);
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
    copied.is_ok_and(|copied| copied == limit)
}

/// Counts what passes, as it passes.
struct Counted<'a> {
    from: &'a TcpStream,
    bytes: &'a AtomicU64,
}

impl io::Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        let count = u64::try_from(read).unwrap_or_default();
        self.bytes.fetch_add(count, Ordering::SeqCst);
        Ok(read)
    }
}
