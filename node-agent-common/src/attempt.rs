//! What the kernel side remembers of attempts and conversations.

use crate::repeats::{MOST_REPEATS, may_repeat};
use crate::{FAMILY_V4, Tuple, mapped};

/// [`Attempt::answered`] of one whose peer's answer left its own interface.
pub const ANSWERED: u8 = 1;
/// [`Attempt::answered`] of one that was refused after its deadline.
pub const REFUSED_LATE: u8 = 2;
/// [`Attempt::answered`] of one whose client heard an answer after its deadline that nobody saw leave its peer.
pub const HEARD_LATE: u8 = 3;
/// [`Attempt::answered`] of one whose peer's answer left its own interface and came to its client, after its deadline.
pub const ANSWERED_AND_HEARD_LATE: u8 = 4;

/// Bit of [`Attempt::tracked`]: conntrack knew the dropped packet, and that it went in the direction of its conversation's
/// first.
pub const TRACKED: u8 = 1;
/// Bit of [`Attempt::tracked`]: a datagram that goes on where others were let through.
pub const CONTINUES: u8 = 2;

/// One try to open a connection.
///
/// Key: the [`Tuple`] of its packets; for UDP the one of both directions, see [`Attempt::key`]. It ends with an answer or
/// a refusal, which take it out, or with its deadline ([`crate::maps::DEADLINE_NS`]): then user space takes its end from
/// what stands here. It may stay after its deadline: that its first packet is sent again is no new attempt, and what comes back
/// late is told. Each `u8` is written once, 0 to 1, never back: two processors that write it at the same time write the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Monotonic time of the first sighting, nanoseconds. A later value means that the entry was replaced.
    pub first_ns: u64,
    /// Return address of the first drop (`location` of `kfree_skb`); 0 without one.
    pub drop_location: u64,
    /// Cookie of the socket that sent it; 0 when that is not known, or not asked for.
    pub cookie: u64,
    /// Who sent the ICMP error; zero without one.
    pub rejected_by: [u8; 16],
    /// Where its packets went when that was not the key's destination: address translation had led the dropped one there,
    /// or the one that a RST came back for.
    pub led_to: [u8; 16],
    /// The epoch in which it began; its outcome counts in that epoch.
    pub epoch: u32,
    /// TCP: initial sequence number. SCTP: initiate tag. Host order; 0 for UDP.
    pub sequence: u32,
    /// Interface that passed it in from a pod; 0 when none did.
    pub source_ifindex: u32,
    /// Interface that passed it out to a pod; 0 when none did.
    pub destination_ifindex: u32,
    /// `skb_drop_reason` of the first drop, the running kernel's number; of a call that was denied the `bpf_attach_type`
    /// of its hook; 0 without one.
    pub drop_reason: u32,
    /// Network namespace (inode) of the first drop; 0 without one.
    pub drop_netns: u32,
    /// How many of its packets were dropped.
    pub drops: u32,
    /// How often its first packet was sent again.
    pub retransmissions: u32,
    /// Port there, big-endian; see `led_to`.
    pub led_to_port_be: [u8; 2],
    /// 1 when a packet of it was dropped.
    pub dropped: u8,
    /// Class of the first drop, see [`crate::maps::drop_class`].
    pub drop_class: u8,
    /// [`TRACKED`] and [`CONTINUES`].
    pub tracked: u8,
    /// [`ANSWERED`]: where the client's interface is watched too, what comes there ends it. After the deadline nothing does:
    /// then also [`REFUSED_LATE`], [`HEARD_LATE`] and [`ANSWERED_AND_HEARD_LATE`]. 0: nothing came back.
    pub answered: u8,
    /// 1 when an ICMP error or RST came towards the source from somewhere on the way.
    pub rejected: u8,
    /// ICMP type of that error; with `icmp_code`, both 0 for a RST.
    pub icmp_type: u8,
    /// ICMP code of that error.
    pub icmp_code: u8,
    /// 1 when its packets go against the direction of its key.
    pub turned: u8,
    /// 1 when somebody else than its peer answered it, or the answer went to somebody else than its sender: one of the
    /// two is not who its address says.
    pub forged: u8,
    /// 1 when the first drop was on its way out at the interface that leads to its destination: the source's side had let it
    /// pass.
    pub dropped_at_destination: u8,
    /// 1 when an answer on its way out at its source's interface was made on this node: no interface had let it in.
    pub answered_here: u8,
    /// UDP: 1 when what answered it came to its source's interface from no other pod of this node, but from outside or
    /// from that very interface: whoever it was asked for it at a sighting of its own.
    pub answered_elsewhere: u8,
    /// Whose share of the tables it is held in, see [`crate::maps::share`].
    pub slot: u16,
}

const _: () = assert!(size_of::<Attempt>() == 104 && align_of::<Attempt>() == 8);

impl Attempt {
    /// Returns under which key an attempt with these packets is kept, and what then stands in `turned`.
    ///
    /// A datagram may be a question or a reply: under one key for both, one look tells.
    #[inline(always)]
    #[must_use]
    pub fn key(tuple: &Tuple) -> (Tuple, u8) {
        if tuple.protocol != crate::protocol::UDP {
            return (*tuple, 0);
        }
        let (key, turned) = tuple.paired();
        (key, turned as u8)
    }

    /// Tells whether every packet of it was dropped.
    #[inline(always)]
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.drops > self.retransmissions
    }

    /// Returns the tuple of its packets.
    #[inline(always)]
    #[must_use]
    pub fn tuple(&self, key: &Tuple) -> Tuple {
        if self.turned == 0 {
            *key
        } else {
            key.reversed()
        }
    }
}

/// A sighting behind address translation: what of a packet stays the same when only its destination is rewritten.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Joint {
    /// Address of the side that opened it.
    pub source: [u8; 16],
    /// TCP: initial sequence number. SCTP: initiate tag. Host order; 0 for UDP.
    pub sequence: u32,
    /// The client's port, big-endian.
    pub source_port_be: [u8; 2],
    /// See [`crate::protocol`].
    pub protocol: u8,
    /// See [`Tuple::family`].
    pub family: u8,
}

const _: () = assert!(size_of::<Joint>() == 24 && align_of::<Joint>() == 4);

impl Joint {
    /// Returns what an attempt has in common with its translated sighting.
    #[inline(always)]
    #[must_use]
    pub fn of(tuple: &Tuple, sequence: u32) -> Self {
        Self {
            source: tuple.source,
            sequence,
            source_port_be: tuple.source_port_be,
            protocol: tuple.protocol,
            family: tuple.family,
        }
    }
}

/// Where and when what a [`Joint`] stands for was sighted behind address translation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// When, nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// The destination that it had there: the same as an attempt's own is no translation of it.
    pub destination: [u8; 16],
    /// Where its source had sent it.
    pub sent_to: SentTo,
    /// Always zero.
    pub padding: [u8; 4],
}

const _: () = assert!(size_of::<Joined>() == 48 && align_of::<Joined>() == 8);

/// Where an attempt was sent that translation led elsewhere: the second half of a `struct nf_conntrack_tuple`, the same since
/// Linux 2.6. Zero when that is not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentTo {
    /// An IPv4 address takes the first four bytes.
    pub address: [u8; 16],
    /// Big-endian.
    pub port_be: [u8; 2],
    /// See [`crate::protocol`].
    pub protocol: u8,
    /// Which direction of its connection, and flags.
    pub direction: u8,
}

const _: () = assert!(size_of::<SentTo>() == 20 && align_of::<SentTo>() == 1);

impl SentTo {
    /// Returns the address of this family, as it stands in a [`Tuple`].
    #[inline(always)]
    #[must_use]
    pub fn address(&self, family: u8) -> [u8; 16] {
        match self.address {
            [a, b, c, d, ..] if family == FAMILY_V4 => mapped([a, b, c, d]),
            address => address,
        }
    }
}

/// A TCP or SCTP attempt that has ended where nobody saw its client's side: whether that heard the answer is not known,
/// and while it did not it sends the same first packet again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Who opened it, and to whom.
    pub tuple: Tuple,
    /// [`Attempt::first_ns`].
    pub first_ns: u64,
    /// Monotonic time of its end, or of the latest repeat since, nanoseconds; 0: there is none.
    pub last_ns: u64,
    /// TCP: initial sequence number. SCTP: initiate tag. Host order.
    pub sequence: u32,
    /// How often its first packet was sent again since; [`MOST_REPEATS`] when none is expected any more.
    pub repeats: u32,
}

const _: () = assert!(size_of::<Ended>() == 64 && align_of::<Ended>() == 8);

impl Ended {
    /// Tells whether a first packet with its numbers that comes now can be its own, sent again.
    #[inline(always)]
    #[must_use]
    pub fn may_repeat(&self, now_ns: u64) -> bool {
        // Another processor may have written a later time than ours.
        self.repeats < MOST_REPEATS
            && may_repeat(
                self.last_ns.saturating_sub(self.first_ns),
                now_ns.saturating_sub(self.last_ns),
            )
    }
}

/// All attempts of one kind between two addresses; the client's port is left out, because no policy looks at it.
/// Those that count at another sighting are apart from those that do not: of one Service there may be both.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationKey {
    /// Address of the side that opened it.
    pub source: [u8; 16],
    /// Address of the other side.
    pub destination: [u8; 16],
    /// Destination port, big-endian.
    pub destination_port_be: [u8; 2],
    /// See [`crate::protocol`].
    pub protocol: u8,
    /// See [`Tuple::family`].
    pub family: u8,
    /// What is counted, see [`crate::kind`].
    pub kind: u8,
    /// [`Attempt::answered_elsewhere`].
    pub elsewhere: u8,
    /// Always zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<ConversationKey>() == 40 && align_of::<ConversationKey>() == 8);

impl ConversationKey {
    /// Returns the conversation that an attempt belongs to.
    #[inline(always)]
    #[must_use]
    pub fn of(tuple: &Tuple, kind: u8, elsewhere: u8) -> Self {
        Self {
            source: tuple.source,
            destination: tuple.destination,
            destination_port_be: tuple.destination_port_be,
            protocol: tuple.protocol,
            family: tuple.family,
            kind,
            elsewhere,
            padding: [0; 2],
        }
    }
}

/// A conversation's running count.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Attempts of this kind since the entry was made; only grows.
    pub total: u64,
    /// Monotonic time of the latest one, nanoseconds.
    pub last_ns: u64,
    /// The epoch that last made an event.
    pub epoch: u32,
    /// Whose share of the tables it is held in, see [`crate::maps::share`].
    pub slot: u16,
    /// Always zero.
    pub padding: u16,
}

const _: () = assert!(size_of::<Conversation>() == 24 && align_of::<Conversation>() == 8);
