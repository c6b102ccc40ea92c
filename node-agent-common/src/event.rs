//! What the kernel side says.

use crate::{Attempt, SentTo, Tuple};

/// What an [`Event`] tells, and what a [`crate::Conversation`] counts. A new attempt is none of it: it is counted
/// by its end, which is one of these or the sweep.
pub mod kind {
    /// The peer's stack replied: SYN-ACK with the right acknowledgement, or UDP back.
    pub const ANSWERED: u8 = 1;
    /// RST or ICMP error that came in from a pod's interface here: the peer itself refused.
    pub const REFUSED: u8 = 2;
    /// RST that went out to the source's interface without coming in from a pod here.
    pub const RESET: u8 = 3;
    /// ICMP error that went out to the source's interface.
    pub const UNREACHABLE: u8 = 4;
    /// The kernel freed a packet of the attempt with a reason.
    pub const DROPPED: u8 = 5;
    /// The client's socket went from SYN_SENT to ESTABLISHED while no hook had seen an answer.
    pub const ESTABLISHED: u8 = 6;
    /// A new attempt took the place of one with the same ports before that had an outcome;
    /// `attempt` is the old one's.
    pub const SUPERSEDED: u8 = 7;
    /// A program of its cgroups let a process not connect or send: no packet was made. The tuple goes to where the
    /// process asked to go, `attempt.led_to` to what another program had made of it. Its source is where the
    /// socket is bound, else [`crate::Tuple::unbound`].
    pub const DENIED: u8 = 8;
}

/// One entry of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Monotonic time, nanoseconds.
    pub time_ns: u64,
    /// Running total of this conversation and kind, this one included. 0: this one is not in it.
    pub total: u64,
    /// The attempt's tuple: its source opened the connection.
    pub tuple: Tuple,
    /// The attempt as it stood when this was said.
    pub attempt: Attempt,
    /// Where it was seen; 0 for DROPPED without a device and for ESTABLISHED.
    pub ifindex: u32,
    /// See [`kind`].
    pub kind: u8,
    /// REFUSED by ICMP: its type. Otherwise 0.
    pub icmp_type: u8,
    /// REFUSED by ICMP: its code.
    pub icmp_code: u8,
    /// DENIED: what the call failed with (`errno`). Otherwise 0.
    pub errno: u8,
    /// Where its source had sent it, when it was seen behind address translation alone; else zero.
    pub sent_to: SentTo,
    /// Always zero.
    pub padding: [u8; 4],
}

const _: () = assert!(size_of::<Event>() == 192 && align_of::<Event>() == 8);

/// Kernel text whose drops without a reason count, and as what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocationRange {
    /// First address.
    pub start: u64,
    /// First address after it; 0 in an unused slot.
    pub end: u64,
    /// See [`crate::maps::drop_class`].
    pub class: u32,
    /// Always zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<LocationRange>() == 24 && align_of::<LocationRange>() == 8);
