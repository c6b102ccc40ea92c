//! What the kernel side remembers of processes that connect, or send to an address.

use crate::Tuple;

/// What a socket was led to: by this its packets find the [`Caller`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// Where its packets go.
    pub destination: [u8; 16],
    /// The port there, big-endian.
    pub destination_port_be: [u8; 2],
    /// Always zero.
    pub padding: [u8; 6],
}

const _: () = assert!(size_of::<CallKey>() == 32 && align_of::<CallKey>() == 8);

impl CallKey {
    /// Returns the key of a packet that a socket sends.
    #[inline(always)]
    #[must_use]
    pub fn of(cookie: u64, packet: &Tuple) -> Self {
        Self {
            cookie,
            destination: packet.destination,
            destination_port_be: packet.destination_port_be,
            padding: [0; 6],
        }
    }
}

/// A process that connected, or sent to an address, and which address that was.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Where it asked to go, before any program of its cgroups rewrote that.
    pub asked_for: [u8; 16],
    /// Its cgroup: the inode of the folder.
    pub cgroup: u64,
    /// Its number, in the first namespace of processes.
    pub process: u32,
    /// The port that it asked for, big-endian.
    pub asked_port_be: [u8; 2],
    /// Always zero.
    pub padding: [u8; 2],
    /// The name of its command, ended by a zero byte.
    pub command: [u8; 16],
}

const _: () = assert!(size_of::<Caller>() == 48 && align_of::<Caller>() == 8);
