//! Names and sizes of the maps, and the numbers in them.

/// Ring buffer of [`crate::Event`].
pub const EVENTS: &str = "EVENTS";
/// Hash, [`crate::Tuple`] to [`crate::Attempt`]. Not LRU: silent evictions could not be counted.
pub const ATTEMPTS: &str = "ATTEMPTS";
/// Hash, [`crate::ConversationKey`] to [`crate::Conversation`].
pub const CONVERSATIONS: &str = "CONVERSATIONS";
/// Hash, [`crate::Tuple`] to [`crate::UdpFlow`].
pub const UDP_FLOWS: &str = "UDP_FLOWS";
/// Array of one `u32`: the epoch, written by user space.
pub const EPOCH: &str = "EPOCH";
/// Per-CPU array of `u64`, indexed by [`stage`].
pub const LOST: &str = "LOST";
/// Array of `u32`, indexed by `skb_drop_reason`: its [`drop_class`].
pub const REASON_CLASSES: &str = "REASON_CLASSES";
/// Array of [`crate::LocationRange`].
pub const LOCATIONS: &str = "LOCATIONS";
/// Hash, network namespace inode (`u32`) to the `u32` index of the interface that leads there: those of the node's pods.
/// The node's own is set at load.
pub const NAMESPACES: &str = "NAMESPACES";
/// Hash, address (`[u8; 16]`, IPv4 mapped) to the `u32` index of the interface that leads to the pod which
/// owns it, 0 when that is not known: the addresses of this node's pods.
pub const ADDRESSES: &str = "ADDRESSES";
/// Array of one: the name of a function, as the kernel printed it last.
pub const SYMBOL: &str = "SYMBOL";
/// Array of `u64`: places at which packets were dropped without a reason, and that lie in no [`LOCATIONS`].
pub const UNPLACED: &str = "UNPLACED";
/// Hash, [`crate::Joint`] to [`crate::Joined`], a sighting at a pod's interface of an attempt that this node has
/// passed in from another pod under another destination.
pub const JOINTS: &str = "JOINTS";
/// Array of [`crate::Ended`], at a place that follows from what it holds: who comes later to the same place takes it, and
/// then a repeat counts as an attempt.
pub const ENDED: &str = "ENDED";
/// Per-CPU array of `u64`, indexed by `skb_drop_reason`: packets dropped on this node.
pub const DROPS: &str = "DROPS";
/// Array of `u64`, see [`share`]: entries that the kernel side made, less those that it deleted.
pub const HELD: &str = "HELD";
/// Array of `u64`, see [`share`], written by user space: entries that it deleted, less those that it made.
pub const RELEASED: &str = "RELEASED";

/// LRU hash, [`crate::CallKey`] to [`crate::Caller`]. What is evicted leaves a record without its process, and proves nothing.
pub const CALLERS: &str = "CALLERS";

/// Default size of [`EVENTS`], bytes.
pub const EVENTS_BYTES: u32 = 1 << 22;
/// Default size of [`ATTEMPTS`], entries.
pub const ATTEMPTS_ENTRIES: u32 = 1 << 16;
/// Default size of [`CONVERSATIONS`], entries.
pub const CONVERSATIONS_ENTRIES: u32 = 1 << 16;
/// Default size of [`UDP_FLOWS`], entries.
pub const UDP_FLOWS_ENTRIES: u32 = 1 << 17;
/// Size of [`JOINTS`], entries.
pub const JOINTS_ENTRIES: u32 = 1 << 16;
/// How many bits number a place in [`ENDED`].
pub const ENDED_BITS: u32 = 15;
/// Size of [`ENDED`], entries.
pub const ENDED_ENTRIES: u32 = 1 << ENDED_BITS;
/// Size of an entry of [`SYMBOL`], bytes: `KSYM_NAME_LEN` is more, but no function has such a name.
pub const SYMBOL_BYTES: usize = 128;
/// Size of [`UNPLACED`], entries.
pub const UNPLACED_ENTRIES: u32 = 64;
/// Slots of the per-CPU cache of answered UDP tuples.
pub const UDP_CACHE_SLOTS: u32 = 1 << 12;
/// Size of [`REASON_CLASSES`] and [`DROPS`]; Linux 6.18 has some 130 reasons.
pub const REASONS: u32 = 512;
/// Its entry for all reasons of Open vSwitch, whose numbers are beyond it.
pub const OVS_REASONS: u32 = REASONS - 2;
/// The same of other subsystems, and of what is beyond it in another way.
pub const OTHER_REASONS: u32 = REASONS - 1;
/// Size of [`NAMESPACES`], entries.
pub const NAMESPACES_ENTRIES: u32 = 1 << 12;
/// Size of [`ADDRESSES`], entries.
pub const ADDRESSES_ENTRIES: u32 = 1 << 15;
/// Size of [`CALLERS`], entries.
pub const CALLERS_ENTRIES: u32 = 1 << 14;
/// Size of [`LOCATIONS`].
pub const LOCATION_SLOTS: u32 = 32;

/// How long an attempt waits for its outcome, nanoseconds.
pub const DEADLINE_NS: u64 = 3_000_000_000;

/// How long an attempt that nothing has stopped and that nothing came back to stays after its deadline, nanoseconds: its answer
/// would be told, and a first packet with its numbers is its own, sent again.
pub const OPEN_NS: u64 = 130_000_000_000;
/// How long a UDP attempt stays that nothing came back to, nanoseconds: as long as a claim may be made of it (`--stale-after`).
pub const UDP_OPEN_NS: u64 = 60_000_000_000;

/// How long a UDP tuple must be silent before its next packet is a new attempt, nanoseconds:
/// conntrack's `nf_conntrack_udp_timeout` default of 30 s, and 10 s in which the cache may have answered for it.
pub const UDP_SILENT_NS: u64 = 40_000_000_000;
/// The same for an answered one that went on for more than [`UDP_STREAM_NS`]: `nf_conntrack_udp_timeout_stream` was
/// 180 s until Linux 5.0 and is 120 s since, and enforcers still take what comes within it for a reply.
pub const UDP_STREAM_SILENT_NS: u64 = 200_000_000_000;
/// From when on conntrack calls an answered UDP conversation a stream, nanoseconds.
pub const UDP_STREAM_NS: u64 = 2_000_000_000;

/// Where something of ours was lost, or set aside; index into [`LOST`].
pub mod stage {
    /// The ring buffer was full, and nothing else will tell of the attempt.
    pub const RING: u32 = 0;
    /// [`super::ATTEMPTS`], or the interface's share of it, was full.
    pub const ATTEMPTS: u32 = 1;
    /// [`super::CONVERSATIONS`], or the interface's share of it, was full, and so was the ring buffer.
    pub const CONVERSATIONS: u32 = 2;
    /// [`super::UDP_FLOWS`], or the interface's share of it, was full.
    pub const UDP_FLOWS: u32 = 3;
    /// A packet's headers could not be read: cut short, too many extension headers, not the first fragment.
    /// Not a loss of ours.
    pub const UNREADABLE: u32 = 4;
    /// To or from a group or broadcast address, neighbour discovery, DHCP: never recorded. Not a loss of ours.
    pub const NOT_UNICAST: u32 = 5;
    /// How many stages there are.
    pub const COUNT: u32 = 6;
}

/// How the tables are shared: what one interface brings in fills no more than an eighth of any of them.
///
/// Each of [`HELD`] and [`RELEASED`] has one writer for each number; what a slot holds is the one less the other.
/// Interfaces whose indices are [`SLOTS`](share::SLOTS) apart share a slot.
pub mod share {
    /// How many slots there are.
    pub const SLOTS: u32 = 1 << 12;
    /// Of [`super::ATTEMPTS`].
    pub const ATTEMPTS: u32 = 0;
    /// Of [`super::CONVERSATIONS`].
    pub const CONVERSATIONS: u32 = 1;
    /// Of [`super::UDP_FLOWS`].
    pub const UDP_FLOWS: u32 = 2;
    /// No table; in [`super::RELEASED`] what the interfaces of the slot are: the sum of [`WATCHED`], [`OWNED`], [`ASIDE`].
    pub const ROLE: u32 = 3;
    /// It leads to a pod, or may, and is watched.
    pub const WATCHED: u64 = 1;
    /// It leads to a pod whose address is known.
    pub const OWNED: u64 = 2;
    /// No way leads over it: what is sent there is a copy.
    pub const ASIDE: u64 = 4;
    /// Numbers of one slot.
    pub const COLUMNS: u32 = 4;
    /// Numbers of all slots.
    pub const NUMBERS: u32 = SLOTS * COLUMNS;

    /// What an interface is, with its own number above: others may have the same slot. Without one it is several.
    #[inline(always)]
    #[must_use]
    pub const fn role(ifindex: u32, role: u64) -> u64 {
        role | (ifindex as u64) << 32
    }

    /// The slot of an interface; 0 without one.
    #[inline(always)]
    #[must_use]
    pub const fn slot(ifindex: u32) -> u16 {
        (ifindex & (SLOTS - 1)) as u16
    }

    /// Where a slot's number stands.
    #[inline(always)]
    #[must_use]
    pub const fn index(slot: u16, column: u32) -> u32 {
        slot as u32 * COLUMNS + column
    }

    /// How many of a table's entries one slot may hold.
    #[must_use]
    pub const fn of(entries: u32) -> u32 {
        if entries < 8 { 1 } else { entries / 8 }
    }
}

/// What a drop reason, or the place of a drop without one, stands for.
pub mod drop_class {
    /// Not looked at: consumed packets, sockets that close, queues that are emptied.
    pub const IGNORED: u8 = 0;
    /// Netfilter's verdict.
    pub const NETFILTER: u8 = 1;
    /// A tc program or action.
    pub const TC: u8 = 2;
    /// An XDP program.
    pub const XDP: u8 = 3;
    /// A cgroup program.
    pub const CGROUP: u8 = 4;
    /// A program behind NFQUEUE.
    pub const NFQUEUE: u8 = 5;
    /// Open vSwitch.
    pub const OVS: u8 = 6;
    /// A prohibit, blackhole or unreachable route; which one, the ICMP error tells.
    pub const ROUTE: u8 = 7;
    /// No socket listens.
    pub const NO_SOCKET: u8 = 8;
    /// No neighbour answers: the peer is gone.
    pub const NEIGHBOUR: u8 = 9;
    /// A known reason that enforces nothing: rp_filter, full queue, MTU.
    pub const OTHER: u8 = 10;
    /// NOT_SPECIFIED: counts only at a known location.
    pub const UNSPECIFIED: u8 = 11;
    /// The packet itself is at fault: its checksum, its lifetime, a header; whoever sends one sees it dropped anywhere.
    pub const MALFORMED: u8 = 12;

    /// Tells whether a rule, a program or a route says no: who enforces drops so.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_rule(class: u8) -> bool {
        matches!(class, NETFILTER | TC | XDP | CGROUP | NFQUEUE | OVS | ROUTE)
    }
}
