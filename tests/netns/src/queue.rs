//! A program behind NFQUEUE that decides about every packet, at once or late, as a policy engine in user space does.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::ns::Namespace;

// By the numbers of `linux/netfilter/nfnetlink_queue.h`.
const NETFILTER: isize = 12;
const QUEUE: u16 = 3 << 8;
const PACKET: u16 = QUEUE;
const VERDICT: u16 = QUEUE | 1;
const CONFIG: u16 = QUEUE | 2;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_COPY: u16 = 2;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
/// Before the attributes: netlink's header, then netfilter's.
const HEADERS: usize = 16 + 4;

/// What is said of a packet, by its number in `linux/netfilter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// A queue whose packets wait.
#[derive(Debug)]
pub struct Held {
    socket: Socket,
    queue: u16,
}

impl Held {
    /// Takes a queue of a namespace.
    ///
    /// # Errors
    /// When the kernel does not give it.
    pub fn take(namespace: &Namespace, queue: u16) -> anyhow::Result<Self> {
        let socket = namespace.enter(|| open(queue))?;
        Ok(Self { socket, queue })
    }

    /// Waits until a packet waits.
    ///
    /// # Errors
    /// When none does in time.
    pub fn until_one_waits(&self, limit: Duration) -> anyhow::Result<()> {
        // SAFETY: the socket outlives its use here.
        let packets = unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        let mut fds = [PollFd::from_borrowed_fd(packets, PollFlags::IN)];
        let waiting = poll(&mut fds, Some(&Timespec::try_from(limit)?))?;
        ensure!(waiting == 1, "no packet came to queue {}", self.queue);
        Ok(())
    }

    /// Lets all of them pass, and those that come.
    ///
    /// # Errors
    /// When a thread cannot be told to end.
    pub fn accept(self) -> anyhow::Result<Reader> {
        Reader::of(self, Verdict::Accept)
    }
}

/// Reads a queue until it is dropped.
#[derive(Debug)]
pub struct Reader {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Takes a queue of a namespace, and says "drop" to every packet.
    ///
    /// # Errors
    /// When the kernel does not give it.
    pub fn start(namespace: &Namespace, queue: u16) -> anyhow::Result<Self> {
        Self::of(Held::take(namespace, queue)?, Verdict::Drop)
    }

    fn of(held: Held, verdict: Verdict) -> anyhow::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("make an eventfd")?;
        let stopped = stop.try_clone().context("copy an eventfd")?;
        let thread = std::thread::spawn(move || decide(&held, verdict, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn open(queue: u16) -> anyhow::Result<Socket> {
    const BIND: u8 = 1;
    const COPY_NOTHING: u8 = 1;
    let mut socket = Socket::new(NETFILTER).context("open a netfilter socket")?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for (attribute, value) in [
        (CONFIG_COMMAND, &[BIND, 0, 0, 0][..]),
        (CONFIG_COPY, &[0, 0, 0, 0, COPY_NOTHING]),
    ] {
        let flags = REQUEST | ACKNOWLEDGE;
        socket.send(&message(CONFIG, flags, queue, attribute, value), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let accepted = half(&answer, 4) == Some(ERROR) && answer.get(16..20) == Some(&[0, 0, 0, 0]);
        ensure!(accepted, "the kernel refuses queue {queue}: {answer:?}");
    }
    Ok(socket)
}

fn decide(held: &Held, verdict: Verdict, stop: &OwnedFd) {
    let Held { socket, queue } = held;
    // SAFETY: the socket outlives its use here.
    let packets = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    loop {
        let mut fds = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(packets, PollFlags::IN),
        ];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let [stopped, _] = &fds;
        if !stopped.revents().is_empty() {
            return;
        }
        let Ok((packet, _)) = socket.recv_from_full() else {
            continue;
        };
        if let Some(id) = packet_id(&packet) {
            let verdict = [&(verdict as u32).to_be_bytes(), id].concat();
            let said = message(VERDICT, REQUEST, *queue, VERDICT_HEADER, &verdict);
            // Who waits for the packet sees it dropped or not: that is the test's to say.
            let _ = socket.send(&said, 0);
        }
    }
}

/// The number of a queued packet, as it was sent.
fn packet_id(message: &[u8]) -> Option<&[u8]> {
    if half(message, 4)? != PACKET {
        return None;
    }
    let mut at = HEADERS;
    loop {
        let length = usize::from(half(message, at)?);
        if half(message, at + 2)? == PACKET_HEADER {
            return message.get(at + 4..at + 8);
        }
        at += length.max(4).next_multiple_of(4);
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn message(kind: u16, flags: u16, queue: u16, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + value.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let mut bytes = u32::try_from(length)
        .unwrap_or_default()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 0]);
    bytes.extend(queue.to_be_bytes());
    bytes.extend(
        u16::try_from(attribute_length)
            .unwrap_or_default()
            .to_ne_bytes(),
    );
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length, 0);
    bytes
}
